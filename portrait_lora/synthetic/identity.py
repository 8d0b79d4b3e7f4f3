"""Identities of synthetic people: shape, skin, hair and eyes as numbers, drawn from one seed per person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor

from portrait_lora import vocabulary

FACE_SHAPE: Final = (
    "head_w",
    "head_h",
    "head_d",
    "jaw_w",
    "jaw_y",
    "chin_w",
    "chin_len",
    "chin_out",
    "cheek_w",
    "cheek_full",
    "hollow",
    "forehead",
    "brow_ridge",
    "eye_x",
    "eye_w",
    "eye_h",
    "eye_tilt",
    "eye_depth",
    "lid_crease",
    "brow_y",
    "brow_arch",
    "brow_tilt",
    "brow_thick",
    "brow_len",
    "nose_len",
    "nose_out",
    "nose_w",
    "bridge_w",
    "nose_hump",
    "nose_up",
    "mouth_w",
    "lip_up",
    "lip_lo",
    "cupid",
    "mouth_y",
    "ear_size",
    "ear_out",
)
"""Shape of the head: each about standard normal, within +-2.5."""
BODY_AND_SKIN: Final = ("neck_w", "shoulder", "melanin", "skin_red", "skin_yellow", "lip_red", "age")
"""Also about standard normal; `age` is its absolute value."""
UNIT: Final = (
    "freckles",
    "stubble",
    "hair_mel",
    "hair_red",
    "hair_grey",
    "hair_vol",
    "hairline",
    "recess",
    "part",
    "eye_mel",
    "eye_green",
    "iris_r",
    "frame_r",
    "frame_g",
    "frame_b",
)
"""Uniform in 0..1, some of them reshaped below."""
CHOICES: Final = ("female", "style", "beard", "glasses")
"""Stored as whole numbers; the last three index `HAIR_STYLES`, `BEARDS`, `GLASSES`."""
RESTYLED: Final = ("hair_grey", "hair_vol", "hairline", "part", "style", "beard", "glasses")

_FEMALE_SHIFT: Final = {
    "jaw_w": -0.7,
    "brow_thick": -0.7,
    "lip_up": 0.6,
    "lip_lo": 0.6,
    "brow_ridge": -0.8,
    "neck_w": -0.9,
    "shoulder": -0.8,
    "eye_w": 0.5,
    "eye_h": 0.5,
    "nose_w": -0.4,
    "brow_arch": 0.5,
    "chin_w": -0.6,
}
_MALE_SHIFT: Final = {
    "jaw_w": 0.5,
    "brow_thick": 0.5,
    "lip_up": -0.3,
    "lip_lo": -0.3,
    "brow_ridge": 0.6,
    "neck_w": 0.8,
    "shoulder": 0.7,
}
_STYLES = {name: i for i, name in enumerate(vocabulary.HAIR_STYLES)}
_MALE_STYLES: Final = tuple(
    _STYLES[s]
    for s in ("buzz cut", "side-parted hair", "short hair", "side-parted hair", "quiff", "curly hair", "afro")
)
_FEMALE_STYLES: Final = tuple(
    _STYLES[s]
    for s in (
        "short hair",
        "curly hair",
        "fringe hair",
        "bob hair",
        "long hair",
        "centre-parted hair",
        "bun hair",
        "afro",
    )
)
_SPREAD: Final = 1.12
_CHOICE_DRAWS: Final = 7
_FACE_SALT: Final = 0x51ED27
_STYLE_SALT: Final = 0xA3B195


@dataclass(frozen=True, slots=True)
class Person:
    """One row of `People` as plain numbers: `person.eye_x`; moles are three (x, y) pairs in 0..1."""

    values: Mapping[str, float]
    moles: tuple[tuple[float, float], ...]

    def __getattr__(self, name: str) -> float:
        try:
            return self.values[name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def style_name(self) -> str:
        """The word of `HAIR_STYLES`."""
        return vocabulary.HAIR_STYLES[int(self.values["style"])]

    @property
    def hat_name(self) -> str:
        """The word of `HATS`; people wear none before `wear.dressed`."""
        return vocabulary.HATS[int(self.values.get("hat", 0))]

    @property
    def hatted(self) -> bool:
        """Whether any hat is worn."""
        return int(self.values.get("hat", 0)) > 0

    @property
    def hat_colour_name(self) -> str:
        """The word of `GARMENT_COLOURS`."""
        return vocabulary.GARMENT_COLOURS[int(self.values.get("hat_colour", 0))]

    @property
    def makeup_name(self) -> str:
        """The word of `MAKEUP`."""
        return vocabulary.MAKEUP[int(self.values.get("makeup", 0))]

    @property
    def phase(self) -> float:
        """A person-specific number that shifts noise patterns."""
        return self.moles[0][0] * 17.0


@dataclass(frozen=True, slots=True)
class People:
    """B people; `values` maps every parameter name to (B,), and "moles" to (B, 3, 2)."""

    seeds: tuple[int, ...]
    values: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""
        return self.values["female"].device

    def take(self, indices: Sequence[int] | Tensor) -> People:
        """The people at these rows, in this order (rows may repeat)."""
        rows = [int(i) for i in indices]
        index = torch.tensor(rows, dtype=torch.long, device=self.device)
        values = {k: v[index] for k, v in self.values.items()}
        return People(tuple(self.seeds[i] for i in rows), MappingProxyType(values))

    def to(self, device: torch.device | str) -> People:
        """The same people on another device."""
        return People(self.seeds, MappingProxyType({k: v.to(device) for k, v in self.values.items()}))

    def rows(self) -> list[Person]:
        """Every person as plain numbers."""
        names = [k for k in self.values if k != "moles"]
        table = torch.stack([self.values[k].float() for k in names], 1).tolist()
        moles = self.values["moles"].tolist()
        return [
            Person(dict(zip(names, row, strict=True)), tuple(tuple(m) for m in spots))
            for row, spots in zip(table, moles, strict=True)
        ]


def seeded(seed: int, salt: int) -> torch.Generator:
    """A generator of this seed alone; the salt keeps people, styles and scenes of one seed unrelated."""
    x = (seed ^ salt) & 0xFFFFFFFF
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = ((x ^ (x >> shift)) * factor) & 0xFFFFFFFF
    return torch.Generator().manual_seed(x ^ (x >> 16))


def sample_people(seeds: Sequence[int], device: torch.device | str = "cpu") -> People:
    """One person per seed; row i depends only on seeds[i]."""
    drawn = [_draw(int(s)) for s in seeds]
    values = {k: torch.tensor([row[k] for row, _ in drawn]) for k in drawn[0][0]}
    values["moles"] = torch.tensor([moles for _, moles in drawn])
    return People(tuple(int(s) for s in seeds), MappingProxyType(values)).to(device)


def restyle(people: People, seeds: Sequence[int], glasses: str | None = None) -> People:
    """The same faces with hair style, volume, parting, greying, beard and glasses redrawn per seed.

    `glasses` (a word of `GLASSES`) fixes that item.  Shape, skin, age and eyes stay.
    """
    if len(seeds) != len(people):
        raise ValueError(f"restyle: {len(people)} people but {len(seeds)} seeds")
    values = dict(people.values)
    female = people.values["female"].tolist()
    drawn = []
    for seed, is_female in zip(seeds, female, strict=True):
        u = torch.rand(4 + _CHOICE_DRAWS, generator=seeded(int(seed), _STYLE_SALT)).tolist()
        row = {"hair_grey": _greying(u[0]), "hair_vol": u[1], "hairline": u[2], "part": u[3]}
        row.update(_choices(u[4:], is_female > 0.5))
        if glasses is not None:
            row["glasses"] = vocabulary.GLASSES.index(glasses)
        drawn.append(row)
    for name in RESTYLED:
        values[name] = torch.tensor([r[name] for r in drawn], device=people.device)
    return People(people.seeds, MappingProxyType(values))


def distance(people_a: People, people_b: People) -> Tensor:
    """(B,) root-mean-square difference of face shape, scaled so that two strangers are about 1 apart."""
    difference = torch.stack([people_a.values[k] - people_b.values[k] for k in FACE_SHAPE], -1)
    return difference.square().mean(-1).sqrt() / (_SPREAD * 2**0.5)


def shape_vectors(people: People) -> Tensor:
    """(B, 37) face shapes, scaled so that `distance` is the distance of two of these vectors."""
    shapes = torch.stack([people.values[k] for k in FACE_SHAPE], -1)
    return shapes / (_SPREAD * (2 * len(FACE_SHAPE)) ** 0.5)


def _draw(seed: int) -> tuple[dict[str, float], list[list[float]]]:
    """The numbers of one person, and the positions of the three moles."""
    generator = seeded(seed, _FACE_SALT)
    names = FACE_SHAPE + BODY_AND_SKIN
    normal = (torch.randn(len(names), generator=generator) * _SPREAD).clamp(-2.3, 2.3).tolist()
    uniform = torch.rand(len(UNIT) + 1 + _CHOICE_DRAWS, generator=generator).tolist()
    moles = torch.rand(3, 2, generator=generator).tolist()
    row: dict[str, float] = dict(zip(names, normal, strict=True))
    row["melanin"] /= _SPREAD
    row.update(zip(UNIT, uniform, strict=False))
    female = uniform[len(UNIT)] > 0.5
    for name, shift in (_FEMALE_SHIFT if female else _MALE_SHIFT).items():
        row[name] = min(max(row[name] + shift, -2.5), 2.5)
    row["female"] = float(female)
    row["age"] = abs(row["age"])
    row["hair_grey"] = _greying(row["hair_grey"])
    darkest = min(max(row["melanin"] * 0.5 + 0.12, 0.0), 0.95)
    row["hair_mel"] = max(row["hair_mel"] ** 0.85, darkest)
    row["eye_mel"] = min(max(row["eye_mel"] + 0.25 * row["melanin"], 0.0), 1.0)
    row.update(_choices(uniform[len(UNIT) + 1 :], female))
    return row, moles


def _greying(u: float) -> float:
    """Most hair is not grey at all; the rest is clearly grey (about .3-.55) or white (.7-1)."""
    if u < 0.82:
        return 0.0
    return 0.3 + (u - 0.82) * 2.3 if u < 0.925 else 0.7 + (u - 0.925) * 4.0


def _choices(u: Sequence[float], female: bool) -> dict[str, int]:
    styles = _FEMALE_STYLES if female else _MALE_STYLES
    style = styles[int(u[0] * len(styles))]
    if not female and u[1] < 0.09:
        style = _STYLES["bald head"]
    beard = 0 if female else (0, 0, 0, 1, 1, 2, 2, 3, 3)[int(u[2] * 9)]
    worn = 1 + int(u[4] * 2) if u[3] < 0.28 else 0
    return {"style": style, "beard": beard, "glasses": worn}
