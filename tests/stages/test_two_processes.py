"""The whole command in two processes: one decides and writes, the other trains along, and both end."""

from __future__ import annotations

import json
import shutil
import socket
from functools import partial
from pathlib import Path

import pytest

from portrait_lora import manifest, recipe
from tests import warm
from tests.conftest import REDUCED, Journey
from tests.stages import two_ranks
from tests.stages.test_successor import OTHER

pytestmark = pytest.mark.journey
LIMIT_S = 300


def together(folder: Path, command: str, *settings: str) -> tuple[list[int | None], str]:
    """Exit codes of the two processes, and what the second one wrote into the folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    foreign = folder.parent / "foreign"
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1",
              "FOREIGN_WRITES": str(foreign)}  # fmt: skip
    words = (command, str(folder), *(word for setting in settings for word in ("-s", setting)))
    call = partial(two_ranks.command, folder, words)
    codes = warm.exit_codes(
        [(call, shared | {"RANK": rank, "LOCAL_RANK": rank}) for rank in ("0", "1")], LIMIT_S
    )
    return codes, foreign.read_text() if foreign.exists() else ""


def test_a_command_in_two_processes_twice_then_alone(journey: Journey, tmp_path: Path):
    folder = tmp_path / "demo"
    shutil.copytree(journey.folder, folder)
    few = (*OTHER, "training.checkpoints=1", "training.identity_weight=0.05", "select.step=3")
    assert together(folder, "train", *few) == ([0, 0], "")
    summary = json.loads((folder / "reports/stages.json").read_text())["train"]["summary"]
    assert summary["checkpoints"] == ["step-000002", "step-000003"] and summary["resumed_from"] is None
    rows = [json.loads(line) for line in (folder / "adapters/main/metrics.jsonl").read_text().splitlines()]
    assert ["likeness" in row for row in rows] == [False, False, True]  # each looks at one portrait
    manifest.verify(folder / "adapters/main")
    weights = manifest.sha256_file(folder / "adapters/main/adapter.safetensors")

    assert together(folder, "train", *few, "select.probes=3") == (
        [0, 0],
        "",
    )  # train is skipped: nobody waits
    probes = json.loads((folder / "adapters/main/selection.json").read_text())["probes"]
    assert [len(row["values"]) for row in probes] == [3, 3]
    assert manifest.sha256_file(folder / "adapters/main/adapter.safetensors") == weights

    before = (folder / "reports/stages.json").read_bytes()
    recipe.train(folder, overrides=[*few, "select.probes=3"])  # neither is anything different for one process
    assert (folder / "reports/stages.json").read_bytes() == before


def test_an_error_of_the_first_ends_the_other(journey: Journey, tmp_path: Path):
    folder = tmp_path / "demo"
    shutil.copytree(journey.folder, folder)
    assert together(folder, "train", *REDUCED, "training.optimizer=prodigy") == ([2, 0], "")
