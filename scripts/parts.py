"""Long measurements in parts: kept as they are finished, left out the next time, shared among processes.

A part is a function of its name alone and gives plain JSON.  Results lie in a folder named after what they
depend on (sources, face pack, sizes), so that a change of the program never mixes with what was measured
before it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from portrait_lora import manifest

ROOT = Path(__file__).resolve().parents[1]
Result = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`--work FOLDER --part K/N`."""
    parser.add_argument(
        "--work", type=Path, default=None, help="keep finished parts here, and go on from them"
    )
    parser.add_argument(
        "--part", default=None, help="K/N: do every N-th part from the K-th only (needs --work)"
    )


def key(*facts: str, sources: Sequence[str]) -> str:
    """A short name for what a result depends on: `facts`, and the files that match the patterns `sources`.

    Raises ValueError for a pattern without a file: a moved source would no longer count.
    """
    matches = {pattern: set(ROOT.glob(pattern)) for pattern in sources}
    if stale := [pattern for pattern, files in matches.items() if not files]:
        raise ValueError(f"no file matches {', '.join(stale)}")
    files = sorted(set().union(*matches.values()))
    table = {str(f.relative_to(ROOT)): manifest.sha256_file(f) for f in files}
    return manifest.digest({"facts": list(facts), "files": table})[:16]


def collect(
    names: Sequence[str], make: Callable[[str], Result], *, work: Path | None, name: str, part: str | None
) -> list[Result] | None:
    """The result of every part in order; None when only some of them were to be computed.

    Raises ValueError for a `part` that is not K/N with 1 <= K <= N, or without a folder.
    """
    if work is None:
        if part is not None:
            raise ValueError("--part needs --work")
        return [make(one) for one in names]
    folder = work / name
    folder.mkdir(parents=True, exist_ok=True)
    first, step = _which(part)
    for one in names[first::step]:
        file = folder / f"{one}.json"
        if not file.exists():
            manifest.write_json_atomic(file, make(one))
    if part is not None:
        missing = sum(not (folder / f"{one}.json").exists() for one in names)
        print(f"part {part} is done; {missing} of {len(names)} parts are missing in {folder}")
        return None
    return [json.loads((folder / f"{one}.json").read_text(encoding="utf-8")) for one in names]


def _which(part: str | None) -> tuple[int, int]:
    if part is None:
        return 0, 1
    k, slash, n = part.partition("/")
    if not (slash and k.isdigit() and n.isdigit() and 1 <= int(k) <= int(n)):
        raise ValueError(f"--part is K/N with 1 <= K <= N, got {part}")
    return int(k) - 1, int(n)
