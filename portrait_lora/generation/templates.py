"""Templates by name, for bases that read free text and for bases with a closed vocabulary."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import Final

from portrait_lora import vocabulary
from portrait_lora.errors import ConfigError
from portrait_lora.generation.template_art import ART
from portrait_lora.generation.template_studio import STUDIO, Template, Words

TEMPLATES: Final = (*STUDIO, *ART)
_BY_NAME: Final = {template.name: template for template in TEMPLATES}


def template(name: str) -> Template:
    """The template of that name; `ConfigError` suggests the nearest one."""
    if name in _BY_NAME:
        return _BY_NAME[name]
    close = difflib.get_close_matches(name, _BY_NAME, 1, cutoff=0.5)
    hint = f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(_BY_NAME)}."
    raise ConfigError("no such template", where="template", got=repr(name), remedy=hint)


def closed_form(chosen: Template, known: Collection[str]) -> Words | None:
    """The closed form for a base with this vocabulary: the wider one if it knows all of its words."""
    if chosen.wider is not None and (chosen.closed is None or not _unknown(chosen.wider, known)):
        return chosen.wider
    return chosen.closed


def lacking(chosen: Template, known: Collection[str]) -> tuple[str, ...]:
    """The words of a template's closed form that a base does not know, in order."""
    return _unknown(closed_form(chosen, known) or {}, known)


def _unknown(layers: Words, known: Collection[str]) -> tuple[str, ...]:
    words = (word for phrase in layers.values() for word in phrase.split())
    return tuple(dict.fromkeys(word for word in words if word not in known))


def drawable(known: Collection[str]) -> tuple[Template, ...]:
    """The templates that a base with this vocabulary supports."""
    return tuple(t for t in TEMPLATES if closed_form(t, known) is not None and not lacking(t, known))


def layers_for(name: str, *, closed: bool, known: Collection[str] | None = None) -> Words:
    """The layers of a template, for a base with a closed vocabulary or one that reads free text.

    `known` is the vocabulary of a closed base; by default the whole vocabulary.  Raises `ConfigError` naming
    the words that it lacks.
    """
    known = vocabulary.words() if known is None else known
    chosen = template(name)
    if not closed:
        return chosen.layers
    missing, words = lacking(chosen, known), closed_form(chosen, known)
    if words is None or missing:
        beyond = ", ".join(missing) or ", ".join(
            chosen.layers[k] for k in ("wardrobe", "setting", "lighting", "grade") if k in chosen.layers
        )
        raise ConfigError(
            f"the template {name!r} is beyond the vocabulary of this base",
            where="template",
            got=beyond,
            needed="words that the base declares",
            remedy=f"Use one of: {', '.join(t.name for t in drawable(known))}, or another base.",
        )
    return words
