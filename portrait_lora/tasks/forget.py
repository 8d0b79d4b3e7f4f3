"""Forgetting a person: everything that was made of the photos, the photos too when asked, and proof.

The plan and a few stretches of every file's bytes are on disk before the first removal, so a `forget` that
was killed is gone on with.  What this program recorded writing elsewhere goes too; any other copy outside the
folder, and any resized one, is named and goes only when that is asked for.  The receipt names nobody.
"""

from __future__ import annotations

import datetime as dt
import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from portrait_lora import holding, log, manifest, removal, replacing, strict_json
from portrait_lora.config import FILE_NAME
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.faces.catalog import packs_home
from portrait_lora.hub import lock
from portrait_lora.rights import consent
from portrait_lora.tasks import outside, remains
from portrait_lora.tasks.forget_plan import GIVEN, PLAN, Survey, recall, write_down
from portrait_lora.tasks.remains import Remains

RECEIPT: Final = "forgotten.json"
MADE: Final = (
    "dataset",
    "adapters",
    "portraits",
    "reports",
    "exports",
    outside.NOTED,
    "photos_check",
    "captions.csv",
    "captions.history.json",
)
NOT_SEEN: Final = (
    "inside archives and disk images",
    "as base64 or other text",
    "in git objects",
    "encrypted, in backups, on other machines and in clouds",
    "pictures cropped, drawn over or changed so far that they look different",
)
"""Where copies may lie that no search finds."""
_LOOKED_AT: Final = frozenset({"photos", "removed", "portraits", "train", "holdout"})
"""Folders whose pictures show the person; masks and sheets do not."""
_MOST_LOOKS: Final = 300
FOUND: Final = "found by the search"
_log = log.get(__name__)


def plan(folder: Path, *, photos: bool) -> list[Path]:
    """The files and folders below `folder` that would be removed.

    Raises `InputError` when this is no likeness folder.
    """
    begun = (folder / PLAN).is_file() or (folder / RECEIPT).is_file()
    known = begun or (folder / "photos").is_dir() or (folder / FILE_NAME).is_file()
    if folder.is_symlink() or not known:
        raise InputError("not a likeness folder", where=folder, needed=f"photos/ or {FILE_NAME}")
    named = [folder / name for name in (*MADE, *(GIVEN if photos else ()))]
    # half-written files of ours, as interrupted writers leave them
    own = (FILE_NAME, "captions.csv", outside.NOTED, consent.NAME, "studio.json", lock.NAME, RECEIPT, PLAN)
    begins = (replacing.PREFIX, *(f".{name}." for name in own))
    stale = [p for p in sorted(folder.iterdir()) if p.name.startswith(begins)]
    locked = [folder / lock.NAME] if photos else []
    return [p for p in (*named, *stale, *locked) if p.exists() or p.is_symlink()]


def survey(folder: Path, *, photos: bool, also: Sequence[Path] = ()) -> Survey:
    """Look at everything and remove nothing; `also` are folders to search besides those of the record.

    Raises `InputError` when this is no likeness folder, and while a run works in it.
    """
    root = folder.resolve()
    targets = plan(root, photos=photos)
    held = _hold(root)
    rows = [r for r in outside.written_for(root) if not r.path.is_relative_to(root)]
    written = [row for row in rows if row.is_as_written]
    as_written = {row.file for row in written}  # an export that was killed leaves a row for the bytes before
    changed = [row.path for row in rows if row.file not in as_written and row.path.exists()]
    out = Survey(held, targets, written, changed, Remains(), [], (root / PLAN).is_file())
    for target in [*targets, *(row.path for row in written)]:
        _remember(root, target, out)
    out.statement = _statement(root)
    recall(root, photos, out)
    # rows of files that are gone count too: an interrupted run has removed them, and not searched there again
    others = [packs_home().parent, *(p.resolve() for p in also), *(row.path.parent for row in rows)]
    others = [p for p in dict.fromkeys(others) if p != Path(p.anchor)]
    kept = [*targets, root / RECEIPT, root / PLAN, outside.state_file().parent]
    kept += [] if photos else [root / "photos"]
    kept += [row.path for row in written]
    out.remains = remains.search(root, others, kept, out.marks)
    out.searched = max(out.searched, out.remains.searched)  # what was found is there no more
    stays = [*kept, *out.remains.inside]
    recalled = [p for p in out.records if p.is_file() and not any(p.is_relative_to(k) for k in stays)]
    out.records = [*dict.fromkeys([*remains.records_beside(out.remains.inside), *recalled])]
    out.alike = _alike(root, photos, others, kept, out)
    return out


def forget(
    folder: Path, *, photos: bool, also: Sequence[Path] = (), copies: bool = False, seen: Survey | None = None
) -> dict[str, object]:
    """Remove, search again, write the receipt; what the receipt says.  `seen` is the survey that was shown.

    Where an earlier call left nothing to remove, its receipt stands.
    `copies`: the copies outside the folder and those that only look alike go too.  Raises what `survey` does,
    and `ArtifactError` when something stayed, after everything else was removed and the receipt was written.
    """
    root = folder.resolve()
    now = seen or survey(root, photos=photos, also=also)
    with now.held:
        receipt = None if now.resumed else _standing_receipt(root, now, photos=photos)
        if receipt is None:
            for path in [*now.remains.inside, *(now.copies if copies else ())]:
                name = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
                now.files[name] = (FOUND, path.stat().st_size if path.exists() else 0)
            write_down(root, now)
            failed = _remove(root, now, copies)
            receipt = _prove(root, now, failed, photos=photos, copies=copies)
        removal.remove_file(root / PLAN, owner=root)
        outside.strike_out([row for row in outside.written_for(root) if not row.path.exists()])
        return receipt


def _standing_receipt(root: Path, now: Survey, *, photos: bool) -> dict[str, object] | None:
    """What a `forget` said that removed all there was; None when there is something to remove."""
    if now.targets or now.written or now.remains.inside or now.copies:
        return None
    try:
        receipt = strict_json.load_object(root / RECEIPT, "receipt")
    except ArtifactError:
        return None
    numbers = [receipt.get(key) for key in ("copies_left", "searched_files", "not_searched")]
    files = receipt.get("files")
    numbers += files.values() if isinstance(files, dict) else [None]
    whole = all(isinstance(number, int) for number in numbers)
    return receipt if whole and (receipt.get("photos_removed") or not photos) else None


def _hold(root: Path) -> holding.Hold:
    held = holding.hold(root, alone=True)
    if held is None:  # a journey of this process that ended, and whose objects are not collected yet
        gc.collect()
        held = holding.hold(root, alone=True)
    if held is None:
        raise InputError(
            "a run or another command is working in this folder",
            where=root,
            remedy="Wait until it has ended, or stop it, and say it again.",
        )
    return held


def _remember(root: Path, target: Path, out: Survey) -> None:
    """Count a target's files, and keep stretches and small pictures of them."""
    if target.name.startswith((f".{PLAN}.", f".{RECEIPT}.")):  # of a `forget` that was killed
        return
    kind = "written elsewhere"
    if target.is_relative_to(root):
        kind = target.name if target.name in (*MADE, *GIVEN, lock.NAME) else "unfinished writes"
    whole = target.is_dir() and not target.is_symlink()
    for path in removal.files_below(target, out.remains.unread) if whole else [target]:
        if path.is_symlink() or not path.is_file():
            continue
        original = kind in GIVEN
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
        try:
            out.files[name] = (kind, path.stat().st_size)
            mark = remains.mark_of(path, original=original)
            out.marks += [mark] if mark else []
        except OSError as error:
            _log.warning("%s cannot be read, so copies of it are not found: %s", path, error)
        shown = not _LOOKED_AT.isdisjoint(name.split("/"))
        if shown and path.suffix.lower() in remains.PICTURES and len(out.looks) < _MOST_LOOKS:
            look = remains.look_of(path)
            out.looks += [(original, look)] if look else []


def _alike(root: Path, photos: bool, others: Sequence[Path], kept: Sequence[Path], out: Survey) -> list[Path]:
    """Pictures that look like removed ones, besides those with the same bytes."""
    same = {*out.remains.inside, *out.remains.outside}
    places = [root, *(p for p in others if p != packs_home().parent)]
    files = [p for place in places if place.is_dir() for p in removal.files_below(place)]
    candidates = [
        p
        for p in dict.fromkeys(files)
        if p.suffix.lower() in remains.PICTURES
        and p not in same
        and not p.is_symlink()
        and not any(p.is_relative_to(k) for k in kept)
    ]
    if not candidates:
        return []
    stay = [] if photos else removal.files_below(root / "photos")
    looks = [look for original, look in out.looks if photos or not original]
    return remains.lookalikes(looks, [look for p in stay if (look := remains.look_of(p))], candidates)


def _remove(root: Path, now: Survey, copies: bool) -> list[Path]:
    """Remove everything that is to go, whatever fails; what could not be removed."""
    # what lies elsewhere first: the folder's name in the record of exports is one of its own files
    more = [*now.copies, *remains.records_beside(now.copies)] if copies else []
    elsewhere = [*(row.path for row in now.written if row.is_as_written), *more]
    failed = [p for p in dict.fromkeys(elsewhere) if not _gone(p, p.parent)]
    inside = [*now.targets, *now.remains.inside, *now.records]
    return failed + [p for p in dict.fromkeys(inside) if not _gone(p, root)]


def _gone(path: Path, owner: Path) -> bool:
    try:
        removal.remove_whole(path, owner=owner)
    except (OSError, InputError) as error:
        _log.warning("%s cannot be removed: %s", path, error)
        return False
    return True


def _prove(root: Path, now: Survey, failed: list[Path], *, photos: bool, copies: bool) -> dict[str, object]:
    """Search once more, and write the receipt."""
    kept = [root / RECEIPT, root / PLAN] + ([] if photos else [root / "photos"])
    left = remains.search(root, [], kept, now.marks)
    counts: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for name, (kind, size) in now.files.items():
        if not (root / name).exists():
            counts[kind], sizes[kind] = counts.get(kind, 0) + 1, sizes.get(kind, 0) + size
    receipt: dict[str, object] = {
        "format": 1,
        "on": dt.date.today().isoformat(),
        "photos_removed": photos,
        "files": counts,
        "bytes": sizes,
        "searched_files": now.searched,
        "residual_files": len(left.inside),
        "not_removed": len(failed),
        "copies_left": 0 if copies else len(now.copies),
        "changed_elsewhere": len(now.changed),
        "not_searched": len(now.remains.unread),
        "archives": len(now.remains.opaque),
        "not_seen": list(NOT_SEEN),
        "resumed": now.resumed,
        "consent_statement_sha256": now.statement,
    }
    manifest.write_json_atomic(root / RECEIPT, receipt)
    stayed = [*failed, *left.inside]
    if stayed:
        raise ArtifactError(
            "something of the person cannot be removed",
            where=stayed[0],
            got=f"{len(stayed)} files or folders; everything else was removed",
            remedy="Change its permissions and run the command again: it goes on.",
        )
    return receipt


def _statement(folder: Path) -> str | None:
    try:
        stored = consent.read(folder)
    except Exception as error:  # a damaged consent keeps nobody from being forgotten
        _log.debug("%r", error)
        return None
    return stored.statement_sha256 if stored else None
