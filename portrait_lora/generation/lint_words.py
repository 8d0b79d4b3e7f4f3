"""The linter's patterns over lower-case prompts; names come from the prompt book."""

from __future__ import annotations

import re
from collections.abc import Iterable
from re import Pattern
from typing import Final

from portrait_lora.generation import book


def any_of(words: Iterable[str]) -> str:
    """One alternative per phrase; a space also matches a hyphen, a hyphen is optional."""
    longest_first = sorted(set(words), key=len, reverse=True)
    escaped = (re.escape(word).replace(r"\ ", "[ -]").replace(r"\-", "[ -]?") for word in longest_first)
    return f"(?:{'|'.join(escaped)})"


def pattern(words: Iterable[str], after: str = "s?") -> Pattern[str]:
    """Whole words, singular or plural."""
    return re.compile(rf"\b{any_of(words)}{after}\b")


def _listed(text: str) -> list[str]:
    """Phrases that are separated by commas."""
    return [" ".join(phrase.split()) for phrase in text.split(",")]


_PRAISE_WORDS: Final = _listed(
    """nice, beautiful, cool, great, good, amazing, awesome, perfect, interesting, lovely, pretty,
    stunning, epic, fantastic, gorgeous, attractive, professional, aesthetic, wonderful, excellent,
    fancy, superb, appealing, elegant, stylish, best, cinematic, dramatic, incredible, magical,
    atmospheric, proper, decent, ideal, fine, brilliant, breathtaking, tasteful, fitting, suitable,
    flattering, high quality, impressive, magnificent"""
)
PRAISE: Final = any_of(_PRAISE_WORDS)
_COLOURS: Final = [*(shade.word for shade in book.SHADES), *book.OTHER_SHADES]
COLOURED: Final = any_of(c for c in _COLOURS if c not in ("white", "ivory", "cream"))
_PALE_THINGS: Final = "brown|blond|skin|hair|complexion|makeup|stubble|weight|rain|smile"
LIGHT_AS_ADJECTIVE: Final = re.compile(rf"\blight(?=[ -](?:{any_of(_COLOURS)}|{_PALE_THINGS}))")

_RIGS: Final = [name for light in book.LIGHTS for name in (light.phrase, *light.names)]
_SOURCES: Final = _listed(
    """window light, daylight, sunlight, sunbeam, sunshine, sun, sun-drenched, sunlit, skylight, lamp,
    lantern, softbox, soft box, spotlight, spot, bulb, umbrella, beauty dish, octabox, reflector,
    backlit, backlight, rim-lit, glow, firelight, campfire, flame, bonfire, fireplace, key,
    toplight, sidelight, underlight, open shade, bounce, practicals, fairy lights, streetlight,
    north light, tube, led, led strip, headlights, torch, monitor, screen light, lightbox"""
)
_QUALITY: Final = _listed(
    """soft, hard, diffused, diffuse, harsh, warm, cool-toned, dappled, side, top, front, frontal,
    back, low, high, directional, natural, ambient, morning, evening, afternoon, dusk, dawn, winter,
    overhead, even, gentle, bounced, fill, rim, hair, tungsten, fluorescent, studio, sodium, stage,
    coloured, colored, blue-hour, courtyard, north, raking, split, flat, angled, broad, short,
    amber, red, blue, green, magenta, cyan"""
)
NAMED_LIGHT: Final = re.compile(
    rf"\b{any_of([*_RIGS, *_SOURCES])}s?\b"
    rf"|\b{any_of(_QUALITY)}(?:[ -]\w+)?[ -]light(?:ing)?\b"
    r"|\b(?:light(?:ing)?|shafts of light) (?:from|through|at|above|on|falling|coming|over|behind|spilling)\b"
    r"|\blit (?:from|by|with)\b"
)
ANY_LIGHT: Final = re.compile(r"\b(?:light(?:ing|s)?|lit|illumination|illuminated)\b")

_BACKGROUND: Final = r"(?:background|backdrop|scenery|surroundings|setting)s?"
GENERIC_BACKGROUND: Final = re.compile(
    rf"\b{PRAISE}(?:[ ,]+(?:and |blurr?(?:y|ed) )?{PRAISE})*(?: blurr?(?:y|ed))?[ -]{_BACKGROUND}\b"
    rf"|\b{_BACKGROUND} (?:that|which) (?:looks?|is) {PRAISE}\b"
)

SURFACE: Final = pattern(
    _listed(
        """skin, freckled skin, pore, freckle, wrinkle, texture, grain, weave, woven, fibre, fiber,
        stitch, stitching, brush stroke, brushstroke, stroke, impasto, cross-hatching, hatching,
        subsurface, subsurface scattering, shader, sheen, detail, detailed, stubble, fine hair,
        hairs, raindrop, rain drop, water drop, droplet, sweat, frost, scratch, scratches,
        scratched, scuff, slub, pilling, varnish, craquelure, matte, glossy, cel shading, ink line,
        dithered, felt, engraved, embroidered, embroidery, needlework, lace, sequin, glitter,
        thread, worn, rough, coarse, weathered, fingerprint, dust, peach fuzz, knit, crease, fabric,
        bleeding edge, glaze, grease, rust, patina, crumpled, smudged"""
    )
)
_PICTURE: Final = r"(?:portrait|photo|photograph|picture|image|shot|close[ -]?up|headshot|render|artwork)"
INTENSIFIER: Final = re.compile(
    r"\bmasterpieces?\b|\b(?:best|highest|top|premium|insane|unreal|supreme) quality\b|\bunreal detail\b"
    r"|\b(?:ultra|hyper|super|extremely|insanely)[ -]?(?:real\w*|hd\b)|\bperfection\b|\bworks? of art\b"
    r"|\b(?:ultra|hyper|super|highly|insanely|extremely|incredibly|intricately|very|absurdly)[ -]?detail\w*"
    r"|\b\d{1,2}k\b|\bu?hd\b|\bhdr\b|\baward[ -]winning\b|\btrending on\b|\bartstation\b"
    r"|\bjaw[ -]dropping\b|\bmind[ -]blowing\b|\bworld[ -]class\b|\bhigh(?:est)?[ -]res(?:olution)?\b"
    r"|\b(?:stunning|breathtaking|epic|gorgeous|amazing|incredible|perfect|beautiful|flawless)"
    rf"(?: \w+)? {_PICTURE}\b"
)

CLOSE: Final = re.compile(
    r"\bclose[ -]?ups?\b|\bup close\b|\btight (?:crop|headshot|framing|shot)\b|\bmacro\b"
    r"|\bface fill(?:s|ing) the frame\b"
)
EYES: Final = re.compile(
    r"\beyes?\b|\bir(?:is|ises|ides)\b|\bgaze|\bgazing\b|\bcatch[ -]?lights?\b|\bpupils?\b|\b(?:eye)?lashes\b"
    r"|\bstar(?:e|ing)\b|\blook(?:ing|s)? (?:in)?to (?:the )?(?:camera|lens)\b|\blooking (?:straight )?at\b"
)
HEADSHOT: Final = re.compile(r"\bhead[ -]?shots?\b|\bhead[ -]and[ -]shoulders\b")
WIDE: Final = re.compile(
    r"\b(?:16:9|21:9|3:2 landscape|widescreen|landscape (?:format|orientation|aspect))\b"
)

_GARMENT: Final = any_of(
    _listed(
        """shirt, t-shirt, tee, blouse, dress, jacket, coat, turtleneck, sweater, jumper, suit, gown,
        top, v-neck, blazer, hoodie, cardigan, robe, tunic, uniform, vest, knitwear, polo,
        overshirt, outfit, scrubs, clothes"""
    )
)
_ACCENT: Final = any_of(
    _listed(
        """scarf, neckerchief, tie, bow tie, belt, necklace, hat, apron, lapel, pocket square, sash,
        shawl, lanyard, stripes"""
    )
)
_WHITE: Final = r"(?:snow[ -]|off[ -]|all[ -]|pure )?(?:white|ivory)"
_NOT_WALL: Final = "(?!background|backdrop|wall|studio|seamless)"
WHITE_GARMENT: Final = re.compile(rf"\b{_WHITE}(?: {_NOT_WALL}\w+)? {_GARMENT}s?\b")
WHITE_BACKDROP: Final = re.compile(
    rf"\b{_WHITE}(?: (?:seamless|studio|paper|plain|brick|infinity))*"
    r"[ -](?:background|backdrop|wall|studio|seamless|cyc|cyclorama)\b"
    r"|\bseamless white\b|\bon white\b|\bagainst white\b"
)
CONTRAST: Final = re.compile(rf"\bcontrast\w*|\b{COLOURED}(?: \w+)? (?:{_GARMENT}|{_ACCENT})s?\b")

KEY_WORDS: Final = re.compile(r"\bkey\b|\bmain light\b|\blit (?:only )?from\b|\bmain source\b")
OTHER_LAMPS: Final = re.compile(r"\b(?:fill|rim|back ?light|hair light|reflector|kicker|accent|as rim)\b")
ONLY_BACK: Final = re.compile(
    r"\b(?:backlit only|only backlit|no front light|purely backlit|silhouette only)\b"
)
FRONT_KEY: Final = re.compile(
    r"\b(?:frontal|front) key\b|\bkey (?:light )?from the (?:front|camera)\b|\bring light\b"
)
