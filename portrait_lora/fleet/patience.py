"""Patience with a store: what it refuses is tried again a few times, and then told in plain words."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from portrait_lora import log
from portrait_lora.errors import PortraitError

PAUSES_S: Final = (0.5, 1.0, 2.0, 4.0)
"""Between the tries of one call: five tries within eight seconds."""
_FULL: Final = ("quota", "storagelimit", "insufficientstorage", "entitytoolarge", "no space")
_DENIED: Final = ("accessdenied", "forbidden", "signaturedoesnotmatch", "invalidaccesskey", "credentials")
_KEPT: Final = "What was done is kept on the worker."
_log = log.get(__name__)
T = TypeVar("T")


class StoreError(PortraitError):
    """The store of a fleet refuses, or does not answer."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds to wait before each further try."""

    pauses_s: Sequence[float] = PAUSES_S
    sleep: Callable[[float], None] = time.sleep

    def of(self, action: Callable[[], T], where: str) -> T:
        """What `action` returns.  Raises `StoreError` when it fails as often as there are tries.

        A file that is not there, or there already, is an answer and no failure: it is raised at once.
        """
        for pause in (*self.pauses_s, None):
            try:
                return action()
            except (FileNotFoundError, FileExistsError, PortraitError):
                raise
            except Exception as error:
                if pause is None:
                    raise refusal(error, where) from error
                _log.debug("%s: %s; tried again in %s s", where, error, pause)
                self.sleep(pause)
        raise AssertionError("unreachable")


def refusal(error: Exception, where: str) -> StoreError:
    """An error of a store in words: it is full, or denies, or does not answer."""
    text = f"{type(error).__name__}: {error}"
    plain = text.lower().replace(" ", "")
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT) or any(word.replace(" ", "") in plain for word in _FULL):
        what, remedy = "the store has no more room for this fleet", f"Make room, or raise its quota. {_KEPT}"
    elif isinstance(error, PermissionError) or any(word in plain for word in _DENIED):
        what = "the store does not permit this"
        remedy = (
            f"Reading, writing, listing and deleting are needed: look at the worker's credentials. {_KEPT}"
        )
    else:
        what, remedy = "the store does not answer", f"Look at its address and at the network. {_KEPT}"
    return StoreError(what, where=where, got=text[:300], remedy=remedy)
