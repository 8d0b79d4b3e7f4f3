"""People of a fleet on the way to a store and back: nothing lost, all of a state or none of it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.fleet.patience import Patience, StoreError
from portrait_lora.fleet.store import Workplace

_numbers = itertools.count()
QUICK = Patience((0.0, 0.0))


@pytest.fixture
def url() -> str:
    return f"memory://fleet-{next(_numbers)}"


def write(home: Path, name: str, text: str) -> Path:
    file = home / "people/ann" / name if not name.startswith("shards/") else home / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def contents(home: Path) -> dict[str, str]:
    files = [p for place in ("people", "shards") for p in (home / place).rglob("*") if p.is_file()]
    return {p.relative_to(home).as_posix(): p.read_text() for p in files}


@pytest.fixture
def head(url: str, tmp_path: Path) -> Workplace:
    place = Workplace(url, tmp_path / "head", is_head=True, patience=QUICK)
    write(place.home, "photos/1.jpg", "one")
    write(place.home, "likeness.yaml", "base: x")
    place.deliver("ann")
    return place


@pytest.fixture
def worker(head: Workplace, url: str, tmp_path: Path) -> Workplace:
    place = Workplace(url, tmp_path / "worker", patience=QUICK)
    place.fetch("ann")
    return place


def test_a_person_goes_there_and_back(head: Workplace, worker: Workplace) -> None:
    assert contents(worker.home) == contents(head.home)
    write(worker.home, "adapters/main/adapter.safetensors", "weights")
    write(worker.home, "shards/ann.json", "{}")
    assert worker.deliver("ann")
    head.fetch("ann")
    assert contents(head.home) == contents(worker.home)
    assert not head.deliver("ann") and not worker.deliver("ann")


def test_the_user_goes_on_while_a_worker_does(head: Workplace, worker: Workplace) -> None:
    write(head.home, "photos/2.jpg", "two")
    (head.home / "people/ann/photos/1.jpg").unlink()
    head.deliver("ann")
    write(worker.home, "adapters/main/adapter.safetensors", "weights")
    worker.deliver("ann")
    worker.deliver("ann")  # what it never saw is no removal of its own
    head.fetch("ann")
    here = contents(head.home)
    assert set(here) == {
        "people/ann/photos/2.jpg", "people/ann/likeness.yaml", "people/ann/adapters/main/adapter.safetensors"
    }  # fmt: skip
    worker.fetch("ann")
    assert contents(worker.home) == here


def test_a_file_of_the_user_that_both_changed_is_kept_twice(head: Workplace, worker: Workplace) -> None:
    write(worker.home, "captions.csv", "by the worker")
    worker.deliver("ann")
    write(head.home, "captions.csv", "by the user")
    head.deliver("ann")
    write(worker.home, "captions.csv", "by the worker again")
    worker.fetch("ann")
    there = contents(worker.home)
    assert there["people/ann/captions.csv"] == "by the user"
    assert there["people/ann/captions.csv.kept-1"] == "by the worker again"


def test_of_two_workers_the_made_files_of_one_count(
    head: Workplace, worker: Workplace, url: str, tmp_path: Path
) -> None:
    other = Workplace(url, tmp_path / "other", patience=QUICK)
    other.fetch("ann")
    write(worker.home, "reports/stages.json", "{1}")
    write(worker.home, "adapters/main/a", "1")
    worker.deliver("ann")
    write(other.home, "reports/stages.json", "{2}")
    other.fetch("ann")  # it comes back after it was lost: what the store has counts
    there = contents(other.home)
    assert there["people/ann/reports/stages.json"] == "{1}" and there["people/ann/adapters/main/a"] == "1"


def test_a_listing_names_only_what_is_there(head: Workplace, worker: Workplace) -> None:
    for number in range(3):
        write(worker.home, "reports/run.json", str(number))
        worker.deliver("ann")
    names = worker.objects.sizes("people/ann")
    listings = [name for name in names if "/listings/" in name]
    assert len(listings) == 1
    listed = json.loads(worker.objects.read(listings[0]))["files"]
    blobs = {name.rpartition("/")[2] for name in names if "/files/" in name}
    assert blobs == {entry["sha256"] for entry in listed.values()}


def test_a_folder_that_is_just_written_or_removed_is_left_out(head: Workplace, worker: Workplace) -> None:
    write(worker.home, "adapters/main/.writing-step-1/adapter", "half")
    write(worker.home, "adapters/main/.metrics.jsonl.lock", "")
    sealed = {"kind": "checkpoint", "inputs": {}, "files": {"adapter": "00", "gone": "11"}, "extra": {}}
    write(worker.home, "adapters/main/checkpoints/step-000001/manifest.json", json.dumps(sealed))
    write(worker.home, "adapters/main/checkpoints/step-000001/adapter", "whole")
    assert not worker.deliver("ann")
    write(worker.home, "adapters/main/checkpoints/step-000001/gone", "back")
    assert worker.deliver("ann")
    head.fetch("ann")
    assert (head.home / "people/ann/adapters/main/checkpoints/step-000001/gone").read_text() == "back"


def test_other_bytes_than_listed_are_refused(
    head: Workplace, worker: Workplace, url: str, tmp_path: Path
) -> None:
    blob = next(name for name in head.objects.sizes("people/ann/files"))
    head.objects.write(blob, b"spoilt")
    fresh = Workplace(url, tmp_path / "fresh", patience=QUICK)
    with pytest.raises(ArtifactError, match="other bytes"):
        fresh.fetch("ann")
    assert not [name for name in contents(fresh.home) if name.endswith(".part")]


@pytest.mark.parametrize("name", ["people/ann/../../evil", "people/bob/photos/1.jpg", "/etc/x", "fleet.json"])
def test_a_listing_that_names_a_place_elsewhere_is_refused(
    head: Workplace, url: str, tmp_path: Path, name: str
) -> None:
    number = int(next(iter(head.objects.sizes("people/ann/listings")))[-17:-5])
    entry = {"sha256": "0" * 64, "size": 1}
    value = json.dumps({"files": {name: entry}}).encode()
    head.objects.create(f"people/ann/listings/{number + 1:012d}.json", value)
    with pytest.raises(ArtifactError, match="elsewhere"):
        Workplace(url, tmp_path / "w", patience=QUICK).fetch("ann")
    assert not (tmp_path / "evil").exists()


def test_forgetting_leaves_nothing(head: Workplace, worker: Workplace) -> None:
    write(worker.home, "adapters/main/a", "1")
    worker.deliver("ann")
    assert head.forget("ann") > 0
    assert not head.objects.sizes("people") and not (head.home / "sync/ann.json").exists()
    with pytest.raises(InputError, match="no longer"):
        worker.deliver("ann")  # a worker that comes back does not bring the person back
    assert worker.drop_strangers() == ["ann"]
    assert contents(worker.home) == {} and not list((worker.home / "sync").iterdir())
    head.deliver("ann")  # enrolled again
    assert head.people() == ["ann"]


def test_nobody_of_this_name(url: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing of this person"):
        Workplace(url, tmp_path, patience=QUICK).fetch("ann")
    with pytest.raises(InputError, match="no fleet in this store"):
        Workplace(url, tmp_path, patience=QUICK).fetch_plan()


@pytest.mark.parametrize("address", ["nowhere://bucket/x", "s4:////"])
def test_an_address_that_is_none(address: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not the address of a store"):
        Workplace(address, tmp_path)


class Refusing:
    """Lets some calls of a store fail."""

    def __init__(self, place: Workplace, calls: str, error: Callable[[], Exception], times: int):
        self._fs, self._calls, self._error, self.left = place.objects._fs, calls, error, times
        place.objects._fs = self

    def __getattr__(self, name: str) -> object:
        real = getattr(self._fs, name)
        if name != self._calls:
            return real

        def call(*args: object, **options: object) -> object:
            if self.left:
                self.left -= 1
                raise self._error()
            return real(*args, **options)

        return call


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (lambda: PermissionError("Access Denied"), "does not permit"),
        (lambda: OSError(122, "Disk quota exceeded"), "no more room"),
        (lambda: OSError("QuotaExceeded: too much"), "no more room"),
        (lambda: ConnectionError("gone"), "does not answer"),
    ],
)
def test_a_store_that_refuses(
    worker: Workplace, error: Callable[[], Exception], words: str, head: Workplace
) -> None:
    write(worker.home, "adapters/main/a", "1")
    Refusing(worker, "pipe_file", error, times=10**6)
    with pytest.raises(StoreError, match=words) as refused:
        worker.deliver("ann")
    assert refused.value.where.startswith("memory://")
    assert contents(worker.home)["people/ann/adapters/main/a"] == "1"
    worker.objects._fs.left = 1  # it answers again: the work of before is taken there
    assert worker.deliver("ann")
    head.fetch("ann")
    assert contents(head.home)["people/ann/adapters/main/a"] == "1"


def test_a_write_whose_answer_was_lost_is_ones_own(worker: Workplace) -> None:
    real = worker.objects._fs.pipe_file

    class Deaf:
        def __init__(self, fs: object):
            self._fs, self.once = fs, True

        def __getattr__(self, name: str) -> object:
            return getattr(self._fs, name)

        def pipe_file(self, *args: object, **options: object) -> None:
            real(*args, **options)
            if options and self.once:
                self.once = False
                raise ConnectionError("no answer")

    worker.objects._fs = Deaf(worker.objects._fs)
    assert worker.objects.create("claims/x", b"mine")
    assert not worker.objects.create("claims/x", b"another's")


def test_a_shared_folder_is_not_copied(tmp_path: Path) -> None:
    place = Workplace(str(tmp_path / "home"), tmp_path / "scratch")
    write(place.home, "photos/1.jpg", "one")
    place.fetch("ann")
    assert not place.deliver("ann") and place.forget("ann") == 0
    place.drop("ann")
    assert place.drop_strangers() == [] and contents(place.home) == {"people/ann/photos/1.jpg": "one"}
    assert not (tmp_path / "scratch").exists()
