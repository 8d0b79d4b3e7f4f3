"""The table of face packs: abilities and commercial use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from portrait_lora.faces.catalog import KNOWN
from portrait_lora.faces.install import installed
from portrait_lora.faces.packs import EMBEDDED, resolve_pack

Row = Mapping[str, object]


def pack_table() -> list[Row]:
    """One row per pack: the embedded one and the known ones."""
    own = resolve_pack(EMBEDDED)
    first: Row = {
        "name": EMBEDDED,
        "backend": own.backend,
        "licence": own.licence,
        "commercial": own.commercial,
        "size_mb": 0,
        "installed": True,
        "can_check": [name for name, can in own.abilities.items() if can],
        "thresholds": dict(own.thresholds),
        "for": "pictures of the synthetic studio only",
    }
    return [first, *(_known(name) for name in KNOWN)]


def _known(name: str) -> Row:
    pack = KNOWN[name]
    can = ["faces", "identity", "two embedders", *(["pose"] if pack.landmarks else [])]
    judges = (pack.select, pack.report)
    return {
        "name": name,
        "backend": pack.backend,
        "licence": pack.licence,
        "commercial": pack.commercial,
        "size_mb": round(pack.size / 1e6),
        "installed": installed(pack) is not None,
        "can_check": can,
        "thresholds": {e.id: e.threshold for e in judges},
        "threshold_notes": {e.id: e.note for e in judges},
        "for": "photographs; not yet tested on any by the authors",
    }


_COLUMNS: Final = (
    ("faces", "faces"),
    ("identity", "identity"),
    ("pose", "pose"),
    ("expression", "expression"),
    ("light", "glasses and light"),
    ("covered", "covered faces"),
    ("strangers", "other people"),
)
"""Column heading and the ability it stands for."""


def pack_lines(rows: Sequence[Row]) -> list[str]:
    """The table as text: what each pack can check, and what stays `not_checked`."""
    head = "".join(f"{name:>{len(name) + 2}}" for name, _ in _COLUMNS)
    return [
        f"{'face pack':<12} {'with':<12} {'sell?':<6} {'MB':>4}  {'here':<4}{head}",
        *(_line(r) for r in rows),
        "- is reported as not_checked.  * published impostor figures, if any; portrait-lora gallery NAME",
        "builds better ones from pictures of other people.  Thresholds of downloaded packs are as published",
        "and untested on photographs by the authors.",
    ]


def pack_details(row: Row) -> list[str]:
    """All details of one pack, as text."""
    notes = _mapping(row.get("threshold_notes"))
    sell = "yes" if row["commercial"] == "yes" else "no, not even for measuring"
    limits = _mapping(row["thresholds"])
    return [
        f"{row['name']}: face pack, {row['for']}",
        f"  opened by      {row['backend']}",
        f"  licence        {row['licence']}",
        f"  commercial     {sell}",
        f"  can check      {', '.join(map(str, _list(row['can_check'])))}",
        *(
            f"  {role:<14} {name}, same person from cosine {limit}; {notes.get(name, 'calibrated')}"
            for role, (name, limit) in zip(("selects with", "reports with"), limits.items(), strict=True)
        ),
        f"  on this disk   {'yes' if row['installed'] else 'no'}; {row['size_mb']} MB to download",
    ]


def _line(row: Row) -> str:
    can = _list(row["can_check"])
    cells = "".join(f"{_cell(row, what, what in can):>{len(name) + 2}}" for name, what in _COLUMNS)
    here = "yes" if row["installed"] else "no"
    return (
        f"{row['name']:<12} {row['backend']:<12} {row['commercial']:<6} {row['size_mb']:>4}  {here:<4}{cells}"
    )


def _cell(row: Row, what: str, can: bool) -> str:
    return "yes" if can else "*" if what == "other people" and row["name"] != EMBEDDED else "-"


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else []


def _mapping(value: object) -> Mapping[object, object]:
    return value if isinstance(value, dict) else {}
