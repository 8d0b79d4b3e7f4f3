"""`fleet jobs` and `fleet fetch` on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from portrait_lora import cli
from portrait_lora.fleet.objects import Objects
from portrait_lora.fleet.store import Workplace
from portrait_lora.tasks.shard import files
from tests.fleet.folders import SETTINGS, listed, pictures


def fleet(*words: object) -> Any:
    return CliRunner().invoke(cli.app, ["fleet", *map(str, words)])


@pytest.fixture
def roster(tmp_path: Path) -> Path:
    rows = [
        f"{name},{pictures(tmp_path / name, seed=9 * n)},,{SETTINGS}" for n, name in enumerate(("Ann", "Bob"))
    ]
    return listed(tmp_path, rows).path


def test_files_for_a_shared_folder(roster: Path, tmp_path: Path) -> None:
    done = fleet("jobs", roster, "--for", "slurm", "--shards", 2, "--out", tmp_path / "out", "--gpus", 0)
    assert done.exit_code == 0, done.output
    text = (tmp_path / "out/people.slurm").read_text()
    assert f"fleet work {tmp_path / 'people-fleet'} --device cpu" in text
    assert (tmp_path / "people-fleet/people/ann/photos").is_dir()


def test_a_store_gets_everybody_and_gives_back_what_was_made(roster: Path, tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}"
    done = fleet(
        "jobs", roster, "--for", "skypilot", "--shards", 2, "--out", tmp_path / "out", "--gpus", 0,
        "--store", url, "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["home"] == url
    assert "fleet.json" in Objects(url).sizes("")
    worker = Workplace(url, tmp_path / "scratch")
    worker.fetch("ann")
    output = files.folder(worker.home, "ann") / "reports/run.json"
    output.parent.mkdir()
    output.write_text("{}")
    worker.deliver("ann")
    done = fleet("fetch", roster, "--store", url, "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["changed"] == ["ann"]
    assert (tmp_path / "people-fleet/people/ann/reports/run.json").read_text() == "{}"
    assert "Nothing is new" in fleet("fetch", roster, "--store", url).stdout
    assert fleet("fetch", roster, "--store", tmp_path).exit_code != 0
