"""`training.warm_start`: which file, whether it fits, and where this person begins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from portrait_lora import log, manifest
from portrait_lora.errors import ConfigError, InputError
from portrait_lora.stages import successor
from portrait_lora.stages.context import ADAPTER, Context

if TYPE_CHECKING:
    from portrait_lora.faces.pack import FacePack
    from portrait_lora.records import CaptionedCrop
    from portrait_lora.training.warm_start import Start, WarmStart

_WHERE: Final = "training.warm_start"
_INPUT: Final = "warm start"
_log = log.get(__name__)


def of(ctx: Context) -> WarmStart | None:
    """The file that the configuration names; None without one.

    Raises `ConfigError` for one that is not there, and `InputError` for one of another base or embedder.
    """
    from portrait_lora.training.warm_start import read

    path = _path(ctx)
    if path is None:
        return None
    warm = read(path)
    for what, learned, here in (
        ("base", warm.base, ctx.base.digest),
        ("embedder", warm.embedder, embedder_of(ctx.pack)),
    ):
        if learned != here:
            raise InputError(
                f"the warm start was learned with another {what}",
                where=_WHERE,
                got=learned[:16],
                needed=here[:16],
                remedy="Leave training.warm_start empty, or learn one: python -m scripts.train.warm_start",
            )
    return warm


def refuse_what_does_not_fit(ctx: Context) -> None:
    """Raise what `of` raises, unless the file has done its part: a finished adapter needs it no more."""
    if not _begun_with(ctx):
        of(ctx)


def embedder_of(pack: FacePack) -> str:
    """What stands for embedder A: the sha256 of its file."""
    return manifest.sha256_file(pack.path(pack.embedder("select")))


def inputs_of(ctx: Context) -> dict[str, str]:
    """What decides the weights beside the settings: the bytes of the file and who embeds the photos.

    Of a finished adapter what it was begun with, when the file is no longer there.
    """
    if before := _begun_with(ctx):
        return {_INPUT: before}
    path = _path(ctx)
    if path is None:
        return {}
    return {_INPUT: manifest.digest([manifest.sha256_file(path), embedder_of(ctx.pack)])}


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


def _begun_with(ctx: Context) -> str:
    """What stands for a file of this name, now gone, that the run's finished adapter was begun with."""
    name, folder = ctx.config.training.warm_start, ctx.likeness.adapters
    if not name or Path(name).is_file() or not (folder / ADAPTER).is_file():
        return ""
    same = successor.recorded_settings(folder).get(_WHERE) == name
    return successor.recorded_inputs(folder).get(_INPUT, "") if same else ""


def _path(ctx: Context) -> Path | None:
    """The file, which is there, if one is named."""
    name = ctx.config.training.warm_start
    if name and not Path(name).is_file():
        raise ConfigError("no such warm start", where=_WHERE, got=name, needed="a safetensors file")
    return Path(name) if name else None
