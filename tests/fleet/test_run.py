"""The head over invented workers, and over the queue with child processes: killed, stopped, begun again."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from portrait_lora.errors import InputError
from portrait_lora.fleet import run as heads
from portrait_lora.fleet.backend import CANCELLED, Change, ChangeKind
from portrait_lora.fleet.home import FleetHome, open_home
from portrait_lora.fleet.local import LocalBackend, devices_of
from portrait_lora.fleet.run import Head, Outcome
from portrait_lora.jobs.queue import Queue
from portrait_lora.tasks.shard import files, plan
from portrait_lora.tasks.shard.records import PersonRecord, PersonState, Shard
from portrait_lora.tasks.shard.work import work
from tests.fleet.made_up import CHILD, STEPS, adapter_of, make_home, run_together

ROOT = Path(__file__).parents[2]
PATIENCE_S = 120.0


class Here:
    """A backend that does everything at once, in this process."""

    name = "here"

    def __init__(self, home: FleetHome, on_place: Callable[[Shard], None] = lambda shard: None):
        self.home, self.on_place, self.placed = home, on_place, list[str]()
        self.happened: list[Change] = []
        self.is_closed = False

    def free(self) -> int:
        return 1

    def place(self, shard: Shard) -> None:
        self.placed.append(shard.name)
        self.happened.append(Change(ChangeKind.STARTED, shard.name, "w"))
        self.on_place(shard)
        work(self.home.path, shard.people, worker="w", device="cpu")
        self.happened += [
            Change(ChangeKind.PROGRESS, shard.name, "w", {"stage": "train", "done": 3, "total": 20}),
            Change(ChangeKind.ENDED, shard.name, "w"),
        ]

    def changes(self) -> Sequence[Change]:
        happened, self.happened = self.happened, []
        return happened

    def cancel(self, shard: str) -> None:
        raise AssertionError(shard)

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    from portrait_lora import recipe

    monkeypatch.setattr(recipe, "run_together", run_together)


def everybody_is(home: FleetHome, state: str) -> bool:
    return {record.state.value for record in home.records().values()} == {state}


@pytest.mark.usefixtures("quick")
def test_everybody_in_one_state_or_another_and_the_history(tmp_path: Path) -> None:
    behaviour = {
        "bad": {"ends": {"1": "badly", "2": "badly"}},
        "poor": {"share": 0.1},
        "long": {"steps": 30},
    }
    home = make_home(tmp_path / "home", ["anna", "bad", "poor", "long", "gone"], behaviour)
    (home.folder("gone") / "photos" / "a.txt").unlink()
    (home.folder("gone") / "photos").rmdir()
    (home.folder("long") / "photos" / "b.txt").write_text("more")
    backend, seen = Here(home), list[str]()
    with home.lead():
        outcome = Head(home, backend, on_event=lambda e: seen.append(e.kind), poll_s=0).run()
    assert outcome.states == {"succeeded": 2, "set_aside": 1, "needs_photos": 2} and outcome.is_complete
    assert backend.placed[0] == "long" and backend.is_closed
    assert backend.placed.count("bad") == 2 and backend.placed.count("poor") == 2
    events = home.events()
    assert [event.number for event in events] == [*range(1, len(seen) + 1)]
    bad = [(e.kind, e.state) for e in events if e.person == "bad"]
    once = [("started", "running"), ("progress", "running"), ("state", "waiting")]
    assert bad == [*once, ("started", "running"), ("state", "set_aside")]
    assert [e.reason for e in events if e.person == "bad"][-1].endswith("a bad end.")


@pytest.mark.usefixtures("quick")
def test_a_second_run_does_what_is_new_alone(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", ["anna", "bob", "cem"])

    def once() -> list[str]:
        backend = Here(home)
        Head(home, backend, poll_s=0).run()
        return sorted(backend.placed)

    assert once() == ["anna", "bob", "cem"] and once() == []
    (home.folder("bob") / "photos" / "b.txt").write_text("more")
    assert once() == ["bob"] and once() == []
    (home.folder("cem") / "likeness.yaml").write_text("seed: 3\n")
    assert once() == ["cem"] and once() == []
    plan.write(home.path, home.plan.model_copy(update={"acceptance": plan.Rule(tries=3)}))
    home = open_home(home.path)
    assert once() == ["anna", "bob", "cem"] and once() == []


@pytest.mark.usefixtures("quick")
def test_cancelled_by_hand_is_not_placed_again_in_this_run(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", ["anna", "bob"])

    class Cancelling(Here):
        def place(self, shard: Shard) -> None:
            if shard.name == "anna":
                self.placed.append("anna")
                self.happened.append(Change(ChangeKind.ENDED, "anna", reason=CANCELLED))
            else:
                super().place(shard)

    backend = Cancelling(home)
    outcome = Head(home, backend, poll_s=0).run()
    assert outcome.left == {"anna": CANCELLED} and not outcome.is_complete
    assert sorted(backend.placed) == ["anna", "bob"] and outcome.states == {"waiting": 1, "succeeded": 1}


@pytest.mark.usefixtures("quick")
def test_a_worker_that_refuses_keeps_nobody_waiting_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portrait_lora.fleet.schedule.FIRST_PAUSE_S", 0.001)
    home = make_home(tmp_path / "home", ["anna", "bob"])

    class Refusing(Here):
        def place(self, shard: Shard) -> None:
            self.placed.append(shard.name)
            if shard.name == "bob":
                super().place(shard)
            self.happened.append(Change(ChangeKind.ENDED, shard.name, reason="another version"))

    outcome = Head(home, backend := Refusing(home), poll_s=0.001).run()
    assert outcome.left == {"anna": "another version"} and backend.placed.count("anna") == 8


@pytest.mark.usefixtures("quick")
def test_people_of_one_base_train_together(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", [*"abcde"], together=2)
    (home.folder("e") / "likeness.yaml").write_text("base: sdxl\n")
    (home.folder("c") / "photos" / "b.txt").write_text("more")
    shards = heads.shards_of(home, home.records())
    assert sorted(sorted(s.people) for s in shards) == [["a", "c"], ["b", "d"], ["e"]]
    assert max(shards, key=lambda s: s.weight if len(s.people) > 1 else 0).people == ("c", "a")
    (home.folder("e") / "likeness.yaml").unlink()
    Head(home, backend := Here(home), poll_s=0).run()
    assert len(backend.placed) == 3 and everybody_is(home, "succeeded")


def test_one_head_at_a_time(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", ["anna"])
    with home.lead(), pytest.raises(InputError, match="at work already"):
        heads.run(home, lambda: pytest.fail("a second one opened its backend"))
    with home.lead():
        pass


def backend_of(home: FleetHome, *devices: str) -> LocalBackend:
    return LocalBackend(home, devices or ("cpu:0", "cpu:1"), command=CHILD)


def run(home: FleetHome, *devices: str) -> Outcome:
    return heads.run(home, lambda: backend_of(home, *devices))


def until(what: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def digests_are_those_of_one_who_trains_alone(home: FleetHome, steps: int = STEPS) -> None:
    for person, record in home.records().items():
        alone = adapter_of(home.folder(person), record.settings, steps)
        assert record.adapter_sha256 == hashlib.sha256(alone).hexdigest(), person


def test_over_the_queue_with_a_worker_that_is_killed(tmp_path: Path) -> None:
    behaviour = {
        "anna": {"ends": {"1": "killed"}, "stage": "select"},
        "bob": {"ends": {"1": "badly"}},
    }
    home = make_home(tmp_path / "home", ["anna", "bob"], behaviour)
    outcome = run(home)
    records = home.records()
    assert outcome.states == {"succeeded": 2}
    anna = records["anna"]
    assert [s.ended for s in anna.starts] == ["lost", "succeeded"] and anna.failures == 0
    assert anna.starts[1].resumed_from == STEPS
    steps = (home.folder("anna") / "steps").read_text().split()
    assert [*map(int, steps)] == [*range(1, STEPS + 1)], "steps were trained twice"
    assert {s.worker.split("/")[1] for r in records.values() for s in r.starts} == {"cpu:0", "cpu:1"}
    assert [e.person for e in home.events() if e.kind == "lost"] == ["anna"]
    digests_are_those_of_one_who_trains_alone(home)
    jobs = Queue(home.path).list(limit=100)
    assert all(job.state.is_over and job.threads == 1 for job in jobs)


HEAD = """
from portrait_lora.fleet.home import open_home
from tests.fleet.test_run import run
from pathlib import Path
run(open_home(Path({!r})), "cpu:0")
"""


def test_a_head_that_is_killed_costs_nothing(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", ["anna", "bob"], {"anna": {"step_s": 0.1, "steps": 60}})
    (home.folder("anna") / "photos" / "b.txt").write_text("first")
    head = subprocess.Popen([sys.executable, "-c", HEAD.format(str(home.path))], cwd=ROOT)
    steps = home.folder("anna") / "steps"
    until(lambda: steps.exists() and len(steps.read_text().split()) > 7)
    head.send_signal(signal.SIGKILL)
    head.wait()
    before = files.read(home.path, "anna")
    assert before is not None and before.state == "running"
    outcome = run(home, "cpu:0")
    assert outcome.states == {"succeeded": 2}
    done = home.records()["anna"]
    assert [s.ended for s in done.starts] == ["interrupted", "succeeded"] and done.failures == 0
    assert done.adapter_sha256 == hashlib.sha256(adapter_of(home.folder("anna"), steps=60)).hexdigest()
    assert len(steps.read_text().split()) < 60 + 5, "more than the steps since the last checkpoint"
    assert len(Queue(home.path).list(limit=100)) in (2, 3)


def test_a_head_and_its_workers_are_killed_at_once(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", ["anna"], {"anna": {"step_s": 0.1, "steps": 60}})
    head = subprocess.Popen([sys.executable, "-c", HEAD.format(str(home.path))], cwd=ROOT)
    steps = home.folder("anna") / "steps"
    until(lambda: steps.exists() and len(steps.read_text().split()) > 7)
    child = Queue(home.path).list()[0].pid
    assert child is not None
    head.send_signal(signal.SIGSTOP)  # it does not see what happens to its worker
    os.kill(child, signal.SIGKILL)
    head.kill()
    head.wait()
    # another number of workers: the job was bound to a device that nobody serves any more
    outcome = run(home, "cpu:7")
    assert outcome.states == {"succeeded": 1}
    done = home.records()["anna"]
    assert [s.ended for s in done.starts] == ["lost", "succeeded"]
    assert done.starts[1].worker.endswith("cpu:7") and (done.starts[1].resumed_from or 0) >= 5
    digests_are_those_of_one_who_trains_alone(home, 60)


def test_stopped_by_hand_it_leaves_nothing_in_the_line(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", ["anna", "bob"], {name: {"step_s": 0.1} for name in ("anna", "bob")})

    class Stopping(Head):
        def _take(self, change: Change) -> None:
            super()._take(change)
            if change.kind is ChangeKind.PROGRESS and change.progress.get("done"):
                raise KeyboardInterrupt

    with home.lead(), pytest.raises(KeyboardInterrupt):
        Stopping(home, backend_of(home, "cpu:0")).run()
    first, other = sorted(home.records().values(), key=lambda record: -len(record.starts))
    assert (first.state, first.starts[-1].ended, other.starts) == ("waiting", "interrupted", ())
    assert {job.state for job in Queue(home.path).list()} == {"cancelled"}
    assert run(home).states == {"succeeded": 2}


def test_a_person_without_a_folder_or_with_settings_that_cannot_be_read(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", ["anna", "bob", "cem"])
    (home.folder("anna") / "photos" / "a.txt").unlink()
    (home.folder("anna") / "photos").rmdir()
    (home.folder("anna") / "behaviour.json").unlink()
    home.folder("anna").rmdir()
    (home.folder("bob") / "likeness.yaml").write_text("seeed: 3\n")
    assert run(home).states == {"succeeded": 1, "needs_photos": 1, "set_aside": 1}
    assert "seeed" in home.records()["bob"].reason
    assert run(home).states == {"succeeded": 1, "needs_photos": 1, "set_aside": 1}


def test_the_history_survives_a_head_that_died_while_it_wrote(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", ["anna", "bob"])
    for person in ("anna", "bob", "anna"):
        home.note(person, "started", state=PersonState.RUNNING)
    with home.log_file.open("ab") as stream:
        stream.write(b'{"number": 4, "ti')
    again = FleetHome(home.path)
    assert [e.number for e in again.events()] == [1, 2, 3]
    assert again.note("bob", "state", state="succeeded").number == 4
    assert [e.number for e in home.events(2)] == [3, 4] and home.events(4) == []
    files.write(home.path, PersonRecord(person="anna", digest="d"))
    home.forget("anna")
    assert b"anna" not in home.log_file.read_bytes() and not files.records(home.path)
    assert [e.number for e in home.events(2)] == [4] and [e.number for e in again.events()] == [2, 4]
    home.forget("bob")
    assert [(e.number, e.person) for e in again.events()] == [(4, "")]
    assert home.note("cem", "note").number == 5


def test_a_line_that_is_just_being_written_is_read_once_it_is_whole(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", ["anna"])
    home.note("anna", "started")
    home.note("anna", "lost")
    whole = home.log_file.read_bytes()
    reader = FleetHome(home.path)
    home.log_file.write_bytes(whole[:-20])
    assert [e.number for e in reader.events()] == [1]
    with home.log_file.open("ab") as stream:
        stream.write(whole[-20:])
    assert [(e.number, e.kind) for e in reader.events(1)] == [(2, "lost")]


def test_devices_of_workers() -> None:
    assert devices_of(3, "cpu") == ["cpu:0", "cpu:1", "cpu:2"]
    assert len(devices_of(0, "cpu")) >= 1
