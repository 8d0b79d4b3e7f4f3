"""The brand sheet: settings common to the portraits of all people, in every series.

    brand: Example
    setting: grey seamless backdrop
    wardrobe: navy suit
    lighting: three-point lighting
    grade: ""                                   # optional, as are all layers
    framing: {shot: headshot, view: frontal, eye_line: 0.44, head_height: 0.5}
    aspect: "1:1"
    negative_prompt: ""
    finish: linkedin                            # a look: its name, a file, or a list of steps
    label: true                                 # the visible "AI" label on what is published

`eye_line` (from the top) and `head_height` (chin to crown) are fractions of the picture's height; they are
checked in every portrait, and best-of-N prefers pictures that match them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from portrait_lora.errors import ConfigError
from portrait_lora.generation import reading
from portrait_lora.generation.compose import LAYERS

_FRAMING: Final = ("shot", "view", "facing", "eye_line", "head_height")
_OUTER: Final = ("brand", "framing", "aspect", "negative_prompt", "finish", "label")
_INNER: Final = tuple(layer for layer in LAYERS if layer not in (*_FRAMING, "hair", "skin", "beard"))


@dataclass(frozen=True, slots=True)
class Brand:
    """A parsed brand sheet."""

    name: str
    layers: Mapping[str, str]
    aspect: tuple[int, int] | None = None
    negative_prompt: str = ""
    eye_line: float | None = None
    head_height: float | None = None
    finish: reading.Finish | None = None
    label: bool | None = None


def load_brand(name: str | Path) -> Brand:
    """A packaged brand by name, or a YAML file.  Raises `ConfigError` naming file and key."""
    path = reading.packaged("brands", name, "generate.brand")
    top = reading.mapping(reading.tree(path, "brand sheet"), path, "the brand", (*_OUTER, *_INNER))
    framing = reading.mapping(top.get("framing", {}), path, "framing", _FRAMING)
    raw = {key: value for key, value in (*top.items(), *framing.items()) if key in LAYERS}
    layers = {key: reading.text(value, path, key) for key, value in raw.items() if value not in ("", None)}
    eye_line, head_height = (_share(framing, key, path) for key in ("eye_line", "head_height"))
    finish = reading.finish(top["finish"], path, "brand") if "finish" in top else None
    label = reading.yes_or_no(top["label"], path, "label") if "label" in top else None
    if not layers and all(one is None for one in (eye_line, head_height, finish, label)):
        raise ConfigError("the brand sheet sets nothing", where=path, needed=f"one of {', '.join(_INNER)}")
    return Brand(
        name=str(top.get("brand", path.stem)),
        layers=layers,
        aspect=reading.aspect(top["aspect"], path) if "aspect" in top else None,
        negative_prompt=str(top.get("negative_prompt") or ""),
        eye_line=eye_line,
        head_height=head_height,
        finish=finish,
        label=label,
    )


def _share(framing: Mapping[str, object], key: str, path: Path) -> float | None:
    return reading.share(framing[key], path, f"framing.{key}") if key in framing else None


def apply(
    brand: Brand,
    layers: Mapping[str, str],
    locked: Mapping[str, str],
    varied: Mapping[str, object],
    path: Path,
) -> dict[str, str]:
    """A shot's layers, overridden by those of the brand.

    Raises `ConfigError` when the series locks a layer to something else, or varies it in its grid.
    """
    for layer, words in brand.layers.items():
        if locked.get(layer, words) != words or layer in varied:
            raise ConfigError(
                "contradictory locks",
                where=f"{path}: {'grid' if layer in varied else 'locked'}.{layer}",
                got=locked.get(layer) or "several values",
                needed=f"{words!r}, as in the brand {brand.name}",
                remedy="Remove the layer from the series or from the brand sheet.",
            )
    return {**layers, **brand.layers}
