"""Stage generate: the portraits of a series, their checklist, sheets and page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from portrait_lora import likeness, manifest, removal, strict_json
from portrait_lora.errors import ArtifactError, PortraitError
from portrait_lora.results import GenerateResult
from portrait_lora.rights import consent
from portrait_lora.stages import referring, standing
from portrait_lora.stages.context import ADAPTER, Context, is_whole

if TYPE_CHECKING:
    from portrait_lora.generation.checklist import Check
    from portrait_lora.records import Portrait
    from portrait_lora.stages.finish import Finishing


def generate(ctx: Context) -> GenerateResult:
    """Write `portraits/<series>/`: PNG and JSON per picture, the checklist, two sheets; and the page.

    A series or brand that names a look gets its finished pictures beside that, see `stages/finish.py`.

    Raises `TooManyPictures` for a series above `generate.max_pictures`, and `ConfigError` for remarks of
    the linter when `generate.strict`, `InputError` where a consent has ended, and what
    `referring.refuse_what_cannot_be` raises.
    """
    wanted = finishing_of(ctx)
    folder, inputs = _begun(ctx)
    result = ctx.stage(
        GenerateResult,
        inputs,
        lambda: is_whole(folder),
        lambda: _portraits(ctx, folder, inputs),
        lambda: [_page_file(ctx), _timings_file(ctx)],
    )
    standing.withdraw_report(ctx, folder)
    if wanted is None:
        return result
    from portrait_lora.stages.finish import finish

    ctx.finished = finish(ctx, wanted)
    return result.model_copy(update={"finished": ctx.finished})


def ahead(ctx: Context) -> Path | None:
    """Where the pictures of the series are to be drawn, for drawing them with others'; None when they are.

    Asks before everything that the stage asks before, and raises what it raises.
    """
    from portrait_lora.stages import series

    folder, inputs = _begun(ctx)
    if ctx.is_done(GenerateResult, inputs, lambda: is_whole(folder)):
        return None
    series.ask_first(ctx)
    if ctx.config.generate.strict:
        series.lint_shots(ctx)
    ctx.guard([shot.prompt for shot in ctx.shots])
    ctx.journal.forget(GenerateResult.STAGE)
    return folder


def _begun(ctx: Context) -> tuple[Path, dict[str, str]]:
    """The folder of the series and the inputs of the stage, once nothing is in the way."""
    consent.require_purposes(ctx.likeness.root, *purposes_of(ctx))
    referring.refuse_what_cannot_be(ctx)
    # beside whose pictures they are drawn makes no others
    settings = ctx.config.generate.model_dump(mode="json", exclude={"together"})
    inputs = {
        "adapter": "" if ctx.alone else manifest.sha256_file(ctx.likeness.adapters / ADAPTER),
        "config": manifest.digest({"generate": settings}),
        "shots": manifest.digest(
            [[s.name, s.prompt, s.negative_prompt, s.size_px, s.seed] for s in ctx.shots]
        ),
        "base": ctx.base.digest,
    } | referring.inputs_of(ctx)
    folder = ctx.likeness.portraits(ctx.series)
    standing.refuse_another_series(ctx, folder)
    return folder, inputs


def purposes_of(ctx: Context) -> tuple[str, ...]:
    """What the series is drawn for: portraits, and the commercial use that settings or its sheet name."""
    from portrait_lora.generation.series import is_commercial

    named = is_commercial(ctx.config.generate.series)
    return ("portraits", "commercial") if ctx.config.commercial or named else ("portraits",)


def finishing_of(ctx: Context) -> Finishing | None:
    """What is to be done with the drawn series; asked before anything is drawn or trained.

    Raises `ConfigError` for an unknown look, and what keeps a file of it from being used.
    """
    from portrait_lora.generation.series import finish_of

    refuse_words(ctx)
    wanted = finish_of(ctx.config.generate.series, ctx.config.generate.brand)
    if wanted is None:
        return None
    from portrait_lora.stages.finish import finishing  # opens pictures: heavy

    return finishing(ctx, wanted)


def refuse_words(ctx: Context) -> None:
    """Raise `Refused` for a series with a prompt that is not drawn of a person, before hours of work.

    A series that cannot be read yet, or a base that is not there, is the business of the stage.
    """
    try:
        prompts = [shot.prompt for shot in ctx.shots]
    except PortraitError:
        return
    ctx.guard(prompts)


def _portraits(ctx: Context, folder: Path, inputs: Mapping[str, str]) -> GenerateResult:
    from portrait_lora.generation.checklist import failures
    from portrait_lora.generation.contact_sheet import contact_sheet
    from portrait_lora.generation.series_page import worst_first
    from portrait_lora.stages import series

    series.ask_first(ctx)
    remarks = series.lint_shots(ctx)
    best = {series.CHOICES} if ctx.config.generate.best_of > 1 else set[str]()
    wanted = {f"{s.name}{suffix}" for s in ctx.shots for suffix in (".png", ".json")} | best
    pages = (likeness.CONTACT_SHEET, likeness.WORST_FIRST, series.CHECKLIST, series.CHOICES, manifest.NAME)
    removal.remove_recorded(folder, owner=ctx.likeness.root / "portraits", names=pages, keep=wanted)
    timings = _known_timings(ctx) if "generate" not in ctx.redo else {}
    drawn = dict(ctx.drawn)
    refused: list[str] = []
    portraits = series.draw(ctx, folder, drawn, refused)
    gone = {f"{name}{suffix}" for name in refused for suffix in (".png", ".json")}
    for name in sorted(gone):  # an earlier picture of the shot, which this one was to replace
        if (folder / name).is_file():
            removal.remove_file(folder / name, owner=ctx.likeness.root / "portraits")
    remarks += [f"{name}: the drawn picture was refused by the guard, and is not written" for name in refused]
    wanted -= gone
    checks = series.check_all(ctx, portraits)
    series.write_checklist(folder, checks)
    title = ctx.config.subject.name or ctx.series
    sheet = contact_sheet(portraits, folder / likeness.CONTACT_SHEET, title=title)
    failed = {name: failures(results) for name, results in checks.items()}
    review = contact_sheet(
        worst_first(portraits, checks),
        folder / likeness.WORST_FIRST,
        title=f"{title}: worst first",
        notes=failed,
    )
    extra: dict[str, object] = {"series": ctx.series, "origin": standing.origin(ctx)}
    extra |= {series.REFUSED: refused} if refused else {}
    sealed = wanted | {likeness.CONTACT_SHEET, likeness.WORST_FIRST, series.CHECKLIST}
    # what others laid there is not ours to seal
    manifest.finish(folder, kind="portraits", inputs=inputs, extra=extra, names=sealed)
    seconds = {s.name: round((timings | drawn).get(s.name, 0.0), 3) for s in ctx.shots}
    manifest.write_json_atomic(_timings_file(ctx), seconds)
    each, cost = _cost(ctx, seconds)
    result = GenerateResult(
        portraits=len(portraits),
        folder=str(folder),
        contact_sheet=str(sheet),
        worst_first=str(review),
        gallery=str(_page_file(ctx)),
        remarks=tuple(remarks),
        flawed=sum(bool(codes) for codes in failed.values()),
        seconds_per_portrait=each,
        cost_per_portrait=cost,
        refused=tuple(refused),
    )
    _write_page(ctx, portraits, checks, result, title)
    return result


def _known_timings(ctx: Context) -> dict[str, float]:
    """Seconds of the pictures that an earlier run drew, told on the page."""
    try:
        raw = strict_json.load_object(_timings_file(ctx), "record of the series")
    except ArtifactError:
        return {}
    return {name: float(value) for name, value in raw.items() if isinstance(value, int | float)}


def _timings_file(ctx: Context) -> Path:
    return ctx.likeness.reports / f"series-{ctx.series}.json"


def _page_file(ctx: Context) -> Path:
    return ctx.likeness.reports / f"series-{ctx.series}.html"


def _cost(ctx: Context, seconds: Mapping[str, float]) -> tuple[float | None, float | None]:
    """Seconds and, given a price, cost of one portrait; a picture of unknown time is left out."""
    known = [value for value in seconds.values() if value > 0]
    each = sum(known) / len(known) if known else None
    price = ctx.config.generate.price_per_hour
    cost = None if each is None or price is None else round(each * price / 3600, 6)
    return None if each is None else round(each, 3), cost


def _write_page(
    ctx: Context,
    portraits: Sequence[Portrait],
    checks: Mapping[str, tuple[Check, ...]],
    result: GenerateResult,
    title: str,
) -> None:
    from portrait_lora.generation.series_page import write_series_page

    each, cost = result.seconds_per_portrait, result.cost_per_portrait
    facts = [f"{len(portraits)} portraits", f"series {ctx.series}", f"base {ctx.base.label}"]
    facts += [] if each is None else [f"{each} s each"]
    facts += (
        [] if cost is None else [f"cost {cost:g} each at {ctx.config.generate.price_per_hour:g} per hour"]
    )
    write_series_page(_page_file(ctx), portraits, checks, title=title, facts=facts, remarks=result.remarks)
