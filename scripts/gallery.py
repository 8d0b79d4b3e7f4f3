"""A sheet for every look of the prompt book that the embedded base has words for, and `docs/gallery.md`.

python -m scripts.gallery LIKENESS_DIR

The likeness is one that `portrait-lora demo` made.  Four portraits of each look, one sheet per group.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from itertools import groupby
from pathlib import Path
from typing import Final

import yaml
from PIL import Image

from portrait_lora import manifest, provenance, recipe
from portrait_lora.families.catalog import EMBEDDED
from portrait_lora.generation import prompts, templates
from portrait_lora.generation.contact_sheet import contact_sheet
from portrait_lora.generation.looks import Template
from portrait_lora.likeness import open_likeness
from portrait_lora.stages.context import Context

DOCS: Final = Path(__file__).parents[1] / "docs"
PER_LOOK: Final = 4
SHEET_PX: Final = 900
_INTRO: Final = """# Gallery

One row per look of the prompt book that the embedded base has words for: a made-up person, four seeds, with
the person's adapter. `python -m scripts.gallery LIKENESS_DIR` remakes sheets and table from any likeness
folder of the embedded base. A look in a series of your own: `shots: [{template: noir}]`.

What this base does not draw well yet: mouths are often creased, above all smiling ones, eyes under hard light
are white slits, and streets and offices are hinted at rather than drawn.
"""
_END: Final = """
The looks marked *not shown* need a base that reads free text; here they are refused with the words that are
missing.
"""


def is_shown(look: Template) -> bool:
    """Whether the embedded base has words for it."""
    return look in templates.drawable(prompts.known_words(EMBEDDED) or ())


def grouped() -> list[Template]:
    """All looks, those of one group together, in the order of the book."""
    order = list(dict.fromkeys(look.group for look in templates.TEMPLATES))
    return sorted(templates.TEMPLATES, key=lambda look: order.index(look.group))


def sheet(likeness: Path, group: str, looks: list[Template], out: Path) -> Path:
    """Draw the looks of one group and put their contact sheet, made smaller, to `out`."""
    series = {
        "series": f"gallery-{group}",
        "seed": 3100,
        "aspect": "1:1",
        "count": PER_LOOK,
        "shots": [{"template": look.name} for look in looks],
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"gallery-{group}.yaml"
        file.write_text(yaml.safe_dump(series, sort_keys=False), encoding="utf-8")
        given = [f"generate.series={file}"]
        recipe.generate(likeness, overrides=given)
        ctx = Context(open_likeness(likeness, given))
        made = ctx.draw(ctx.selected, ctx.shots, ctx.likeness.portraits(ctx.series))
        names = {p.path.name: [looks[i // PER_LOOK].name] for i, p in enumerate(made)}
        rough = contact_sheet(
            made, Path(folder) / "page.jpg", title=group.capitalize(), columns=PER_LOOK, notes=names
        )
        with Image.open(rough) as page:
            size = (SHEET_PX, round(SHEET_PX * page.height / page.width))
            shown = page.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    shown.save(buffer, "JPEG", quality=86, xmp=provenance.xmp_bytes(provenance.TRAINED))
    target = out / f"gallery-{group}.jpg"
    manifest.write_bytes_atomic(target, buffer.getvalue())
    return target


def page(looks: list[Template]) -> str:
    """The text of `docs/gallery.md`."""
    parts = [_INTRO]
    for group, some in groupby(looks, key=lambda look: look.group):
        shown = [look for look in some if is_shown(look)]
        if shown:
            names = ", ".join(look.name for look in shown)
            parts.append(f"## {group.capitalize()}\n\n![{names}](gallery-{group}.jpg)\n\n*{names}*\n")
    rows = ["## All looks\n", "| look | group | embedded base | what the embedded words leave out |"]
    rows.append("|---|---|---|---|")
    for look in looks:
        told, unsaid = ("shown", look.unsaid) if is_shown(look) else ("not shown: no words for it", ())
        rows.append(f"| {look.name} | {look.group} | {told} | {', '.join(unsaid) or '–'} |")
    return "\n".join([*parts, "\n".join(rows), _END])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("likeness", type=Path)
    parser.add_argument("--out", type=Path, default=DOCS)
    given = parser.parse_args()
    looks = grouped()
    for group, some in groupby(looks, key=lambda look: look.group):
        shown = [look for look in some if is_shown(look)]
        if shown:
            print(sheet(given.likeness, group, shown, given.out), flush=True)
    manifest.write_text_atomic(given.out / "gallery.md", page(looks))


if __name__ == "__main__":
    main()
