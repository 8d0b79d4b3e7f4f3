"""Provenance of a picture: the generation record in the PNG, and the XMP mark of generated media.

`Iptc4xmpExt:DigitalSourceType` says how a picture came to be (IPTC Photo Metadata Standard 2023.2, code
list http://cv.iptc.org/newscodes/digitalsourcetype/).  Portraits are `trainedAlgorithmicMedia`; renders
of the synthetic studio are `algorithmicMedia` and name the studio, so that they can be told from photos.

The studio's mark holds the digest of the picture that it stands in: its text, copied into a photograph,
counts for nothing.  It is no signature: whoever computes the digest of a photograph can write such a mark.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal, cast
from xml.sax.saxutils import escape

from PIL import Image, TiffTags
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from portrait_lora import record_limits, strict_json
from portrait_lora.errors import ArtifactError

SourceType = Literal["trainedAlgorithmicMedia", "algorithmicMedia"]
TRAINED: Final = "trainedAlgorithmicMedia"
ALGORITHMIC: Final = "algorithmicMedia"
CREATOR: Final = "portrait_lora"
STUDIO: Final = "portrait_lora synthetic studio"
RECIPE_KEY: Final = "portrait_lora"
NO_RECORD: Final = "the picture has no generation record"
XMP_KEY: Final = "XML:com.adobe.xmp"
VOCABULARY: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_SOURCE: Final = re.compile(r"DigitalSourceType\s{0,20}(?:>|=\s{0,20}[\"'])([^<>\"']{0,300})")
_KIND: Final = re.compile(r"digitalsourcetype/(\w{1,80})")
_TOOL: Final = re.compile(r"CreatorTool\s{0,20}(?:=\s{0,20}[\"']|>)([^<\"']{1,300})")
"""Every run has a bound: a packet of nothing but spaces costs no more than its length."""
_MAX_PACKET: Final = 1_000_000
_MAX_RECIPE_BYTES: Final = 8 * 1024 * 1024
_CONTENT: Final = re.compile(r"<studio:Content>([0-9a-f]{64})</studio:Content>")
_MOST_BYTES: Final = 200_000_000
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PNG_CONTENT: Final = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")
_JPEG_XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"
_TIFF_XMP: Final = 700
_START_OF_SCAN: Final = 0xDA
_COMMENT: Final = 0xFE
_APPLICATION: Final = range(0xE0, 0xF0)


def xmp_packet(
    source: SourceType = TRAINED, *, creator_tool: str = CREATOR, content: str | None = None
) -> str:
    """The XMP packet that carries the mark; the same bytes for the same arguments.

    `content` is the `content_digest` of the picture that the mark is bound to.
    """
    bound = f"   <studio:Content>{content}</studio:Content>\n" if content else ""
    space = '\n    xmlns:studio="urn:portrait-lora:studio:1"' if content else ""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        ' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
        '  <rdf:Description rdf:about=""\n'
        '    xmlns:xmp="http://ns.adobe.com/xap/1.0/"\n'
        '    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
        f"{space}>\n"
        f"   <xmp:CreatorTool>{escape(creator_tool)}</xmp:CreatorTool>\n"
        f"   <Iptc4xmpExt:DigitalSourceType>{VOCABULARY}{source}</Iptc4xmpExt:DigitalSourceType>\n"
        f"{bound}"
        "  </rdf:Description>\n"
        " </rdf:RDF>\n"
        "</x:xmpmeta>\n"
        '<?xpacket end="w"?>'
    )


def png_info(record: object | None, source: SourceType = TRAINED, *, creator_tool: str = CREATOR) -> PngInfo:
    """Text chunks for `Image.save(pnginfo=…)`: the XMP mark, and the record as JSON unless None."""
    info = PngInfo()
    info.add_itxt(XMP_KEY, xmp_packet(source, creator_tool=creator_tool))
    if record is not None:
        info.add_itxt(RECIPE_KEY, json.dumps(record, sort_keys=True, ensure_ascii=False))
    return info


def xmp_bytes(source: SourceType, *, creator_tool: str = CREATOR) -> bytes:
    """For `Image.save(..., xmp=…)` of a JPEG or WebP."""
    return xmp_packet(source, creator_tool=creator_tool).encode()


def tiff_tags(mark: bytes) -> ImageFileDirectory_v2:
    """For `Image.save(..., tiffinfo=…)`: XMP in tag 700 (Adobe, XMP Specification Part 3, 2.3.4)."""
    tags = ImageFileDirectory_v2()
    tags[_TIFF_XMP] = mark
    tags.tagtype[_TIFF_XMP] = TiffTags.BYTE
    return tags


def _texts(path: Path | io.BytesIO) -> Mapping[object, object]:
    """What a picture carries beside its pixels, as Pillow sees it before it decodes any.

    Raises `ArtifactError` for a file that Pillow cannot open, for whatever reason: its parsers answer damaged
    bytes with nearly every exception there is.
    """
    try:
        with Image.open(path) as picture:
            return cast(Mapping[object, object], dict(picture.info))
    except Exception as error:
        raise ArtifactError(
            "the picture cannot be read", where=path if isinstance(path, Path) else None, got=str(error)[:200]
        ) from error


def inherited(path: Path) -> bytes:
    """The mark for a copy of a picture, such as a thumbnail: its own, or empty where it has none."""
    marked = source_type(path)
    for source in (TRAINED, ALGORITHMIC):
        if marked == source:
            studio = is_studio_picture(path)
            return xmp_bytes(cast(SourceType, source), creator_tool=STUDIO if studio else CREATOR)
    return b""


def _packet(path: Path | io.BytesIO) -> str:
    try:
        info = _texts(path)
    except ArtifactError:
        return ""
    raw = info.get("xmp") or info.get(XMP_KEY) or b""
    text = raw[:_MAX_PACKET].decode(errors="replace") if isinstance(raw, bytes) else str(raw)
    return text[:_MAX_PACKET]


def _source(packet: str) -> str | None:
    return next((kind[1] for one in _SOURCE.finditer(packet) if (kind := _KIND.search(one[1]))), None)


def source_in(packet: bytes | str) -> str | None:
    """The digital source type that an XMP packet states."""
    text = packet.decode(errors="replace") if isinstance(packet, bytes) else packet
    return _source(text[:_MAX_PACKET])


def source_type(path: Path | io.BytesIO) -> str | None:
    """The digital source type (`trainedAlgorithmicMedia`, …) of a picture, or of its bytes; None when it
    carries none."""
    return _source(_packet(path))


def content_digest(data: bytes) -> str | None:
    """Hex sha256 of what a JPEG or PNG file shows, without its metadata; None for other formats.

    Nothing is decoded: a file that is cut short has a digest too, of what is left of it.
    """
    if data.startswith(b"\xff\xd8"):
        parts = _jpeg_content(data)
    elif data.startswith(_PNG):
        parts = (payload for name, payload in _png_chunks(data) if name in _PNG_CONTENT)
    else:
        return None
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()


def studio_marked(data: bytes) -> bytes:
    """A JPEG or PNG file of the studio with its mark in it, bound to the picture; the pixels stay.

    Raises `ArtifactError` for other formats.
    """
    digest = content_digest(data)
    if digest is None:
        raise ArtifactError("the studio marks JPEG and PNG only", got=data[:4].hex())
    packet = xmp_packet(ALGORITHMIC, creator_tool=STUDIO, content=digest).encode()
    if data.startswith(_PNG):
        text = XMP_KEY.encode() + b"\0\0\0\0\0" + packet
        chunk = struct.pack(">I", len(text)) + b"iTXt" + text + struct.pack(">I", zlib.crc32(b"iTXt" + text))
        at = len(_PNG) + 12 + struct.unpack(">I", data[8:12])[0]
        return data[:at] + chunk + data[at:]
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1] in _APPLICATION:
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    segment = _JPEG_XMP + packet
    return data[:at] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[at:]


def _jpeg_content(data: bytes) -> Iterator[bytes]:
    """The segments of a JPEG but for comments and those of applications, and all from the first scan on."""
    at = 2
    while at + 4 <= len(data):
        marker = data[at + 1]
        if data[at] != 0xFF or marker == _START_OF_SCAN:
            break
        end = at + 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
        if marker not in _APPLICATION and marker != _COMMENT:
            yield data[at:end]
        at = end
    yield data[at:]


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(_PNG)
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length


def is_studio_picture(path: Path) -> bool:
    """Whether the synthetic studio's mark is in the picture and bound to it; anything else counts as real."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            return False
        data = path.read_bytes()
    except OSError:
        return False
    packet = _packet(io.BytesIO(data))
    tool, content = _TOOL.search(packet), _CONTENT.search(packet)
    if _source(packet) != ALGORITHMIC or tool is None or tool[1].strip() != STUDIO or content is None:
        return False
    return content[1] == content_digest(data)


def is_unmarked_picture(path: Path) -> bool:
    """Whether a file counts as a real photograph: all that is not the studio's, readable or not."""
    return not is_studio_picture(path)


def read_record(path: Path) -> dict[str, object]:
    """The generation record in a PNG of ours.  Raises `ArtifactError` when it is missing or implausible."""
    text = _texts(path).get(RECIPE_KEY)
    if not isinstance(text, str):
        raise ArtifactError(NO_RECORD, where=path, needed="a PNG made by this program, unedited")
    record = strict_json.parse_object(text, path, "generation record", max_bytes=_MAX_RECIPE_BYTES)
    record_limits.refuse(record, path)
    return record
