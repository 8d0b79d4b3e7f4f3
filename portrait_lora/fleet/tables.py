"""`reports/people.csv` and `.parquet`, `starts.csv` and `.parquet`: everything a fleet has measured."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from portrait_lora import csv_file, likeness, manifest
from portrait_lora.fleet.standings import Row

PEOPLE: Final = (
    "person", "name", "group", "state", "outlier", "reason", "tries", "starts", "failures", "device_s",
    "steps", "similarity", "ci95_low", "ci95_high", "ceiling", "share_of_ceiling", "verified_rate",
    "face_found_rate", "copy_score", "portraits", *(f"{stage}_s" for stage in likeness.STAGES),
    "trained_with", "adapter_sha256", "digest",
)  # fmt: skip
STARTS: Final = (
    "person", "number", "worker", "device", "began", "ended_at", "device_s", "ended", "resumed_from", "steps",
    "fault_of_worker", "error",
)  # fmt: skip
_TEXT: Final = {
    "person", "name", "group", "state", "outlier", "reason", "trained_with", "adapter_sha256", "digest",
    "worker", "device", "ended", "error",
}  # fmt: skip
_WHOLE: Final = {"tries", "starts", "failures", "steps", "portraits", "number", "resumed_from"}
_BOOL: Final = {"fault_of_worker"}


def write(reports: Path, rows: Sequence[Row]) -> list[Path]:
    """Write all four tables; the paths.  Times are seconds, shares from 0 to 1, an empty cell is unknown."""
    people, starts = [_person(row) for row in rows], [one for row in rows for one in _starts(row)]
    each = [(PEOPLE, people), (PEOPLE, people), (STARTS, starts), (STARTS, starts)]
    for path, (header, table) in zip(names(reports), each, strict=True):
        if path.suffix == ".csv":
            manifest.write_text_atomic(path, csv_file.text_of(header, table))
        else:
            manifest.write_bytes_atomic(path, _parquet(header, table))
    return names(reports)


def names(reports: Path) -> list[Path]:
    """Where the tables lie."""
    return [reports / f"{name}{kind}" for name in ("people", "starts") for kind in (".csv", ".parquet")]


def _person(row: Row) -> list[object]:
    record, figures = row.record, row.record.figures
    low, high = figures.ci95 if figures else (None, None)
    of_figures = (
        [figures.similarity, low, high, figures.ceiling, figures.share_of_ceiling, figures.verified_rate,
         figures.face_found_rate, figures.copy_score, figures.portraits]
        if figures else [None] * 9
    )  # fmt: skip
    others = "; ".join(one for one in record.together if one != row.person)
    return [
        row.person, row.name, "; ".join(row.groups), record.state.value, row.outlier, record.reason,
        record.tries, len(record.starts), record.failures, round(record.device_s, 2),
        record.starts[-1].steps if record.starts else None, *of_figures,
        *(record.stage_seconds.get(stage) for stage in likeness.STAGES),
        others, record.adapter_sha256, record.digest,
    ]  # fmt: skip


def _starts(row: Row) -> list[list[object]]:
    return [
        [row.person, one.number, one.worker, one.device, one.began, one.ended_at, one.device_s,
         one.ended.value if one.ended else "", one.resumed_from, one.steps, one.is_fault_of_worker,
         one.error.what if one.error else ""]
        for one in row.record.starts
    ]  # fmt: skip


def _parquet(header: Sequence[str], table: Sequence[Sequence[object]]) -> bytes:
    """Of typed columns, so that an empty fleet has the same ones."""
    import pyarrow as pa
    from pyarrow import parquet

    kinds = {**dict.fromkeys(_TEXT, pa.string()), **dict.fromkeys(_WHOLE, pa.int64()),
             **dict.fromkeys(_BOOL, pa.bool_())}  # fmt: skip
    schema = pa.schema([(name, kinds.get(name, pa.float64())) for name in header])
    columns = [
        pa.array([_cell(row[i], field.type == pa.float64()) for row in table], field.type)
        for i, field in enumerate(schema)
    ]
    out = io.BytesIO()
    parquet.write_table(pa.table(columns, schema=schema), out)
    return out.getvalue()


def _cell(value: object, is_float: bool) -> object:
    return float(value) if is_float and isinstance(value, int | float) else value
