"""One person forgotten wherever a fleet has sent them: its stores, its workers, its clusters."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from typer.testing import CliRunner

from portrait_lora import cli
from portrait_lora.errors import InputError, PortraitError
from portrait_lora.fleet import elsewhere, forget_elsewhere, ray_cluster, ray_nodes, report, store_moves
from portrait_lora.fleet.elsewhere import Elsewhere
from portrait_lora.fleet.enrol import enrol
from portrait_lora.fleet.places import usual_scratch
from portrait_lora.fleet.ray_cluster import RayPlace
from portrait_lora.fleet.roster import Roster
from portrait_lora.fleet.store import Workplace
from portrait_lora.tasks.shard import files, plan
from portrait_lora.tasks.shard.records import PersonRecord, PersonState
from tests.fleet.folders import SETTINGS, listed, pictures

NAMES: Final = ("Anna Lee", "Bo Quist", "Cem Ali")
_numbers = itertools.count()


@pytest.fixture
def url() -> str:
    return f"memory://forgotten-{next(_numbers)}"


@pytest.fixture
def roster(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Roster:
    """Three people who trained in one pass, in the home, in a store, and on a worker that was cut off."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rows = [f"{name},{pictures(tmp_path / f'p{i}', seed=50 * i)},,{SETTINGS}" for i, name in enumerate(NAMES)]
    (tmp_path / "rosters").mkdir()
    read = listed(tmp_path / "rosters", rows)
    home, everybody = read.home, tuple(entry.person for entry in read.entries)
    enrol(read, home)
    of_plan = {"roster": str(read.path), "roster_sha256": read.sha256, "people": dict.fromkeys(everybody, ())}
    plan.write(home, plan.FleetPlan(**of_plan))
    for person in everybody:
        adapter = files.folder(home, person) / "adapters/default/adapter.safetensors"
        adapter.parent.mkdir(parents=True)
        adapter.write_bytes(f"weights of {person}".encode())
        state = PersonState.SUCCEEDED
        files.write(home, PersonRecord(person=person, digest="d", state=state, together=everybody))
    store_moves.send(home, url, everybody)
    worker = Workplace(url, usual_scratch())
    worker.fetch_plan()
    for person in everybody:
        worker.fetch(person)
    return read


def stored(url: str) -> Iterator[tuple[str, bytes]]:
    """Every object of a store, and its bytes."""
    objects = Workplace(url, Path("nowhere"), is_head=True).objects
    for name in objects.sizes(""):
        yield name, objects.read(name)


def below(place: Path) -> Iterator[tuple[str, bytes]]:
    for path in place.rglob("*"):
        yield path.relative_to(place).as_posix(), path.read_bytes() if path.is_file() else b""


def traces(rows: Iterator[tuple[str, bytes]], words: list[bytes]) -> list[str]:
    """What knows somebody, by its name or by its bytes."""
    return [name for name, data in rows if any(word in name.encode() + b"\n" + data for word in words)]


def known_by(home: Path, number: int) -> list[bytes]:
    """Folder name, name, and the bytes of every photo of somebody."""
    person = ("anna-lee", "bo-quist", "cem-ali")[number]
    photos = [path.read_bytes() for path in (files.folder(home, person) / "photos").iterdir()]
    return [person.encode(), NAMES[number].encode(), *photos]


def forget(roster: Roster, *more: str) -> dict[str, object]:
    words = ["fleet", "forget", str(roster.path), NAMES[0], "--yes", "--json", *more]
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_no_byte_is_left_on_any_worker_and_store_without_naming_them(
    roster: Roster, tmp_path: Path, url: str
) -> None:
    home, scratch = roster.home, tmp_path / "cache"
    hers, others = known_by(home, 0), [known_by(home, number) for number in (1, 2)]
    assert all(traces(rows, hers) for rows in (stored(url), below(scratch), below(home)))
    receipt = forget(roster)
    assert receipt["objects"] == 7  # likeness.yaml, three photos, adapter and record; their listing
    assert [traces(rows, hers) for rows in (stored(url), below(scratch), below(home))] == [[], [], []]
    for words in others:
        assert all(traces(rows, words) for rows in (stored(url), below(scratch), below(home)))
    page = (home / "reports" / report.FILE).read_text()
    assert NAMES[1] in page and NAMES[0] not in page and (home / "reports/people.csv").is_file()
    # the store is one that workers go on with
    worker = Workplace(url, tmp_path / "another")
    worker.fetch_plan()
    assert list(plan.read(worker.home).people) == ["bo-quist", "cem-ali"]
    worker.fetch("bo-quist")
    assert files.records(worker.home)["bo-quist"].together == ("bo-quist", "cem-ali")
    head = Workplace(url, home, is_head=True)
    assert not head.fetch("cem-ali") and not head.deliver("cem-ali")


def test_the_clusters_of_before_are_asked_by_themselves(
    roster: Roster, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[tuple[str, str, str, str]] = []

    def nodes(where: RayPlace, person: str, *, left_are_gone: bool) -> int:
        assert not left_are_gone
        requests.append((where.address, where.store, where.scratch, person))
        return 3

    monkeypatch.setattr(ray_nodes, "forget", nodes)
    elsewhere.remember(roster.home, Elsewhere(store=url, address="10.0.0.1:6379", scratch="/disk"))
    elsewhere.remember(roster.home, Elsewhere(store=str(roster.home), address="10.0.0.9:6379"))  # a folder
    assert forget(roster, "--address", "10.0.0.2:6379")["nodes"] == 9
    assert requests == [
        ("10.0.0.1:6379", url, "/disk", "anna-lee"),
        ("10.0.0.2:6379", url, "", "anna-lee"),
        ("10.0.0.2:6379", url, "/disk", "anna-lee"),
    ]


def test_a_cluster_that_is_gone_keeps_nobody_once_one_says_so(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = Elsewhere(store=url, address="127.0.0.1:1")
    elsewhere.remember(tmp_path, place)
    elsewhere.remember(tmp_path, place)
    assert elsewhere.read(tmp_path) == (place,)

    def connect(where: RayPlace, threads: int) -> None:
        raise InputError("no Ray cluster answers", where=where.address, got=threads)

    monkeypatch.setattr(ray_cluster, "connect", connect)
    with pytest.raises(InputError, match=r"127.0.0.1:1: no Ray cluster answers.*--clusters-gone"):
        forget_elsewhere.of(tmp_path)("ann")
    assert forget_elsewhere.of(tmp_path, clusters_gone=True)("ann") == (0, 0)


def test_an_address_without_a_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"only where the fleet has a store.*--store"):
        forget_elsewhere.of(tmp_path, address="10.0.0.1:6379")


def test_a_worker_at_work_is_named(roster: Roster, tmp_path: Path, url: str) -> None:
    held = files.hold(Workplace(url, usual_scratch()).home, "anna-lee")
    assert held is not None
    with held, pytest.raises(PortraitError, match=r"still has a copy.*at work"):
        forget_elsewhere.of(roster.home)("anna-lee")
    assert files.folder(roster.home, "anna-lee").is_dir()
