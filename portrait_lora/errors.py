"""The errors a user can meet.  Each says what, where, got, needed, remedy, and carries its exit code."""

from __future__ import annotations

import errno
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from portrait_lora.terminal import block, plain

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1
EXIT_BAD_INPUT: Final = 2
EXIT_PHOTOS: Final = 3
EXIT_INTERRUPTED: Final = 130


class PortraitError(Exception):
    """Something failed in a way that can be told; `exit_code` is what the command returns."""

    exit_code: int = EXIT_FAILED

    def __init__(
        self, what: str, *, where: object = "", got: object = "", needed: object = "", remedy: str = ""
    ):
        self.what, self.where, self.got, self.needed, self.remedy = (
            what,
            str(where),
            str(got),
            str(needed),
            remedy,
        )
        super().__init__(self.message())

    def message(self) -> str:
        """`where: what: got X; needed Y. Remedy.`"""
        where, got, needed = plain(self.where), block(self.got), block(self.needed)
        head = f"{where}: {self.what}" if where else self.what
        facts = [f"got {got}"] if got else []
        facts += [f"needed {needed}"] if needed else []
        body = f"{head}: {'; '.join(facts)}." if facts else f"{head.rstrip('.')}."
        return f"{body} {self.remedy}".strip()


class InputError(PortraitError):
    """A path, an argument or a file the user gave cannot be used."""

    exit_code = EXIT_BAD_INPUT


class ConfigError(InputError):
    """The configuration is wrong."""


class PhotosError(PortraitError):
    """The photos are not good enough to go on."""

    exit_code = EXIT_PHOTOS


class ArtifactError(PortraitError):
    """A folder this program wrote is damaged or half-written."""


class Interrupted(PortraitError):
    """Stopped by the user with its state saved."""

    exit_code = EXIT_INTERRUPTED


_AGAIN: Final = "and run the same command again: what was finished stays."
_SYSTEM: Final = {
    "ENOSPC": ("the disk is full", f"Make room, {_AGAIN}"),
    "EDQUOT": ("your quota on this disk is used up", f"Make room, {_AGAIN}"),
    "EFBIG": ("the file is larger than programs may write here", f"Raise the limit (ulimit -f), {_AGAIN}"),
    "EROFS": ("this disk can only be read", "Choose another folder."),
    "EACCES": ("this is not permitted", "Change the permissions, or choose another folder."),
    "EPERM": ("this is not permitted", "Change the permissions, or choose another folder."),
    "ENAMETOOLONG": ("the name is too long for this disk", "Choose a shorter one."),
    "EMFILE": ("too many files are open", f"Raise the limit (ulimit -n), {_AGAIN}"),
    "ENFILE": ("too many files are open on this machine", f"Close other programs, {_AGAIN}"),
    "EIO": ("the disk failed", "Copy what matters elsewhere, and check the disk."),
}
"""Name of an error number -> what it says, remedy."""


def of_system(error: OSError, where: object = "") -> PortraitError | None:
    """What the system refuses, as a `PortraitError`; None for errors that are not the machine's."""
    name = errno.errorcode.get(error.errno or 0, "")
    if name not in _SYSTEM:
        return None
    what, remedy = _SYSTEM[name]
    return PortraitError(
        what, where=where or error.filename or "", got=error.strerror or error, remedy=remedy
    )


@contextmanager
def system_errors(where: object = "") -> Iterator[None]:
    """A full disk, a limit or a missing permission inside becomes a `PortraitError` that names `where`."""
    try:
        yield
    except OSError as error:
        if (refused := of_system(error, where)) is None:
            raise
        raise refused from error


def require_extra(module: str, extra: str) -> None:
    """Raise when `module` is not installed, naming the command that installs it."""
    if importlib.util.find_spec(module) is None:
        raise InputError(
            f"the package {module!r} is not installed",
            needed=f"the extra {extra!r}",
            remedy=f"Install it with: pip install 'portrait-lora[{extra}]'",
        )
