"""Every figure that a portrait series promises, measured on unseen people of the synthetic studio.

python -m scripts.evaluate_series           2 people, 10 pictures made again
python -m scripts.evaluate_series --full    the figures of record: 10 people, 100 pictures made again

Colours are judged on pixels: the backdrop in the upper corners; the garment in the lowest strip, as the word
that most pixels are nearest to once backdrop and white (a suit's shirt) are left out.  The colour words
are not calibrated on renders of the studio: a well-lit navy suit counts as denim, so the garment's figure is
uncalibrated.  Rig and framing are judged by the face pack, whose errors count against the series.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from portrait_lora import recipe, vocabulary
from portrait_lora.evaluation import identity
from portrait_lora.generation import book
from portrait_lora.generation.brand import load_brand
from portrait_lora.generation.checklist import framing
from portrait_lora.generation.lint import lint
from portrait_lora.likeness import open_likeness
from portrait_lora.records import Face
from portrait_lora.stages import editing
from portrait_lora.stages.context import Context
from scripts.rows import Row, arguments, finish
from scripts.train_cohort import FIRST_SEED, train_cohort

LABELS = Path(__file__).parents[1] / "tests" / "generation"
BRAND = "example"
_COLOUR_DISTANCE = 60.0
"""sRGB distance up to which a patch counts as the colour that was asked for."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    people: int
    again: int
    fixes: int


QUICK = Sizes(2, 10, 6)
FULL = Sizes(10, 100, 100)


def linter_rows() -> list[Row]:
    """The hand-labelled prompts.  No targets: the rules were written, and later widened, with both in view.

    The second set scored 0.753 and 0.797 before the rules had seen it (docs/log.md).
    """
    rows: list[Row] = []
    for name, kind in (("labelled_prompts.tsv", "labelled"), ("held_out_prompts.tsv", "second set")):
        right = found = wanted = n = 0
        for line in (LABELS / name).read_text(encoding="utf-8").splitlines():
            if not line or line.startswith("#"):
                continue
            codes, aspect, prompt = line.split("\t")
            want = set() if codes == "-" else set(codes.split(","))
            w, h = (int(v) * 64 for v in aspect.split(":"))
            got = {r.code for r in lint(prompt, size_px=(w, h))}
            right, found, wanted, n = right + len(got & want), found + len(got), wanted + len(want), n + 1
        rows.append(Row(f"linter, {kind}: precision", right / found, "share", n))
        rows.append(Row(f"linter, {kind}: recall", right / wanted, "share", n))
    return rows


def series(folder: Path, best_of: int, name: str) -> tuple[Context, list[Path]]:
    """24 branded headshots of one person, kept under `portraits/<name>`."""
    given = [f"generate.brand={BRAND}", "generate.per_shot=3", f"generate.best_of={best_of}"]
    recipe.generate(folder, overrides=given)
    ctx = Context(open_likeness(folder, given))
    made, kept = ctx.likeness.portraits(ctx.series), ctx.likeness.portraits(name)
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(made, kept)
    return ctx, sorted(kept.glob("*.png"))


def _near(patch: np.ndarray, words: str) -> bool:
    shade = book.shade_of(words)
    middle = np.median(patch.reshape(-1, 3).astype(float), axis=0)
    return shade is not None and float(np.linalg.norm(middle - np.array(shade.rgb))) <= _COLOUR_DISTANCE


def garment_colour(picture: np.ndarray) -> str | None:
    """The garment colour that most pixels of the lowest tenth are nearest to; None when all is backdrop."""
    height, width = picture.shape[:2]
    strip = picture[-height // 10 :].reshape(-1, 3).astype(float)
    backdrop = np.median(_corners(picture).reshape(-1, 3), axis=0)
    shades = [s for s in book.SHADES if s.word in vocabulary.GARMENT_COLOURS]
    palette = np.array([backdrop, *(s.rgb for s in shades)], dtype=float)
    nearest = np.linalg.norm(strip[:, None] - palette[None], axis=2).argmin(axis=1)
    counts = {s.word: int((nearest == i + 1).sum()) for i, s in enumerate(shades) if not s.white}
    best = max(counts, key=lambda word: counts[word])
    return best if counts[best] >= 0.05 * height // 10 * width else None


def _corners(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    return np.concatenate([picture[: height // 5, : width // 6], picture[: height // 5, -width // 6 :]], 1)


def obeyed(picture: np.ndarray, face: Face | None) -> dict[str, bool]:
    """Whether backdrop, garment colour, rig and framing are as the brand says."""
    layers = load_brand(BRAND).layers
    if face is None:
        return dict.fromkeys(("backdrop", "garment", "rig", "framing"), False)
    height = picture.shape[0]
    shot = book.shot_of(layers["shot"])
    seen = framing(face, height).head_height
    return {
        "backdrop": _near(_corners(picture), layers["setting"]),
        "garment": garment_colour(picture) == layers["wardrobe"].split()[0],
        "rig": face.lighting == layers["lighting"],
        "framing": shot is not None and shot.head_share[0] <= seen <= shot.head_share[1],
    }


def brand_rows(people: list[list[tuple[np.ndarray, Face | None]]]) -> list[Row]:
    """Obedience per attribute, and how steady the framing is across people."""
    told = [obeyed(image, face) for person in people for image, face in person]
    sees_light = any(face is not None and face.lighting for person in people for _, face in person)
    rows = [
        Row(f"brand: {key} obeyed", float(np.mean([t[key] for t in told])), "share", len(told), 0.9)
        for key in told[0]
        if key != "rig" or sees_light
    ]
    frames = [framing(f, image.shape[0]) for person in people for image, f in person if f is not None]
    for name in ("eye_line", "head_height"):
        spread = float(np.std([getattr(f, name) for f in frames]))
        rows.append(Row(f"framing: std of {name}", spread, "share", len(frames), 0.03, at_most=True))
    return rows


def looked(ctx: Context, files: list[Path]) -> list[tuple[np.ndarray, Face | None]]:
    """Pictures with their largest face, by embedder B."""
    images = [identity.read_rgb(path) for path in files]
    return [(image, identity.subject_face(ctx.reporter.find(image))) for image in images]


def likeness(ctx: Context, seen: list[tuple[np.ndarray, Face | None]]) -> list[float]:
    """Similarity by embedder B; 0 without a face."""
    photos = [p for p in sorted((ctx.likeness.dataset / "holdout").glob("*")) if p.suffix in (".png", ".jpg")]
    holdout, _ = identity.embed_photos(photos, ctx.reporter, min_faces=identity.MIN_HOLDOUT)
    return [0.0 if f is None else float((holdout.embeddings @ f.embedding).mean()) for _, f in seen]


def again_rows(files: list[Path], sizes: Sizes) -> list[Row]:
    """Made again to the bit; fixed without a change outside the mask."""
    picked = list(itertools.islice(itertools.cycle(files), sizes.again))
    same = [editing.reproduce(path, None, None, [])["same"] is True for path in picked]
    outside: list[int] = []
    kept = 0
    for i, path in enumerate(itertools.islice(itertools.cycle(files), sizes.fixes)):
        region = ("eyes", "face", "skin", "hair", "background")[i % 5]
        said = editing.fix(path, None, [], region=region, strength=0.4, tries=1, changes={})  # type: ignore[arg-type]
        if said["file"]:
            kept += 1
            before, after = (
                np.asarray(Image.open(p).convert("RGB")) for p in (path, Path(str(said["file"])))
            )
            share = float((before != after).any(-1).mean())
            outside.append(
                int(str(said["changed_outside_mask"])) + (share > float(str(said["mask_share"])) + 1e-3)
            )
    return [
        Row("reproduce: the same to the bit", float(np.mean(same)), "share", len(same), 1.0),
        Row("fix: pixels changed outside", float(sum(outside)), "px", len(outside), 0.0, at_most=True),
        Row("fix: kept (the likeness did not fall)", kept / max(sizes.fixes, 1), "share", sizes.fixes),
    ]


def main() -> None:
    given = arguments(__doc__ or "").parse_args()
    sizes = FULL if given.full else QUICK
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    rows = linter_rows()
    people: list[list[tuple[np.ndarray, Face | None]]] = []
    ones: list[float] = []
    bests: list[float] = []
    verified: list[bool] = []
    files: list[Path] = []
    for member in train_cohort(sizes.people, first_seed=FIRST_SEED + 100 * given.seed):
        ctx, single = series(member.folder, 1, "headshots-best-of-1")
        seen = looked(ctx, single)
        people.append(seen)
        ones += likeness(ctx, seen)
        verified += [v >= ctx.pack.threshold("report") for v in likeness(ctx, seen)]
        files += single
        ctx, best = series(member.folder, 4, "headshots-best-of-4")
        bests += likeness(ctx, looked(ctx, best))
    rows += brand_rows(people)
    rows.append(
        Row("series: fail verification", 1 - float(np.mean(verified)), "share", len(verified), 0.05, True)
    )
    rows.append(Row("best of 1: similarity by B", float(np.mean(ones)), "cosine", len(ones)))
    gain = float(np.mean(bests) - np.mean(ones))
    rows.append(Row("best of 4 by A: gain by B", gain, "cosine", len(bests), 1e-6))
    rows += again_rows(files, sizes)
    sys.exit(finish(rows, given.json))


if __name__ == "__main__":
    main()
