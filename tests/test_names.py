"""Identifiers say what a thing is, not that somebody said, found or made it."""

from __future__ import annotations

import io
import re
import tokenize
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARTICIPLES = frozenset({"told", "said", "made", "found", "given", "asked"})
WORD = re.compile(rf"\b({'|'.join(sorted(PARTICIPLES))})\b")
MOST = 40
"""What is left are keys of files that people have, and `hypothesis.given`."""


def identifiers(source: str) -> Counter[str]:
    if not WORD.search(source):  # two files of three: taking them apart takes seconds
        return Counter()
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return Counter(t.string for t in tokens if t.type == tokenize.NAME and t.string in PARTICIPLES)


def test_identifiers_are_counted() -> None:
    names = identifiers("found = told.said(made='given')  # asked")
    assert names == Counter(["found", "told", "said", "made"])


def test_few_participles_name_things() -> None:
    files = [f for room in ("portrait_lora", "scripts", "tests") for f in sorted((ROOT / room).rglob("*.py"))]
    counts = {str(f.relative_to(ROOT)): identifiers(f.read_text("utf-8")).total() for f in files}
    assert sum(counts.values()) <= MOST, {name: count for name, count in counts.items() if count}
