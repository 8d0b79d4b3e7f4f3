"""Shots from series: prompts, sizes and seeds; and the probes for checkpoint selection.

The first clause is `{view} {shot} of {trigger} {subject}`; the other layers follow in the order of
`compose.LAYERS`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final, cast

from portrait_lora import manifest, strict_json, vocabulary
from portrait_lora.errors import ArtifactError
from portrait_lora.families.catalog import BaseModel
from portrait_lora.families.row import Form
from portrait_lora.generation import book
from portrait_lora.generation.brand import load_brand
from portrait_lora.generation.compose import LAYERS, compose, free, settled
from portrait_lora.generation.series import read_series, series_path
from portrait_lora.records import Shot

_SEED_SPAN: Final = 2**31
_VOCABULARY_FILE: Final = "vocabulary.json"


def load_series(
    series: str | Path,
    *,
    trigger: str,
    subject: str,
    resolution_px: int,
    per_shot: int = 1,
    traits: Mapping[str, str] | None = None,
    brand: str | Path = "",
    form: Form,
    closed: bool = False,
    known: Collection[str] | None = None,
) -> list[Shot]:
    """The shots of a series: `per_shot` pictures each unless the shot has a count, each with its own seed.

    An empty `trigger` gives the same prompts for the bare base.  `traits` (hair, skin, beard, glasses)
    describe the person in every prompt.  `brand` is a brand sheet to apply to every shot.  `form` is what the
    base's text encoder reads best.  `closed`: the base has a closed vocabulary, `known` or all of it.  Raises
    `ConfigError` naming file and key.
    """
    sheet = load_brand(brand) if brand else None
    book_ = read_series(series_path(series), closed=closed, brand=sheet, known=known)
    who = f"{trigger} {subject}".strip()
    shots: list[Shot] = []
    turned = 0
    for i, entry in enumerate(book_.entries):
        layers = {**(traits or {}), **entry.layers}
        if closed:
            layers = settled(layers, turned)
            turned += "facing" in layers
        size, count = size_for(entry.aspect, resolution_px), entry.count or per_shot
        for k in range(count):
            name = f"{i + 1:02d}-{entry.name}" + (f"-{k + 1}" if count > 1 else "")
            negative = book_.negative_prompt or ("" if closed else _usual_negative(layers))
            own = picture_seed(book_.seed, i, k)
            shots.append(_shot(name, layers, who, negative, size, own, form, entry.prompt))
    return shots


def known_words(base: BaseModel) -> frozenset[str] | None:
    """The closed vocabulary of a base; None for one that reads free text.

    A base declares it in `vocabulary.json`, a list of words beside its weights; bases of the synthetic studio
    have those of `vocabulary.words()` that are whole tokens of their tokenizer.
    """
    declared = base.folder / _VOCABULARY_FILE if base.folder else None
    if declared is not None and declared.is_file():
        return frozenset(map(str, _words_of(declared)))
    return _learnt_words(base.folder) if base.synthetic else None


def _learnt_words(folder: Path | None) -> frozenset[str]:
    """The words whose pieces (letters, or what is between them) are all tokens of a base."""
    file = folder / "tokenizer" / "vocab.json" if folder else None
    if file is None or not file.is_file():
        return frozenset(vocabulary.words())
    tokens = strict_json.load_object(file, "vocabulary of the tokenizer")
    return frozenset(
        word
        for word in vocabulary.words()
        if all(f"{piece}</w>" in tokens for piece in re.findall(r"[a-z]+|[^a-z]+", word))
    )


def _words_of(file: Path) -> list[object]:
    words = strict_json.load(file, "vocabulary of the base")
    if not isinstance(words, list):
        raise ArtifactError("the vocabulary of the base is damaged", where=file, needed="a list of words")
    return cast(list[object], words)


def _usual_negative(layers: Mapping[str, str]) -> str:
    """The negative prompt for the medium of a template; empty without a texture layer."""
    if not layers.get("texture"):
        return ""
    return book.NEGATIVE[book.style_of(layers.get("style") or layers.get("grade", "")).medium]


def picture_seed(series_seed: int, shot: int, picture: int = 0) -> int:
    """The seed of one picture: a digest of series seed, shot and picture number."""
    return int(manifest.digest(["picture", series_seed, shot, picture])[:12], 16) % _SEED_SPAN


def candidate_seed(seed: int, candidate: int) -> int:
    """The seed of a further candidate for one picture; candidate 0 is the picture itself."""
    return (
        seed if candidate == 0 else int(manifest.digest(["candidate", seed, candidate])[:12], 16) % _SEED_SPAN
    )


def size_for(aspect: tuple[int, int], resolution_px: int) -> tuple[int, int]:
    """(W, H) of that aspect ratio with about the base's number of pixels, in supported multiples."""
    step = 16 if resolution_px < 256 else 64
    ratio = math.sqrt(aspect[0] / aspect[1])

    def side(value: float) -> int:
        return max(step, round(value / step) * step)

    return side(resolution_px * ratio), side(resolution_px / ratio)


def _shot(
    name: str,
    layers: Mapping[str, str],
    who: str,
    negative: str,
    size: tuple[int, int],
    seed: int,
    form: Form,
    own_words: str = "",
) -> Shot:
    described = tuple((k, layers[k]) for k in LAYERS if layers.get(k))
    if own_words:
        prompt = free(own_words, layers, who, form)
        return Shot(name, prompt, negative, size, seed, (("subject", who), ("prompt", own_words), *described))
    return Shot(name, compose(layers, who, form), negative, size, seed, (("subject", who), *described))


_PROBE_VIEWS: Final = (*vocabulary.VIEWS[:2],)
_PROBE_EXPRESSIONS: Final = ("neutral", "smiling", "neutral", "laughing")
_PROBE_LIGHTS: Final = (
    "three-point lighting",
    "butterfly lighting",
    "high-key lighting",
    "rembrandt lighting",
)
_PROBE_SETTINGS: Final = ("beige textured backdrop", "grey bokeh backdrop", "green gradient backdrop")
_LESSON_EXPRESSIONS: Final = ("neutral", "smiling", "laughing")
_PROBE_WARDROBE: Final = ("plum turtleneck", "brown shirt", "charcoal v-neck", "teal t-shirt", "black suit")


def probe_shots(trigger: str, subject: str, n: int, *, resolution_px: int, seed: int = 0) -> list[Shot]:
    """`n` probe portraits for checkpoint selection; prompts and seeds occur in no packaged series."""
    views, lights = _PROBE_VIEWS, _PROBE_LIGHTS
    return [
        _own_shot(
            ("probe", seed, i), trigger, subject, resolution_px, view=views[i % 2],
            expression=_PROBE_EXPRESSIONS[i % len(_PROBE_EXPRESSIONS)],
            lighting=lights[(i + i // 4) % len(lights)],
        )
        for i in range(n)
    ]  # fmt: skip


def lesson_shots(trigger: str, subject: str, n: int, *, resolution_px: int, seed: int = 0) -> list[Shot]:
    """`n` portraits for the identity loss, in all lights, views and lively expressions there are words for.

    Their seeds are neither those of the probes nor of a packaged series.
    """
    views, lights = vocabulary.VIEWS, vocabulary.LIGHTINGS
    return [
        _own_shot(
            ("lesson", seed, i), trigger, subject, resolution_px, view=views[i % len(views)],
            expression=_LESSON_EXPRESSIONS[(i // 2) % len(_LESSON_EXPRESSIONS)],
            lighting=lights[(i + i // len(lights)) % len(lights)],
        )
        for i in range(n)
    ]  # fmt: skip


def _own_shot(
    place: tuple[str, int, int], trigger: str, subject: str, resolution_px: int, **layers: str
) -> Shot:
    """A square shot of nobody's series; its place (purpose, seed, index) decides everything else."""
    purpose, _, i = place
    worn = {
        "shot": vocabulary.SHOTS[(i // 2) % 2],
        "wardrobe": _PROBE_WARDROBE[i % len(_PROBE_WARDROBE)],
        "setting": _PROBE_SETTINGS[i % len(_PROBE_SETTINGS)],
    }
    who, size = f"{trigger} {subject}".strip(), size_for((1, 1), resolution_px)
    own = int(manifest.digest(list(place))[:12], 16) % _SEED_SPAN
    described = settled({**layers, **worn}, i // 2)
    return _shot(f"{purpose}-{i + 1:02d}", described, who, "", size, own, "clauses")
