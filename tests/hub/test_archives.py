"""Hostile archives: refused, and nothing outside the folder is touched."""

from __future__ import annotations

import hashlib
import io
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from portrait_lora.errors import ArtifactError, InputError, PortraitError
from portrait_lora.hub import archives

GOOD = b"onnx bytes" * 50
SHA = hashlib.sha256(GOOD).hexdigest()
WANTED = {"det.onnx": ("detector.onnx", SHA)}
ESCAPES = (
    "../evil.onnx",
    "a/../../evil.onnx",
    "/tmp/evil.onnx",
    "..\\evil.onnx",
    "\\evil.onnx",
    "C:/evil.onnx",
    "c:\\evil.onnx",
    "a/../../../etc/cron.d/evil",
    "..",
    "x\0.onnx",
)
KINDS = (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK)


def zipped(*members: tuple[zipfile.ZipInfo | str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as opened:
        for name, data in members:
            opened.writestr(name, data)
    return buffer.getvalue()


def special(kind: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("link.onnx")
    info.external_attr = (kind | 0o777) << 16
    return info


def hostile() -> dict[str, bytes]:
    """Name of the attack → archive."""
    ok = ("det.onnx", GOOD)
    cases = {f"escape {name!r}": _renamed(zipped(ok, ("placeholder", b"x")), name) for name in ESCAPES}
    cases |= {f"kind {kind:o}": zipped(ok, (special(kind), b"/etc/passwd")) for kind in KINDS}
    cases["bomb"] = zipped(ok, ("bomb.bin", bytes(20_000_000)))
    cases["bomb in the wanted file"] = zipped(("det.onnx", bytes(20_000_000)))
    cases["twice"] = zipped(ok, ("DET.onnx", b"other"))
    cases["wrong bytes"] = zipped(("det.onnx", GOOD + b"!"))
    cases["missing"] = zipped(("other.onnx", GOOD))
    cases["cut"] = zipped(ok)[:-30]
    cases["cut in the data"] = zipped(ok)[:60]
    cases["no zip"] = b"<html>not found</html>" * 20
    cases["empty"] = b""
    cases["encrypted"] = _flagged(zipped(ok))
    cases["crc"] = zipped(ok, method=zipfile.ZIP_STORED).replace(b"onnx bytes", b"evil bytes", 1)
    return cases


def _renamed(data: bytes, name: str) -> bytes:
    """Put a hostile name in place of the placeholder, in both directories, of the same length."""
    raw = name.encode()
    new = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(new, "w") as opened:
        opened.writestr("det.onnx", old.read("det.onnx"))
        opened.writestr("p" * len(raw), b"evil")
    return new.getvalue().replace(b"p" * len(raw), raw)


def _flagged(data: bytes) -> bytes:
    """Set the bit that says encrypted in the central directory."""
    at = data.rindex(b"PK\x01\x02") + 8
    return data[:at] + struct.pack("<H", struct.unpack("<H", data[at : at + 2])[0] | 1) + data[at + 2 :]


@pytest.mark.parametrize("case", sorted(hostile()))
def test_hostile_archives_are_refused(case: str, tmp_path: Path) -> None:
    archive, folder = tmp_path / "pack.zip", tmp_path / "inside" / "pack"
    folder.mkdir(parents=True)
    archive.write_bytes(hostile()[case])
    with pytest.raises(PortraitError) as caught:
        archives.extract(archive, folder, WANTED)
    assert isinstance(caught.value, InputError | ArtifactError)
    assert not any(p.name.startswith(("evil", "link")) for p in tmp_path.rglob("*"))
    assert {p for p in tmp_path.rglob("*") if p.is_file()} <= {archive, folder / "detector.onnx"}


def test_a_good_archive_gives_the_wanted_files_only(tmp_path: Path) -> None:
    archive, folder = tmp_path / "pack.zip", tmp_path / "pack"
    folder.mkdir()
    archive.write_bytes(zipped(("det.onnx", GOOD), ("genderage.onnx", b"unwanted"), ("sub/", b"")))
    archives.extract(archive, folder, WANTED)
    assert [p.name for p in folder.iterdir()] == ["detector.onnx"]
    assert (folder / "detector.onnx").read_bytes() == GOOD
