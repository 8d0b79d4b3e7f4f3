"""The tiny pipelines shared by this folder's tests."""

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tiny_families import make_tiny
from tiny_models import tiny_folder, tiny_sd15  # noqa: F401 - fixtures

from portrait_lora.families import open_family
from portrait_lora.families.catalog import resolve_base
from portrait_lora.families.family import Family
from portrait_lora.records import FamilyName


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[FamilyName], Family]:
    """The tiny base of a family, built once."""

    @cache
    def opened(name: FamilyName) -> Family:
        return open_family(resolve_base(make_tiny(name, tmp_path_factory.mktemp(name) / "base")))

    return opened
