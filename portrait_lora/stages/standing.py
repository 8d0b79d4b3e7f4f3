"""What earlier runs left: pictures of another series of that name, and reports of pictures that are gone."""

from __future__ import annotations

from pathlib import Path

from portrait_lora import log, manifest, removal
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.results import ScoreResult
from portrait_lora.stages.context import Context, folder_digest

_log = log.get(__name__)
_ALONE = "references alone: "


def origin(ctx: Context) -> list[str]:
    """Which series and brand: files by their path, packaged ones by their name; drawn without an adapter is
    another one."""
    words = (ctx.config.generate.series, ctx.config.generate.brand)
    series, brand = (str(Path(word).resolve()) if word and Path(word).is_file() else word for word in words)
    return [_ALONE + series if ctx.alone else series, brand]


def refuse_another_series(ctx: Context, folder: Path) -> None:
    """Raise `InputError` when the folder holds the pictures of another series of the same name."""
    try:
        sealed = manifest.read(folder)
    except ArtifactError:
        return
    before, now = sealed.extra.get("origin") if sealed else None, origin(ctx)
    if not isinstance(before, list) or before == now:
        return
    words = [str(word) for word in before]
    changed = [old for old, new in zip(words, now, strict=False) if old != new]
    same_kind = words[:1] and words[0].startswith(_ALONE) == ctx.alone
    if not same_kind or not all(_moved(old) for old in changed):
        raise InputError(
            "this folder holds another series of the same name",
            where=folder,
            got=" under ".join(filter(None, words)),
            needed=" under ".join(filter(None, now)),
            remedy="Rename the file of the series or of the brand: each pair has a folder of its own.",
        )


def _moved(word: str) -> bool:
    """A file that is no longer there may be the one that is: it is no other series."""
    path = Path(word.removeprefix(_ALONE))
    return path.is_absolute() and not path.exists()


def withdraw_report(ctx: Context, folder: Path) -> None:
    """A report speaks of pictures that are there: it goes when those that it measured were drawn anew."""
    scored = ctx.journal.stages.get(ScoreResult.STAGE)
    if scored is None or ctx.journal.result(ScoreResult).series != ctx.series:
        return
    if scored.inputs.get("portraits") == folder_digest(folder):
        return
    from portrait_lora.stages.score import REPORTS

    written = ctx.journal.outputs("score")
    for name in (*REPORTS, "run.json"):
        path = ctx.likeness.reports / name
        own = written.get(path.relative_to(ctx.likeness.root).as_posix())
        if path.is_file() and (name == "run.json" or manifest.sha256_file(path) == own):
            removal.remove_file(path, owner=ctx.likeness.reports)
    ctx.journal.forget("score")
    _log.warning("the report was of pictures that were drawn anew, and is withdrawn: score them again")
