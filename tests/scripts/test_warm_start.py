"""Learning a warm start: whose pictures, which draws, and the loss of everybody's own training."""

from __future__ import annotations

import random
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from portrait_lora.errors import InputError
from portrait_lora.families.sd15 import SD15
from portrait_lora.training import batch as batches
from portrait_lora.training.cache import Encodings
from scripts.train.warm_start import conditioned, folders
from scripts.train.warm_start.__main__ import Lessons
from scripts.train.warm_start.people import Directions, Pictures, numbered, rows_of
from tests.recipes import recipe
from tests.tiny_models import make_crops, tiny_folder, tiny_sd15  # noqa: F401 - fixtures

SIZES = ((64, 64), (64, 64), (48, 80))
RECIPE = recipe(rank=2, targets="attention", batch_size=3, seed=4)


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[str]]:
    """Two prepared folders of three pictures, one of which shows no face; and whose consent was read."""
    consented: list[str] = []
    for i, name in enumerate(("ada", "bo")):
        (tmp_path / "all" / name / "dataset").mkdir(parents=True)
        (tmp_path / "all" / name / "likeness.yaml").write_text("{}\n")
        make_crops(tmp_path / "all" / name / "crops", SIZES, seed=i)

    def crops_of(dataset: Path) -> tuple[list[Any], list[Path]]:
        return make_crops(dataset.parent / "crops", SIZES, seed=int(dataset.parent.name == "bo")), []

    def known(paths: list[Path], _: object) -> tuple[Any, tuple[()]]:
        kept = [p for p in paths if (p.parents[1].name, p.name) != ("ada", "crop1.png")]
        rows = np.eye(6, dtype=np.float32)[[int(p.parents[1].name == "bo") for p in kept]]
        return SimpleNamespace(names=[p.name for p in kept], embeddings=rows), ()

    monkeypatch.setattr(folders, "load_dataset_folder", crops_of)
    monkeypatch.setattr(folders, "embed_photos", known)
    monkeypatch.setattr(folders, "open_analyzer", lambda _: None)
    monkeypatch.setattr(folders.consent, "require", lambda root, *_, **__: consented.append(root.name))
    return tmp_path / "all", consented


def pictures_of(folder: Path, family: SD15, dropout: float = 0.0) -> Pictures:
    return folders.pictures(folder, family, None, dropout, folder / "kept", commercial=False)  # type: ignore


def test_everybody_consents_and_pictures_without_a_face_are_left_out(
    tiny_sd15: SD15,  # noqa: F811
    people: tuple[Path, list[str]],
) -> None:
    folder, consented = people
    pictures = pictures_of(folder, tiny_sd15)
    assert consented == ["ada", "bo"] and pictures.person.tolist() == [0, 0, 1, 1, 1] and pictures.people == 2
    taken = [pictures.take(row, random.Random(0)) for row in range(5)]
    assert [t.geometry.target_px for t in taken] == [(64, 64), (48, 80), (64, 64), (64, 64), (48, 80)]
    assert all("ohwx" in t.caption for t in taken)
    dropped = pictures_of(folder, tiny_sd15, 1.0).take(0, random.Random(0))
    assert dropped.caption == "" and torch.equal(dropped.condition.embeds_BLD, pictures.empty.embeds_BLD)
    with pytest.raises(InputError, match="nobody to learn from"):
        pictures_of(folder / "ada", tiny_sd15)


def test_the_loss_is_that_of_training_alone_where_nothing_was_learnt(
    tiny_sd15: SD15,  # noqa: F811
    people: tuple[Path, list[str]],
) -> None:
    """B is zero at first; pictures of both sizes count, and every gate and B gets a gradient in the end."""
    pictures = pictures_of(people[0], tiny_sd15)
    tiny_sd15.load("none")
    tiny_sd15.load("denoiser")
    lessons = Lessons(tiny_sd15, pictures, Directions.of(pictures, 1), RECIPE)
    first, rows = lessons.take(0, torch.Generator().manual_seed(0))
    again, _ = lessons.take(0, torch.Generator().manual_seed(0))
    assert [d.noise_level for d in first] == [d.noise_level for d in again]
    assert all(torch.equal(a.noise_CHW, b.noise_CHW) for a, b in zip(first, again, strict=True))
    own, _ = batches.loss_sums(tiny_sd15, RECIPE, Encodings((), pictures.empty), first, len(first))
    modules, person = conditioned.add(tiny_sd15, RECIPE, 1)
    total, figures = lessons.loss(person, first, rows)
    torch.testing.assert_close(total, own, rtol=1e-4, atol=1e-6)
    assert figures["weighted"] == pytest.approx(float(own), rel=1e-4)
    for pair in modules.values():
        pair["B"].weight.data.add_(0.1)  # type: ignore[index,union-attr]
    lessons.loss(person, first, rows)[0].backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in modules.parameters())
    gates = [pair["A"].gate for pair in modules.values()]  # type: ignore[index,union-attr]
    assert all(float(gate.grad.abs().max()) > 0 for gate in gates)
    tiny_sd15.load("none")


def test_a_person_is_read_off_the_other_pictures() -> None:
    """Not off the one that is learnt, unless it is the only one; people spread by one along a direction."""
    draw = torch.Generator().manual_seed(2)
    rows = torch.nn.functional.normalize(torch.randn(7, 4, generator=draw), dim=1)
    names = ["a", "a", "b", "b", "b", "c", "d"]
    pictures = Pictures(rows, numbered(names), None, None)  # type: ignore[arg-type]
    others = pictures.others(torch.tensor([0, 2, 5]))
    torch.testing.assert_close(others[0], rows[1])
    torch.testing.assert_close(others[1], rows[3:5].mean(0))
    torch.testing.assert_close(others[2], rows[5])
    directions = Directions.of(pictures, 2)
    spread = directions.coordinates(pictures.means())
    torch.testing.assert_close(spread.square().mean(0).sqrt(), torch.ones(2), rtol=1e-4, atol=1e-4)
    assert float(spread.mean(0).abs().max()) < 1e-5


def test_an_epoch_shows_everything_once() -> None:
    seen = [rows_of(step, 3, 9, 5).tolist() for step in range(6)]
    assert all(sorted(chain(*epoch)) == list(range(9)) for epoch in (seen[:3], seen[3:]))
    assert seen[:3] != seen[3:] and rows_of(0, 30, 9, 5).shape == (9,)


def test_a_file_of_a_size_leaves_out_what_changes_least() -> None:
    tensors: dict[str, torch.Tensor] = {"identity.middle": torch.zeros(4)}
    for name, size in (("small", 0.1), ("large", 3.0), ("middle", 1.0)):
        for end in (".lora_A.weight", ".lora_B.weight", ".gate.weight"):
            tensors[name + end] = torch.full((4, 4), size)
    whole = sum(t.nbytes for t in tensors.values())
    assert conditioned.within(tensors, whole) == tensors
    kept = conditioned.within(tensors, whole - 1)
    assert {k.split(".")[0] for k in kept} == {"identity", "large", "middle"} and len(kept) == 7
    assert {k.split(".")[0] for k in conditioned.within(tensors, 300)} == {"identity", "large"}
