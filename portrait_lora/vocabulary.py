"""The words that captions, prompts and the synthetic studio share.

One place, so that a caption written from a photo, a prompt written by a person and a caption of the
synthetic world cannot drift apart.  Every tuple is a closed list; its order is stable because models
and statistics index into it.  Phrases are lower case and carry no commas: the comma separates clauses.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final, Literal

Severity = Literal["reject", "question", "warn", "not_checked"]
"""Of a finding on a photo."""

TRIGGER: Final = "ohwx"
"""Default rare token: in the embedded tokenizer's dictionary, in no training caption of the base."""

SUBJECTS: Final = ("man", "woman")
HAIR_STYLES: Final = (
    "bald head",
    "buzz cut",
    "short hair",
    "side-parted hair",
    "quiff",
    "curly hair",
    "fringe hair",
    "bob hair",
    "long hair",
    "centre-parted hair",
    "bun hair",
    "afro",
)
HAIR_COLOURS: Final = ("blond", "light brown", "brown", "black", "red", "grey", "white")
SKIN_TONES: Final = ("very pale skin", "fair skin", "tan skin", "brown skin", "dark skin")
BEARDS: Final = ("clean-shaven", "stubble", "goatee", "full beard")
GLASSES: Final = ("no glasses", "round glasses", "rectangular glasses")
ALL_GLASSES: Final = (*GLASSES, "sunglasses")
HATS: Final = ("no hat", "beanie", "brimmed hat")
"""Worn in one of `GARMENT_COLOURS`: `navy beanie`."""
MAKEUP: Final = ("no make-up", "red lipstick", "eye shadow", "red lipstick and eye shadow")
EXPRESSIONS: Final = ("neutral", "smiling", "laughing", "surprised", "frowning", "eyes closed")
VIEWS: Final = ("frontal", "three-quarter", "profile")
FACINGS: Final = ("facing left", "facing right")
"""Which way a turned head looks, as seen in the picture."""
SHOTS: Final = ("close-up", "headshot")
LIGHTINGS: Final = (
    "three-point lighting",
    "rembrandt lighting",
    "butterfly lighting",
    "split lighting",
    "rim lighting",
    "golden hour lighting",
    "high-key lighting",
    "low-key lighting",
)
MORE_LIGHTINGS: Final = ("loop lighting", "clamshell lighting", "window light", "neon lighting")
"""Of the third edition: `LIGHTINGS` stays as it is, because models and statistics index into it."""
ALL_LIGHTINGS: Final = LIGHTINGS + MORE_LIGHTINGS
_NO_SIDE: Final = ("butterfly lighting", "high-key lighting", "clamshell lighting", "neon lighting")
SIDED_LIGHTINGS: Final = tuple(w for w in ALL_LIGHTINGS if w not in _NO_SIDE)
"""Those whose key light stands to one side; neon has a lamp on either."""
LIGHT_SIDES: Final = ("lit from the left", "lit from the right")
"""Where the key light stands, as seen in the picture."""
BACKDROPS: Final = ("seamless backdrop", "gradient backdrop", "bokeh backdrop", "textured backdrop")
PLACES: Final = (
    "brick wall",
    "marble wall",
    "blurred office",
    "blurred city street",
    "blurred city at night",
)
"""Backdrops of the third edition; they have colours of their own, so none is said."""
ALL_BACKDROPS: Final = BACKDROPS + PLACES
BACKDROP_COLOURS: Final = ("white", "grey", "charcoal", "blue", "beige", "green", "pink")
GARMENTS: Final = ("suit", "t-shirt", "turtleneck", "v-neck", "shirt")
GARMENT_COLOURS: Final = (
    "navy",
    "teal",
    "blue",
    "brown",
    "red",
    "emerald",
    "white",
    "black",
    "mustard",
    "denim",
    "plum",
    "charcoal",
)

STYLES: Final = ("cartoon", "oil painting", "monochrome film")
"""How a picture is made, where it is no plain photograph; the prompt book knows them by these names too."""

FRONTAL_MAX_YAW_DEG: Final = 15.0
"""|yaw| up to here is a frontal view."""
THREE_QUARTER_MAX_YAW_DEG: Final = 50.0
"""|yaw| up to here is three-quarter; beyond it, profile."""


def view_of(yaw_deg: float) -> str:
    """The word of `VIEWS` for a yaw in degrees."""
    if abs(yaw_deg) <= FRONTAL_MAX_YAW_DEG:
        return VIEWS[0]
    return VIEWS[1] if abs(yaw_deg) <= THREE_QUARTER_MAX_YAW_DEG else VIEWS[2]


def facing_of(yaw_deg: float) -> str | None:
    """The word of `FACINGS` for a yaw in degrees; a frontal head has none."""
    if view_of(yaw_deg) == VIEWS[0]:
        return None
    return FACINGS[0] if yaw_deg < 0 else FACINGS[1]


def light_side_of(lighting: str | None, sideways: float) -> str | None:
    """The word of `LIGHT_SIDES`; `sideways` is positive where the key light stands right in the picture."""
    if lighting not in SIDED_LIGHTINGS or not sideways:
        return None
    return LIGHT_SIDES[0] if sideways < 0 else LIGHT_SIDES[1]


@dataclass(frozen=True, slots=True)
class Look:
    """What can be said of one portrait; None or an unworn item is left out of the sentence."""

    subject: str
    shot: str | None = None
    view: str | None = None
    facing: str | None = None
    hair: str | None = None
    skin: str | None = None
    beard: str | None = None
    glasses: str | None = None
    expression: str | None = None
    wardrobe: str | None = None
    setting: str | None = None
    lighting: str | None = None
    light_side: str | None = None
    style: str | None = None
    hat: str | None = None
    makeup: str | None = None


UNWORN: Final = (BEARDS[0], GLASSES[0], HATS[0], MAKEUP[0])


def opening(look: Look) -> str:
    """The first clause: `frontal headshot of a woman`; the article is left out before a trigger.

    A style comes before everything that it changes: a small text encoder reads one way.
    """
    words = [w for w in (look.style, look.view, look.shot or "portrait") if w]
    article = "" if " " in look.subject else "a "
    return f"{' '.join(words)} of {article}{look.subject}"


def clauses(look: Look) -> list[str]:
    """The clauses of a caption in the order of the prompt book: subject, wardrobe, setting, lighting.

    Both words for sides stand in front: a small text encoder never finds one at the end of a sentence.
    """
    rest = (
        look.facing,
        look.light_side,
        look.hair,
        look.skin,
        look.makeup,
        look.beard,
        look.glasses,
        look.hat,
        look.expression,
        look.wardrobe,
        look.setting,
        look.lighting,
    )
    return [opening(look), *(c for c in rest if c and c not in UNWORN)]


def sentence(look: Look) -> str:
    """A caption or prompt: the clauses joined by commas."""
    return ", ".join(clauses(look))


def hair(style: str, colour: str) -> str:
    """`black short hair`; a bald head has no colour."""
    return style if style == HAIR_STYLES[0] else f"{colour} {style}"


def setting(backdrop: str, colour: str) -> str:
    """`grey seamless backdrop`; a place is said without a colour."""
    return backdrop if backdrop in PLACES else f"{colour} {backdrop}"


_UNDER_A_HAT: Final = {
    "side-parted hair": "short hair",
    "quiff": "short hair",
    "fringe hair": "short hair",
    "bun hair": "short hair",
    "centre-parted hair": "long hair",
    "afro": "curly hair",
}


def style_under_hat(style: str) -> str:
    """The word of `HAIR_STYLES` for what a hat leaves to be seen of a style."""
    return _UNDER_A_HAT.get(style, style)


def editions() -> tuple[tuple[str, ...], ...]:
    """The words that came together, oldest first, each once and sorted within its edition.

    A tokenizer keeps its numbers when an edition is added; a word is never moved to another.
    """
    first = (
        SUBJECTS,
        HAIR_STYLES,
        HAIR_COLOURS,
        SKIN_TONES,
        BEARDS,
        GLASSES,
        EXPRESSIONS,
        VIEWS,
        FACINGS,
        SHOTS,
        LIGHTINGS,
        LIGHT_SIDES,
        BACKDROPS,
        BACKDROP_COLOURS,
        GARMENTS,
        GARMENT_COLOURS,
        ("portrait of a photo person", TRIGGER),
    )
    known: set[str] = set()
    editions_so_far: list[tuple[str, ...]] = []
    third = (MORE_LIGHTINGS, PLACES, ALL_GLASSES, HATS, MAKEUP)
    for lists in (first, (STYLES,), third):
        new = {w for group in lists for phrase in group for w in phrase.split()} - known
        known |= new
        editions_so_far.append(tuple(sorted(new)))
    return tuple(editions_so_far)


def words() -> tuple[str, ...]:
    """Every word of the vocabulary: the dictionary of the embedded tokenizer."""
    return tuple(word for edition in editions() for word in edition)


LOOK_FIELDS: Final = tuple(f.name for f in fields(Look))
