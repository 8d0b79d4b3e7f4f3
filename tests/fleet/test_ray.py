"""Shards on Ray: two workers on this machine, one `ray.init` for all of these tests."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from portrait_lora import cli
from portrait_lora.errors import PortraitError
from portrait_lora.fleet import elsewhere, ray_cluster, ray_nodes, store_moves, traces
from portrait_lora.fleet import ray as ray_backend
from portrait_lora.fleet.backend import Change, ChangeKind
from portrait_lora.fleet.begin import begin
from portrait_lora.fleet.elsewhere import Elsewhere
from portrait_lora.fleet.ray import RayBackend
from portrait_lora.fleet.ray_cluster import RayPlace
from portrait_lora.fleet.roster import read
from portrait_lora.fleet.store import Workplace
from portrait_lora.tasks.shard import files, plan
from portrait_lora.tasks.shard.records import PersonState, Shard
from tests.fleet import made_up, made_up_child, trivial_child
from tests.fleet.folders import SETTINGS, consent, listed, pictures

pytest.importorskip("ray")
ROOT = Path(__file__).parents[2]
STARTED, ENDED, LOST = ChangeKind.STARTED, ChangeKind.ENDED, ChangeKind.LOST


@pytest.fixture(scope="module")
def cluster(s3: dict[str, str]) -> Iterator[ray_cluster.Cluster]:
    """Nodes have the credentials of a store; here those of this process."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**s3, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}.items():
            patch.setenv(name, value)
        opened = ray_cluster.connect(RayPlace(workers=2), 1)
        yield opened
        opened.close()


def fleet(home: Path, people: Mapping[str, str]) -> Path:
    """A home whose people's work ends as the mapping says."""
    for person, ends in people.items():
        folder = files.folder(home, person)
        (folder / "photos").mkdir(parents=True)
        (folder / "ends").write_text(ends)
    whole = plan.FleetPlan(roster="people.csv", roster_sha256="", people=dict.fromkeys(people, ()), threads=1)
    plan.write(home, whole)
    return home


@pytest.fixture
def opened(cluster: ray_cluster.Cluster, tmp_path: Path) -> Iterator[Callable[..., RayBackend]]:
    backends: list[RayBackend] = []

    def open_backend(people: Mapping[str, str], **place: object) -> RayBackend:
        home = fleet(tmp_path / "home", people)
        where = RayPlace(workers=2, **place)  # pyright: ignore[reportArgumentType]
        backends.append(RayBackend(home, where, command=trivial_child.command()))
        return backends[-1]

    yield open_backend
    for backend in backends:
        backend.close()


def until(
    backend: RayBackend, reached: Callable[[list[Change]], bool], seconds: float = 60.0
) -> list[Change]:
    """All changes until they are as they should be."""
    happened: list[Change] = []
    deadline = time.monotonic() + seconds
    while not reached(happened):
        assert time.monotonic() < deadline, happened
        happened += backend.changes()
        time.sleep(0.02)
    return happened


def kinds(changes: list[Change], shard: str) -> list[ChangeKind]:
    own = [change.kind for change in changes if change.shard == shard]
    return [kind for kind, _ in itertools.groupby(own)]


def over(*shards: str) -> Callable[[list[Change]], bool]:
    def reached(changes: list[Change]) -> bool:
        ended = [change.shard for change in changes if change.kind in (ENDED, LOST)]
        return all(shard in ended for shard in shards)

    return reached


def started(backend: RayBackend, shard: str) -> Callable[[list[Change]], bool]:
    """Its worker has begun to count."""
    file = files.folder(backend.home, shard) / "adapters/steps"
    return lambda changes: file.exists() and any(c.kind is STARTED and c.shard == shard for c in changes)


def pids(backend: RayBackend, person: str) -> list[str]:
    return (files.folder(backend.home, person) / "pids").read_text().splitlines()


def test_three_people_on_two_workers_and_one_process_lost(opened: Callable[..., RayBackend]) -> None:
    backend = opened({"ann": "well", "bob": "well", "cem": "killed"})
    assert backend.free() == 2
    backend.place(Shard(people=("cem",)))
    backend.place(Shard(people=("ann",)))
    backend.place(Shard(people=("ann",)))  # placed already
    assert backend.free() == 0
    changes = until(backend, over("ann", "cem"))
    assert kinds(changes, "ann") == [STARTED, ChangeKind.PROGRESS, ENDED]
    assert kinds(changes, "cem")[-1] is LOST
    lost = next(change for change in changes if change.kind is LOST)
    assert "memory" in lost.reason and lost.worker
    progress = [change.progress for change in changes if change.kind is ChangeKind.PROGRESS]
    assert all(p["label"] == "steps" and p["total"] == trivial_child.STEPS for p in progress)
    assert backend.free() == 2
    backend.place(Shard(people=("cem",)))
    backend.place(Shard(people=("bob",)))
    until(backend, over("bob", "cem"))
    assert " from 10 threads 1" in pids(backend, "cem")[1]  # it went on where it was
    records = files.records(backend.home)
    assert {r.state for r in records.values()} == {PersonState.SUCCEEDED} and len(records) == 3


def test_cancelled_within_a_step(opened: Callable[..., RayBackend]) -> None:
    backend = opened({"ann": "never", "bob": "never"})
    backend.place(Shard(people=("ann",)))
    backend.place(Shard(people=("bob",)))
    until(backend, started(backend, "ann"))
    backend.cancel("ann")
    changes = until(backend, over("ann"))
    assert kinds(changes, "ann")[-1] is ENDED
    folder = files.folder(backend.home, "ann")
    assert (folder / "stopped").read_text() == (folder / "adapters/steps").read_text()
    assert not over("bob")(changes)


def test_a_worker_that_is_killed_lets_its_child_save(opened: Callable[..., RayBackend]) -> None:
    backend = opened({"ann": "never"})
    backend.place(Shard(people=("ann",)))
    changes = until(backend, started(backend, "ann"))
    actor = next(c.worker for c in changes if c.kind is STARTED).rpartition("cpu:")[2]
    os.kill(int(actor), signal.SIGKILL)
    assert kinds(until(backend, over("ann")), "ann")[-1] is LOST
    wait_for(files.folder(backend.home, "ann") / "stopped")
    assert backend.free() == 2


def test_a_worker_that_ends_by_itself_lets_its_child_save(opened: Callable[..., RayBackend]) -> None:
    """As Ray ends those of a head that is gone: children of the worker that it knows die with it."""
    backend = opened({"ann": "never"})
    backend.place(Shard(people=("ann",)))
    until(backend, started(backend, "ann"))
    backend._cluster.dismiss(backend._slots[0].actor)
    wait_for(files.folder(backend.home, "ann") / "stopped")


HEAD = """
import sys, time
from pathlib import Path
from portrait_lora.fleet.ray import RayBackend
from portrait_lora.fleet.ray_cluster import RayPlace
from portrait_lora.tasks.shard.records import Shard
from tests.fleet import trivial_child
backend = RayBackend(Path(sys.argv[1]), RayPlace(sys.argv[2], 2), command=trivial_child.command())
backend.place(Shard(people=("ann",)))
while True:
    backend.changes()
    time.sleep(0.05)
"""


def test_a_head_that_is_killed(cluster: ray_cluster.Cluster, tmp_path: Path) -> None:
    """Its worker saves and stops; the next head goes on from there."""
    import ray

    home = fleet(tmp_path / "home", {"ann": "never"})
    folder = files.folder(home, "ann")
    address = ray.get_runtime_context().gcs_address
    head = subprocess.Popen([sys.executable, "-c", HEAD, str(home), address])
    try:
        wait_for(folder / "adapters/steps")
    finally:
        head.kill()
        head.wait()
    wait_for(folder / "stopped")
    (folder / "ends").write_text("well")
    backend = RayBackend(home, RayPlace(workers=2), command=trivial_child.command())
    try:
        changes: list[Change] = []
        for _ in range(5):  # the worker of before may not have let go of the person yet
            backend.place(Shard(people=("ann",)))
            changes += until(backend, over("ann"))
            if len(pids(backend, "ann")) > 1:
                break
            time.sleep(1)
    finally:
        backend.close()
    assert len(pids(backend, "ann")) == 2, changes
    assert f" from {(folder / 'stopped').read_text()} " in pids(backend, "ann")[1]


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + 120
    while not file.exists():
        assert time.monotonic() < deadline, file
        time.sleep(0.02)


def test_one_who_waits_for_a_worker_that_has_no_room(opened: Callable[..., RayBackend]) -> None:
    """As after the loss of a node: the cluster has room for fewer workers than there were."""
    backend = opened({"ann": "well", "bob": "well", "cem": "well"})
    backend.where, backend.patience_s = RayPlace(workers=3), 0.5
    for person in ("ann", "bob", "cem"):
        backend.place(Shard(people=(person,)))
    until(backend, over("ann", "bob", "cem"))
    assert {record.state for record in files.records(backend.home).values()} == {PersonState.SUCCEEDED}


def test_two_workers_with_one_person(opened: Callable[..., RayBackend]) -> None:
    backend = opened({"ann": "never"})
    other = RayBackend(backend.home, RayPlace(workers=2), command=trivial_child.command())
    try:
        backend.place(Shard(people=("ann",)))
        until(backend, started(backend, "ann"))
        other.place(Shard(people=("ann",)))
        assert kinds(until(other, over("ann")), "ann")[-1] is ENDED
    finally:
        other.close()
    assert len(pids(backend, "ann")) == 1  # the other stepped back
    assert not (files.folder(backend.home, "ann") / "stopped").exists()


def test_a_worker_of_another_version_is_refused(opened: Callable[..., RayBackend]) -> None:
    backend = opened({"ann": "other", "bob": "other"})
    backend.place(Shard(people=("ann",)))
    backend.place(Shard(people=("bob",)))
    changes = until(backend, over("ann", "bob"))
    reasons = [change.reason for change in changes if change.kind is LOST]
    assert all("portrait_lora 0.0" in reason and "portrait_lora 0.1" in reason for reason in reasons)
    with pytest.raises(PortraitError, match="no worker can do"):
        backend.free()


def test_over_a_store(opened: Callable[..., RayBackend], bucket: str, tmp_path: Path) -> None:
    import ray

    scratch = tmp_path / "scratch"
    backend = opened({"ann": "well", "bob": "killed"}, store=bucket, scratch=str(scratch), lease_s=2.0)
    backend.place(Shard(people=("ann",)))
    backend.place(Shard(people=("bob",)))
    until(backend, over("ann", "bob"))
    assert (files.folder(backend.home, "ann") / "adapters/steps").read_text() == str(trivial_child.STEPS)
    assert files.records(backend.home)["ann"].state is PersonState.SUCCEEDED
    backend.place(Shard(people=("bob",)))
    until(backend, over("bob"))
    assert files.records(backend.home)["bob"].state is PersonState.SUCCEEDED
    assert not list(scratch.glob("*/*/ann*")) and not list(scratch.glob("*/*/bob*"))  # nobody stays there
    assert elsewhere.read(backend.home) == (Elsewhere(store=bucket, scratch=str(scratch)),)
    lost = Workplace(bucket, scratch)  # as a worker leaves them that was cut off
    for person in ("ann", "bob"):
        lost.fetch(person)
    lost.fetch_plan()
    assert traces.left(lost.home, "ann", ())
    where = RayPlace(ray.get_runtime_context().gcs_address, store=bucket, scratch=str(scratch))
    assert ray_nodes.forget(where, "ann") == 1
    assert traces.left(lost.home, "ann", ()) == [] and traces.left(lost.home, "bob", ())


class SecondNode:
    """Another node of the cluster, whose workers keep their copies elsewhere."""

    ADDRESS = "127.0.0.2"

    def __init__(self, gcs: str, cache: Path):
        self._words = [
            str(Path(sys.executable).parent / "ray"), "start", f"--address={gcs}", "--block",
            "--num-cpus=0", "--num-gpus=0", f"--node-ip-address={self.ADDRESS}",
            "--object-store-memory=80000000", "--disable-usage-stats",
        ]  # fmt: skip
        self._environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._words, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        self._until(True)

    def stop(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
            self._until(False)

    def _until(self, is_there: bool) -> None:
        import ray

        deadline = time.monotonic() + 120
        while any(n["Alive"] for n in ray.nodes() if n["NodeManagerAddress"] == self.ADDRESS) is not is_there:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_nobody_is_forgotten_while_a_node_is_away(
    cluster: ray_cluster.Cluster, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nodes with a scratch folder each: what one of them keeps is asked for until it is gone."""
    import ray

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "here"))
    gcs = ray.get_runtime_context().gcs_address
    node = SecondNode(gcs, tmp_path / "there")
    node.start()
    try:
        everybody = [
            f"{name},{pictures(tmp_path / name, seed=50 * i)},,{SETTINGS}" for i, name in enumerate("ab")
        ]
        roster = listed(tmp_path, everybody)
        home = begin(roster, roster.home, threads=1).home.path
        store_moves.send(home, bucket, ["a", "b"])
        photos = [path.read_bytes() for path in sorted((files.folder(home, "a") / "photos").iterdir())]
        for place in ("here", "there"):  # as workers leave them that were cut off
            lost = Workplace(bucket, tmp_path / place / "portrait_lora/fleet")
            lost.fetch_plan()
            for person in ("a", "b"):
                lost.fetch(person)

        def bytes_left(place: str) -> int:
            read = [p.read_bytes() for p in (tmp_path / place).rglob("*") if p.is_file()]
            return sum(len(data) for data in read if data in photos)

        assert min(bytes_left("here"), bytes_left("there")) > 100
        node.stop()
        words = ["fleet", "forget", str(roster.path), "a", "--yes", "--store", bucket, "--address", gcs]
        done = CliRunner().invoke(cli.app, words)
        assert done.exit_code == 1, done.output
        output = str(done.exception) + done.output
        assert "not forgotten on 1 of" in output and f"{node.ADDRESS}: it has left the cluster" in output
        assert "--nodes-gone" in output and files.folder(home, "a").is_dir()
        assert bytes_left("here") == 0 < bytes_left("there")
        node.start()
        done = CliRunner().invoke(cli.app, [*words, "--json"])
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["nodes"] == 2
        assert bytes_left("here") == bytes_left("there") == 0 and not files.folder(home, "a").exists()
        assert not [p for place in ("here", "there") for p in (tmp_path / place).rglob("a")]
        assert all(list((tmp_path / place).rglob("people/b")) for place in ("here", "there"))
    finally:
        node.stop()
    where = RayPlace(gcs, store=bucket)
    with pytest.raises(PortraitError, match=r"not forgotten on 1 of 2 nodes.*127\.0\.0\.2"):
        ray_nodes.forget(where, "b")
    assert ray_nodes.forget(where, "b", left_are_gone=True) == 1


def test_fleet_run_on_ray(
    cluster: ray_cluster.Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A roster on the command line, two workers, the recipe that counts."""
    monkeypatch.setattr(ray_backend, "RayBackend", partial(RayBackend, command=made_up_child.CHILD))
    rows: list[str] = []
    for number, name in enumerate(("ann", "bob")):
        folder = pictures(tmp_path / name, seed=9 * number)
        rows.append(f"{name},{folder},{consent(tmp_path / f'{name}.yaml', name)},{SETTINGS}")
    roster = listed(tmp_path, rows).path
    begin(read(roster), tmp_path / "people-fleet", threads=1)
    for name in ("ann", "bob"):
        (tmp_path / "people-fleet/people" / name / "behaviour.json").write_text("{}")
    words = ["fleet", "run", str(roster), "--backend", "ray", "--workers", "2", "--device", "cpu", "--json"]
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 0, done.output
    value = json.loads(done.stdout)
    assert value["states"] == {"succeeded": 2}
    starts = [record["starts"][0] for record in value["people"].values()]
    assert len({start["worker"] for start in starts}) == 2  # each had a worker of its own
    for name in ("ann", "bob"):
        folder = tmp_path / "people-fleet/people" / name
        alone = hashlib.sha256(made_up.adapter_of(folder)).hexdigest()
        assert value["people"][name]["adapter_sha256"] == alone
