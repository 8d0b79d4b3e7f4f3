"""The rights of one configuration: its base's, its face pack's, and what follows for the results."""

from __future__ import annotations

from typing import cast

from portrait_lora.config import LikenessConfig
from portrait_lora.faces.packs import resolve_pack
from portrait_lora.families import catalog
from portrait_lora.rights import table as rights


def rights_of(config: LikenessConfig) -> tuple[rights.Right, ...]:
    """The rows of `rights.table`.  Raises what resolving the base and the pack raises."""
    base, pack = catalog.resolve_base(config.base), resolve_pack(config.face_pack)
    judged = cast(rights.Answer, pack.commercial if pack.commercial in ("yes", "no") else "conditional")
    how = {
        "yes": "May be used for portraits that are sold.",
        "no": "Not even for measuring: no step of commercial work may use it.",
        "conditional": "Its licence is not known here.",
    }
    return rights.table(
        rights.Right("base", base.name, base.licence, base.commercial, base.terms),
        rights.Right("face pack", pack.name, pack.licence, judged, how[judged]),
    )
