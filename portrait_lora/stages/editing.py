"""What is done with a finished portrait: vary it, fix a part of it, make it again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from portrait_lora import manifest, provenance
from portrait_lora.config import FILE_NAME
from portrait_lora.errors import ArtifactError, ConfigError, InputError
from portrait_lora.evaluation import identity
from portrait_lora.generation import drawing, edits, prompts, regions, remake, save
from portrait_lora.generation.compose import LAYERS
from portrait_lora.generation.sample import extra_of
from portrait_lora.likeness import Summary, open_likeness
from portrait_lora.records import Adapter, Face, Portrait, Shot
from portrait_lora.stages.context import Context, sampler_of
from portrait_lora.stages.series import holdout_of

IDENTITY_NOISE: Final = 0.005
"""A similarity that is lower by less than this has not fallen: re-encoding a picture moves it as much."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A picture, the likeness it belongs to, and its recipe (None for a picture from elsewhere)."""

    ctx: Context
    path: Path
    picture: Image.Image
    recipe: save.Recipe | None


def open_picture(path: Path, likeness: Path | None, overrides: Sequence[str]) -> Opened:
    """Raises `InputError` without picture or likeness, `ArtifactError` for one changed since it was made."""
    if not path.is_file():
        raise InputError("no such picture", where=path)
    root = likeness or next((p for p in path.resolve().parents if (p / FILE_NAME).is_file()), None)
    if root is None:
        raise InputError(
            "the picture lies in no likeness folder", where=path, remedy="Name it with --likeness DIR."
        )
    ctx = Context(open_likeness(root, overrides))
    picture = Image.fromarray(identity.read_rgb(path))
    try:
        recipe = provenance.read_recipe(path)
    except ArtifactError as error:
        if "no recipe" not in error.what:
            raise
        return Opened(ctx, path, picture, None)
    except ValueError as error:  # text under our key that is no JSON
        raise ArtifactError("the recipe of the picture is damaged", where=path, got=error) from error
    _refuse_tampered(path)
    return Opened(ctx, path, picture, recipe)


def _refuse_tampered(path: Path) -> None:
    sidecar = save.sidecar_of(path)
    if not sidecar.is_file():
        return
    try:
        told = json.loads(sidecar.read_text(encoding="utf-8"))["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError("the sidecar is damaged", where=sidecar, got=error) from error
    got = manifest.sha256_file(path)
    if told != got:
        raise ArtifactError(
            "the picture was changed since it was made", where=path, got=got[:12], needed=str(told)[:12]
        )


def _ours(opened: Opened) -> save.Recipe:
    if opened.recipe is None:
        raise InputError(
            "the picture carries no recipe", where=opened.path, needed="a PNG made by this program, unedited"
        )
    return opened.recipe


def _face(opened: Opened) -> Face:
    face = identity.subject_face(opened.ctx.finder.find(np.asarray(opened.picture)))
    if face is None:
        raise InputError(
            "no face in this picture", where=opened.path, needed="a portrait with a visible face"
        )
    return face


def _adapter(ctx: Context, recipe: Mapping[str, object]) -> Adapter | None:
    """The adapter of a recipe, found by its digest below `adapters/`."""
    from portrait_lora.families.adapter_file import read_adapter

    wanted = recipe.get("adapter_sha256")
    if not wanted:
        return None
    for path in sorted((ctx.likeness.root / "adapters").rglob("adapter.safetensors")):
        if manifest.sha256_file(path) == wanted:
            return read_adapter(path)
    raise InputError(
        "the adapter that drew this picture is not here",
        where=ctx.likeness.root / "adapters",
        needed=f"sha256 {str(wanted)[:12]}",
    )


def _find_style(ctx: Context) -> remake.FindFile:
    def find(digest: str) -> Path | None:
        path = Path(ctx.config.generate.style_adapter)
        return path if path.is_file() and manifest.sha256_file(path) == digest else None

    return find


def reproduce(path: Path, likeness: Path | None, source: Path | None, overrides: Sequence[str]) -> Summary:
    """Make the picture again and compare; nothing is written."""
    opened = open_picture(path, likeness, overrides)
    ctx, recipe = opened.ctx, _ours(opened)
    begun = Image.fromarray(identity.read_rgb(source)) if source else None
    try:
        again = remake.remake(ctx.family, recipe, _adapter(ctx, recipe), _find_style(ctx), begun)
    except ArtifactError as error:
        raise ArtifactError(
            error.what, where=path, got=error.got, needed=error.needed, remedy=error.remedy
        ) from error
    verdict = remake.compare(opened.picture, again, recipe)
    return {
        "file": str(path),
        "same": verdict.same,
        "changed_pixels": verdict.changed_pixels,
        "psnr_db": verdict.psnr_db,
        "differences": list(verdict.differences),
    }


def vary(
    path: Path,
    likeness: Path | None,
    overrides: Sequence[str],
    *,
    strength: float,
    count: int,
    changes: Mapping[str, str],
    shot: str = "",
) -> Summary:
    """`count` variations in `portraits/<series>-edits/`: same composition, changed by `strength`.

    A picture from elsewhere is a reference: it is drawn over with the series' shot of that name.  Raises
    `ConfigError` for an unknown layer, `InputError` for a reference without a face.
    """
    unknown = [key for key in changes if key not in LAYERS]
    if unknown:
        raise ConfigError("no such layer", where="--change", got=unknown[0], needed=", ".join(LAYERS))
    opened = open_picture(path, likeness, overrides)
    ctx = opened.ctx
    _face(opened)
    references = holdout_of(ctx)
    base = opened.recipe or _recipe_of_series(ctx, shot)
    adapter = _adapter(ctx, base)
    begun = _changed(ctx, base, changes)
    pipe = drawing.open_pipeline(ctx.family, adapter, edits.sampler_of(base))
    folder = _edits_folder(opened)
    rows: list[Summary] = []
    for k in range(1, count + 1):
        seed = prompts.candidate_seed(begun.seed, k)
        told: dict[str, object] = {"prompt": begun.prompt, "layers": dict(begun.layers), "seed": seed}
        told |= {"strength": strength, "base": ctx.base.label, "base_digest": ctx.base.digest}
        action = "vary" if opened.recipe else "reference"
        recipe = edits.edit_recipe(action, opened.picture, opened.recipe, base, **told)
        made = edits.apply_edit(pipe, opened.picture, recipe, ctx.base.resolution_px)
        target = _free(folder, f"{_stem(path, opened)}-vary")
        rows.append(
            {"file": str(_write(ctx, made, target, recipe)), "similarity": _similarity(ctx, references, made)}
        )
    return {
        "made": rows,
        "strength": strength,
        "source_similarity": _similarity(ctx, references, opened.picture),
    }


def _changed(ctx: Context, base: Mapping[str, object], changes: Mapping[str, str]) -> Shot:
    closed = prompts.known_words(ctx.base) is not None
    return edits.changed(edits.shot_of(base), changes, ctx.trigger, ctx.base.family, closed=closed)


def _stem(path: Path, opened: Opened) -> str:
    """The name that edits of a picture begin with; the name of a reference is nobody's business."""
    return path.stem if opened.recipe else "reference"


def _recipe_of_series(ctx: Context, name: str) -> save.Recipe:
    """The recipe with which the series would draw a shot (the first one, or the one of that name)."""
    shots = [s for s in ctx.shots if not name or s.name == name or s.name.split("-", 1)[-1] == name]
    if not shots:
        known = ", ".join(s.name for s in ctx.shots[:12])
        raise ConfigError("no such shot in the series", where=ctx.series, got=name, needed=known)
    g = ctx.config.generate
    digest = manifest.sha256_file(ctx.selected.path)
    portrait = Portrait(Path("x"), shots[0], g.num_inference_steps, g.guidance_scale, g.adapter_scale, digest)
    told = save.recipe_of(portrait, ctx.base.label, ctx.base.digest, ctx.trigger)
    return told | extra_of(replace(sampler_of(g), style=None))


def fix(
    path: Path,
    likeness: Path | None,
    overrides: Sequence[str],
    *,
    region: regions.Region,
    strength: float,
    tries: int,
    changes: Mapping[str, str],
) -> Summary:
    """Draw one region again; kept only when the similarity to the held-out photos does not fall.

    Every pixel outside the mask stays as it was.  The original file is left alone.
    """
    opened = open_picture(path, likeness, overrides)
    ctx, base = opened.ctx, _ours(opened)
    face, references = _face(opened), holdout_of(ctx)
    mask = regions.region_mask(np.asarray(opened.picture), face, region)
    before = _similarity(ctx, references, opened.picture)
    shot = _changed(ctx, base, changes)
    pipe = drawing.open_pipeline(ctx.family, _adapter(ctx, base), edits.sampler_of(base))
    best: tuple[float, Image.Image, save.Recipe] | None = None
    for k in range(1, tries + 1):
        told: dict[str, object] = {
            "prompt": shot.prompt,
            "layers": dict(shot.layers),
            "seed": prompts.candidate_seed(shot.seed, 100 + k),
            "strength": strength,
            "region": region,
            "mask_png": edits.encode_mask(mask),
            "base": ctx.base.label,
            "base_digest": ctx.base.digest,
        }
        recipe = edits.edit_recipe("fix", opened.picture, opened.recipe, base, **told)
        made = edits.apply_edit(pipe, opened.picture, recipe, ctx.base.resolution_px)
        after = _similarity(ctx, references, made)
        if after is not None and (best is None or after > best[0]):
            best = (after, made, recipe)
    kept = best is not None and (before is None or best[0] >= before - IDENTITY_NOISE)
    summary: Summary = {
        "region": region,
        "kept": kept,
        "similarity_before": before,
        "similarity_after": best[0] if best else None,
        "mask_share": round(float((mask > 0).mean()), 4),
        "file": None,
        "changed_outside_mask": None,
    }
    if best is None or not kept:
        return summary
    changed = (np.asarray(best[1]) != np.asarray(opened.picture)).any(axis=-1)
    file = _write(ctx, best[1], _free(_edits_folder(opened), f"{path.stem}-{region}"), best[2])
    outside = int((changed & (mask == 0)).sum())
    return summary | {"file": str(file), "changed_outside_mask": outside}


def _similarity(ctx: Context, references: identity.ReferenceSet, picture: Image.Image) -> float | None:
    """Mean cosine of the largest face to the held-out photos by embedder A; None without a face."""
    face = identity.subject_face(ctx.finder.find(np.asarray(picture.convert("RGB"))))
    return None if face is None else round(float((references.embeddings @ face.embedding).mean()), 5)


def _edits_folder(opened: Opened) -> Path:
    """Beside the folder of the series, whose content is sealed by its manifest."""
    series = opened.path.resolve().parent.name.removesuffix("-edits") if opened.recipe else "reference"
    return manifest.make_folder(opened.ctx.likeness.portraits(f"{series}-edits"))


def _free(folder: Path, stem: str) -> Path:
    """The first file name with that beginning that is not taken."""
    number = 1
    while (path := folder / f"{stem}-{number}.png").exists():
        number += 1
    return path


def _write(ctx: Context, picture: Image.Image, path: Path, recipe: save.Recipe) -> Path:
    from portrait_lora.generation.sample import conditions

    save.write(picture, path, recipe | {save.MADE: conditions(ctx.family, 1, 0)})
    return path


def layer_changes(pairs: Sequence[str]) -> dict[str, str]:
    """`layer=words` pairs."""
    told: dict[str, str] = {}
    for pair in pairs:
        key, sep, words = pair.partition("=")
        if not sep or not words.strip():
            raise InputError("not a change", where="--change", got=pair, needed="layer=words")
        told[key.strip()] = " ".join(words.split())
    return told
