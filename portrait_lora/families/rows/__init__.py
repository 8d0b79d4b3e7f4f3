"""The table of model families: one row each.  A new family is its class, its row here, and a recipe per base.

Torch-free.  Everything asks the table when it needs an answer, never at import: a row added to `ROWS` counts
at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

from portrait_lora.errors import InputError
from portrait_lora.families.base_model import BaseModel
from portrait_lora.families.row import FamilyRow
from portrait_lora.families.rows import (
    chroma,
    ernie_image,
    flux1,
    flux2,
    hidream,
    krea2,
    qwen_image,
    qwen_image21,
    qwen_image_edit,
    sana,
    sd15,
    sd35,
    sdxl,
    z_image,
)
from portrait_lora.records import FamilyName

EMBEDDED: Final = sd15.EMBEDDED
ROWS: Final[dict[FamilyName, FamilyRow]] = {
    module.ROW.name: module.ROW
    for module in (
        sd15,
        sdxl,
        sd35,
        flux1,
        flux2,
        z_image,
        qwen_image,
        qwen_image21,
        qwen_image_edit,
        krea2,
        chroma,
        sana,
        ernie_image,
        hidream,
    )
}


def row_of(family: FamilyName, *, where: object = "family") -> FamilyRow:
    """The row of a family.  Raises `InputError` with its name, and the nearest one, when there is none.

    `where` is what named the family: a file, or a setting.
    """
    if family in ROWS:
        return ROWS[family]
    close = difflib.get_close_matches(str(family), ROWS, 1, cutoff=0.5)
    raise InputError(
        "unknown model family",
        where=where,
        got=repr(family),
        needed=", ".join(ROWS),
        remedy=f"Did you mean {close[0]!r}?" if close else "",
    )


def bases() -> tuple[BaseModel, ...]:
    """Every base model that has a name, family by family."""
    return tuple(base for row in ROWS.values() for base in row.bases)


def family_names(rows: Iterable[FamilyRow]) -> str:
    """The names of some families, for an error."""
    return ", ".join(row.name for row in rows)
