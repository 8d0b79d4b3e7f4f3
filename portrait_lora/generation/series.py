"""Series of shots: a YAML file with a list, a grid, or both.

series: headshots
seed: 1200              # every picture's seed follows from it
aspect: "1:1"           # or 3:4, 2:3 …
negative_prompt: ""
template: corporate     # optional: the template that every shot begins from
locked: {setting: grey seamless backdrop}    # layers shared by every shot
grid: {lighting: [...], wardrobe: [...]}     # optional: one shot per combination
count: 2                # pictures per shot; default: as configured
finish: linkedin        # optional: a look for the finished pictures: its name, a file, or a list of steps
shots:
  - {name: …, template: …, aspect: …, count: …, view: …, shot: …, lighting: …, camera: …}
  - {prompt: "as an astronaut, soft window light"}   # free words; layers may follow, a template may not
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from portrait_lora.errors import ConfigError
from portrait_lora.generation import brand as brands
from portrait_lora.generation import reading, templates
from portrait_lora.generation.brand import Brand
from portrait_lora.generation.compose import LAYERS

_SERIES_KEYS: Final = (
    "series", "seed", "aspect", "negative_prompt", "template", "locked", "grid", "count", "shots", "finish",
    "label", "purpose",
)  # fmt: skip
_SHOT_KEYS: Final = ("name", "prompt", "template", "aspect", "count", *LAYERS)
PROMPT_ASPECT: Final = (3, 4)
"""Size of a shot in free words, if the base supports any size."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One shot of a series: its layers, its aspect ratio, and number of pictures (None: as configured).

    `prompt` is the user's own words, followed by the layers; empty for a shot of layers alone.
    """

    name: str
    layers: Mapping[str, str]
    aspect: tuple[int, int]
    count: int | None = None
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """A parsed series: templates filled in, grid expanded, brand applied."""

    name: str
    seed: int
    negative_prompt: str
    entries: tuple[Entry, ...]


def series_path(name: str | Path) -> Path:
    """The file of a packaged series, or the path itself.  `ConfigError` suggests the nearest name."""
    return reading.packaged("series", name, "generate.series")


def finish_of(series: str, brand: str = "") -> reading.Finish | None:
    """What the brand asks for under `finish`, else what the series does; None when neither does.

    A brand is one for all series, so where both name a look, its look alone counts.  Raises `ConfigError` for
    something else than a look.
    """
    common = brands.load_brand(brand).finish if brand else None
    path = series_path(series)
    top = reading.mapping(reading.tree(path, "series"), path, "the series", _SERIES_KEYS)
    return common or (reading.finish(top["finish"], path, "series") if "finish" in top else None)


def label_of(series: str, brand: str = "") -> bool | None:
    """Whether brand or series ask for the visible label on what is published; None when neither says."""
    path = series_path(series)
    top = reading.mapping(reading.tree(path, "series"), path, "the series", _SERIES_KEYS)
    common = brands.load_brand(brand).label if brand else None
    return common if common is not None else _label(top, path)


def is_commercial(series: str) -> bool:
    """Whether a series names a commercial `purpose`, for which its people have to have agreed."""
    path = series_path(series)
    return _purpose(reading.mapping(reading.tree(path, "series"), path, "the series", _SERIES_KEYS), path)


def _purpose(top: Mapping[str, object], path: Path) -> bool:
    purpose = top.get("purpose", "portraits")
    if purpose not in ("portraits", "commercial"):
        needed = "portraits or commercial"
        raise ConfigError("no such purpose", where=f"{path}: purpose", got=purpose, needed=needed)
    return purpose == "commercial"


def _label(top: Mapping[str, object], path: Path) -> bool | None:
    return reading.yes_or_no(top["label"], path, "label") if "label" in top else None


def read_series(
    path: Path, *, closed: bool = False, brand: Brand | None = None, known: Collection[str] | None = None
) -> Series:
    """Parse a series file.  Raises `ConfigError` for anything unknown, naming file and key.

    `closed` uses templates in the closed vocabulary, which is `known` or the whole of it.
    """
    top = reading.mapping(reading.tree(path, "series"), path, "the series", _SERIES_KEYS)
    if "finish" in top:
        reading.finish(top["finish"], path, "series")
    _label(top, path)
    _purpose(top, path)
    locked = reading.words(top.get("locked", {}), path, "locked", LAYERS)
    grid = reading.mapping(top.get("grid", {}), path, "grid", LAYERS)
    reading.no_overlap(grid, locked, path, "grid")
    drafts = [_listed(one, i, path, locked) for i, one in enumerate(_shots(top, path))]
    drafts += [_Draft(name, layers) for name, layers in _grid(grid, path)]
    if not drafts and top.get("template"):
        drafts = [_Draft(str(top["template"]), {})]
    if not drafts:
        raise ConfigError("the series has no shots", where=path, needed="`shots` or `grid`")
    _one_name_each(drafts, path)
    common = str(top["template"]) if top.get("template") else None
    entries: list[Entry] = []
    for draft in drafts:
        look = None if draft.prompt else draft.template or common
        begun = templates.layers_for(look, closed=closed, known=known) if look else {}
        layers = {**begun, **locked, **draft.layers}
        if brand is not None:
            layers = brands.apply(brand, layers, locked, grid, path)
        aspect = draft.aspect or (brand.aspect if brand else None)
        if draft.prompt and "aspect" not in top and not closed:
            aspect = aspect or PROMPT_ASPECT
        aspect = aspect or _aspect(top, look, closed, path)
        entries.append(Entry(draft.name, layers, aspect, draft.count or _count(top, path), draft.prompt))
    negative = [str(top.get("negative_prompt") or ""), brand.negative_prompt if brand else ""]
    seed = reading.whole(top.get("seed", 0), path, "seed")
    return Series(str(top.get("series", path.stem)), seed, ", ".join(filter(None, negative)), tuple(entries))


@dataclass(frozen=True, slots=True)
class _Draft:
    name: str
    layers: Mapping[str, str]
    template: str | None = None
    aspect: tuple[int, int] | None = None
    count: int | None = None
    prompt: str = ""


def _shots(top: Mapping[str, object], path: Path) -> list[object]:
    return reading.listed(top.get("shots", []), path, "shots")


def _listed(one: object, index: int, path: Path, locked: Mapping[str, str]) -> _Draft:
    where = f"shots[{index + 1}]"
    raw = reading.mapping(one, path, where, _SHOT_KEYS)
    aspect = reading.aspect(raw.pop("aspect"), path, f"{where}.aspect") if "aspect" in raw else None
    count = reading.whole(raw.pop("count"), path, f"{where}.count", 1) if "count" in raw else None
    layers = reading.words(raw, path, where, _SHOT_KEYS)
    template, prompt = layers.pop("template", None), layers.pop("prompt", "")
    if template and prompt:
        raise ConfigError("a shot has a template or a prompt", where=f"{path}: {where}", got="both")
    name = layers.pop("name", None) or template or (prompt and prompt_name(prompt)) or f"shot-{index + 1}"
    reading.no_overlap(layers, locked, path, where)
    return _Draft(reading.slug(name), layers, template, aspect, count, prompt)


def prompt_name(prompt: str) -> str:
    """A short name for a shot in free words: its first words and a digest."""
    digest = hashlib.sha256(prompt.encode("utf-8")).hexdigest()[:6]
    return f"{reading.slug(' '.join(prompt.split()[:6]))[:40].strip('-')}-{digest}"


def _grid(axes: Mapping[str, object], path: Path) -> list[tuple[str, dict[str, str]]]:
    if not axes:
        return []
    columns = [
        [reading.text(v, path, f"grid.{k}") for v in reading.listed(axes[k], path, f"grid.{k}")] for k in axes
    ]
    return [
        (reading.slug(" ".join(words)), dict(zip(axes, words, strict=True)))
        for words in itertools.product(*columns)
    ]


def _one_name_each(drafts: list[_Draft], path: Path) -> None:
    names = [draft.name for draft in drafts]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ConfigError("two shots have the same name", where=path, got=twice)


def _aspect(top: Mapping[str, object], look: str | None, closed: bool, path: Path) -> tuple[int, int]:
    """The series' own aspect ratio; else the template's if the base reads free text; else square."""
    if "aspect" not in top and look and not closed:
        return reading.aspect(templates.template(look).aspect, path)
    return reading.aspect(top.get("aspect", "1:1"), path)


def _count(top: Mapping[str, object], path: Path) -> int | None:
    return reading.whole(top["count"], path, "count", 1) if "count" in top else None
