"""Several people's series in shared batches: taken over by everybody's own stage, which does the rest."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from portrait_lora import manifest, provenance
from portrait_lora.errors import InputError, Interrupted, PortraitError
from portrait_lora.generation import drawing, sample, together
from portrait_lora.generation.stacked import CannotStack
from portrait_lora.likeness import Journal, open_likeness
from portrait_lora.rights import consent
from portrait_lora.rights.guard import RefusedPicture
from portrait_lora.stages import Context, drawn_together, generate
from portrait_lora.stages.context import ADAPTER
from tests.conftest import REDUCED, Journey

ONE_SHOT = "series: one\nseed: 3\naspect: '1:1'\nshots: [{view: frontal, shot: headshot}]\n"
Person = Callable[..., Context]


@pytest.fixture
def person(journey: Journey, tmp_path: Path) -> Person:
    """A finished likeness with an adapter of its own, and a series that is not drawn yet."""
    (tmp_path / "one.yaml").write_text(ONE_SHOT)
    series = f"generate.series={tmp_path / 'one.yaml'}"
    settings = [*REDUCED, "generate.together=2", "generate.num_inference_steps=2", series]

    def make(name: str, *overrides: str, strength: float = 1.0, beside: Context | None = None) -> Context:
        folder = tmp_path / name
        if not folder.exists():
            unneeded = shutil.ignore_patterns("portraits", "checkpoints", "cache")
            shutil.copytree(journey.folder, folder, ignore=unneeded)
            (file,) = folder.glob(f"adapters/*/{ADAPTER}")
            with safe_open(file, "pt") as opened:
                about: Any = opened.metadata()
            tensors = {n: t * strength if "lora_B" in n else t for n, t in load_file(file).items()}
            save_file(tensors, file, about)
        return Context(open_likeness(folder, [*settings, *overrides]), beside=beside)

    return make


def conditions(ctx: Context) -> list[Any]:
    files = sorted(ctx.likeness.portraits(ctx.series).glob("*.png"))
    return [provenance.read_record(file)["made"] for file in files]


@pytest.mark.journey
def test_what_was_drawn_together_is_checked_sealed_and_reported_as_alone(
    person: Person, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    real = consent.require_purposes

    def no_more(folder: Path, *purposes: str) -> None:
        if folder.name == "ended":
            raise InputError("the consent has ended")
        real(folder, *purposes)

    monkeypatch.setattr(consent, "require_purposes", no_more)
    first = person("first")
    people = [
        first,
        person("second", strength=0.3, beside=first),
        person("ended", beside=first),
        person("guided", "generate.guidance_scale=2", beside=first),
        person("by-itself", "generate.together=1", beside=first),
    ]
    drawn_together.draw_together([first, *people[2:], people[1]])
    pairs = [[(m["batch_size"], m["batch_index"], m["together"]) for m in conditions(ctx)] for ctx in people]
    assert pairs == [[(2, 0, 2)], [(2, 1, 2)], [], [], []]
    assert "guided is drawn alone: nobody else" in caplog.text
    with monkeypatch.context() as patch:
        patch.setattr(drawing, "from_text", None)  # nothing is left to draw
        patch.setattr(sample, "from_text", None)
        results = [generate.generate(ctx) for ctx in people[:2]]
    for ctx, result in zip(people, results, strict=False):
        folder = ctx.likeness.portraits(ctx.series)
        own = manifest.sha256_file(ctx.likeness.adapters / ADAPTER)
        records = [provenance.read_record(p) for p in folder.glob("*.png")]
        assert {r["adapter_sha256"] for r in records} == {own} and len(records) == result.portraits
        assert manifest.verify(folder) and Path(result.contact_sheet).is_file()
        assert result.seconds_per_portrait and result.seconds_per_portrait > 0
        assert Journal.open(ctx.likeness.reports).seconds("generate") > 0.01
    with pytest.raises(InputError, match="the consent has ended"):
        generate.generate(people[2])
    again = [person("first"), person("second")]
    monkeypatch.setattr(together, "generate_together", None)  # nothing has changed
    drawn_together.draw_together(again)
    assert [generate.generate(ctx).json_value() for ctx in again] == [r.json_value() for r in results]
    assert again[0].skipped == ["generate"]
    by_itself = person("first", "generate.together=1")
    generate.generate(by_itself)
    assert by_itself.skipped == ["generate"]  # beside whom they were drawn makes no other pictures


@pytest.mark.journey
def test_what_cannot_be_drawn_together_is_left_to_the_own_stage(
    person: Person, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first = person("first")
    group = [first, person("second", beside=first), person("third", beside=first)]
    drawn: list[list[str]] = []

    def failing(family: object, sitters: list[together.Sitter], *_: object, batch_size: int) -> None:
        drawn.append([one.sets[0][0].parents[1].name for one in sitters])
        one = sitters[0]
        one.refused.append(one.sets[0][0] / f"{one.sets[0][1][0].name}.png")
        raise errors.pop(0)

    errors: list[Exception] = [CannotStack("different ranks"), RuntimeError("can't allocate memory")]
    errors += [RuntimeError("odd"), Interrupted("stopped")]
    monkeypatch.setattr(together, "generate_together", failing)
    drawn_together.draw_together(group)
    assert drawn == [["first", "second"]] and "third is drawn alone: nobody else" in caplog.text
    assert "drawn one person after the other: several people cannot be drawn" in caplog.text
    monkeypatch.setattr(sample, "from_text", None)  # what was refused is not drawn once more
    with pytest.raises(RefusedPicture, match="1 of 1"):
        generate.generate(first)
    drawn_together.draw_together(group[1:])
    assert "memory is short for 2 people" in caplog.text
    for kind in (RuntimeError, Interrupted):
        with pytest.raises(kind):
            drawn_together.draw_together(group[1:])
    monkeypatch.setattr(drawn_together.processes, "count", lambda: 2)
    drawn_together.draw_together(group[1:])
    assert "second is drawn alone: several processes" in caplog.text


@pytest.mark.journey
def test_every_candidate_is_drawn_with_others(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    first = person("first", "generate.best_of=2")
    group = [first, person("second", "generate.best_of=2", beside=first)]
    wanted: list[list[str]] = []

    def seen(family: object, sitters: list[together.Sitter], *_: object, batch_size: int) -> None:
        wanted.extend([folder.name for folder, _ in one.sets] for one in sitters)

    monkeypatch.setattr(together, "generate_together", seen)
    drawn_together.draw_together(group)
    assert wanted == [["0", "1"]] * 2


def test_why_somebody_is_drawn_alone(person: Person) -> None:
    assert issubclass(CannotStack, PortraitError)
    assert not drawn_together.why_alone(person("one"))
    assert "reference pictures" in drawn_together.why_alone(person("one", "generate.style_reference=a.png"))
