"""The loop: it learns, touches only the adapter, and resumes to the same bits."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import make_crops

from portrait_lora import manifest
from portrait_lora.errors import InputError, Interrupted
from portrait_lora.families.sd15 import SD15
from portrait_lora.records import Adapter, CaptionedCrop, TrainResult
from portrait_lora.training import checkpoint, loss
from portrait_lora.training.run import checkpoint_schedule, steps_for
from tests.recipes import train_with

Train = Callable[..., TrainResult]


@pytest.fixture
def crops(tmp_path: Path) -> list[CaptionedCrop]:
    return make_crops(tmp_path / "crops", ((64, 64), (64, 64), (48, 80)))


@pytest.fixture
def run(tiny_sd15: SD15, crops: list[CaptionedCrop], tmp_path: Path) -> Train:
    def call(out: str, **changes: object) -> TrainResult:
        settings = {
            "rank": 4, "alpha": 2.0, "targets": "attention_and_conv", "learning_rate": 5e-3,
            "batch_size": 2, "steps": 6, "checkpoint_steps": (3, 6), "seed": 5, "caption_dropout": 0.3,
            "cache_dir": tmp_path / "cache", "weight_decay": 0.01, "dataset_digest": "d",
        }  # fmt: skip
        settings |= changes
        return train_with(tiny_sd15, settings.pop("crops", crops), tmp_path / out, **settings)

    return call


def _tensors(result: TrainResult, at: int = -1) -> dict[str, torch.Tensor]:
    folder = result.checkpoints[at].path.parent
    both = {**load_file(folder / "adapter.safetensors"), **load_file(folder / "optimizer.safetensors")}
    assert len(both) > 40
    return {k: v.clone() for k, v in both.items()}  # read tensors are mapped from the file


def _assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def test_resume_after_a_kill_is_bit_identical(run: Train, tmp_path: Path) -> None:
    straight = run("straight")
    killed = RuntimeError("killed")

    def die(adapter: Adapter) -> None:
        raise killed

    with pytest.raises(RuntimeError, match="killed"):
        run("resumed", on_checkpoint=die)
    resumed = run("resumed")
    assert (straight.resumed_from, resumed.resumed_from) == (None, 3)
    _assert_same(_tensors(straight), _tensors(resumed))
    assert straight.final_loss == resumed.final_loss
    read = [(tmp_path / n / "metrics.jsonl").read_text() for n in ("straight", "resumed")]
    assert read[0] == read[1]


def test_keyboard_interrupt_saves_the_last_finished_step(
    run: Train, tiny_sd15: SD15, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = run("straight")
    calls = 0
    predict = tiny_sd15.predict

    def interrupted(*args: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if len((tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()) == 4:
            raise KeyboardInterrupt
        return predict(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(tiny_sd15, "predict", interrupted)
        with pytest.raises(Interrupted, match="4 of 6 steps saved"):
            run("cut")
    resumed = run("cut")
    assert resumed.resumed_from == 4
    _assert_same(_tensors(straight), _tensors(resumed))
    assert [c.step for c in resumed.checkpoints] == [3, 6]
    assert not (tmp_path / "cut/checkpoints/step-000004").exists()  # not planned, so removed again


@pytest.mark.parametrize("step", [3, 6], ids=["between", "last"])
def test_a_signal_lets_the_step_finish(run: Train, step: int) -> None:
    def ask(adapter: Adapter) -> None:
        if adapter.step == step:
            signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match=f"{step} of 6"):
        run("signalled", on_checkpoint=ask)
    assert signal.getsignal(signal.SIGINT) is before
    assert run("signalled").resumed_from == step


@pytest.mark.parametrize("damage", ["no_manifest", "changed_byte", "cut"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_used(
    run: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    straight = run("run")
    expected = _tensors(straight)
    folder = straight.checkpoints[-1].path.parent
    if damage == "no_manifest":
        (folder / manifest.NAME).unlink()
    elif damage == "cut":
        path = folder / "optimizer.safetensors"
        path.write_bytes(path.read_bytes()[:-100])
    else:
        path = folder / "adapter.safetensors"
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(bytes(data))
    again = run("run")
    assert "step-000006" in caplog.text
    assert again.resumed_from == 3
    _assert_same(expected, _tensors(again))


def test_a_finished_run_is_not_trained_again(run: Train) -> None:
    first = run("run")
    stamp = first.checkpoints[-1].path.stat().st_mtime_ns
    again = run("run")
    assert again.resumed_from == 6
    assert again.checkpoints == first.checkpoints
    assert again.final_loss == first.final_loss
    assert again.checkpoints[-1].path.stat().st_mtime_ns == stamp


def test_other_settings_are_refused_by_name(run: Train) -> None:
    run("run", steps=3)
    with pytest.raises(InputError, match=r"learning_rate 0\.005 became 0\.001"):
        run("run", learning_rate=1e-3)
    assert run("run", learning_rate=1e-3, resume=False).resumed_from is None


def test_more_steps_continue_a_constant_rate(run: Train) -> None:
    run("grown", steps=3)
    _assert_same(_tensors(run("straight")), _tensors(run("grown", steps=6)))


def test_loss_falls_on_two_images(run: Train, crops: list[CaptionedCrop], tmp_path: Path) -> None:
    """Against a run that hardly learns: same draws, so the difference is the learning."""
    losses: dict[float, list[float]] = {}
    for rate in (1e-9, 1e-2):
        out = f"rate{rate}"
        run(out, crops=crops[:2], steps=30, checkpoint_steps=(), learning_rate=rate, caption_dropout=0.0)
        rows = [json.loads(x) for x in (tmp_path / out / "metrics.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows] == list(range(1, 31))
        losses[rate] = [row["loss"] for row in rows]
    assert losses[1e-9][0] == losses[1e-2][0]
    assert sum(losses[1e-2][-10:]) < 0.93 * sum(losses[1e-9][-10:])


def test_only_the_adapter_moves(run: Train, tiny_sd15: SD15) -> None:
    tiny_sd15.load("none")
    tiny_sd15.load("denoiser")
    before = {k: v.clone() for k, v in tiny_sd15.denoiser.state_dict().items()}
    run("run", steps=2)
    trained = {n for n, p in tiny_sd15.denoiser.named_parameters() if p.requires_grad}
    assert trained and all(".lora_" in n for n in trained)
    after = {
        k.replace(".base_layer", ""): v
        for k, v in tiny_sd15.denoiser.state_dict().items()
        if ".lora_" not in k
    }
    assert after.keys() == before.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)


def test_caption_dropout_and_order_are_even(
    run: Train, crops: list[CaptionedCrop], tiny_sd15: SD15, tmp_path: Path
) -> None:
    seen: list[int] = []
    rows: list[torch.Tensor] = []
    predict = tiny_sd15.predict

    def watch(noisy: torch.Tensor, level: torch.Tensor, condition: object, geometry: object) -> torch.Tensor:
        seen.extend(level.tolist())
        rows.extend(condition.embeds_BLD)  # type: ignore[attr-defined]
        return predict(noisy, level, condition, geometry)  # type: ignore[arg-type]

    tiny_sd15.predict = watch  # type: ignore[method-assign]
    try:
        run("run", steps=30, checkpoint_steps=())
    finally:
        del tiny_sd15.predict
    assert len(seen) == 60
    assert 350 < sum(seen) / len(seen) < 650
    tiny_sd15.load("encoders")
    captions = ["", *(c.caption for c in crops)]
    table = tiny_sd15.encode_prompts(captions).embeds_BLD
    counts = [sum(torch.allclose(r, t, atol=1e-5) for r in rows) for t in table]
    assert sum(counts) == 60
    assert 8 <= counts[0] <= 30  # dropout 0.3 of 60
    assert min(counts[1:]) >= 7


def test_a_mask_changes_the_loss_only_on_request(
    run: Train, crops: list[CaptionedCrop], tmp_path: Path
) -> None:
    from PIL import Image

    mask = tmp_path / "mask.png"
    picture = Image.new("L", (64, 64), 0)
    picture.paste(255, (16, 16, 48, 48))
    picture.save(mask)
    masked = [replace(c, mask_path=mask) for c in crops[:2]]
    plain = run("plain", crops=crops[:2], steps=2)
    ignored = run("ignored", crops=masked, steps=2)
    used = run("used", crops=masked, steps=2, background_weight=0.1)
    assert ignored.final_loss == plain.final_loss
    assert used.final_loss != plain.final_loss


def test_outside_the_region_the_base_is_kept(
    run: Train, crops: list[CaptionedCrop], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At first the adapter changes nothing, so that only the region has a loss; the bare base runs bare."""
    from PIL import Image

    mask = tmp_path / "head.png"
    picture = Image.new("L", (64, 64), 0)
    picture.paste(255, (0, 0, 64, 32))
    picture.save(mask)
    seen: list[torch.Tensor] = []
    plain = loss.sample_loss

    def watched(
        answer: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None
    ) -> torch.Tensor:
        seen.append(answer.detach().float() - target)
        return plain(answer, target, weight)

    monkeypatch.setattr(loss, "sample_loss", watched)
    settings = {"steps": 3, "checkpoint_steps": (), "warmup_steps": 0, "learn_region": "head"}
    run("head", crops=[replace(c, head_path=mask) for c in crops[:2]], **settings)
    below = [float(off[:, :, off.shape[2] // 2 :].square().mean()) for off in seen]
    above = [float(off[:, :, : off.shape[2] // 2].square().mean()) for off in seen]
    assert below[0] == 0 < below[2] < above[2]
    with pytest.raises(InputError, match="no mask of the head"):
        run("none", crops=crops[:2], **settings)


def test_blocks_without_a_layer_are_an_error(run: Train) -> None:
    with pytest.raises(InputError, match="no layer"):
        run("run", blocks=("to_nowhere",))


def test_steps_and_checkpoints_follow_from_the_photos() -> None:
    assert steps_for(13, 100, 4) == 325
    assert steps_for(1, 1, 4) == 1
    assert checkpoint_schedule(400, 4) == (100, 200, 300, 400)
    assert checkpoint_schedule(3, 10)[-1] == 3


def test_find_lists_oldest_first(run: Train, tmp_path: Path) -> None:
    run("run")
    assert [c.step for c in checkpoint.find(tmp_path / "run/checkpoints")] == [3, 6]
