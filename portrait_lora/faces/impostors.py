"""An impostor gallery for a pack without one: other people, whose similarity is the floor of the scale.

Built from a folder with one subfolder of pictures per person.  Embeddings are biometric data: they are stored
only on this explicit request, in the pack's own folder, without names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from safetensors.numpy import load_file, save

from portrait_lora import manifest
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.faces.backends import open_analyzer
from portrait_lora.faces.catalog import packs_home
from portrait_lora.faces.pack import FacePack, Role
from portrait_lora.faces.packs import PACK_FILE, read_pack_file
from portrait_lora.pictures.reader import UnreadablePhoto, list_photos, load_photo
from portrait_lora.records import FloatArray, readonly

FILE: Final = "impostors.safetensors"
MIN_PEOPLE: Final = 5
MIN_PICTURES: Final = 2
MAX_PICTURES: Final = 6
_MAX_PIXELS: Final = 60_000_000


def make_gallery(pack: FacePack, people: Path) -> tuple[int, int]:
    """Embed the people below a folder with both embedders and add them to the pack: (people, pictures).

    Pictures without exactly one face are skipped.  Raises `InputError` with fewer than five people with two
    usable pictures each.
    """
    if not people.is_dir():
        raise InputError(
            "no such folder of people", where=people, needed="one subfolder of pictures per person"
        )
    folders = sorted(p for p in people.iterdir() if p.is_dir())
    roles: tuple[Role, ...] = ("select", "report")
    tables = {role: [_embedded(pack, role, folder) for folder in folders] for role in roles}
    usable = [i for i, rows in enumerate(tables["select"]) if len(rows) >= MIN_PICTURES]
    if len(usable) < MIN_PEOPLE:
        raise InputError(
            "too few other people for an impostor gallery",
            where=people,
            got=f"{len(usable)} people with {MIN_PICTURES} usable pictures",
            needed=f"{MIN_PEOPLE} at least; 50 or more for a stable floor",
        )
    count = min(MAX_PICTURES, *(len(tables["select"][i]) for i in usable))
    stacked = {r: np.stack([np.stack(tables[r][i][:count]) for i in usable]) for r in roles}
    data = save({role: table.astype(np.float16) for role, table in stacked.items()})
    raw = dict(read_pack_file(pack.folder))
    manifest.write_bytes_atomic(pack.folder / FILE, data)
    raw["models"] = cast(dict[str, Any], raw["models"]) | {"impostors": FILE}
    raw["files"] = cast(dict[str, Any], raw["files"]) | {FILE: manifest.sha256_file(pack.folder / FILE)}
    manifest.write_json_atomic(pack.folder / PACK_FILE, raw)
    return len(usable), count


def read_gallery(pack: FacePack, role: Role) -> FloatArray:
    """(N, K, D) with unit rows; `ArtifactError` when the pack has no impostor gallery for this embedder."""
    if pack.impostors is None:
        which = pack.name if pack.folder == packs_home() / pack.name else pack.folder
        remedy = f"Build one from pictures of other people: portrait-lora gallery {which} --people DIR"
        raise ArtifactError("the face pack has no impostor gallery", where=pack.folder, remedy=remedy)
    table = load_file(str(pack.path(pack.impostors)))
    if role not in table:
        raise ArtifactError(
            "no impostor gallery for this embedder",
            where=pack.path(pack.impostors),
            got=", ".join(sorted(table)),
            needed=role,
        )
    vectors = table[role].astype(np.float32)
    return readonly(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12))


def _embedded(pack: FacePack, role: Role, folder: Path) -> list[FloatArray]:
    analyzer = open_analyzer(pack, role)
    embeddings: list[FloatArray] = []
    for path in list_photos(folder):
        try:
            picture = load_photo(path, max_pixels=_MAX_PIXELS)[1]
        except UnreadablePhoto:
            continue
        faces = analyzer.find(picture)
        if len(faces) == 1:
            embeddings.append(faces[0].embedding)
    return embeddings
