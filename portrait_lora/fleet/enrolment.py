"""What is remembered of how a person was enrolled, in `HOME/enrolled/<person>.json`: so that the roster and
its folders can change, and only what changed is taken over."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import Field

from portrait_lora import log, manifest, strict_json
from portrait_lora.errors import PortraitError
from portrait_lora.results import Value
from portrait_lora.tasks.shard.plan import require_person

FOLDER: Final = "enrolled"
_log = log.get(__name__)


class SourceFile(Value):
    """A file of the roster's folder as it was seen, and the name of its copy in `photos/`.

    Size and time tell whether it has to be read again; `copy_name` is empty for one that is not taken.
    """

    size: int
    mtime_ns: int
    sha256: str
    copy_name: str = ""

    def is_as_seen(self, path: Path) -> bool:
        """Whether size and time are the same: then so are the bytes."""
        status = path.stat()
        return (status.st_size, status.st_mtime_ns) == (self.size, self.mtime_ns)


class Enrolment(Value):
    """One person as they were last enrolled.

    `source` is the folder or archive, `archive` its state where it is one, `files` those in it by name.
    `settings` were written into `likeness.yaml`, as were the `proposed` ones that nobody had named; `studio`
    says whether all photos are of made-up people.  `consent_sha256` is that of the consent file recorded.
    """

    person: str
    name: str = ""
    source: str = ""
    archive: SourceFile | None = None
    files: dict[str, SourceFile] = Field(default_factory=dict)
    settings: tuple[str, ...] = ()
    proposed: tuple[str, ...] = ()
    studio: bool = False
    consent_sha256: str = ""

    def is_as_seen(self, source: Path) -> bool:
        """Whether nothing has changed in the roster's folder or archive, by sizes and times."""
        from portrait_lora.likeness import photo_files

        if str(source) != self.source:
            return False
        if source.is_file():
            return self.archive is not None and self.archive.is_as_seen(source)
        files = {path.name: path for path in photo_files(source)} if source.is_dir() else {}
        same = files.keys() == self.files.keys() and bool(files)
        return same and all(seen.is_as_seen(files[name]) for name, seen in self.files.items())


def file_of(home: Path, person: str) -> Path:
    """Where the record of a person lies."""
    return home / FOLDER / f"{require_person(person)}.json"


def read(home: Path, person: str) -> Enrolment | None:
    """The record; None where there is none.  Raises `ArtifactError` for a damaged one."""
    file = file_of(home, person)
    if not file.is_file():
        return None
    return Enrolment.read(strict_json.load_object(file, "enrolment", file_names=True), file)


def write(home: Path, record: Enrolment) -> None:
    """Write the record, whole or not at all; unchanged it is not touched."""
    if read(home, record.person) != record:
        manifest.write_json_atomic(file_of(home, record.person), record.model_dump(mode="json"))


def everybody(home: Path) -> list[Enrolment]:
    """All that are enrolled in a home, by folder name; a damaged record is named and left out."""
    records: list[Enrolment] = []
    for person in sorted(path.stem for path in (home / FOLDER).glob("*.json")):
        try:
            if (record := read(home, person)) is not None:
                records.append(record)
        except PortraitError as error:
            _log.warning("%s", error)
    return records
