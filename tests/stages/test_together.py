"""Several people in one call: who shares the passes, who is trained alone, and what the journal says then."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from safetensors.torch import load_file

from portrait_lora import manifest
from portrait_lora.errors import InputError, Interrupted, PortraitError
from portrait_lora.likeness import Journal, open_likeness
from portrait_lora.records import Adapter, TrainResult
from portrait_lora.results import TrainingResult
from portrait_lora.stages import Context, probing, stopping, together, train
from portrait_lora.training import together as loop
from portrait_lora.training.member import Member
from tests.conftest import REDUCED, Journey
from tests.recipes import recipe
from tests.stages.test_stopping import ONE_PROCESS, Judge

SHORT = (*REDUCED, "training.exposures_per_photo=1", "training.learning_rate=0.001", "training.together=8",
         "training.checkpoints=2", "training.identity_weight=0",
         "mixed_precision=no")  # fmt: skip
Person = Callable[..., Context]


@pytest.fixture
def person(journey: Journey, tmp_path: Path) -> Person:
    """A prepared likeness with nothing trained, under settings of its own."""

    def make(name: str, *overrides: str, beside: Context | None = None) -> Context:
        folder = tmp_path / name
        if not folder.exists():
            shutil.copytree(journey.folder, folder, ignore=shutil.ignore_patterns("adapters", "portraits"))
        return Context(open_likeness(folder, [*SHORT, *overrides]), beside=beside)

    return make


def adapter_of(ctx: Context, result: TrainingResult) -> dict[str, Any]:
    return load_file(ctx.run_folder / "checkpoints" / result.checkpoints[-1] / "adapter.safetensors")


@pytest.mark.journey
def test_a_group_leaves_in_every_folder_what_training_alone_leaves(
    person: Person, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[int]] = []
    real = loop.train_together

    def watched(family: Any, members: Sequence[Member], **more: Any) -> Any:
        calls.append([m.recipe.seed for m in members])
        assert (more["seats"], more["room"]) == (2, 8)
        return real(family, members, **more)

    monkeypatch.setattr(loop, "train_together", watched)
    caplog.set_level(logging.INFO)
    first = person("first")
    people = [
        first,
        person("second", "seed=7", beside=first),
        person("dora", "training.dora=true"),
        person("larger", "training.rank=4"),
        person("by-itself", "training.together=1"),
    ]
    gone = person("gone")
    shutil.rmtree(gone.likeness.dataset / "train")
    ended = together.train_together([*people, gone])
    assert calls == [[people[0].config.seed, 7]]
    assert [type(e) for e in ended[:2]] == [stopping.Stopped] * 2 and ended[2:5] == [None] * 3
    assert isinstance(ended[5], PortraitError)
    assert "dora is trained alone: training.dora" in caplog.text
    assert "larger is trained alone: nobody else" in caplog.text
    results = [train.train(ctx, one) for ctx, one in zip(people[:2], ended, strict=False)]
    alone = [train.train(person(f"alone{i}", f"seed={c.config.seed}")) for i, c in enumerate(people[:2])]
    for result, solo in zip(results, alone, strict=True):
        assert result.final_loss == pytest.approx(solo.final_loss, rel=1e-5)
        assert result.model_copy(update={"final_loss": None}) == solo.model_copy(update={"final_loss": None})
    for i, (ctx, result) in enumerate(zip(people, results, strict=False)):
        one, other = adapter_of(ctx, result), adapter_of(person(f"alone{i}"), result)
        off = sum(float((one[k] - other[k]).norm() ** 2) for k in one)
        assert off**0.5 < 1e-5 * sum(float(t.norm() ** 2) for t in other.values()) ** 0.5
        beside = person(f"alone{i}")
        journals = [Journal.open(c.likeness.reports) for c in (ctx, beside)]
        assert journals[0].inputs("train") == journals[1].inputs("train")
        assert journals[0].seconds("train") > 0.05
        same = [manifest.read(c.run_folder / "checkpoints" / result.checkpoints[0]) for c in (ctx, beside)]
        assert {*same[0].files} == {*same[1].files}  # type: ignore[union-attr]
    again = [person("first"), person("second", "seed=7")]
    assert together.train_together(again) == [None, None] and len(calls) == 1  # nothing has changed
    assert [train.train(ctx).json_value() for ctx in again] == [r.json_value() for r in results]
    with pytest.raises(PortraitError, match=str(gone.likeness.dataset)):
        train.train(gone, ended[5])


class Due:
    """Lessons from step 600 on, for the one who is not watched."""

    least = 0

    def __init__(self, ctx: Any, crops: Any, steps: int):
        self.name = ctx.name

    def begun(self) -> int:
        return 0

    def __call__(self, done: int) -> Any:
        return "lessons" if self.name == "plain" and done >= 600 else None


class Paths:
    """Stands for the loop: everybody goes on to the next checkpoint that is not enough."""

    def __init__(self) -> None:
        self.at: dict[Path, int] = {}
        self.calls: list[int] = []
        self.lessons: list[object] = []

    def __call__(self, family: Any, members: Sequence[Member], **_: Any) -> list[TrainResult]:
        self.calls.append(len(members))
        return [self._one(m) for m in members]

    def _one(self, member: Member) -> TrainResult:
        at = self.at.get(member.out_dir, 0)
        self.lessons.append(member.lessons)
        end = 600 if member.out_dir.name == "plain" and member.lessons is None else 1000
        while at < end:
            at += 100
            if member.on_checkpoint and member.on_checkpoint(self._adapter(at)):
                break
        self.at[member.out_dir] = at
        return TrainResult(tuple(self._adapter(s) for s in range(100, at + 1, 100)), at, 4 * at, 0.1, None)

    def _adapter(self, step: int) -> Adapter:
        return Adapter(Path("a"), "sd15", "b", "", 2, 2.0, (), "ohwx", "", "", step)


def test_everybody_stops_at_a_checkpoint_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same decisions as alone: one stops early, one never does, the probes of one fail.  Another asks for
    lessons where the identity loss begins."""
    judges = {"early": Judge(80.0), "late": Judge(900.0), "failing": Judge(900.0)}

    def checkpoints(ctx: Any) -> Any:
        def score(adapter: Adapter) -> Any:
            if ctx.name == "failing" and adapter.step == 200:
                raise InputError("no face in any probe")
            return judges[ctx.name](adapter)

        return SimpleNamespace(score=score)

    def going(name: str) -> Any:
        training = SimpleNamespace(
            early_stop=name != "plain",
            previews=False,
            together=8,
            checkpoints=10,
            batch_size=4,
            warm_start="",
            identity_weight=0.0,
        )
        config = SimpleNamespace(training=training, select=SimpleNamespace(copy_limit=0.15), seed=0)
        family = SimpleNamespace(load=lambda parts: None, weights="float32")
        ctx: Any = SimpleNamespace(
            name=name, config=config, run_folder=tmp_path / name, family=family, spent={},
            device=SimpleNamespace(kind="cpu", device="cpu"),
        )  # fmt: skip
        means = SimpleNamespace(weights="float32", gradient_checkpointing=False, micro_batch=4)
        begun = train.Begun(inputs={"dataset": "", "config": ""}, crops=[], steps=1000, means=means)  # type: ignore[arg-type]
        return together._Going(ctx, begun, ())

    paths = Paths()
    monkeypatch.setattr(loop, "train_together", paths)
    monkeypatch.setattr(probing, "Checkpoints", checkpoints)
    monkeypatch.setattr(together.processes, "open_accelerator", lambda cpu: ONE_PROCESS)
    monkeypatch.setattr(together.limits, "recipe_of", lambda ctx, steps: recipe(steps=steps))
    monkeypatch.setattr(together.limits, "job_of", lambda ctx, steps: None)
    monkeypatch.setattr(together.limits, "seats_and_room", lambda job, means, where, people: (people, 16))
    monkeypatch.setattr(train, "class_pictures", lambda ctx, crops: [])
    monkeypatch.setattr(together.identity, "WhenDue", Due)
    group = [going(name) for name in ("early", "late", "failing", "plain")]
    together._train(group)
    early, late, failing, plain = (one.ended for one in group)
    solo = stopping.driven(
        stopping.rounds(Judge(80.0), 1000, copy_limit=0.15, accelerator=ONE_PROCESS, stops=True),
        lambda next: paths._one(
            Member(crops=[], out_dir=Path("solo"), recipe=None, on_checkpoint=next.enough)  # type: ignore[arg-type]
        ),
    )
    assert early == solo and 400 <= early.result.steps < 1000 and early.reason
    assert (late.result.steps, late.reason) == (1000, "") and plain.result.steps == 1000
    assert isinstance(failing, InputError) and paths.at[tmp_path / "failing"] == 200
    assert [one for one in paths.lessons if one] == ["lessons"]
    assert judges["early"].scored == list(range(100, early.result.steps + 1, 100))
    assert paths.calls == [
        4,
        4,
        *[2] * (early.result.steps // 100 - 2),
        *[1] * (10 - early.result.steps // 100),
    ]


def test_an_interruption_is_everybodys(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(ctx: Any, locks: Any) -> Any:
        raise Interrupted("stopped")

    monkeypatch.setattr(together, "_going", stopped)
    with pytest.raises(Interrupted):
        together.train_together([SimpleNamespace()])  # type: ignore[list-item]


def test_memory_decides_how_many_sit_and_how_many_samples_go_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from portrait_lora.families.catalog import resolve_base
    from portrait_lora.stages import limits
    from portrait_lora.training.preflight import Job, Means, adapter_gb, memory_needed_gb
    from tests.recipes import recipe

    job = Job(
        base=resolve_base("sdxl"), recipe=recipe(rank=32, batch_size=2), checkpoints=4, prior=False,
        weights="bfloat16", checkpointing=False, micro_batch=None,
    )  # fmt: skip
    means = Means("bfloat16", False, 2, 0.0, True, "")

    def planned(memory: float | None, people: int = 16) -> tuple[int, int]:
        monkeypatch.setattr(limits.device, "memory_gb", lambda where: memory)
        return limits.seats_and_room(job, means, "cuda", people)

    assert planned(None) == planned(10_000.0) == (16, 32)
    least = memory_needed_gb(job, "bfloat16", False, 1)
    assert planned((least + 5.5 * adapter_gb(job)) / 0.92)[0] == 6
    seats, room = planned((memory_needed_gb(job, "bfloat16", False, 8) + 15.1 * adapter_gb(job)) / 0.92)
    assert (seats, room) == (16, 8)
