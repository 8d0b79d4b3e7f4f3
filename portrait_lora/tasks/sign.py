"""Signed copies of pictures.  The original is never touched, so its sidecar and its folder stay true."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from PIL import Image, UnidentifiedImageError

from portrait_lora import manifest, provenance
from portrait_lora.config import FILE_NAME
from portrait_lora.errors import InputError
from portrait_lora.rights import credentials, identity
from portrait_lora.rights.credentials import Credentials
from portrait_lora.rights.signer import Signer
from portrait_lora.tasks import outside
from portrait_lora.tasks.inspect import sidecar_of


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed copy and what its credentials say when they are read back."""

    source: Path
    path: Path
    sha256: str
    credentials: Credentials


@dataclass(frozen=True, slots=True)
class _Job:
    source: Path
    target: Path
    kind: credentials.Format
    mark: provenance.SourceType
    data: bytes
    ours: bool
    """Whether it has the credentials of this machine, which are kept inside the new ones."""


def sign_files(
    files: Sequence[Path],
    signer: Signer,
    out: Path | None = None,
    *,
    title: str | None = None,
    timestamp_authority: str | None = None,
) -> list[Signed]:
    """Signed copies in `out` (default: `target_folder`); all files are judged before the first is signed.

    Raises `InputError` for a file that is no marked picture, is signed already, was changed since it was
    made, or whose copy would land in a sealed folder or replace something that is no signed copy; and as
    `credentials.sign` does.
    """
    jobs = [_job(file, (out or target_folder(file)) / file.name) for file in files]
    twice = {j.target for j in jobs if sum(j.target == other.target for other in jobs) > 1}
    if twice:
        remedy = "Sign them in two calls with different --out."
        raise InputError("two pictures would get the same name", where=min(twice), remedy=remedy)
    return [_write(job, signer, title, timestamp_authority) for job in jobs]


def target_folder(file: Path) -> Path:
    """`signed/` beside the picture; beside its folder when that is sealed by a manifest."""
    folder = file.resolve().parent
    sealed = (folder / manifest.NAME).is_file()
    return folder.with_name(f"{folder.name}-signed") if sealed else folder / "signed"


def _write(job: _Job, signer: Signer, title: str | None, authority: str | None) -> Signed:
    own = credentials.Parent(job.data, job.kind) if job.ours else None
    data = credentials.sign(
        job.data, job.kind, signer, job.mark, title=title, timestamp_authority=authority, parent=own,
        edits=("c2pa.edited.metadata",) if own else (),
    )  # fmt: skip
    signed = credentials.read(data, job.kind)
    if signed is None or signed.state == "invalid":  # the library has verified the same bytes
        raise RuntimeError(f"{job.target}: the signature does not hold")
    manifest.write_bytes_atomic(job.target, data)
    _note(job)
    return Signed(job.source, job.target, manifest.sha256_file(job.target), signed)


def _job(source: Path, target: Path) -> _Job:
    if not source.is_file():
        raise InputError("no such file", where=source)
    data = source.read_bytes()
    kind = _kind(data)
    if kind is None:
        raise InputError("not a picture that can be signed", where=source, needed="PNG, JPEG or WebP")
    ours = _is_ours(data, kind, source)
    mark = provenance.source_type(source)
    if mark not in get_args(provenance.SourceType):
        needed = "a picture whose XMP says so, as those of this program do"
        raise InputError("nothing says that this picture is generated", where=source, needed=needed)
    beside = sidecar_of(source)
    if beside is not None and not beside["matches"]:
        remedy = "Sign the original, or move the JSON file away if the change is meant."
        raise InputError("the picture is not the one its JSON file speaks of", where=source, remedy=remedy)
    if (target.parent / manifest.NAME).is_file():
        needed = "a folder without a manifest, whose files may change"
        raise InputError("this folder is sealed", where=target.parent, needed=needed)
    if target.is_file() and not credentials.carries(target.read_bytes()):
        needed = "no file, or an earlier signed copy"
        raise InputError("the copy would replace another file", where=target, needed=needed)
    return _Job(source, target, kind, cast(provenance.SourceType, mark), data, ours)


def _is_ours(data: bytes, kind: credentials.Format, source: Path) -> bool:
    """Whether a picture is signed by this machine's local certificate; False for one without credentials.

    Raises `InputError` for somebody else's, and for one that was changed since.
    """
    known = credentials.read(data, kind, identity.known())
    if known is None:
        return False
    if known.state == "invalid":
        remedy = "Sign the original."
        raise InputError("the picture was changed since it was signed", where=source, remedy=remedy)
    if known.state != "trusted":
        remedy = "Sign the original; see who signed it with: portrait-lora inspect FILE"
        raise InputError("the picture is signed already", where=source, got=known.signer, remedy=remedy)
    return True


def _kind(data: bytes) -> credentials.Format | None:
    """The format of a picture's bytes; None when credentials cannot be put into it."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return credentials.format_of(picture.format)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        return None


def _note(job: _Job) -> None:
    """Tell the likeness folder of the picture, so that `forget` searches the copies too."""
    for folder in job.source.resolve().parents:
        if (folder / FILE_NAME).is_file():
            outside.record(folder, [job.target])
            return
