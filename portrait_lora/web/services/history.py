"""The versions of a portrait: the chain of edits behind it, what was made from it, and edits as layers.

An edit never changes its source: undoing one means going back to the file that it was made from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from PIL import Image

from portrait_lora import strict_json
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.generation import save
from portrait_lora.pictures.reader import load_photo
from portrait_lora.rights import marks
from portrait_lora.web.services import portraits
from portrait_lora.web.services.portraits import Drawn

_WORDS: Final = {
    "generate": "drawn",
    "vary": "varied",
    "reference": "drawn over",
    "fix": "drawn again",
    "finish": "finished",
    "reframe": "framed anew",
}


@dataclass(frozen=True, slots=True)
class Version:
    """One step of a picture's history; `picture` is None where its file is not there any more."""

    picture: Drawn | None
    action: str
    words: str
    region: str
    strength: float | None
    prompt: str
    current: bool


@dataclass(frozen=True, slots=True)
class Versions:
    """The chain up to a picture, oldest first, and what was made from it."""

    chain: tuple[Version, ...]
    offspring: tuple[Drawn, ...]

    @property
    def parent(self) -> Drawn | None:
        """The picture that the current one was made from."""
        return self.chain[-2].picture if len(self.chain) > 1 else None

    @property
    def layers(self) -> tuple[Version, ...]:
        """The edits of the chain whose files, and whose sources' files, are there."""
        pairs = zip(self.chain, self.chain[1:], strict=False)
        return tuple(b for a, b in pairs if a.picture and b.picture and b.action == "fix")


def versions(root: Path, current: Drawn) -> Versions:
    """What led to a picture and what came of it, among the files of its series."""
    others = [one for one in portraits.drawn(root, current.series) if one.look == "" and one.id != current.id]
    records = history_of(root / current.file)
    chain: list[Version] = []
    child: Mapping[str, Any] = {}
    for k, record in enumerate(reversed(records)):
        here = current if k == 0 else _source(root, others, child, current.name)
        chain.append(_version(record, here, current=k == 0))
        child = record
    digest = _pixels(root / current.file)
    offspring = [one for one in portraits.drawn(root, current.series) if _made_from(root, one, digest)]
    return Versions(tuple(reversed(chain)), tuple(offspring))


def history_of(path: Path) -> list[Mapping[str, Any]]:
    """The records of a picture, oldest first; one empty record where its sidecar cannot be read."""
    try:
        raw = strict_json.load_object(save.sidecar_of(path), "sidecar", file_names=True)
        return cast(list[Mapping[str, Any]], save.history(cast(Mapping[str, object], raw["recipe"])))
    except (ArtifactError, KeyError, AttributeError, RecursionError):
        return [{}]


def _version(record: Mapping[str, Any], picture: Drawn | None, *, current: bool) -> Version:
    action, strength = str(record.get("action", "generate")), record.get("strength")
    region = str(record.get("region", ""))
    what = {"painted": "what was painted", "background": "the background"}.get(region, region)
    words = f"{what} {_WORDS['fix']}" if action == "fix" else _WORDS.get(action, action)
    number = float(strength) if isinstance(strength, int | float) else None
    prompt = str(record.get("prompt", ""))
    return Version(picture, action, words, region, number, prompt, current)


def _source(root: Path, others: Sequence[Drawn], child: Mapping[str, Any], name: str) -> Drawn | None:
    """The file with the pixels that an edit began from; of a finished picture, the one whose name it has."""
    if child.get("action") == "finish":
        named = [one for one in others if name.startswith(f"{Path(one.name).stem}-")]
        return max(named, key=lambda one: len(one.name), default=None)
    digest = str(child.get("source_pixels_sha256", ""))
    return next((one for one in others if digest and _pixels(root / one.file) == digest), None)


def _made_from(root: Path, one: Drawn, digest: str) -> bool:
    if one.kind != "edit":
        return False
    return str(history_of(root / one.file)[-1].get("source_pixels_sha256", "")) == digest


def _pixels(path: Path) -> str:
    try:
        state = path.stat()
        return _pixel_digest(str(path), state.st_mtime_ns, state.st_size)
    except OSError:
        return ""


@lru_cache(maxsize=5000)
def _pixel_digest(path: str, mtime_ns: int, size: int) -> str:
    del mtime_ns, size
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            return save.pixel_digest(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""


def layer_png(root: Path, below: Drawn, above: Drawn) -> bytes:
    """What an edit changed, as a PNG that is transparent where nothing did.

    Raises `InputError` for two pictures of different sizes.
    """
    before, after = (load_photo(root / one.file)[1] for one in (below, above))
    if before.shape != after.shape:
        raise InputError("these are two pictures of different sizes", got=f"{before.shape} and {after.shape}")
    changed = (np.asarray(before) != np.asarray(after)).any(axis=-1)
    layered = np.dstack([after, (changed * 255).astype(np.uint8)])
    layered[~changed] = 0
    return marks.encode(Image.fromarray(layered), "PNG", marks.of_copy(root / above.file))


def layers_of(path: Path) -> dict[str, str]:
    """The layers of the picture's prompt: layer → words."""
    layers = history_of(path)[-1].get("layers")
    return (
        {str(k): str(v) for k, v in cast(dict[str, object], layers).items()}
        if isinstance(layers, dict)
        else {}
    )
