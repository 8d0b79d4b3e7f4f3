"""What is planned for a machine: it fits if anything does, and no explicit setting is changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from portrait_lora import summaries
from portrait_lora.config import TrainingConfig
from portrait_lora.errors import InputError
from portrait_lora.families.catalog import bases
from portrait_lora.stages import tiers
from portrait_lora.stages.configured import job_of
from portrait_lora.training.preflight import (
    Job,
    choose_means,
    disk_needed_gb,
    measured_tflops,
    memory_needed_gb,
    seconds_needed,
)
from tests.recipes import recipe

SDXL = next(b for b in bases() if b.name == "sdxl")
FLUX = next(b for b in bases() if b.name == "flux1-dev")
RECIPE = recipe(steps=400, batch_size=4, rank=16, mixed_precision="bf16")
JOB = job_of(TrainingConfig(checkpoints=4), SDXL, RECIPE)


def asking(**changes: Any) -> Job:
    """The job with another recipe."""
    return replace(JOB, recipe=replace(RECIPE, **changes))


def test_a_large_gpu_gets_the_fastest_way() -> None:
    means = choose_means(JOB, memory_gb=141.0, default="bfloat16")
    assert (means.weights, means.gradient_checkpointing, means.micro_batch) == ("bfloat16", False, 4)
    assert means.fits and "fastest" in means.reason


@pytest.mark.parametrize("memory_gb", [80.0, 24.0, 16.0, 13.0])
def test_what_is_chosen_fits_and_is_the_first_that_does(memory_gb: float) -> None:
    job = replace(asking(batch_size=2), base=FLUX)
    means = choose_means(job, memory_gb=memory_gb, default="bfloat16")
    assert means.fits and means.memory_gb <= memory_gb
    assert means.memory_gb == memory_needed_gb(
        job, means.weights, means.gradient_checkpointing, means.micro_batch
    )
    if memory_gb < 24:
        assert means.weights == "nf4" and f"{memory_gb:.0f} GB" in means.reason


def test_too_little_memory_is_reported() -> None:
    means = choose_means(replace(JOB, base=FLUX, streaming="auto"), memory_gb=4.0, default="bfloat16")
    assert not means.fits and "run out of memory" in means.reason
    assert (means.streamed, means.gradient_checkpointing, means.micro_batch) == (True, True, 1)
    held = choose_means(replace(JOB, base=FLUX, streaming=False), memory_gb=4.0, default="bfloat16")
    assert (held.weights, held.gradient_checkpointing, held.micro_batch) == ("nf4", True, 1)


def test_explicit_settings_stay() -> None:
    job = replace(JOB, weights="int8", checkpointing=False, micro_batch=2)
    for memory_gb in (141.0, 8.0, None):
        means = choose_means(job, memory_gb=memory_gb, default="bfloat16")
        assert (means.weights, means.gradient_checkpointing, means.micro_batch) == ("int8", False, 2)


def test_a_machine_without_a_gpu_saves_memory_but_quantises_nothing() -> None:
    job = asking(mixed_precision="no")
    small = choose_means(job, memory_gb=25.0, default="float32", gpu=False)
    assert small.fits and small.weights == "float32" and small.gradient_checkpointing
    large = choose_means(replace(job, base=FLUX), memory_gb=25.0, default="float32", gpu=False)
    assert not large.fits and large.weights == "float32" and large.memory_gb > 48


def test_references_cost_what_was_counted() -> None:
    """On the configuration of klein 4B at 1024 px: TFLOP forward, and GB of recomputed activations."""
    klein = next(b for b in bases() if b.name == "flux2-klein-4b")
    tflop, recomputed = {0: 34.93, 1: 76.91, 2: 129.19}, {0: 0.735, 1: 1.389, 2: 2.043}

    def job(share: float, most: int, **more: Any) -> Job:
        return replace(asking(references=share, max_references=most, batch_size=2), base=klein, **more)

    def more_memory(most: int, **more: Any) -> float:
        with_and_without = (
            memory_needed_gb(job(share, most, **more), "bfloat16", 1.0, 2) for share in (0.1, 0.0)
        )
        return next(with_and_without) - next(with_and_without)

    means = choose_means(job(0.0, 2), memory_gb=None, default="bfloat16")
    none, half, always, up_to_two = (
        seconds_needed(job(share, most), means, 100.0) for share, most in ((0, 1), (0.5, 1), (1, 1), (1, 2))
    )
    assert half == pytest.approx((none + always) / 2)
    assert always / none == pytest.approx(tflop[1] / tflop[0], rel=0.01)
    assert up_to_two / none == pytest.approx((tflop[1] + tflop[2]) / 2 / tflop[0], rel=0.01)
    for most in (1, 2):
        assert more_memory(most) == pytest.approx(2 * (recomputed[most] - recomputed[0]), rel=0.1)
        assert more_memory(most, prior=True) == pytest.approx(more_memory(most))


def test_memory_that_is_not_known_changes_nothing() -> None:
    means = choose_means(asking(mixed_precision="no"), memory_gb=None, default="float32")
    assert (means.weights, means.gradient_checkpointing, means.micro_batch) == ("float32", False, 4)


def test_estimates_grow_with_the_job() -> None:
    means = choose_means(JOB, memory_gb=141.0, default="bfloat16")
    # SDXL at 1024 px: 14.6 TFLOP per sample counted on the model; at half speed 37 ms on 790 TFLOP/s.
    assert seconds_needed(JOB, means, 790.0) == pytest.approx(400 * 4 * 0.0418, rel=0.1)
    assert seconds_needed(asking(steps=800), means, 790.0) == 2 * seconds_needed(JOB, means, 790.0)
    assert 0.2 < disk_needed_gb(JOB) / JOB.checkpoints < 0.4
    assert disk_needed_gb(asking(rank=32)) == pytest.approx(2 * disk_needed_gb(JOB))
    twice = replace(JOB, prior=True)
    assert memory_needed_gb(twice, "bfloat16", False, 2) == memory_needed_gb(JOB, "bfloat16", False, 4)
    text = memory_needed_gb(asking(text_encoder=0.5), "bfloat16", False, 4)
    assert 1.0 < text - memory_needed_gb(JOB, "bfloat16", False, 4) < 2.0  # SDXL's two encoders stay


def test_the_speed_of_this_machine_is_a_speed() -> None:
    assert 1e-5 < measured_tflops("cpu", "no", seconds=0.02) < 100.0


def test_a_base_is_streamed_when_nothing_else_fits_or_when_that_is_asked_for() -> None:
    job = replace(asking(batch_size=1), base=FLUX, streaming="auto")
    small = choose_means(job, memory_gb=8.0, default="bfloat16")
    assert small.fits and small.streamed and small.weights == "bfloat16" and small.gradient_checkpointing == 1
    assert "8 GB" in small.reason
    assert small.memory_gb < 0.3 * memory_needed_gb(job, "bfloat16", 1.0, 1)
    assert not choose_means(job, memory_gb=16.0, default="bfloat16").streamed
    assert not choose_means(replace(job, streaming=False), memory_gb=8.0, default="bfloat16").fits
    assert choose_means(replace(job, streaming=True), memory_gb=80.0, default="bfloat16").streamed
    assert not choose_means(job, memory_gb=25.0, default="float32", gpu=False).streamed
    for other in (replace(job, streaming=True, weights="nf4"), replace(asking(dora=True), streaming=True)):
        with pytest.raises(InputError, match="cannot stream"):
            choose_means(other, memory_gb=8.0, default="bfloat16")


def test_activations_of_a_share_of_the_blocks_are_computed_twice() -> None:
    """12 GB hold SDXL's weights, and half of the activations of a sample."""
    job = replace(JOB, micro_batch=1, weights="bfloat16")
    means = choose_means(job, memory_gb=12.0, default="bfloat16")
    assert means.fits and means.gradient_checkpointing == 0.5
    needs = [memory_needed_gb(job, "bfloat16", share, 1) for share in (0.0, 0.5, 1.0)]
    assert needs[1] == pytest.approx((needs[0] + needs[2]) / 2)
    assert seconds_needed(job, means, 1.0) < seconds_needed(
        job, replace(means, gradient_checkpointing=1), 1.0
    )


def test_tiers_are_a_table_of_cards() -> None:
    rows = tiers.of(replace(asking(batch_size=1), base=FLUX, streaming="auto"))
    assert [row.card_gb for row in rows] == [8, 12, 16, 24, 48] and all(row.fits for row in rows)
    assert rows[0].streamed and not rows[-1].streamed
    assert (rows[0].generating, rows[-1].generating) == ("offloaded", "resident")
    # 12 billion parameters: 7.2 GB in nf4, 13.2 in int8, 24 in bfloat16
    assert [row.stays_in for row in rows] == ["", "nf4", "nf4", "int8", ""]
    assert summaries.drawing(rows[3]) == "offloaded, or int8"
    lines = summaries.of_tiers(rows)
    assert len(lines) == 6 and "bfloat16, streamed" in lines[1] and max(map(len, lines)) <= 92
