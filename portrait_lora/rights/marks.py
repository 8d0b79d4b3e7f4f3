"""Both layers of marks, in the one place that every picture passes on its way to a file or a browser.

`encode` writes a picture with XMP and signed credentials, `watermarked` marks its pixels.  What a trained
model drew carries both; what a program rendered, or a photograph that was only edited, carries what is true
of it.
`tests/rights/test_every_writer.py` fails for a writer that goes another way.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from portrait_lora import provenance
from portrait_lora.errors import ArtifactError
from portrait_lora.records import RGBImage
from portrait_lora.rights import credentials, identity, policy
from portrait_lora.rights.credentials import Format, Parent
from portrait_lora.rights.watermark import embedded, payload_of

if TYPE_CHECKING:
    from portrait_lora.rights.watermark.tiled import TiledWatermark

_log = logging.getLogger(__name__)
WATERMARK: Final = "watermark"
"""Key in the versions of a record: the pixels were marked, by the scheme of this name."""
WATERMARKED: Final = "c2pa.watermarked.unbound"
"""The action that states it (C2PA 2.2, 18.13): a mark that leads to no manifest."""
_CHUNKS: Final = ("parameters", provenance.RECIPE_KEY)
_REPORTED: set[str] = set()
_OF_STEP: Final = {
    "crop": "c2pa.cropped",
    "format": "c2pa.resized",
    "grade": "c2pa.color_adjustments",
    "upscale": "c2pa.resized",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """How a picture came to be.

    `source` None: a photograph.  `edits` are C2PA actions (`c2pa.edited: words`) on `parent`, the file that
    it was made from, whose own credentials are kept; without a parent it was created.
    """

    source: provenance.SourceType | None
    edits: tuple[str, ...] = ()
    parent: Path | bytes | None = None
    tool: str = provenance.CREATOR


WORKING_PX: Final = 256
"""Drawn pictures with a shorter side below this are working material: the watermark would be seen in them,
most of all in what finishing enlarges.  They are signed at once, and marked when they leave."""
DRAWN: Final = Origin(provenance.TRAINED)
"""A picture of drawn pictures, such as a contact sheet."""


def of_copy(path: Path, *edits: str) -> Origin:
    """The origin of a copy of a picture, with its own source type; edits make the picture its parent."""
    tool = provenance.STUDIO if provenance.is_studio_picture(path) else provenance.CREATOR
    return Origin(source_of(path), edits, path if edits else None, tool)


def source_of(path: Path) -> provenance.SourceType | None:
    """The source type in the picture's XMP or, where that was taken away, in its credentials."""
    kind = provenance.source_type(path)
    if kind is None and (data := _bytes_of(path)) is not None and credentials.carries(data):
        known = credentials.sniffed(data)
        kind = stated.digital_source_type if known and (stated := credentials.read(data, known)) else None
    return _known(kind)


def of_packet(packet: bytes) -> provenance.SourceType | None:
    """The source type that an XMP packet states."""
    return _known(provenance.source_in(packet))


def _known(kind: str | None) -> provenance.SourceType | None:
    known = (provenance.TRAINED, provenance.ALGORITHMIC)
    return cast(provenance.SourceType, kind) if kind in known else None


def seal(data: bytes, origin: Origin) -> bytes:
    """The bytes of a picture or clip with credentials, signed by this machine's signer; pixels stay.

    A photograph that was not made from another file is left as it is.  Raises what `identity.current` does,
    and `ArtifactError` for a format that cannot hold credentials: nothing leaves unmarked.
    """
    parent = _parent(origin)
    if origin.source is None and parent is None:
        return data
    kind = credentials.sniffed(data)
    if kind is None:
        raise ArtifactError("this kind of file cannot hold credentials", got=data[:12].hex())
    signer, authority = identity.current(), policy.current().signing.timestamp
    edits = origin.edits or (("c2pa.edited",) if parent else ())
    signed = partial(credentials.sign, data, kind, signer, origin.source, edits=edits, parent=parent)
    if authority:
        try:
            return signed(timestamp_authority=authority)
        except credentials.TimeStampMissing as error:  # offline: signed all the same
            _warn(f"no time stamp: {error}")
    return signed()


def _parent(origin: Origin) -> Parent | None:
    data = origin.parent if isinstance(origin.parent, bytes) else _bytes_of(origin.parent)
    kind = credentials.sniffed(data) if data else None
    if not data or kind is None:
        return None
    # Of an edited photograph there is nothing to keep where it says nothing.
    return Parent(data, kind) if origin.source or credentials.carries(data) else None


def _bytes_of(path: Path | None) -> bytes | None:
    try:
        return path.read_bytes() if path is not None else None
    except OSError:
        return None


def encode(
    picture: Image.Image,
    kind: Format,
    origin: Origin,
    *,
    texts: Mapping[str, str] | None = None,
    sealed: bool = True,
    **options: Any,
) -> bytes:
    """The file of a picture: XMP of its source type, further texts (PNG), credentials.

    `options` are Pillow's.  With `sealed` False the caller seals the bytes itself.
    """
    buffer = io.BytesIO()
    packet = provenance.xmp_packet(origin.source, creator_tool=origin.tool) if origin.source else ""
    if kind == "PNG":
        info = PngInfo()
        for key, text in (({provenance.XMP_KEY: packet} if packet else {}) | dict(texts or {})).items():
            info.add_itxt(key, text)
        options["pnginfo"] = info
    elif kind == "TIFF":
        options |= {"tiffinfo": provenance.tiff_tags(packet.encode())} if packet else {}
    elif packet:
        options["xmp"] = packet.encode()
    picture.save(buffer, kind, **options)
    return seal(buffer.getvalue(), origin) if sealed else buffer.getvalue()


def watermark() -> TiledWatermark:
    """The watermark of this installation."""
    return embedded()


def version() -> dict[str, str]:
    """The watermark's name, for the versions in a record."""
    return {WATERMARK: watermark().name}


def watermarked(rgb: RGBImage, recipe: str, *, mask_HW: np.ndarray | None = None) -> RGBImage:
    """The picture with the watermark; the same for the same arguments.

    `recipe` is that of the first picture of a chain of edits, so that all of them carry one number.  With
    `mask_HW` all stays to the bit where it is 0.  Pictures that are too small stay as they are.
    """
    mark = watermark()
    if min(rgb.shape[:2]) < mark.min_side_px:
        return rgb
    marked = mark.embed(rgb, payload_of(recipe))
    return marked if mask_HW is None else np.where((mask_HW > 0)[..., None], marked, rgb)


def settled(picture: Image.Image, recipe: str) -> str:
    """What `watermarked` settles on for the whole of this picture, as a text for its record; empty for one
    that is too small."""
    rgb, mark = np.asarray(picture.convert("RGB")), watermark()
    return mark.settle(rgb, payload_of(recipe))[1] if min(rgb.shape[:2]) >= mark.min_side_px else ""


def repeated(rgb: RGBImage, recipe: str, settled: str, delivered: RGBImage | None = None) -> RGBImage:
    """The picture with the watermark as it was `settled`; with `delivered`, that picture as it was marked,
    what was not edited since stays to the bit.  Raises `ArtifactError` for a damaged text."""
    return watermark().repeat(rgb, payload_of(recipe), settled, delivered)


def is_marked_when_drawn(size_px: tuple[int, int]) -> bool:
    """Whether a drawn picture of this size carries the watermark from the first."""
    return min(size_px) >= max(WORKING_PX, watermark().min_side_px)


def marked_picture(picture: Image.Image, recipe: str, settled: str = "") -> Image.Image:
    """`watermarked`, or `repeated` by what was settled, for a picture with or without alpha."""
    alpha = picture.getchannel("A") if "A" in picture.getbands() else None
    rgb = np.asarray(picture.convert("RGB"))
    marked = Image.fromarray(repeated(rgb, recipe, settled) if settled else watermarked(rgb, recipe))
    if alpha is not None:
        marked.putalpha(alpha)
    return marked


def is_watermarked(path: Path) -> bool:
    """Whether the credentials of a picture hold and state that its pixels, or those it was made from, are
    marked.  Looking for the mark itself takes seconds; a second one over it would only be seen more."""
    data = _bytes_of(path)
    kind = credentials.sniffed(data) if data else None
    stated = credentials.read(data, kind) if data and kind else None
    return stated is not None and stated.state != "invalid" and WATERMARKED in stated.actions


def holds_mark(picture: Image.Image, source: Path) -> bool:
    """Whether pixels that were made from `source` still carry its watermark, all over and to be read.

    Pixels of a picture whose credentials hold and state none are not searched, which would take seconds.
    """
    if credentials.carries(_bytes_of(source) or b"") and not is_watermarked(source):
        return False
    reading = watermark().detect(np.asarray(picture.convert("RGB")))
    return reading is not None and reading.payload.is_ours and reading.whole


def outgoing(path: Path, *, is_shown: bool = False) -> bytes:
    """The bytes of a picture that leaves as it is; with `is_shown`, for looking at it in one's own studio.

    Most of what this version wrote has both layers.  Small drawn pictures get the watermark on the way out,
    pictures of an earlier version both, with their texts; the file stays.
    """
    data = path.read_bytes()
    kind = credentials.sniffed(data)
    source = source_of(path)
    if source is None or kind is None:
        return data
    is_signed = credentials.carries(data)
    if is_signed and (is_shown or source != provenance.TRAINED or is_watermarked(path)):
        return data
    with Image.open(io.BytesIO(data)) as opened:
        if getattr(opened, "is_animated", False):
            return data if is_signed else seal(data, Origin(source))
        info, picture = dict(opened.info), opened.copy()
    edits: tuple[str, ...] = ()
    if source == provenance.TRAINED and min(picture.size) >= watermark().min_side_px:
        picture, edits = marked_picture(picture, path.name), (WATERMARKED,)
    elif is_signed:
        return data
    texts = {key: str(info[key]) for key in _CHUNKS if key in info}
    options: dict[str, Any] = {k: info[k] for k in ("icc_profile", "dpi", "exif") if info.get(k)}
    options |= {"quality": 95} if kind in ("JPEG", "WEBP", "AVIF") else {}
    options |= {"subsampling": 0} if kind == "JPEG" else {}
    parent = data if is_signed else None
    return encode(picture, kind, Origin(source, edits, parent), texts=texts, **options)


def _warn(line: str) -> None:
    """Once, not for every picture of a series."""
    if line not in _REPORTED:
        _REPORTED.add(line)
        _log.warning("%s", line)


def require_ready() -> None:
    """`InputError` when nothing could be signed, before hours of drawing."""
    identity.current()


def step_actions(names: Sequence[str]) -> tuple[str, ...]:
    """C2PA actions for the steps of finishing, in their order."""
    return tuple(f"{_OF_STEP.get(name, 'c2pa.edited')}: {name}" for name in names)
