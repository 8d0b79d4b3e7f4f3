"""The prompt book: series of shots, written in layers, and the probes that choose a checkpoint.

A series is a YAML file:

    series: headshots
    seed: 1200              # every picture's seed follows from it
    aspect: "1:1"           # or 3:4, 2:3 …
    negative_prompt: ""
    locked: {setting: grey seamless backdrop}    # layers that every shot shares
    grid: {lighting: [...], wardrobe: [...]}     # optional: one shot per combination
    shots:
      - {name: …, view: …, shot: …, expression: …, wardrobe: …, setting: …, lighting: …, camera: …}

The subject clause is `{view} {shot} of {trigger} {subject}`; the other layers follow in the order of
`LAYERS`.
"""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

import yaml

from portrait_lora import manifest, vocabulary
from portrait_lora.config import configs_dir
from portrait_lora.errors import ConfigError
from portrait_lora.records import Shot

LAYERS: Final = (
    "view", "shot", "hair", "skin", "beard", "glasses", "expression", "wardrobe", "setting", "lighting",
    "camera", "texture", "grade",
)  # fmt: skip
"""What a shot may say; the first ten are fields of `vocabulary.Look`, the rest follow them."""
_AFTER_LOOK: Final = ("camera", "texture", "grade")
_SERIES_KEYS: Final = ("series", "seed", "aspect", "negative_prompt", "locked", "grid", "shots")
_SHOT_KEYS: Final = ("name", *LAYERS)
_SEED_SPAN: Final = 2**31


@dataclass(frozen=True, slots=True)
class Series:
    """A series as its file says it, grid expanded; each shot maps layer to words."""

    name: str
    seed: int
    aspect: tuple[int, int]
    negative_prompt: str
    shots: tuple[tuple[str, Mapping[str, str]], ...] = field(default=())


def series_path(name: str | Path) -> Path:
    """The file of a packaged series, or the path itself.  Raises `ConfigError` with the nearest name."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return path
    folder = configs_dir() / "series"
    packaged = {p.stem: p for p in sorted(folder.glob("*.yaml"))}
    if str(name) in packaged:
        return packaged[str(name)]
    close = difflib.get_close_matches(str(name), packaged, 1, cutoff=0.5)
    hint = f"Did you mean {close[0]!r}?" if close else f"Packaged: {', '.join(packaged)}."
    raise ConfigError("no such series", where="generate.series", got=repr(str(name)), remedy=hint)


def load_series(
    series: str | Path,
    *,
    trigger: str,
    subject: str,
    resolution_px: int,
    per_shot: int = 1,
    traits: Mapping[str, str] | None = None,
) -> list[Shot]:
    """The pictures of a series: `per_shot` of each shot, each with a seed of its own.

    An empty `trigger` gives the same prompts for the bare base.  `traits` (hair, skin, beard, glasses)
    describe the person in every prompt.  Raises `ConfigError` naming the file and the key.
    """
    book = read_series(series_path(series))
    size = size_for(book.aspect, resolution_px)
    shots: list[Shot] = []
    for i, (name, layers) in enumerate(book.shots):
        said = {**(traits or {}), **layers}
        for k in range(per_shot):
            number = f"{i + 1:02d}-{name}" + (f"-{k + 1}" if per_shot > 1 else "")
            shots.append(_shot(number, said, trigger, subject, book, size, picture_seed(book.seed, i, k)))
    return shots


def picture_seed(series_seed: int, shot: int, picture: int = 0) -> int:
    """The seed of one picture: a digest of series seed, shot and picture number."""
    return int(manifest.digest(["picture", series_seed, shot, picture])[:12], 16) % _SEED_SPAN


def size_for(aspect: tuple[int, int], resolution_px: int) -> tuple[int, int]:
    """(W, H) of that aspect with about the base's number of pixels, in steps the denoiser can halve."""
    step = 16 if resolution_px < 256 else 64
    ratio = math.sqrt(aspect[0] / aspect[1])

    def side(value: float) -> int:
        return max(step, round(value / step) * step)

    return side(resolution_px * ratio), side(resolution_px / ratio)


def prompt_of(layers: Mapping[str, str], trigger: str, subject: str) -> str:
    """The prompt of one shot's layers."""
    look = vocabulary.Look(
        subject=f"{trigger} {subject}".strip(), **{k: v for k, v in layers.items() if k not in _AFTER_LOOK}
    )
    return ", ".join([vocabulary.sentence(look), *(layers[k] for k in _AFTER_LOOK if layers.get(k))])


def _shot(
    name: str,
    layers: Mapping[str, str],
    trigger: str,
    subject: str,
    book: Series,
    size: tuple[int, int],
    seed: int,
) -> Shot:
    told = tuple((k, layers[k]) for k in LAYERS if layers.get(k))
    who = f"{trigger} {subject}".strip()
    return Shot(
        name=name,
        prompt=prompt_of(layers, trigger, subject),
        negative_prompt=book.negative_prompt,
        size_px=size,
        seed=seed,
        layers=(("subject", who), *told),
    )


_PROBE_VIEWS: Final = (*vocabulary.VIEWS[:2],)
_PROBE_EXPRESSIONS: Final = ("neutral", "smiling", "neutral", "laughing")
_PROBE_LIGHTS: Final = (
    "three-point lighting",
    "butterfly lighting",
    "high-key lighting",
    "rembrandt lighting",
)
_PROBE_SETTINGS: Final = ("beige textured backdrop", "grey bokeh backdrop", "green gradient backdrop")
_PROBE_WARDROBE: Final = ("plum turtleneck", "brown shirt", "charcoal v-neck", "teal t-shirt", "black suit")


def probe_shots(trigger: str, subject: str, n: int, *, resolution_px: int, seed: int = 0) -> list[Shot]:
    """`n` portraits that choose the checkpoint; prompts and seeds occur in no packaged series."""
    book = Series("probe", seed, (1, 1), "")
    shots: list[Shot] = []
    for i in range(n):
        layers = {
            "view": _PROBE_VIEWS[i % 2],
            "shot": vocabulary.SHOTS[(i // 2) % 2],
            "expression": _PROBE_EXPRESSIONS[i % len(_PROBE_EXPRESSIONS)],
            "wardrobe": _PROBE_WARDROBE[i % len(_PROBE_WARDROBE)],
            "setting": _PROBE_SETTINGS[i % len(_PROBE_SETTINGS)],
            "lighting": _PROBE_LIGHTS[(i + i // 4) % len(_PROBE_LIGHTS)],
        }
        own = int(manifest.digest(["probe", seed, i])[:12], 16) % _SEED_SPAN
        name = f"probe-{i + 1:02d}"
        shots.append(_shot(name, layers, trigger, subject, book, size_for((1, 1), resolution_px), own))
    return shots


def read_series(path: Path) -> Series:
    """Parse a series file.  Raises `ConfigError` for anything it does not know, naming file and key."""
    try:
        tree: object = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError("the series cannot be read", where=path, got=error) from error
    top = _mapping(tree, path, "the series", _SERIES_KEYS)
    locked = _words(top.get("locked", {}), path, "locked", LAYERS)
    shots: list[tuple[str, Mapping[str, str]]] = []
    for i, one in enumerate(_list(top.get("shots", []), path, "shots")):
        layers = _words(one, path, f"shots[{i + 1}]", _SHOT_KEYS)
        name = layers.pop("name", None) or f"shot-{i + 1}"
        _no_overlap(layers, locked, path, f"shots[{i + 1}]")
        shots.append((_slug(name), {**locked, **layers}))
    shots.extend(_grid(top.get("grid", {}), locked, path))
    if not shots:
        raise ConfigError("the series has no shots", where=path, needed="`shots` or `grid`")
    names = [name for name, _ in shots]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError("two shots have one name", where=path, got=name)
    seed = top.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise ConfigError("not a whole number", where=f"{path}: seed", got=repr(seed))
    negative = str(top.get("negative_prompt") or "")
    aspect = _aspect(str(top.get("aspect", "1:1")), path)
    return Series(str(top.get("series", path.stem)), seed, aspect, negative, tuple(shots))


def _grid(value: object, locked: Mapping[str, str], path: Path) -> list[tuple[str, Mapping[str, str]]]:
    axes = _mapping(value, path, "grid", LAYERS)
    if not axes:
        return []
    _no_overlap(axes, locked, path, "grid")
    columns = [[str(v) for v in _list(axes[k], path, f"grid.{k}")] for k in axes]
    out: list[tuple[str, Mapping[str, str]]] = []
    for combination in itertools.product(*columns):
        layers = dict(zip(axes, combination, strict=True))
        out.append((_slug(" ".join(combination)), {**locked, **layers}))
    return out


def _mapping(value: object, path: Path, where: str, known: Sequence[str]) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ConfigError("not keys and values", where=f"{path}: {where}", got=type(value).__name__)
    tree = {str(k): v for k, v in cast(dict[object, object], value).items()}
    for key in tree:
        if key not in known:
            close = difflib.get_close_matches(key, known, 1, cutoff=0.5)
            hint = f"Did you mean {close[0]!r}?" if close else f"Known here: {', '.join(known)}."
            raise ConfigError(f"unknown key {key!r}", where=f"{path}: {where}", remedy=hint)
    return tree


def _words(value: object, path: Path, where: str, known: Sequence[str]) -> dict[str, str]:
    out: dict[str, str] = {}
    for key, words in _mapping(value, path, where, known).items():
        if not isinstance(words, str) or not words.strip():
            raise ConfigError("not words", where=f"{path}: {where}.{key}", got=repr(words))
        out[key] = " ".join(words.split())
    return out


def _list(value: object, path: Path, where: str) -> list[object]:
    if not isinstance(value, list):
        raise ConfigError("not a list", where=f"{path}: {where}", got=type(value).__name__)
    return cast(list[object], value)


def _no_overlap(layers: Mapping[str, object], locked: Mapping[str, str], path: Path, where: str) -> None:
    both = sorted(set(layers) & set(locked))
    if both:
        raise ConfigError(
            "a locked layer is set again",
            where=f"{path}: {where}",
            got=", ".join(both),
            remedy="Set it in one place.",
        )


def _aspect(text: str, path: Path) -> tuple[int, int]:
    w, sep, h = text.partition(":")
    if not sep or not w.strip().isdigit() or not h.strip().isdigit() or not 0.25 <= _ratio(w, h) <= 4:
        raise ConfigError("not an aspect ratio", where=f"{path}: aspect", got=text, needed='such as "3:4"')
    return int(w), int(h)


def _ratio(w: str, h: str) -> float:
    return int(w) / int(h) if int(h) else 0.0


def _slug(name: str) -> str:
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower())
    return "-".join(part for part in kept.split("-") if part) or "shot"
