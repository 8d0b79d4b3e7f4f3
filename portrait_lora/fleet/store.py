"""The files of a fleet's people on the way between its head, a store, and its workers.

With a home in a shared folder nothing is copied: everybody works in it.  In an S3-like store

    fleet.json                             the plan, written by the head
    sheets/<digest>/<name>                 series and brand files, and what they name
    people/<person>/files/<sha256>         the bytes of files
    people/<person>/listings/<n>.json      which path has which bytes; the highest number counts
    claims/<person>/<n>.json               who works on the person (claims.py)

A listing is written last, and under a number that nobody else took, so that a reader sees all of a state or
all of the one before, whoever is killed when.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from portrait_lora import log, manifest, removal, strict_json
from portrait_lora.errors import ArtifactError, InputError, PortraitError
from portrait_lora.fleet import listing, others, sheets, snapshot, store_forget, transfer
from portrait_lora.fleet.listing import Entry, Files, Rule, Side
from portrait_lora.fleet.objects import Numbered, Objects, is_folder
from portrait_lora.fleet.patience import Patience
from portrait_lora.tasks.shard import files, plan

SYNC: Final = "sync"
_PEOPLE: Final = "people"
_AT_ONCE: Final = 8
_ROUNDS: Final = 5
_log = log.get(__name__)


class Forgotten(InputError):
    """The store has nothing of this person: nobody sent them, or they were removed from it."""


class Workplace:
    """The home of a fleet as one process sees it: a shared folder, or a local copy of a store.

    `home` is where the work is done: the folder itself, for the head of a fleet in a store its own home, for
    workers a folder of this store in `scratch`.  The head has the last word on the user's files (photos,
    captions, settings, consent); workers on what is made of them.
    """

    def __init__(
        self, home_url: str, scratch: Path, *, is_head: bool = False, patience: Patience | None = None
    ):
        """Raises `InputError` for an address that is none."""
        self.url, self.is_shared = home_url, is_folder(home_url)
        self.is_head = is_head
        own = scratch if is_head else scratch / hashlib.sha256(home_url.encode()).hexdigest()[:16]
        self.home = Path(home_url.removeprefix("file://")) if self.is_shared else own
        self._digests = snapshot.Digests()
        self._objects = None if self.is_shared else Objects(home_url, patience)

    @property
    def objects(self) -> Objects:
        """The store; only where the home is none of this file system."""
        assert self._objects is not None, "a shared folder has no store"
        return self._objects

    def fetch_plan(self) -> None:
        """Get `fleet.json` of the store, and the series and brand files of the fleet.

        Raises `InputError` where there is none, `ArtifactError` naming a file that is another one.
        """
        if self.is_shared:
            return
        try:
            data = self.objects.read(plan.FILE)
        except FileNotFoundError as error:
            remedy = "Begin it with: portrait-lora fleet run people.csv --backend ray --store URL"
            raise InputError("no fleet in this store", where=self.url, remedy=remedy) from error
        if not _holds(self.home / plan.FILE, data):
            manifest.write_bytes_atomic(self.home / plan.FILE, data)
        sheets.fetch(self.home, self.objects, plan.read(self.home))

    def deliver_plan(self) -> None:
        """Put `fleet.json` into the store, behind the files that it names."""
        if not self.is_shared:
            sheets.deliver(self.home, self.objects, plan.read(self.home))
            self.objects.write(plan.FILE, (self.home / plan.FILE).read_bytes())

    def fetch(self, person: str) -> bool:
        """Bring the files of a person to this place; whether the store had anything new.

        What only this place changed stays.  Raises `Forgotten` for somebody whom the store does not know,
        `StoreError`, and `ArtifactError` for bytes that are not what the listing says.
        """
        if self.is_shared:
            return False
        for _ in range(_ROUNDS):
            latest = self._listings(person).latest()
            if latest is None:
                raise Forgotten("the store has nothing of this person", where=self.url, got=person)
            number, there = latest[0], _entries(latest[1], self.url)
            base_number, base = self._base(person)
            if number == base_number and _same(base, there):
                return False
            here = snapshot.take(self.home, person, self._digests)
            whole = listing.merged(person, base, here, there, self._rule(outputs="there"))
            try:
                self._apply(person, here, whole)
            except FileNotFoundError:  # a later listing came, and bytes that only this one names went
                continue
            now = snapshot.take(self.home, person, self._digests)
            self._remember(person, number, listing.agreed(base, now, there))
            return not _same(here, now)
        raise _too_many(person, self.url)

    def deliver(self, person: str) -> bool:
        """Put what this place changed of a person into the store; whether there was anything.

        Raises `StoreError`, and `Forgotten` for a person who was removed from the store meanwhile.
        """
        if self.is_shared:
            return False
        listings = self._listings(person)
        for _ in range(_ROUNDS):
            base_number, base = self._base(person)
            latest = listings.latest()
            if latest is None and base_number:
                raise Forgotten("this person is no longer in the store", where=self.url, got=person)
            number, there = (latest[0], _entries(latest[1], self.url)) if latest else (0, {})
            here = snapshot.take(self.home, person, self._digests)
            whole = listing.merged(person, base, here, there, self._rule(outputs="here"))
            if _same(whole, there):
                self._remember(person, number, listing.agreed(base, here, whole))
                return False
            if not self._upload(person, whole):
                continue
            if listings.add(number + 1, {"files": {n: e.json_value() for n, e in whole.items()}}):
                self._remember(person, number + 1, listing.agreed(base, here, whole))
                listings.prune(number + 1)
                self._drop_unnamed(person, whole, number + 1)
                return True
        raise _too_many(person, self.url)

    def forget(self, person: str) -> int:
        """Remove everything of a person from the store, and what this place remembers of it.

        Returns how many objects there were, old versions included.  Raises `PortraitError` when something is
        left.  The likeness folder here stays: it is `tasks.forget` that removes it.
        """
        self._sync_file(person).unlink(missing_ok=True)
        return 0 if self.is_shared else store_forget.forget(self.objects, person)

    def drop(self, person: str) -> None:
        """Remove the copy of a person from a worker's scratch; a shared folder or the head's is no copy."""
        if self.is_shared or self.is_head:
            return
        removal.remove_whole(files.folder(self.home, person), owner=self.home)
        files.forget(self.home, person)
        self._sync_file(person).unlink(missing_ok=True)

    def forget_copy(self, person: str) -> None:
        """Remove the copy of somebody who was forgotten, and what else names them in a worker's scratch."""
        if self.is_shared or self.is_head:
            return
        self.drop(person)
        others.forget(self.home, person)

    def drop_strangers(self) -> list[str]:
        """Remove copies of people whom the store no longer knows, as after `forget`; their names."""
        if self.is_shared or self.is_head or not (self.home / files.PEOPLE).is_dir():
            return []
        copies = sorted(path.name for path in (self.home / files.PEOPLE).iterdir())
        gone = [person for person in copies if self._listings(person).latest() is None]
        for person in gone:
            self.forget_copy(person)
        return gone

    def people(self) -> list[str]:
        """Everybody whom the store knows."""
        there = self.objects.sizes(_PEOPLE)
        return sorted({name.split("/")[1] for name in there if "/listings/" in name})

    def _rule(self, *, outputs: Side) -> Rule:
        """`outputs` is the side whose word counts in this direction for what is made."""
        return Rule(user="here", outputs="there") if self.is_head else Rule(user="there", outputs=outputs)

    def _apply(self, person: str, here: Files, whole: Files) -> None:
        """Make the files of this place those of `whole`; what goes last is what speaks of the others."""
        wanted = [name for name, entry in whole.items() if name not in here or here[name].same != entry.same]
        wanted.sort(key=lambda name: (name.endswith(".json"), name))
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            plain = [name for name in wanted if not name.endswith(".json")]
            list(threads.map(lambda name: self._download(person, name, whole[name]), plain))
            records = [name for name in wanted if name.endswith(".json")]
            list(threads.map(lambda name: self._download(person, name, whole[name]), records))
        for name in [one for one in here if one not in whole]:
            removal.remove_file(self.home / name, owner=self.home)
        emptied = {parent for name in here if name not in whole for parent in (self.home / name).parents}
        removal.remove_empty(files.folder(self.home, person), emptied)

    def _download(self, person: str, name: str, entry: Entry) -> None:
        target = self.home / name
        if not removal.is_inner(name) or not _belongs(person, name):
            raise ArtifactError("the listing in the store names a file elsewhere", where=self.url, got=name)
        removal.below(self.home, target)
        blob = _blob(person, entry.sha256)
        with transfer.downloaded(self.objects, blob, entry, target, name) as part:
            self._set_aside(person, name, target)
            os.replace(part, target)

    def _set_aside(self, person: str, name: str, target: Path) -> None:
        """A file of the user's that was changed in both places is kept under another name."""
        base = self._base(person)[1]
        if listing.is_made(person, name) or not target.is_file():
            return
        if name not in base or manifest.sha256_file(target) != base[name].sha256:
            removal.set_aside(target)

    def _upload(self, person: str, whole: Files) -> bool:
        """Upload the bytes that the store lacks; False when a file changed meanwhile."""
        there = {
            name.rpartition("/")[2]: size for name, size in self.objects.sizes(f"{_files(person)}").items()
        }
        lacking = {e.sha256: (n, e) for n, e in whole.items() if there.get(e.sha256) != e.size}

        def upload(item: tuple[str, Entry]) -> bool:
            return transfer.upload(self.objects, self.home / item[0], item[1], _blob(person, item[1].sha256))

        with ThreadPoolExecutor(_AT_ONCE) as threads:
            return all(list(threads.map(upload, lacking.values())))

    def _drop_unnamed(self, person: str, whole: Files, number: int) -> None:
        """Remove bytes that no listing names any more, unless a further one was written meanwhile."""
        named = {entry.sha256 for entry in whole.values()}
        there = [name for name in self.objects.sizes(_files(person)) if name.rpartition("/")[2] not in named]
        latest = self._listings(person).latest()
        if there and latest is not None and latest[0] == number:
            self.objects.remove(there)

    def _listings(self, person: str) -> Numbered:
        return Numbered(self.objects, f"{_PEOPLE}/{plan.require_person(person)}/listings")

    def _sync_file(self, person: str) -> Path:
        return self.home / SYNC / f"{plan.require_person(person)}.json"

    def _base(self, person: str) -> tuple[int, dict[str, Entry]]:
        """The state that this place and the store agreed on last; 0 and nothing before."""
        file = self._sync_file(person)
        if not file.is_file():
            return 0, {}
        value: Any = strict_json.load_object(file, "state of the store", max_bytes=1 << 28, file_names=True)
        if value.get("store") != self.url:
            return 0, {}
        return int(value["number"]), _entries(value, str(file))

    def _remember(self, person: str, number: int, state: Files) -> None:
        value = {"store": self.url, "number": number, "files": {n: e.json_value() for n, e in state.items()}}
        manifest.write_json_atomic(self._sync_file(person), value)


def _entries(value: Mapping[str, Any], where: str) -> dict[str, Entry]:
    try:
        return {str(name): Entry.read(raw, where) for name, raw in value["files"].items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise ArtifactError("the listing of a person is damaged", where=where, got=error) from error


def _same(first: Files, second: Files) -> bool:
    return {n: e.same for n, e in first.items()} == {n: e.same for n, e in second.items()}


def _belongs(person: str, name: str) -> bool:
    return name.startswith(f"{files.PEOPLE}/{person}/") or name == f"{files.SHARDS}/{person}.json"


def _files(person: str) -> str:
    return f"{_PEOPLE}/{plan.require_person(person)}/files"


def _blob(person: str, sha256: str) -> str:
    return f"{_files(person)}/{sha256}"


def _holds(file: Path, data: bytes) -> bool:
    return file.is_file() and file.read_bytes() == data


def _too_many(person: str, url: str) -> PortraitError:
    return PortraitError(
        "others write this person all the time", where=url, got=person, remedy="Run it again."
    )
