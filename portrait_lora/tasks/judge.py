"""Judging pictures from any tool: a folder of real photos, a folder of portraits, and maybe their prompts.

Without a record of which photos the tool was given, all of them are references; photos it was given belong
in `training`, so that they do not flatter the result and copies of them are found.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from portrait_lora import likeness, manifest, provenance, summaries
from portrait_lora.errors import InputError, PhotosError
from portrait_lora.evaluation import drift_page, drift_words, similarity, tables
from portrait_lora.evaluation.measure import Looked, Wanted, look
from portrait_lora.evaluation.thresholds import read_threshold
from portrait_lora.faces.packs import FacePack, resolve_pack
from portrait_lora.results import LikenessFigures, Number, Value
from portrait_lora.stages.reports import likeness_figures

ALL_ONE_PROMPT: Final = "all portraits"
COLUMNS: Final = ("file", "prompt", "meaning")


@dataclass(frozen=True, slots=True)
class Prompts:
    """Portrait file → prompt, and prompt → meaning where the CSV says which prompts are paraphrases."""

    by_file: Mapping[str, str]
    meanings: Mapping[str, str]


class ClipFigures(Value):
    """How well CLIP tells the portraits' prompts apart; see `evaluation.clip.ClipAdherence`."""

    model: str
    mean_cosine: Number
    nearest_rate: Number
    chance: Number
    portraits: int


class FoldersResult(Value):
    """What judging a folder of portraits found; the lists hold file names, `repeated` (later, earlier)."""

    likeness: LikenessFigures
    portraits: int
    unreadable: tuple[str, ...]
    several_faces: tuple[str, ...]
    tiny_faces: tuple[str, ...]
    repeated: tuple[tuple[str, str], ...]
    photos_without_face: tuple[str, ...]
    clip: ClipFigures | None
    report: str
    photos_unreadable: tuple[str, ...] = ()
    photos_unlike: tuple[str, ...] = ()


def score_folders(
    photos: Path,
    portraits: Path,
    out: Path,
    *,
    training: Path | None = None,
    prompts_csv: Path | None = None,
    face_pack: str = "embedded",
    threshold_file: Path | None = None,
    allow_synthetic: bool = False,
    clip: str = "",
    name: str = "",
) -> FoldersResult:
    """Write drift.html, .json, .csv and .parquet into `out`, all or none; figures as of `score LIKENESS_DIR`.

    `clip` names the CLIP model that judges the prompts; it needs `prompts_csv`.
    """
    from portrait_lora.faces.backends import open_analyzer

    pack = resolve_pack(face_pack)
    wanted, paths = plan(photos, portraits, training, prompts_csv)
    _refuse_unknown_world(pack, [*wanted.holdout, *wanted.training], allow_synthetic, photos)
    if clip and prompts_csv is None:
        raise InputError("CLIP judges portraits by their prompts", where="--clip", needed="--prompts CSV")
    wanted = replace(wanted, clip=clip)
    if threshold_file is not None:
        wanted = _with_threshold(wanted, pack, threshold_file)
    looked = look(open_analyzer(pack, "report"), wanted)
    notes = drift_page.PageNotes(
        subject=name or portraits.name,
        settings={"face pack": f"{pack.name} ({pack.licence})", "portraits": str(portraits.name)},
        versions=summaries.versions(),
        synthetic=pack.synthetic,
        not_verified=_caveats(wanted, looked, prompts_csv),
        words=drift_words.OTHER_TOOL_TRAINING if wanted.training else drift_words.OTHER_TOOL,
        prompts_known=prompts_csv is not None,
    )
    real, extras = {p.name: p for p in wanted.holdout}, looked.extras
    with manifest.new_files(out) as part:
        drift_page.write_drift_html(
            part / "drift.html", looked.report, portraits=paths, holdout=real, notes=notes, extras=extras
        )
        drift_page.write_drift_json(part / "drift.json", looked.report, notes, extras)
        tables.write_csv(part / "drift.csv", looked.report)
        tables.write_parquet(part / "drift.parquet", looked.report)
    return FoldersResult(
        likeness=likeness_figures(looked.report, prompts_known=prompts_csv is not None),
        portraits=len(looked.report.scores),
        unreadable=extras.unreadable,
        several_faces=extras.several_faces,
        tiny_faces=extras.tiny_faces,
        repeated=tuple(wanted.repeated),
        photos_without_face=looked.skipped_photos,
        clip=None if extras.clip is None else ClipFigures(**asdict(extras.clip)),
        report=str(out / "drift.html"),
        photos_unreadable=_unreadable(photos),
        photos_unlike=looked.unlike,
    )


def lines_of(result: FoldersResult) -> list[str]:
    """For people: the figures of a standalone score, and what was odd."""
    lines = summaries.of_likeness(result.likeness, reference="photos", copied="real photo")
    if result.clip is not None:
        lines.append(
            f"  by CLIP the own prompt is nearest in {result.clip.nearest_rate:.0%} "
            f"(chance {result.clip.chance:.0%}), cosine {result.clip.mean_cosine:.3f}"
        )
    for names, text in (
        (result.unreadable, "cannot be read and count as portraits without a face"),
        (result.several_faces, "show several faces; the largest was scored"),
        (result.tiny_faces, "have a very small face"),
        (result.photos_without_face, "photos without a face, left out"),
        (result.photos_unreadable, "photos that cannot be read, left out"),
        (
            result.photos_unlike,
            "photos unlike the others, which count all the same; remove them if not theirs",
        ),
    ):
        if names:
            lines.append(f"  {len(names)} {text}: {', '.join(names[:5])}")
    if result.repeated:
        lines.append(f"  {len(result.repeated)} portraits are the same file again and were left out")
    return lines


def plan(
    photos: Path, portraits: Path, training: Path | None = None, prompts_csv: Path | None = None
) -> tuple[Wanted, dict[str, Path]]:
    """What will be measured, and where each portrait lies.  Raises InputError, PhotosError."""
    real, _ = _distinct(_readable(_pictures(photos, "photos")))
    training_photos = _distinct(_readable(_pictures(training, "training photos")))[0] if training else []
    if len(real) < similarity.MIN_HOLDOUT:
        raise PhotosError(
            "too few photos to compare with",
            where=photos,
            got=f"{len(real)} readable and different",
            needed=similarity.MIN_HOLDOUT,
            remedy="Add photos of the person that the tool was not given.",
        )
    digests = {manifest.sha256_file(p) for p in training_photos}
    leaked = [p.name for p in real if manifest.sha256_file(p) in digests]
    if leaked:
        raise InputError(
            "a photo is both held out and given to the tool",
            where=photos,
            got=", ".join(leaked[:3]),
            remedy="Leave it in one of the two folders.",
        )
    sheets = (likeness.CONTACT_SHEET, likeness.WORST_FIRST)  # lie beside the portraits of a series
    files = [p for p in _pictures(portraits, "portraits") if p.name not in sheets]
    distinct, repeated = _distinct(files)
    if not distinct:
        raise InputError("no portraits in this folder", where=portraits, needed="JPEG, PNG or WebP files")
    prompts = _prompts(
        prompts_csv, [p.name for p in (*distinct, *(portraits / later for later, _ in repeated))]
    )
    items = [similarity.PortraitItem(p, prompts.by_file.get(p.name, ALL_ONE_PROMPT)) for p in distinct]
    wanted = Wanted(real, training_photos, items, (), prompts.meanings, repeated, lenient=True)
    return wanted, {p.name: p for p in distinct}


def _pictures(folder: Path, what: str) -> list[Path]:
    if not folder.is_dir():
        got = "a file" if folder.exists() else "no such folder"
        raise InputError(f"no folder of {what}", where=folder, got=got, needed="a folder of pictures")
    return likeness.picture_files(folder)


def _readable(paths: Sequence[Path]) -> list[Path]:
    """Photos that can be decoded; a damaged one cannot stand for the person and is left out."""
    kept: list[Path] = []
    for path in paths:
        try:
            similarity.read_rgb(path)
        except InputError:
            continue
        kept.append(path)
    return kept


def _unreadable(folder: Path) -> tuple[str, ...]:
    """Names of the pictures that `_readable` leaves out."""
    files = _pictures(folder, "photos")
    kept = set(_readable(files))
    return tuple(path.name for path in files if path not in kept)


def _distinct(paths: Sequence[Path]) -> tuple[list[Path], list[tuple[str, str]]]:
    """Files of different bytes, and (later, earlier) names of those that repeat one.

    A picture that is there twice would narrow the interval without adding anything.
    """
    first: dict[str, Path] = {}
    repeated: list[tuple[str, str]] = []
    for path in paths:
        seen = first.setdefault(manifest.sha256_file(path), path)
        if seen is not path:
            repeated.append((path.name, seen.name))
    return list(first.values()), repeated


def _prompts(path: Path | None, portraits: Sequence[str]) -> Prompts:
    """The CSV with columns file, prompt and maybe meaning; every portrait needs exactly one row."""
    if path is None:
        return Prompts({}, {})
    rows = _rows(path)
    files = [row["file"] for row in rows]
    twice = sorted({name for name in files if files.count(name) > 1})
    missing = sorted(set(portraits) - set(files))
    empty = sorted(row["file"] for row in rows if not row["prompt"])
    unknown = sorted(set(files) - set(portraits))
    for what, names in (
        ("portraits without a row", missing),
        ("rows without a portrait", unknown),
        ("portraits with two rows", twice),
        ("rows without a prompt", empty),
    ):
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            raise InputError(
                f"the prompts do not fit the portraits: {what}",
                where=path,
                got=", ".join(names[:5]) + more,
                needed="one row per portrait: file,prompt",
            )
    meanings = {row["prompt"]: row["meaning"] for row in rows if row["meaning"]}
    return Prompts({row["file"]: row["prompt"] for row in rows}, meanings)


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        reader = csv.DictReader(io.StringIO(text), strict=True)
        names = [name.strip().lower() for name in reader.fieldnames or ()]
        if not {"file", "prompt"} <= set(names):
            needed = "a header with file,prompt"
            raise InputError("not a table of prompts", where=path, got=", ".join(names), needed=needed)
        reader.fieldnames = names
        return [{key: (row.get(key) or "").strip() for key in COLUMNS} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError("the table of prompts cannot be read", where=path, got=error) from error


def _with_threshold(wanted: Wanted, pack: FacePack, path: Path) -> Wanted:
    """The threshold that `portrait-lora calibrate` derived; refused when it is another pack's."""
    return replace(wanted, threshold=read_threshold(path, pack_digest=pack.digest))


def _refuse_unknown_world(pack: FacePack, photos: Sequence[Path], allowed: bool, folder: Path) -> None:
    real = [p.name for p in photos if provenance.is_unmarked_picture(p)]
    if pack.synthetic and real and not allowed:
        raise InputError(
            "the embedded face pack knows only the synthetic studio, and these look like real photographs",
            where=folder,
            got=f"{len(real)} of {len(photos)} pictures without the studio's mark, such as {real[0]}",
            needed="a face pack made for photographs",
            remedy="Name one with --face-pack, or go on all the same with --allow-synthetic-models.",
        )


def _caveats(wanted: Wanted, looked: Looked, prompts_csv: Path | None) -> list[str]:
    lines: list[str] = []
    if not wanted.training:
        lines.append(
            "Whether the tool was given some of these photos. If it was, similarity and ceiling flatter it; "
            "name those photos with --training."
        )
    if prompts_csv is None:
        lines.append(
            "How prompts differ: none were named. Portraits of one prompt resemble each other, so without "
            "prompts no interval is shown; name them with --prompts."
        )
    if looked.skipped_photos:
        lines.append(f"Photos without a face, left out: {', '.join(looked.skipped_photos)}.")
    if looked.unlike:
        lines.append(
            "Whether these photos show the same person; they are unlike the others and count all the same: "
            f"{', '.join(looked.unlike)}."
        )
    return lines
