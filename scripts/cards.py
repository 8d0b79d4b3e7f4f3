"""Write docs/cards.md: a section per card, with what every base would take there.

    python -m scripts.cards

`make figures` runs it too; a test holds the page against the package.  The rows are those of `train
--dry-run` with each base's own settings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from portrait_lora import config
from portrait_lora.families.base_model import BaseModel
from portrait_lora.families.rows import bases
from portrait_lora.results import Tier
from portrait_lora.stages import tiers
from portrait_lora.stages.configured import job_of, recipe_of
from portrait_lora.summaries import activations, drawing

PAGE: Final = Path(__file__).parents[1] / "docs" / "cards.md"
_STEPS: Final = 1000
_HEAD: Final = """\
# Which base on which card

<!-- written by python -m scripts.cards -->
Per card, what training each base of the catalogue would take with its own settings, and how portraits would
be drawn, best likeness first (by what users of other trainers report). `portrait-lora train DIR --dry-run`
prints the same for your settings; [Training](training.md#on-the-card-that-is-there) explains the ways.
**Predicted from the sizes of the models: no peak has been measured on a GPU yet**, and the text encoder's,
which reads the captions before, is not in it. "Or int8" and "or nf4" under drawing: with that for
`generate.weights` the denoiser would stay on the card. A card that also drives a screen has about 1 GB less.
Licences differ: `portrait-lora models NAME`.
"""
_COLUMNS: Final = """\
| base | picture | base held as | activations | at a time | memory | drawing |
|---|---|---|---|---|---|---|
"""


def rows_of(base: BaseModel) -> tuple[Tier, ...]:
    """A row per card, with the base's own settings."""
    settings = config.load(None, [f"base={base.name}"]).training
    recipe = recipe_of(settings, steps=_STEPS, seed=0, mixed_precision="bf16")
    return tiers.of(job_of(settings, base, recipe))


def text() -> str:
    """The whole page."""
    listed = sorted(
        (base for base in bases() if not base.synthetic),
        key=lambda base: (base.preference is None, base.preference or 0, base.name),
    )
    of_bases = {base: rows_of(base) for base in listed}
    return _HEAD + "".join(
        _section(size, [(base, rows[place]) for base, rows in of_bases.items()])
        for place, size in enumerate(tiers.CARDS_GB)
    )


def _section(size: int, rows: list[tuple[BaseModel, Tier]]) -> str:
    fitting = [f"| {_cells(base, tier)} |\n" for base, tier in rows if tier.fits]
    larger = [f"`{base.name}` ({tier.memory_gb:.0f} GB)" for base, tier in rows if not tier.fits]
    after = f"\nToo large even so: {', '.join(larger)}.\n" if larger else ""
    return f"\n## {size} GB\n\n{_COLUMNS}{''.join(fitting)}{after}"


def _cells(base: BaseModel, tier: Tier) -> str:
    held = f"{tier.weights}, streamed" if tier.streamed else tier.weights
    cells = (
        f"`{base.name}`", f"{base.resolution_px} px", held, activations(tier.computed_twice),
        str(tier.micro_batch), f"{tier.memory_gb:.1f} GB", drawing(tier),
    )  # fmt: skip
    return " | ".join(cells)


def main() -> None:
    """Write the page."""
    PAGE.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
