"""Downloads from a model hub: resolve a branch to a commit, check the disk, download, verify.

huggingface_hub transfers the bytes (mirrors, tokens, resume within a file, its shared cache); verification is
done here: every file is hashed and compared with what the hub states for the commit.  A file that differs
is removed from the cache.  Offline means that no socket is opened at all.
"""

from __future__ import annotations

import hashlib
import operator
import os
import re
import shutil
import time
from collections.abc import Callable, Collection
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from portrait_lora import log, manifest, removal
from portrait_lora.errors import ArtifactError, InputError, PortraitError
from portrait_lora.hub import cache_locks as hub_locks
from portrait_lora.hub.errors import explain, is_transient, seconds_to_wait
from portrait_lora.hub.lock import LockedModel

_ATTEMPTS: Final = 4
_SPARE_BYTES: Final = 200 << 20
_T = TypeVar("_T")
_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository: `sha256` for large files, `git_sha1` for small ones, as the hub states them."""

    path: str
    size: int
    sha256: str | None
    git_sha1: str | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A repository at one commit; `revision` is the branch or tag that was requested."""

    repo: str
    revision: str
    commit: str
    files: tuple[HubFile, ...]

    def only(self, names: Collection[str]) -> Snapshot:
        """The snapshot reduced to these files; `InputError` when one is missing."""
        kept = tuple(f for f in self.files if f.path in names)
        lacking = sorted(set(names) - {f.path for f in kept})
        if lacking:
            raise InputError("the repository lacks a file", where=self.repo, needed=", ".join(lacking))
        return Snapshot(self.repo, self.revision, self.commit, kept)


def as_locked(model: LockedModel) -> Snapshot:
    """The snapshot of a locked model, so that it can be fetched again without asking which commit."""
    files = tuple(HubFile(path, f.size, f.sha256, None) for path, f in sorted(model.files.items()))
    return Snapshot(model.source, model.revision, model.commit, files)


@dataclass(frozen=True, slots=True)
class Hub:
    """A model hub and its local cache; `wait_s` is the first pause before a retry."""

    endpoint: str
    cache: Path
    token: str | None = field(repr=False, default=None)
    offline: bool = False
    wait_s: float = 2.0

    @classmethod
    def from_environment(cls, *, offline: bool = False) -> Hub:
        """From HF_ENDPOINT, HF_HOME, HF_HUB_CACHE, HF_TOKEN and HF_HUB_OFFLINE."""
        if offline:
            go_offline()
        from huggingface_hub import constants, get_token

        return cls(
            os.environ.get("HF_ENDPOINT", constants.ENDPOINT).rstrip("/"),
            Path(os.environ.get("HF_HUB_CACHE", constants.HF_HUB_CACHE)).expanduser(),
            get_token(),
            offline or is_offline(),
        )

    @property
    def memory(self) -> Path:
        """File that records verified files, so that they are not hashed every time."""
        return self.cache / ".portrait_lora_verified.json"

    def folder(self, repo: str, commit: str) -> Path:
        """Folder of a snapshot in the shared cache, whether or not it exists."""
        return self.cache / f"models--{repo.replace('/', '--')}" / "snapshots" / commit

    def resolve(self, repo: str, revision: str = "main") -> Snapshot:
        """The commit that a branch points to, and its files.  One request."""
        self._needs_network(repo)
        from huggingface_hub import HfApi

        api = HfApi(endpoint=self.endpoint, token=self.token or False)
        info = self._patiently(repo, lambda: api.model_info(repo, revision=revision, files_metadata=True))
        if not info.sha or info.siblings is None:
            raise ArtifactError(
                "the hub's response is incomplete", where=repo, needed="a commit and its files"
            )
        files: list[HubFile] = []
        for one in info.siblings:
            refuse_path(repo, one.rfilename)
            sha256 = one.lfs.sha256 if one.lfs else None
            files.append(
                HubFile(one.rfilename, one.size or 0, sha256, one.blob_id if one.lfs is None else None)
            )
        return Snapshot(repo, revision, info.sha, tuple(files))

    def missing(self, snapshot: Snapshot) -> tuple[HubFile, ...]:
        """The files that are not in the cache yet."""
        folder = self.folder(snapshot.repo, snapshot.commit)
        return tuple(f for f in snapshot.files if not _has(folder / f.path, f.size))

    def fetch(self, snapshot: Snapshot, *, label: str = "") -> tuple[Path, dict[str, str]]:
        """Download missing files and verify all; returns the folder and each file's sha256.

        Raises `PortraitError` for a full disk or an unreachable hub, `InputError` for a gated or missing
        model, `ArtifactError` when bytes are not those the hub announced; those are removed.
        """
        for file in snapshot.files:
            refuse_path(snapshot.repo, file.path)
        wanted = self.missing(snapshot)
        total = sum(f.size for f in wanted)
        if wanted:
            self._needs_network(snapshot.repo)
            refuse_full_disk(self.cache, total)
        digests: dict[str, str] = {}
        with log.progress(f"{label or snapshot.repo} (MB)", max(1, round(total / 1e6))) as advance:
            counter = _Megabytes(advance)
            for file in snapshot.files:
                digests[file.path] = self._fetch_file(snapshot, file, counter)
        return self.folder(snapshot.repo, snapshot.commit), digests

    def _fetch_file(self, snapshot: Snapshot, file: HubFile, counter: _Megabytes) -> str:
        """One file; retried once when its bytes are wrong, because mirrors and proxies make mistakes."""
        path = self.folder(snapshot.repo, snapshot.commit) / file.path
        if _has(path, file.size) and operator.eq(*_digests(path, file)):
            return file.sha256 or manifest.sha256_file(path)
        waiting = f"{snapshot.repo}/{file.path}"
        lock = self._locks(snapshot) / f"portrait_lora-{_etag(file)}.lock"
        with nullcontext() if self.offline else hub_locks.alone(lock, waiting):
            return self._fetch_alone(snapshot, file, path, counter)

    def _fetch_alone(self, snapshot: Snapshot, file: HubFile, path: Path, counter: _Megabytes) -> str:
        """`_fetch_file` under a lock, so that only one process fetches the same file."""
        for attempt in (1, 2):
            if not _has(path, file.size):
                self._needs_network(snapshot.repo)
                self._patiently(snapshot.repo, lambda: self._download(snapshot, file, counter))
            got, expected = _digests(path, file)
            if got == expected and path.stat().st_size == file.size:
                return got if file.sha256 else manifest.sha256_file(path)
            if self.offline or _is_intact(path):  # then the lock is wrong, not the file
                raise ArtifactError(
                    "the file in the cache is not the one that was locked",
                    where=f"{snapshot.repo}/{file.path}",
                    got=got[:16],
                    needed=f"{expected[:16]}, {file.size} bytes",
                    remedy="It was kept. If portrait-lora.lock is not yours, remove it and pull again.",
                )
            self._drop(path)
            if attempt == 2:
                break
        raise ArtifactError(
            "the downloaded file is not the one the hub announced",
            where=f"{snapshot.repo}/{file.path}",
            got=got[:16],
            needed=f"{expected[:16]}, {file.size} bytes",
            remedy="It was removed. Try again later, or without a mirror (HF_ENDPOINT).",
        )

    def _download(self, snapshot: Snapshot, file: HubFile, counter: _Megabytes) -> None:
        from huggingface_hub import hf_hub_download

        folder = self.folder(snapshot.repo, snapshot.commit)
        blobs, lock = folder.parents[1] / "blobs", self._locks(snapshot) / f"{_etag(file)}.lock"
        hub_locks.sweep(blobs, _etag(file), lock)
        try:
            hf_hub_download(
                snapshot.repo,
                file.path,
                revision=snapshot.commit,
                cache_dir=self.cache,
                token=self.token or False,
                endpoint=self.endpoint,
                tqdm_class=counter.bar(),
            )
        finally:
            hub_locks.sweep(blobs, _etag(file), lock)

    def _locks(self, snapshot: Snapshot) -> Path:
        """Folder of huggingface_hub's lock files for a repository."""
        return self.cache / ".locks" / f"models--{snapshot.repo.replace('/', '--')}"

    def _drop(self, path: Path) -> None:
        """Remove a wrong file from the cache, with the blob it links to; never anything outside the cache."""
        blob = path.resolve()
        if path.is_symlink() and blob.is_relative_to(self.cache.resolve()):
            removal.remove_file(blob, owner=self.cache)
        removal.remove_file(path, owner=self.cache)

    def _needs_network(self, repo: str) -> None:
        if self.offline:
            raise InputError(
                "this model is not on this machine, and the network is disabled",
                where=repo,
                needed=f"its files in {self.cache}",
                remedy="Run `portrait-lora pull` once without --offline and HF_HUB_OFFLINE.",
            )
        if not re.match(r"https?://[^/\s]", self.endpoint):
            raise InputError(
                "HF_ENDPOINT is not a URL",
                got=repr(self.endpoint),
                needed="a URL that begins with https:// or http://",
                remedy="Correct or unset HF_ENDPOINT.",
            )

    def _patiently(self, repo: str, call: Callable[[], _T]) -> _T:
        """The result of the call; transient failures are retried, others are explained."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return call()
            except PortraitError:
                raise
            except Exception as error:
                if attempt == _ATTEMPTS or not is_transient(error):
                    raise explain(error, repo, self.endpoint) from error
                pause = seconds_to_wait(error, self.wait_s * 2 ** (attempt - 1))
                _log.info("%s: %s; retrying in %.0f s", repo, type(error).__name__, pause)
                time.sleep(pause)
        raise AssertionError("unreachable")


def is_offline() -> bool:
    """Whether the environment disables the network."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return any(os.environ.get(n, "").lower() in ("1", "true", "yes", "on") for n in names)


def go_offline() -> None:
    """Disable the network for the libraries too; call it before they are imported."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        os.environ[name] = "1"


def refuse_full_disk(folder: Path, needed_bytes: int) -> None:
    """`PortraitError` when a folder's disk lacks space for that many bytes plus a reserve."""
    there = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(there).free
    if free < needed_bytes + _SPARE_BYTES:
        raise PortraitError(
            "not enough disk space",
            where=folder,
            got=f"{free / 1e9:.1f} GB free",
            needed=f"{(needed_bytes + _SPARE_BYTES) / 1e9:.1f} GB",
            remedy="Make room, or let HF_HOME point to a larger disk.",
        )


def refuse_path(repo: str, name: str) -> None:
    """Raise `InputError` unless the name is a path inside the repository."""
    if not removal.is_inner(name):
        raise InputError("the repository names a file outside itself", where=repo, got=repr(name))


def _has(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _is_intact(path: Path) -> bool:
    """Whether the file matches the digest in its cache name, so that it is what the hub once sent."""
    name = path.resolve().name
    if not path.is_symlink() or len(name) not in (40, 64):
        return False
    return name == (manifest.sha256_file(path) if len(name) == 64 else _git_sha1(path))


def _git_sha1(path: Path) -> str:
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _etag(file: HubFile) -> str:
    return file.sha256 or file.git_sha1 or "unknown"


def _digests(path: Path, file: HubFile) -> tuple[str, str]:
    """(actual, announced) digest: sha256, or git's blob sha1 for small files."""
    if file.sha256:
        return manifest.sha256_file(path), file.sha256
    if file.git_sha1 is None:
        raise ArtifactError("the hub gave no checksum", where=path)
    return _git_sha1(path), file.git_sha1


class _Megabytes:
    """Forwards the byte counts of tqdm bars to our own progress line, in whole megabytes."""

    def __init__(self, advance: log.Advance):
        self._advance, self._bytes, self._reported = advance, 0, 0

    def add(self, n: float | None) -> None:
        """Count bytes."""
        self._bytes += int(n or 0)
        whole = self._bytes // 1_000_000
        if whole > self._reported:
            self._advance(whole - self._reported)
            self._reported = whole

    def bar(self) -> type:
        """A tqdm class that prints nothing and reports here."""
        from tqdm.auto import tqdm

        counter = self

        class Silent(tqdm):  # pyright: ignore[reportMissingTypeArgument, reportUntypedBaseClass]
            def __init__(self, *args: object, **kwargs: object):
                kwargs["disable"] = True
                super().__init__(*args, **kwargs)  # pyright: ignore[reportArgumentType, reportCallIssue]

            def update(self, n: float | None = 1) -> bool | None:
                counter.add(n)
                return None

        return Silent
