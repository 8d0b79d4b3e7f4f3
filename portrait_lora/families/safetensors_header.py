"""The header of a safetensors file, checked whole before any library maps the tensors.

A header is JSON from strangers.  The format's own rules hold: a known dtype, a shape whose bytes are those of
its offsets, tensors that lie one behind the other without gap or overlap, and a file that ends with the last.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Final, cast

from portrait_lora import strict_json
from portrait_lora.errors import ArtifactError

Header = dict[str, dict[str, object]]
METADATA: Final = "__metadata__"
MAX_BYTES: Final = 16 * 1024 * 1024
"""The largest headers in use, of adapters that list all tags of their dataset, have a few megabytes."""
MAX_ENTRIES: Final = 200_000
"""Tensors, or keys of the metadata."""
_MAX_DIMENSIONS: Final = 16
_MAX_BITS: Final = 1 << 63
_BITS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}


def read(path: Path) -> Header:
    """The header of a file: tensor names and `__metadata__`.

    Raises `ArtifactError` for a file that is cut short or whose header breaks a rule of the format.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > MAX_BYTES:
                raise _broken(path, f"it announces a header of {length} bytes", f"at most {MAX_BYTES} bytes")
            data = stream.read(length)
    except (OSError, struct.error) as error:
        raise _broken(path, error) from error
    if len(data) < length:
        raise _broken(path, "the header is cut short")
    header = strict_json.parse_object(data, path, "header of a safetensors file", max_bytes=MAX_BYTES)
    about = header.pop(METADATA, {})
    _check_metadata(path, about)
    _check_tensors(path, header, size - 8 - length)
    return cast(Header, {METADATA: about, **header} if about else header)


def _check_metadata(path: Path, about: object) -> None:
    texts = isinstance(about, dict) and all(
        isinstance(value, str) for value in cast(dict[str, object], about).values()
    )
    if not texts:
        raise _broken(path, "its metadata is no table of words")
    if len(cast(dict[str, object], about)) > MAX_ENTRIES:
        raise _broken(path, "too many keys in its metadata", f"at most {MAX_ENTRIES}")


def _check_tensors(path: Path, tensors: Mapping[str, object], data_bytes: int) -> None:
    """Every tensor has the bytes of its shape; all of them together are the rest of the file."""
    if len(tensors) > MAX_ENTRIES:
        raise _broken(path, f"{len(tensors)} tensors", f"at most {MAX_ENTRIES}")
    spans = sorted((*_span(path, name, value), name) for name, value in tensors.items())
    end = 0
    for begin, after, name in spans:
        if begin != end:
            raise _broken(path, f"{name[:80]!r} overlaps another tensor or leaves a gap")
        end = after
    if end != data_bytes:
        short = data_bytes < end
        raise _broken(path, "file cut short" if short else "bytes behind the last tensor")


def _span(path: Path, name: str, value: object) -> tuple[int, int]:
    entry = cast(dict[str, object], value) if isinstance(value, dict) else {}
    bits = _BITS.get(kind) if isinstance(kind := entry.get("dtype"), str) else None
    if bits is None:
        raise _broken(path, f"{name[:80]!r} has the unknown type {str(kind)[:40]!r}", "a type of the format")
    shape, offsets = _counts(entry.get("shape")), _counts(entry.get("data_offsets"))
    if shape is None or len(shape) > _MAX_DIMENSIONS or offsets is None or len(offsets) != 2:
        raise _broken(path, f"{name[:80]!r} has no sound shape and offsets")
    needed = bits * prod(shape) if max(shape, default=0) < _MAX_BITS else _MAX_BITS
    begin, end = offsets
    if needed >= _MAX_BITS or needed % 8 or end - begin != needed // 8:
        raise _broken(path, f"{name[:80]!r} has not the bytes of its shape")
    return begin, end


def _counts(value: object) -> list[int] | None:
    """Whole numbers from 0, or None."""
    if not isinstance(value, list):
        return None
    counts = cast(list[object], value)
    sound = all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in counts)
    return cast(list[int], counts) if sound else None


def _broken(path: Path, got: object, needed: str = "") -> ArtifactError:
    return ArtifactError("not a whole safetensors file", where=path, got=got, needed=needed)
