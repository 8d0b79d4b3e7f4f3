"""The objects of a store behind an address that fsspec knows, with patience: S3-like, or any other.

Nothing is cached: others write at the same time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from portrait_lora.errors import InputError, require_extra
from portrait_lora.fleet.patience import Patience

_TAKEN: Final = ("preconditionfailed", "conditionalrequestconflict")
_ROUNDS: Final = 5
_PACKAGES: Final = {"s3": "s3fs", "s3a": "s3fs"}
_S3: Final[Mapping[str, Any]] = {"config_kwargs": {"connect_timeout": 5, "retries": {"max_attempts": 1}}}
"""A worker that is cut off learns of it in seconds: a minute for each of many tries keeps it for hours."""


def is_folder(url: str) -> bool:
    """Whether an address is a folder of this machine's file system, a shared one perhaps."""
    return "://" not in url or url.startswith("file://")


class Objects:
    """Named bytes below one address; every name is relative to it."""

    def __init__(self, url: str, patience: Patience | None = None):
        """Raises `InputError` for an address that no installed package knows."""
        from fsspec.core import url_to_fs

        self.url, self._patience = url.rstrip("/"), patience or Patience()
        scheme = url.partition("://")[0]
        if scheme in _PACKAGES:
            require_extra(_PACKAGES[scheme], "fleet")
        try:
            if not self.url.partition("://")[2]:
                raise ValueError("no bucket or folder in it")
            options = _S3 if scheme in _PACKAGES else {}
            fs, self._root = url_to_fs(self.url, use_listings_cache=False, **options)
        except (ImportError, ValueError) as error:
            remedy = "Use a folder, or an address such as s3://bucket/fleet"
            raise InputError("not the address of a store", where=url, got=error, remedy=remedy) from error
        self._fs: Any = fs
        if scheme in _PACKAGES:
            self._fs.retries = 1  # patience is had here, once
        self._versioned: bool | None = None

    def read(self, name: str) -> bytes:
        """Raises `FileNotFoundError`, and `StoreError` as all of these do."""
        return self._try(lambda: self._fs.cat_file(self._path(name)), name)

    def write(self, name: str, data: bytes) -> None:
        """Whole or not at all."""
        self._try(lambda: self._fs.pipe_file(self._path(name), data), name)

    def create(self, name: str, data: bytes) -> bool:
        """Write an object that is not there yet; False when somebody else was first."""

        def action() -> bool:
            try:
                self._fs.pipe_file(self._path(name), data, mode="create")
            except Exception as error:
                taken = any(word in str(error).lower().replace(" ", "") for word in _TAKEN)
                # written, but its answer lost: the next try meets its own object there
                if self._holds(name, data):
                    return True
                if taken or isinstance(error, FileExistsError):
                    return False
                raise
            return True

        return self._try(action, name)

    def sizes(self, below: str) -> Mapping[str, int]:
        """Name -> bytes of all objects below a name; empty where there is none."""

        def action() -> dict[str, int]:
            try:
                there = self._fs.find(self._path(below), detail=True)
            except FileNotFoundError:
                return {}
            start = len(self._root) + 1
            rows = [(str(path)[start:], info) for path, info in there.items()]
            # of a place where all is removed S3 may say that it is a folder
            return {name: int(info["size"] or 0) for name, info in rows if info["type"] == "file"}

        return self._try(action, below)

    def upload(self, file: Path, name: str) -> None:
        """Copy a file of this machine into the store."""
        self._try(lambda: self._fs.put_file(str(file), self._path(name)), name)

    def download(self, name: str, file: Path) -> None:
        """Copy an object into a file; raises `FileNotFoundError`."""
        self._try(lambda: self._fs.get_file(self._path(name), str(file)), name)

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects; those that are gone already are fine."""
        for name in names:
            try:
                self._try(lambda name=name: self._fs.rm_file(self._path(name)), name)
            except FileNotFoundError:
                continue

    def wipe(self, below: str) -> int:
        """Remove all objects below a name, and old versions where the store keeps them; how many."""
        count = 0
        for _ in range(_ROUNDS):  # a worker may still be writing
            there = self.sizes(below)
            self.remove(there)
            count += len(there)
            if not there:
                break
        return count + self._wipe_versions(below)

    def drop_old(self, name: str) -> int:
        """Remove the old versions of an object that stays; how many."""
        old = self._versions(name) if self._is_versioned() else []
        return self._drop_versions([one for one in old if not one.get("IsLatest")])

    def left(self, below: str) -> int:
        """Bytes that the store keeps below a name, old versions included."""
        old = self._versions(below) if self._is_versioned() else []
        return sum(self.sizes(below).values()) + sum(int(one.get("Size") or 0) for one in old)

    def _wipe_versions(self, below: str) -> int:
        return self._drop_versions(self._versions(below)) if self._is_versioned() else 0

    def _drop_versions(self, old: Sequence[dict[str, Any]]) -> int:
        bucket = self._root.split("/")[0]
        for one in old:
            self._try(
                lambda one=one: self._fs.call_s3(
                    "delete_object", Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"]
                ),
                one["Key"],
            )
        return len(old)

    def _versions(self, below: str) -> list[dict[str, Any]]:
        """Old versions and marks of deletion below a name, of a store that keeps them."""
        bucket, _, prefix = self._path(below).partition("/")
        rows: list[dict[str, Any]] = []
        after: dict[str, str] = {}
        while True:
            page = self._try(
                lambda after=dict(after): self._fs.call_s3(
                    "list_object_versions", Bucket=bucket, Prefix=f"{prefix.rstrip('/')}", **after
                ),
                below,
            )
            rows += [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            if not page.get("IsTruncated"):
                inside = (prefix, f"{prefix}/")
                return [one for one in rows if one["Key"] == inside[0] or one["Key"].startswith(inside[1])]
            after = {
                "KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]
            }  # fmt: skip

    def _is_versioned(self) -> bool:
        if self._versioned is None:
            bucket = self._root.split("/")[0]
            ask = getattr(self._fs, "is_bucket_versioned", None)
            self._versioned = bool(ask and self._try(lambda: ask(bucket), bucket))
        return self._versioned

    def _holds(self, name: str, data: bytes) -> bool:
        try:
            return bytes(self._fs.cat_file(self._path(name))) == data
        except Exception:
            return False

    def _try(self, action: Any, name: str) -> Any:
        return self._patience.of(action, f"{self.url}/{name}")

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root


class Numbered:
    """Objects of one folder that follow each other; a number is written by one, whoever else tries.

    This is all that a store has to be able to do for several writers: create what is not there.
    """

    def __init__(self, objects: Objects, folder: str):
        self._objects, self.folder = objects, folder

    def latest(self) -> tuple[int, dict[str, Any]] | None:
        """The highest number and its value; None before the first."""
        while True:
            numbers = self._numbers()
            if not numbers:
                return None
            try:
                raw = self._objects.read(self._name(numbers[-1]))
            except FileNotFoundError:  # a higher one was written, and this one removed
                continue
            return numbers[-1], json.loads(raw)

    def add(self, number: int, value: Mapping[str, object]) -> bool:
        """Write this number; False when somebody else did."""
        return self._objects.create(self._name(number), _bytes(value))

    def put(self, number: int, value: Mapping[str, object]) -> None:
        """Write a number that is one's own again."""
        self._objects.write(self._name(number), _bytes(value))

    def get(self, number: int) -> dict[str, Any] | None:
        """The value of a number; None when it is not there."""
        try:
            return json.loads(self._objects.read(self._name(number)))
        except FileNotFoundError:
            return None

    def prune(self, below: int) -> None:
        """Remove smaller numbers."""
        self._objects.remove(self._name(number) for number in self._numbers() if number < below)

    def _numbers(self) -> list[int]:
        names = [name.rpartition("/")[2].removesuffix(".json") for name in self._objects.sizes(self.folder)]
        return sorted(int(name) for name in names if name.isdigit())

    def _name(self, number: int) -> str:
        return f"{self.folder}/{number:012d}.json"


def _bytes(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False).encode(errors="surrogatepass")
