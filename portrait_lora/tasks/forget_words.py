"""What `forget` shows before it removes anything, and what it says afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from portrait_lora.tasks import outside
from portrait_lora.tasks.forget import NOT_SEEN, RECEIPT, Survey

_SHOWN: Final = 20


def before(folder: Path, seen: Survey, *, copies: bool) -> list[str]:
    """The list of all that goes, then of what stays, one file or folder a line."""
    names = ", ".join(p.name for p in seen.targets) or "nothing"
    lines = ["An earlier `forget` was interrupted; it is gone on with."] if seen.resumed else []
    lines.append(f"To be removed from {folder}: {names} ({len(seen.files)} files)")
    lines += _listed("Copies in the folder, to be removed:", seen.remains.inside)
    lines += _listed("Written elsewhere by this program, to be removed:", [row.path for row in seen.written])
    goes = "to be removed (--copies)" if copies else "they stay unless --copies is given"
    elsewhere = [p for p in seen.copies if p in seen.remains.outside]
    lines += _listed(f"Copies outside the folder, not known as written by this program; {goes}:", elsewhere)
    alike = [p for p in seen.copies if p not in seen.remains.outside]
    lines += _listed(f"Pictures that look the same, resized or saved again; {goes}:", alike)
    lines += _listed("Written elsewhere, but changed since; they stay:", seen.changed)
    unsure = [p for p in outside.noted(folder)[1] if p not in {row.path.parent for row in seen.written}]
    lines += _listed(f"{outside.NOTED} names folders that are searched only with --also DIR:", unsure)
    lines += _listed("Could not be searched:", seen.remains.unread)
    lines += _listed("Archives and git folders, whose contents are not seen:", seen.remains.opaque)
    return lines


def after(folder: Path, receipt: Mapping[str, object]) -> list[str]:
    """The receipt in sentences, and where no search looks."""
    files = receipt["files"]
    counts: dict[str, int] = {str(k): int(v) for k, v in files.items()} if isinstance(files, dict) else {}
    kinds = ", ".join(f"{kind} {count}" for kind, count in counts.items())
    lines = [f"{sum(counts.values())} files removed" + (f": {kinds}" if kinds else "")]
    left = int(str(receipt["copies_left"]))
    if left:
        lines.append(f"{left} copies stay, as listed above; remove them with --copies")
    else:
        lines.append(f"{receipt['searched_files']} other files searched: no bytes of the person are left")
    if receipt["not_searched"]:
        lines.append(f"{receipt['not_searched']} files could not be searched")
    lines.append(f"copies are not seen {'; '.join(NOT_SEEN)}")
    lines.append(f"the receipt: {folder / RECEIPT}")
    return lines


def _listed(title: str, paths: Sequence[Path]) -> list[str]:
    shown = [f"  {path}" for path in paths[:_SHOWN]]
    more = [f"  and {len(paths) - _SHOWN} more"] if len(paths) > _SHOWN else []
    return [title, *shown, *more] if paths else []
