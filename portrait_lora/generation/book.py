"""The prompt book: words for light, framing, lens, colour and medium, with their meaning.

`vocabulary.py` is the closed list of the embedded base; this is the larger one, for bases that read free
text.  A phrase is what goes into a prompt; `names` are synonyms, for the linter.
Angles: azimuth 0 is the camera, 90 the side, 180 behind the head (either side counts); elevation is up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Pattern = Literal["rembrandt", "butterfly", "loop", "split", "clamshell", "flat"]
Medium = Literal["photo", "oil", "watercolour", "drawing", "toon", "3d", "pixel", "puppet"]
Hour = Literal["golden", "night", "day"]


@dataclass(frozen=True, slots=True)
class Light:
    """A lighting set-up.

    `azimuth_deg` and `elevation_deg` of the key; None where the word does not fix it.  `pattern` is the
    shadow pattern of the key on the face: two patterns exclude each other, as do two tones and two hours.
    `temperature_k` is the colour of the key.
    """

    phrase: str
    names: tuple[str, ...] = ()
    azimuth_deg: float | None = None
    elevation_deg: float | None = None
    hard: bool | None = None
    pattern: Pattern | None = None
    tone: Literal["high", "low"] | None = None
    hour: Hour | None = None
    temperature_k: int | None = None


@dataclass(frozen=True, slots=True)
class ShotType:
    """How much of the person is in the picture; `head_share` is chin to crown over picture height."""

    phrase: str
    names: tuple[str, ...]
    head_share: tuple[float, float]
    close: bool = False
    lens: str = "85 mm lens"


@dataclass(frozen=True, slots=True)
class Lens:
    """A focal length (35 mm equivalent) and its use."""

    phrase: str
    focal_mm: int
    use: str


@dataclass(frozen=True, slots=True)
class Shade:
    """A colour word, its sRGB value, and whether it looks white."""

    word: str
    rgb: tuple[int, int, int]
    white: bool = False


@dataclass(frozen=True, slots=True)
class Style:
    """A visual style; two media exclude each other unless `COMPATIBLE` lists the pair."""

    phrase: str
    names: tuple[str, ...]
    medium: Medium
    surface: str  # the detail cue that suits it


LIGHTS: Final = (
    Light("three-point lighting", ("three-point", "three point", "3-point"), 40, 35),
    Light("rembrandt lighting", ("rembrandt",), 50, 45, True, "rembrandt"),
    Light("butterfly lighting", ("butterfly", "paramount lighting"), 0, 54, None, "butterfly"),
    Light("loop lighting", ("loop light",), 35, 35, None, "loop"),
    Light("split lighting", ("split light",), 88, 12, True, "split"),
    Light("clamshell lighting", ("clamshell",), 0, 40, False, "clamshell"),
    Light("flat frontal light", ("flat frontal", "flat front light", "flat light"), 0, 10, False, "flat"),
    Light("rim lighting", ("rim light", "rim-lit", "as rim"), 150, 28, True),
    Light("volumetric light", ("volumetric", "god rays", "light shafts"), None, 50),
    Light(
        "golden hour lighting",
        ("golden hour", "sunset", "sunrise", "setting sun", "low sun"),
        62,
        18,
        None,
        None,
        None,
        "golden",
        3500,
    ),
    Light("window light", ("window light", "daylight from a window"), 60, 20, False, temperature_k=5600),
    Light("overcast daylight", ("overcast",), None, 70, False, hour="day", temperature_k=6500),
    Light("midday sun", ("midday", "noon sun"), None, 75, True, hour="day", temperature_k=5500),
    Light("moonlight", ("moonlight", "midnight", "moonlit"), None, None, None, None, None, "night", 4100),
    Light("high-key lighting", ("high-key", "high key"), 20, 35, False, None, "high"),
    Light("low-key lighting", ("low-key", "low key", "chiaroscuro"), 68, 30, True, None, "low"),
    Light("neon lighting", ("neon practicals", "neon"), None, 10, True, temperature_k=None),
    Light("candlelight", ("candle", "firelight"), 50, 0, False, temperature_k=1900),
    Light("ring light", ("ring light", "ring flash"), 0, 0, False),
    Light("hard flash", ("flash", "strobe"), 10, 15, True, temperature_k=5600),
)

SHOTS: Final = (
    ShotType("close-up", ("close-up", "close up", "closeup", "tight crop", "macro"), (0.45, 0.95), True),
    ShotType("headshot", ("headshot", "head shot", "head and shoulders"), (0.28, 0.82)),
    ShotType("medium shot", ("medium shot", "waist up", "waist-up"), (0.18, 0.36)),
    ShotType("three-quarter shot", ("three-quarter shot", "thigh up"), (0.12, 0.26), lens="50 mm lens"),
    ShotType(
        "full-body environmental portrait",
        ("full-body", "full body", "environmental"),
        (0.05, 0.2),
        lens="35 mm lens",
    ),
)

LENSES: Final = (
    Lens("85 mm lens", 85, "flattering for faces: little distortion, soft background"),
    Lens("50 mm lens", 50, "neutral"),
    Lens("135 mm lens", 135, "compresses, and separates from the background"),
    Lens("35 mm lens", 35, "shows the surroundings; widens a face that is near"),
)

BACKDROPS: Final = (
    "seamless white backdrop",
    "seamless grey backdrop",
    "seamless blue backdrop",
    "gradient charcoal backdrop",
    "textured brick wall",
    "marble wall",
    "blurred office",
    "blurred city street",
    "blurred city at night",
    "bokeh nature",
    "library shelves out of focus",
)

FILMS: Final = ("Kodak Portra 400", "Kodak Portra 800", "Fujifilm Pro 400H", "Kodak Tri-X 400")

SHADES: Final = (
    Shade("white", (240, 240, 238), True),
    Shade("ivory", (245, 240, 225), True),
    Shade("cream", (236, 225, 200)),
    Shade("beige", (205, 188, 160)),
    Shade("grey", (140, 140, 142)),
    Shade("charcoal", (58, 60, 64)),
    Shade("black", (22, 22, 24)),
    Shade("navy", (30, 42, 84)),
    Shade("blue", (70, 120, 190)),
    Shade("teal", (24, 122, 124)),
    Shade("green", (90, 140, 90)),
    Shade("olive", (104, 106, 62)),
    Shade("emerald", (18, 120, 82)),
    Shade("brown", (112, 76, 50)),
    Shade("mustard", (204, 158, 44)),
    Shade("red", (184, 40, 44)),
    Shade("plum", (106, 46, 92)),
    Shade("pink", (224, 160, 176)),
    Shade("denim", (74, 104, 146)),
)
OTHER_SHADES: Final = ("yellow", "orange", "purple", "burgundy", "gold", "silver", "turquoise", "tan", "dark")

STYLES: Final = (
    Style(
        "photograph",
        (
            "photo",
            "photograph",
            "photography",
            "photorealistic",
            "tintype",
            "daguerreotype",
            "polaroid",
            "kodak",
            "fujifilm",
        ),
        "photo",
        "natural skin texture with visible pores",
    ),
    Style(
        "oil painting",
        ("oil painting", "oil portrait", "oil on canvas", "impasto"),
        "oil",
        "visible brush strokes",
    ),
    Style(
        "watercolour", ("watercolour", "watercolor", "gouache"), "watercolour", "paper grain and soft edges"
    ),
    Style(
        "pencil drawing",
        ("pencil", "sketch", "charcoal drawing", "ink drawing", "engraving", "etching"),
        "drawing",
        "cross-hatching and paper texture",
    ),
    Style(
        "illustration",
        ("illustration", "comic", "cartoon", "cel shading", "vector"),
        "toon",
        "clean ink lines with cel shading",
    ),
    Style("anime", ("anime", "manga"), "toon", "clean ink lines with cel shading"),
    Style(
        "3D render",
        ("3d render", "octane", "unreal engine", "cgi", "low poly", "blender render", "ray traced"),
        "3d",
        "subsurface scattering on skin and fine fabric weave",
    ),
    Style("pixel art", ("pixel art", "8-bit"), "pixel", "dithered texture"),
    Style("claymation", ("claymation", "stop-motion", "plasticine"), "puppet", "fingerprints in the clay"),
)
COMPATIBLE: Final = frozenset(
    frozenset(pair)
    for pair in (
        ("drawing", "toon"),
        ("drawing", "watercolour"),
        ("toon", "watercolour"),
        ("puppet", "3d"),
    )
)

EYE_CUE: Final = "sharp eyes with catchlights"
NEGATIVE: Final[dict[Medium, str]] = {
    "photo": "plastic skin, waxy, over-smoothed, extra fingers, asymmetric eyes, watermark, text",
    "3d": "flat shading, low resolution texture, watermark, text",
    "oil": "photograph, flat digital colour, watermark, signature",
    "watercolour": "photograph, hard outlines, watermark, signature",
    "drawing": "photograph, colour noise, watermark, signature",
    "toon": "photograph, blurred lines, watermark, text",
    "pixel": "anti-aliasing, blur, watermark, text",
    "puppet": "photograph of a person, watermark, text",
}
"""Negative prompts by medium."""


def light_of(phrase: str) -> Light | None:
    """The lighting set-up named in a prompt: an exact phrase first, then any name in it."""
    text = phrase.lower()
    exact = next((light for light in LIGHTS if light.phrase == text), None)
    return exact or next((li for li in LIGHTS if any(n in text for n in (li.phrase, *li.names))), None)


def shot_of(phrase: str) -> ShotType | None:
    """The shot type named in a text; None without one."""
    text = phrase.lower()
    return next((shot for shot in SHOTS if any(name in text for name in (shot.phrase, *shot.names))), None)


def style_of(phrase: str) -> Style:
    """The style named in a text; a photograph without one."""
    text = phrase.lower()
    return next((s for s in STYLES[1:] if any(name in text for name in s.names)), STYLES[0])
