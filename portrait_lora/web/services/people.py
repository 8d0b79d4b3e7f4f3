"""People: what is there of one, a new one, and one forgotten."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from portrait_lora.web.services import favourites, measure, portraits
from portrait_lora.web.services import jobs as job_service
from portrait_lora.web.services.photo_changes import REMOVED

if TYPE_CHECKING:
    from portrait_lora.jobs.queue import Queue
    from portrait_lora.web.resumable import Uploads
    from portrait_lora.web.studio import Person, Studio
    from portrait_lora.web.users import User


def shown(person: Person) -> dict[str, Any]:
    """A person as plain values, counted from the folder; a folder that was moved away counts nothing."""
    from portrait_lora.pictures.reader import list_photos
    from portrait_lora.rights import consent

    root = person.folder
    photos = root / "photos"
    return {
        "id": person.id,
        "name": person.name,
        "owner": person.owner,
        "kind": person.kind,
        "created": person.created,
        "photos": len(list_photos(photos)) if photos.is_dir() else 0,
        "consent": (root / consent.NAME).is_file(),
        "trained": any((root / "adapters").glob("*/adapter.safetensors")),
        "scored": (root / "reports" / "drift.json").is_file(),
        "series": [one.name for one in portraits.series(root)],
    }


def create(
    studio: Studio, user: User, name: str, kind: str, base: str, settings: Sequence[str] = ()
) -> Person:
    """A new person; without `base` the one that suits this machine is chosen when photos are there.

    Raises `ConfigError` for a wrong setting.
    """
    job_service.refuse_files(user, {"settings": list(settings), "look": base})
    chosen = [f"subject.kind={kind}", *([f"base={base}"] if base else []), *settings]
    return studio.create(user, name, settings=chosen)


def forget(
    studio: Studio, queue: Queue, uploads: Uploads, person: Person, *, copies: bool = False
) -> dict[str, Any]:
    """Remove everything of a person, with their jobs, unfinished uploads, thumbnails, favourites,
    kept measurements and pictures from other tools.

    The answer is the receipt of `tasks.forget`, and `left`: files in the folder that are not of this program.
    Raises `InputError` while one of their jobs runs.  A folder that was moved away is only taken off the
    list.
    """
    from portrait_lora.tasks import forget as forgetting

    place = job_service.relative_to(str(person.folder))
    queue.forget(person.folder)
    uploads.forget(person.id)
    receipt: dict[str, Any] = {}
    if person.folder.is_dir():
        seen = forgetting.survey(person.folder, photos=True)
        receipt = dict(forgetting.forget(person.folder, photos=True, copies=copies, seen=seen))
    for thumbnail in (studio.home / "cache").glob("*.jpg"):  # whose each was cannot be told from its name
        thumbnail.unlink(missing_ok=True)
    favourites.drop(studio.home, person.id)
    measure.drop(studio.home, person.id)
    studio.drop(person)
    receipt["left"] = _clear(person, studio)
    return place(receipt)


def _clear(person: Person, studio: Studio) -> list[str]:
    """Remove the photos that were put aside, and the folder when nothing else is in it; what is."""
    removed = person.folder / REMOVED
    if removed.is_dir() and not removed.is_symlink():
        shutil.rmtree(removed)
    left = sorted(p.name for p in person.folder.iterdir()) if person.folder.is_dir() else []
    left = [name for name in left if not name.startswith(".") and name != "forgotten.json"]
    if not left and person.folder.parent == studio.home / "people":
        shutil.rmtree(person.folder, ignore_errors=True)
    return left
