"""Models, this machine, and the linter of prompts, for pages and API."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal, cast

from portrait_lora.web.problems import WebError

_DOCTOR_SECONDS: Final = 120.0
_KEPT_SECONDS: Final = 60.0
_looking = threading.Lock()
_seen: dict[str, tuple[float, list[MachineCheck]]] = {}


@dataclass(frozen=True, slots=True)
class MachineCheck:
    """One check of `doctor`."""

    name: str
    status: Literal["ok", "warn", "fail"]
    observed: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Remark:
    """What weakens a prompt, and what to write instead."""

    code: str
    problem: str
    instead: str


@cache
def models() -> dict[str, Any]:
    """Base models, each with its GPU memory in GB (least and quickest), and face packs."""
    from portrait_lora.faces.table import pack_table
    from portrait_lora.families import catalog
    from portrait_lora.stages.usual import memory_range_gb

    ranges = {b.name: [round(v, 1) for v in memory_range_gb(b)] for b in catalog.bases()}
    rows = [{**row, "training_memory_gb": ranges[str(row["name"])]} for row in catalog.table()]
    return json.loads(json.dumps({"models": rows, "face_packs": pack_table()}, default=str))


def doctor() -> list[MachineCheck]:
    """The checks of `doctor --quick --offline`, in a process of its own: it imports everything that is large.

    Kept for a minute, and never looked for twice at once.  Raises `PortraitError` when it cannot be run.
    """
    with _looking:
        when, checks = _seen.get("doctor", (0.0, []))
        if not checks or time.monotonic() - when > _KEPT_SECONDS:
            checks = _doctor()
            _seen["doctor"] = (time.monotonic(), checks)
        return checks


def _doctor() -> list[MachineCheck]:
    command = [
        sys.executable, "-c", "from portrait_lora.cli import main; main()",
        "doctor", "--quick", "--offline", "--json",
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=_DOCTOR_SECONDS, check=False, stdin=subprocess.DEVNULL
        )
        rows = json.loads(done.stdout)["checks"]
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError) as error:
        raise DoctorFailed("the checks of this machine cannot be run", got=type(error).__name__) from error
    return [
        MachineCheck(str(r["name"]), cast(Any, r["status"]), str(r["found"]), str(r["remedy"])) for r in rows
    ]


class DoctorFailed(WebError):
    """The doctor's own process failed."""

    status = 503


def lint(text: str, base: str = "", aspect: str = "") -> list[Remark]:
    """Remarks on one prompt.  Raises `PortraitError` for an unknown base or aspect."""
    from portrait_lora.tasks import lint as linting

    # a line break keeps the text from being taken for the name of a file
    rows = linting.lint_text(f"{text}\n", base, aspect)
    return [Remark(r.code, r.said, r.instead) for row in rows for r in row.remarks]
