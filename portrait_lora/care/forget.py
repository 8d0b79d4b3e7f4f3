"""Forgetting a person: everything that was made of the photos, the photos too when asked, and proof.

What is deleted is remembered by a few stretches of its bytes; afterwards every file below the likeness folder
and the program's caches is searched for them.  The receipt counts files and bytes and names nobody.
"""

from __future__ import annotations

import datetime as dt
import json
import mmap
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from portrait_lora import consent, lock, manifest, provenance
from portrait_lora.config import FILE_NAME
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.faces.known import packs_home
from portrait_lora.families.adapter_file import read_header

RECEIPT: Final = "forgotten.json"
MADE: Final = (
    "dataset",
    "adapters",
    "portraits",
    "reports",
    "exports",
    "exports.json",
    "photos_check",
    "captions.csv",
)
GIVEN: Final = ("photos", FILE_NAME, consent.NAME, "studio.json")
_WINDOW: Final = 48
_DISTINCT: Final = 24
_PLACES: Final = (0.2, 0.5, 0.8)
_PICTURES: Final = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(slots=True)
class Removed:
    """What has gone: files and bytes by the name of the folder they were in.

    `marks` are stretches of pictures and weights; `pages` those of HTML, which shows faces in small.
    """

    files: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    marks: list[list[bytes]] = field(default_factory=list)
    pages: list[list[bytes]] = field(default_factory=list)

    def count(self, kind: str, path: Path) -> None:
        """Note a file just before it goes."""
        self.files[kind] = self.files.get(kind, 0) + 1
        self.bytes[kind] = self.bytes.get(kind, 0) + path.stat().st_size
        kept = self.pages if path.suffix.lower() == ".html" else self.marks
        if path.suffix.lower() not in (".json", ".yaml", ".csv", ".jsonl", ".txt", ".lock"):
            kept += [found] if (found := marks_of(path)) else []


def plan(folder: Path, *, photos: bool) -> list[Path]:
    """What would be removed.  Raises `InputError` when this is no likeness folder."""
    if folder.is_symlink() or not ((folder / "photos").is_dir() or (folder / FILE_NAME).is_file()):
        raise InputError("not a likeness folder", where=folder, needed=f"photos/ or {FILE_NAME}")
    named = [folder / name for name in (*MADE, *(GIVEN if photos else ()))]
    stale = [p for p in folder.iterdir() if p.name.startswith((".writing-", f".{FILE_NAME}", ".captions"))]
    locked = [folder / lock.NAME] if photos else []
    return [p for p in (*named, *stale, *locked) if p.exists() or p.is_symlink()]


def forget(folder: Path, *, photos: bool, also: Sequence[Path] = ()) -> dict[str, object]:
    """Remove, search, write the receipt; what the receipt says.

    `also` are more folders to search for bytes of the person, such as those of exports.  Raises
    `ArtifactError` when something could not be removed, or when bytes of it are still found.
    """
    root = folder.resolve()
    targets, removed, statement = plan(root, photos=photos), Removed(), _statement(root)
    _remove(targets, removed)
    roots = [root, packs_home().parent, *(p.resolve() for p in also)]
    kept = () if photos else (root / "photos",)
    residue = [p for p in _files(roots, kept) if _betrays(p, removed, root)]
    _remove(dict.fromkeys([*residue, *_records_beside(residue)]), removed, kind="found by the search")
    looked_at = list(_files(roots, kept))
    left = [p for p in looked_at if _betrays(p, removed, root)]
    receipt: dict[str, object] = {
        "format": 1,
        "on": dt.date.today().isoformat(),
        "photos_removed": photos,
        "files": removed.files,
        "bytes": removed.bytes,
        "searched_files": len(looked_at),
        "residual_files": len(left),
        "consent_statement_sha256": statement,
    }
    manifest.write_json_atomic(root / RECEIPT, receipt)
    if left:
        raise ArtifactError("something of the person is left", where=left[0], got=f"{len(left)} files")
    return receipt


def marks_of(path: Path) -> list[bytes]:
    """A few stretches of a file's bytes that are unlikely anywhere else."""
    size = path.stat().st_size
    found: list[bytes] = []
    with path.open("rb") as stream:
        for place in _PLACES if size >= 4 * _WINDOW else ():
            stream.seek(int(place * (size - _WINDOW)))
            window = stream.read(_WINDOW)
            if len(set(window)) >= _DISTINCT:
                found.append(window)
    return found


def _statement(folder: Path) -> str | None:
    try:
        found = consent.read(folder)
    except ArtifactError:
        return None
    return found.statement_sha256 if found else None


def _remove(targets: Iterable[Path], removed: Removed, kind: str = "") -> None:
    """Count and delete; a link goes, what it leads to stays."""
    for target in targets:
        try:
            if target.is_symlink():
                target.unlink()
                continue
            inside = target.rglob("*") if target.is_dir() else [target]
            for path in inside:
                if path.is_file() and not path.is_symlink():
                    removed.count(kind or target.name, path)
            shutil.rmtree(target) if target.is_dir() else target.unlink()
        except OSError as error:
            remedy = "Change its permissions and run the command again."
            raise ArtifactError("cannot be removed", where=target, got=error, remedy=remedy) from error


def _files(roots: Sequence[Path], kept: Sequence[Path]) -> Iterator[Path]:
    for root in dict.fromkeys(roots):
        for path in sorted(root.rglob("*")) if root.is_dir() else []:
            own = path.name == RECEIPT or any(path.is_relative_to(k) for k in kept)
            if path.is_file() and not path.is_symlink() and not own:
                yield path


def _betrays(path: Path, removed: Removed, root: Path) -> bool:
    """Whether a file holds bytes of what was removed; below `root`, also any portrait or adapter of ours.

    Elsewhere (caches, folders of exports) lie other people's adapters and portraits: those stay.  A header or
    a colour profile may be common to both, so two stretches of one file must be found there; pages are alike
    in their style sheets, so they count below `root` only.
    """
    own = path.is_relative_to(root)
    if own:
        if path.suffix == ".safetensors" and _is_adapter(path):
            return True
        if path.suffix.lower() in _PICTURES and provenance.source_type(path) == provenance.TRAINED:
            return True
    if path.stat().st_size < _WINDOW:
        return False
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return any(
            sum(data.find(mark) >= 0 for mark in group) >= (1 if own else min(2, len(group)))
            for group in [*removed.marks, *(removed.pages if own else ())]
        )


def _records_beside(found: Sequence[Path]) -> Iterator[Path]:
    """The sidecars of portraits and of exported adapters that are to go: they tell trigger and prompts."""
    for beside in dict.fromkeys(p.with_suffix(".json") for p in found):
        try:
            told = json.loads(beside.read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(told, dict) and not {"digital_source_type", "activation text"}.isdisjoint(told):
            yield beside


def _is_adapter(path: Path) -> bool:
    try:
        return "portrait_lora.trigger" in read_header(path).get("__metadata__", {})
    except (ArtifactError, InputError):
        return False
