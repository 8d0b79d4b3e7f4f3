"""The loop's losses equal those of a straight-line reimplementation, written from the papers' equations.

Of the program the reference takes only the draws, whose randomness is ours, and the encodings: pictures and
prompts as the contract of the families holds them (`tests/families/test_contract.py`).
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from scipy.stats import norm
from tiny_families import FAMILIES, make_tiny
from tiny_models import make_crops, make_tiny_sd
from torch import Tensor

from portrait_lora.families import open_family
from portrait_lora.families.catalog import resolve_base
from portrait_lora.families.family import Family, FlowSchedule, Geometry, PromptCondition
from portrait_lora.records import CaptionedCrop, FamilyName
from portrait_lora.tasks.verify.reference import plain_pipeline
from portrait_lora.training import cache
from portrait_lora.training.adapter import add_adapter
from portrait_lora.training.draws import Draw, draw, draw_prior
from portrait_lora.training.recipe import Recipe
from portrait_lora.training.run import train
from tests.recipes import recipe
from tests.sampling import sampled
from tests.training.by_the_book import TextbookAdamW, ask, model_space, put_loras

STEPS, BATCH, RANK, ALPHA, RATE, DECAY, SEED, WARM = 20, 2, 4, 2.0, 5e-3, 0.01, 5, 4
GAMMA, SHIFT, BACKGROUND, DROPOUT, PRIOR = 5.0, 3.0, 0.2, 0.3, 0.7


def _reference(
    name: FamilyName, family: Family, encodings: cache.Encodings, recipe: Recipe, starts: dict[str, Tensor]
) -> list[float]:
    """Loss of every step; `family` gives the drawn numbers their schedule, diffusers does the rest."""
    pipe = plain_pipeline(family.base.source)
    weights = put_loras(getattr(pipe, family.denoiser_name), starts, ALPHA)
    optimizer = TextbookAdamW(weights, DECAY, max_norm=1.0)
    losses: list[float] = []
    for step in range(STEPS):
        total, mean = torch.zeros(()), 0.0
        for slot in range(BATCH):
            own = draw(recipe, encodings, family.schedule, step, slot)
            loss, weight = _one(name, pipe, encodings, own)
            total, mean = total + weight * loss / BATCH, mean + loss.item() / BATCH
            if encodings.prior:
                beside = draw_prior(recipe, encodings, family.schedule, step, slot)
                loss, weight = _one(name, pipe, encodings, beside)
                total = total + PRIOR * weight * loss / BATCH
        losses.append(mean)
        optimizer.step(total, RATE * min(1.0, (step + 1) / WARM))
    return losses


def _one(name: FamilyName, pipe: Any, encodings: cache.Encodings, drawn: Draw) -> tuple[Tensor, float]:
    """Loss and weight of one sample, by the book."""
    sample, noise, level = drawn.sample, drawn.noise_CHW[None], drawn.noise_level
    raw = (sample.mean_CHW + sample.std_CHW * drawn.posterior_CHW)[None]
    x0 = model_space(name, pipe.vae, raw)
    weight = 1.0
    if name in ("sd15", "sdxl"):
        a = float(pipe.scheduler.alphas_cumprod[int(level)])
        noisy = math.sqrt(a) * x0 + math.sqrt(1 - a) * noise
        velocity = pipe.scheduler.config.prediction_type == "v_prediction"
        target = math.sqrt(a) * noise - math.sqrt(1 - a) * x0 if velocity else noise
        snr = a / (1 - a)
        weight = min(snr, GAMMA) / (snr + 1 if velocity else snr)
        net = pipe.unet
    else:
        noisy, target, net = (1 - level) * x0 + level * noise, noise - x0, pipe.transformer
    prompt = encodings.empty if drawn.dropped else sample.condition
    error = (ask(name, net, noisy, level, prompt, sample.geometry) - target) ** 2
    mask = torch.ones_like(x0[0, :1]) if sample.mask_1HW is None else sample.mask_1HW
    places = mask + BACKGROUND * (1 - mask)
    return (error * places / places.mean()).mean(), weight


def _masked(crops: list[CaptionedCrop], folder: Path) -> list[CaptionedCrop]:
    picture = Image.new("L", (64, 64), 0)
    picture.paste(255, (16, 16, 48, 48))
    picture.save(folder / "mask.png")
    return [replace(crops[0], mask_path=folder / "mask.png"), *crops[1:]]


UNETS = [("sd15", "epsilon"), ("sd15", "v_prediction"), ("sdxl", "epsilon")]
FLOWS = [(name, "velocity") for name in FAMILIES if name not in ("sd15", "sdxl")]
LATENTS = ("flux1", "flux2", "qwen_image")
"""Families of flow whose latents are scaled in each of the three ways: as one, by patches, by channels."""


@pytest.mark.parametrize(
    ("name", "kind"), sampled([*UNETS, *FLOWS], kept=lambda case: case in UNETS or case[0] in LATENTS)
)
def test_twenty_steps_have_the_losses_of_the_equations(name: FamilyName, kind: str, tmp_path: Path) -> None:
    """With a mask, dropped captions, two sizes of picture, and pictures of the class (epsilon)."""
    folder = tmp_path / "base"
    base_folder = make_tiny_sd(folder, prediction_type=kind) if name == "sd15" else make_tiny(name, folder)
    family = open_family(resolve_base(base_folder))
    other = (48, 80) if family.multiple_px <= 16 else (64, 96)
    crops = _masked(make_crops(tmp_path / "crops", ((64, 64), (64, 64), other)), tmp_path)
    prior = make_crops(tmp_path / "class", ((64, 64), (64, 64))) if kind == "epsilon" else []
    plan = recipe(
        rank=RANK, alpha=ALPHA, seed=SEED, learning_rate=RATE, batch_size=BATCH, steps=STEPS,
        caption_dropout=DROPOUT, snr_gamma=GAMMA, warmup_steps=WARM, background_weight=BACKGROUND,
        weight_decay=DECAY, prior_weight=PRIOR,
    )  # fmt: skip
    train(family, crops, tmp_path / "run", plan, prior=prior)
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    family.load("none")
    family.load("denoiser")
    begun = add_adapter(
        family.denoiser, rank=RANK, alpha=ALPHA, target_modules=plan.target_modules(family), seed=SEED
    )
    end = ".lora_A.likeness.weight"
    starts = {n.removesuffix(end): p.detach() for n, p in begun.items() if n.endswith(end)}
    encodings = cache.encode(family, crops, tmp_path / "run/cache", prior=prior)
    expected = _reference(name, family, encodings, plan, starts)
    assert len(starts) > 5 and len(rows) == STEPS
    torch.testing.assert_close([r["loss"] for r in rows], expected, rtol=1e-4, atol=1e-5)
    assert max(expected) > 1.05 * min(expected)


def test_flow_noise_levels_follow_the_shifted_logit_normal_law() -> None:
    """Against scipy's quantiles; a batch of four covers the law."""
    sample = cache.EncodedSample(
        "key", "", torch.zeros(4, 8, 8), torch.ones(4, 8, 8), PromptCondition(torch.zeros(1, 2, 3)),
        Geometry((64, 64), (0, 0), (64, 64)),
    )  # fmt: skip
    encodings = cache.Encodings((sample,), sample.condition)
    plan = recipe(rank=4, alpha=4.0, batch_size=4, steps=400, caption_dropout=0.0)
    levels = [
        draw(plan, encodings, FlowSchedule(shift=SHIFT), step, slot).noise_level
        for step in range(300)
        for slot in range(4)
    ]
    for share in (0.1, 0.5, 0.9):
        plain = 1 / (1 + math.exp(-norm.ppf(share)))
        expected = SHIFT * plain / (1 + (SHIFT - 1) * plain)
        got = sorted(levels)[int(share * len(levels))]
        assert abs(got - expected) < 0.03
    fixed = replace(plan, timestep_shift=1.0, timesteps="uniform")
    even = [draw(fixed, encodings, FlowSchedule(shift=SHIFT), s, 0).noise_level for s in range(300)]
    assert abs(sum(even) / 300 - 0.5) < 0.05 and min(even) >= 0.0 and max(even) < 1.0
