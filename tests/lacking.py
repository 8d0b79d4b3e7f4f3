"""What a machine lacks for a test: a reason to skip it, and a failure where CI runs."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def in_ci() -> bool:
    """Whether this is the run that has to prove everything."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def lacking(program: str) -> NoReturn:
    """Skip the test that needs a program, or fail it where CI runs."""
    if in_ci():
        pytest.fail(f"{program} is missing: install it, or run without CI in the environment", pytrace=False)
    pytest.skip(f"{program} is missing on this machine")
