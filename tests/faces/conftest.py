"""One tiny pack for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faces.tiny_pack import write_tiny_pack


@pytest.fixture(scope="session")
def tiny_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder; read only."""
    return write_tiny_pack(tmp_path_factory.mktemp("pack"))
