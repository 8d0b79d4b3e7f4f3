"""Prompt syntax of A1111 and similar programs: not supported, but recognised and reported.

Weights `(word:1.2)`, `((word))` and `[word]`, editing `[a:b:0.5]`, alternation `[a|b]`, `BREAK`, `AND` and
tags such as `<lora:name:0.8>`.  Single parentheses without a weight are kept as punctuation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_TAG: Final = re.compile(r"<\s*(?:lora|lyco|hypernet|embedding|ti)\s*:[^<>]{0,200}>", re.I)
_WEIGHT: Final = re.compile(r"(?<!\()\(+([^()]*):\s*-?\d+(?:\.\d+)?\s*\)+")
_DOUBLE: Final = re.compile(r"(?<!\()\(\(+([^()]*)\)+\)")
_BRACKETS: Final = re.compile(r"(?<!\[)\[+([^\[\]]*)\]+")
_WORDS: Final = re.compile(r"\b(?:BREAK|AND)\b")
_NUMBER: Final = re.compile(r"\s*-?\d+(?:\.\d+)?\s*")
_ESCAPED: Final = {r"\(": "\0", r"\)": "\1", r"\[": "\2", r"\]": "\3"}
_MOST_NESTED: Final = 10
_SHOWN: Final = 40


@dataclass(frozen=True, slots=True)
class Plain:
    """A prompt in plain words, and its pieces of unsupported syntax verbatim."""

    text: str
    unsupported: tuple[str, ...]


def plain(prompt: str) -> Plain:
    """The words of a prompt; every piece of unsupported syntax is in `unsupported`."""
    pieces: list[str] = []
    text = prompt
    for written, mark in _ESCAPED.items():
        text = text.replace(written, mark)

    def named(match: re.Match[str], words: str) -> str:
        pieces.append(match[0] if len(match[0]) <= _SHOWN else f"{match[0][: _SHOWN - 1]}…")
        return words

    text = _TAG.sub(lambda m: named(m, ""), text)
    for _ in range(_MOST_NESTED):
        before = text
        text = _BRACKETS.sub(lambda m: named(m, _chosen(m[1])), text)
        text = _WEIGHT.sub(lambda m: named(m, m[1].rstrip()), text)
        text = _DOUBLE.sub(lambda m: named(m, m[1]), text)
        if text == before:
            break
    text = _WORDS.sub(lambda m: named(m, ","), text)
    for written, mark in _ESCAPED.items():
        text = text.replace(mark, written[1])
    return Plain(_tidy(text) if pieces else " ".join(text.split()), tuple(dict.fromkeys(pieces)))


def _chosen(inner: str) -> str:
    """The first option of an alternation, the last of an edit, else all words."""
    if "|" in inner:
        return inner.split("|")[0]
    parts = [part for part in inner.split(":") if part.strip() and not _NUMBER.fullmatch(part)]
    return parts[-1] if parts else ""


def _tidy(text: str) -> str:
    """Normalise spaces and remove empty clauses."""
    clauses = (" ".join(clause.split()) for clause in text.split(","))
    return ", ".join(clause for clause in clauses if clause)
