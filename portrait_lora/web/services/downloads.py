"""Pictures to take away: one file, or many in a zip that is written while it is sent.

`original` gives the files as they are, with the record of how each was made.  The other formats are copies
for publication (`generation.publish`): the mark of generated media stays, prompt and record do not.
"""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

from portrait_lora.errors import InputError
from portrait_lora.rights import marks
from portrait_lora.web.services.portraits import Drawn

DownloadFormat = Literal["original", "jpeg", "webp", "png"]
FORMATS: Final[tuple[DownloadFormat, ...]] = ("original", "jpeg", "webp", "png")
MAX_PICTURES: Final = 2000
MEDIA: Final = {
    ".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp", ".tif": "image/tiff",
}  # fmt: skip


def file_bytes(path: Path, wanted: DownloadFormat) -> tuple[bytes, str]:
    """The bytes of a picture in a format, and the suffix.  Raises `InputError` for one without a mark."""
    if wanted == "original":
        return marks.outgoing(path), path.suffix
    from portrait_lora.generation import publish

    return publish.copy_bytes(path, wanted), publish.SUFFIXES[wanted]


def zip_stream(root: Path, pictures: Sequence[Drawn], wanted: DownloadFormat) -> Iterator[bytes]:
    """The bytes of a zip with all pictures, one at a time in memory, stored: pictures do not get smaller.

    Names are `series/name`, numbered where two would be the same.  Raises before the first byte: `InputError`
    for no pictures or too many, or when the person's consent has expired.
    """
    from portrait_lora.rights import consent

    if not 0 < len(pictures) <= MAX_PICTURES:
        raise InputError(
            "no pictures to take away" if not pictures else "too many pictures for one zip",
            got=len(pictures), needed=f"1 to {MAX_PICTURES}",
        )  # fmt: skip
    consent.require_purposes(root, "portraits")
    return _zip_stream(root, pictures, wanted)


def _zip_stream(root: Path, pictures: Sequence[Drawn], wanted: DownloadFormat) -> Iterator[bytes]:
    out, taken = _Tail(), set[str]()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for one in pictures:
            data, suffix = file_bytes(root / one.file, wanted)
            entry = zipfile.ZipInfo(_name(one, suffix, taken), _stamp(root / one.file))
            entry.external_attr = 0o600 << 16
            archive.writestr(entry, data)
            yield out.take()
    yield out.take()


def _name(one: Drawn, suffix: str, taken: set[str]) -> str:
    stem = f"{one.series}/{one.look}/" if one.look else f"{one.series}/"
    stem += Path(one.name).stem
    number, name = 2, f"{stem}{suffix}"
    while name.lower() in taken:
        name, number = f"{stem}-{number}{suffix}", number + 1
    taken.add(name.lower())
    return name


def _stamp(path: Path) -> tuple[int, int, int, int, int, int]:
    when = time.gmtime(max(path.stat().st_mtime, 315_532_800.0))  # zip knows no time before 1980
    return when[0], when[1], when[2], when[3], when[4], when[5]


class _Tail(io.RawIOBase):
    """What was written since the last `take`; it cannot be sought in, so that zipfile writes descriptors."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        block = bytes(data)  # pyright: ignore[reportArgumentType]
        self._parts.append(block)
        return len(block)

    def take(self) -> bytes:
        """Empty the buffer."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data
