"""Every JSON file that is read again may be somebody else's: damaged means a typed answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from portrait_lora import manifest
from portrait_lora.errors import ArtifactError, InputError, PortraitError
from portrait_lora.evaluation.tables import read_measured
from portrait_lora.faces.packs import PACK_FILE, resolve_pack
from portrait_lora.hub import lock
from portrait_lora.likeness import Journal
from portrait_lora.rights import consent
from portrait_lora.tasks.outside import NOTED, noted
from portrait_lora.training import checkpoint

HOSTILE = {
    "deep": "[" * 200_000,
    "deep object": '{"a":' * 5_000 + "1" + "}" * 5_000,
    "NaN": '{"format": NaN}',
    "null": "null",
    "list": "[1, 2]",
    "number": "7",
    "broken": '{"kind": ',
    "half a character": '{"kind": "\\ud83d"}',
    "a key twice": '{"kind": "a", "kind": "b"}',
    "other types": json.dumps(
        {"kind": 1, "inputs": 2, "files": [3], "format": 1, "models": 4, "scores": [[]]}
    ),
}


def _checkpoints(folder: Path) -> object:
    checkpoints = checkpoint.find(folder)
    assert checkpoints == []
    raise ArtifactError("left out")


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "manifest": (manifest.NAME, manifest.read),
    "lock": (lock.NAME, lock.read),
    "consent": (consent.NAME, consent.read),
    "face pack": (PACK_FILE, lambda folder: resolve_pack(str(folder))),
    "report": ("drift.json", lambda folder: read_measured(folder / "drift.json")),
    "checkpoint": ("step-000004/manifest.json", _checkpoints),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("case", HOSTILE)
def test_a_damaged_file_ends_in_a_typed_error(reader: str, case: str, tmp_path: Path) -> None:
    name, read = READERS[reader]
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(HOSTILE[case])
    with pytest.raises((ArtifactError, InputError)) as caught:
        read(tmp_path)
    assert isinstance(caught.value, PortraitError)


@pytest.mark.parametrize("case", HOSTILE)
def test_what_only_saves_work_counts_as_absent(case: str, tmp_path: Path) -> None:
    for name in ("stages.json", NOTED):
        (tmp_path / name).write_text(HOSTILE[case])
    journal = Journal.open(tmp_path)
    assert not journal.is_done("check", {"a": "b"}) and journal.seconds("check") == 0.0
    assert noted(tmp_path)[0] == ""
