"""The portraits that the identity loss looks at: drawn once, where it begins, and kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from portrait_lora.dataset.build import load_dataset_folder
from portrait_lora.errors import ConfigError, PortraitError
from portrait_lora.evaluation.similarity import embed_photos
from portrait_lora.faces.preprocessing import Preprocessing
from portrait_lora.generation import prompts
from portrait_lora.likeness import open_likeness
from portrait_lora.stages import identity, limits
from portrait_lora.stages.context import Context
from portrait_lora.training import checkpoint
from tests.conftest import REDUCED, Journey

DRAWN = 4


@pytest.fixture
def ctx(journey: Journey) -> Context:
    return Context(open_likeness(journey.folder, REDUCED))


@pytest.fixture
def due(ctx: Context) -> identity.WhenDue:
    crops, _ = load_dataset_folder(ctx.likeness.dataset)
    return identity.WhenDue(ctx, crops, limits.steps_for(ctx, limits.photos_in(crops)))


def moments(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_the_last_quarter_of_a_journey_looks_at_portraits_of_its_own(
    ctx: Context, due: identity.WhenDue, journey: Journey
) -> None:
    run = journey.folder / "adapters" / "main"
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = len(rows)
    begins = steps - round(steps / 4)
    assert [row["step"] for row in rows if "likeness" in row] == list(range(begins + 1, steps + 1))
    assert begins in [saved.step for saved in checkpoint.find(run / "checkpoints")]
    assert due.begun() == steps and due.least == begins + 1

    before = moments(run / identity.FOLDER)

    @contextmanager
    def first() -> Iterator[None]:
        waited.append("before")
        yield
        waited.append("after")

    waited = list[str]()
    due._first = first
    lessons = due(begins)
    assert waited == ["before", "after"]
    assert lessons is not None and lessons is due(steps - 1) and moments(run / identity.FOLDER) == before
    assert (due(begins - 1), due(steps)) == (None, None)
    assert len([name for name in before if name.endswith(".png")]) == DRAWN >= len(lessons.lessons) > 0
    known, _ = embed_photos(ctx.photos_of(load_dataset_folder(ctx.likeness.dataset)[0]), ctx.finder)
    np.testing.assert_array_equal(lessons.known_ND, known.embeddings)
    held_out = {path.name for path in (ctx.likeness.dataset / "holdout").iterdir()}
    assert not held_out & set(known.names)


def test_lessons_ask_for_every_light_and_view_with_seeds_of_their_own() -> None:
    lessons = prompts.lesson_shots("ohwx", "man", 24, resolution_px=128, seed=3)
    layers = [dict(shot.layers) for shot in lessons]
    assert {one["view"] for one in layers} == {"frontal", "three-quarter", "profile"}
    assert len({one["lighting"] for one in layers}) >= 8
    assert {one["expression"] for one in layers} == {"neutral", "smiling", "laughing"}
    probes = prompts.probe_shots("ohwx", "man", 24, resolution_px=128, seed=3)
    assert len({shot.seed for shot in (*lessons, *probes)}) == 48
    assert {shot.seed for shot in lessons}.isdisjoint(
        shot.seed for shot in prompts.lesson_shots("ohwx", "man", 24, resolution_px=128, seed=4)
    )


def test_what_the_face_pack_does_not_see_is_an_error(
    ctx: Context, due: identity.WhenDue, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = identity.recogniser(ctx)
    turned = replace(true.preprocessing, colour="BGR", template=Preprocessing.arcface(90).template)
    monkeypatch.setattr(identity, "recogniser", lambda ctx: type(true)(true.network, turned))
    begins = due.least - 1
    with pytest.raises(ConfigError, match="does not see what the face pack sees: got cosine"):
        due(begins)


def test_without_faces_training_goes_on_without(
    due: identity.WhenDue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(identity, "_faces", lambda *_: [])
    lessons = due(due.least - 1)
    assert lessons is not None and not lessons.lessons
    assert "no face in any lesson: the training goes on without the identity loss" in caplog.text


def test_a_missing_beginning_is_told(due: identity.WhenDue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "find", lambda place: [])
    assert due.begun() == 0
    with pytest.raises(PortraitError, match="the checkpoint from which the identity loss begins is missing"):
        due(due.least - 1)


def test_what_cannot_be_is_refused_before_anything_is_done(ctx: Context) -> None:
    pack: Any = SimpleNamespace(
        embedder=lambda role: ctx.pack.landmarks, path=ctx.pack.path, stated=lambda role: None, digest="d"
    )
    context: Any = SimpleNamespace(config=ctx.config, pack=pack)
    with pytest.raises(
        ConfigError, match=r"gives no gradients: .*operators without a gradient.*identity_weight=0"
    ):
        identity.refuse_what_cannot_be(context)
    identity.refuse_what_cannot_be(ctx)
    training = ctx.config.training.model_copy(update={"identity_weight": 0.0})
    context.config = ctx.config.model_copy(update={"training": training})
    identity.refuse_what_cannot_be(context)
    assert identity.inputs_of(context) == {} and set(identity.inputs_of(ctx)) == {"identity"}
    calibrated = SimpleNamespace(config=ctx.config, pack=replace(ctx.pack, digest="other thresholds"))
    assert identity.inputs_of(calibrated) == identity.inputs_of(ctx)  # type: ignore[arg-type]
