"""Base-model families: what differs between them stands behind six methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portrait_lora.families.catalog import BaseModel

if TYPE_CHECKING:
    from portrait_lora.families.family import Family


def open_family(base: BaseModel, device: str = "cpu") -> Family:
    """The family object of a base model; nothing is loaded before its `load` or `pipeline` is called."""
    if base.family == "sd15":
        from portrait_lora.families.sd15 import SD15

        return SD15(base, device)
    raise NotImplementedError(f"family {base.family!r} of base {base.name!r}")
