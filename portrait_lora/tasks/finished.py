"""A finished picture opened again: whose it is, how it was made, and whether it is still what was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from portrait_lora import manifest, provenance, strict_json
from portrait_lora.config import FILE_NAME
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.evaluation import similarity
from portrait_lora.generation import save
from portrait_lora.likeness import open_likeness
from portrait_lora.records import Face
from portrait_lora.rights import consent
from portrait_lora.stages.context import Context


@dataclass(frozen=True, slots=True)
class Opened:
    """A picture, the likeness it belongs to, and its recipe (None for a picture from elsewhere)."""

    ctx: Context
    path: Path
    picture: Image.Image
    recipe: save.Record | None


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
    consent.require_purposes(root, "portraits")
    picture = Image.fromarray(similarity.read_rgb(path))
    try:
        recipe = provenance.read_record(path)
    except ArtifactError as error:
        if error.what != provenance.NO_RECORD:
            raise
        return Opened(ctx, path, picture, None)
    _refuse_tampered(path)
    return Opened(ctx, path, picture, recipe)


def _refuse_tampered(path: Path) -> None:
    sidecar = save.sidecar_of(path)
    if not sidecar.is_file():
        return
    recorded = strict_json.load_object(sidecar, "sidecar").get("sha256")
    got = manifest.sha256_file(path)
    if recorded != got:
        raise ArtifactError(
            "the picture was changed since it was made", where=path, got=got[:12], needed=str(recorded)[:12]
        )


def recipe_of(opened: Opened) -> save.Record:
    if opened.recipe is None:
        raise InputError(
            "the picture has no generation record",
            where=opened.path,
            needed="a PNG made by this program, unedited",
        )
    return opened.recipe


def face_of(opened: Opened) -> Face:
    face = similarity.subject_face(opened.ctx.finder.find(np.asarray(opened.picture)))
    if face is None:
        raise InputError(
            "no face in this picture", where=opened.path, needed="a portrait with a visible face"
        )
    return face
