"""Headers of safetensors files that strangers wrote: every rule of the format, within time and memory."""

from __future__ import annotations

import json
import os
import resource
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from portrait_lora.errors import ArtifactError
from portrait_lora.families.adapter_file import read_header
from portrait_lora.families.safetensors_header import MAX_BYTES

GOOD = {
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "F16", "shape": [], "data_offsets": [24, 26]},
    "c": {"dtype": "I8", "shape": [0, 5], "data_offsets": [26, 26]},
}


def write(path: Path, header: object, data: int = 26, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + bytes(data))
    return path


def other(name: str, **changes: object) -> dict[str, object]:
    return {**GOOD, name: {**GOOD[name], **changes}}


def test_what_the_library_writes_is_read(tmp_path: Path) -> None:
    kinds = [torch.float32, torch.float16, torch.bfloat16, torch.int8, torch.bool, torch.float8_e4m3fn]
    tensors = {f"t{i}": torch.zeros(i + 1, 3).to(kind) for i, kind in enumerate(kinds)}
    save_file(tensors, tmp_path / "a.safetensors", {"x": "y"})
    header = read_header(tmp_path / "a.safetensors")
    assert header.pop("__metadata__") == {"x": "y"} and header.keys() == tensors.keys()
    assert read_header(write(tmp_path / "b.safetensors", GOOD)) == GOOD
    assert read_header(write(tmp_path / "c.safetensors", {}, 0)) == {}


BROKEN: dict[str, tuple[Callable[[Path], Path], str]] = {
    "overlap": (lambda p: write(p, other("b", data_offsets=[22, 24]), 24), "overlaps"),
    "all in one place": (lambda p: write(p, {**GOOD, "d": GOOD["a"]}), "overlaps"),
    "gap": (lambda p: write(p, other("b", data_offsets=[30, 32]), 32), "leaves a gap"),
    "negative": (lambda p: write(p, other("a", data_offsets=[-24, 0])), "no sound shape"),
    "backwards": (lambda p: write(p, other("a", data_offsets=[24, 0])), "not the bytes of its shape"),
    "unknown dtype": (lambda p: write(p, other("a", dtype="EVIL")), "unknown type 'EVIL'"),
    "dtype is a list": (lambda p: write(p, other("a", dtype=[])), "unknown type"),
    "absurd shape": (lambda p: write(p, other("a", shape=[10**92])), "not the bytes of its shape"),
    "many absurd": (lambda p: write(p, other("a", shape=[10**18] * 16)), "not the bytes of its shape"),
    "dimensions": (lambda p: write(p, other("a", shape=[1] * 40)), "no sound shape"),
    "negative shape": (lambda p: write(p, other("a", shape=[-2, -3])), "no sound shape"),
    "true shape": (lambda p: write(p, other("b", shape=[True])), "no sound shape"),
    "fraction": (lambda p: write(p, other("a", shape=[2.0, 3])), "no sound shape"),
    "no offsets": (lambda p: write(p, {"a": {"dtype": "F32", "shape": [1]}}, 4), "no sound shape"),
    "tensor is text": (lambda p: write(p, {"a": "b"}, 0), "unknown type"),
    "other size": (lambda p: write(p, other("a", shape=[2, 2])), "not the bytes of its shape"),
    "cut short": (lambda p: write(p, GOOD, 25), "cut short"),
    "too long": (lambda p: write(p, GOOD, 27), "behind the last tensor"),
    "header cut": (lambda p: write(p, GOOD, 0, 100_000), "cut short"),
    "endless header": (lambda p: write(p, b"{}", 0, 1 << 60), "announces a header"),
    "empty": (lambda p: write(p, b"", 0), "not valid JSON"),
    "metadata null": (lambda p: write(p, {"__metadata__": None}, 0), "no table of words"),
    "metadata list": (lambda p: write(p, {"__metadata__": [1]}, 0), "no table of words"),
    "metadata numbers": (lambda p: write(p, {"__metadata__": {"a": 1}}, 0), "no table of words"),
    "deep": (lambda p: write(p, b"[" * 200_000, 0), "nested deeper"),
    "twice": (lambda p: write(p, b'{"__metadata__": {"a": "b", "a": "c"}}', 0), "stands twice"),
    "nan": (lambda p: write(p, b'{"a": NaN}', 0), "NaN"),
    "list": (lambda p: write(p, [1], 0), "damaged"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_header_that_breaks_a_rule_is_refused(case: str, tmp_path: Path) -> None:
    make, words = BROKEN[case]
    with pytest.raises(ArtifactError, match=words) as caught:
        read_header(make(tmp_path / "f.safetensors"))
    assert "f.safetensors" in str(caught.value)


def test_room_for_millions_of_keys_costs_neither_time_nor_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "f.safetensors", b'{"__metadata__":{"0":"b"', 0, 4 * MAX_BYTES)
    os.truncate(path, 5 * MAX_BYTES)
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(ArtifactError, match="announces a header"):
        read_header(path)
    assert time.process_time() - started < 1.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024
