"""Jobs in words, for a terminal of 80 columns."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from portrait_lora.jobs.job import Event, Job, JobState

_WIDTHS = (17, 11, 8, 16)


def table(jobs: Sequence[Job]) -> list[str]:
    """A line per job: id, state, kind, folder and how far it is."""
    if not jobs:
        return ["No jobs."]
    rows = [("job", "state", "kind", "folder", "")]
    rows += [(j.id, str(j.state), j.kind, Path(j.folder).name, how_far(j)) for j in jobs]
    return [_cells(row).rstrip() for row in rows]


def _cells(row: tuple[str, ...]) -> str:
    cells = [_cut(cell, width).ljust(width) for cell, width in zip(row, _WIDTHS, strict=False)]
    used = sum(_WIDTHS) + 2 * len(_WIDTHS)
    return "  ".join([*cells, _cut(row[-1], 80 - used)])


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 2] + ".."


def how_far(job: Job) -> str:
    """What is worth knowing in a few words: its progress, its error, its place or its time."""
    if job.state is JobState.RUNNING:
        return "stopping" if job.cancel_requested else bar(job.progress or {}) or "starting"
    if job.state is JobState.QUEUED:
        return f"priority {job.priority}" if job.priority else ""
    if job.state is JobState.FAILED:
        return str((job.error or {}).get("what", ""))
    return "" if job.seconds is None else f"{job.seconds:.0f} s"


def bar(progress: Mapping[str, object]) -> str:
    """`train 120/400, 3 min left`."""
    label, done, total = (progress.get(key) for key in ("label", "done", "total"))
    if not isinstance(done, int | float):
        return str(progress.get("stage", ""))
    left = progress.get("left") or (f"{left_s:.0f} s" if (left_s := _number(progress, "left_s")) else "")
    return f"{label} {done:.0f}/{total}" + (f", {left} left" if left else "")


def _number(progress: Mapping[str, object], key: str) -> float | None:
    value = progress.get(key)
    return float(value) if isinstance(value, int | float) else None


def facts(job: Job) -> list[str]:
    """Everything about one job, a line each."""
    pairs: dict[str, object] = {
        "job": job.id, "kind": job.kind, "state": job.state, "folder": job.folder,
        "arguments": ", ".join(f"{key}={value}" for key, value in job.arguments.items()),
        "priority": job.priority or "", "device": job.ran_on or job.device, "owner": job.owner,
        "added": _clock(job.created), "started": _clock(job.started), "ended": _clock(job.ended),
        "starts": job.attempts if job.attempts > 1 else "", "process": job.pid,
        "progress": bar(job.progress or {}) if job.state is JobState.RUNNING else "",
        "exit code": job.exit_code, "error": (job.error or {}).get("message", ""),
    }  # fmt: skip
    return [f"{key:<10} {value}" for key, value in pairs.items() if value not in (None, "")]


def line(event: Event) -> str:
    """One event as a line; empty for what a result repeats."""
    data = event.data
    if event.kind == "state":
        return f"{data['state']}" + (f": {data['reason']}" if "reason" in data else "")
    if event.kind == "log":
        return str(data.get("text", ""))
    if event.kind == "metric":
        rest = ", ".join(f"{k} {_figure(v)}" for k, v in data.items() if k not in ("name", "folder"))
        return f"{data.get('name')}: {rest}"
    if event.kind == "progress":
        fields = [k for k in data if k not in ("label", "done", "total", "left", "left_s", "stage")]
        return "  ".join([bar(data), *(f"{k} {_figure(data[k])}" for k in fields)])
    return ""


def _figure(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _clock(when: float | None) -> str:
    return "" if when is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))
