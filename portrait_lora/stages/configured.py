"""From sections of the configuration to the typed records that the rooms take: by name, and only here.

Defaults are those of `settings.py` alone: a field that is not filled here is an error, not another default.
How pictures are drawn is in `sampling`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from portrait_lora.dataset.curate import CurateSettings
    from portrait_lora.dataset.findings import CheckSettings
    from portrait_lora.families.base_model import BaseModel
    from portrait_lora.records import PhotoEdit
    from portrait_lora.settings import CheckConfig, CurateConfig, DatasetConfig, TrainingConfig
    from portrait_lora.training.preflight import Job
    from portrait_lora.training.recipe import Mixed, Recipe


def check_of(settings: CheckConfig, *, least_side_px: int = 0) -> CheckSettings:
    """The thresholds of the photo check; the base's resolution may ask for `least_side_px` of a picture."""
    from portrait_lora.dataset.findings import CheckSettings

    fields = settings.model_dump()
    return CheckSettings(**fields | {"min_side_px": max(settings.min_side_px, least_side_px)})


def curate_of(settings: CurateConfig, *, same_person_similarity: float) -> CurateSettings:
    """The thresholds of curation; `same_person_similarity` is the face pack's."""
    from portrait_lora.dataset.curate import CurateSettings

    return CurateSettings(**settings.model_dump(), same_person_similarity=same_person_similarity)


def edits_of(settings: DatasetConfig) -> dict[str, PhotoEdit]:
    """How photos are turned and cropped, by file name."""
    from portrait_lora.records import PhotoEdit

    return {edit.file: PhotoEdit(edit.turn_deg, edit.crop) for edit in settings.edits}


def recipe_of(settings: TrainingConfig, *, steps: int, seed: int, mixed_precision: Mixed) -> Recipe:
    """What decides the weights of a training of so many steps.  Raises `InputError` as `Recipe` does."""
    from portrait_lora.training.recipe import Recipe

    return Recipe(
        rank=settings.rank,
        alpha=settings.alpha,
        targets=settings.targets,
        learning_rate=settings.learning_rate,
        batch_size=settings.batch_size,
        steps=steps,
        seed=seed,
        warmup_steps=settings.warmup_steps,
        schedule=settings.schedule,
        caption_dropout=settings.caption_dropout,
        snr_gamma=settings.snr_gamma,
        background_weight=settings.background_weight,
        mixed_precision=mixed_precision,
        blocks=settings.blocks,
        adapter_kind=settings.adapter,
        rank_stabilised=settings.rank_stabilised,
        dora=settings.dora,
        optimizer=settings.optimizer,
        ema_decay=settings.ema_decay,
        prior_weight=settings.prior_weight,
        timesteps=settings.timesteps,
        timestep_shift=settings.timestep_shift,
        text_encoder=settings.text_encoder,
        learn_region=settings.learn_region,
        references=settings.references,
        max_references=settings.max_references,
        identity_weight=settings.identity_weight,
        identity_share=settings.identity_share,
    )


def job_of(settings: TrainingConfig, base: BaseModel, recipe: Recipe) -> Job:
    """The training as it is planned for a machine: the recipe, what is kept of it, and how it may be done."""
    from portrait_lora.training.preflight import Job

    return Job(
        base=base,
        recipe=recipe,
        checkpoints=settings.checkpoints,
        prior=settings.prior_pictures > 0,
        weights=settings.weights,
        checkpointing=settings.gradient_checkpointing,
        micro_batch=settings.micro_batch,
        streaming=settings.streaming,
    )
