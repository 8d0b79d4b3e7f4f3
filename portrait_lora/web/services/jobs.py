"""Jobs as people and programs see them: begun for a person, shown without a folder of this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from portrait_lora.web.problems import Forbidden
from portrait_lora.web.users import Role, User

if TYPE_CHECKING:
    from portrait_lora.jobs.job import Job, JobState
    from portrait_lora.jobs.queue import Queue
    from portrait_lora.web.studio import Person, Studio

_BATCH: Final = 200
_FILES: Final = (".yaml", ".yml", ".json", ".csv", ".safetensors", ".txt", ".png", ".jpg", ".jpeg", ".webp")
"""Ends of values that name a file of the server's machine."""


def submit(
    queue: Queue,
    user: User,
    person: Person,
    kind: str,
    arguments: Mapping[str, object],
    *,
    key: str = "",
    priority: int = 0,
) -> Job:
    """Put a job for a person into the queue; it is the person's owner's.

    The same `key` with the same body gives the same job.  Raises `InputError` for wrong arguments, and for
    training on photographs without a consent; `Forbidden` where a member names files of the machine.
    """
    refuse_files(user, arguments)
    if kind in ("train", "run"):
        require_consent(person.folder, arguments)
    return queue.submit(
        kind,
        person.folder,
        dict(arguments),
        priority=priority,
        owner=person.owner,
        key=f"{user.name} {key}" if key else "",
    )


def require_consent(folder: Path, arguments: Mapping[str, object]) -> None:
    """Raise `InputError` unless the photos are the studio's, or a consent covers them today."""
    from portrait_lora import config, likeness
    from portrait_lora.rights import consent

    likeness.require_photos(folder)
    file = folder / config.FILE_NAME
    settings = cast(list[str], arguments.get("settings") or [])
    resolved = config.load(file if file.is_file() else None, settings)
    consent.require(folder, folder / "photos", commercial=resolved.commercial)


def refuse_files(user: User, arguments: Mapping[str, object]) -> None:
    """Only an admin may name files of the machine: anybody else could reach those of others by them."""
    if user.role is Role.ADMIN:
        return
    values = {key: arguments.get(key) for key in ("series", "brand", "look", "clip", "over")}
    for pair in cast(list[str], arguments.get("settings") or []):
        key, _, value = pair.partition("=")
        values[f"settings: {key.strip()}"] = value.strip()
    for where, value in values.items():
        if isinstance(value, str) and names_file(value):
            raise Forbidden(
                "only an admin of this studio may name files of its machine",
                where=where, got=value[:120], needed="a name without a path",
            )  # fmt: skip


def names_file(value: str) -> bool:
    """Whether a value names a file or a folder rather than something of the package."""
    return any(c in value for c in "/\\~") or value.lower().endswith(_FILES) or value.startswith(".")


def visible(
    queue: Queue,
    user: User,
    *,
    states: tuple[JobState, ...] = (),
    folder: Path | None = None,
    after: str = "",
    limit: int = 50,
) -> tuple[list[Job], str | None]:
    """The jobs that a user may look at, newest first, and the id to go on after (None: no more)."""
    rows: list[Job] = []
    while True:
        batch = queue.list(states=states, folder=folder, after=after, limit=_BATCH)
        for job in batch:
            if user.may_read(job.owner):
                if len(rows) == limit:
                    return rows, rows[-1].id
                rows.append(job)
        if len(batch) < _BATCH:
            return rows, None
        after = batch[-1].id


def shown(job: Job, person_id: str) -> dict[str, Any]:
    """A job as plain values: the id of its person for its folder, and paths relative to that."""
    place = relative_to(job.folder)
    return {
        "id": job.id,
        "kind": job.kind,
        "likeness": person_id,
        "owner": job.owner,
        "arguments": place(dict(job.arguments)),
        "state": str(job.state),
        "priority": job.priority,
        "device": job.ran_on or job.device,
        "created": job.created,
        "started": job.started,
        "ended": job.ended,
        "attempts": job.attempts,
        "exit_code": job.exit_code,
        "cancel_requested": job.cancel_requested,
        "progress": place(dict(job.progress)) if job.progress is not None else None,
        "result": place(job.result),
        "error": place(dict(job.error)) if job.error is not None else None,
        "events": f"/v1/jobs/{job.id}/events",
    }


def person_ids(studio: Studio, user: User) -> Callable[[str], str]:
    """Folder of a job → id of the person; empty for one that is no person of the studio (any more)."""
    known = {str(person.folder): person.id for person in studio.people(user)}
    return lambda folder: known.get(folder, "")


def relative_to(folder: str) -> Callable[[Any], Any]:
    """Makes paths in any JSON value relative to a folder: no answer shows where it lies on the machine."""
    inside, beside = f"{folder}/", f"{Path(folder).parent}/"

    def text(value: str) -> str:
        if beside in value or value == folder:
            value = value.replace(inside, "").replace(folder, ".").replace(beside, "")
        return value.encode(errors="replace").decode()  # bytes of a file name that are no character

    def place(value: Any) -> Any:
        if isinstance(value, str):
            return text(value)
        if isinstance(value, Mapping):
            return {text(str(k)): place(v) for k, v in cast(Mapping[Any, Any], value).items()}
        if isinstance(value, list | tuple):
            return [place(one) for one in cast(list[Any], value)]
        return value

    return place
