"""Photos of the person shown to the base in context while it draws, for families whose pipelines take them.

The pipeline encodes each photo with the VAE and puts its patches behind those of the picture, at positions of
their own; so their order counts.  Tested with tiny random networks only, not with published weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, cast

from PIL import Image

from portrait_lora import manifest
from portrait_lora.errors import ConfigError, InputError
from portrait_lora.families.rows import ROWS, family_names, row_of
from portrait_lora.pictures.reader import read_rgb
from portrait_lora.records import FamilyName

KEY: Final = "reference_sha256"
"""In a generation record: the sha256 of every photo that was shown, in order."""
MIN_SIDE_PX: Final = 64
"""The pipelines of FLUX.2 take no smaller picture."""


def refuse_family(family: FamilyName, count: int, where: str = "generate.references") -> None:
    """Raise `ConfigError` for a family that takes no references, or fewer than `count`; `where` asks."""
    most = row_of(family).references
    if most == 0:
        raise ConfigError(
            "this family does not take reference photos",
            where=where,
            got=family,
            needed=family_names(row for row in ROWS.values() if row.references),
        )
    if count > most:
        raise ConfigError(
            "this family takes fewer reference photos", where=where, got=count, needed=f"at most {most}"
        )


def digests_of(references: Sequence[Path]) -> dict[str, object]:
    """What the generation record says of the references; nothing where none is shown."""
    return {KEY: [manifest.sha256_file(path) for path in references]} if references else {}


def recorded(record: Mapping[str, object]) -> list[str]:
    """The digests in a generation record, in the order in which the photos were shown."""
    return [str(one) for one in cast(Sequence[object], record.get(KEY) or ())]


def read_references(references: Sequence[Path]) -> list[Image.Image]:
    """The pictures that the pipeline is called with: whole, RGB, in order; it crops them to its patches.

    Raises `InputError` for one that cannot be read, or is too small.
    """
    return [_read(path) for path in references]


def _read(path: Path) -> Image.Image:
    try:
        picture = Image.fromarray(read_rgb(path))
    except InputError as error:
        raise InputError("a reference photo cannot be read", where=path, got=error.what) from error
    if min(picture.size) < MIN_SIDE_PX:
        raise InputError(
            "a reference photo is too small",
            where=path,
            got=f"{picture.width}x{picture.height} px",
            needed=f"at least {MIN_SIDE_PX} px on each side",
        )
    return picture
