"""`detect`: which marks of generated media a picture carries, by whoever made it.  No network is used.

Three marks are looked for: the source type in XMP, signed credentials (C2PA), and the watermark in the
pixels.  Metadata is lost when a picture is sent through many a messenger; the watermark stays, but says less.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

from portrait_lora import provenance
from portrait_lora.errors import InputError
from portrait_lora.pictures.reader import MAX_PIXELS, UnreadablePhoto, decode_photo
from portrait_lora.records import RGBImage
from portrait_lora.results import Number, Value
from portrait_lora.rights import credentials, identity, marks

SUFFIXES: Final = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".avif", ".heic", ".heif", ".mp4"}
)
MOST_BYTES: Final = 1 << 30
Verdict = Literal["both layers", "metadata alone", "watermark alone", "no marks", "not read"]
ORIGINS: Final = {
    "this machine": "signed by the local certificate of this machine; elsewhere it counts as untrusted",
    "unverified": "signed, but by whom nobody vouches for: anybody can write such a name",
    "broken": "the signature does not hold",
}
NO_WATERMARK: Final = "none was found, which proves nothing"


class SignedMark(Value):
    """Credentials: `state` as the validator of C2PA calls it, and what is known of the signer.

    `altered`: the picture or its statement is not what was signed.  `actions` are oldest first.
    """

    state: Literal["trusted", "valid", "invalid"]
    origin: Literal["this machine", "trusted authority", "unverified", "broken"]
    signer: str
    generator: str
    altered: bool
    digital_source_type: str | None
    signed_at: str | None
    actions: tuple[str, ...]
    before: tuple[str, ...]
    problems: tuple[str, ...]


class PixelMark(Value):
    """The watermark: `tool` and `picture` (hex) as its payload says, `whole` False where a part lacks it."""

    tool: str
    picture: str
    confidence: Number
    corrected_bits: int
    whole: bool


class Detected(Value):
    """What one file carries.  `metadata_type` is its XMP; `problem` says why it was not read."""

    file: str
    verdict: Verdict
    generated: bool
    metadata_type: str | None
    credentials: SignedMark | None
    watermark: PixelMark | None
    problem: str = ""


class Detection(Value):
    """All files.  `false_positive_rate` is how often an unmarked picture is called watermarked, by design."""

    files: tuple[Detected, ...]
    false_positive_rate: Number
    watermark: str


def detect(path: Path, authorities: bytes | None = None) -> Detection:
    """The marks of a picture, or of all pictures below a folder.

    `authorities` are PEM certificates whose signatures are trusted.  A file in a folder that cannot be
    read is reported; alone it is an `InputError`, as is a folder without pictures.
    """
    if not path.exists():
        raise InputError("no such file or folder", where=path)
    files = list(_pictures(path)) if path.is_dir() else [path]
    if not files:
        raise InputError("no pictures in this folder", where=path, needed=", ".join(sorted(SUFFIXES)))
    rows = [one(file, authorities) for file in files]
    if path.is_file() and rows[0].verdict == "not read":
        raise InputError("not a picture that can be looked at", where=path, got=rows[0].problem)
    return of_rows(rows)


def of_rows(rows: Sequence[Detected]) -> Detection:
    """Files that were looked at, with what is known of the watermark that was looked for."""
    mark = marks.watermark()
    return Detection(files=tuple(rows), false_positive_rate=mark.false_positive_rate, watermark=mark.name)


def one(path: Path, authorities: bytes | None = None) -> Detected:
    """The marks of one file; never raises for what is in it."""
    try:
        if path.stat().st_size > MOST_BYTES:
            return _not_read(str(path), "a file of more than a gigabyte")
        data = path.read_bytes()
    except OSError as error:
        return _not_read(str(path), error.strerror or str(error))
    return of_bytes(str(path), data, authorities)


def of_bytes(
    name: str, data: bytes, authorities: bytes | None = None, *, max_pixels: int = MAX_PIXELS
) -> Detected:
    """The marks in the bytes of one file; never raises for what is in it.

    A picture with more pixels than `max_pixels` is not decoded: what its metadata says is read all the same.
    """
    signed = signed_mark(data, authorities)
    kind = provenance.source_type(io.BytesIO(data))
    pixels, problem = None, ""
    if credentials.sniffed(data) != "MP4":
        try:
            pixels = _pixel_mark(decode_photo(name, data, max_pixels=max_pixels))
        except UnreadablePhoto as error:
            problem = error.message()
            if signed is None and kind is None:
                return _not_read(name, problem)
    stated = kind or (signed.digital_source_type if signed else None)
    metadata = stated is not None
    verdict: Verdict = (
        ("both layers" if pixels else "metadata alone")
        if metadata
        else ("watermark alone" if pixels else "no marks")
    )
    generated = pixels is not None or stated in (provenance.TRAINED, provenance.ALGORITHMIC)
    return Detected(
        file=name,
        verdict=verdict,
        generated=generated,
        metadata_type=kind,
        credentials=signed,
        watermark=pixels,
        problem=problem,
    )


def signed_mark(data: bytes, authorities: bytes | None = None) -> SignedMark | None:
    """The credentials in a file's bytes; None where there are none."""
    kind = credentials.sniffed(data)
    if kind is None:
        return None
    stated = credentials.read(data, kind, authorities)
    if stated is None:
        return None
    origin: Literal["this machine", "trusted authority", "unverified", "broken"] = "unverified"
    if stated.state == "invalid":
        origin = "broken"
    elif stated.state == "trusted":
        origin = "trusted authority"
    else:
        own = credentials.read(data, kind, identity.known())
        if own is not None and own.state == "trusted":
            origin = "this machine"
    return SignedMark(
        state=stated.state,
        origin=origin,
        signer=stated.signer,
        generator=stated.generator,
        altered=stated.altered,
        digital_source_type=stated.digital_source_type,
        signed_at=stated.signed_at,
        actions=stated.actions,
        before=stated.before,
        problems=stated.problems,
    )


def _pixel_mark(pixels: RGBImage) -> PixelMark | None:
    """The watermark of the upright picture, the first frame of a moving one."""
    reading = marks.watermark().detect(pixels)
    if reading is None:
        return None
    return PixelMark(
        tool=provenance.CREATOR if reading.payload.is_ours else f"another tool ({reading.payload.tool})",
        picture=f"{reading.payload.picture:08x}",
        confidence=round(float(reading.confidence), 3),
        corrected_bits=int(reading.corrected_bits),
        whole=bool(reading.whole),
    )


def in_words(row: Detected) -> list[str]:
    """A few lines for one file."""
    head = f"{row.file}: {row.verdict}" + (f" ({row.problem})" if row.problem else "")
    return [head, *(f"  {label:<11} {words}" for label, words in facts(row))]


def facts(row: Detected) -> list[tuple[str, str]]:
    """What each layer says, as a label and words; nothing for a file that was not read."""
    if row.verdict == "not read":
        return []
    rows = [
        ("XMP", row.metadata_type or "no source type"),
        ("credentials", _signed_words(row.credentials)),
    ]
    if row.credentials and row.credentials.actions:
        history = ", ".join(a.removeprefix("c2pa.") for a in row.credentials.actions)
        rows.append(("history", history))
    mark = row.watermark
    if mark is None:
        return [*rows, ("watermark", NO_WATERMARK)]
    part = "in the whole picture" if mark.whole else "in a part of the picture: the rest is not marked"
    return [
        *rows,
        ("watermark", f"{mark.tool}, picture {mark.picture}, {part}"),
        ("", f"confidence {mark.confidence:g}, bits mended: {mark.corrected_bits}"),
    ]


def rate_in_words(rate: Number) -> str:
    """The rate of false alarms as a sentence."""
    return f"A picture without a watermark is taken for marked with a probability of at most {rate:.0e}."


def _signed_words(signed: SignedMark | None) -> str:
    if signed is None:
        return "none"
    if signed.origin == "trusted authority":
        return f"trusted: {signed.signer}"
    if signed.origin == "broken":
        why = "the picture was changed since it was signed" if signed.altered else ORIGINS["broken"]
        return f"INVALID: {why}"
    name = f" ({signed.signer})" if signed.origin == "unverified" and signed.signer else ""
    return f"valid: {ORIGINS[signed.origin]}{name}"


def _not_read(name: str, problem: str) -> Detected:
    return Detected(
        file=name,
        verdict="not read",
        generated=False,
        metadata_type=None,
        credentials=None,
        watermark=None,
        problem=problem,
    )


def _pictures(folder: Path) -> Iterator[Path]:
    """Pictures below a folder in the order of their names; links and hidden files are left out."""
    for top, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(top) / name
            if path.suffix.lower() in SUFFIXES and not name.startswith(".") and not path.is_symlink():
                yield path
