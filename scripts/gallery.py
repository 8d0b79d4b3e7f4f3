"""A sheet for every group of looks that the embedded base draws well, and `docs/gallery.md`.

python -m scripts.gallery LIKENESS_DIR LIKENESS_DIR …

The likenesses are three or four that `portrait-lora demo` made, one column each.  Of every look several
portraits are drawn per person, each from another seed, and the best is shown: fewest faults of the checklist,
hair within the picture and clear eyes first, then similarity and the contrast of the eyes.  `PREFERRED` names
those that looked better to a person.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

import yaml
from PIL import Image, ImageDraw, ImageFont

from portrait_lora import manifest, provenance
from portrait_lora.dataset.build import load_dataset_folder
from portrait_lora.evaluation import similarity
from portrait_lora.evaluation.overview import head_square
from portrait_lora.faces.backends import Analyzer
from portrait_lora.faces.eyes import BLANK, CLEAR, eye_contrast
from portrait_lora.families.catalog import EMBEDDED
from portrait_lora.generation import prompts, templates
from portrait_lora.generation.checklist import failures
from portrait_lora.generation.template_studio import Template
from portrait_lora.likeness import open_likeness
from portrait_lora.pictures.reader import read_rgb
from portrait_lora.records import Face, Portrait, RGBImage
from portrait_lora.stages.context import Context
from portrait_lora.stages.series import check_all, holdout_of

DOCS: Final = Path(__file__).parents[1] / "docs"
CANDIDATES: Final = 8
LOCKED: Final = {"shot": "headshot", "expression": "neutral"}
"""Said of every look: close-ups cut the hair, and mouths other than neutral ones are creased."""
BADLY_DRAWN: Final = frozenset((
    "actor", "real-estate", "noir", "neon", "golden-hour", "high-key", "low-key", "magazine", "oil",
    "illustration", "victorian",
))  # fmt: skip
"""Looks that the base has words for and that nobody should be shown: see docs/log.md."""
PREFERRED: Final[Mapping[tuple[str, str], int]] = {
    ("studio person 4031", "academic"): 4,
    ("studio person 4031", "avatar"): 3,
    ("studio person 4031", "render"): 6,
    ("studio person 4005", "corporate"): 2,
    ("studio person 4005", "startup"): 6,
    ("studio person 4005", "academic"): 2,
    ("studio person 4005", "avatar"): 7,
}
"""(person, look) -> the candidate, counted from 0, that looks better than the one that measures best."""
SHOWN: Final = "shown"
BAD: Final = "not drawn well enough"
WORDLESS: Final = "no words for it"
_SEED: Final = 3101
_CUT_HAIR: Final = 0.15
"""Hair in the topmost row over the widest row of hair: a head of 60 px loses less than half a pixel."""
_CELL: Final = 248
"""Side of a picture on the sheet, in pixels, as are the following."""
_GUTTER: Final = 40
_MARGIN: Final = 64
_HEAD: Final = 46
_FOOT: Final = 24
_PAPER: Final = (250, 248, 244)
_INK: Final = (38, 38, 40)
_GREY: Final = (110, 107, 102)
_INTRO: Final = f"""# Gallery

Made-up people of the synthetic studio, a column each; every one has an adapter of their own
(`portrait-lora demo --person-seed N`). The first row is a photo that was held out from training. Below it
stands one row per look of the prompt book; under each portrait is its similarity to the held-out photos,
measured by embedder B.

Of each look {CANDIDATES} portraits were drawn per person, each from another seed, and one is shown: hair
within the picture, clear eyes and no fault on the checklist come first, then similarity and the contrast of
the eyes. All were looked at, and in some places one that looked better was taken. Every look is drawn as a
headshot with a neutral expression, which this base draws best. In a series of your own:
`shots: [{{template: academic}}]`.

`python -m scripts.gallery LIKENESS_DIR …` remakes sheets and table.
"""
_END: Final = f"""
*{BAD.capitalize()}*: the embedded base knows the words, but blank eyes, cut hair or broken faces are too
common in what it makes of them. *{WORDLESS.capitalize()}*: the embedded model has no words for the look and
refuses it, naming those it lacks; a base that reads free text draws it.
"""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One portrait and what it is chosen by; `rank` is larger for better."""

    portrait: Portrait
    blank: bool
    hair_cut: bool
    faults: tuple[str, ...]
    likeness: float
    contrast: float

    @property
    def rank(self) -> tuple[int, float]:
        wrong = len(self.faults) + self.blank + self.hair_cut
        return -wrong, self.likeness * min(1.0, self.contrast / CLEAR)


@dataclass(frozen=True, slots=True)
class Person:
    """A column: a held-out photo, and the portrait of every look with its similarity by embedder B."""

    name: str
    photo: Image.Image
    shown: Mapping[str, tuple[Path, float]]


def grouped() -> list[Template]:
    """All looks, those of one group together, in the order of the book."""
    order = list(dict.fromkeys(look.group for look in templates.TEMPLATES))
    return sorted(templates.TEMPLATES, key=lambda look: order.index(look.group))


def with_words() -> list[Template]:
    """The looks that the embedded base has words for, grouped."""
    drawable = templates.drawable(prompts.known_words(EMBEDDED) or ())
    return [look for look in grouped() if look in drawable]


def status(look: Template) -> str:
    """Whether the page shows a look, or why not."""
    if look not in with_words():
        return WORDLESS
    return BAD if look.name in BADLY_DRAWN else SHOWN


def hair_cut(image_rgb: RGBImage, face: Face, finder: Analyzer) -> bool:
    """Whether the upper border cuts the hair; False for a bald head and from a pack that cannot tell."""
    parts = finder.parts(image_rgb, face)
    if parts is None:
        return False
    rows = parts.where("hair").sum(axis=1)
    return bool(rows[0] > _CUT_HAIR * rows.max())


def measured(ctx: Context, portraits: Sequence[Portrait]) -> list[Candidate]:
    """What every portrait is chosen by; one without a face is blank and like nobody."""
    checks, holdout = check_all(ctx, portraits), holdout_of(ctx)
    candidates: list[Candidate] = []
    for portrait in portraits:
        image = read_rgb(portrait.path)
        face = similarity.subject_face(ctx.finder.find(image))
        faults = failures(checks[portrait.path.name])
        if face is None:
            candidates.append(Candidate(portrait, True, False, faults, 0.0, 0.0))
            continue
        contrast = eye_contrast(image, face) or 0.0
        similar = float((holdout.embeddings @ face.embedding).mean())
        cut = hair_cut(image, face, ctx.finder)
        candidates.append(Candidate(portrait, contrast < BLANK, cut, faults, similar, contrast))
    return candidates


def chosen(name: str, looks: Sequence[Template], candidates: Sequence[Candidate]) -> dict[str, Candidate]:
    """The preferred or else the best candidate of every look; `candidates` lie look by look.

    Raises `SystemExit` naming the looks of which it cannot be shown.
    """
    kept: dict[str, Candidate] = {}
    for i, look in enumerate(looks):
        some = candidates[i * CANDIDATES : (i + 1) * CANDIDATES]
        liked = PREFERRED.get((name, look.name))
        kept[look.name] = max(some, key=lambda one: one.rank) if liked is None else some[liked]
    bad = [look for look, one in kept.items() if one.blank or one.hair_cut]
    if bad:
        raise SystemExit(f"{name}: nothing to show of {', '.join(bad)}; BADLY_DRAWN, or more candidates")
    return kept


def draw_person(folder: Path, looks: Sequence[Template], work: Path) -> Person:
    """Draw the candidates of every look with the adapter of one likeness and keep the best of each."""
    ctx = _context(folder, work)
    shots = [s for s, look in zip(ctx.shots, _for_each_shot(with_words()), strict=True) if look in looks]
    name = ctx.config.subject.name or folder.name
    kept = chosen(name, looks, measured(ctx, ctx.draw(ctx.selected, shots, work / folder.name)))
    return Person(name, _photo(ctx), dict(zip(kept, _reported(ctx, list(kept.values())), strict=True)))


def _for_each_shot(looks: Sequence[Template]) -> list[Template]:
    return [look for look in looks for _ in range(CANDIDATES)]


def _context(folder: Path, work: Path) -> Context:
    """A likeness with the series of all looks that have words, so that no seed depends on which are shown."""
    series = {
        "series": "gallery",
        "seed": _SEED,
        "aspect": "1:1",
        "count": CANDIDATES,
        "locked": LOCKED,
        "shots": [{"template": look.name} for look in with_words()],
    }
    manifest.make_folder(work / folder.name)
    file = work / folder.name / "gallery.yaml"
    manifest.write_text_atomic(file, yaml.safe_dump(series, sort_keys=False))
    return Context(open_likeness(folder, [f"generate.series={file}"]))


def _reported(ctx: Context, chosen: Sequence[Candidate]) -> list[tuple[Path, float]]:
    """Files and similarities by the embedder that nothing was chosen by."""
    _, held = load_dataset_folder(ctx.likeness.dataset)
    holdout = similarity.embed_photos(held, ctx.reporter)[0]
    items = [similarity.PortraitItem(c.portrait.path, c.portrait.shot.prompt) for c in chosen]
    scores = similarity.score_portraits(items, holdout, ctx.reporter)
    return [(item.path, score.similarity or 0.0) for item, score in zip(items, scores, strict=True)]


def _photo(ctx: Context) -> Image.Image:
    """Head and shoulders of the held-out photo that looks most straight into the camera."""
    _, held = load_dataset_folder(ctx.likeness.dataset)
    seen = [(image, face) for image in map(read_rgb, held) for face in ctx.finder.find(image)[:1]]
    image, face = min(seen, key=lambda one: abs(one[1].pose_deg[1]) if one[1].pose_deg else 90.0)
    return head_square(image, face)


def sheet(group: str, looks: Sequence[Template], people: Sequence[Person], path: Path) -> None:
    """Write the JPEG of one group: people in columns, a photo of each and then the looks in rows."""
    row_height = _HEAD + _CELL + _FOOT
    columns = [_MARGIN + i * (_CELL + _GUTTER) for i in range(len(people))]
    size = (columns[-1] + _CELL + _MARGIN, 2 * _MARGIN + 30 + (1 + len(looks)) * row_height - _HEAD)
    page = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(page)
    large, middle, small = (ImageFont.load_default(size) for size in (30, 18, 15))

    def place(picture: Image.Image, x: int, y: int, words: str) -> None:
        shown = picture.convert("RGB").resize((_CELL, _CELL), Image.Resampling.LANCZOS)
        page.paste(shown, (x, y))
        draw.text((x, y + _CELL + 6), words, font=small, fill=_GREY)

    draw.text((_MARGIN, _MARGIN - 24), group.capitalize(), font=large, fill=_INK)
    y = _MARGIN + 30
    for x, person in zip(columns, people, strict=True):
        place(person.photo, x, y, f"{person.name}: a held-out photo")
    y += _CELL + _FOOT
    known = prompts.known_words(EMBEDDED) or ()
    for look in looks:
        layers = {**(templates.closed_form(look, known) or {}), **LOCKED}
        words = ", ".join(layers[k] for k in ("style", "wardrobe", "setting", "lighting") if k in layers)
        draw.text((_MARGIN, y + 18), look.name, font=middle, fill=_INK)
        beside = _MARGIN + middle.getlength(look.name) + 14
        draw.text((beside, y + 21), words, font=small, fill=_GREY)
        y += _HEAD
        for x, person in zip(columns, people, strict=True):
            file, likeness = person.shown[look.name]
            with Image.open(file) as picture:
                place(picture, x, y, f"similarity {likeness:.2f}")
        y += _CELL + _FOOT
    buffer = io.BytesIO()
    page.save(buffer, "JPEG", quality=86, optimize=True, xmp=provenance.xmp_bytes(provenance.TRAINED))
    manifest.write_bytes_atomic(path, buffer.getvalue())


def page(looks: Sequence[Template]) -> str:
    """The text of `docs/gallery.md`."""
    parts = [_INTRO]
    for group, some in groupby(looks, key=lambda look: look.group):
        names = ", ".join(look.name for look in some if status(look) == SHOWN)
        if names:
            parts.append(f"## {group.capitalize()}\n\n![{names}](gallery-{group}.jpg)\n\n*{names}*\n")
    rows = ["## All looks\n", "| look | group | embedded base | what the embedded words leave out |"]
    rows.append("|---|---|---|---|")
    for look in looks:
        unsaid = look.unsaid if status(look) != WORDLESS else ()
        rows.append(f"| {look.name} | {look.group} | {status(look)} | {', '.join(unsaid) or '–'} |")
    return "\n".join([*parts, "\n".join(rows), _END])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("likeness", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=DOCS)
    parser.add_argument("--work", type=Path, default=Path("work/gallery"), help="where candidates are kept")
    arguments = parser.parse_args()
    looks = grouped()
    drawn = [look for look in looks if status(look) == SHOWN]
    people = [draw_person(folder, drawn, arguments.work) for folder in arguments.likeness]
    for group, some in groupby(drawn, key=lambda look: look.group):
        sheet(group, list(some), people, arguments.out / f"gallery-{group}.jpg")
    manifest.write_text_atomic(arguments.out / "gallery.md", page(looks))


if __name__ == "__main__":
    main()
