"""One reduced journey on the embedded default, run once, serves every end-to-end test."""

from __future__ import annotations

import gc
import json
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
from filelock import FileLock

from portrait_lora import starting  # before any test module imports onnxruntime
from tests import sampling, silence
from tests.browser import browser_page, chromium, chromium_session, page_troubles  # noqa: F401
from tests.lacking import lacking
from tests.slowest import pytest_terminal_summary  # noqa: F401

PERSON_SEED = 11
REDUCED = (
    "training.exposures_per_photo=3",
    "training.identity_lessons=4",
    "training.checkpoints=3",
    "select.probes=1",
    "generate.per_shot=1",
    "generate.num_inference_steps=3",
)


SLOW_FIRST = (
    "test_stopping.py",
    "test_studio.py",
    "test_autoencoder.py",
)
"""The longest files, so that no process is left alone with one of them at the end."""
LONG_WITH_JOURNEY = (
    "test_successor.py",
    "test_stopping.py",
    "test_export.py",
    "test_finish.py",
    "test_training.py",
    "test_two_processes.py",
    "test_further_pages.py",
    "test_kinds.py",
    "test_showcase.py",
    "test_docs.py",
)
"""The longest of those that share the journey, likewise."""

starting.quickly()  # as the program does
typer.main.get_command = cache(typer.main.get_command)  # else the tree of commands is built for every call
_WATCH = pytest.StashKey[silence.Watch]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--exhaustive",
        action="store_true",
        help="every case of what is otherwise sampled (tests/sampling.py)",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """One file that builds the journey, what is slow, what needs no journey, and then what shares it."""
    sampling.deselect(config, items)
    uses = {item.path for item in items if "journey" in getattr(item, "fixturenames", ())}

    def place(item: pytest.Item) -> tuple[int, int]:
        name = item.path.name
        if name == "test_journey.py":
            return 0, 0
        if name in SLOW_FIRST and item.path not in uses:
            return 1, SLOW_FIRST.index(name)
        if item.path not in uses:
            return 2, 0
        long = name in LONG_WITH_JOURNEY
        return 3, LONG_WITH_JOURNEY.index(name) if long else len(LONG_WITH_JOURNEY)

    items.sort(key=place)


def pytest_configure(config: pytest.Config) -> None:
    """The folder of the watch, one for all processes of a test run."""
    worker = getattr(config, "workerinput", None)
    folder = worker["watch"] if worker else tempfile.mkdtemp(prefix="silence-")
    config.stash[_WATCH] = silence.Watch(Path(folder))


def pytest_configure_node(node: Any) -> None:
    node.workerinput["watch"] = str(node.config.stash[_WATCH].folder)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported is no garbage: whenever a model is freed, half a second went into looking for some."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_collection_finish(session: pytest.Session) -> None:
    """What takes half a minute of waiting begins before the first test."""
    wanted = any(item.path.name == "test_telemetry.py" for item in session.items)
    first = getattr(session.config, "workerinput", {"workerid": "gw0"})["workerid"] == "gw0"
    if wanted and first and not session.config.option.collectonly and silence.can_watch():
        session.config.stash[_WATCH].start()


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_WATCH].stop()
    if not hasattr(config, "workerinput"):
        config.stash[_WATCH].remove()


@pytest.fixture(autouse=True)
def remembered_tests(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outcomes of face packs' sanity tests are not kept in the user's home."""
    from portrait_lora.faces import first_use

    home = tmp_path_factory.getbasetemp() / "tested-packs"
    monkeypatch.setattr(first_use, "packs_home", lambda: home)


@pytest.fixture
def exhaustive(pytestconfig: pytest.Config) -> bool:
    """Whether every case is asked for, for a test that has its cases in a loop."""
    return bool(pytestconfig.getoption("exhaustive"))


@pytest.fixture
def watch(pytestconfig: pytest.Config) -> silence.Watch:
    """The programs that have been watched since the tests began."""
    if shutil.which("strace") is None:
        lacking("strace")
    if not silence.can_watch():
        pytest.skip("this machine lets nobody trace")
    return pytestconfig.stash[_WATCH]


@dataclass(frozen=True)
class Journey:
    """The likeness folder of the reduced demo and what it printed."""

    folder: Path
    summary: dict[str, Any]


@pytest.fixture(scope="session", autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The record of files written elsewhere, certificate and policy: not those of whoever runs the tests.

    All processes sign with one certificate: whichever built the journey, it can be made again to the byte.
    """
    with pytest.MonkeyPatch.context() as patch:
        for kind in ("STATE", "CONFIG"):
            patch.setenv(f"XDG_{kind}_HOME", str(tmp_path_factory.mktemp(kind.lower())))
        data = _of_all_processes(tmp_path_factory) / "data"
        data.mkdir(exist_ok=True)
        patch.setenv("XDG_DATA_HOME", str(data))
        yield


def _of_all_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.getbasetemp()
    return here.parent if "PYTEST_XDIST_WORKER" in os.environ else here


@pytest.fixture(scope="session")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    """Built once by whichever process is first; every process has a copy, in which nothing stays changed."""
    from portrait_lora import recipe

    here, shared = tmp_path_factory.getbasetemp(), _of_all_processes(tmp_path_factory)
    built, summary = shared / "built" / "demo", shared / "journey.json"
    with FileLock(shared / "journey.lock"):
        if not summary.exists():
            result = recipe.demo(built, PERSON_SEED, overrides=REDUCED)
            summary.write_text(json.dumps(result.json_value()))
    folder = Path(shutil.copytree(built, here / "journey" / "demo"))
    return Journey(folder, json.loads(summary.read_text()))


@pytest.fixture(autouse=True)
def _no_offline_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test begins without them, and what `--offline` sets for the process ends with its test."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
