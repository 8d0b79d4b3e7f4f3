"""Forgetting one person of a fleet: 0 bytes left in its home, in its store and on its workers.

What a person's own folder has is `tasks.forget`'s, with its search for copies; here is what a fleet keeps
beside it: record, lock, history, plan, queue, reports, mails, answers, deliveries, the studio's list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final

from portrait_lora import log, manifest, removal
from portrait_lora.errors import ArtifactError, InputError, PortraitError
from portrait_lora.fleet import (
    deliver,
    enrolment,
    forgotten,
    mails,
    others,
    page,
    report,
    same_person,
    standing,
    studio_list,
    traces,
)
from portrait_lora.fleet.home import HEAD, FleetHome
from portrait_lora.fleet.roster import Entry, Roster
from portrait_lora.fleet.slugs import same_name
from portrait_lora.jobs.queue import Queue
from portrait_lora.jobs.store import FILE as QUEUE
from portrait_lora.likeness import photo_files
from portrait_lora.results import Value
from portrait_lora.tasks import forget as forgetting
from portrait_lora.tasks.shard import files, plan

KEPT_REPORTS: Final = frozenset({page.FILE.name, standing.FILE.name, mails.FOLDER.name})
_log = log.get(__name__)
Elsewhere = Callable[[str], tuple[int, int]]
"""Forgets a person in stores and on the nodes that work from them: how many objects and nodes there were."""


class FleetReceipt(Value):
    """What went: `files` and `bytes` of the likeness folder by kind, `jobs` of the queue, `objects` of the
    stores, `nodes` of clusters that hold no copy now, `delivered` files, `reports` that named the person and
    are made anew; `left` is always 0."""

    files: dict[str, int]
    bytes: dict[str, int]
    copies_left: int = 0
    jobs: int = 0
    objects: int = 0
    nodes: int = 0
    delivered: int = 0
    reports: int = 0
    left: int = 0
    roster_line: int | None = None


def resolve(roster: Roster, home: Path, word: str) -> tuple[str, str, int | None]:
    """Folder name, name and line in the roster (None: not on it any more) of whom `word` means.

    Raises `InputError` when nobody is called so.
    """
    for entry in roster.entries:
        if word == entry.person or same_name(word) == same_name(entry.name):
            return entry.person, entry.name, entry.line
    for record in enrolment.everybody(home):
        if word == record.person or same_name(word) == same_name(record.name):
            return record.person, record.name, None
    raise InputError("nobody of that name is in this fleet", where=home, got=repr(word[:80]))


def forget(
    roster: Roster,
    home: Path,
    word: str,
    *,
    copies: bool = False,
    also: Sequence[Path] = (),
    elsewhere: Elsewhere | None = None,
) -> FleetReceipt:
    """Remove everything of a person; what went.  Doing it again goes on where it was stopped.

    Raises `InputError` for nobody of that name, and while a head or a worker is at work; `ArtifactError` when
    something is left.
    """
    person, name, line = resolve(roster, home, word)
    fleet = FleetHome(home.absolute())
    head = fleet.lead() if (home / plan.FILE).is_file() else None
    try:
        held = files.hold(home, person)
        if held is None:
            remedy = "Stop the fleet first, and say it again."
            raise InputError("somebody is working on this person", where=person, remedy=remedy)
        with held:
            folder = files.folder(home, person)
            digests = _digests(home, person)
            known = traces.pattern(person, digests)
            forgotten.remember(home, Entry(person, name, folder, "person", None, "", "", ()))
            objects, nodes = elsewhere(person) if elsewhere is not None else (0, 0)
            jobs = _forget_jobs(home, folder)
            delivered = deliver.forget(home, person)
            receipt = _forget_folder(home, folder, copies, also)
            _forget_beside(fleet, person, known)
        reports = _forget_reports(home, person)
        _prove(home, person, digests)
        _report(home)
    finally:
        if head is not None:
            head.release()
    return receipt.model_copy(
        update={
            "jobs": jobs, "objects": objects, "nodes": nodes, "delivered": delivered, "reports": reports,
            "roster_line": line,
        }
    )  # fmt: skip


def _digests(home: Path, person: str) -> set[str]:
    """The sha256 of the photos, from the folder and from the record of enrolling, that nobody else has."""
    record = next((one for one in enrolment.everybody(home) if one.person == person), None)
    seen = {one.sha256 for one in record.files.values()} if record else set[str]()
    place = files.folder(home, person) / "photos"
    seen |= {manifest.sha256_file(p) for p in photo_files(place)} if place.is_dir() else set()
    colleagues = (other for other in enrolment.everybody(home) if other.person != person)
    return seen - {one.sha256 for other in colleagues for one in other.files.values()}


def _forget_jobs(home: Path, folder: Path) -> int:
    if not (home / QUEUE).is_file():
        return 0
    queue = Queue(home)
    try:
        return queue.forget(folder)
    finally:
        queue.close()


def _forget_folder(home: Path, folder: Path, copies: bool, also: Sequence[Path]) -> FleetReceipt:
    """The likeness folder by `tasks.forget`, then what that leaves of it, its receipt too."""
    if not folder.is_dir():
        return FleetReceipt(files={}, bytes={})
    counts: dict[str, int] = {}
    sizes: dict[str, int] = {}
    left = 0
    if any(folder.iterdir()):
        seen = forgetting.survey(folder, photos=True, also=also)
        receipt = forgetting.forget(folder, photos=True, copies=copies, seen=seen)
        counts, sizes = _numbers(receipt.get("files")), _numbers(receipt.get("bytes"))
        left = sum(_numbers({"n": receipt.get("copies_left")}).values())
    removal.remove_whole(folder, owner=home)
    return FleetReceipt(files=counts, bytes=sizes, copies_left=left)


def _numbers(value: object) -> dict[str, int]:
    rows = value.items() if isinstance(value, dict) else ()  # pyright: ignore
    return {str(key): int(one) for key, one in rows if isinstance(one, int)}  # pyright: ignore


def _forget_beside(fleet: FleetHome, person: str, known: re.Pattern[bytes]) -> None:
    """What a fleet keeps of a person outside of their folder."""
    home = fleet.path
    enrolment.file_of(home, person).unlink(missing_ok=True)
    mails.file_of(home, person).unlink(missing_ok=True)
    _or_blank(lambda: same_person.forget(home, person), home / same_person.ANSWERS, known)
    _or_blank(lambda: studio_list.drop(home, person), home / studio_list.FILE, known)
    for thumbnail in (home / "cache").glob("*.jpg"):  # whose each was cannot be told from its name
        thumbnail.unlink(missing_ok=True)
    fleet.forget(person)
    traces.remove_named(home, person)
    for database in traces.databases(home):
        traces.clean_database(database, known)
    for audit in home.glob("audit*.jsonl"):
        traces.blank_lines(audit, known)
    _or_blank(lambda: others.forget(home, person), home / plan.FILE, known)
    for damaged in (home / files.SHARDS).glob("*.json"):
        traces.blank_lines(damaged, known)


def _or_blank(change: Callable[[], None], file: Path, known: re.Pattern[bytes]) -> None:
    """Make a change; in a damaged file the person is blanked: that keeps nobody from being forgotten."""
    try:
        change()
    except ArtifactError as error:
        _log.warning("%s", error)
        if file.is_file():
            traces.blank_lines(file, known)


def _forget_reports(home: Path, person: str) -> int:
    """Write the page of the roster without the person; remove the other reports, which are made anew: sheets
    show everybody's face.  How many files went."""
    try:
        checked = standing.read(home)
    except ArtifactError:  # damaged, or of another version: `fleet check` writes it anew
        checked = None
        for file in (standing.FILE, page.FILE):
            (home / file).unlink(missing_ok=True)
    if checked is not None:
        rest = checked.without(person)
        standing.write(home, rest)
        page.write(home, rest)
    count = 0
    reports = home / "reports"
    for path in sorted(reports.iterdir()) if reports.is_dir() else []:
        if path.name not in KEPT_REPORTS and not path.name.startswith("."):
            count += len(removal.files_below(path)) if path.is_dir() else 1
            removal.remove_whole(path, owner=reports)
    return count


def _prove(home: Path, person: str, digests: Collection[str]) -> None:
    """Search the whole home once more.  Raises `ArtifactError` naming what still knows the person."""
    stayed = traces.left(home, person, digests, [home / files.LOCKS / HEAD])
    if stayed:
        raise ArtifactError(
            "something of the person is left",
            where=stayed[0],
            got=f"{len(stayed)} files",
            needed="none",
            remedy="Look at it, and run the command again: it goes on.",
        )


def _report(home: Path) -> None:
    """Write the page of the fleet and its tables again, of those who are left."""
    if not (home / plan.FILE).is_file():
        return
    try:
        report.write(FleetHome(home.absolute()))
    except PortraitError as error:  # everything is gone all the same
        _log.warning("the page of the fleet was not written: %s", error)
