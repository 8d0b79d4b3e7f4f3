"""The loop's losses equal those of a straight-line reimplementation, written from the papers' equations.

Nothing of `portrait_lora.training` is used on the reference's side but the draws, whose randomness is ours.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.stats import norm
from tiny_models import make_crops, make_tiny_sd
from torch import Tensor, nn

from portrait_lora.families.catalog import resolve_base
from portrait_lora.families.family import FlowSchedule, Geometry, PromptCondition
from portrait_lora.families.sd15 import SD15
from portrait_lora.records import CaptionedCrop
from portrait_lora.training import cache
from portrait_lora.training.draws import Draw, draw, draw_prior
from portrait_lora.training.loop import train
from portrait_lora.training.recipe import Recipe

STEPS, BATCH, RANK, ALPHA, RATE, DECAY, SEED = 20, 2, 4, 2.0, 5e-3, 0.01, 5
GAMMA, SHIFT = 5.0, 3.0


class Flow(SD15):
    """The tiny UNet asked as a flow-matching base: a velocity, at a noise share in [0, 1]."""

    @property
    def schedule(self) -> FlowSchedule:  # type: ignore[override]
        return FlowSchedule(shift=SHIFT)

    def predict(
        self, noisy: Tensor, level: Tensor, condition: PromptCondition, geometry: Sequence[Geometry]
    ) -> Tensor:
        return super().predict(noisy, level * 1000.0, condition, geometry)


class PlainLora(nn.Module):
    """W x + (alpha / rank) B A x, on a linear layer."""

    def __init__(self, layer: nn.Module, down: Tensor):
        super().__init__()
        self.layer = layer
        self.down = nn.Parameter(down.clone())
        self.up = nn.Parameter(torch.zeros(layer.out_features, RANK))  # type: ignore[arg-type]

    def forward(self, x: Tensor, *_: object) -> Tensor:
        return self.layer(x) + F.linear(F.linear(x, self.down), self.up) * (ALPHA / RANK)


def _reference(
    family: SD15, encodings: cache.Encodings, recipe: Recipe, starts: dict[str, Tensor]
) -> list[float]:
    """Loss of every step: textbook AdamW, global norm clipping, warm-up; no accelerate, no peft."""
    family.load("none")
    family.load("denoiser")
    unet = family.denoiser
    loras: list[PlainLora] = []
    for name, down in starts.items():
        parent, _, leaf = name.rpartition(".")
        owner = unet.get_submodule(parent)
        loras.append(PlainLora(unet.get_submodule(name), down))
        setattr(owner, leaf, loras[-1])
    weights = [p for lora in loras for p in (lora.down, lora.up)]
    first, second = [torch.zeros_like(p) for p in weights], [torch.zeros_like(p) for p in weights]
    losses: list[float] = []
    for step in range(STEPS):
        total, told = torch.zeros(()), 0.0
        for slot in range(BATCH):
            own = draw(recipe, encodings, family.schedule, step, slot)
            loss, weight = _one(family, encodings, recipe, own)
            total, told = total + weight * loss / BATCH, told + loss.item() / BATCH
            if encodings.prior:
                other, weight = _one(
                    family, encodings, recipe, draw_prior(recipe, encodings, family.schedule, step, slot)
                )
                total = total + recipe.prior_weight * weight * other / BATCH
        losses.append(told)
        grads = torch.autograd.grad(total, weights)
        size = math.sqrt(sum(float(g.square().sum()) for g in grads))
        rate = RATE * min(1.0, (step + 1) / recipe.warmup_steps)
        with torch.no_grad():
            for i, (p, g) in enumerate(zip(weights, grads, strict=True)):
                g = g * min(1.0, recipe.max_grad_norm / (size + 1e-6))
                first[i] = 0.9 * first[i] + 0.1 * g
                second[i] = 0.99 * second[i] + 0.01 * g * g
                mean, var = first[i] / (1 - 0.9 ** (step + 1)), second[i] / (1 - 0.99 ** (step + 1))
                p.mul_(1 - rate * DECAY).sub_(rate * mean / (var.sqrt() + 1e-8))
    return losses


def _one(family: SD15, encodings: cache.Encodings, recipe: Recipe, drawn: Draw) -> tuple[Tensor, float]:
    """Loss and weight of one sample, by the book."""
    sample = drawn.sample
    x0 = ((sample.mean_CHW + sample.std_CHW * drawn.posterior_CHW) * family.vae_config["scaling_factor"])[
        None
    ]
    noise, level = drawn.noise_CHW[None], drawn.noise_level
    condition = encodings.empty if drawn.dropped else sample.condition
    schedule = family.schedule
    weight = 1.0
    if isinstance(schedule, FlowSchedule):
        noisy, target = (1 - level) * x0 + level * noise, noise - x0
    else:
        a = float(schedule.alphas_cumprod_T[int(level)])
        noisy = math.sqrt(a) * x0 + math.sqrt(1 - a) * noise
        velocity = schedule.prediction_type == "v_prediction"
        target = math.sqrt(a) * noise - math.sqrt(1 - a) * x0 if velocity else noise
        snr = a / (1 - a)
        weight = min(snr, GAMMA) / (snr + 1 if velocity else snr)
    answer = family.predict(noisy, torch.tensor([level]), condition, [sample.geometry])
    error = (answer - target) ** 2
    if recipe.background_weight < 1.0:
        mask = torch.ones_like(x0[0, :1]) if sample.mask_1HW is None else sample.mask_1HW
        places = mask + recipe.background_weight * (1 - mask)
        error = error * places / places.mean()
    return error.mean(), weight


def _masked(crops: list[CaptionedCrop], folder: Path) -> list[CaptionedCrop]:
    picture = Image.new("L", (64, 64), 0)
    picture.paste(255, (16, 16, 48, 48))
    picture.save(folder / "mask.png")
    return [replace(crops[0], mask_path=folder / "mask.png"), *crops[1:]]


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "flow"])
def test_twenty_steps_have_the_losses_of_the_equations(kind: str, tmp_path: Path) -> None:
    """With a mask, dropped captions, two sizes of picture and (epsilon) pictures of the class."""
    base = make_tiny_sd(tmp_path / "base", prediction_type="epsilon" if kind == "flow" else kind)
    family = (Flow if kind == "flow" else SD15)(resolve_base(base))
    crops = _masked(make_crops(tmp_path / "crops", ((64, 64), (64, 64), (48, 80))), tmp_path)
    prior = make_crops(tmp_path / "class", ((64, 64), (64, 64))) if kind == "epsilon" else []
    recipe = Recipe(
        RANK, ALPHA, family.lora_layers.attention, RATE, BATCH, STEPS, SEED, 4, "constant", 0.3, GAMMA, 0.2,
        "no", 1.0, DECAY, prior_weight=0.7 if prior else 0.0,
    )  # fmt: skip
    train(
        family, crops, tmp_path / "run", rank=RANK, alpha=ALPHA, target_modules="attention", seed=SEED,
        learning_rate=RATE, batch_size=BATCH, steps=STEPS, caption_dropout=0.3, snr_gamma=GAMMA,
        warmup_steps=4, background_weight=0.2, weight_decay=DECAY, prior=prior, prior_weight=0.7,
    )  # fmt: skip
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    family.load("none")
    family.load("denoiser")
    from portrait_lora.training.adapter import add_adapter

    started = add_adapter(
        family.denoiser, rank=RANK, alpha=ALPHA, target_modules=family.lora_layers.attention, seed=SEED
    )
    starts = {
        n.removesuffix(".lora_A.likeness.weight"): p.detach() for n, p in started.items() if ".lora_A." in n
    }
    encodings = cache.encode(family, crops, tmp_path / "run/cache", prior=prior)
    expected = _reference(family, encodings, recipe, starts)
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
    recipe = Recipe(4, 4.0, (), 1e-4, 4, 400, 0, 0, "constant", 0.0, 5.0, 1.0, "no", 1.0, 0.0)
    levels = [
        draw(recipe, encodings, FlowSchedule(shift=SHIFT), step, slot).noise_level
        for step in range(300)
        for slot in range(4)
    ]
    for share in (0.1, 0.5, 0.9):
        plain = 1 / (1 + math.exp(-norm.ppf(share)))
        expected = SHIFT * plain / (1 + (SHIFT - 1) * plain)
        got = sorted(levels)[int(share * len(levels))]
        assert abs(got - expected) < 0.03
    fixed = replace(recipe, timestep_shift=1.0, timesteps="uniform")
    even = [draw(fixed, encodings, FlowSchedule(shift=SHIFT), s, 0).noise_level for s in range(300)]
    assert abs(sum(even) / 300 - 0.5) < 0.05 and min(even) >= 0.0 and max(even) < 1.0
