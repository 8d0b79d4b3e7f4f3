"""`publish LIKENESS_DIR --series S`: a series as others get it, its finished pictures or its portraits.

Both layers of marks are in every copy, the visible label where it is wanted, and `delivery.json` says what
was handed over.  Without consent for the purpose nothing is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
from PIL import Image

from portrait_lora import manifest
from portrait_lora.errors import InputError
from portrait_lora.generation import publish
from portrait_lora.generation.label import Box, labelled
from portrait_lora.likeness import open_likeness
from portrait_lora.results import Value
from portrait_lora.rights import consent
from portrait_lora.stages import finish
from portrait_lora.stages.context import Context
from portrait_lora.stages.generate import purposes_of
from portrait_lora.tasks import detect, outside

Audience = Literal["eu", "anywhere"]
Purpose = Literal["portraits", "commercial"]
LABELLED: Final = frozenset({"eu"})
"""Where Article 50(4) of the AI Act asks whoever publishes a deep fake to disclose it."""
NAME: Final = "delivery.json"


class Handed(Value):
    """One copy: its source within the likeness, its digest, and what `detect` says of its metadata."""

    source: str
    file: str
    sha256: str
    labelled: bool
    digital_source_type: str | None
    credentials: str


class Delivery(Value):
    """A series as it was handed over."""

    series: str
    audience: Audience
    purpose: Purpose
    finished: bool
    pictures: tuple[Handed, ...]
    folder: str


def deliver(
    root: Path,
    out: Path,
    *,
    series: str = "",
    audience: Audience = "anywhere",
    label: bool | None = None,
    commercial: bool = False,
    kind: publish.Format = "jpeg",
    quality: int = 92,
    overrides: Sequence[str] = (),
) -> Delivery:
    """Write the copies and `delivery.json` into `out`.

    `label` None: as series or brand sheet say, else wherever the audience has a right to it.  Raises
    `InputError` without consent for the purpose, without pictures, and for a picture without a corner for the
    label.
    """
    named = [f"generate.series={series}"] if series else []
    ctx = Context(open_likeness(root, [*overrides, *named]))
    is_commercial = commercial or "commercial" in purposes_of(ctx)
    purpose: Purpose = "commercial" if is_commercial else "portraits"
    consent.require_purposes(root, purpose)
    files, finished = _pictures(ctx)
    wanted = wants_label(ctx, audience, label)
    copies = publish.publish(files, out, kind, quality=quality, change=label_change(ctx) if wanted else None)
    outside.record(root, copies)
    delivery = delivery_of(ctx, files, copies, audience, purpose, labelled=wanted, finished=finished)
    delivery = delivery.model_copy(update={"folder": str(out)})
    manifest.write_json_atomic(out / NAME, delivery.json_value(), shared=True)
    outside.record(root, [out / NAME])
    return delivery


def delivery_of(
    ctx: Context,
    files: Sequence[Path],
    copies: Sequence[Path],
    audience: Audience,
    purpose: Purpose,
    *,
    labelled: bool,
    finished: bool,
) -> Delivery:
    """What was handed over, looked at in the copies as they are; `folder` is left empty."""
    rows = [_row(ctx, file, copy, labelled) for file, copy in zip(files, copies, strict=True)]
    return Delivery(
        series=ctx.series,
        audience=audience,
        purpose=purpose,
        finished=finished,
        pictures=tuple(rows),
        folder="",
    )


def label_change(ctx: Context) -> publish.Change:
    """Puts the visible label into a corner of a picture, never over a face."""
    return lambda picture: labelled(picture, _faces(ctx, picture))


def wants_label(ctx: Context, audience: Audience, label: bool | None) -> bool:
    """As `label` says, else series or brand sheet, else wherever the audience has a right to it."""
    if label is not None:
        return label
    from portrait_lora.generation.series import label_of

    asked_for = label_of(ctx.config.generate.series, ctx.config.generate.brand)
    return audience in LABELLED if asked_for is None else asked_for


def _pictures(ctx: Context) -> tuple[list[Path], bool]:
    """The finished pictures of the series, else its portraits."""
    folder = ctx.likeness.portraits(ctx.series)
    ends = folder.with_name(f"{folder.name}-finished")
    looks = sorted(p for p in ends.iterdir() if p.is_dir()) if ends.is_dir() else []
    for look in looks:
        if pictures := finish.pictures_of(look):
            return [file for _, file in sorted(pictures.items())], True
    portraits = sorted(folder.glob("*.png"))
    if not portraits:
        remedy = f"Draw it first: portrait-lora generate {ctx.likeness.root}"
        raise InputError("this series has no pictures", where=folder, remedy=remedy)
    return portraits, False


def _faces(ctx: Context, picture: Image.Image) -> list[Box]:
    faces = ctx.finder.find(np.asarray(picture.convert("RGB")))
    return [face.box_xyxy_px for face in faces]


def _row(ctx: Context, source: Path, copy: Path, wanted: bool) -> Handed:
    signed = detect.signed_mark(copy.read_bytes())
    return Handed(
        source=source.relative_to(ctx.likeness.root).as_posix(),
        file=copy.name,
        sha256=manifest.sha256_file(copy),
        labelled=wanted,
        digital_source_type=signed.digital_source_type if signed else None,
        credentials=signed.state if signed else "none",
    )
