"""Photos of the person shown to the base in context while it draws, for families whose pipelines take them.

The pipeline encodes each photo with the VAE and puts its patches behind those of the picture, at positions of
their own; so their order counts.  That of Qwen-Image-Edit reads the prompt beside them, too.  After a share
of the steps they may be taken away: then the adapter draws on alone.  Tested with tiny random networks only,
not with published weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

from PIL import Image

from portrait_lora import manifest
from portrait_lora.errors import ConfigError, InputError
from portrait_lora.families.rows import ROWS, family_names, row_of
from portrait_lora.pictures.reader import read_rgb
from portrait_lora.records import FamilyName

UNTIL: Final = "references_until"
"""In a generation record: the share of the steps during which they were shown, where it was not all."""
KEY: Final = "reference_sha256"
"""In a generation record: the sha256 of every photo that was shown, in order."""
_SLACK: Final = 1e-6
"""A share of the steps is not a step more for the rounding of numbers."""
_Args = tuple[Any, ...]
_Named = dict[str, Any]
MIN_SIDE_PX: Final = 64
"""The pipelines of FLUX.2 take no smaller picture, and of a smaller one there is little to be seen."""


def refuse_family(family: FamilyName, count: int, where: str = "generate.references") -> None:
    """Raise `ConfigError` for a family that takes no references, or fewer than `count`; `where` asks."""
    most = row_of(family).references
    if most == 0:
        raise ConfigError(
            "this family does not take reference photos",
            where=where,
            got=family,
            needed=family_names(row for row in ROWS.values() if row.references),
        )
    if count > most:
        raise ConfigError(
            "this family takes fewer reference photos", where=where, got=count, needed=f"at most {most}"
        )


def digests_of(references: Sequence[Path], until: float = 1.0) -> dict[str, object]:
    """What the generation record says of the references; nothing where none is shown."""
    if not references:
        return {}
    share: dict[str, object] = {} if until == 1.0 else {UNTIL: until}
    return {KEY: [manifest.sha256_file(path) for path in references], **share}


def recorded(record: Mapping[str, object]) -> list[str]:
    """The digests in a generation record, in the order in which the photos were shown."""
    return [str(one) for one in cast(Sequence[object], record.get(KEY) or ())]


class Curtain:
    """Takes the references away after a share of the steps: the denoiser is called without their patches.

    The pipelines keep only the answer for the picture's own patches, its first `patches`.  One whose prompts
    are read beside the photos says itself what the denoiser is called with (`without_references`), and draws
    pictures one after the other: each begins with the photos.
    """

    def __init__(self, until: float, patches: int):
        self.until, self.patches, self.steps = until, patches, 0

    def step(self) -> None:
        """A step is done."""
        self.steps += 1

    @contextmanager
    def before(self, pipe: Any) -> Iterator[None]:
        """Context in which the pipeline is called; `step` is called after each of its steps."""

        apart = getattr(pipe, "without_references", None) or _without_patches

        def cut(_: object, args: _Args, named: _Named) -> tuple[_Args, _Named]:
            if self.steps % pipe.num_timesteps < math.ceil(self.until * pipe.num_timesteps - _SLACK):
                return args, named
            return args, named | apart(named, self.patches)

        hook = pipe.transformer.register_forward_pre_hook(cut, with_kwargs=True)
        pipe.parts_early = True
        try:
            yield
        finally:
            pipe.parts_early = False
            hook.remove()


def _without_patches(named: Mapping[str, Any], patches: int) -> _Named:
    """Of the pipelines of FLUX.2."""
    return {key: named[key][:, :patches] for key in ("hidden_states", "img_ids")}


def read_references(references: Sequence[Path]) -> list[Image.Image]:
    """The pictures that the pipeline is called with: whole, RGB, in order; it crops them to its patches.

    Raises `InputError` for one that cannot be read, or is too small.
    """
    return [_read(path) for path in references]


def _read(path: Path) -> Image.Image:
    try:
        picture = Image.fromarray(read_rgb(path))
    except InputError as error:
        raise InputError("a reference photo cannot be read", where=path, got=error.what) from error
    if min(picture.size) < MIN_SIDE_PX:
        raise InputError(
            "a reference photo is too small",
            where=path,
            got=f"{picture.width}x{picture.height} px",
            needed=f"at least {MIN_SIDE_PX} px on each side",
        )
    return picture
