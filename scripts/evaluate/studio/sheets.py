"""The contact sheets of docs/studio.md.

python -m scripts.evaluate.studio.sheets                   people, light, wardrobe, styles, parts: no base
python -m scripts.evaluate.studio.sheets --base            what the base draws beside renders of its prompts
python -m scripts.evaluate.studio.sheets --likeness DIR    held-out photos, base, adapter; may be repeated

The same command gives the same pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final

import torch
import typer
from PIL import Image
from torch import Tensor

from portrait_lora import synthetic
from portrait_lora import vocabulary as v
from portrait_lora.evaluation.overview import Row
from portrait_lora.synthetic import colours
from portrait_lora.synthetic.identity import People
from portrait_lora.synthetic.scene import Override
from portrait_lora.synthetic.styles import styled
from scripts.evaluate.studio.pages import Tiles, rows_of, save_page, stacked, tiles, write_page
from scripts.evaluate.studio.parts_shown import part_rows

DOCS: Final = Path("docs")
TILE_PX: Final = 160
SUPERSAMPLE: Final = 2
FIRST_SEED: Final = 890_000
COLUMNS: Final = 8
PROMPTS: Final = 6
_WOMAN: Final = FIRST_SEED + 13
_MAN: Final = FIRST_SEED + 8
_BARE: Final = {"glasses": 0.0, "beard": 0.0}
_ALONE: Final = {"hat": v.HATS[0], "glasses": v.GLASSES[0], "makeup": v.MAKEUP[0]}
_PLAIN: Final[dict[str, Override]] = {
    "view": "frontal",
    "pitch_deg": 0.0,
    "roll_deg": 0.0,
    "body_yaw_deg": 0.0,
    "expression": "neutral",
    "lighting": "three-point lighting",
    "setting": "grey seamless backdrop",
    "wardrobe": "navy t-shirt",
    "shot": "headshot",
    "head_fraction": 0.6,
    "centre": (0.0, 0.0),
    "gaze": (0.0, 0.0),
}


def taken(people: People, **scene: Override) -> Tensor:
    """Everybody in a plain headshot, with these changes: (N, 3, 160, 160) uint8."""
    seeds = [FIRST_SEED + 500 + i for i in range(len(people))]
    scenes = synthetic.sample_scenes(seeds, **(_PLAIN | scene))  # pyright: ignore[reportArgumentType]
    return synthetic.render(people, scenes, TILE_PX, supersample=SUPERSAMPLE).image_BCHW


def copies(seed: int, count: int, **changed: Sequence[float]) -> People:
    """One person `count` times, bare-faced, with parameters changed per copy."""
    people = synthetic.sample_people([seed] * count)
    changed = {k: [value] * count for k, value in _BARE.items()} | changed
    new = {k: torch.tensor(list(values)).to(people.values[k].dtype) for k, values in changed.items()}
    return replace(people, values=MappingProxyType({**people.values, **new}))


def choice(seed: int, parameter: str, words: Sequence[str], known: Sequence[str]) -> Tiles:
    """One person wearing each of the words of a list."""
    people = copies(seed, len(words), **{parameter: [float(known.index(w)) for w in words]})
    return tiles(taken(people), words)


def people_rows() -> list[Row]:
    """Who there is, and what a face can do."""
    seeds = [FIRST_SEED + i for i in range(2 * COLUMNS)]
    people = synthetic.sample_people(seeds)
    titles = [f"{v.SUBJECTS[int(p.female)]}, {colours.skin_words(p)}" for p in people.rows()]
    clothes = [f"{c} {v.GARMENTS[i % 5]}" for i, c in enumerate((v.GARMENT_COLOURS * 2)[: len(seeds)])]
    yaws = (-70.0, -45.0, -25.0, 0.0, 25.0, 45.0, 70.0)
    views = [" ".join(filter(None, (v.view_of(y), v.facing_of(y)))) for y in yaws]
    turned = taken(copies(_MAN, len(yaws)), yaw_deg=list(yaws))
    free = synthetic.sample_scenes([FIRST_SEED + 900 + i for i in range(COLUMNS)])
    restyled = synthetic.restyle(copies(_WOMAN, COLUMNS), [FIRST_SEED + 70 + i for i in range(COLUMNS)])
    varied = synthetic.render(restyled, free, TILE_PX, supersample=SUPERSAMPLE)
    rows = rows_of("People", "one seed each", tiles(taken(people, wardrobe=clothes), titles), COLUMNS)
    for seed in (_WOMAN, _MAN):
        faces = taken(copies(seed, len(v.EXPRESSIONS)), expression=list(v.EXPRESSIONS), head_fraction=0.72)
        rows += rows_of("Expressions", "", tiles(faces, v.EXPRESSIONS), COLUMNS)
    rows += rows_of("Views", "yaw up to 75 degrees either way", tiles(turned, views), COLUMNS)
    words = [str(look.lighting) for look in varied.looks]
    rows += rows_of(
        "One person", "everything but the face drawn anew", tiles(varied.image_BCHW, words), COLUMNS
    )
    return rows


def light_rows() -> list[Row]:
    """Rigs, shots and backdrops."""
    rows: list[Row] = []
    for seed, flip, note in ((_WOMAN, False, ""), (_MAN, True, "key light on the other side")):
        lit = taken(copies(seed, COLUMNS), lighting=list(v.LIGHTINGS), rig_flip=flip)
        rows += rows_of("Lighting rigs", note, tiles(lit, v.LIGHTINGS), COLUMNS)
    behind = [f"{c} {b}" for b in v.BACKDROPS for c in ("blue", "beige")]
    shown = taken(copies(_MAN, COLUMNS), setting=list(behind), lighting="butterfly lighting")
    rows += rows_of("Backdrops", "four kinds", tiles(shown, behind), COLUMNS)
    plain = [f"{c} {v.BACKDROPS[0]}" for c in v.BACKDROP_COLOURS]
    shown = taken(copies(_WOMAN, len(plain)), setting=list(plain), lighting="high-key lighting")
    return rows + rows_of("Backdrop colours", "", tiles(shown, v.BACKDROP_COLOURS), COLUMNS)


def wider_rows() -> list[Row]:
    """The second edition: later rigs, places, hats, sunglasses, make-up, and random pictures with them."""
    lit = [*v.MORE_LIGHTINGS, *v.MORE_LIGHTINGS]
    flip = [False] * len(v.MORE_LIGHTINGS) + [True] * len(v.MORE_LIGHTINGS)
    shown = taken(copies(_WOMAN, len(lit)), lighting=list(lit), rig_flip=list(flip))
    rows = rows_of("Later rigs", "from both sides", tiles(shown, lit), COLUMNS)
    for seed, light in ((_MAN, "butterfly lighting"), (_WOMAN, "golden hour lighting")):
        shown = taken(copies(seed, len(v.PLACES)), setting=list(v.PLACES), lighting=light)
        rows += rows_of("Places", light, tiles(shown, v.PLACES), COLUMNS)
    yaws = [0.0, 30.0, -35.0, 60.0, 0.0, 30.0, -35.0, 60.0]
    hats = [f"{c} {v.HATS[1 + i // 4]}" for i, c in enumerate(("mustard", "navy", "red", "teal") * 2)]
    for seed in (_WOMAN, _MAN):
        bare = copies(seed, len(hats))
        worn = [synthetic.dressed(bare.take([i]), [i], **_ALONE | {"hat": h}) for i, h in enumerate(hats)]
        shown = torch.cat([taken(one, yaw_deg=yaw) for one, yaw in zip(worn, yaws, strict=True)])
        rows += rows_of("Hats", "hair is flat beneath", tiles(shown, hats), COLUMNS)
    shades = synthetic.dressed(copies(_MAN, 4), range(4), **_ALONE | {"glasses": "sunglasses"})
    dark = tiles(taken(shades, yaw_deg=yaws[:4]), ["sunglasses"] * 4)
    faces = [synthetic.dressed(copies(_WOMAN, 1), [0], **_ALONE | {"makeup": word}) for word in v.MAKEUP]
    painted = tiles(torch.cat([taken(face, head_fraction=0.75) for face in faces]), v.MAKEUP)
    rows += rows_of("Sunglasses and make-up", "", dark + painted, COLUMNS)
    seeds = [FIRST_SEED + 950 + i for i in range(2 * COLUMNS)]
    people = synthetic.dressed(synthetic.restyle(synthetic.sample_people(seeds), seeds), seeds)
    free = synthetic.sample_scenes(seeds, edition=2)
    renders = synthetic.render(people, free, TILE_PX, supersample=SUPERSAMPLE)
    titles = [str(look.lighting) for look in renders.looks]
    return rows + rows_of("At random", "edition 2", tiles(renders.image_BCHW, titles), COLUMNS)


def wardrobe_rows() -> list[Row]:
    """Garments, hair, beards, glasses."""
    worn = [f"{c} {g}" for c, g in zip(("navy", "red", "black", "teal", "plum"), v.GARMENTS, strict=True)]
    garments = tiles(taken(copies(_MAN, len(worn)), wardrobe=list(worn), head_fraction=0.42), worn)
    dyed = [f"{c} t-shirt" for c in v.GARMENT_COLOURS]
    shirts = tiles(taken(copies(_WOMAN, len(dyed)), wardrobe=dyed, head_fraction=0.42), v.GARMENT_COLOURS)
    pigments = copies(
        _WOMAN,
        len(v.HAIR_COLOURS),
        hair_mel=(0.1, 0.38, 0.62, 0.95, 0.4, 0.6, 0.6),
        hair_red=(0.0, 0.0, 0.0, 0.0, 0.95, 0.0, 0.0),
        hair_grey=(0.0, 0.0, 0.0, 0.0, 0.0, 0.45, 0.9),
    )
    assert tuple(colours.hair_colour_word(p) for p in pigments.rows()) == v.HAIR_COLOURS
    half = len(v.HAIR_STYLES) // 2
    hair = choice(_MAN, "style", v.HAIR_STYLES[:half], v.HAIR_STYLES)
    hair += choice(_WOMAN, "style", v.HAIR_STYLES[half:], v.HAIR_STYLES)
    worn_face = choice(_MAN, "beard", v.BEARDS, v.BEARDS) + choice(_WOMAN, "glasses", v.GLASSES, v.GLASSES)
    return [
        *rows_of("Garments", "", garments, COLUMNS),
        *rows_of("Garment colours", "", shirts, 6),
        *rows_of("Hair styles", "", hair, 6),
        *rows_of("Hair colours", "", tiles(taken(pigments), v.HAIR_COLOURS), COLUMNS),
        *rows_of("Beards and glasses", "", worn_face, COLUMNS),
    ]


def style_rows() -> list[Row]:
    """The same eight people as they are rendered, and in every style."""
    seeds = [FIRST_SEED + 40 + i for i in range(COLUMNS)]
    views = ["frontal", "three-quarter"] * (COLUMNS // 2)
    faces = [v.EXPRESSIONS[i % 3] for i in range(COLUMNS)]
    lit = [v.LIGHTINGS[i % len(v.LIGHTINGS)] for i in range(COLUMNS)]
    behind = [f"{c} {v.BACKDROPS[i % 4]}" for i, c in enumerate((*v.BACKDROP_COLOURS, "blue"))]
    plain = taken(synthetic.sample_people(seeds), view=views, expression=faces, lighting=lit, setting=behind)
    rows = rows_of("Plain", "", tiles(plain, [""] * COLUMNS), COLUMNS)
    for style in v.STYLES:
        rows += rows_of(style.capitalize(), "", tiles(styled(plain, style, seeds), [""] * COLUMNS), COLUMNS)
    return rows


RENDERED: Final[dict[str, tuple[str, Callable[[], list[Row]]]]] = {
    "studio-people.jpg": ("The people of the studio", people_rows),
    "studio-light.jpg": ("Light and backdrops", light_rows),
    "studio-wider.jpg": ("The second edition", wider_rows),
    "studio-wardrobe.jpg": ("Garments, hair, beards, glasses", wardrobe_rows),
    "studio-styles.jpg": ("Styles", style_rows),
    "studio-parts.jpg": ("Parts", part_rows),
}


def base_rows(work: Path, overrides: Sequence[str], seed: int, edition: int = 1) -> list[Row]:
    """Per prompt in words of an edition: a render, then pictures of the base from different seeds."""
    from scripts.evaluate.studio.obedience import draw_portraits
    from scripts.evaluate.studio.wanted import Wanted, draw_wanted

    wanted = draw_wanted(PROMPTS, seed, edition=edition)
    each = COLUMNS - 1
    repeated = Wanted(
        tuple(look for look in wanted.looks for _ in range(each)),
        tuple(p for p in wanted.prompts for _ in range(each)),
        wanted.renders.repeat_interleave(each, 0),
    )
    drawn = draw_portraits(repeated, work / f"sheet-{seed}-{edition}", overrides, seed)
    return [
        Row(
            f"{i + 1}",
            prompt,
            [*tiles(wanted.renders[i : i + 1], ["render"]), *tiles(part, ["drawn"] * each)],
        )
        for i, (prompt, part) in enumerate(zip(wanted.prompts, drawn.split(each), strict=True))
    ]


def likeness_page(folders: Sequence[Path]) -> Image.Image:
    """The overviews of scored likeness folders.  Raises `FileNotFoundError` for one that was not scored."""
    pages: list[Image.Image] = []
    for folder in folders:
        file = folder / "reports" / "likeness.jpg"
        if not file.is_file():
            raise FileNotFoundError(f"{file}: not scored yet; run portrait-lora run {folder}")
        with Image.open(file) as page:
            pages.append(page.convert("RGB"))
    return stacked(pages)


def main(
    out: Annotated[Path, typer.Option(help="folder of the sheets")] = DOCS,
    base: Annotated[bool, typer.Option("--base", help="draw with the base, in place of the renders")] = False,
    likeness: Annotated[list[Path] | None, typer.Option(help="scored likeness folders, instead")] = None,
    work: Annotated[Path, typer.Option(help="where drawn portraits are kept")] = Path("work/studio"),
    seed: Annotated[int, typer.Option(help="other prompts")] = 3,
    overrides: Annotated[list[str] | None, typer.Option("-s", "--set", help="such as base=DIR")] = None,
) -> None:
    """Write the sheets of one kind."""
    if likeness:
        save_page(out / "studio-likeness.jpg", likeness_page(likeness), drawn=True)
        return
    if base:
        title = "What the base draws, beside a render of the same words"
        for edition, name in ((1, "studio-base.jpg"), (2, "studio-base-later.jpg")):
            write_page(out / name, title, base_rows(work, overrides or [], seed, edition), drawn=True)
        return
    for name, (title, rows) in RENDERED.items():
        write_page(out / name, title, rows(), drawn=False)


if __name__ == "__main__":
    typer.run(main)
