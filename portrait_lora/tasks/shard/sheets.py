"""The series and brand file of a fleet where it is worked on: the user's own, or the copy in its home."""

from __future__ import annotations

from pathlib import Path

from portrait_lora import manifest
from portrait_lora.errors import InputError
from portrait_lora.tasks.shard.plan import FleetPlan, Sheet

FOLDER = "sheets"


def folder_of(home: Path, sheet: Sheet) -> Path:
    """Where the copies of a sheet lie."""
    return home / FOLDER / manifest.digest(sheet.files)[:16]


def wrong(folder: Path, sheet: Sheet) -> str:
    """The first file of a sheet below `folder` that has other bytes, or none; empty where all are right."""
    for name, sha256 in sheet.files.items():
        path = folder / name
        if not path.is_file() or manifest.sha256_file(path) != sha256:
            return name
    return ""


def placed(home: Path, whole: FleetPlan) -> FleetPlan:
    """The plan with series and brand as this machine has them: the user's own file where it is here with what
    it names, else the copy.

    Raises `InputError` naming the file of a copy that is not the one that the fleet was begun with.
    """
    return whole.model_copy(update={"series": _here(home, whole, whole.series),
                                    "brand": _here(home, whole, whole.brand)})  # fmt: skip


def _here(home: Path, whole: FleetPlan, name: str) -> str:
    sheet = whole.sheets.get(name)
    if sheet is None or not wrong(Path(sheet.root), sheet):
        return name
    folder = folder_of(home, sheet)
    if bad := wrong(folder, sheet):
        there = (folder / bad).is_file()
        raise InputError(
            "a file of this fleet's series or brand is another one"
            if there
            else "a file of this fleet's series or brand is missing",
            where=folder / bad,
            got=manifest.sha256_file(folder / bad)[:12] if there else "no file",
            needed=sheet.files[bad][:12],
            remedy="Run the fleet again where its roster is: it is copied anew.",
        )
    return str(folder / sheet.name)
