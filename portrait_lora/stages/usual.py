"""The reference training job (schema defaults, in bf16) for tables and proposals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portrait_lora.settings import TrainingConfig
from portrait_lora.stages import configured

if TYPE_CHECKING:
    from portrait_lora.families.base_model import BaseModel
    from portrait_lora.training.preflight import Job, Means


def usual_job(base: BaseModel, batch_size: int = 1) -> Job:
    """One step of it, with a single checkpoint."""
    settings = TrainingConfig(batch_size=batch_size, checkpoints=1)
    recipe = configured.recipe_of(settings, steps=1, seed=0, mixed_precision="bf16")
    return configured.job_of(settings, base, recipe)


def usual_means(base: BaseModel, memory_gb: float, batch_size: int = 1) -> Means:
    """The means of the reference job on a GPU with this much memory."""
    from portrait_lora.families import default_weights
    from portrait_lora.training.preflight import choose_means

    default = default_weights(base, "cuda")
    return choose_means(usual_job(base, batch_size), memory_gb=memory_gb, default=default)


def memory_range_gb(base: BaseModel) -> tuple[float, float]:
    """GPU memory in GB for the reference job: the minimum, and that of its fastest means."""
    from portrait_lora.device import SPARE

    least, quickest = usual_means(base, 0.0), usual_means(base, 1e6)
    return least.memory_gb / SPARE, quickest.memory_gb / SPARE
