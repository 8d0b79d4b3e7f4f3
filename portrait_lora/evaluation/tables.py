"""One row per portrait, as CSV and as parquet for `datasets.load_dataset`; never an embedding."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from portrait_lora import csv_file, manifest, strict_json
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.evaluation.compare import Measured
from portrait_lora.evaluation.drift import counted
from portrait_lora.evaluation.similarity import verified
from portrait_lora.records import DriftReport, IdentityScore, PromptDrift

COLUMNS: Final = (
    "portrait",
    "prompt",
    "similarity",
    "counted",
    "verified",
    "nearest",
    "view",
    "yaw_deg",
    "face_px",
    "faces",
    "embedder",
    "series",
)
Cell = str | float | bool | None


def rows(report: DriftReport) -> list[dict[str, Cell]]:
    """Portraits of the adapter (`series` "adapter"), then of the bare base ("base")."""
    pairs = [("adapter", s) for s in report.scores] + [("base", s) for s in report.base_scores]
    return [_row(series, score, report.threshold) for series, score in pairs]


def _row(series: str, score: IdentityScore, threshold: float) -> dict[str, Cell]:
    values: tuple[Cell, ...] = (
        score.portrait,
        score.prompt,
        score.similarity,
        counted(score),
        verified(score, threshold),
        score.nearest,
        score.pose_bin,
        score.yaw_deg,
        score.face_px,
        score.faces,
        score.embedder_id,
        series,
    )
    return dict(zip(COLUMNS, values, strict=True))


def write_csv(path: Path, report: DriftReport) -> None:
    """Write UTF-8 CSV with a header; unknown values are empty cells."""
    manifest.write_text_atomic(path, csv_file.text_of(COLUMNS, (row.values() for row in rows(report))))


def write_parquet(path: Path, report: DriftReport) -> None:
    """Write the same rows, typed; `datasets.load_dataset("parquet", data_files=...)` reads them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    numbers, flags = ("similarity", "counted", "yaw_deg", "face_px"), ("verified",)
    kinds = {name: pa.float64() for name in numbers} | {name: pa.bool_() for name in flags}
    kinds["faces"] = pa.int64()
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS])
    table = pa.Table.from_pylist(rows(report), schema=schema)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    manifest.write_bytes_atomic(path, sink.getvalue().to_pybytes())


def read_measured(path: Path) -> tuple[Measured, dict[str, object]]:
    """A `drift.json` for `compare` and `report`, and its whole content.  Raises InputError."""
    try:
        raw: Any = strict_json.load_object(path, "report")
        scores = tuple(IdentityScore(**row) for row in raw["scores"])
        name = str(raw.get("name") or path.parent.parent.name or path.stem)
        holdout, known = tuple(map(str, raw["holdout"])), bool(raw.get("prompts_known", True))
        measured = Measured(name, scores, str(raw["pack_digest"]), holdout, known)
    except (ArtifactError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "not a report of `portrait-lora score`",
            where=path,
            got=error,
            needed="a drift.json",
            remedy="Score first: portrait-lora score LIKENESS_DIR",
        ) from error
    return measured, raw


def read_report(path: Path) -> DriftReport:
    """The report of a `drift.json`; figures that were not measured are NaN.  Raises InputError."""
    measured, raw = read_measured(path)
    value: dict[str, Any] = {f.name: raw[f.name] for f in fields(DriftReport) if f.name in raw}
    try:
        value["prompts"] = tuple(
            PromptDrift(**{**row, "ci95": None if row["ci95"] is None else tuple(row["ci95"])})
            for row in value["prompts"]
        )
        low, high = value["ci95"]
        value["ci95"] = (_number(low), _number(high))
        for name in ("ceiling", "impostor", "base_mean", "copy_score"):
            value[name] = _number(value[name])
        value |= {"scores": measured.scores, "holdout": measured.holdout}
        value["base_scores"] = tuple(IdentityScore(**row) for row in value["base_scores"])
        return DriftReport(**value)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            "a report of another version of this program", where=path, got=error, needed="a drift.json"
        ) from error


def _number(value: float | None) -> float:
    return math.nan if value is None else value
