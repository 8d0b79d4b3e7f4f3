"""The `dataset/` folder: Hugging Face imagefolders `train/` and `holdout/`, `masks/` (the person),
`heads/`, and a manifest.

`holdout/` has whole upright photos (downscaled), because scoring detects the faces itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from portrait_lora import log, manifest, provenance, strict_json
from portrait_lora.dataset.caption import (
    AttributesCaptioner,
    Captioner,
    follow_photos,
    read_captions,
    without_photo,
    write_captions,
)
from portrait_lora.dataset.crop import Framing, as_sizes, frame, head_mask, person_mask, render_crop, save_png
from portrait_lora.dataset.person import head_extent, photograph_masks
from portrait_lora.dataset.photograph_crop import FindFaces, frame_photograph, other_faces, subject_window
from portrait_lora.dataset.photos import UnreadablePhoto, load_photo, pixels_of
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.records import CaptionedCrop, CuratedSet, Face, Photo, PhotoReport, RGBImage

KIND: Final = "dataset"
METADATA: Final = "metadata.jsonl"
HOLDOUT_SIDE_PX: Final = 1024
_REMEDY: Final = "Run: portrait-lora prepare"
Sizes = int | tuple[int, int] | Sequence[tuple[int, int]]
"""A side, a size (W, H), or buckets through which the framings of a photo cycle."""


def crop_name(report: PhotoReport, index: int) -> str:
    """`IMG_0412-3fa9c1-1.png`: readable, safe on every file system, unique by the photo's bytes."""
    return edited_name(report.photo.path.name, report.photo.sha256).replace(".png", f"-{index + 1}.png")


def build_dataset(
    curated: CuratedSet,
    folder: Path,
    *,
    size_px: Sizes,
    trigger: str,
    subject: str,
    captioner: Captioner | None = None,
    captioner_id: str = "attributes",
    crops_per_photo: int = 2,
    captions_csv: Path | None = None,
    find_faces: FindFaces | None = None,
) -> list[CaptionedCrop]:
    """Write the folder atomically and return the training crops, sorted by name.

    `captions_csv`, if it exists, takes precedence; missing crops are added to it, a renamed photo keeps its
    captions, and lines of removed photos stay, with a warning.  `captioner_id` is the captioner in the
    manifest.  With `find_faces` the pictures are photographs: their crops contain all hair and, where that is
    possible, no other face (`photograph_crop`), their masks follow the hair (`person`), and what is held out
    shows the subject alone or largest.  The originals are only read.  Raises InputError for a malformed
    captions file, or a photo that was removed or changed since it was checked.
    """
    sizes = as_sizes(size_px)
    writer = captioner or AttributesCaptioner(trigger, subject)
    every = (*curated.kept, *curated.holdout, *curated.rejected)
    known = {crop_name(r, i) for r in every for i in range(max(crops_per_photo, 4))}
    edited = _edited(captions_csv, known)
    shape: dict[str, Any] = {"size_px": sizes, "crops": crops_per_photo}
    shape |= {"trigger": trigger, "subject": subject, "photographs": find_faces is not None}
    inputs = dataset_inputs(curated, None, captioner_id=captioner_id, **shape)
    extra = {
        "trigger": trigger,
        "subject": subject,
        "sizes_px": [list(size) for size in sizes],
        "captioner": captioner_id,
        "embedder": curated.embedder_id,
    }
    rows: list[dict[str, Any]] = []
    with manifest.writing(folder, kind=KIND, inputs=inputs, extra=extra) as part:
        for name in ("train", "holdout", "masks", "heads"):
            (part / name).mkdir()
        for report in curated.kept:
            rows += _write_crops(part, report, sizes, crops_per_photo, writer, edited, find_faces)
            _write_edited(part, report)
        rows.sort(key=lambda r: r["file_name"])
        for row in rows:
            row["trigger"] = trigger
        _settle_captions(captions_csv, known, rows)
        _write_rows(part / "train", rows)
        _write_rows(part / "holdout", [_write_holdout(part, r, find_faces) for r in curated.holdout])
        inputs |= dataset_inputs(curated, captions_csv, captioner_id=captioner_id, **shape)
    _warn_without_trigger(rows, trigger)
    return [_crop(folder, row) for row in rows]


def _edited(captions_csv: Path | None, known: set[str]) -> dict[str, str]:
    """The existing captions, by the names of the current crops."""
    there = captions_csv is not None and captions_csv.exists()
    return follow_photos(read_captions(captions_csv), known) if captions_csv and there else {}


def _settle_captions(captions_csv: Path | None, known: set[str], rows: Sequence[dict[str, Any]]) -> None:
    """Add new captions to the file; edits made in it meanwhile also take precedence in the rows."""
    edited = _edited(captions_csv, known)
    for row in rows:
        row["text"] = edited.get(row["file_name"], row["text"])
    captions = edited | {row["file_name"]: row["text"] for row in rows}
    if captions_csv is not None and (not captions_csv.exists() or captions != read_captions(captions_csv)):
        write_captions(captions_csv, captions)
    if captions_csv is not None and (alone := without_photo(captions, known)):
        text = "%s: %d lines match no photo and are kept, such as %s"
        log.get(__name__).warning(text, captions_csv.name, len(alone), "; ".join(alone[:4]))


def dataset_inputs(
    curated: CuratedSet,
    captions_csv: Path | None,
    *,
    size_px: Sizes,
    crops: int,
    trigger: str,
    subject: str,
    captioner_id: str = "attributes",
    photographs: bool = False,
) -> dict[str, str]:
    """The manifest's `inputs`, for `manifest.is_current`."""
    groups = {"kept": curated.kept, "holdout": curated.holdout, "rejected": curated.rejected}
    inputs = {k: manifest.digest([_source(r.photo) for r in v]) for k, v in groups.items()}
    there = captions_csv is not None and captions_csv.is_file()
    inputs["captions"] = manifest.sha256_file(captions_csv) if captions_csv and there else ""
    inputs["settings"] = manifest.digest(
        [
            [list(size) for size in as_sizes(size_px)],
            *(crops, trigger, subject, captioner_id, "heads"),
            *(["photographs"] if photographs else []),
        ]
    )
    return inputs


def _source(photo: Photo) -> list[object]:
    edit = photo.edit
    return [photo.path.name, photo.sha256, *([] if edit is None else [edit.turn_deg, list(edit.crop)])]


def _warn_without_trigger(rows: Sequence[dict[str, Any]], trigger: str) -> None:
    whole = re.compile(rf"(?<!\w){re.escape(trigger)}(?!\w)")
    without = [r["file_name"] for r in rows if not whole.search(r["text"])]
    if without:
        text = "%d of %d captions do not contain the trigger %r, such as that of %s"
        log.get(__name__).warning(text, len(without), len(rows), trigger, without[0])


def _write_crops(
    part: Path,
    report: PhotoReport,
    sizes_px: list[tuple[int, int]],
    crops_per_photo: int,
    captioner: Captioner,
    edited: dict[str, str],
    find_faces: FindFaces | None,
) -> list[dict[str, Any]]:
    """Crops and masks of one photo; their metadata rows."""
    image, face = _pixels(report), report.face
    if face is None:
        raise ValueError(f"{report.photo.path.name} was kept without a face")
    rows, studio = [], provenance.is_studio_picture(report.photo.path)
    for index, framing in enumerate(_framings(report, image, face, sizes_px, crops_per_photo, find_faces)):
        name = crop_name(report, index)
        if find_faces is None:
            person, head = person_mask(face, framing), head_mask(face, framing)
        else:
            person, head = photograph_masks(image, face, framing)
        save_png(part / "train" / name, render_crop(image, framing), studio=studio)
        save_png(part / "masks" / name, person)
        save_png(part / "heads" / name, head)
        caption = edited.get(name) or captioner.caption(image, face, framing)
        rows.append(_row(name, report, framing, caption))
    return rows


def _framings(
    report: PhotoReport,
    image: RGBImage,
    face: Face,
    sizes_px: list[tuple[int, int]],
    count: int,
    find_faces: FindFaces | None,
) -> list[Framing]:
    path, size = report.photo.path, report.photo.size_px
    if find_faces is None:
        return frame(path, size, face, sizes_px, count)
    others = other_faces(image, face, find_faces)
    return frame_photograph(path, size, face, head_extent(image, face), sizes_px, count, others)


def _row(name: str, report: PhotoReport, framing: Framing, caption: str) -> dict[str, Any]:
    return {
        "file_name": name,
        "text": caption,
        "source": report.photo.path.name,
        "source_sha256": report.photo.sha256,
        "crop_xyxy_px": list(framing.box_xyxy_px),
        "bucket": list(framing.size_px),
        "mask": f"masks/{name}",
        "head": f"heads/{name}",
    }


def _pixels(report: PhotoReport, max_side_px: int | None = None) -> RGBImage:
    """The photo's pixels; InputError if the file has changed since the check."""
    remedy, edit = "Run: portrait-lora check", report.photo.edit
    try:
        most = pixels_of(report.photo)
        photo, pixels = load_photo(report.photo.path, max_side_px, max_pixels=most, edit=edit)
    except UnreadablePhoto as error:
        what = "the photo was removed or damaged since the check"
        raise InputError(what, where=report.photo.path, got=error.what, remedy=remedy) from error
    if photo.sha256 != report.photo.sha256:
        raise InputError("the photo changed since the check", where=report.photo.path, remedy=remedy)
    return pixels


def edited_name(name: str, sha256: str) -> str:
    """`IMG_0412-3fa9c1.png`, the file in `edited/` of a photo of this name and these bytes."""
    stem = re.sub(r"[^A-Za-z0-9_]+", "_", Path(name).stem).strip("_")[:48] or "photo"
    return f"{stem}-{sha256[:6]}.png"


def _write_edited(part: Path, report: PhotoReport) -> None:
    """A photo that is turned or cropped, whole: copies of it are looked for in this, not in the file."""
    if report.photo.edit is None:
        return
    (part / "edited").mkdir(exist_ok=True)
    name = edited_name(report.photo.path.name, report.photo.sha256)
    studio = provenance.is_studio_picture(report.photo.path)
    save_png(part / "edited" / name, _pixels(report, HOLDOUT_SIDE_PX), studio=studio)


def _write_holdout(part: Path, report: PhotoReport, find_faces: FindFaces | None) -> dict[str, Any]:
    """The photo, upright, at most `HOLDOUT_SIDE_PX` on its longer side; its metadata row.

    Of a photograph only what surrounds the subject: the largest face in it is the one that is scored.
    """
    name = crop_name(report, 0).replace("-1.png", ".png")
    studio = provenance.is_studio_picture(report.photo.path)
    if find_faces is None or report.face is None:
        pixels = _pixels(report, HOLDOUT_SIDE_PX)
    else:
        whole = _pixels(report)
        others = other_faces(whole, report.face, find_faces)
        x0, y0, x1, y1 = subject_window(report.photo.size_px, report.face, others)
        pixels = _at_most(whole[y0:y1, x0:x1], HOLDOUT_SIDE_PX)
    save_png(part / "holdout" / name, pixels, studio=studio)
    return {"file_name": name, "source": report.photo.path.name, "source_sha256": report.photo.sha256}


def _at_most(pixels: RGBImage, side_px: int) -> RGBImage:
    scale = side_px / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _write_rows(folder: Path, rows: Iterable[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    # names that are no UTF-8 hold half characters, which other readers of imagefolders refuse
    (folder / METADATA).write_bytes(text.encode(errors="replace"))


def _crop(folder: Path, row: dict[str, Any]) -> CaptionedCrop:
    x0, y0, x1, y1 = (int(v) for v in row["crop_xyxy_px"])
    width, height = (int(v) for v in row["bucket"])
    mask, head = row.get("mask"), row.get("head")
    return CaptionedCrop(
        path=folder / "train" / row["file_name"],
        source=str(row["source"]),
        source_sha256=str(row["source_sha256"]),
        crop_xyxy_px=(x0, y0, x1, y1),
        bucket=(width, height),
        caption=str(row["text"]),
        trigger=str(row["trigger"]),
        mask_path=folder / mask if mask else None,
        head_path=folder / head if head else None,
    )


def load_dataset_folder(folder: Path, *, verify: bool = True) -> tuple[list[CaptionedCrop], list[Path]]:
    """The training crops and the held-out photos of a finished folder, both sorted by name.

    Raises ArtifactError when the folder is unfinished, damaged, or not a dataset.
    """
    dataset = manifest.read(folder)
    if dataset is None:
        raise ArtifactError("no complete dataset", where=folder, remedy=_REMEDY)
    if dataset.kind != KIND:
        raise ArtifactError(
            "not a dataset folder", where=folder, got=dataset.kind, needed=KIND, remedy=_REMEDY
        )
    if verify:
        manifest.verify(folder)
    try:
        crops = [_crop(folder, row) for row in _rows(folder / "train")]
        held = [folder / "holdout" / str(row["file_name"]) for row in _rows(folder / "holdout")]
    except (ArtifactError, OSError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError("the metadata cannot be read", where=folder, got=error, remedy=_REMEDY) from error
    return sorted(crops, key=lambda c: c.path.name), sorted(held)


def _rows(folder: Path) -> Sequence[dict[str, Any]]:
    lines = (folder / METADATA).read_text(encoding="utf-8").split("\n")
    return [strict_json.parse_object(line, folder / METADATA, "row") for line in lines if line.strip()]
