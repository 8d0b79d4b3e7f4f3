"""Early stop: the decision after every checkpoint, the same however often the run was killed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from portrait_lora import config, manifest, recipe
from portrait_lora.errors import ConfigError
from portrait_lora.evaluation.checkpoint_choice import CheckpointScore, StopDecision, stop_decision
from portrait_lora.records import Adapter, TrainResult
from portrait_lora.stages import stopping, train
from tests.conftest import REDUCED, Journey

STEPS, EVERY, BATCH = 1000, 100, 4
ONE_PROCESS: Any = SimpleNamespace(is_main_process=True, num_processes=1)


def adapter(step: int) -> Adapter:
    return Adapter(Path("a"), "sd15", "b", "", 2, 2.0, (), "ohwx", "", "", step)


class Disk:
    """Stands for the training loop: every call goes on from the checkpoints there are."""

    def __init__(self, until: int = 0):
        self.at, self.trained = until, 0

    def __call__(self, enough: Callable[[Adapter], bool]) -> TrainResult:
        already_enough = bool(self.at) and self.at < STEPS and enough(adapter(self.at))
        while self.at < STEPS and not already_enough:
            self.at += EVERY
            self.trained += EVERY
            if enough(adapter(self.at)):
                break
        adapters = tuple(adapter(s) for s in range(EVERY, self.at + 1, EVERY))
        return TrainResult(adapters, self.at, self.at * BATCH, 0.1, None)


class Judge:
    """Likeness that grows with time constant `tau`, the same at every call."""

    def __init__(self, tau: float):
        self.tau, self.scored = tau, list[int]()

    def __call__(self, candidate: Adapter) -> CheckpointScore:
        self.scored.append(candidate.step)
        noise = np.random.default_rng(candidate.step).normal(0, 0.02, 8)
        values = 0.5 * (1 - np.exp(-candidate.step / self.tau)) + np.linspace(-0.1, 0.1, 8) + noise
        return CheckpointScore(candidate.step, float(values.mean()), 1.0, 8, tuple(values), 0.0)


def ended(disk: Disk, judge: Judge) -> stopping.Stopped:
    return trained(disk, judge)


def trained(disk: Disk, judge: Judge, **more: Any) -> stopping.Stopped:
    settings: dict[str, Any] = {"copy_limit": 0.15, "accelerator": ONE_PROCESS, "stops": True} | more
    segments = stopping.rounds(judge, STEPS, **settings)
    return stopping.driven(segments, lambda segment: disk(segment.enough))


def test_a_flat_curve_stops_and_nothing_beyond_is_trained():
    disk, judge = Disk(), Judge(80.0)
    stopped = ended(disk, judge)
    step = stopped.result.steps
    assert 400 <= step < STEPS and disk.at == step and f"step {STEPS}" in stopped.reason
    assert judge.scored == list(range(EVERY, step + 1, EVERY))
    assert [a.step for a in stopped.result.checkpoints] == judge.scored
    assert stopped.result.samples == step * BATCH
    table = [Judge(80.0)(adapter(s)) for s in judge.scored]
    assert stop_decision(table, last_step=STEPS).stop
    assert not stop_decision(table[:-1], last_step=STEPS).stop


def test_a_steep_curve_is_trained_to_its_end():
    disk, judge = Disk(), Judge(900.0)
    stopped = ended(disk, judge)
    assert (stopped.result.steps, stopped.reason, disk.trained) == (STEPS, "", STEPS)
    assert judge.scored == list(range(EVERY, STEPS + 1, EVERY))


def test_previews_show_every_checkpoint_and_never_stop(tmp_path: Path):
    disk, judge, shown = Disk(), Judge(80.0), tmp_path / stopping.PREVIEWS
    whole = trained(disk, judge, stops=False, previews=shown)
    assert (whole.result.steps, whole.reason, disk.trained) == (STEPS, "", STEPS)
    rows = json.loads(shown.read_text())["probes"]
    assert [row["step"] for row in rows] == judge.scored == list(range(EVERY, STEPS + 1, EVERY))
    assert rows[2] == stopping.probe_row(Judge(80.0)(adapter(300))).json_value()


def test_nothing_is_stopped_before_the_identity_loss_was_at_work():
    due: list[int] = []

    def lessons(done: int) -> None:
        due.append(done)

    late = trained(Disk(), Judge(80.0), lessons=lessons, least=701)
    assert late.result.steps == 800 and late.reason
    assert due == list(range(0, 800, EVERY))


def test_unwatched_training_goes_on_with_lessons_where_they_begin():
    segments: list[stopping.Segment] = []
    results = [TrainResult((), 600, 1, 0.1, 200), TrainResult((), STEPS, 1, 0.1, 600)]

    def train(segment: stopping.Segment) -> TrainResult:
        segments.append(segment)
        return results[len(segments) - 1]

    class Due:
        def begun(self) -> int:
            return 200

        def __call__(self, done: int) -> Any:
            return f"lessons at {done}" if done >= 600 else None

    whole = stopping.driven(stopping._unwatched(STEPS, Due()), train)  # type: ignore[arg-type]
    assert [(s.enough, s.lessons) for s in segments] == [(None, None), (None, "lessons at 600")]
    assert (whole.result.steps, whole.result.resumed_from) == (STEPS, 200)
    segments.clear()
    results.reverse()
    assert stopping.driven(stopping._unwatched(STEPS, Due()), train).result.steps == STEPS  # type: ignore[arg-type]
    assert len(segments) == 1


@pytest.mark.parametrize("killed_at", [100, 300, 400, 600, STEPS])
def test_a_run_killed_anywhere_or_longer_than_needed_ends_the_same(killed_at: int):
    whole = ended(Disk(), Judge(80.0))
    again = ended(Disk(killed_at), Judge(80.0))
    assert again == whole


def settings(**changes: object) -> config.TrainingConfig:
    return config.TrainingConfig(**({"early_stop": True, "checkpoints": 10} | changes))  # type: ignore[arg-type]


def test_what_cannot_stop_is_refused_before_training():
    stopping.refuse_what_cannot_stop(settings())
    stopping.refuse_what_cannot_stop(settings(early_stop=False, schedule="cosine", checkpoints=1))
    with pytest.raises(ConfigError, match=r"training\.schedule.*cosine"):
        stopping.refuse_what_cannot_stop(settings(schedule="cosine"))
    with pytest.raises(ConfigError, match="got 4; needed 5 or more"):
        stopping.refuse_what_cannot_stop(settings(checkpoints=4))


def test_only_what_changes_a_probe_picture_selects_anew():
    def digest(*overrides: str) -> str:
        pack = SimpleNamespace(digest="d")
        return train.probe_digest(SimpleNamespace(config=config.load(None, overrides), pack=pack))  # type: ignore[arg-type]

    names = config.GenerateConfig.model_fields
    assert names.keys() >= train.PROBE_KEYS
    same = ("series=avatars", "brand=example", "price_per_hour=3", "per_shot=5", "best_of=3", "strict=true")
    assert len({digest(), *(digest(f"generate.{change}") for change in same)}) == 1
    other = ("guidance_scale=2", "num_inference_steps=3", "adapter_scale=0.5", "scheduler=euler",
             "style_adapter=x.safetensors", "style_scale=0.1", "batch_size=3",
             "unconditional=base", "unconditional=adapter")  # fmt: skip
    assert len({digest(), digest("select.probes=3"), *(digest(f"generate.{c}") for c in other)}) == 10


def _decided(table: list[CheckpointScore], **_: object) -> StopDecision:
    stop = len(table) == 4
    return StopDecision(stop, 0.0, "enough of it" if stop else "more of it")


def moments(files: Iterable[Path]) -> list[str]:
    return sorted(f"{p.parent.name}/{p.name} {p.stat().st_mtime_ns}" for p in files)


@pytest.mark.journey
def test_a_stopped_run_is_the_beginning_of_the_whole_run(
    journey: Journey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "demo"
    shutil.copytree(journey.folder, folder, ignore=shutil.ignore_patterns("portraits"))
    few = (*REDUCED, "training.exposures_per_photo=1", "training.batch_size=1", "training.checkpoints=5",
           "training.identity_weight=0", "generate.num_inference_steps=2")  # fmt: skip
    monkeypatch.setattr(stopping, "stop_decision", _decided)
    drawn: list[str] = []
    real = stopping.driven

    def watched(*arguments: Any, **more: Any) -> stopping.Stopped:
        outcome = real(*arguments, **more)
        drawn.extend(moments(folder.glob("adapters/.main-*/probes/*/*")))  # beside the finished adapter
        return outcome

    monkeypatch.setattr(stopping, "driven", watched)
    recipe.train(folder, overrides=[*few, "training.early_stop=true"])
    summary = json.loads((folder / "reports" / "stages.json").read_text())["train"]["summary"]
    checkpoints = folder / "adapters" / "main" / "checkpoints"
    assert summary["stopped_early"] and summary["stop_reason"] == "enough of it"
    assert len(summary["checkpoints"]) == 4 == len(list(checkpoints.iterdir()))
    assert drawn == moments(folder.glob("adapters/main/probes/*/*"))  # select draws nothing again
    before = {p: manifest.sha256_file(p) for p in checkpoints.glob("*/adapter.safetensors")}

    recipe.train(folder, overrides=few)  # the same run without a stop goes on from there
    summary = json.loads((folder / "reports" / "stages.json").read_text())["train"]["summary"]
    assert not summary["stopped_early"] and summary["resumed_from"] and len(summary["checkpoints"]) == 5
    resumed = {p: manifest.sha256_file(p) for p in checkpoints.glob("*/adapter.safetensors")}
    assert before.items() <= resumed.items()

    recipe.train(folder, overrides=few, force=True)  # nor would it have been another without
    whole = {p: manifest.sha256_file(p) for p in checkpoints.glob("*/adapter.safetensors")}
    assert whole == resumed

    recipe.train(folder, overrides=[*few, "training.early_stop=true"])  # what is trained already is kept
    summary = json.loads((folder / "reports" / "stages.json").read_text())["train"]["summary"]
    assert (
        summary["stopped_early"]
        and len(summary["checkpoints"]) == 4
        and len(list(checkpoints.iterdir())) == 5
    )
