"""One proof over many cases: `make test` takes a fixed sample of them, `make test-all` every one.

A sample has every kind of case, and fails for what the test was written for.  Nothing else is left out: what
is the only proof of a behaviour belongs to the sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from _pytest.mark import ParameterSet


def sampled(
    cases: Iterable[Any], kept: Callable[[Any], bool], *, name: Callable[[Any], str] | None = None
) -> list[ParameterSet]:
    """The cases for `parametrize`; those that are not `kept` run with `--exhaustive` alone.

    A case of several arguments is a tuple.  `name` is the id of a case; without it pytest chooses.
    """
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else (case,)),
            marks=() if kept(case) else pytest.mark.exhaustive,
            id=name(case) if name else None,
        )
        for case in cases
    ]


def deselect(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take out of the collection what is exhaustive, unless it is asked for."""
    if config.getoption("exhaustive"):
        return
    left_out = [item for item in items if item.get_closest_marker("exhaustive")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("exhaustive")]
