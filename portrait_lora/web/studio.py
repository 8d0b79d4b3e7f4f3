"""The home of a studio: whose people are where, in `HOME/studio.json`, and their pictures by id.

HOME/people/<id>/   a likeness folder each; others, opened with `--likeness`, lie elsewhere
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, cast

from portrait_lora import config, likeness, manifest, strict_json
from portrait_lora.api import Likeness
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.web import ids
from portrait_lora.web.pictures_of import Index
from portrait_lora.web.problems import Forbidden, NotFound
from portrait_lora.web.users import OWNER, Role, User

VERSION: Final = 1
RECORD: Final = "studio.json"
MOST_NAME: Final = 80
_KINDS: Final = ("photographs", "made_up")


@dataclass(frozen=True, slots=True)
class Person:
    """One person of the studio; `kind` is photographs or made_up, `created` in seconds of the epoch."""

    id: str
    name: str
    owner: str
    folder: Path
    kind: str
    created: float

    @property
    def likeness(self) -> Likeness:
        """The likeness in the folder.  Raises `InputError` when its photos are gone."""
        return Likeness(self.folder)

    def json_value(self) -> dict[str, object]:
        """For the API: without the folder, which is nobody's business."""
        return {
            "id": self.id,
            "name": self.name,
            "owner": self.owner,
            "kind": self.kind,
            "created": self.created,
        }


class Studio:
    """People and their owners; safe from several threads and processes."""

    def __init__(self, home: Path):
        """Open a home, or make one.  Raises `InputError` for a folder that cannot be one."""
        self.home = home.absolute()
        if (self.home / "photos").is_dir() or (self.home / config.FILE_NAME).is_file():
            raise InputError(
                "this is the folder of one person, not the home of a studio",
                where=home,
                remedy=f"Open it with: portrait-lora web --likeness {home}",
            )
        manifest.make_folder(self.home)
        for name in ("people", "uploads", "cache"):
            manifest.make_folder(self.home / name)
        self._record = self.home / RECORD
        self._lock = threading.Lock()
        self._state: tuple[int, int] | None = None
        self._people: dict[str, Person] = {}
        self._indexes: dict[str, Index] = {}
        if not self._record.exists():
            self._write({})
        self._now()

    def people(self, user: User) -> list[Person]:
        """Those whom the user may look at, by name."""
        seen = [one for one in self._now().values() if user.may_read(one.owner)]
        return sorted(seen, key=lambda one: (one.name.casefold(), one.id))

    def person(self, user: User, id: str, *, change: bool = False) -> Person:
        """Raises `NotFound`, also for people of others, and `Forbidden` for who may only look (`change`)."""
        one = self._now().get(id)
        if one is None or not user.may_read(one.owner):
            raise NotFound("no such person", where=id, remedy="Go back to the first page.")
        if change and not user.may_change(one.owner):
            raise Forbidden("you may look at this person, but not change anything", where=id)
        return one

    def create(self, user: User, name: str, *, made_up: bool = False, settings: Sequence[str] = ()) -> Person:
        """A new person of the user's, with an empty `photos/` and a `likeness.yaml` of `settings`.

        Raises `InputError` for a name that is none, `Forbidden` for a viewer.
        """
        if user.role < Role.MEMBER:
            raise Forbidden("you may look, but not change anything")
        person = self._new(user, name, "made_up" if made_up else "photographs")
        resolved = config.load(None, [*settings, *(["base=embedded"] if made_up else [])])
        manifest.make_folder(person.folder / "photos")
        likeness.write_config(person.folder, resolved)
        self._add(person)
        return person

    def open_demo(self, user: User, person_seed: int = 7) -> Person:
        """The user's made-up person of that seed, with photos that the synthetic studio takes now.

        It takes up to a minute: a request should leave it to a job.  Raises `Forbidden` for a viewer.
        """
        from portrait_lora import recipe

        person = self.begin_demo(user, person_seed)
        if not (person.folder / "photos").is_dir():  # also one that was only begun
            recipe.open_demo(person.folder, person_seed)
        return person

    def begin_demo(self, user: User, person_seed: int = 7) -> Person:
        """The user's made-up person of that seed; where there is none yet, one without anything in the
        folder, which the job `demo` fills.  Raises `Forbidden` for a viewer."""
        name = f"Studio person {person_seed}"
        for there in self.people(user):
            if (there.name, there.owner, there.kind) == (name, user.name, "made_up"):
                return there
        if user.role < Role.MEMBER:
            raise Forbidden("you may look, but not change anything")
        person = self._new(user, name, "made_up")
        manifest.make_folder(person.folder)
        self._add(person)
        return person

    def open_folder(self, folder: Path, owner: str = OWNER.name) -> Person:
        """A likeness folder elsewhere, registered by its absolute path.  Raises `InputError` for another."""
        whole = folder.resolve()
        likeness.require_photos(whole)
        if whole.is_relative_to(self.home):
            raise InputError("this folder is inside the home of the studio", where=folder)
        for there in self._now().values():
            if there.folder == whole:
                return there
        person = Person(ids.person_id(whole.name), _name(whole.name), owner, whole, _kind(whole), time.time())
        self._add(person)
        return person

    def rename(self, person: Person, name: str) -> Person:
        """The person under another name; id and folder stay.  Raises `InputError`."""
        renamed = replace(person, name=_name(name))
        self._change(lambda rows: rows | {person.id: renamed})
        return renamed

    def drop(self, person: Person) -> None:
        """Take a person off the list; `forget` removes what lies in the folder."""
        self._change(lambda rows: {key: one for key, one in rows.items() if key != person.id})
        self._indexes.pop(person.id, None)

    def photo_id(self, person: Person, name: str) -> str:
        """The id of the photo of that file name."""
        return ids.digest_id(f"photos/{name}")

    def photo(self, person: Person, photo_id: str) -> Path:
        """The file of a photo.  Raises `NotFound`."""
        return self._index(person).file(photo_id, below="photos")

    def picture_id(self, person: Person, path: Path) -> str:
        """The id of a picture below the person's folder."""
        return ids.digest_id(path.relative_to(person.folder).as_posix())

    def picture(self, person: Person, picture_id: str) -> Path:
        """The file of any picture below the person's folder, the photos too.  Raises `NotFound`."""
        return self._index(person).file(picture_id)

    def _index(self, person: Person) -> Index:
        return self._indexes.setdefault(person.id, Index(person.folder))

    def _new(self, user: User, name: str, kind: str) -> Person:
        id = ids.person_id(_name(name))
        return Person(id, _name(name), user.name, self.home / "people" / id, kind, round(time.time(), 3))

    def _add(self, person: Person) -> None:
        self._change(lambda rows: rows | {person.id: person})

    def _change(self, change: Callable[[dict[str, Person]], dict[str, Person]]) -> None:
        with manifest.locked(self._record):
            self._write(change(self._read()))

    def _now(self) -> dict[str, Person]:
        with self._lock:
            status = self._record.stat()
            state = (status.st_mtime_ns, status.st_size)
            if state != self._state:
                self._people, self._state = self._read(), state
            return self._people

    def _read(self) -> dict[str, Person]:
        value = strict_json.load_object(self._record, "list of people")
        version = value.get("version")
        if not isinstance(version, int) or version > VERSION:
            raise InputError(
                "this home was made by a later version",
                where=self._record,
                got=f"version {version}",
                needed=f"version {VERSION}",
                remedy="Update portrait_lora, or choose another home.",
            )
        rows = value.get("people")
        if not isinstance(rows, dict):
            raise ArtifactError("the list of people is damaged", where=self._record)
        return {key: self._person(key, row) for key, row in cast(dict[str, object], rows).items()}

    def _person(self, id: str, row: object) -> Person:
        fields = cast(dict[str, object], row) if isinstance(row, dict) else {}
        name, owner, kind = (fields.get(key) for key in ("name", "owner", "kind"))
        folder, created = fields.get("folder"), fields.get("created")
        texts = isinstance(name, str) and isinstance(owner, str) and kind in _KINDS
        numbers = isinstance(created, int | float) and (folder is None or isinstance(folder, str))
        if not ids.PERSON.fullmatch(id) or not texts or not numbers:
            raise ArtifactError("the list of people is damaged", where=f"{self._record}: {id[:80]}")
        place = Path(cast(str, folder)) if folder else self.home / "people" / id
        return Person(id, cast(str, name), cast(str, owner), place, str(kind), float(cast(float, created)))

    def _write(self, people: dict[str, Person]) -> None:
        rows: dict[str, object] = {}
        for id, one in people.items():
            here = one.folder == self.home / "people" / id
            place = {} if here else {"folder": str(one.folder)}
            fields = {"name": one.name, "owner": one.owner, "kind": one.kind, "created": one.created}
            rows[id] = fields | place
        manifest.write_json_atomic(self._record, {"version": VERSION, "people": rows})


def _name(name: str) -> str:
    """The name on one line.  Raises `InputError` for none, or a very long one."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in name[: 10 * MOST_NAME]).split())
    if not plain or len(plain) > MOST_NAME:
        raise InputError("not a name", where="name", needed=f"1 to {MOST_NAME} characters")
    return plain


def _kind(folder: Path) -> str:
    return "made_up" if (folder / "studio.json").is_file() else "photographs"
