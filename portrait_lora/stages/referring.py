"""The photos of the person that are shown to the base while a series is drawn: `generate.references`.

They are crops of the prepared dataset, so neither held-out photos nor those that the check rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from portrait_lora import log, manifest, vocabulary
from portrait_lora.errors import ConfigError, InputError
from portrait_lora.generation import in_context
from portrait_lora.generation.reference_choice import (
    Aspect,
    Candidate,
    aspect_of_shot,
    aspect_of_words,
    choose,
)
from portrait_lora.records import CaptionedCrop, Face, FloatArray, RGBImage, Shot, readonly
from portrait_lora.stages.context import Context, folder_digest
from portrait_lora.training.references import tightest

if TYPE_CHECKING:
    from portrait_lora.faces.backends import Analyzer

_SIDE_PX: Final = 32
_log = log.get(__name__)


def refuse_what_cannot_be(ctx: Context) -> None:
    """Raise `ConfigError` for references that the family does not take, or none where there is no adapter."""
    count = ctx.config.generate.references
    if ctx.alone and not count:
        raise ConfigError(
            "without an adapter nothing shows who is portrayed",
            where="generate.references",
            got=0,
            needed="1 to 8 reference photos",
            remedy="Pass --reference-photos N, or leave --no-adapter out.",
        )
    if count:
        in_context.refuse_family(ctx.base.family, count)


def refuse_to_train_with(ctx: Context) -> None:
    """Raise `ConfigError` for `training.references` on a family that takes none."""
    if ctx.config.training.references:
        in_context.refuse_family(ctx.base.family, ctx.config.training.max_references, "training.references")


def inputs_of(ctx: Context) -> dict[str, str]:
    """What the choice depends on, for the inputs of a stage: the dataset and who measures it."""
    if not ctx.config.generate.references:
        return {}
    return {"references": manifest.digest([folder_digest(ctx.likeness.dataset), ctx.pack.digest])}


def references_of(ctx: Context, shots: Sequence[Shot]) -> dict[str, tuple[Path, ...]]:
    """Shot name -> the crops shown for it, the most fitting first; empty without `generate.references`.

    With fewer photos than asked for all are shown, and a warning says so once.  Raises as
    `refuse_what_cannot_be`, and `InputError` when there is none.
    """
    refuse_what_cannot_be(ctx)
    count = ctx.config.generate.references
    if not count:
        return {}
    from portrait_lora.dataset.build import load_dataset_folder

    seen = candidates(load_dataset_folder(ctx.likeness.dataset)[0], ctx.finder)
    if not seen:
        raise InputError(
            "no photo can be shown as a reference",
            where=ctx.likeness.dataset,
            remedy="Run: portrait-lora prepare",
        )
    chosen = {shot.name: choose(aspect_of_shot(shot.layers, shot.prompt), seen, count) for shot in shots}
    fewest = min(map(len, chosen.values()), default=count)
    if fewest < count:
        text = (
            "%d reference photos were wanted, %d can be shown: neither held-out ones nor near-duplicates are"
        )
        _log.warning(text, count, fewest)
    return chosen


def candidates(crops: Sequence[CaptionedCrop], finder: Analyzer) -> list[Candidate]:
    """The tightest crop of every photo with what it shows: measured, or as its caption says."""
    from portrait_lora.pictures.reader import read_rgb

    seen: list[Candidate] = []
    for crop in tightest(crops):
        image = read_rgb(crop.path)
        faces = finder.find(image)
        aspect = _measured(faces[0] if faces else None, aspect_of_words(crop.caption))
        seen.append(Candidate(crop.path, crop.source_sha256, aspect, _small(image)))
    return seen


def finder_of(folder: Path, more: Sequence[Path] = ()) -> Callable[[str], Path | None]:
    """Finds a reference by its sha256 among the crops of a dataset folder and the files of `more`."""
    known: dict[str, Path] = {}

    def find(digest: str) -> Path | None:
        if not known:
            files = [*sorted((folder / "train").glob("*.png")), *more]
            known.update({manifest.sha256_file(path): path for path in files if path.is_file()})
        return known.get(digest)

    return find


def _measured(face: Face | None, words: Aspect) -> Aspect:
    """What the pack measured comes first; the caption stands in for the rest."""
    if face is None:
        return words
    yaw = None if face.pose_deg is None else face.pose_deg[1]
    sideways = face.light_direction[0] if face.light_direction else 0.0
    lighting = face.lighting or words.lighting
    return Aspect(
        words.yaw_deg if yaw is None else yaw,
        words.either_side if yaw is None else False,
        lighting,
        vocabulary.light_side_of(lighting, sideways) or words.light_side,
    )


def _small(image: RGBImage) -> FloatArray:
    """(32, 32) grey, without its mean, of unit norm: what two pictures are compared by."""
    import cv2

    grey = cv2.cvtColor(
        cv2.resize(image, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY
    )
    centred = grey.astype(np.float32) - float(grey.mean())
    return readonly(centred / max(float(np.linalg.norm(centred)), 1e-6))
