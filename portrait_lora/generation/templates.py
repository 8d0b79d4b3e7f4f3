"""Templates by name, for bases that read free text and for bases with a closed vocabulary."""

from __future__ import annotations

import difflib
from typing import Final

from portrait_lora.errors import ConfigError
from portrait_lora.generation.looks import STUDIO, Template, Words
from portrait_lora.generation.looks_art import ART

TEMPLATES: Final = (*STUDIO, *ART)
_BY_NAME: Final = {template.name: template for template in TEMPLATES}


def template(name: str) -> Template:
    """The template of that name; `ConfigError` with the nearest one."""
    if name in _BY_NAME:
        return _BY_NAME[name]
    close = difflib.get_close_matches(name, _BY_NAME, 1, cutoff=0.5)
    hint = f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(_BY_NAME)}."
    raise ConfigError("no such template", where="template", got=repr(name), remedy=hint)


def layers_for(name: str, *, closed: bool) -> Words:
    """The words of a template for a base with a closed vocabulary, or for one that reads free text.

    Raises `ConfigError` naming the words that a closed base does not know.
    """
    found = template(name)
    if not closed:
        return found.layers
    if found.closed is None:
        told = ", ".join(
            found.layers[k] for k in ("wardrobe", "setting", "lighting", "grade") if k in found.layers
        )
        raise ConfigError(
            f"the template {name!r} is beyond the vocabulary of this base",
            where="template",
            got=told,
            needed="words that the base declares",
            remedy=f"Take one of: {', '.join(t.name for t in TEMPLATES if t.closed)}; or another base.",
        )
    return found.closed
