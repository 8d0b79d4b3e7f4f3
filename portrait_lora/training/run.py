"""`train`: from crops to checkpoints.  The steps themselves are in `loop.py`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from accelerate import Accelerator

from portrait_lora import removal
from portrait_lora.errors import InputError, system_errors
from portrait_lora.families.family import Family
from portrait_lora.families.rows import ROWS, family_names, row_of
from portrait_lora.records import Adapter, CaptionedCrop, TrainResult
from portrait_lora.training import cache, checkpoint
from portrait_lora.training.disk import only_run
from portrait_lora.training.draws import prompts_beside
from portrait_lora.training.identity import Lessons
from portrait_lora.training.loop import CHECKPOINTS, METRICS, OnCheckpoint, Run
from portrait_lora.training.memory import use_checkpointing
from portrait_lora.training.processes import open_accelerator
from portrait_lora.training.recipe import Recipe, checkpoint_schedule, steps_for

__all__ = ["checkpoint_schedule", "steps_for", "train"]


def train(
    family: Family,
    crops: Sequence[CaptionedCrop],
    out_dir: Path,
    recipe: Recipe,
    *,
    checkpoint_steps: Sequence[int] = (),
    prior: Sequence[CaptionedCrop] = (),
    micro_batch: int | None = None,
    gradient_checkpointing: float = False,
    cache_dir: Path | None = None,
    dataset_digest: str = "",
    config_digest: str = "",
    accelerator: Accelerator | None = None,
    resume: bool = True,
    on_checkpoint: OnCheckpoint | None = None,
    lessons: Lessons | None = None,
) -> TrainResult:
    """Train an adapter on `crops` by `recipe` and write its checkpoints to `out_dir`.

    `micro_batch` pictures are computed at a time, fewer once memory runs out; `gradient_checkpointing` is the
    share of the blocks that compute their activations twice.  `prior` are class pictures,
    one per picture of the person.  `lessons` are for the steps with the identity loss: without them training
    ends where they begin.  An unfinished run in `out_dir` resumes to bit-identical weights;
    `resume=False` starts again.  `on_checkpoint` is called after each planned checkpoint, and again for the
    one that a run resumes from; it must not change the family's denoiser, and ends the run by returning
    True.

    Raises `InputError` for settings that are invalid or differ from those of the run in `out_dir`, and while
    another run trains there; `PortraitError` for a full disk and when gradients stay non-finite;
    `Interrupted` when stopped, with the state of the last finished step on disk.
    """
    accelerator = accelerator or open_accelerator(cpu=family.device.type == "cpu")
    refuse_what_cannot_work(family, crops, recipe, out_dir, accelerator.num_processes)
    with system_errors(out_dir), only_run(out_dir, accelerator.is_main_process):
        if not resume and accelerator.is_main_process:
            own = [f"step-*/{name}" for name in checkpoint.FILES]
            removal.remove_recorded(out_dir / CHECKPOINTS, owner=out_dir, names=own)
            removal.remove_file(out_dir / METRICS, owner=out_dir)
        with accelerator.main_process_first():
            kept = cache_dir or out_dir / "cache"
            encodings = encoded(family, crops, kept, recipe, prior=prior)
        adapter = about(
            family,
            recipe,
            out_dir,
            trigger=crops[0].trigger,
            dataset_digest=dataset_digest,
            config_digest=config_digest,
        )
        run = Run(family, encodings, out_dir, recipe, adapter, accelerator, lessons)
        use_checkpointing(run.plain, gradient_checkpointing)
        run.micro_batch = min(micro_batch or run.micro_batch, run.micro_batch)
        planned = recipe.planned(checkpoint_steps)
        return run.go(planned, on_checkpoint)


def encoded(
    family: Family, crops: Sequence[CaptionedCrop], folder: Path, recipe: Recipe, *,
    prior: Sequence[CaptionedCrop] = (),
) -> cache.Encodings:  # fmt: skip
    """What a run needs encoded, kept in `folder`.  Raises as `cache.encode`."""
    sees = recipe.references > 0 and row_of(family.base.family).references_in_text
    return cache.encode(
        family, crops, folder, prior=prior, region=recipe.learn_region, references=recipe.references > 0,
        beside=(lambda whole: prompts_beside(recipe, whole, family.schedule)) if sees else None,
    )  # fmt: skip


def about(
    family: Family,
    recipe: Recipe,
    out_dir: Path,
    *,
    trigger: str,
    dataset_digest: str,
    config_digest: str,
) -> Adapter:
    """What the adapter files of a training tell of themselves, before its first step."""
    return Adapter(
        path=out_dir,
        family=family.base.family,
        base=family.base.name,
        base_digest=family.base.digest,
        rank=recipe.rank,
        alpha=recipe.alpha,
        target_modules=recipe.target_modules(family),
        trigger=trigger,
        dataset_digest=dataset_digest,
        config_digest=config_digest,
        step=0,
    )


def refuse_what_cannot_work(
    family: Family, crops: Sequence[CaptionedCrop], recipe: Recipe, out_dir: Path, processes: int
) -> None:
    """Raise `InputError` for what the numbers alone do not tell."""
    recipe.blocks_in(family)
    if family.streamed and (reason := recipe.why_resident(processes)):
        raise InputError(
            "this training cannot stream its base", where="training.streaming", got=reason,
            remedy="Set training.streaming=off.",
        )  # fmt: skip
    if not crops:
        raise InputError("no pictures to train on", where=out_dir, needed="one crop or more")
    if recipe.batch_size % processes:
        raise InputError(
            "the batch cannot be divided among the processes", where="batch_size", got=recipe.batch_size,
            needed=f"a multiple of {processes}",
        )  # fmt: skip
    if recipe.learn_region != "picture" and (without := cache.without_mask(crops, recipe.learn_region)):
        raise InputError(
            f"some crops have no mask of the {recipe.learn_region}",
            where="training.learn_region",
            got=f"{len(without)} of {len(crops)} crops without, such as {without[0].path.name}",
            needed="a mask for each",
            remedy="Run `portrait-lora prepare` on the photos, or set training.learn_region=picture.",
        )
    if recipe.references:
        _refuse_references(family, crops, recipe)
    if recipe.text_encoder and not family.lora_layers.text:
        raise InputError(
            f"adapters on the text encoders of {family.base.family} are not supported",
            where="training.text_encoder",
            got=recipe.text_encoder,
            needed=f"0, or a base of {family_names(r for r in ROWS.values() if r.text_encoders_b)}",
        )


def _refuse_references(family: Family, crops: Sequence[CaptionedCrop], recipe: Recipe) -> None:
    if not row_of(family.base.family).references:
        raise InputError(
            "this family does not take reference photos",
            where="training.references",
            got=family.base.family,
            needed=family_names(row for row in ROWS.values() if row.references),
        )
    if len({crop.source_sha256 for crop in crops}) < 2:
        raise InputError(
            "there is no other photo to be shown as a reference",
            where="training.references",
            got=recipe.references,
            needed="0, or two photos",
        )
