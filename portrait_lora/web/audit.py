"""Who did what and when, in `HOME/audit.jsonl`: routes and ids, never photos, words or embeddings."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Final

from portrait_lora import log

MOST_BYTES: Final = 32 << 20
"""Of one file; the one before it stays as `audit-1.jsonl`."""
_log = log.get(__name__)


class Audit:
    """Appends one line for each write, sign-in, download and refusal."""

    def __init__(self, path: Path):
        self._path = path
        self._lock = threading.Lock()
        self._failed = False

    def note(
        self, *, user: str, client: str, method: str, route: str, ids: dict[str, str], status: int
    ) -> None:
        """Append a line; a disk that refuses it is reported once and stops nothing."""
        row = {
            "time": round(time.time(), 3),
            "user": user,
            "client": client,
            "method": method,
            "route": route,
            "ids": ids,
            "status": status,
        }
        line = (json.dumps(row, ensure_ascii=True) + "\n").encode()
        try:
            with self._lock:
                self._turn_over()
                descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _NO_LINK, 0o600)
                try:
                    os.write(descriptor, line)
                finally:
                    os.close(descriptor)
            self._failed = False
        except OSError as error:
            if not self._failed:
                _log.error("the audit log cannot be written: %s", error)
            self._failed = True

    def _turn_over(self) -> None:
        if self._path.exists() and self._path.stat().st_size > MOST_BYTES:
            os.replace(self._path, self._path.with_name(f"{self._path.stem}-1{self._path.suffix}"))


_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0)
