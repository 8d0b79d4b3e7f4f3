"""Forgetting a person: everything that was made of the photos, the photos too when asked, and proof.

The plan and a few stretches of every file's bytes are on disk before the first removal, so a `forget` that
was killed is gone on with.  What this program recorded writing elsewhere goes too; any other copy outside the
folder, and any resized one, is named and goes only when that is asked for.  The receipt names nobody.
"""

from __future__ import annotations

import base64
import datetime as dt
import gc
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from portrait_lora import holding, log, manifest, removal, replacing
from portrait_lora.config import FILE_NAME
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.faces.known import packs_home
from portrait_lora.hub import lock
from portrait_lora.rights import consent
from portrait_lora.tasks import outside, remains
from portrait_lora.tasks.remains import Found, Mark

RECEIPT: Final = "forgotten.json"
PLAN: Final = ".forgetting.json"
MADE: Final = (
    "dataset",
    "adapters",
    "portraits",
    "reports",
    "exports",
    outside.NOTED,
    "photos_check",
    "captions.csv",
)
GIVEN: Final = ("photos", FILE_NAME, consent.NAME, "studio.json")
NOT_SEEN: Final = (
    "inside archives and disk images",
    "as base64 or other text",
    "in git objects",
    "encrypted, in backups, on other machines and in clouds",
    "pictures cropped, drawn over or changed so far that they look different",
)
"""Where copies may lie that no search finds."""
_LOOKED_AT: Final = frozenset({"photos", "portraits", "train", "holdout"})
"""Folders whose pictures show the person; masks and sheets do not."""
_MOST_LOOKS: Final = 300
_log = log.get(__name__)


@dataclass(slots=True)
class Survey:
    """What `forget` would do: nothing has been removed yet.

    `targets` are files and folders of the likeness folder; `written` files elsewhere that the user's own
    record names; `changed` such that are not as they were written, and stay.  `found` says where else bytes
    of the person lie, `alike` which pictures look like removed ones.  The folder is held while this lives.
    """

    held: holding.Hold

    targets: list[Path]
    written: list[outside.Written]
    changed: list[Path]
    found: Found
    alike: list[Path]
    resumed: bool
    files: dict[str, tuple[str, int]] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)
    looks: list[tuple[bool, bytes]] = field(default_factory=list)

    @property
    def copies(self) -> list[Path]:
        """What goes only when `copies` is said."""
        recorded = {row.path for row in self.written}
        return [p for p in dict.fromkeys([*self.found.outside, *self.alike]) if p not in recorded]


def plan(folder: Path, *, photos: bool) -> list[Path]:
    """The files and folders below `folder` that would be removed.

    Raises `InputError` when this is no likeness folder.
    """
    begun = (folder / PLAN).is_file()
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
    out = Survey(held, targets, written, changed, Found(), [], (root / PLAN).is_file())
    for target in [*targets, *(row.path for row in written)]:
        _remember(root, target, out)
    _recall(root, photos, out)
    others = [packs_home().parent, *(p.resolve() for p in also), *(row.path.parent for row in written)]
    others = [p for p in dict.fromkeys(others) if p != Path(p.anchor)]
    kept = [*targets, root / RECEIPT, root / PLAN, outside.state_file().parent]
    kept += [] if photos else [root / "photos"]
    kept += [row.path for row in written]
    out.found = remains.search(root, others, kept, out.marks)
    out.alike = _alike(root, photos, others, kept, out)
    return out


def forget(
    folder: Path, *, photos: bool, also: Sequence[Path] = (), copies: bool = False, seen: Survey | None = None
) -> dict[str, object]:
    """Remove, search again, write the receipt; what the receipt says.  `seen` is the survey that was shown.

    `copies`: the copies outside the folder and those that only look alike go too.  Raises what `survey` does,
    and `ArtifactError` when something stayed, after everything else was removed and the receipt was written.
    """
    root = folder.resolve()
    now = seen or survey(root, photos=photos, also=also)
    with now.held:
        statement = _statement(root)
        _write_down(root, now)
        failed = _remove(root, now, copies)
        outside.strike_out([row for row in outside.written_for(root) if not row.path.exists()])
        return _prove(root, now, failed, statement, photos=photos, copies=copies)


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
    kind = "written elsewhere"
    if target.is_relative_to(root):
        kind = target.name if target.name in (*MADE, *GIVEN, lock.NAME) else "unfinished writes"
    whole = target.is_dir() and not target.is_symlink()
    for path in removal.files_below(target, out.found.unread) if whole else [target]:
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
    same = {*out.found.inside, *out.found.outside}
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


def _write_down(root: Path, now: Survey) -> None:
    """Everything that a second run needs, before the first removal."""
    value = {
        "format": 1,
        "files": {name: list(what) for name, what in now.files.items()},
        "marks": [
            {"stretches": [s.hex() for s in m.stretches], "page": m.page, "original": m.original}
            for m in now.marks
        ],
        "looks": [{"original": o, "png": base64.b85encode(look).decode()} for o, look in now.looks],
    }
    manifest.write_text_atomic(root / PLAN, json.dumps(value))  # ASCII: names may be no UTF-8


def _recall(root: Path, photos: bool, out: Survey) -> None:
    """Add what an interrupted `forget` wrote down; marks of photos only when photos are to go now."""
    try:
        raw: Any = json.loads((root / PLAN).read_text(encoding="utf-8"))
        gone = {str(n): (str(k), int(s)) for n, (k, s) in raw["files"].items() if photos or k not in GIVEN}
        marks = [
            Mark(tuple(bytes.fromhex(s) for s in m["stretches"]), bool(m["page"]), bool(m["original"]))
            for m in raw["marks"]
        ]
        looks = [(bool(one["original"]), base64.b85decode(one["png"])) for one in raw["looks"]]
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        _log.warning("%s is damaged, so copies of what it speaks of are not found: %s", root / PLAN, error)
        return
    out.files = gone | out.files
    out.marks += [m for m in marks if m not in out.marks and (photos or not m.original) and all(m.stretches)]
    out.looks += [one for one in looks if one not in out.looks and (photos or not one[0])]


def _remove(root: Path, now: Survey, copies: bool) -> list[Path]:
    """Remove everything that is to go, whatever fails; what could not be removed."""
    beside = [*remains.records_beside(now.found.inside)]
    inside = [*now.targets, *now.found.inside, *beside]
    failed = [p for p in dict.fromkeys(inside) if not _gone(p, root)]
    more = [*now.copies, *remains.records_beside(now.copies)] if copies else []
    for path in dict.fromkeys([*(row.path for row in now.written if row.is_as_written), *more]):
        failed += [] if _gone(path, path.parent) else [path]
    return failed


def _gone(path: Path, owner: Path) -> bool:
    try:
        removal.remove_whole(path, owner=owner)
    except (OSError, InputError) as error:
        _log.warning("%s cannot be removed: %s", path, error)
        return False
    return True


def _prove(
    root: Path, now: Survey, failed: list[Path], statement: str | None, *, photos: bool, copies: bool
) -> dict[str, object]:
    """Search once more, and write the receipt."""
    kept = [root / RECEIPT, root / PLAN] + ([] if photos else [root / "photos"])
    left = remains.search(root, [], kept, now.marks)
    extra = {*now.found.inside, *(now.copies if copies else ())}
    counts: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for name, (kind, size) in now.files.items():
        if not (root / name).exists():
            counts[kind], sizes[kind] = counts.get(kind, 0) + 1, sizes.get(kind, 0) + size
    if gone := [p for p in extra if not p.exists()]:
        counts["found by the search"] = len(gone)
    receipt: dict[str, object] = {
        "format": 1,
        "on": dt.date.today().isoformat(),
        "photos_removed": photos,
        "files": counts,
        "bytes": sizes,
        "searched_files": now.found.searched,
        "residual_files": len(left.inside),
        "not_removed": len(failed),
        "copies_left": 0 if copies else len(now.copies),
        "changed_elsewhere": len(now.changed),
        "not_searched": len(now.found.unread),
        "archives": len(now.found.opaque),
        "not_seen": list(NOT_SEEN),
        "resumed": now.resumed,
        "consent_statement_sha256": statement,
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
    removal.remove_file(root / PLAN, owner=root)
    return receipt


def _statement(folder: Path) -> str | None:
    try:
        found = consent.read(folder)
    except Exception as error:  # a damaged consent keeps nobody from being forgotten
        _log.debug("%r", error)
        return None
    return found.statement_sha256 if found else None
