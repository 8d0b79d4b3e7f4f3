"""Download of one file: resumed if interrupted, verified by sha256, moved into place only if correct."""

from __future__ import annotations

from pathlib import Path

from portrait_lora import log, manifest, removal
from portrait_lora.errors import ArtifactError, PortraitError
from portrait_lora.hub.errors import explain, status_of
from portrait_lora.hub.hub import refuse_full_disk


def fetch_file(url: str, path: Path, *, sha256: str, size: int) -> None:
    """Download `url` to `path`; a partial download of an earlier attempt is resumed.

    Raises `PortraitError` when the server cannot be reached or the disk is full (the part is kept for the
    next attempt), `ArtifactError` for wrong bytes (nothing is kept).
    """
    if path.is_file() and manifest.sha256_file(path) == sha256:
        return
    manifest.make_folder(path.parent)
    part = path.with_name(f"{path.name}.part")
    there = part.stat().st_size if part.is_file() else 0
    if there > size:
        removal.remove_file(part, owner=path.parent)
        there = 0
    refuse_full_disk(path.parent, size - there)
    with log.progress(f"{url.rsplit('/', 1)[-1]} (MB)", max(1, round(size / 1e6))) as advance:
        _append(url, part, there, size)
        advance(max(1, round(size / 1e6)))
    got = manifest.sha256_file(part)
    if got != sha256:
        removal.remove_file(part, owner=path.parent)
        raise ArtifactError(
            "the downloaded file has an unexpected checksum",
            where=url,
            got=f"sha256 {got[:16]}",
            needed=f"sha256 {sha256[:16]}",
            remedy="It was removed. Try again; if this recurs, the file at that URL was replaced.",
        )
    part.replace(path)


def _append(url: str, part: Path, there: int, size: int) -> None:
    from huggingface_hub.file_download import http_get

    if there == size:
        return
    try:
        with part.open("ab") as stream:
            http_get(url, stream, resume_size=there, expected_size=size, displayed_filename=part.name)
    except Exception as error:  # the transport raises many unrelated types
        if status_of(error) == 404:
            raise PortraitError("there is no file at this URL", where=url, got="HTTP 404") from error
        if "Consistency check failed" in str(error):
            removal.remove_file(part, owner=part.parent)
            needed = f"{size} bytes"
            raise ArtifactError("the file has an unexpected size", where=url, needed=needed) from error
        raise explain(error, url, url.rsplit("/", 1)[0]) from error
