from collections.abc import Iterator
from pathlib import Path

import pytest

from portrait_lora.jobs.kinds import KINDS
from portrait_lora.jobs.queue import Queue
from tests.jobs import trivial


@pytest.fixture(autouse=True)
def _trivial_kind() -> Iterator[None]:
    trivial.register()
    yield
    KINDS.pop("trivial", None)
    KINDS.pop("aside", None)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    opened = Queue(tmp_path / "home")
    yield opened
    opened.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "person"
    place.mkdir()
    return place
