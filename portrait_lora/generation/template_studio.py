"""Templates: complete sets of layers by name, as a starting point for shots.

`layers` is for bases that read free text; `closed` is the same in the vocabulary of the embedded base, or
None if it lacks the words (watercolour, costumes): such a template is refused there, and so is one with a
word that the base in use has not learnt (`templates.lacking`).  `wider` is the closed form with later words;
it is used instead of `closed` for a base that knows all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Group = Literal[
    "headshots", "cinematic", "render3d", "editorial", "artistic", "character", "historical", "social"
]
Words = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Template:
    """A named set of layers; the keys of `layers` are those of `compose.LAYERS`."""

    name: str
    group: Group
    layers: Words
    closed: Words | None = None
    aspect: str = "3:4"
    unsaid: tuple[str, ...] = field(default=())  # what `closed` cannot say, for people to know
    wider: Words | None = None


SKIN: Final = "natural skin texture with visible pores"
LENS: Final = "85 mm lens at f/2.8"
EYES: Final = "sharp eyes with catchlights"


def look(
    shot: str,
    wardrobe: str,
    setting: str,
    lighting: str,
    grade: str = "",
    *,
    camera: str = LENS,
    texture: str = "",
) -> Words:
    """Layers in free text, always with a lens and a surface cue."""
    layers = {"shot": shot, "wardrobe": wardrobe, "setting": setting, "lighting": lighting, "camera": camera}
    layers["texture"] = texture or (f"{SKIN}, {EYES}" if shot == "close-up" else SKIN)
    return layers | ({"grade": grade} if grade else {})


def plain(shot: str, wardrobe: str, setting: str, lighting: str, **more: str) -> Words:
    """Layers in the vocabulary of the embedded base."""
    return {
        "view": "frontal",
        "shot": shot,
        "wardrobe": wardrobe,
        "setting": setting,
        "lighting": lighting,
    } | more


STUDIO: Final = (
    Template(
        "corporate",
        "headshots",
        look(
            "headshot",
            "charcoal wool suit and pale blue shirt",
            "seamless grey backdrop",
            "three-point studio lighting with a soft key from camera left",
            "neutral colour grade",
        ),
        plain("headshot", "charcoal suit", "grey seamless backdrop", "three-point lighting"),
    ),
    Template(
        "startup",
        "headshots",
        look(
            "medium shot",
            "olive t-shirt under an open navy overshirt",
            "blurred office with plants",
            "window light from the left",
            "Kodak Portra 400",
            camera="50 mm lens at f/2",
        ),
        plain("headshot", "teal t-shirt", "beige bokeh backdrop", "high-key lighting", expression="smiling"),
        unsaid=("office", "overshirt"),
        wider=plain("headshot", "teal t-shirt", "blurred office", "window light", expression="smiling"),
    ),
    Template(
        "academic",
        "headshots",
        look("headshot", "brown tweed jacket", "library shelves out of focus", "window light from the right"),
        plain("headshot", "brown turtleneck", "beige textured backdrop", "butterfly lighting"),
        unsaid=("library", "tweed"),
        wider=plain("headshot", "brown turtleneck", "blurred office", "window light"),
    ),
    Template(
        "actor",
        "headshots",
        look(
            "close-up",
            "black crew-neck",
            "gradient charcoal backdrop",
            "loop lighting",
            camera="85 mm lens at f/2",
        ),
        plain("close-up", "black t-shirt", "charcoal gradient backdrop", "rembrandt lighting"),
        unsaid=("loop",),
        wider=plain("close-up", "black t-shirt", "charcoal gradient backdrop", "loop lighting"),
    ),
    Template(
        "real-estate",
        "headshots",
        look(
            "medium shot",
            "navy blazer and cream blouse or shirt",
            "blurred bright living room",
            "clamshell lighting",
            "clean neutral grade",
        ),
        plain("headshot", "navy suit", "white bokeh backdrop", "high-key lighting", expression="smiling"),
        unsaid=("living room",),
        wider=plain(
            "headshot", "navy suit", "white bokeh backdrop", "clamshell lighting", expression="smiling"
        ),
    ),
    Template(
        "noir",
        "cinematic",
        look(
            "headshot",
            "dark trench coat",
            "wet alley at night",
            "low-key hard side light through blinds",
            "Kodak Tri-X 400, black and white",
        ),
        {
            **plain("headshot", "black suit", "charcoal textured backdrop", "low-key lighting"),
            "view": "profile",
        },
        aspect="2:3",
        unsaid=("trench coat", "alley", "black and white"),
        wider={
            **plain("headshot", "black suit", "blurred city at night", "low-key lighting"),
            "style": "monochrome film",
            "view": "profile",
        },
    ),
    Template(
        "neon",
        "cinematic",
        look(
            "close-up",
            "black leather jacket",
            "rainy city street at night",
            "neon practicals, magenta key from the left and cyan rim",
            "teal and magenta grade",
            texture=f"rain drops on skin and leather, {EYES}",
        ),
        aspect="2:3",
        wider=plain("close-up", "black t-shirt", "blurred city at night", "neon lighting"),
    ),
    Template(
        "golden-hour",
        "cinematic",
        look(
            "medium shot",
            "linen shirt",
            "bokeh nature",
            "golden hour backlight with a warm rim",
            "Kodak Portra 400",
        ),
        {
            **plain("headshot", "denim shirt", "beige bokeh backdrop", "golden hour lighting"),
            "view": "three-quarter",
        },
        aspect="2:3",
        unsaid=("linen",),
    ),
    Template(
        "high-key",
        "cinematic",
        look(
            "close-up", "pale grey knit", "seamless white backdrop", "high-key lighting", "airy pastel grade"
        ),
        plain("close-up", "blue turtleneck", "white seamless backdrop", "high-key lighting"),
    ),
    Template(
        "low-key",
        "cinematic",
        look(
            "close-up", "charcoal turtleneck", "gradient charcoal backdrop", "low-key lighting from the side"
        ),
        {
            **plain("close-up", "charcoal turtleneck", "charcoal gradient backdrop", "low-key lighting"),
            "view": "three-quarter",
        },
    ),
    Template(
        "avatar",
        "social",
        look(
            "close-up",
            "plain coral t-shirt",
            "seamless orange backdrop",
            "butterfly lighting",
            "clean bright grade",
        ),
        plain(
            "close-up", "red t-shirt", "pink seamless backdrop", "butterfly lighting", expression="smiling"
        ),
        aspect="1:1",
    ),
)
