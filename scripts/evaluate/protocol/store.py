"""Long measurements kept piece by piece, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from portrait_lora import evaluation, manifest

T = TypeVar("T")
"""Numbers, texts, None, and lists and dicts of them: what survives JSON (a tuple does not)."""


@dataclass(frozen=True, slots=True)
class Store:
    """A folder of finished pieces; `key` says what they depend on beside the code that measures.

    Without a folder nothing is kept.
    """

    folder: Path | None
    key: str = ""

    def piece(self, name: str, work: Callable[[], T]) -> T:
        """What `work` returns, or returned in an earlier run."""
        if self.folder is None:
            return work()
        path = self.folder / manifest.digest([self.key, _code()])[:12] / f"{name}.json"
        if path.is_file():
            return json.loads(path.read_text(encoding="utf-8"))
        result = work()
        manifest.make_folder(path.parent)
        manifest.write_json_atomic(path, result)
        return result

    def pieces(self, name: str, count: int, size: int, work: Callable[[range], list[T]]) -> Iterator[T]:
        """What `work` finds for 0..count in pieces of `size`; a longer run reuses those of a shorter one."""
        for start in range(0, count, size):
            part = range(start, min(start + size, count))
            yield from self.piece(f"{name}-{part.start:06d}-{part.stop:06d}", lambda p=part: work(p))


@cache
def _code() -> str:
    """Digest of what measures: a change there makes old pieces worthless."""
    folders = (Path(__file__).parent, Path(str(evaluation.__file__)).parent)
    files = sorted(file for folder in folders for file in folder.glob("*.py"))
    return manifest.digest([manifest.sha256_file(file) for file in files])
