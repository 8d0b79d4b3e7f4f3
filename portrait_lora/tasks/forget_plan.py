"""What `forget` sees before it removes anything, and the plan by which a killed one is gone on with."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from portrait_lora import holding, log, manifest, removal
from portrait_lora.config import FILE_NAME
from portrait_lora.rights import consent
from portrait_lora.tasks import outside
from portrait_lora.tasks.remains import Mark, Remains

PLAN: Final = ".forgetting.json"
GIVEN: Final = ("photos", "removed", FILE_NAME, consent.NAME, "studio.json")
_log = log.get(__name__)


@dataclass(slots=True)
class Survey:
    """What `forget` would do: nothing has been removed yet.

    `targets` are files and folders of the likeness folder; `written` files elsewhere that the user's own
    record names; `changed` such that are not as they were written, and stay.  `found` says where else bytes
    of the person lie, `alike` which pictures look like removed ones, `records` which sidecars beside those
    found go with them, `searched` how many files were looked at besides what goes.  The folder is held
    while this lives.
    """

    held: holding.Hold

    targets: list[Path]
    written: list[outside.Written]
    changed: list[Path]
    remains: Remains
    alike: list[Path]
    resumed: bool
    files: dict[str, tuple[str, int]] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)
    looks: list[tuple[bool, bytes]] = field(default_factory=list)
    records: list[Path] = field(default_factory=list)
    statement: str | None = None
    searched: int = 0

    @property
    def copies(self) -> list[Path]:
        """What goes only when `copies` is said."""
        recorded = {row.path for row in self.written}
        return [p for p in dict.fromkeys([*self.remains.outside, *self.alike]) if p not in recorded]


def write_down(root: Path, now: Survey) -> None:
    """Everything that a second run needs, before the first removal."""
    value = {
        "format": 1,
        "files": {name: list(what) for name, what in now.files.items()},
        "marks": [
            {"stretches": [s.hex() for s in m.stretches], "page": m.page, "original": m.original}
            for m in now.marks
        ],
        "records": [p.relative_to(root).as_posix() for p in now.records],
        "statement": now.statement,
        "searched": now.searched,
        "looks": [{"original": o, "png": base64.b85encode(look).decode()} for o, look in now.looks],
    }
    manifest.write_text_atomic(root / PLAN, json.dumps(value))  # ASCII: names may be no UTF-8


def recall(root: Path, photos: bool, out: Survey) -> None:
    """Add what an interrupted `forget` wrote down; marks of photos only when photos are to go now."""
    try:
        raw: Any = json.loads((root / PLAN).read_text(encoding="utf-8"))
        gone = {str(n): (str(k), int(s)) for n, (k, s) in raw["files"].items() if photos or k not in GIVEN}
        marks = [
            Mark(tuple(bytes.fromhex(s) for s in m["stretches"]), bool(m["page"]), bool(m["original"]))
            for m in raw["marks"]
        ]
        looks = [(bool(one["original"]), base64.b85decode(one["png"])) for one in raw["looks"]]
        records = [root / name for name in raw.get("records", ()) if removal.is_inner(name)]
        statement, searched = raw.get("statement"), int(raw.get("searched", 0))
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        _log.warning("%s is damaged, so copies of what it speaks of are not found: %s", root / PLAN, error)
        return
    out.files = gone | out.files
    out.marks += [m for m in marks if m not in out.marks and (photos or not m.original) and all(m.stretches)]
    out.looks += [one for one in looks if one not in out.looks and (photos or not one[0])]
    out.records, out.searched = records, searched
    out.statement = out.statement or (statement if isinstance(statement, str) else None)
