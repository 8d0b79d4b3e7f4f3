"""An impostor gallery for a pack without one: other people, whose similarity is the floor of the scale.

Stored in the pack's own folder, without names; `tasks.gallery` builds it from pictures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from safetensors.numpy import load_file, save

from portrait_lora import manifest, removal
from portrait_lora.errors import ArtifactError
from portrait_lora.faces.catalog import packs_home
from portrait_lora.faces.pack import FacePack, Role
from portrait_lora.faces.packs import PACK_FILE, read_pack_file
from portrait_lora.records import FloatArray, readonly

_NAME: Final = "impostors-{}.safetensors"
_FORMER: Final = "impostors*.safetensors"


def write_gallery(
    pack: FacePack, tables: Mapping[Role, FloatArray], derived: Mapping[str, Mapping[str, object]]
) -> None:
    """Store (N, K, D) embeddings per role, and thresholds by embedder id, in the pack's folder.

    The file is named by its content and the former one removed last, so that a pack is whole at any moment.
    """
    data = save({role: table.astype(np.float16) for role, table in tables.items()})
    file = _NAME.format(hashlib.sha256(data).hexdigest()[:12])
    raw = dict(read_pack_file(pack.folder))
    models, files = dict(cast(Any, raw["models"])), dict(cast(Any, raw["files"]))
    former = models.get("impostors")
    files.pop(former, None)
    manifest.write_bytes_atomic(pack.folder / file, data)
    raw["models"] = models | {"impostors": file}
    raw["files"] = files | {file: manifest.sha256_file(pack.folder / file)}
    raw["derived"] = {embedder: dict(one) for embedder, one in derived.items()}
    manifest.write_json_atomic(pack.folder / PACK_FILE, raw)
    if former and former != file and Path(former).match(_FORMER):
        removal.remove_file(pack.folder / former, owner=pack.folder)


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
