"""One training on the cards that people own: how it would be done on 8, 12, 16, 24 and 48 GB.

The figures are those of the preflight.  On no card has the peak been measured yet.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from portrait_lora.families.footprint import QUANTISED, Placement, placement
from portrait_lora.results import Tier

if TYPE_CHECKING:
    from portrait_lora.families.base_model import BaseModel
    from portrait_lora.training.preflight import Job

CARDS_GB: Final = (8, 12, 16, 24, 48)


def of(job: Job) -> tuple[Tier, ...]:
    """A row per card; what the request leaves open is chosen for each of them."""
    return tuple(_on(job, card) for card in CARDS_GB)


def _on(job: Job, card_gb: int) -> Tier:
    from portrait_lora.families import default_weights
    from portrait_lora.training.preflight import choose_means

    mixed = replace(job.recipe, mixed_precision="bf16")
    means = choose_means(
        replace(job, recipe=mixed), memory_gb=card_gb, default=default_weights(job.base, "cuda")
    )
    return Tier(
        card_gb=card_gb,
        fits=means.fits,
        weights=means.weights,
        streamed=means.streamed,
        computed_twice=means.gradient_checkpointing,
        micro_batch=means.micro_batch,
        memory_gb=round(means.memory_gb, 1),
        generating=generating(job.base, card_gb),
        stays_in=stays_in(job.base, card_gb),
    )


def generating(base: BaseModel, memory_gb: float) -> Placement | Literal["unknown"]:
    """How portraits are drawn in so much memory: see `families.footprint`."""
    return "unknown" if base.encoders_b is None else placement(base, memory_gb)


def stays_in(base: BaseModel, memory_gb: float) -> Literal["", "int8", "nf4"]:
    """The most exact `generate.weights` that keeps on the card a denoiser which is offloaded without."""
    if placement(base, memory_gb) == "offloaded":
        for weights in QUANTISED:
            if placement(base, memory_gb, weights) != "offloaded":
                return weights
    return ""
