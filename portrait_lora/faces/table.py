"""What each face pack can check and whether it may be used commercially, for people and programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from portrait_lora.faces.install import installed
from portrait_lora.faces.known import KNOWN
from portrait_lora.faces.packs import EMBEDDED, resolve_pack

Row = Mapping[str, object]


def pack_table() -> list[Row]:
    """One row per pack: the embedded one as it is, the known ones as they are described."""
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
        "for": "photographs; not run on any yet where this was written",
    }


def pack_lines(rows: Sequence[Row]) -> list[str]:
    """The table for people."""
    head = f"{'face pack':<12} {'backend':<12} {'sell?':<6} {'MB':>5}  {'here':<5} can check"
    return [
        head,
        *(
            f"{r['name']:<12} {r['backend']:<12} {r['commercial']:<6} {r['size_mb']:>5}  "
            f"{'yes' if r['installed'] else 'no':<5} {', '.join(map(str, _list(r['can_check'])))}"
            for r in rows
        ),
    ]


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else []
