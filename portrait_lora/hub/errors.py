"""Errors of a model hub, explained to users, with the exit code that fits.

2 is for what the user can fix (accept a licence, log in, correct a name), 1 for failures elsewhere.
"""

from __future__ import annotations

import errno
from typing import Final

from portrait_lora.errors import ArtifactError, InputError, PortraitError

_MAX_WAIT_S: Final = 60.0
_PASSING: Final = (408, 425, 429, 500, 502, 503, 504)


def is_transient(error: BaseException) -> bool:
    """Whether a retry may succeed: dropped connections, overload, temporary server errors."""
    root = _root(error)
    status = status_of(root)
    if status is not None:
        return status in _PASSING
    names = {kind.__name__ for kind in type(root).__mro__}
    passing = {"TransportError", "ConnectionError", "TimeoutException", "TimeoutError"}
    return bool(names & passing) or _has_wrong_length(root)


def seconds_to_wait(error: BaseException, fallback_s: float) -> float:
    """What the server asks for (Retry-After), else `fallback_s`; never more than a minute."""
    headers = getattr(getattr(_root(error), "response", None), "headers", {})
    retry_after = str(headers.get("Retry-After", ""))
    return min(_MAX_WAIT_S, float(retry_after) if retry_after.isdigit() else fallback_s)


def status_of(error: BaseException) -> int | None:
    """The HTTP status of an error of huggingface_hub; None when there was no answer."""
    return getattr(getattr(error, "response", None), "status_code", None)


def explain(error: BaseException, repo: str, endpoint: str) -> PortraitError:
    """The error as a `PortraitError` with a remedy."""
    root = _root(error)
    kind, status = type(root).__name__, status_of(root)
    page = f"{endpoint}/{repo}"
    if kind == "GatedRepoError":
        return InputError(
            "the licence of this model must be accepted first",
            where=repo,
            got=f"HTTP {status}",
            remedy=f"Accept it at {page}, then log in with: hf auth login",
        )
    if kind == "RevisionNotFoundError":
        return InputError("no such revision of this model", where=repo, got=f"HTTP {status}")
    if kind in ("RemoteEntryNotFoundError", "EntryNotFoundError"):
        return ArtifactError("the hub lists a file that it does not have", where=repo, got=f"HTTP {status}")
    if kind in ("RepositoryNotFoundError", "HFValidationError") or status == 404:
        return InputError(
            "no such model on the hub, or it is private",
            where=repo,
            got=f"HTTP {status}" if status else root,
            needed=page,
            remedy="Check the name; for a private model log in with: hf auth login",
        )
    if status in (401, 403):
        remedy = f"Log in with a token that may read {page}: hf auth login"
        return InputError("the hub refuses access", where=repo, got=f"HTTP {status}", remedy=remedy)
    if status is not None:
        busy = "asks for fewer requests" if status == 429 else "has an internal error"
        remedy = "Run the same command again later: complete files are kept."
        return PortraitError(f"the hub {busy}", where=repo, got=f"HTTP {status}", remedy=remedy)
    if isinstance(root, OSError) and root.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = "Free some space, or set HF_HOME to a folder on a larger disk."
        return PortraitError("the disk is full", where=root.filename or repo, remedy=remedy)
    if isinstance(root, PermissionError):
        remedy = "Set HF_HOME to a folder that you can write."
        return InputError("the cache is not writable", where=root.filename or repo, remedy=remedy)
    if _has_wrong_length(root):
        return ArtifactError(
            "the size of the downloaded file differs from the hub's",
            where=repo,
            remedy="It was discarded. Try again later, or without a mirror (HF_ENDPOINT).",
        )
    return PortraitError(
        "the hub cannot be reached",
        where=endpoint,
        got=type(root).__name__,
        remedy="Check the connection; run the same command again: complete files are kept.",
    )


def _root(error: BaseException) -> BaseException:
    """The cause behind huggingface_hub's "not in the cache either"."""
    while type(error).__name__ in ("LocalEntryNotFoundError", "ValueError") and error.__cause__ is not None:
        error = error.__cause__
    return error


def _has_wrong_length(error: BaseException) -> bool:
    """Whether huggingface_hub reports a wrong length although the connection held."""
    return isinstance(error, OSError) and "Consistency check failed" in str(error)
