"""The list of the slowest files adds up all phases of all tests of a file."""

from __future__ import annotations

from typing import Literal

import pytest

from tests import slowest


def report(
    name: str, seconds: float, when: Literal["setup", "call", "teardown"] = "call"
) -> pytest.TestReport:
    return pytest.TestReport(name, (name, None, ""), {}, "passed", None, when, duration=seconds)


def test_phases_and_tests_of_a_file_are_added_up():
    reports = [
        report("a.py::one", 1.0),
        report("a.py::two", 2.0, "setup"),
        report("b.py::one", 2.5),
        object(),
    ]
    assert slowest.slowest_files(reports) == [("a.py", 3.0), ("b.py", 2.5)]


def test_ten_are_shown_and_few_files_are_no_list():
    class Reporter:
        def __init__(self, files: int) -> None:
            self.stats = {"": [], "passed": [report(f"{n}.py::one", n) for n in range(files)]}
            self.lines: list[str] = []

        def section(self, title: str) -> None:
            self.lines.append(title)

        write_line = section

    many, few = Reporter(12), Reporter(9)
    slowest.pytest_terminal_summary(many)
    slowest.pytest_terminal_summary(few)
    assert len(many.lines) == 11 and many.lines[1].split() == ["11.0", "11.py"]
    assert not few.lines
