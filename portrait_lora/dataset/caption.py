"""Captions: generated from a face pack's attributes and the pixels, or written by the user.

Hair, skin, beard and glasses are omitted on purpose: the trigger learns what the caption does not name.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from portrait_lora import csv_file, manifest, vocabulary
from portrait_lora.dataset.colours import to_lab
from portrait_lora.dataset.crop import Framing
from portrait_lora.dataset.surroundings import backdrop_pixels, clothes_pixels
from portrait_lora.errors import InputError
from portrait_lora.faces.quality import aligned_crop
from portrait_lora.records import Face, RGBImage

GARMENT_RGB: Final[Mapping[str, tuple[int, int, int]]] = {
    "navy": (30, 40, 80),
    "teal": (20, 110, 112),
    "blue": (60, 100, 175),
    "brown": (105, 72, 50),
    "red": (165, 35, 40),
    "emerald": (22, 110, 72),
    "white": (225, 224, 220),
    "black": (24, 24, 26),
    "mustard": (195, 150, 45),
    "denim": (85, 112, 145),
    "plum": (95, 45, 85),
    "charcoal": (62, 64, 68),
}
BACKDROP_RGB: Final[Mapping[str, tuple[int, int, int]]] = {
    "white": (232, 232, 230),
    "grey": (148, 148, 148),
    "charcoal": (58, 60, 64),
    "blue": (88, 118, 160),
    "beige": (196, 176, 150),
    "green": (100, 125, 100),
    "pink": (214, 168, 172),
}
UNSURE_LAB: Final = 34.0
"""Maximum distance (CIE76) to the nearest named colour; beyond, no colour is named."""
SEAMLESS_SPREAD: Final = 4.0
GRADIENT_SPREAD: Final = 9.0
"""Maximum spread of lightness (half of 10th to 90th percentile) of a plain backdrop."""
SPLIT_RATIO: Final = 2.6
CHEST_SHARE: Final = 0.4
"""Minimum height below the chin, in face heights, for a crop to show clothes."""
_HEADER: Final = ["file", "caption"]
_CROP: Final = re.compile(r"(.+)-([0-9a-f]{6})-(\d+\.png)")
_ENCODING: Final = "utf-8-sig"  # Excel writes the mark and reads it


class Captioner(Protocol):
    """Writes the caption of one crop."""

    def caption(self, image_rgb: RGBImage, face: Face, crop: Framing) -> str:
        """`image_rgb` is the upright photo at full size, `face` is in its pixels."""
        ...


@dataclass(frozen=True, slots=True)
class AttributesCaptioner:
    """Captions in the words of `vocabulary`, from pose, expression, colours and light."""

    trigger: str
    subject: str

    def caption(self, image_rgb: RGBImage, face: Face, crop: Framing) -> str:
        """Everything that is clear; doubtful attributes are omitted."""
        return vocabulary.sentence(self.look(image_rgb, face, crop))

    def look(self, image_rgb: RGBImage, face: Face, crop: Framing) -> vocabulary.Look:
        """The words before they are joined."""
        expression = face.expression if face.expression in vocabulary.EXPRESSIONS else None
        lighting = face.lighting if face.lighting in vocabulary.LIGHTINGS else lighting_of(image_rgb, face)
        sideways = face.light_direction[0] if face.light_direction else 0.0
        return vocabulary.Look(
            subject=f"{self.trigger} {self.subject}",
            shot=crop.shot,
            view=vocabulary.view_of(face.pose_deg[1]) if face.pose_deg else None,
            facing=vocabulary.facing_of(face.pose_deg[1]) if face.pose_deg else None,
            expression=expression,
            wardrobe=wardrobe_of(image_rgb, face, crop),
            setting=setting_of(image_rgb, face),
            lighting=lighting,
            light_side=vocabulary.light_side_of(lighting, sideways),
        )


def _nearest(lab: np.ndarray, named_rgb: Mapping[str, tuple[int, int, int]]) -> str | None:
    """The name of the nearest colour; None when all are far.  Lightness has half weight."""
    names = list(named_rgb)
    table = to_lab(np.array([named_rgb[n] for n in names], dtype=np.uint8))
    apart = np.linalg.norm((table - lab) * np.array([0.5, 1.0, 1.0]), axis=1)
    best = int(apart.argmin())
    return names[best] if apart[best] <= UNSURE_LAB else None


def wardrobe_of(image_rgb: RGBImage, face: Face, crop: Framing) -> str | None:
    """`navy shirt`: the colour below the chin, if the crop shows it; the garment type is unknown."""
    _, y0, _, y1 = face.box_xyxy_px
    if y1 + CHEST_SHARE * (y1 - y0) > crop.box_xyxy_px[3]:
        return None
    pixels = clothes_pixels(image_rgb, face)
    if len(pixels) < 30:
        return None
    colour = _nearest(np.median(to_lab(pixels), axis=0), GARMENT_RGB)
    return f"{colour} shirt" if colour else None


def setting_of(image_rgb: RGBImage, face: Face) -> str | None:
    """`grey seamless backdrop`: colour and evenness of the area beside the head."""
    pixels = backdrop_pixels(image_rgb, face)
    if len(pixels) < 30:
        return None
    lab = to_lab(pixels)
    colour = _nearest(np.median(lab, axis=0), BACKDROP_RGB)
    low, high = np.percentile(lab[:, 0], (10, 90))
    spread = float(high - low) / 2
    kind = 0 if spread <= SEAMLESS_SPREAD else 1 if spread <= GRADIENT_SPREAD else 2
    return f"{colour} {vocabulary.BACKDROPS[kind]}" if colour else None


def lighting_of(image_rgb: RGBImage, face: Face) -> str | None:
    """Split, high-key or low-key light if it is clear, else None."""
    crop = np.asarray(aligned_crop(image_rgb, face.keypoints_px, 112), dtype=np.float32)
    luma = crop @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    left, right = float(luma[30:100, 22:52].mean()), float(luma[30:100, 60:90].mean())
    frontal = face.pose_deg is not None and abs(face.pose_deg[1]) <= vocabulary.FRONTAL_MAX_YAW_DEG
    if frontal and max(left, right) / max(min(left, right), 8.0) >= SPLIT_RATIO:
        return "split lighting"
    around = backdrop_pixels(image_rgb, face)
    if len(around) < 30:
        return None
    behind = float(np.median(to_lab(around)[:, 0]))
    if behind > 88.0 and face.brightness > 150.0:
        return "high-key lighting"
    return "low-key lighting" if behind < 22.0 and face.brightness < 75.0 else None


def write_captions(path: Path, captions: Mapping[str, str]) -> None:
    """Write `captions.csv` (file,caption) atomically, sorted by file."""
    manifest.write_bytes_atomic(path, csv_file.text_of(_HEADER, sorted(captions.items())).encode("utf-8"))


def read_captions(path: Path) -> dict[str, str]:
    """The captions of `captions.csv`, whether or not their crops exist; separated by comma or semicolon.

    Raises InputError with the line for broken quoting, wrong columns, an empty caption or a file named twice.
    """
    try:
        text = path.read_text(encoding=_ENCODING)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            "cannot be read as UTF-8 text", where=path, got=error, remedy="Save it as UTF-8."
        ) from error
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=";" if ";" in first else ",", strict=True)
    captions: dict[str, str] = {}
    try:
        if [c.strip().lower() for c in next(reader, [])] != _HEADER:
            raise _bad(path, 1, "the first line must be the column names", first.strip(), "file,caption")
        for row in reader:
            if any(cell.strip() for cell in row):
                file, caption = _row(path, reader.line_num, row)
                if file in captions:
                    raise _bad(path, reader.line_num, "a file occurs twice", file, "one line per file")
                captions[file] = caption
    except csv.Error as error:
        raise _bad(path, reader.line_num, "broken quoting", str(error), 'file,"caption"') from error
    return captions


def follow_photos(captions: Mapping[str, str], known: Collection[str]) -> dict[str, str]:
    """The captions by current crop name: a renamed photo is recognised by its digest.

    A line without a photo is kept: the photo may come back.
    """
    lost = {_tail(name): name for name in captions if name not in known and _tail(name)}
    moved = {name: lost[_tail(name)] for name in known if name not in captions and _tail(name) in lost}
    kept = {name: text for name, text in captions.items() if name not in set(moved.values())}
    return kept | {name: captions[old] for name, old in moved.items()}


def without_photo(captions: Mapping[str, str], known: Collection[str]) -> list[str]:
    """One sentence for every line of `captions` whose crop is not in `known`."""
    by_place = {_place(name): name for name in known}
    sentences = []
    for name in sorted(set(captions) - set(known)):
        now = by_place.get(_place(name)) if _tail(name) else None
        saved_again = (
            f"the photo was saved again, and its crop is now {now}" if now else "no photo has this crop"
        )
        sentences.append(f"{name}: {saved_again}")
    return sentences


def _tail(name: str) -> str:
    """`3fa9c1-2.png` of `IMG_0412-3fa9c1-2.png`: the photo's bytes, the crop's number; else empty."""
    match = _CROP.fullmatch(name)
    return f"{match[2]}-{match[3]}" if match else ""


def _place(name: str) -> tuple[str, str]:
    """The photo's own name and the crop's number."""
    match = _CROP.fullmatch(name)
    return (match[1], match[3]) if match else (name, "")


def _row(path: Path, line: int, row: list[str]) -> tuple[str, str]:
    if len(row) != 2:
        raise _bad(path, line, "wrong number of columns", str(len(row)), 'two: file,"caption" with quotes')
    file, caption = csv_file.uncell(row[0].strip()), csv_file.uncell(" ".join(row[1].split()))
    if not caption:
        raise _bad(path, line, "the caption is empty", file, "a caption, or no line at all")
    return file, caption


def _bad(path: Path, line: int, what: str, got: str, needed: str) -> InputError:
    remedy = "Correct that line; the others are kept."
    return InputError(what, where=f"{path}:{line}", got=got, needed=needed, remedy=remedy)
