"""`reports/fleet.html` and its tables: everybody's portraits, those first that somebody should look at."""

from __future__ import annotations

import base64
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from portrait_lora import manifest
from portrait_lora.fleet import standings, tables
from portrait_lora.fleet.forecast import Forecast, forecast
from portrait_lora.fleet.home import FleetHome
from portrait_lora.fleet.templating import render
from portrait_lora.rights import marks
from portrait_lora.summaries import duration
from portrait_lora.tasks.shard.records import PersonRecord, PersonState

FILE: Final = "fleet.html"
_SHOWN: Final = 4
_THUMB_PX: Final = 160
WORDS: Final = {
    PersonState.SUCCEEDED: ("good", "Accepted"),
    PersonState.RUNNING: ("", "Running"),
    PersonState.WAITING: ("", "Waiting"),
    PersonState.NEEDS_PHOTOS: ("ask", "Photos needed"),
    PersonState.NEEDS_CONSENT: ("ask", "Consent needed"),
    PersonState.SET_ASIDE: ("bad", "Set aside"),
    PersonState.FORGOTTEN: ("", "Forgotten"),
}
"""State -> tone and word, as pages show it."""


def write(home: FleetHome) -> Path:
    """Write the page and the tables into `HOME/reports`; only their owner may read them."""
    rows = standings.rows_of(home)
    pictures = {row.person: _pictures(home.folder(row.person)) for row in rows}
    counts = {state.value: sum(row.record.state is state for row in rows) for state in PersonState}
    shares = [row.share for row in rows if row.share is not None]
    expected = forecast({row.person: row.record for row in rows})
    price = home.plan.price_per_hour
    text = render(
        "fleet.html.j2",
        title=Path(home.plan.roster).stem,
        about=about(home),
        rows=rows,
        first=[row for row in rows if row.outlier],
        good=[row for row in rows if row.record.state is PersonState.SUCCEEDED and not row.outlier],
        groups=standings.groups_of(rows),
        pictures=pictures,
        counts=counts,
        people_to_send=counts["needs_photos"] + counts["needs_consent"],
        likeness=f"{statistics.fmean(shares):.0%}" if shares else "",
        spent=spent(expected, price),
        spent_words="device hours so far" if price is None else "spent so far",
        forecast=forecast_line(expected, price),
        words=WORDS,
        place=lambda value: round(100 * min(max(float(value), 0.0), 1.0), 1),
    )
    manifest.write_text_atomic(home.reports / FILE, text)
    tables.write(home.reports, rows)
    return home.reports / FILE


def forecast_line(expected: Forecast, price: float | int | None) -> str:
    """`About 3 hours left with 2 at a time: 6.5 device hours (5.9 to 7.2).`; empty when all is over."""
    if expected.left_device_s is None:
        return "No forecast before somebody is done."
    if expected.left_s is None or expected.left_device_s == 0:
        return ""
    hours = f"{expected.left_device_s / 3600:.2f} device hours"
    if expected.left_device_ci95:
        low, high = (value / 3600 for value in expected.left_device_ci95)
        hours += f" ({low:.2f} to {high:.2f})"
    left = duration(expected.left_s)
    line = f"{left[:1].upper()}{left[1:]} left with {expected.workers} at a time: {hours}"
    if price is not None and (whole := expected.cost(float(price))[1]) is not None:
        line += f", {whole:.2f} in all"
    return f"{line}."


def spent(expected: Forecast, price: float | int | None) -> str:
    """What was spent so far: money where a price is known, else device hours."""
    if price is None:
        return f"{expected.spent_device_s / 3600:.2f}"
    return f"{expected.cost(float(price))[0]:.2f}"


def about(home: FleetHome) -> str:
    """Series, brand and the rule of acceptance in a line."""
    parts = [("Series", home.plan.series), ("brand", home.plan.brand)]
    named = ", ".join(f"{label} {Path(value).stem}" for label, value in parts if value)
    rule = home.plan.acceptance
    limits = [
        f"{name} at {word} {limit:g}"
        for name, word, limit in (
            ("share of the ceiling", "least", rule.share_of_ceiling),
            ("verified", "least", rule.verified_rate),
            ("copies", "most", rule.copy_score),
        )
        if limit is not None
    ]
    rule_line = "Every likeness is accepted."
    if limits:
        rule_line = f"Accepted are likenesses with {', '.join(limits)}."
    return f"{named}. {rule_line}" if named else rule_line


def portraits_of(folder: Path) -> Sequence[Path]:
    """The portraits of the series drawn last, finished ones where there are any; empty before that."""
    series = [path for path in (folder / "portraits").glob("*") if path.is_dir()]
    latest = max(series, key=lambda path: path.stat().st_mtime_ns, default=None)
    if latest is None:
        return []
    return sorted(p for p in latest.rglob("*.png") if p.with_suffix(".json").is_file())


def _pictures(folder: Path) -> list[str]:
    return [uri for path in portraits_of(folder)[:_SHOWN] if (uri := _thumbnail(path))]


def _thumbnail(path: Path) -> str:
    """A small JPEG as a `data:` URI, with the marks of the picture; empty for one that cannot be read."""
    from PIL import Image

    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
    except (OSError, ValueError):
        return ""
    picture.thumbnail((_THUMB_PX, _THUMB_PX))
    data = marks.encode(picture, "JPEG", marks.of_copy(path), quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")


def mean_share(records: Mapping[str, PersonRecord]) -> float | None:
    """Mean share of the ceiling of all who were measured."""
    shares = [
        float(r.figures.share_of_ceiling)
        for r in records.values()
        if r.figures is not None and r.figures.share_of_ceiling is not None
    ]
    return statistics.fmean(shares) if shares else None
