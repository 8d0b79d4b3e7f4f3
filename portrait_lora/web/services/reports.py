"""The reports of a person as JSON: drift, the summary of the journey, the last check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from portrait_lora import strict_json
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.likeness import Journal
from portrait_lora.results import CheckResult
from portrait_lora.web.problems import NotFound
from portrait_lora.web.services import jobs as job_service


def drift(root: Path) -> dict[str, Any]:
    """`reports/drift.json`.  Raises `NotFound` before scoring."""
    return _report(root, "drift.json", "score")


def summary(root: Path) -> dict[str, Any]:
    """`reports/run.json`.  Raises `NotFound` before scoring."""
    return _report(root, "run.json", "score")


def check(root: Path) -> dict[str, Any]:
    """The result of the last check.  Raises `NotFound` before it."""
    try:
        result = Journal.open(root / "reports").result(CheckResult)
    except (ArtifactError, InputError) as error:
        raise _missing("check") from error
    place = job_service.relative_to(str(root))
    return place(result.json_value())


def _report(root: Path, name: str, stage: str) -> dict[str, Any]:
    path = root / "reports" / name
    if not path.is_file():
        raise _missing(stage)
    place = job_service.relative_to(str(root))
    return place(strict_json.load_object(path, "report", file_names=True))


def _missing(stage: str) -> NotFound:
    return NotFound("there is no report yet", where=stage, remedy=f"Run it first: POST …/{stage}.")
