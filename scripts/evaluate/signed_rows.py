"""Rows about signed credentials, for the evaluation of marks: valid, chained, and every change is seen."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from PIL import Image

from portrait_lora import provenance
from portrait_lora.rights import credentials, marks

OPTIONS: Final[dict[credentials.Format, dict[str, Any]]] = {
    "PNG": {},
    "JPEG": {"quality": 92},
    "WEBP": {"quality": 90},
    "TIFF": {"compression": "tiff_lzw"},
    "AVIF": {"quality": 80},
}


def rows(pictures: int, seed: int = 0) -> list[dict[str, object]]:
    """Three rows over `pictures` made-up pictures in turn in five formats, each drawn, edited and published.

    A change is one flipped bit of the encoded picture.
    """
    valid = chained = seen = 0
    for number, (kind, picture) in enumerate(_pictures(pictures, seed)):
        drawn = marks.encode(picture, kind, marks.DRAWN, **OPTIONS[kind])
        edited = _next(drawn, "c2pa.edited: finish", kind)
        published = _next(edited, "c2pa.published", kind)
        stated = credentials.read(published, kind)
        valid += stated is not None and stated.state == "valid" and not stated.problems
        chained += stated is not None and stated.actions == (
            "c2pa.created", "c2pa.opened", "c2pa.edited", "c2pa.opened", "c2pa.published",
        )  # fmt: skip
        after = credentials.read(_changed(published, kind, seed + number), kind)
        seen += after is not None and after.state == "invalid"
    return [
        _row("published files that c2pa's validator finds valid", valid, pictures),
        _row("edits chain to the picture that was drawn", chained, pictures),
        _row("a changed picture is found", seen, pictures),
    ]


def _pictures(count: int, seed: int) -> Iterator[tuple[credentials.Format, Image.Image]]:
    random = np.random.default_rng(seed)
    kinds = tuple(OPTIONS)
    for number in range(count):
        width, height = (int(v) for v in random.integers(64, 384, 2))
        small = random.integers(0, 256, (9, 9, 3), dtype=np.uint8)
        yield (
            kinds[number % len(kinds)],
            Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC),
        )


def _next(before: bytes, edit: str, kind: credentials.Format) -> bytes:
    with Image.open(io.BytesIO(before)) as opened:
        picture = opened.convert("RGB")
    return marks.encode(picture, kind, marks.Origin(provenance.TRAINED, (edit,), before), **OPTIONS[kind])


def _changed(data: bytes, kind: credentials.Format, seed: int) -> bytes:
    """One byte of the encoded picture flipped; it starts behind the credentials in every format."""
    start = {"PNG": b"IDAT", "JPEG": b"\xff\xda", "WEBP": b"VP8 ", "AVIF": b"mdat"}.get(kind)
    begin = data.rindex(start) + 32 if start else 64
    out = bytearray(data)
    out[begin + int(np.random.default_rng(seed).integers(0, max(1, min(400, len(data) - begin - 16))))] ^= 1
    return bytes(out)


def _row(name: str, hits: int, n: int) -> dict[str, object]:
    share = hits / n
    return {
        "name": name,
        "value": share,
        "unit": "",
        "n": n,
        "target": 1.0,
        "met": share >= 1.0,
        "ci95": None,
    }
