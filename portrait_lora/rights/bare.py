"""Files without their credentials: what can be compared when signatures hold times or salts."""

from __future__ import annotations

import io
import struct

from PIL import Image

from portrait_lora.rights import credentials


def bare(data: bytes) -> bytes:
    """A PNG, JPEG or WebP without its credentials, to the byte as it was before it was signed."""
    kind = credentials.sniffed(data)
    if not credentials.carries(data):
        return data
    if kind == "PNG":
        return _without_chunks(data, 8, ">I", 4, 12, b"caBX")
    if kind == "JPEG":
        return _without_segments(data)
    if kind == "WEBP":
        body = _without_chunks(data, 12, "<I", 0, 8, b"C2PA")
        return body[:4] + struct.pack("<I", len(body) - 8) + body[8:]
    return data


def same(a: bytes, b: bytes) -> bool:
    """Whether two files are the same but for their credentials, which may hold a time stamp.

    TIFF and AVIF are laid out anew when they are signed: what they show and say is compared.
    """
    if a == b or bare(a) == bare(b):
        return True
    kind = credentials.sniffed(a)
    return kind in ("TIFF", "AVIF") and kind == credentials.sniffed(b) and _shown(a) == _shown(b)


def _shown(data: bytes) -> tuple[object, ...]:
    with Image.open(io.BytesIO(data)) as picture:
        facts = [picture.info.get(key) for key in ("icc_profile", "dpi", "duration", "xmp")]
        frames: list[bytes] = []
        for frame in range(getattr(picture, "n_frames", 1)):
            picture.seek(frame)
            frames.append(picture.tobytes())
        return (picture.mode, picture.size, *map(str, facts), *frames)


def _without_chunks(data: bytes, at: int, length: str, length_at: int, extra: int, name: bytes) -> bytes:
    """A file of chunks without those of one name.  WebP names first and pads to even lengths."""
    webp = length == "<I"
    out = [data[:at]]
    while at + 8 <= len(data):
        size = struct.unpack_from(length, data, at + (4 if webp else 0))[0]
        end = at + size + extra + (size & 1 if webp else 0)
        if data[at + (0 if webp else 4) :][:4] != name:
            out.append(data[at:end])
        at = end
    return b"".join(out)


def _without_segments(data: bytes) -> bytes:
    """A JPEG without its APP11 segments (ISO 19566-5, where JUMBF lies)."""
    out, at = [data[:2]], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] != 0xEB:
            out.append(data[at:end])
        at = end
    return b"".join([*out, data[at:]])
