"""Where the time of a test run goes: its slowest files, printed at the end; nothing is asserted of time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

SHOWN = 10


def slowest_files(reports: Iterable[object]) -> list[tuple[str, float]]:
    """The files with the most seconds over setups, calls and teardowns of their tests, the longest first."""
    seconds: Counter[str] = Counter()
    for report in reports:
        if isinstance(report, pytest.TestReport):
            seconds[report.nodeid.split("::")[0]] += report.duration  # type: ignore[assignment]
    return seconds.most_common(SHOWN)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Wall time, which other programs of the machine lengthen; a run of a few files needs no such list."""
    files = slowest_files(report for reports in terminalreporter.stats.values() for report in reports)
    if len(files) == SHOWN:
        terminalreporter.section("slowest files, in seconds")
        for name, seconds in files:
            terminalreporter.write_line(f"{seconds:7.1f}  {name}")
