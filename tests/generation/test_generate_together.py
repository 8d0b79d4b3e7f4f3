"""Several people's portraits in one batch: those drawn alone, each in its own person's folder."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from portrait_lora import manifest, provenance
from portrait_lora.errors import ArtifactError, PortraitError
from portrait_lora.families.sd15 import SD15
from portrait_lora.generation import drawing, remake, save, together
from portrait_lora.generation.drawing import Sampler, StyleAdapter
from portrait_lora.generation.guidance import Identity
from portrait_lora.generation.sample import generate
from portrait_lora.generation.stacked import CannotStack, stack_layers
from portrait_lora.generation.together import Sitter, generate_together
from portrait_lora.records import Adapter, Portrait, Shot
from portrait_lora.rights import guard
from tests.recipes import sampler as make_sampler

FROM_BASE = make_sampler(2, 3.0, unconditional="base")
IN_TWO_TERMS = replace(FROM_BASE, identity=Identity(scale=1.5, start=0.3, region="head"))
OF_ADAPTER = make_sampler(2, 3.0, unconditional="adapter")
UNGUIDED = make_sampler(2, 1.0, unconditional="base")


@pytest.fixture(scope="module")
def adapters(adapter: Adapter, tmp_path_factory: pytest.TempPathFactory) -> list[Adapter]:
    """Two people's, far enough from each other for a picture to tell whose it is."""
    other = tmp_path_factory.mktemp("other") / adapter.path.name
    with safe_open(adapter.path, "pt") as opened:
        about: Any = opened.metadata()
    draw = torch.Generator().manual_seed(1)
    tensors = {n: torch.randn(t.shape, generator=draw) * 0.2 for n, t in load_file(adapter.path).items()}
    save_file(tensors, other, about)
    return [adapter, replace(adapter, path=other)]


@pytest.fixture
def raw(monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """Shot -> the latest picture of it before rounding; shots of different people have different names."""
    seen: dict[str, np.ndarray] = {}
    real = drawing._pictures

    def watched(pipe: Any, drawn_BHWC: np.ndarray, shots: Sequence[Shot]) -> Any:
        seen.update((shot.name, one.copy()) for shot, one in zip(shots, drawn_BHWC, strict=True))
        return real(pipe, drawn_BHWC, shots)

    monkeypatch.setattr(drawing, "_pictures", watched)
    return seen


def sitters(
    adapters: Sequence[Adapter], shots: Sequence[Shot], out: Path, counts: Sequence[int]
) -> list[Sitter]:
    """Everybody with shots of their own, by name and seed, and a folder `out/0`, `out/1` …"""

    def own(person: int, count: int) -> list[Shot]:
        return [replace(s, name=f"{person}-{s.name}", seed=s.seed + 1000 * person) for s in shots[:count]]

    return [
        Sitter(
            adapter=adapter, sets=[(out / str(i), own(i, count))], framing=None,
            on_drawn=lambda portrait, seconds: None, refused=[],
        )
        for i, (adapter, count) in enumerate(zip(adapters, counts, strict=True))
    ]  # fmt: skip


def paths(one: Sitter) -> list[Path]:
    return [folder / f"{shot.name}.png" for folder, shots in one.sets for shot in shots]


def picture(path: Path) -> Image.Image:
    return Image.open(path).convert("RGB")


def off(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


@pytest.mark.parametrize("sampler", [IN_TWO_TERMS, OF_ADAPTER])
def test_every_picture_is_that_drawn_alone_and_is_made_again_to_the_byte(
    tiny_sd15: SD15, adapters: list[Adapter], shots: list[Shot], tmp_path: Path, sampler: Sampler,
    raw: dict[str, np.ndarray],
) -> None:  # fmt: skip
    everybody = sitters(adapters, shots, tmp_path, (1, 2))
    generate_together(tiny_sd15, everybody, sampler, batch_size=2)
    drawn = dict(raw)
    for own, (one, adapter) in enumerate(zip(everybody, adapters, strict=True)):
        for portrait in generate(tiny_sd15, adapter, one.sets[0][1], tmp_path / f"alone{own}", sampler):
            name = portrait.shot.name
            assert off(drawn[name], raw[name]) < 1e-5
            path = tmp_path / str(own) / portrait.path.name
            levels = np.subtract(*(np.asarray(picture(p), int) for p in (path, portrait.path)))
            assert np.abs(levels).max() <= 1
            mine, solo = provenance.read_record(path), provenance.read_record(portrait.path)
            assert save._deciding(mine) == save._deciding(solo)
            assert mine["adapter_sha256"] == manifest.sha256_file(adapter.path)
            assert sidecar(path)["recipe"] == mine and sidecar(path)["sha256"] == manifest.sha256_file(path)
    records = [provenance.read_record(p)["made"] for one in everybody for p in paths(one)]
    conditions = [(m["batch_size"], m["batch_index"], m["together"]) for m in records]  # type: ignore[index]
    assert conditions == [(2, 0, 2), (2, 1, 2), (1, 0, 1)]
    path = paths(everybody[1])[0]
    record = provenance.read_record(path)
    again = remake.remake(tiny_sd15, record, adapters[1], lambda digest: None)
    assert remake.compare(picture(path), again, record).same
    if sampler is OF_ADAPTER:
        return
    generate(tiny_sd15, adapters[0], everybody[1].sets[0][1][:1], tmp_path / "swapped", sampler)
    assert off(drawn[path.stem], raw[path.stem]) > 1e-2  # so the wrong person would have been seen
    with pytest.raises(ArtifactError, match="no adapter"):
        remake.remake(tiny_sd15, record, None, lambda digest: None)


def sidecar(path: Path) -> dict[str, Any]:
    return json.loads(path.with_suffix(".json").read_text())


def test_stopped_it_goes_on_and_one_who_cannot_be_written_to_stops_nobody(
    tiny_sd15: SD15, adapters: list[Adapter], shots: list[Shot], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def bytes_of(everybody: Sequence[Sitter]) -> list[bytes]:
        return [path.read_bytes() for one in everybody for path in paths(one)]

    whole = sitters(adapters, shots, tmp_path / "whole", (2, 2))
    generate_together(tiny_sd15, whole, FROM_BASE, batch_size=3)
    stopped, real, count = sitters(adapters, shots, tmp_path / "stopped", (2, 2)), save.save, [0]

    def until_the_third(*args: Any, **more: Any) -> None:
        count[0] += 1
        if count[0] == 3:
            raise KeyboardInterrupt
        real(*args, **more)

    monkeypatch.setattr(save, "save", until_the_third)
    with pytest.raises(KeyboardInterrupt):
        generate_together(tiny_sd15, stopped, FROM_BASE, batch_size=3)
    first = paths(stopped[0])[0].stat().st_mtime_ns
    monkeypatch.setattr(save, "save", real)
    seconds: list[str] = []
    note = replace(stopped[1], on_drawn=lambda portrait, s: seconds.append(portrait.shot.name))
    generate_together(tiny_sd15, [stopped[0], note], FROM_BASE, batch_size=3)
    assert bytes_of(stopped) == bytes_of(whole) and paths(stopped[0])[0].stat().st_mtime_ns == first
    assert seconds == [p.stem for p in paths(note)]

    def full(drawn: Image.Image, portrait: Portrait, *args: Any, **more: Any) -> None:
        if portrait.path.parent.name == "0":
            raise OSError(errno.ENOSPC, "No space left on device")
        if portrait.path == refused:
            raise guard.RefusedPicture("refused", where=portrait.path.name)
        real(drawn, portrait, *args, **more)

    other = sitters(adapters, shots, tmp_path / "other", (2, 2))
    refused = paths(other[1])[0]
    monkeypatch.setattr(save, "save", full)
    generate_together(tiny_sd15, other, FROM_BASE, batch_size=3)
    assert [p.is_file() for one in other for p in paths(one)] == [False, False, False, True]
    assert other[1].refused == [refused] and other[0].refused == []


def test_style_and_person_count_together(
    tiny_sd15: SD15, adapters: list[Adapter], shots: list[Shot], tmp_path: Path, raw: dict[str, np.ndarray]
) -> None:
    styled = replace(FROM_BASE, style=StyleAdapter(adapters[0].path, 0.5), adapter_scale=0.7)
    two = sitters(adapters, shots, tmp_path, (1, 1))
    generate_together(tiny_sd15, two, styled, batch_size=8)
    drawn = dict(raw)
    generate(tiny_sd15, adapters[1], two[1].sets[0][1], tmp_path / "alone", styled)
    name = paths(two[1])[0].stem
    assert off(drawn[name], raw[name]) < 1e-5


def test_what_cannot_be_stacked_is_refused_before_anything_is_drawn(
    tiny_sd15: SD15, adapters: list[Adapter], shots: list[Shot], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    two = sitters(adapters, shots, tmp_path, (1, 1))
    with pytest.raises(CannotStack, match="reference pictures"):
        generate_together(tiny_sd15, two, replace(FROM_BASE, references=(Path("a"),)), batch_size=2)
    monkeypatch.setattr(SD15, "rows_are_pictures", False)
    with pytest.raises(CannotStack, match="sd15 has layers whose rows are not pictures"):
        generate_together(tiny_sd15, two, FROM_BASE, batch_size=2)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    monkeypatch.undo()
    monkeypatch.setattr(together, "carried", lambda module, name: 1)
    with pytest.raises(CannotStack, match="text encoders"):
        together.open_together(tiny_sd15, [adapters[0]], FROM_BASE)


def _two(**other: Any) -> nn.Module:
    """A linear layer with two adapters, the second with other settings."""
    torch.manual_seed(0)
    usual = {"r": 2, "target_modules": ["0"], "init_lora_weights": False}
    net = inject_adapter_in_model(LoraConfig(**usual), nn.Sequential(nn.Linear(6, 5)), "a")
    return inject_adapter_in_model(LoraConfig(**(usual | other)), net, "b")


def test_rows_have_their_own_persons_layers_and_only_plain_ones_are_stacked() -> None:
    for other, why in (({"r": 3}, "ranks"), ({"use_dora": True}, "plain"), ({"lora_bias": True}, "plain")):
        with pytest.raises(CannotStack, match=why):
            stack_layers(_two(**other), [["a"], ["b"]], None)
    with pytest.raises(CannotStack, match="plain"):
        stack_layers(_two(), [["a"], ["c"]], None)
    net, x = _two(), torch.randn(3, 4, 6)
    want = {name: layer_of(net, name)(x) for name in "ab"}
    seats = stack_layers(net, [["a"], ["b"]], None)
    with torch.no_grad(), seats.taken((1, 0, 1)):
        got = net(x)
        twice = net(torch.cat([x, x]))
        with pytest.raises(CannotStack, match="4 rows for 3 pictures"):
            net(torch.cat([x, x[:1]]))
        with pytest.raises(CannotStack, match="9 rows for 3 pictures"):
            net(torch.cat([x, x, x]))
    rows = torch.stack([want["b"][0], want["a"][1], want["b"][2]])
    assert torch.allclose(got, rows, atol=1e-6) and torch.allclose(twice, torch.cat([rows, rows]), atol=1e-6)
    with pytest.raises(CannotStack, match="0 pictures"):
        net(x)


def layer_of(net: Any, name: str) -> Any:
    net[0].set_adapter(name)
    return net


def test_a_picture_that_comes_out_black_ends_the_batch(
    tiny_sd15: SD15, adapters: list[Adapter], shots: list[Shot], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Whose it is, their own stage finds out; the others are drawn there too."""
    real = drawing._pictures

    def spoilt(pipe: Any, drawn_BHWC: np.ndarray, shots: Sequence[Shot]) -> Any:
        drawn_BHWC[-1] = np.nan
        return real(pipe, drawn_BHWC, shots)

    monkeypatch.setattr(drawing, "_pictures", spoilt)
    with pytest.raises(PortraitError, match=r"1-01.*black"):
        generate_together(tiny_sd15, sitters(adapters, shots, tmp_path, (1, 1)), UNGUIDED, batch_size=2)
