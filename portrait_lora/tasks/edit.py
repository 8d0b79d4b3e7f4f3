"""What is done with a finished portrait: vary it, fix a part of it, make it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
from PIL import Image

from portrait_lora import manifest
from portrait_lora.errors import ArtifactError, ConfigError, InputError
from portrait_lora.evaluation import similarity
from portrait_lora.families.rows import row_of
from portrait_lora.generation import drawing, edits, masks, prompts, regions, remake, save
from portrait_lora.generation.compose import LAYERS
from portrait_lora.generation.sample import extra_of
from portrait_lora.records import Portrait, Shot
from portrait_lora.results import Number, Value
from portrait_lora.stages.context import Context
from portrait_lora.stages.named_files import adapter_of, find_style
from portrait_lora.stages.sampling import sampler_of
from portrait_lora.stages.series import holdout_of
from portrait_lora.tasks.finished import Opened, face_of, open_picture, recipe_of

IDENTITY_NOISE: Final = 0.005
"""A similarity that is lower by less than this has not fallen: re-encoding a picture moves it as much."""


Painted = Literal["painted"]
"""What stands for a region where a mask was painted by hand."""


class ProductAgain(Value):
    """A further file of a finished picture, made again; `state` says if the one on disk is not as it was.

    `by_encoder`: another build of its encoder may give other bytes for the same frames.
    """

    file: str
    same: bool
    by_encoder: bool = False
    state: str = ""


class Reproduction(Value):
    """A picture made again: `same` to the bit or not, the PSNR in dB, what was different when it was made.

    `products` are the files beside a finished one.
    """

    file: str
    same: bool
    changed_pixels: int
    psnr_db: Number | None
    differences: tuple[str, ...]
    products: tuple[ProductAgain, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether the picture and every file beside it came out the same."""
        return self.same and all(one.same for one in self.products)


class Variation(Value):
    """One variation and its similarity to the held-out photos; None without a face."""

    file: str
    similarity: Number | None


class Variations(Value):
    """The variations of a picture, at least one."""

    made: tuple[Variation, ...]
    strength: Number
    source_similarity: Number | None


class Fix(Value):
    """What became of drawing a region again: the file when it is `kept`, or the one that was `refused`.

    `mask_share` is of the picture's area; similarities are None where no face was found.
    """

    region: regions.Region | Painted
    kept: bool
    similarity_before: Number | None
    similarity_after: Number | None
    mask_share: Number
    file: str | None
    refused: str | None
    likeness_fell: bool
    changed_outside_mask: int | None


def reproduce(
    path: Path,
    likeness: Path | None,
    source: Path | None,
    overrides: Sequence[str],
    references: Sequence[Path] = (),
) -> Reproduction:
    """Make the picture again and compare; nothing is written.

    `references` are photos that it was shown in context, where the dataset no longer holds them.
    """
    opened = open_picture(path, likeness, overrides)
    ctx, recipe = opened.ctx, recipe_of(opened)
    begun = Image.fromarray(similarity.read_rgb(source)) if source else None
    try:
        find = find_style(ctx, references)
        again = remake.remake(ctx.family, recipe, adapter_of(ctx, recipe), find, begun)
    except ArtifactError as error:
        raise ArtifactError(
            error.what, where=path, got=error.got, needed=error.needed, remedy=error.remedy
        ) from error
    verdict = remake.compare(opened.picture, again, recipe)
    return Reproduction(
        file=str(path),
        same=verdict.same,
        changed_pixels=verdict.changed_pixels,
        psnr_db=verdict.psnr_db,
        differences=tuple(verdict.differences),
    )


def vary(
    path: Path,
    likeness: Path | None,
    overrides: Sequence[str],
    *,
    strength: float,
    count: int,
    changes: Mapping[str, str],
    shot: str = "",
) -> Variations:
    """`count` variations in `portraits/<series>-edits/`: same composition, changed by `strength`.

    A picture from elsewhere is a reference: it is drawn over with the series' shot of that name.  Raises
    `ConfigError` for an unknown layer, `InputError` for a reference without a face.
    """
    unknown = [key for key in changes if key not in (*LAYERS, "prompt")]
    if unknown:
        raise ConfigError("no such layer", where="--change", got=unknown[0], needed=", ".join(LAYERS))
    opened = open_picture(path, likeness, overrides)
    ctx = opened.ctx
    face_of(opened)
    references = holdout_of(ctx)
    base = opened.recipe or _recipe_of_series(ctx, shot)
    adapter = adapter_of(ctx, base)
    begun = _changed(ctx, base, changes)
    sampler = remake.whole_sampler(base, find_style(ctx))
    pipe = drawing.open_pipeline(ctx.family, adapter, sampler)
    folder = _edits_folder(opened)
    rows: list[Variation] = []
    for k in range(1, count + 1):
        seed = prompts.candidate_seed(begun.seed, k)
        edit: dict[str, object] = {"prompt": begun.prompt, "layers": dict(begun.layers), "seed": seed}
        edit |= {"strength": strength, "base": ctx.base.label, "base_digest": ctx.base.digest}
        action = "vary" if opened.recipe else "reference"
        recipe = edits.edit_record(action, opened.picture, opened.recipe, base, **edit)
        picture = edits.apply_edit(pipe, opened.picture, recipe, ctx.base.resolution_px, sampler)
        target = _place(folder, f"{_stem(path, opened)}-vary", recipe)
        file = str(_write(opened, picture, target, recipe))
        rows.append(Variation(file=file, similarity=_similarity(ctx, references, picture)))
    return Variations(
        made=tuple(rows),
        strength=strength,
        source_similarity=_similarity(ctx, references, opened.picture),
    )


def _changed(ctx: Context, base: Mapping[str, object], changes: Mapping[str, str]) -> Shot:
    closed = prompts.known_words(ctx.base) is not None
    shot = edits.changed(
        edits.shot_of(base), changes, ctx.trigger, row_of(ctx.base.family).text.form, closed=closed
    )
    ctx.guard([shot.prompt])
    return shot


def _stem(path: Path, opened: Opened) -> str:
    """The name that edits of a picture begin with; the name of a reference is nobody's business."""
    return path.stem if opened.recipe else "reference"


def _recipe_of_series(ctx: Context, name: str) -> save.Record:
    """The recipe with which the series would draw a shot (the first one, or the one of that name)."""
    shots = [s for s in ctx.shots if not name or s.name == name or s.name.split("-", 1)[-1] == name]
    if not shots:
        known = ", ".join(s.name for s in ctx.shots[:12])
        raise ConfigError("no such shot in the series", where=ctx.series, got=name, needed=known)
    sampler = sampler_of(ctx.config.generate)
    portrait = Portrait(
        path=Path("x"),
        shot=shots[0],
        steps=sampler.steps,
        guidance_scale=sampler.guidance_scale,
        adapter_scale=sampler.adapter_scale,
        adapter_digest=manifest.sha256_file(ctx.selected.path),
    )
    record = save.record_of(portrait, ctx.base.label, ctx.base.digest, ctx.trigger)
    return record | extra_of(sampler)


def fix(
    path: Path,
    likeness: Path | None,
    overrides: Sequence[str],
    *,
    region: regions.Region | regions.Mask,
    strength: float,
    tries: int,
    changes: Mapping[str, str],
    keep: bool = False,
) -> Fix:
    """Draw one region again; kept only when the similarity to the held-out photos does not fall, or `keep`.

    `region` is the name of one, or a mask (H, W) of the picture's size, above 127 where it was painted.
    Every pixel outside the mask stays as it was.  The original file is left alone.  A best try that is not
    kept is written all the same, as `refused`, to be looked at.
    """
    opened = open_picture(path, likeness, overrides)
    ctx, base = opened.ctx, recipe_of(opened)
    face, references = face_of(opened), holdout_of(ctx)
    pixels = np.asarray(opened.picture)
    named: regions.Region | Painted = "painted"
    if isinstance(region, str):
        named = region
        mask = regions.region_mask(pixels, face, region, ctx.finder.parts(pixels, face))
    else:
        mask = regions.painted_mask(region, (pixels.shape[1], pixels.shape[0]))
    before = _similarity(ctx, references, opened.picture)
    shot = _changed(ctx, base, changes)
    sampler = remake.whole_sampler(base, find_style(ctx))
    pipe = drawing.open_pipeline(ctx.family, adapter_of(ctx, base), sampler)
    best: tuple[float, Image.Image, save.Record] | None = None
    for k in range(1, tries + 1):
        edit: dict[str, object] = {
            "prompt": shot.prompt,
            "layers": dict(shot.layers),
            "seed": prompts.candidate_seed(shot.seed, 100 + k),
            "strength": strength,
            "region": named,
            "mask_png": masks.encode_mask(mask),
            "base": ctx.base.label,
            "base_digest": ctx.base.digest,
        }
        recipe = edits.edit_record("fix", opened.picture, opened.recipe, base, **edit)
        candidate = edits.apply_edit(pipe, opened.picture, recipe, ctx.base.resolution_px, sampler)
        after = _similarity(ctx, references, candidate)
        if after is not None and (best is None or after > best[0]):
            best = (after, candidate, recipe)
    holds = best is not None and (before is None or best[0] >= before - IDENTITY_NOISE)
    kept = best is not None and (holds or keep)
    file = refused = outside = None
    if best is not None and kept:
        changed = (np.asarray(best[1]) != np.asarray(opened.picture)).any(axis=-1)
        outside = int((changed & (mask == 0)).sum())
        target = _place(_edits_folder(opened), f"{path.stem}-{named}", best[2])
        file = str(_write(opened, best[1], target, best[2]))
    elif best is not None:
        aside = _place(_edits_folder(opened), f"{path.stem}-{named}-refused", best[2])
        refused = str(_write(opened, best[1], aside, best[2]))
    return Fix(
        region=named,
        kept=kept,
        similarity_before=before,
        similarity_after=best[0] if best else None,
        mask_share=round(float((mask > 0).mean()), 4),
        file=file,
        refused=refused,
        likeness_fell=best is not None and not holds,
        changed_outside_mask=outside,
    )


def read_mask(path: Path) -> regions.Mask:
    """The mask in a picture file: white where to draw again; colours count by their brightness.

    Raises `InputError` for a file that is no picture.
    """
    return np.asarray(Image.fromarray(similarity.read_rgb(path)).convert("L"), dtype=np.uint8)


def _similarity(ctx: Context, references: similarity.ReferenceSet, picture: Image.Image) -> float | None:
    """Mean cosine of the largest face to the held-out photos by embedder A; None without a face."""
    face = similarity.subject_face(ctx.finder.find(np.asarray(picture.convert("RGB"))))
    return None if face is None else round(float((references.embeddings @ face.embedding).mean()), 5)


def _edits_folder(opened: Opened) -> Path:
    """Beside the folder of the series, whose content is sealed by its manifest."""
    series = opened.path.resolve().parent.name.removesuffix("-edits") if opened.recipe else "reference"
    return manifest.make_folder(opened.ctx.likeness.portraits(f"{series}-edits"))


def _place(folder: Path, stem: str, recipe: save.Record) -> Path:
    """The first file name with that beginning that is not taken, or that has just this edit already.

    An edit that was stopped, or is asked for again, does not get a second name.
    """
    number = 1
    while (path := folder / f"{stem}-{number}.png").exists() and not save.is_of(path, recipe):
        number += 1
    return path


def _write(opened: Opened, picture: Image.Image, path: Path, recipe: save.Record) -> Path:
    from portrait_lora.generation.sample import conditions

    whole = recipe | {save.CONDITIONS: conditions(opened.ctx.family, 1, 0)}
    save.write(picture, path, whole, parent=opened.path)
    return path


def layer_changes(pairs: Sequence[str]) -> dict[str, str]:
    """`layer=words` pairs."""
    layers: dict[str, str] = {}
    for pair in pairs:
        key, sep, words = pair.partition("=")
        if not sep or not words.strip():
            raise InputError("not a change", where="--change", got=pair, needed="layer=words")
        layers[key.strip()] = " ".join(words.split())
    return layers
