"""Files of moving pictures, written frame by frame: no more than one frame is held at a time.

Animated WebP and AVIF are Pillow's.  MP4 (H.264) is ffmpeg's, through imageio-ffmpeg (BSD-2-Clause); its
wheels carry a build of ffmpeg with x264 under the GPL, which is the extra `mp4` and runs as a process of its
own.
"""

from __future__ import annotations

import hashlib
import io
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

from PIL import Image, features

from portrait_lora import provenance
from portrait_lora.errors import InputError, require_extra
from portrait_lora.records import RGBImage
from portrait_lora.rights import marks

Kind = Literal["webp", "avif", "mp4"]
DrawFrame = Callable[[int], RGBImage]
_XMP_BOX: Final = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
"""Type of the box that holds XMP (Adobe, XMP Specification Part 3, MPEG-4)."""
_AVIF_SPEED: Final = 8
_WEBP_METHOD: Final = 4


class Frames(Image.Image):
    """Frames as Pillow asks for them: each is drawn when it is sought."""

    is_animated: Final = True

    def __init__(self, size: tuple[int, int], count: int, draw: DrawFrame):
        super().__init__()
        self._size, self._mode = size, "RGB"
        self.n_frames, self._draw, self._at = count, draw, -1
        self.seek(0)

    def seek(self, frame: int) -> None:
        """Draw that frame.  Raises `EOFError` after the last, as Pillow's own pictures do."""
        if not 0 <= frame < self.n_frames:
            raise EOFError("no such frame")
        if frame != self._at:
            self.im, self._at = Image.fromarray(self._draw(frame)).im, frame

    def tell(self) -> int:
        """The frame that is held."""
        return self._at


def encoded(
    kind: Kind, size: tuple[int, int], count: int, fps: int, quality: int, draw: DrawFrame, mark: bytes
) -> bytes:
    """A file of `count` frames (w, h) that plays for ever (MP4: as its player likes), with the XMP packet.

    What a model drew is watermarked frame by frame; the file is signed.

    Raises `InputError` without what writes this kind of file.
    """
    require(kind)
    source = marks.of_packet(mark)
    origin = marks.Origin(source, (marks.WATERMARKED,) if source == provenance.TRAINED else ())
    shown = _watermarked(draw) if origin.source == provenance.TRAINED else draw
    data = _plain(kind, size, count, fps, quality, shown, mark)
    sealed = marks.seal(data, origin)
    if kind != "avif" or len(sealed) == len(data):
        return sealed
    # The C2PA library moves what the film points to, but not what the track's own metadata does.
    return marks.seal(_moved(data, len(sealed) - len(data)), origin)


def _watermarked(draw: DrawFrame) -> DrawFrame:
    """The same frames, all with the number that the first one gives."""
    recipes: list[str] = []

    def drawn(number: int) -> RGBImage:
        frame = draw(number)
        if not recipes:
            recipes.append(hashlib.sha256(frame.tobytes()).hexdigest())
        return marks.watermarked(frame, recipes[0])

    return drawn


def _plain(
    kind: Kind, size: tuple[int, int], count: int, fps: int, quality: int, draw: DrawFrame, mark: bytes
) -> bytes:
    if kind == "mp4":
        return _mp4(size, count, fps, quality, draw, mark)
    buffer = io.BytesIO()
    lasting = [round(1000 * (i + 1) / fps) - round(1000 * i / fps) for i in range(count)]
    options: dict[str, Any] = {"duration": lasting, "quality": quality} | ({"xmp": mark} if mark else {})
    moving = Frames(size, count, draw)
    if kind == "webp":
        moving.save(buffer, "WEBP", save_all=True, loop=0, method=_WEBP_METHOD, **options)
        return buffer.getvalue()
    moving.save(buffer, "AVIF", save_all=True, speed=_AVIF_SPEED, max_threads=1, **options)
    return _dateless(buffer.getvalue())


def require(kind: Kind) -> None:
    """Raise `InputError` without what writes this kind of file."""
    if kind == "mp4":
        require_extra("imageio_ffmpeg", "mp4")
    elif not features.check(kind):
        raise InputError(f"this Pillow cannot write {kind}", needed="a build of Pillow with it")


def _dateless(data: bytes) -> bytes:
    """An AVIF sequence whose dates of creation are zero: libavif writes the time of day into three boxes.

    They are the headers of film, track and medium (ISO/IEC 14496-12, 8.2.2, 8.3.2 and 8.4.2).
    """
    out = bytearray(data)
    spans = [(0, len(out))]
    while spans:
        at, end = spans.pop()
        while at + 8 <= end:
            length, name = struct.unpack_from(">I4s", out, at)
            if name in (b"moov", b"trak", b"mdia"):
                spans.append((at + 8, at + length))
            elif name in (b"mvhd", b"tkhd", b"mdhd"):
                wide = 8 if out[at + 8] == 1 else 4
                out[at + 12 : at + 12 + 2 * wide] = bytes(2 * wide)
            at += max(length, 8)
    return bytes(out)


def _moved(data: bytes, by: int) -> bytes:
    """An AVIF sequence whose tracks' items (their XMP) are looked for so many bytes later.

    Boxes of items as libavif writes them: version 0, offsets and lengths of four bytes (ISO/IEC 14496-12,
    8.11.3).
    """
    out = bytearray(data)
    spans, inside = [(0, len(out))], False
    while spans:
        at, end = spans.pop()
        while at + 8 <= end:
            length, name = struct.unpack_from(">I4s", out, at)
            if name in (b"moov", b"trak") or (inside and name == b"meta"):
                inside = inside or name == b"trak"
                spans.append((at + (12 if name == b"meta" else 8), at + length))
            elif inside and name == b"iloc" and out[at + 8] == 0 and out[at + 12] == 0x44:
                _shift_items(out, at + 14, by)
            at += max(length, 8)
    return bytes(out)


def _shift_items(out: bytearray, at: int, by: int) -> None:
    (items,) = struct.unpack_from(">H", out, at)
    at += 2
    for _ in range(items):
        (extents,) = struct.unpack_from(">H", out, at + 4)
        at += 6
        for _ in range(extents):
            struct.pack_into(">I", out, at, struct.unpack_from(">I", out, at)[0] + by)
            at += 8


def _mp4(size: tuple[int, int], count: int, fps: int, quality: int, draw: DrawFrame, mark: bytes) -> bytes:
    """H.264 in 4:2:0 by one thread and without a date, the mark in a box at its end."""
    import imageio_ffmpeg  # pyright: ignore[reportMissingImports]

    crf = round(40 - quality * 0.25)  # 20 at quality 80
    options = ["-crf", str(crf), "-threads", "1", "-map_metadata", "-1", "-movflags", "+faststart"]
    options += ["-fflags", "+bitexact", "-flags:v", "+bitexact"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        writer: Any = imageio_ffmpeg.write_frames(  # pyright: ignore[reportUnknownMemberType]
            str(path), size, fps=fps, codec="libx264", macro_block_size=2, quality=None, output_params=options
        )
        writer.send(None)
        try:
            for number in range(count):
                writer.send(draw(number).tobytes())
        finally:
            writer.close()
        data = path.read_bytes()
    return data + (struct.pack(">I4s", 24 + len(mark), b"uuid") + _XMP_BOX + mark if mark else b"")
