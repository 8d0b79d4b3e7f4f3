"""`training.warm_start`: which file, whether it fits, and where this person begins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from portrait_lora import log, manifest
from portrait_lora.errors import ConfigError, InputError
from portrait_lora.stages.context import Context

if TYPE_CHECKING:
    from portrait_lora.records import CaptionedCrop
    from portrait_lora.training.warm_start import Start, WarmStart

EMBEDDED: Final = "embedded"
_FILE: Final = Path(__file__).parents[1] / "assets" / "warm_start" / "warm_start.safetensors"
_WHERE: Final = "training.warm_start"
_log = log.get(__name__)


def of(ctx: Context) -> WarmStart | None:
    """The file that the configuration names; None without one.

    Raises `ConfigError` for one that is not there, and `InputError` for one of another base or embedder.
    """
    name = ctx.config.training.warm_start
    if not name:
        return None
    from portrait_lora.training.warm_start import read

    path = _path(name)
    if not path.is_file():
        raise ConfigError(
            "no such warm start", where=_WHERE, got=name, needed=f"a safetensors file, or {EMBEDDED!r}"
        )
    warm = read(path)
    pairs = (
        ("base", warm.base, ctx.base.digest),
        ("embedder", warm.embedder, ctx.pack.embedder_ids["select"]),
    )
    for what, learned, here in pairs:
        if learned != here:
            raise InputError(
                f"the warm start was learned with another {what}",
                where=_WHERE,
                got=learned[:16],
                needed=here[:16],
                remedy="Leave training.warm_start empty, or learn one: python -m scripts.train.warm_start",
            )
    return warm


def inputs_of(ctx: Context) -> dict[str, str]:
    """What decides the weights beside the settings: the bytes of the file and who embeds the photos."""
    name = ctx.config.training.warm_start
    if not name:
        return {}
    return {
        "warm start": manifest.digest([manifest.sha256_file(_path(name)), ctx.pack.embedder_ids["select"]])
    }


def start_of(ctx: Context, crops: Sequence[CaptionedCrop]) -> Start | None:
    """Where the person of these crops begins, by the mean embedding of the crops.

    Without a face in any crop training begins without a start, and a warning says so.
    """
    warm = of(ctx)
    if warm is None:
        return None
    from portrait_lora.evaluation.similarity import embed_photos

    known, _ = embed_photos([crop.path for crop in crops], ctx.finder)
    if not len(known):
        _log.warning("no face in any crop: the training begins without its warm start")
        return None
    _log.info("begins where %d people are alike, by %d crops", warm.people, len(known))
    return warm.start(known.embeddings.mean(axis=0, dtype=np.float64).astype(np.float32))


def _path(name: str) -> Path:
    return _FILE if name == EMBEDDED else Path(name)
