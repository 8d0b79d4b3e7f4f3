"""Parts of batches, early stopping, previews, two processes; and what may go wrong must not go unnoticed."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_models import make_crops

from portrait_lora import manifest
from portrait_lora.errors import ArtifactError, InputError, PortraitError
from portrait_lora.families.family import LatentMoments
from portrait_lora.families.sd15 import SD15
from portrait_lora.records import Adapter, CaptionedCrop, TrainResult
from portrait_lora.training import batch, cache, update
from portrait_lora.training.disk import only_run
from tests import warm
from tests.recipes import train_with
from tests.training.two_processes import LATE, one_of_both, train_twice

Train = Callable[..., TrainResult]


@pytest.fixture
def crops(tmp_path: Path) -> list[CaptionedCrop]:
    return make_crops(tmp_path / "crops")


def _run_in(folder: Path, family: SD15, crops: list[CaptionedCrop]) -> Train:
    def call(out: str, **changes: object) -> TrainResult:
        settings = {
            "rank": 2, "alpha": 2.0, "targets": "attention", "learning_rate": 1e-2, "batch_size": 2,
            "steps": 4, "checkpoint_steps": (2, 4), "seed": 5, "cache_dir": folder / "cache",
        }  # fmt: skip
        return train_with(family, crops, folder / out, **(settings | changes))

    return call


@pytest.fixture
def run(tiny_sd15: SD15, crops: list[CaptionedCrop], tmp_path: Path) -> Train:
    return _run_in(tmp_path, tiny_sd15, crops)


@pytest.fixture(scope="module")
def plain(tiny_sd15: SD15, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The adapter of a run in which nothing happens."""
    folder = tmp_path_factory.mktemp("plain")
    return _bytes(_run_in(folder, tiny_sd15, make_crops(folder / "crops"))("run"))


def _weights(result: TrainResult) -> dict[str, torch.Tensor]:
    return load_file(result.checkpoints[-1].path)


def _bytes(result: TrainResult) -> bytes:
    return result.checkpoints[-1].path.read_bytes()


def _apart(a: Path, b: Path, *parts: str) -> float:
    """Distance of two safetensors files over all tensors whose names hold `parts`, relative to the first."""
    one, two = (
        torch.cat([t.flatten() for n, t in sorted(load_file(path).items()) if all(p in n for p in parts)])
        for path in (a, b)
    )
    return float((one - two).norm() / one.norm())


def _alike(one: Path, two: Path) -> None:
    """Gradients (their first moments) and losses agree to 1e-5.

    The weights need not: Adam's first steps give a gradient of rounding noise the size of any other.
    """
    early, late = Path("checkpoints/step-000002"), Path("checkpoints/step-000004")
    assert (
        _apart(one / early / "optimizer.safetensors", two / early / "optimizer.safetensors", "exp_avg/")
        <= 1e-5
    )
    for part in (".lora_A.", ".lora_B."):
        assert _apart(one / late / "adapter.safetensors", two / late / "adapter.safetensors", part) <= 1e-3
    losses = [
        [json.loads(line)["loss"] for line in (path / "metrics.jsonl").read_text().splitlines()]
        for path in (one, two)
    ]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=0.0)


def test_parts_of_a_batch_are_the_batch(run: Train, tmp_path: Path) -> None:
    run("whole"), run("parts", micro_batch=1)
    _alike(tmp_path / "whole", tmp_path / "parts")


def test_out_of_memory_halves_the_part_and_goes_on(
    run: Train, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    parts = run("parts", micro_batch=1)
    sums = batch.loss_sums

    def tight(family: object, recipe: object, encodings: object, draws: list[object], slots: int) -> object:
        if len(draws) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return sums(family, recipe, encodings, draws, slots)  # type: ignore[arg-type]

    monkeypatch.setattr(batch, "loss_sums", tight)
    assert _bytes(run("tight")) == _bytes(parts)
    assert "micro-batch reduced to 1" in caplog.text
    monkeypatch.setattr(batch, "loss_sums", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("full")))
    with pytest.raises(PortraitError, match="not enough memory"):
        run("full")


def test_previews_change_nothing_and_true_ends_the_run(run: Train, plain: bytes, tiny_sd15: SD15) -> None:
    def preview(adapter: Adapter) -> None:
        torch.manual_seed(adapter.step)
        pipe = tiny_sd15.pipeline(adapter)
        pipe("ohwx", num_inference_steps=1, height=64, width=64, output_type="latent")

    assert _bytes(run("previewed", on_checkpoint=preview)) == plain
    steps: list[int] = []

    def enough(adapter: Adapter) -> bool:
        steps.append(adapter.step)
        return adapter.step == 2

    early = run("early", on_checkpoint=enough)
    assert (early.steps, early.samples, [a.step for a in early.checkpoints]) == (2, 4, [2])
    assert run("early", on_checkpoint=enough).steps == 2  # called again, stopped alike
    assert steps == [2, 2]
    assert _bytes(run("early")) == plain


def test_bad_numbers_are_skipped_counted_and_never_saved(
    run: Train, tmp_path: Path, tiny_sd15: SD15, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict, calls = tiny_sd15.predict, []

    def bad(*args: object) -> torch.Tensor:
        calls.append(1)
        answer = predict(*args)  # type: ignore[arg-type]
        return answer * float("nan") if len(calls) in bad_calls else answer

    bad_calls = {2}
    monkeypatch.setattr(tiny_sd15, "predict", bad)
    result = run("once")
    rows = [json.loads(line) for line in (tmp_path / "once/metrics.jsonl").read_text().splitlines()]
    assert [row.get("skipped") for row in rows] == [None, 1, None, None]
    assert all(t.isfinite().all() for t in _weights(result).values())
    calls.clear()
    bad_calls = set(range(3, 100))
    monkeypatch.setattr(update, "MAX_SKIPPED", 3)
    with pytest.raises(PortraitError, match="3 steps in a row"):
        run("always", steps=30)
    saved = sorted((tmp_path / "always/checkpoints").glob("*/optimizer.safetensors"))
    assert [p.parent.name for p in saved] == ["step-000002", "step-000004"]
    assert all(t.isfinite().all() for path in saved for t in load_file(path).values())


def test_a_short_run_whose_last_step_is_skipped_has_a_result(
    run: Train, tmp_path: Path, tiny_sd15: SD15, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict, calls = tiny_sd15.predict, []

    def bad(*args: object) -> torch.Tensor:
        calls.append(1)
        answer = predict(*args)  # type: ignore[arg-type]
        return answer * float("nan") if len(calls) == 3 else answer

    monkeypatch.setattr(tiny_sd15, "predict", bad)
    result = run("short", steps=3, checkpoint_steps=(3,), cache_dir=tmp_path / "cache")
    rows = [json.loads(line) for line in (tmp_path / "short/metrics.jsonl").read_text().splitlines()]
    assert [row.get("skipped") for row in rows] == [None, None, 1]
    assert result.final_loss == rows[1]["loss"] and result.steps == 3
    (tmp_path / "short/metrics.jsonl").unlink()
    assert run("short", steps=3, checkpoint_steps=(3,), cache_dir=tmp_path / "cache").final_loss is None


@pytest.mark.parametrize("steps", [2, 3, 5])
def test_a_short_run_gone_wrong_says_so(run: Train, tmp_path: Path, steps: int) -> None:
    with pytest.raises(PortraitError, match=r"training has diverged.*learning_rate"):
        run("wrong", learning_rate=1e30, steps=steps, checkpoint_steps=(), warmup_steps=0)
    assert not list((tmp_path / "wrong/checkpoints").glob(f"step-{steps:06d}"))


def test_a_full_disk_is_reported_and_costs_nothing(
    run: Train, plain: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes, writes = Path.write_bytes, []

    def full(self: Path, data: bytes) -> int:
        writes.append(self.name)
        if len(writes) == 4:  # the second file of the second checkpoint
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_bytes(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(PortraitError, match=r"disk is full.*Make room"):
            run("full")
    assert [p.name for p in (tmp_path / "full/checkpoints").iterdir()] == ["step-000002"]
    resumed = run("full")
    assert resumed.resumed_from == 2 and _bytes(resumed) == plain


def test_two_runs_in_one_folder_are_refused(run: Train, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom portrait_lora.training.disk import only_run\n"
        "with only_run(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "run")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match="another run is training into this folder"):
            run("run")
        assert not (tmp_path / "run").exists()
    finally:
        other.kill()  # no clean-up: the system lets go of the lock
        other.wait()
    with only_run(tmp_path / "run"):  # the holder may enter again
        assert run("run").steps == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps: .*got 0"),
        ({"rank": 0}, "rank: .*got 0"),
        ({"learning_rate": float("nan")}, "learning_rate: .*got nan"),
        ({"caption_dropout": 1.5}, "caption_dropout: .*got 1.5"),
        ({"dora": True, "adapter_kind": "loha"}, "DoRA"),
        ({"blocks": ("identity",)}, "no identity layers"),
        ({"blocks": ("nowhere",)}, "no layer"),
    ],
)
def test_settings_that_cannot_work_are_refused(run: Train, change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run("run", **change)


def test_another_rank_or_another_dataset_is_not_gone_on_with(
    run: Train, tmp_path: Path, crops: list[CaptionedCrop]
) -> None:
    run("run", steps=2)
    with pytest.raises(InputError, match="rank 2 became 8"):
        run("run", rank=8)
    crops[0].path.write_bytes(crops[1].path.read_bytes())  # encoded anew, so another run
    with pytest.raises(InputError, match=r"samples .* became"):
        run("run")


def test_a_picture_whose_encoding_is_not_finite_is_named(
    tiny_sd15: SD15, crops: list[CaptionedCrop], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        tiny_sd15,
        "encode_pixels",
        lambda pixels: LatentMoments(torch.full((1, 4, 8, 8), np.nan), torch.ones(1, 4, 8, 8)),
    )
    with pytest.raises(ArtifactError, match=r"crop0\.png: its encoding is not finite"):
        cache.encode(tiny_sd15, crops, tmp_path / "nan")
    assert not list((tmp_path / "nan").glob("latents-*"))


@pytest.mark.parametrize(
    "changes", [{"ema_decay": 0.9}, {"optimizer": "adamw8bit", "rank": 80}, {"mixed_precision": "bf16"}]
)
def test_every_state_resumes_to_the_same_bytes(
    run: Train, plain: bytes, tmp_path: Path, changes: dict[str, object]
) -> None:
    straight = run("straight", **changes)

    def die(adapter: Adapter) -> None:
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        run("cut", on_checkpoint=die, **changes)
    resumed = run("cut", **changes)
    assert resumed.resumed_from == 2
    for name in ("adapter.safetensors", "optimizer.safetensors", "state.json"):
        both = [r.checkpoints[-1].path.with_name(name).read_bytes() for r in (straight, resumed)]
        assert both[0] == both[1]
    assert _bytes(straight) != plain or "optimizer" in changes


def test_two_processes_equal_one(tiny_folder: Path, tmp_path: Path) -> None:
    """One batch of four, shared out by gloo between two processes, against its halves one after the other:
    1e-5 in gradients, losses and weights; a text encoder is shared as the denoiser is, and so are lessons."""
    threads = torch.get_num_threads()
    try:
        train_twice(tiny_folder, tmp_path, "alone", "crops")
    finally:
        torch.set_num_threads(threads)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    call = partial(one_of_both, tiny_folder, tmp_path)
    ranks = [(call, shared | {"RANK": rank, "LOCAL_RANK": rank}) for rank in ("0", "1")]
    assert warm.exit_codes(ranks, limit_s=900) == [0, 0]
    _alike(tmp_path / "alone", tmp_path / "both")
    for run in ("", "_momentum"):
        one, two = (tmp_path / f"{name}{run}" / LATE / "adapter.safetensors" for name in ("alone", "both"))
        assert _apart(one, two, ".lora_A.") <= 1e-5
        assert _apart(one, two, ".lora_B.") <= 1e-5  # these begin at zero: all of it was learnt
    assert _apart(one, two, "text_encoder.", ".lora_B.") <= 1e-5
    alike = [
        [json.loads(line).get("likeness") for line in (tmp_path / name / "metrics.jsonl").open()]
        for name in ("alone_momentum", "both_momentum")
    ]
    assert alike[0][:2] == [None, None] and alike[1] == pytest.approx(alike[0], abs=1e-5)
    assert manifest.verify(tmp_path / "both" / LATE)
