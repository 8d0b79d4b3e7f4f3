"""One reduced journey on the embedded default, made once, serves every end-to-end test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import portrait_lora  # noqa: F401  before any test module imports onnxruntime
from tests import silence

PERSON_SEED = 11
REDUCED = (
    "training.exposures_per_photo=10",
    "training.checkpoints=3",
    "select.probes=2",
    "generate.per_shot=1",
    "generate.num_inference_steps=8",
)


_WATCH = pytest.StashKey[silence.Watch]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """What takes half a minute of waiting begins before the first test."""
    wanted = any(item.path.name == "test_telemetry.py" for item in session.items)
    if wanted and not session.config.option.collectonly and silence.can_watch():
        session.config.stash[_WATCH] = silence.Watch()


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _WATCH in session.config.stash:
        session.config.stash[_WATCH].close()


@pytest.fixture
def watch(pytestconfig: pytest.Config) -> silence.Watch:
    """The programs that have been watched since the tests began."""
    if _WATCH not in pytestconfig.stash:
        pytest.skip("this machine has no strace, or lets nobody trace")
    return pytestconfig.stash[_WATCH]


@dataclass(frozen=True)
class Journey:
    """The likeness folder of the reduced demo and what it said."""

    folder: Path
    summary: dict[str, Any]


@pytest.fixture(scope="session", autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The record of files written elsewhere: not that of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    from portrait_lora import recipe

    folder = tmp_path_factory.mktemp("journey") / "demo"
    return Journey(folder, recipe.demo(folder, PERSON_SEED, overrides=REDUCED))


@pytest.fixture(autouse=True)
def _no_offline_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test begins without them, and what `--offline` sets for the process ends with its test."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
