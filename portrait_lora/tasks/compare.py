"""Reading finished reports again: two against each other, or many people side by side."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from portrait_lora import csv_file, manifest
from portrait_lora.errors import InputError
from portrait_lora.evaluation import compare, drift_words, groups, tables


def report_file(place: Path) -> Path:
    """The drift.json of a likeness folder, of a report folder, or the file itself."""
    for path in (place, place / "reports" / "drift.json", place / "drift.json"):
        if path.is_file():
            return path
    raise InputError(
        "no report here",
        where=place,
        got="no drift.json" if place.is_dir() else "nothing there",
        needed="a likeness folder or a drift.json",
        remedy=f"Score first: portrait-lora score {place}",
    )


def compare_reports(a: Path, b: Path) -> dict[str, Any]:
    """The comparison as plain values.  Raises InputError when the two were not measured alike."""
    first, _ = tables.read_measured(report_file(a))
    second, _ = tables.read_measured(report_file(b))
    if first.name == second.name:
        first, second = (replace(m, name=name) for name, m in (("A", first), ("B", second)))
    return asdict(compare.compare(first, second))


def comparison_lines(summary: Mapping[str, Any]) -> list[str]:
    """For people: the sentence, the means, and the prompts that differ most."""
    ordered = sorted(summary["by_prompt"], key=lambda pair: -abs(pair[1]))[:3]
    return [
        str(summary["sentence"]),
        f"  {summary['a']} {summary['mean_a']:.3f}, {summary['b']} {summary['mean_b']:.3f} over "
        f"{summary['portraits']} portraits"
        + (f" of {summary['prompts']} prompts each" if summary["prompts"] else " each, of prompts unknown")
        + (f"; {summary['unpaired']} have no partner and were left out" if summary["unpaired"] else ""),
        *(f"  {difference:+.3f}  {prompt}" for prompt, difference in ordered),
    ]


def collate(reports: Sequence[Path], labels_csv: Path | None, out: Path | None) -> dict[str, Any]:
    """People side by side; the interval over people speaks of new people."""
    labels = _labels(labels_csv)
    people: list[groups.Person] = []
    rows: list[dict[str, Any]] = []
    packs: set[str] = set()
    for place in reports:
        path = report_file(place)
        measured, raw = tables.read_measured(path)
        packs.add(measured.pack_digest)
        name = _own_name(place)
        person = _person(name, raw, labels.get(name, {}))
        people.append(person)
        rows.append(
            {"name": name, "mean": raw["mean"], "ci95": raw["ci95"], "no_interval": _no_interval(raw)}
            | {k: raw[k] for k in ("share_of_ceiling", "face_found_rate", "verified_rate", "copy_score")}
            | dict(person.labels)
        )
    if len(packs) > 1:
        raise InputError("the reports were measured with different face packs", got=len(packs), needed=1)
    unknown = sorted(set(labels) - {p.name for p in people})
    if unknown:
        raise InputError("labels of people who are not here", where=labels_csv or "", got=", ".join(unknown))
    names = sorted({label for p in people for label in p.labels})
    by_group = {label: [_measured(row) for row in groups.group_rates(people, label)] for label in names}
    over_people = _measured(groups.share_over(people))
    if out is not None:
        manifest.write_text_atomic(out, _csv(rows))
    return {"people": rows, "share_of_ceiling": over_people, "groups": by_group}


def _measured(row: Any) -> dict[str, Any]:
    """A record as plain values; what was not measured (NaN) is None."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [plain(inner) for inner in value]
        return None if isinstance(value, float) and math.isnan(value) else value

    return plain(asdict(row))


def _no_interval(raw: Mapping[str, Any]) -> str:
    """Why the interval of a report should not be shown; empty when it may."""
    if not raw.get("prompts_known", True):
        return drift_words.NO_PROMPTS
    return "" if len(raw["prompts"]) >= drift_words.MIN_PROMPTS else drift_words.TOO_FEW


def _own_name(report: Path) -> str:
    place = report.resolve()
    folder = place.parent if place.is_file() else place
    return folder.parent.name if folder.name == "reports" else folder.name


def _person(name: str, raw: Mapping[str, Any], labels: Mapping[str, str]) -> groups.Person:
    genuine = tuple(None if s["similarity"] is None else float(s["similarity"]) for s in raw["scores"])
    impostors = tuple(float(v) for v in raw.get("impostor_scores", ()))
    return groups.Person(
        name,
        labels,
        genuine,
        float(raw["threshold"]),
        float(raw["ceiling"]),
        math.nan if raw["impostor"] is None else float(raw["impostor"]),
        impostors,
    )


def _labels(path: Path | None) -> dict[str, dict[str, str]]:
    """Name → labels, from a CSV whose first needed column is `name`."""
    if path is None:
        return {}
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError("the table of groups cannot be read", where=path, got=error) from error
    if not rows or "name" not in rows[0]:
        raise InputError("not a table of groups", where=path, needed="a header with name and labels")
    return {
        csv_file.uncell(row["name"].strip()): {
            k: csv_file.uncell(v.strip()) for k, v in row.items() if k != "name" and k and v and v.strip()
        }
        for row in rows
    }


def _csv(people: Sequence[Mapping[str, Any]]) -> str:
    """A row per person; an interval as two numbers, empty where it should not be shown."""
    rows: list[dict[str, Any]] = []
    for person in people:
        low, high = ("", "") if person["no_interval"] else person["ci95"]
        ends = {"ci95_low": low, "ci95_high": high}
        rest = {k: v for k, v in person.items() if k not in ("name", "mean", "ci95", "no_interval")}
        rows.append({"name": person["name"], "mean": person["mean"], **ends, **rest})
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return csv_file.text_of(columns, ([row.get(column) for column in columns] for row in rows))


def _ends(row: Mapping[str, Any]) -> str:
    return (
        f"({row['no_interval']})" if row["no_interval"] else f"[{row['ci95'][0]:.3f}, {row['ci95'][1]:.3f}]"
    )


def collation_lines(summary: Mapping[str, Any]) -> list[str]:
    """For people: a line per person, the mean over people, and a line per group."""
    lines = [
        f"{row['name']:<24} {row['mean']:.3f} {_ends(row)}  "
        f"found {row['face_found_rate']:.0%}  verified {row['verified_rate']:.0%}"
        for row in summary["people"]
    ]
    share = summary["share_of_ceiling"]
    if len(summary["people"]) > 1 and share["mean"] is not None:
        low, high = share["ci95"]
        enough = share["clusters"] >= drift_words.MIN_PROMPTS
        shown = f"[{low:.2f}, {high:.2f}]" if enough else "(too few people for an interval)"
        lines.append(f"share of ceiling over people: {share['mean']:.2f} {shown}")
    for label, rows in summary["groups"].items():
        for row in rows:
            rate = row["false_match_rate"]
            lines.append(
                f"{label} {row['group']}: {row['people']} people, "
                f"similarity {row['similarity']['mean']:.3f}, "
                f"false non-match {row['false_non_match_rate']:.1%}"
                + ("" if rate is None else f", false match {rate:.2%}")
            )
    return lines
