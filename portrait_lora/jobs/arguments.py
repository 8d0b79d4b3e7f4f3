"""The arguments of every kind of job: typed, with limits, unknown ones refused with the nearest known one."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from portrait_lora.errors import InputError

MOST_TEXT: Final = 2000
MOST_MASK: Final = 400_000
"""Letters of a painted mask: one bit per pixel, compressed."""
Text = Annotated[str, StringConstraints(max_length=MOST_TEXT)]
Setting = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*\s*=", max_length=MOST_TEXT)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Strength = Annotated[float, Field(ge=0.05, le=1.0)]
A = TypeVar("A", bound="Arguments")


def _inside(value: str) -> str:
    path = PurePosixPath(value)
    if not value or path.is_absolute() or ".." in path.parts or "\0" in value or "\\" in value:
        raise ValueError("a path inside the likeness folder, relative to it, is needed")
    return value


Inside = Annotated[str, StringConstraints(max_length=MOST_TEXT), AfterValidator(_inside)]
"""A file or folder of the likeness, relative to its folder."""


class Arguments(BaseModel):
    """What every kind takes: overrides of settings as behind `-s`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    settings: Annotated[list[Setting], Field(max_length=100)] = Field(
        default=[], description="KEY=VALUE over likeness.yaml, as behind -s"
    )
    allow_synthetic_models: bool = Field(
        default=False, description="allow the embedded synthetic models on real photographs"
    )

    @property
    def overrides(self) -> list[str]:
        """The settings, including the switches that are settings."""
        return [*self.settings, *(["allow_synthetic_models=true"] if self.allow_synthetic_models else [])]


class Stage(Arguments):
    """Of a stage that is skipped when nothing has changed."""

    force: bool = Field(default=False, description="repeat it even if nothing has changed")


class Generate(Stage):
    """Of `generate`: a series, or prompts in one's own words."""

    series: Text = Field(default="", description="a packaged series, or a YAML file")
    prompts: Annotated[list[Text], Field(max_length=200)] = Field(default=[], description="own words")
    aspect: Annotated[str, StringConstraints(pattern=r"^(\d{1,4}:\d{1,4})?$")] = Field(
        default="", description="W:H of pictures by prompts"
    )
    brand: Text = Field(default="", description="a brand sheet")
    best_of: Annotated[int, Field(ge=1, le=64)] | None = Field(default=None, description="candidates each")
    max_pictures: Annotated[int, Field(ge=1, le=10**6)] | None = Field(
        default=None, description="most pictures that are drawn without asking"
    )


class Score(Stage):
    """Of `score`."""

    clip: Text = Field(default="", description="CLIP model that measures obedience to the prompts")
    over: Text = Field(default="", description="KEY=A,B,C: also drift over a sampler setting")


class Demo(Stage):
    """Of `demo`; the job's folder is where it is made."""

    person_seed: Annotated[int, Field(ge=0, le=9999)] = 7


class Finish(Arguments):
    """Of `finish`."""

    file: Inside = Field(description="a picture, or the folder of a series")
    look: Annotated[str, StringConstraints(min_length=1, max_length=MOST_TEXT)] = Field(
        description="a shipped look, or a YAML file"
    )
    out: Inside | None = Field(default=None, description="folder for the finished pictures")
    limit: Fraction = Field(default=0.02, description="likeness that one step may cost")
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0


Changes = Annotated[dict[str, Text], Field(max_length=20)]


class Vary(Arguments):
    """Of `vary`."""

    file: Inside = Field(description="a portrait, or any reference picture in the folder")
    strength: Strength = Field(default=0.5, description="how much may change")
    count: Annotated[int, Field(ge=1, le=64)] = 4
    changes: Changes = Field(default={}, description="layer of the prompt -> other words")
    shot: Text = Field(default="", description="shot of the series, for a reference picture")


class Fix(Arguments):
    """Of `fix`."""

    file: Inside = Field(description="a portrait")
    region: Literal["eyes", "face", "skin", "hair", "background"] | None = None
    mask: Inside | None = Field(default=None, description="picture, white where to draw again; for region")
    mask_png: Annotated[str, StringConstraints(max_length=MOST_MASK, pattern=r"^[A-Za-z0-9+/=]*$")] = Field(
        default="", description="instead of a region: a mask as base64 of a PNG, white where to draw again"
    )
    strength: Strength = Field(default=0.4, description="how much may change")
    tries: Annotated[int, Field(ge=1, le=32)] = 4
    changes: Changes = Field(default={}, description="layer of the prompt -> other words")
    keep: bool = Field(default=False, description="keep the best candidate even if the likeness falls")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if [self.region is None, self.mask is None, not self.mask_png].count(False) != 1:
            raise ValueError("either a region or a mask")
        return self


class Compare(Arguments):
    """Of `compare`: the job's folder against another."""

    other: Annotated[str, StringConstraints(min_length=1, max_length=MOST_TEXT)] = Field(
        description="another likeness folder, or a drift.json"
    )


class Judge(Arguments):
    """Of `score --photos --portraits`: pictures from other tools; paths may lie anywhere.

    Without `photos` the held-out photos of the likeness are the references, and its other crops `training`.
    """

    portraits: Annotated[str, StringConstraints(min_length=1, max_length=MOST_TEXT)]
    photos: Text = ""
    training: Text = ""
    prompts: Text = Field(default="", description="CSV with file,prompt")
    out: Text = Field(default="", description="folder of the report; by default beside the portraits")
    face_pack: Text = Field(default="", description="by default the one of the settings")
    threshold: Text = Field(default="", description="file written by calibrate")
    clip: Text = ""


class Pull(Arguments):
    """Of `pull`; without names: what the settings of the folder ask for."""

    names: Annotated[list[Text], Field(max_length=20)] = []


class Shard(Arguments):
    """Of a shard of a fleet: the job's folder is that of its first person, `HOME/people/<person>`."""

    people: Annotated[list[Text], Field(min_length=1, max_length=64)] = Field(
        description="the likeness folders of its people, absolute"
    )
    worker: Text = ""
    device: Text = "auto"


def read(model: type[A], kind: str, raw: Mapping[str, Any]) -> A:
    """The arguments of a kind.  Raises `InputError` naming the first that does not fit."""
    try:
        return model.model_validate(dict(raw))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    path = ".".join(str(part) for part in first["loc"])
    where = f"{kind}: {path}" if path else kind
    if first["type"] == "extra_forbidden":
        raise InputError(
            f"unknown argument {path!r}", where=kind, remedy=did_you_mean(path, model.model_fields)
        )
    if first["type"] == "missing":
        raise InputError("an argument is missing", where=where, needed=path)
    needed = first["msg"].removeprefix("Value error, ")
    raise InputError(
        "invalid argument",
        where=where,
        got=repr(first["input"])[:200],
        needed=needed[:1].lower() + needed[1:],
    )


def did_you_mean(word: str, known: Mapping[str, object]) -> str:
    """The nearest known word, or all of them."""
    close = difflib.get_close_matches(word, known, 1, cutoff=0.5)
    return f"Did you mean {close[0]!r}?" if close else f"Known here: {', '.join(known)}."
