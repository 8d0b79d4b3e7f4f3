"""Composition of prompts from layers, for each family's text encoder: order, form and truncation.

CLIP reads 77 tokens and weighs the first ones most: clauses, most important first.  T5 and Qwen encoders read
hundreds: full sentences.  The row of the base's family says which (`families.row.TextReader`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

from portrait_lora import vocabulary
from portrait_lora.families.row import Form, TextReader
from portrait_lora.generation import a1111, book

LAYERS: Final = (
    "style", "view", "facing", "shot", "hair", "skin", "makeup", "beard", "glasses", "hat", "expression",
    "wardrobe", "setting", "lighting", "light_side", "camera", "texture", "grade",
)  # fmt: skip
"""The layers of a shot, in the order of the prompt book; those before the camera are in `vocabulary.Look`."""
AFTER_LOOK: Final = ("camera", "texture", "grade")
_CONTINUES: Final = re.compile(r"(?:as|in|on|at|with|by|under|near|from|wearing|[a-z]+ing)\b", re.I)
"""Openings of a text that continues the mention of the person: "as an astronaut"."""
Counter = Callable[[str], int]


_SENTENCE: Final[Mapping[str, str]] = {
    "wardrobe": "Wearing {}",
    "setting": "The background: {}",
    "lighting": "Light: {}",
    "light_side": "The face is {}",
    "camera": "Camera: {}",
    "texture": "Details: {}",
    "grade": "Look: {}",
}


def settled(layers: Mapping[str, str], turn: int = 0) -> dict[str, str]:
    """The layers with unspecified sides filled in: of a turned head, and of a light that has a side.

    A small base needs them: otherwise it blends both sides.  Heads face right and left alternately, so that a
    set shows both sides of a face; the key light is on the side that the head faces (short lighting), and on
    the left of a frontal one.  A frontal head faces neither way.
    """
    complete = dict(layers)
    if complete.get("view") in vocabulary.VIEWS[1:]:
        complete.setdefault("facing", vocabulary.FACINGS[(turn + 1) % 2])
    elif complete.get("view") == vocabulary.VIEWS[0]:
        complete.pop("facing", None)
    if complete.get("lighting") in vocabulary.SIDED_LIGHTINGS:
        right = complete.get("facing") == vocabulary.FACINGS[1]
        complete.setdefault("light_side", vocabulary.LIGHT_SIDES[int(right)])
    return complete


def compose(layers: Mapping[str, str], who: str, form: Form) -> str:
    """The prompt of one shot in the form that the base's family likes; `who` is trigger and class word.

    A medium other than photography follows directly after the subject, because it affects everything else.
    """
    if form == "sentences":
        return _sentences(layers, who)
    look = vocabulary.Look(subject=who, **{k: v for k, v in layers.items() if k not in AFTER_LOOK})
    clauses = vocabulary.clauses(look)
    rest = [layers[k] for k in AFTER_LOOK if layers.get(k)]
    grade = layers.get("grade", "")
    if grade and book.style_of(grade).medium != "photo":
        rest.remove(grade)
        clauses.insert(1, grade)
    return ", ".join([*clauses, *rest])


def _sentences(layers: Mapping[str, str], who: str) -> str:
    """The same as sentences, one per layer; the person's traits stay with the subject."""
    person = {k: v for k, v in layers.items() if k in LAYERS[: LAYERS.index("wardrobe")]}
    first = vocabulary.sentence(vocabulary.Look(subject=who, **person))
    rest = [form.format(layers[k]) for k, form in _SENTENCE.items() if layers.get(k)]
    return ". ".join([first[:1].upper() + first[1:], *rest]) + "."


def free(text: str, layers: Mapping[str, str], who: str, form: Form) -> str:
    """The prompt of a shot in the user's words: the text with the person in it, then the shot's layers."""
    words = with_person(a1111.plain(text).text, who)
    rest = [(k, layers[k]) for k in LAYERS if layers.get(k)]
    if form == "clauses" or not rest:
        return ", ".join([words, *(v for _, v in rest)])
    return ". ".join([words.rstrip("."), *(_SENTENCE.get(k, "{}").format(v) for k, v in rest)]) + "."


def with_person(text: str, who: str) -> str:
    """The text with `who` (trigger and class word) in it: where written, in place of "a woman", or in front.

    Without a trigger in `who` the text is unchanged.
    """
    trigger, _, kind = who.rpartition(" ")
    if not trigger or re.search(rf"(?<!\w){re.escape(trigger)}(?!\w)", text, re.I):
        return text
    in_place = re.compile(rf"\b(?:(?:an?|the|one)\s+)?{re.escape(kind)}\b", re.I)
    if in_place.search(text):
        return in_place.sub(lambda _: who, text, count=1)
    joined = " " if _CONTINUES.match(text) else ", "
    return f"{who}{joined}{text}" if text else who


def fit(prompt: str, limit: int, count: Counter) -> tuple[str, tuple[str, ...]]:
    """(text within the encoder's limit, the clauses that begin or end beyond it)."""
    parts = re.split(r"(?<=[,.;])\s+", prompt.strip())
    for kept in range(len(parts), 0, -1):
        if count(" ".join(parts[:kept])) <= limit:
            return " ".join(parts[:kept]), tuple(part.rstrip(",.;") for part in parts[kept:])
    return "", tuple(part.rstrip(",.;") for part in parts)


def estimate_tokens(text: str) -> int:
    """Estimated number of tokens without the tokenizer: a long or rare word counts as two."""
    pieces = re.findall(r"[A-Za-z]+|\d|[^\sA-Za-z\d]", text)
    return 2 + sum(2 if len(piece) > 9 else 1 for piece in pieces)


def counter_of(folder: Path | None, reader: TextReader) -> tuple[Counter, int]:
    """(token counter, limit) of a base: exact if its tokenizer is in `folder`, else estimated."""
    limit = reader.limit
    parts = [folder / "tokenizer" / name for name in ("vocab.json", "merges.txt")] if folder else []
    if reader.form == "clauses" and parts and all(part.is_file() for part in parts):
        return _clip_counter(*parts), min(limit, _max_length(parts[0].parent) or limit)
    return estimate_tokens, limit


def _max_length(folder: Path) -> int | None:
    match = re.search(
        r'"model_max_length":\s*(\d+)', (folder / "tokenizer_config.json").read_text(encoding="utf-8")
    )
    return int(match[1]) if match else None


@lru_cache(maxsize=2)
def _clip_counter(vocab: Path, merges: Path) -> Counter:
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer(vocab=str(vocab), merges=str(merges))
    return lambda text: len(tokenizer(text)["input_ids"])  # pyright: ignore[reportArgumentType]
