"""What else is kept, or left by a download, under the name of a safetensors file; told by its first bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from portrait_lora.errors import InputError

_FIRST_BYTES: Final = 64
_AGAIN: Final = "Download the file itself again, with the site's download link or `hf download`."
_UNSAFE: Final = "It can run code when it is opened: take a version in safetensors."
_KINDS: Final = (
    (
        (b"version https://git-lfs",),
        "a git-lfs pointer: the file itself was never fetched",
        "Run: git lfs pull",
    ),
    ((b"<!doctype", b"<html", b"<?xml", b"<head"), "a web page saved under this name", _AGAIN),
    (
        (b'{"error', b'{"message', b"entry not found", b"access to", b"invalid username"),
        "a server's error",
        _AGAIN,
    ),
    ((b"pk\x03\x04",), "a zip archive, as torch.save writes its pickles", _UNSAFE),
    ((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), "a pickle", _UNSAFE),
    ((b"gguf",), "a GGUF file", "Take the version in safetensors."),
)
"""How they begin, in lower case.  A safetensors file begins with the length of its header in eight bytes, of
which the last four are zero; only a zip may have zeros there too, and would announce 67 MB of header."""


def refuse(path: Path) -> None:
    """`InputError` that names the kind, unless the file may be a safetensors file."""
    try:
        with path.open("rb") as stream:
            first = stream.read(_FIRST_BYTES)
    except OSError as error:
        raise InputError("the file cannot be read", where=path, got=error.strerror) from error
    if first[4:8] == b"\0\0\0\0" and not first.startswith(b"PK"):
        return
    text = first.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for starts, what, remedy in _KINDS:
        if text.startswith(starts):
            raise InputError("not a safetensors file", where=path, got=what, remedy=remedy)
