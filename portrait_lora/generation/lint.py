"""The prompt linter: common weaknesses of portrait prompts, and better wording.

A warning needs evidence in the words themselves; matters of taste are left alone.  For a base with a closed
vocabulary, rules that recommend words outside it are skipped.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from portrait_lora.generation import a1111, book
from portrait_lora.generation import lint_words as w
from portrait_lora.records import FamilyName

Rule = Callable[[str], str | None]
IGNORED_NEGATIVE: Final = "negative_ignored"


@dataclass(frozen=True, slots=True)
class Remark:
    """One warning: a stable code, the problem, and what to write instead."""

    code: str
    problem: str
    instead: str

    @property
    def sentence(self) -> str:
        return f"{self.code}: {self.problem}. {self.instead}"


def lint(
    prompt: str,
    *,
    size_px: tuple[int, int] | None = None,
    known: Collection[str] | None = None,
    lost: Sequence[str] = (),
) -> tuple[Remark, ...]:
    """The warnings for one prompt, in a fixed order.

    `size_px` (W, H) is needed to check the aspect ratio.  `known` is the closed vocabulary of a base, None
    for one that reads free text.  `lost` are clauses beyond the limit of the text encoder (`compose.fit`).
    """
    text = " ".join(prompt.lower().replace("–", "-").replace("’", "'").split())
    remarks = [Remark(code, problem, _INSTEAD[code]) for code, rule in _RULES if (problem := rule(text))]
    wide = _wide(text, size_px)
    if wide:
        remarks.append(Remark("landscape_headshot", wide, _INSTEAD["landscape_headshot"]))
    if known is not None:
        remarks = [remark for remark in remarks if remark.code not in _OPEN_ONLY]
        unknown = unknown_words(prompt, known)
        if unknown:
            listed = ", ".join(unknown)
            remarks.append(
                Remark("unknown_words", f"the base does not know: {listed}", _INSTEAD["unknown_words"])
            )
    if syntax := foreign_syntax(prompt):
        remarks.append(syntax)
    if lost:
        listed = "; ".join(lost)
        remarks.append(
            Remark("falls_off", f"beyond the limit of the text encoder: {listed}", _INSTEAD["falls_off"])
        )
    return tuple(remarks)


def ignored_negative(negative: str, guidance_scale: float, family: FamilyName) -> Remark | None:
    """The warning for a negative prompt that is ignored; None if it has an effect, or is not the user's own.

    Without classifier-free guidance (a scale of 1, as for distilled bases and presets) there is no
    unconditional pass; some families' pipelines take no negative prompt at all.
    """
    if not negative or negative in book.NEGATIVE.values():
        return None
    if guidance_scale > 1:
        from portrait_lora.families import takes_negative

        if takes_negative(family):
            return None
    why = f"guidance_scale {guidance_scale:g}" if guidance_scale <= 1 else f"the family {family}"
    return Remark(
        IGNORED_NEGATIVE,
        f"with {why} the negative prompt is ignored: {negative!r}",
        "Describe in the prompt what should be there instead, or use a base or preset with guidance above 1.",
    )


def foreign_syntax(prompt: str) -> Remark | None:
    """The warning for weights, tags and keywords of A1111, which are not supported; None without any."""
    pieces = a1111.plain(prompt).unsupported
    if not pieces:
        return None
    problem = f"syntax of A1111 is not supported: {' '.join(pieces)}"
    return Remark("a1111_syntax", problem, _INSTEAD["a1111_syntax"])


def unknown_words(prompt: str, known: Collection[str]) -> tuple[str, ...]:
    """The words of a prompt that are not in the closed vocabulary, in order."""
    words = re.findall(r"[^\s,.;]+", prompt.lower())
    return tuple(dict.fromkeys(word for word in words if word not in known))


def _vague_light(text: str) -> str | None:
    text = w.LIGHT_AS_ADJECTIVE.sub("pale", text)
    if w.NAMED_LIGHT.search(text):
        return None
    hit = w.ANY_LIGHT.search(text)
    return f"{_around(text, hit)!r} names neither direction nor quality of the light" if hit else None


def _no_light(text: str) -> str | None:
    text = w.LIGHT_AS_ADJECTIVE.sub("pale", text)
    return None if w.NAMED_LIGHT.search(text) or w.ANY_LIGHT.search(text) else "the light is not described"


def _style_conflict(text: str) -> str | None:
    styles = [(s.phrase, s.medium) for s in book.STYLES if w.pattern((s.phrase, *s.names)).search(text)]
    if re.search(r"\b3d\b|\brender(?:ed|ing)?\b", text) and not any(m == "3d" for _, m in styles):
        styles.append(("3D render", "3d"))
    for (one, a), (two, b) in itertools.combinations(styles, 2):
        if a != b and frozenset((a, b)) not in book.COMPATIBLE:
            return f"{one} and {two} exclude each other"
    return None


def _generic_background(text: str) -> str | None:
    hit = w.GENERIC_BACKGROUND.search(text)
    return f"{hit[0]!r} shows nothing in particular" if hit else None


def _no_surface(text: str) -> str | None:
    return (
        None
        if w.SURFACE.search(w.INTENSIFIER.sub(" ", text))
        else "no surface detail: the result will look flat"
    )


def _intensifier(text: str) -> str | None:
    hit = w.INTENSIFIER.search(text)
    return f"{hit[0]!r} describes nothing visible" if hit else None


def _no_eyes(text: str) -> str | None:
    return (
        "a close-up without a mention of the eyes"
        if w.CLOSE.search(text) and not w.EYES.search(text)
        else None
    )


def _white_on_white(text: str) -> str | None:
    white = w.WHITE_GARMENT.search(text) and w.WHITE_BACKDROP.search(text)
    return (
        "white clothes will merge with the white backdrop" if white and not w.CONTRAST.search(text) else None
    )


def _light_contradiction(text: str) -> str | None:
    lights = [
        light for light in book.LIGHTS if re.search(rf"\b{w.any_of((light.phrase, *light.names))}", text)
    ]
    for name in ("pattern", "tone", "hour"):
        values = {value: light.phrase for light in lights if (value := getattr(light, name))}
        if len(values) > 1:
            return f"{' and '.join(values.values())} exclude each other"
    sides = {side for part in re.split(r",|;|\band\b", text) for side in _key_sides(part)}
    if len(sides) > 1:
        return "the key comes from the left and from the right"
    if w.ONLY_BACK.search(text) and w.FRONT_KEY.search(text):
        return "only light from behind, and a key from the front"
    return None


def _key_sides(part: str) -> set[str]:
    """The sides of the key light in a clause; fill, rim and reflectors may be anywhere."""
    if not w.KEY_WORDS.search(part) or w.OTHER_LAMPS.search(part):
        return set()
    return {side for side in ("left", "right") if re.search(rf"\b{side}\b", part)}


def _wide(text: str, size_px: tuple[int, int] | None) -> str | None:
    wide = bool(w.WIDE.search(text)) or (size_px is not None and size_px[0] > size_px[1])
    close = w.HEADSHOT.search(text) or w.CLOSE.search(text)
    return "a headshot in a wide picture leaves most of it empty" if wide and close else None


def _around(text: str, hit: re.Match[str]) -> str:
    """The clause around a match."""
    start = max(text.rfind(",", 0, hit.start()), text.rfind(".", 0, hit.start())) + 1
    end = text.find(",", hit.end())
    return text[start : end if end >= 0 else len(text)].strip()


_RULES: Final[tuple[tuple[str, Rule], ...]] = (
    ("vague_light", _vague_light),
    ("no_light", _no_light),
    ("style_conflict", _style_conflict),
    ("generic_background", _generic_background),
    ("no_surface_detail", _no_surface),
    ("vague_intensifier", _intensifier),
    ("no_eyes_cue", _no_eyes),
    ("white_on_white", _white_on_white),
    ("light_contradiction", _light_contradiction),
)
_OPEN_ONLY: Final = frozenset({"no_surface_detail", "no_eyes_cue"})
"""Rules whose remedy needs free text."""
_INSTEAD: Final = {
    "vague_light": "Write direction and quality, such as 'soft key from camera left at 45 degrees', or "
    "a named set-up: Rembrandt, butterfly, loop, split, clamshell, window light, golden hour.",
    "no_light": "Add one set-up, such as 'three-point studio lighting' or 'window light from the left'.",
    "style_conflict": "Keep one medium and move the other's idea into texture or grade.",
    "generic_background": "Name it: 'seamless grey backdrop', 'blurred office', 'textured brick wall'.",
    "no_surface_detail": "Add one: 'natural skin texture with visible pores', 'fine knit weave', for painted "
    "media 'visible brush strokes', for renders 'subsurface scattering on skin'.",
    "vague_intensifier": "Replace it by what would achieve it: lens, light, texture, film stock.",
    "no_eyes_cue": f"Add '{book.EYE_CUE}'.",
    "white_on_white": "Add a contrasting piece ('navy jacket over the white shirt') or a grey backdrop.",
    "light_contradiction": "Keep one key and call the other light fill or rim.",
    "landscape_headshot": "Use 3:4 or 2:3, 1:1 for avatars; wide pictures suit environmental portraits.",
    "unknown_words": "Use the words of portrait_lora/vocabulary.py, or another base.",
    "a1111_syntax": "Use plain words: weights and tags are dropped, BREAK and AND read as commas. "
    "Put what matters most first; a second LoRA goes into generate.style_adapter.",
    "falls_off": "Shorten the prompt; put what matters most first.",
}
CODES: Final = (
    *(code for code, _ in _RULES),
    "landscape_headshot",
    "unknown_words",
    "a1111_syntax",
    "falls_off",
)
