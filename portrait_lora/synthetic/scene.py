"""The scene of one picture: pose, expression, light, backdrop, clothes, framing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import torch
from torch import Tensor

from portrait_lora import vocabulary as words
from portrait_lora.synthetic.identity import seeded

CLOSE_UP_MIN_HEAD_FRACTION: Final = 0.71
"""Heads fill the frame, as in the crops of `dataset.crop`: a small head at 128 px carries no likeness."""
_SALT: Final = 0x3C6EF3
_DRAWS: Final = 40
_EXPRESSION_ODDS: Final = (0.36, 0.25, 0.10, 0.10, 0.10, 0.09)
_YAW_ODDS: Final = (0.50, 0.35, 0.15)
_HEADSHOT_ODDS: Final = 0.7
_LATER_WORD_ODDS: Final = 0.5
_LATER_DRAW: Final = 30
EDITIONS: Final = (1, 2)
"""Vocabulary of random scenes: the first two editions, or all of them."""
_EXPRESSION_COEFFICIENTS: Final = ("smile", "mouth_open", "eyes_close", "brow_raise", "frown")
_WORD_LISTS: Final = {
    "expression": words.EXPRESSIONS,
    "rig": words.ALL_LIGHTINGS,
    "backdrop": words.ALL_BACKDROPS,
    "backdrop_colour": words.BACKDROP_COLOURS,
    "garment": words.GARMENTS,
    "garment_colour": words.GARMENT_COLOURS,
}


@dataclass(frozen=True, slots=True)
class Scenes:
    """B scenes; every tensor has B rows.  Angles in degrees, fractions of the picture height.

    `rig`, `expression`, `backdrop`, `garment` and the colours index the lists of `vocabulary` (rigs and
    backdrops the whole ones); a place ignores its `backdrop_colour`.
    `centre` moves the head's middle from its usual place (+x right, +y down, in picture heights).
    `tie_colour` indexes `GARMENT_COLOURS`; `shirt` picks one of the light shirts under a suit.
    """

    seeds: tuple[int, ...]
    yaw_deg: Tensor
    pitch_deg: Tensor
    roll_deg: Tensor
    gaze: Tensor
    smile: Tensor
    mouth_open: Tensor
    eyes_close: Tensor
    brow_raise: Tensor
    frown: Tensor
    expression: Tensor
    rig: Tensor
    rig_flip: Tensor
    backdrop: Tensor
    backdrop_colour: Tensor
    garment: Tensor
    garment_colour: Tensor
    shirt: Tensor
    tie: Tensor
    tie_colour: Tensor
    body_yaw_deg: Tensor
    head_fraction: Tensor
    centre: Tensor

    def __len__(self) -> int:
        return len(self.seeds)

    def take(self, indices: Sequence[int] | Tensor) -> Scenes:
        """The scenes at these rows, in this order (rows may repeat)."""
        rows = [int(i) for i in indices]
        index = torch.tensor(rows, dtype=torch.long, device=self.yaw_deg.device)
        seeds = tuple(self.seeds[i] for i in rows)
        return Scenes(seeds, **{k: getattr(self, k)[index] for k in FIELDS})

    def to(self, device: torch.device | str) -> Scenes:
        """The same scenes on another device."""
        return Scenes(self.seeds, **{k: getattr(self, k).to(device) for k in FIELDS})

    def rows(self) -> list[Scene]:
        """Every scene as plain numbers."""
        columns = [getattr(self, k).tolist() for k in FIELDS]
        return [
            Scene(seed, *values) for seed, values in zip(self.seeds, zip(*columns, strict=True), strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Scene:
    """One row of `Scenes` as plain numbers; the fields are those of `Scenes`."""

    seed: int
    yaw_deg: float
    pitch_deg: float
    roll_deg: float
    gaze: tuple[float, float]
    smile: float
    mouth_open: float
    eyes_close: float
    brow_raise: float
    frown: float
    expression: int
    rig: int
    rig_flip: bool
    backdrop: int
    backdrop_colour: int
    garment: int
    garment_colour: int
    shirt: int
    tie: bool
    tie_colour: int
    body_yaw_deg: float
    head_fraction: float
    centre: tuple[float, float]

    @property
    def garment_name(self) -> str:
        """The word of `GARMENTS`."""
        return words.GARMENTS[self.garment]


FIELDS: Final = tuple(f.name for f in fields(Scenes) if f.name != "seeds")

Override = str | float | bool | Sequence


def sample_scenes(
    seeds: Sequence[int],
    *,
    max_yaw_deg: float = 75.0,
    yaw_mix: tuple[float, float, float] = _YAW_ODDS,
    edition: int = 1,
    **overrides: Override,
) -> Scenes:
    """One scene per seed; row i depends only on seeds[i].

    `yaw_mix`: odds of frontal, three-quarter, profile.  Overrides fix a field for all rows, or per row
    when a list is given: the fields of `Scenes`, words in place of indices, and `view`, `lighting`,
    `wardrobe` ("navy suit"), `setting` ("grey seamless backdrop", "brick wall"), `shot`.  The number of
    draws per scene is fixed, so an override never shifts another field.  `edition` 2 changes nothing but rigs
    and backdrops: half of the scenes have a later rig, and half of them a place.
    """
    if edition not in EDITIONS:
        raise ValueError(f"sample_scenes: edition={edition} is not one of {EDITIONS}")
    rows = []
    for i, seed in enumerate(seeds):
        mine = {k: _pick(k, v, i, len(seeds)) for k, v in overrides.items()}
        u = torch.rand(_DRAWS, generator=seeded(int(seed), _SALT)).tolist()
        later = _later_words(u) if edition == 2 else {}
        rows.append(_scene(u, later | _spell_out(mine), max_yaw_deg, yaw_mix))
    columns = {k: torch.tensor([r[k] for r in rows]) for k in FIELDS}
    return Scenes(tuple(int(s) for s in seeds), **columns)


def _pick(name: str, value: Override, row: int, count: int) -> Override:
    """The override of one row: a list or tensor holds one item per row (pairs: gaze and centre)."""
    if isinstance(value, Tensor):
        value = value.tolist()
    if isinstance(value, str) or not isinstance(value, Sequence):
        return value
    if name in ("gaze", "centre") and not isinstance(value[0], Sequence):
        return value
    if len(value) != count:
        raise ValueError(f"sample_scenes: {name} has {len(value)} values for {count} scenes")
    return value[row]


def _scene(u: list[float], fixed: dict, max_yaw_deg: float, yaw_mix: tuple[float, float, float]) -> dict:
    row = {
        "pitch_deg": (u[2] + u[3] - 1) * 17,
        "roll_deg": (u[4] + u[5] - 1) * 11,
        "gaze": [(u[6] - 0.5) * 0.24, (u[7] - 0.5) * 0.16],
        "rig": int(u[8] * len(words.LIGHTINGS)),
        "rig_flip": u[9] > 0.5,
        "backdrop": int(u[10] * len(words.BACKDROPS)),
        "backdrop_colour": int(u[11] * len(words.BACKDROP_COLOURS)),
        "garment": int(u[12] * len(words.GARMENTS)),
        "garment_colour": int(u[13] * len(words.GARMENT_COLOURS)),
        "shirt": int(u[14] * 3),
        "tie": u[15] > 0.35,
        "tie_colour": int(u[16] * len(words.GARMENT_COLOURS)),
        "expression": _draw_index(_EXPRESSION_ODDS, u[17]),
    }
    row["yaw_deg"] = _yaw(u[0], u[1], u[18], fixed.pop("view", None), max_yaw_deg, yaw_mix)
    shot = fixed.pop("shot", words.SHOTS[1] if u[19] < _HEADSHOT_ODDS else words.SHOTS[0])
    row["head_fraction"] = 0.72 + 0.08 * u[20] if shot == words.SHOTS[0] else 0.60 + 0.10 * u[20]
    row["centre"] = [(u[21] - 0.5) * 0.05, (u[22] - 0.5) * 0.035]
    row.update(fixed)
    turn = float(row["yaw_deg"])
    row["body_yaw_deg"] = fixed.get("body_yaw_deg", turn * 0.35 + (u[23] - 0.5) * 16)
    row.update(_coefficients(words.EXPRESSIONS[row["expression"]], u[24:29]))
    row.update({k: v for k, v in fixed.items() if k in _EXPRESSION_COEFFICIENTS})
    unknown = set(row) - set(FIELDS)
    if unknown:
        raise TypeError(f"sample_scenes: unknown field {sorted(unknown)[0]!r}")
    integers = set(_WORD_LISTS) | {"shirt", "tie_colour"}
    kept = integers | {"gaze", "centre", "rig_flip", "tie"}
    return {k: v if k in kept else float(v) for k, v in row.items()}


def _later_words(u: list[float]) -> dict[str, int]:
    """A later rig and a place, each with even odds."""
    indices: dict[str, int] = {}
    which, rig, behind, place = u[_LATER_DRAW : _LATER_DRAW + 4]
    if which < _LATER_WORD_ODDS:
        indices["rig"] = len(words.LIGHTINGS) + int(rig * len(words.MORE_LIGHTINGS))
    if behind < _LATER_WORD_ODDS:
        indices["backdrop"] = len(words.BACKDROPS) + int(place * len(words.PLACES))
    return indices


def _spell_out(fixed: dict) -> dict:
    """Overrides in words turned into the fields they mean."""
    fixed = dict(fixed)
    if "lighting" in fixed:
        fixed["rig"] = fixed.pop("lighting")
    if "wardrobe" in fixed:
        fixed["garment_colour"], fixed["garment"] = fixed.pop("wardrobe").split(" ", 1)
    if "setting" in fixed:
        setting = fixed.pop("setting")
        place = {"backdrop": setting} if setting in words.PLACES else None
        fixed |= place or dict(zip(("backdrop_colour", "backdrop"), setting.split(" ", 1), strict=True))
    for name, choices in {**_WORD_LISTS, "tie_colour": words.GARMENT_COLOURS}.items():
        if name in fixed:
            fixed[name] = _index(name, fixed[name], choices)
    for name, choices in (("view", words.VIEWS), ("shot", words.SHOTS)):
        if name in fixed:
            _index(name, fixed[name], choices)
    return fixed


def _index(name: str, value: str | int, choices: tuple[str, ...]) -> int:
    if not isinstance(value, str):
        return int(value)
    if value not in choices:
        raise ValueError(f"sample_scenes: {name}={value!r} is not one of {', '.join(choices)}")
    return choices.index(value)


def _draw_index(odds: tuple[float, ...], u: float) -> int:
    total = 0.0
    for i, share in enumerate(odds):
        total += share
        if u < total:
            return i
    return len(odds) - 1


def _yaw(
    which: float, amount: float, side: float, view: str | None, most: float, odds: tuple[float, float, float]
) -> float:
    """Yaw in degrees within one of the three views, kept a degree or two off their borders."""
    index = words.VIEWS.index(view) if view is not None else _draw_index(odds, which)
    low = (0.0, words.FRONTAL_MAX_YAW_DEG + 2, words.THREE_QUARTER_MAX_YAW_DEG + 2)[index]
    high = (words.FRONTAL_MAX_YAW_DEG - 2, words.THREE_QUARTER_MAX_YAW_DEG - 2, max(most, low))[index]
    yaw = low + (high - low) * amount
    yaw = yaw if view is not None else min(yaw, most)
    return yaw if side > 0.5 else -yaw


def _coefficients(expression: str, u: list[float]) -> dict[str, float]:
    """Blend-shape weights in 0..1 of an expression word, with slight individual variation."""
    dose = 0.75 + 0.25 * u[0]
    amounts = {
        "neutral": {"smile": 0.08 * u[1]},
        "smiling": {"smile": 0.6 + 0.4 * u[0]},
        "laughing": {"smile": 1.0, "mouth_open": 0.42 + 0.16 * u[0]},
        "surprised": {"mouth_open": 0.65 * dose, "brow_raise": 0.6 + 0.4 * u[0]},
        "frowning": {"frown": 0.8 + 0.2 * u[0]},
        "eyes closed": {"eyes_close": 1.0, "smile": 0.15 * u[1]},
    }[expression]
    return {k: amounts.get(k, 0.0) for k in _EXPRESSION_COEFFICIENTS}
