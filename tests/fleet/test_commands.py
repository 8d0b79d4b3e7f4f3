"""`fleet run|status|retry|work` on the command line; the work itself is the counting recipe of made_up."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from portrait_lora import cli, recipe
from portrait_lora.errors import InputError
from portrait_lora.fleet import alone
from portrait_lora.fleet.begin import begin, rule_of
from portrait_lora.fleet.home import open_home
from portrait_lora.fleet.roster import read
from portrait_lora.jobs import slots
from portrait_lora.tasks.shard import files, plan
from portrait_lora.tasks.shard.records import PersonRecord, PersonState
from tests.conftest import REDUCED, Journey
from tests.fleet.folders import SETTINGS, consent, listed, pictures
from tests.fleet.made_up import CHILD, make_home, run_together

Call = Callable[..., tuple[int, Any]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Call:
    """The command line; exit code, and the JSON of `--json` or the text."""
    monkeypatch.setattr(slots, "CHILD", CHILD)
    monkeypatch.setattr(recipe, "run_together", run_together)

    def one(*words: str | Path) -> tuple[int, Any]:
        done = CliRunner().invoke(cli.app, ["fleet", *map(str, words)])
        if isinstance(done.exception, Exception):
            raise done.exception
        return done.exit_code, json.loads(done.stdout) if "--json" in words else done.stdout

    return one


def roster(tmp_path: Path) -> Path:
    """Anna has photos and consent, Bob a folder that is not there, Cem no consent."""
    for seed, name in enumerate(("anna", "cem")):
        pictures(tmp_path / name, seed=10 * seed)
    consent(tmp_path / "anna.yaml")
    rows = [f"Anna Lee,anna,anna.yaml,{SETTINGS}", f"Bob,bob,,{SETTINGS}", f"Cem,cem,,{SETTINGS}"]
    return listed(tmp_path, rows).path


def test_from_a_roster_to_everybodys_end(call: Call, tmp_path: Path) -> None:
    people = roster(tmp_path)
    code, value = call("run", people, "--workers", "2", "--device", "cpu", "--json")
    states = {"succeeded": 1, "needs_photos": 1, "needs_consent": 1}
    assert (value["states"], code) == (states, 3), value
    assert value["people"]["anna-lee"]["starts"][0]["worker"].endswith(("cpu:0", "cpu:1"))
    home = open_home(tmp_path / "people-fleet")
    assert home.plan.threads >= 1 and home.plan.packs.keys() == home.plan.bases.keys() == {"embedded"}
    code, text = call("status", people)
    assert code == 0 and "3 of 3 people are done: 1 succeeded" in text and "these are photographs" in text
    assert all(len(line) <= 80 for line in text.splitlines()[:3]) and str(tmp_path) not in text
    pictures(tmp_path / "bob", seed=30)
    consent(tmp_path / "bob.yaml", "Bob")
    people.write_text(people.read_text().replace("Bob,bob,,", "Bob,bob,bob.yaml,"))
    code, value = call("run", people, "--workers", "1", "--device", "cpu", "--json")
    assert value["states"] == {"succeeded": 2, "needs_consent": 1} and code == 3
    assert (
        len(value["people"]["anna-lee"]["starts"]) == 1
        and open_home(home.path).plan.begun_at == home.plan.begun_at
    )


def test_retry_is_for_who_was_set_aside_or_is_named(call: Call, tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", ["anna", "bob"], {"anna": {"ends": {"1": "badly", "2": "oddly"}}})
    assert call("work", home.path, "anna")[0] == 1
    assert files.records(home.path)["anna"].state is PersonState.SET_ASIDE
    code, text = call("work", home.path)
    assert code == 1 and "anna: set_aside" in text and "bob: succeeded" in text
    code, value = call("retry", home.path, "--json")
    again = files.records(home.path)["anna"]
    assert value == {"people": ["anna"]} and (again.state, again.failures, len(again.starts)) == (
        "waiting",
        0,
        2,
    )
    assert call("work", home.path)[0] == 0
    assert call("retry", home.path, "--json")[1] == {"people": []}
    with pytest.raises(InputError, match="nobody of this name"):
        call("retry", home.path, "carl")
    held = files.hold(home.path, "bob")
    with pytest.raises(InputError, match="somebody works on this person"):
        call("retry", home.path, "bob")
    assert held is not None


def test_a_worker_of_a_job_file_begins_with_its_part_and_helps_with_the_rest(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = make_home(tmp_path / "home", [*"abcde"])
    order: list[str] = []
    monkeypatch.setattr(
        recipe,
        "run_together",
        lambda folders, **rest: order.extend(f.name for f in folders) or run_together(folders, **rest),
    )
    code, value = call("work", home.path, "--shard", "1/2", "--worker", "w7", "--json")
    assert code == 0 and order == ["b", "d", "a", "c", "e"] and [*value] == order
    assert value["a"]["starts"][0]["worker"] == "w7"
    assert call("work", home.path)[0] == 0 and len(order) == 5
    for wrong in ("2/2", "1", "a/b", "-1/2", "0/0"):
        with pytest.raises(InputError, match="not a part"):
            call("work", home.path, "--shard", wrong)


def test_a_worker_waits_a_while_for_whom_another_one_has() -> None:
    tried: list[str] = []

    def do(people: Any) -> list[PersonRecord]:
        tried.extend(people)
        return [PersonRecord(person=p, digest="", state=PersonState.RUNNING) for p in people]

    clock = [0.0]
    ended = alone.work_through(
        ["a"], {}, do, sleep=lambda s: clock.__setitem__(0, clock[0] + s), now=lambda: clock[0]
    )
    assert ended["a"].state is PersonState.RUNNING and 3 <= len(tried) <= 6 and clock[0] < 300


def test_the_rule_of_acceptance_of_a_roster() -> None:
    assert rule_of({"share_of_ceiling": 0.6, "tries": 3.0}) == plan.Rule(share_of_ceiling=0.6, tries=3)
    assert rule_of({"copy_score": None}) == plan.Rule(copy_score=None)
    for numbers, what in (
        ({"sharre": 0.6}, "unknown figure"),
        ({"verified_rate": 1.5}, "is wrong"),
        ({"tries": 0.0}, "is wrong"),
        ({"tries": None}, "is wrong"),
    ):
        with pytest.raises(InputError, match=what):
            rule_of(numbers)


def test_a_home_is_of_one_roster_and_keeps_its_threads(tmp_path: Path) -> None:
    people = read(roster(tmp_path))
    first = begin(people, tmp_path / "home", usual_threads=3).home.plan
    assert begin(people, tmp_path / "home", usual_threads=1).home.plan == first and first.threads == 3
    assert begin(people, tmp_path / "home", threads=2).home.plan.threads == 2
    other = shutil.copy(people.path, tmp_path / "other.csv")
    with pytest.raises(InputError, match="home of another roster"):
        begin(read(Path(other)), tmp_path / "home")


@pytest.mark.journey
def test_the_adapter_of_a_worker_is_that_of_run(journey: Journey, tmp_path: Path) -> None:
    """What is there is what a lost worker leaves: up to the identity loss, whose lessons are drawn again."""
    home = make_home(tmp_path / "home", ["anna"], threads=0)
    plan.write(home.path, home.plan.model_copy(update={"people": {"anna": REDUCED}}))
    shutil.rmtree(home.folder("anna"))
    shutil.copytree(journey.folder, home.folder("anna"))
    run = home.folder("anna") / "adapters" / "main"
    before = (run / "adapter.safetensors").read_bytes()
    steps = journey.summary["training"]["steps"]
    shutil.rmtree(run / "checkpoints" / f"step-{steps:06d}")
    shutil.rmtree(run / "lessons")
    for name in ("adapter.safetensors", "adapter_comfy.safetensors"):
        (run / name).unlink()
    from portrait_lora.tasks.shard.work import work

    record = work(home.path, ["anna"], worker="w", device="cpu")[0]
    assert (run / "adapter.safetensors").read_bytes() == before
    assert record.starts[0].resumed_from == steps - round(steps / 4) and record.starts[0].steps == steps
    assert record.figures is not None and record.figures.portraits == journey.summary["portraits"]
