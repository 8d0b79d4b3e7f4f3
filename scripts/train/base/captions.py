"""How a picture is captioned for the UNet in training: mostly in full, never with the trigger."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Final

from portrait_lora.vocabulary import Look, clauses

WHOLE_DROPOUT: Final = 0.10
"""Share of empty captions: what classifier-free guidance needs."""
CLAUSE_DROPOUT: Final = 0.15
OPENING_DROPOUT: Final = 0.10
"""Share of captions that leave out the shot, and of those that leave out the view."""
PERSON: Final = 0.04
PHOTO: Final = 0.30
"""Share of captions without a shot that say photo instead of portrait."""
SHUFFLE: Final = 0.15
NAME_ONLY: Final = 0.5
"""Share of the captions with a name that leave hair, skin and beard to it, as an adapter's captions do."""


def training_caption(look: Look, draw: random.Random, named: bool = False) -> str:
    """A caption of the picture in which some of what could be mentioned is left out."""
    if draw.random() < WHOLE_DROPOUT:
        return ""
    if named and draw.random() < NAME_ONLY:
        look = replace(look, hair=None, skin=None, beard=None)
    look = replace(
        look,
        shot=None if draw.random() < OPENING_DROPOUT else look.shot,
        view=None if draw.random() < OPENING_DROPOUT else look.view,
        subject="person" if draw.random() < PERSON else look.subject,
    )
    first, *rest = clauses(look)
    if look.shot is None and draw.random() < PHOTO:
        first = first.replace("portrait", "photo")
    rest = [c for c in rest if draw.random() >= CLAUSE_DROPOUT]
    if draw.random() < SHUFFLE:
        draw.shuffle(rest)
    return ", ".join([first, *rest])
