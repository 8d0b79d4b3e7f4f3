"""The guard: no sexual pictures, no minors and no violence with somebody's likeness.

Prompts are read with word lists of eight languages before anything is drawn.  Diacritics, letters of other
scripts that look the same, digits for letters, spaces and signs between letters and letters that are repeated
are seen through.  It is a fence, not a wall: lists know words, not meanings, and refuse some that were
harmless.  Only the administrator's policy changes it, never a prompt or `likeness.yaml`; it can name networks
that read prompts as well, and look at what was drawn.

A refusal is written into `$XDG_STATE_HOME/portrait_lora/guard.jsonl`: time, topic, the entry of the list and
the first digits of the sha256 of prompt or picture; never the prompt.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from PIL import Image

from portrait_lora import manifest
from portrait_lora.errors import InputError
from portrait_lora.rights import classifiers, policy
from portrait_lora.rights.guard_words import PASSES, WORDS
from portrait_lora.rights.policy import Guarding, Topic

ADULT: Final = 18
_MOST_LOG_BYTES: Final = 4 << 20
_LOOKALIKES: Final = str.maketrans(
    "ıłøđðħŧ" + "авеікмнорстухѕԁјӏуй" + "αεικνορτυχ",
    "ilodoht" + "abeikmhopctyxsdjlyi" + "aeiknoptux",
)
"""Letters without a decomposition, and Cyrillic and Greek ones that look like Latin ones."""
_LIGATURES: Final = {"ß": "ss", "œ": "oe", "æ": "ae", "þ": "th"}
_DIGITS: Final = str.maketrans("013457@$!|€", "oieastasile")
_DIGITS_L: Final = str.maketrans("013457@$!|€", "oleastaslle")
_WORD: Final = re.compile(r"[^\W_]+")
_STARRED: Final = re.compile(r"(?<![^\W_*])[a-z]+\*+[a-z*]*")
_STARRED_WORDS: Final = (
    "porn",
    "nude",
    "nudes",
    "naked",
    "fuck",
    "fucking",
    "rape",
    "raped",
    "sex",
    "pussy",
    "cock",
    "tits",
)
_UP_TO_SEVENTEEN: Final = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"),
    *("twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
)
_NUMBERS: Final = {word: number for number, word in enumerate(_UP_TO_SEVENTEEN)}
_OLD: Final = (
    r"(?:years? old|yrs? old|year ?old|yo|y o|jahre? alt|jahrig\w*|yas(?:inda|indaki|li)\w*"
    r"|latek|latka|latki|letni\w*)"
)
_AGED: Final = r"(?:aged?|agee? de|im alter von|de|d|di|con|com|wiek|w wieku)"
_YEARS: Final = re.compile(
    rf"(?<!\d)(?P<n>\d{{1,2}}|{'|'.join(_NUMBERS)}) ?{_OLD}(?!\w)"
    rf"|(?<!\w){_AGED} (?P<m>\d{{1,2}}) ?(?P<unit>years?|jahren?|ans|anos|anni|lat)?(?!\w)"
)
_NEEDS_UNIT: Final = ("de", "d", "di", "con", "com")


class Refused(InputError):
    """A prompt that is not drawn; exit code 2."""


class RefusedPicture(Refused):
    """A drawn picture that is not written."""


@dataclass(frozen=True, slots=True)
class Match:
    """Why a prompt is refused: the topic, and the words that stand for it."""

    topic: Topic
    words: str


def check(
    prompt: str, guarding: Guarding | None = None, *, guardian: bool = False, of_minor: bool = False
) -> Match | None:
    """The first reason not to draw a prompt with a likeness, or None.

    `guardian`: a guardian has consented to pictures of the minor who is portrayed; `of_minor`: the likeness
    is that of a minor.  Nothing sexual is drawn of minors whatever anybody allows.  Raises what `classifiers`
    does where a classifier of texts is configured and cannot be used.
    """
    rules = guarding if guarding is not None else policy.current().guard
    hits = _hits(prompt, rules.allowed_words, _extra(rules))
    if rules.text_classifier is not None and "sexual" not in hits:
        judgement = classifiers.judge_text(rules.text_classifier, prompt)
        hits |= {"sexual": judgement.words} if judgement.refused else {}
    sexual, minors = hits.get("sexual"), hits.get("minors")
    if sexual and (minors or of_minor):
        return Match("minors", f"{minors}, {sexual}" if minors else sexual)
    for topic, words in hits.items():
        lifted = topic in rules.allow or (topic == "minors" and guardian)
        if not lifted:
            return Match(topic, words)
    return None


def require(
    prompts: Sequence[str], *, guardian: bool = False, of_minor: bool = False, where: str = ""
) -> None:
    """Raise `Refused` for the first prompt that is not drawn, and note it; see `check`.

    Where pictures are checked after drawing, what checks them is opened here, before hours of drawing.
    """
    rules = policy.current().guard
    for prompt in dict.fromkeys(prompts):
        match = check(prompt, rules, guardian=guardian, of_minor=of_minor)
        if match is not None:
            if rules.log:
                note(match, prompt)
            raise _refusal(match, where)
    if rules.picture_checker is not None:
        classifiers.ready(rules.picture_checker, "pictures")


def require_picture(picture: Image.Image, name: str) -> None:
    """Raise `RefusedPicture` for a drawn picture that the configured checker refuses, and note it.

    No topic that the policy allows lifts this: who wants no checker configures none.  Raises what
    `classifiers` does where it cannot be used.
    """
    rules = policy.current().guard
    if rules.picture_checker is None:
        return
    judgement = classifiers.judge_picture(rules.picture_checker, picture)
    if not judgement.refused:
        return
    if rules.log:
        pixels = hashlib.sha256(picture.convert("RGB").tobytes()).hexdigest()
        _note("sexual", judgement.words, picture_sha256=pixels[:12])
    raise RefusedPicture(
        "the drawn picture was refused and is not written",
        where=name,
        got=judgement.words,
        needed=f"below {rules.picture_checker.threshold:g}",
        remedy="Draw it with another seed or other words.",
    )


def _refusal(match: Match, where: str) -> Refused:
    what = {
        "sexual": "sexual pictures of a person are not drawn",
        "minors": "pictures of minors are not drawn",
        "violence": "violence against a person is not drawn",
    }[match.topic]
    remedy = (
        f"Use other words. If they are harmless here, the administrator can allow them in {policy.place()}."
    )
    if match.topic == "minors":
        remedy = "A guardian can consent for a child: consent.json, `guardian`. " + remedy
    return Refused(what, where=where or "the prompt", got=match.words, remedy=remedy)


def note(match: Match, prompt: str) -> None:
    """Write a refusal down, without the prompt."""
    digest = hashlib.sha256(prompt.encode(errors="replace")).hexdigest()[:12]
    _note(match.topic, match.words, prompt_sha256=digest)


def _note(topic: Topic, words: str, **digest: str) -> None:
    time = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    row = {"time": time, "topic": topic, "words": words, **digest}
    path = log_file()
    with manifest.locked(path):
        before = path.read_bytes() if path.is_file() else b""
        line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
        manifest.write_bytes_atomic(path, before[-_MOST_LOG_BYTES:] + line)


def log_file() -> Path:
    """Where refusals are noted."""
    home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(home).expanduser() / "portrait_lora" / "guard.jsonl"


def _hits(prompt: str, allowed: tuple[str, ...], extra: tuple[tuple[Topic, str], ...]) -> dict[Topic, str]:
    passes, patterns = _compiled(allowed, extra)
    hits: dict[Topic, str] = {}
    text = folded(prompt)
    for line in readings(text):
        kept = _taken_out(passes, line)
        for topic, pattern in patterns:
            if topic not in hits and (match := pattern.search(kept)):
                hits[topic] = match[0].strip()
        if "minors" not in hits and (age := _minor_age(kept)):
            hits["minors"] = age
    if "sexual" not in hits and (starred := _starred(text)):
        hits["sexual"] = starred
    return hits


def _taken_out(passes: re.Pattern[str], line: str) -> str:
    """Twice: what stands side by side shares a space."""
    return passes.sub(" | ", passes.sub(" | ", line))


def folded(prompt: str) -> str:
    """Lower case, without diacritics, invisible characters and letters of other scripts."""
    text = unicodedata.normalize("NFKC", prompt).lower()
    for ligature, letters in _LIGATURES.items():
        text = text.replace(ligature, letters)
    parts = unicodedata.normalize("NFKD", text)
    kept = "".join(c for c in parts if unicodedata.category(c) not in ("Mn", "Cf", "Me"))
    return kept.translate(_LOOKALIKES)


def readings(text: str) -> Iterator[str]:
    """The words of a folded text, as it may have been meant, each line with a space at both ends."""
    seen: set[str] = set()
    for variant in _variants(text):
        line = f" {' '.join(_WORD.findall(variant))} "
        if line not in seen:
            seen.add(line)
            yield line


def _variants(text: str) -> Iterator[str]:
    yield text
    spelt = [text]
    if re.search(r"[a-z][013457@$!|€]|[013457@$!|€][a-z]", text):
        spelt += [_lettered(text, table) for table in (_DIGITS, _DIGITS_L)]
        yield from spelt[1:]
    for one in spelt:
        joined = re.sub(r"(?<=[^\W\d_])[^\w\s,;:]+(?=[^\W\d_])|(?<=[^\W\d_])_+(?=[^\W\d_])", "", one)
        if joined != one:
            yield joined
        spaced = _unspaced(one)
        if spaced != one:
            yield spaced
        for length in (1, 2):
            short = re.sub(r"([^\W\d_])\1{2,}", r"\1" * length, one)
            if short != one:
                yield short


def _lettered(text: str, table: dict[int, int]) -> str:
    """Digits and signs as letters in words that have letters as well."""
    words = re.split(r"(\s+)", text)
    return "".join(w.translate(table) if re.search(r"[^\W\d_]", w) else w for w in words)


def _unspaced(text: str) -> str:
    """Runs of three single letters and more as one word."""
    return re.sub(
        r"(?<![^\W_])(?:[^\W\d_][^\w]{1,3}){2,}[^\W\d_](?![^\W_])",
        lambda run: "".join(_WORD.findall(run[0])),
        text,
    )


def _starred(text: str) -> str | None:
    """A word with stars for letters that can be one of a few."""
    for token in _STARRED.findall(text):
        pattern = re.compile(token.replace("*", "[a-z]"))
        if any(pattern.fullmatch(word) for word in _STARRED_WORDS):
            return token
    return None


def _minor_age(line: str) -> str | None:
    for match in _YEARS.finditer(line):
        if match["m"] is not None:
            before = match[0].split()[0]
            if match["unit"] is None and before in _NEEDS_UNIT:
                continue
            number = int(match["m"])
        else:
            number = _NUMBERS.get(match["n"], -1) if not match["n"].isdigit() else int(match["n"])
        if 0 <= number < ADULT:
            return match[0].strip()
    return None


def _extra(rules: Guarding) -> tuple[tuple[Topic, str], ...]:
    return tuple((topic, ", ".join(words)) for topic, words in sorted(rules.refused_words.items()))


@lru_cache(maxsize=8)
def _compiled(
    allowed: tuple[str, ...], extra: tuple[tuple[Topic, str], ...]
) -> tuple[re.Pattern[str], tuple[tuple[Topic, re.Pattern[str]], ...]]:
    passes = _pattern([*_entries(PASSES), *(" ".join(_WORD.findall(folded(w))) for w in allowed)])
    more = dict(extra)
    patterns: tuple[tuple[Topic, re.Pattern[str]], ...] = tuple(
        (topic, _pattern([*_entries(words), *(folded(e) for e in _entries(more.get(topic, "")))]))
        for topic, words in WORDS.items()
    )
    return passes, patterns


def _entries(block: str) -> list[str]:
    return [entry.strip() for entry in block.split(",") if entry.strip()]


def _pattern(entries: Sequence[str]) -> re.Pattern[str]:
    """Longest first, so that a phrase is taken before a word of it."""
    parts = [_part(entry) for entry in sorted(set(entries), key=len, reverse=True) if entry]
    return re.compile(r"(?<= )(?:" + "|".join(parts) + r")(?= )") if parts else re.compile(r"(?!)")


def _part(entry: str) -> str:
    words = [r"\w+" if w == "*" else re.escape(w).replace(r"\*", r"\w*") for w in entry.split()]
    return " ".join(words)
