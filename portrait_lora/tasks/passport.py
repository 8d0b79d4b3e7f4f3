"""Check of a photograph against the published sizes of passports and visas; nothing is changed.

Authorities accept photographs, not pictures of a model, so a generated or edited portrait is refused whatever
its size.  The sizes come from the package passport-photo-specs (MIT), which collects them from governments.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from portrait_lora import config, provenance
from portrait_lora.errors import ArtifactError, InputError, require_extra
from portrait_lora.faces.backends import open_analyzer
from portrait_lora.faces.head import head_lines_px
from portrait_lora.faces.packs import FacePack, resolve_pack
from portrait_lora.finishing import colour
from portrait_lora.pictures.reader import load_photo
from portrait_lora.records import Face, RGBImage
from portrait_lora.results import Value
from portrait_lora.tasks import finish

_MODULE: Final = "passport_photo_specs"
_ASPECT: Final = 0.02
"""Relative: a pixel of rounding at 400 px, and half a millimetre of cutting at 35 mm."""
_BACKDROP: Final = 0.10
"""Largest distance to the prescribed colour in OKLab: a white wall is photographed as a light grey."""
_UNEVEN: Final = 0.05
"""Largest standard deviation of lightness over the backdrop's corners."""
_UPRIGHT_DEG: Final = 8.0
_OFF_CENTRE: Final = 0.08
_BORDER: Final = 0.12
_NOT_PHOTOGRAPHED: Final = ("trained", "algorithmic", "composite", "digitalArt", "virtual", "dataDriven")
"""How the names of IPTC's source types begin that are no photographs."""


class PassportCheck(Value):
    """One rule: None where it could not be measured."""

    rule: str
    passed: bool | None
    got: str
    needed: str


class PassportResult(Value):
    """All measured rules of one document, and those that a person must judge."""

    file: str
    document: str
    passed: bool
    checks: tuple[PassportCheck, ...]
    by_eye: tuple[str, ...]


def check(path: Path, wanted: str, overrides: Sequence[str]) -> PassportResult:
    """Check a photograph against a document, by its slug or its country (whose first document is taken).

    Raises `InputError` for a generated or finished portrait, an unknown country, and a file that is no
    photograph.
    """
    refuse_generated(path)
    document = find_document(wanted)
    photo, rgb = load_photo(path)
    checks = [*_size(photo.size_px, document), *_backdrop(rgb, document), *_face(rgb, overrides)]
    return PassportResult(
        file=str(path),
        document=str(document["title"]),
        passed=all(one.passed is not False for one in checks),
        checks=tuple(checks),
        by_eye=tuple(str(one) for one in document["requirements"]),
    )


def refuse_generated(path: Path) -> None:
    """Raise `InputError` for a picture that says of itself that it is not a photograph as taken."""
    if not path.is_file():
        raise InputError("no such picture", where=path)
    kind = provenance.source_type(path)
    try:
        made_here = bool(provenance.read_record(path)) or finish.is_finished(path)
    except ArtifactError:
        made_here = finish.is_finished(path)
    if made_here or (kind is not None and kind.startswith(_NOT_PHOTOGRAPHED)):
        raise InputError(
            "a generated or finished portrait is no passport photo: authorities accept photographs only",
            where=path,
            got=kind or "a record of this program",
            needed="a photograph as taken",
            remedy="Have a photograph taken.",
        )


def find_document(wanted: str) -> Mapping[str, Any]:
    """The document of a slug, an id or a country, with a `title`.  Raises `InputError` with near names."""
    require_extra(_MODULE, "passport")
    import passport_photo_specs  # pyright: ignore[reportMissingImports]

    countries = cast(Sequence[Mapping[str, Any]], passport_photo_specs.countries())
    names: dict[str, Mapping[str, Any]] = {}
    for country in countries:
        documents = cast(Sequence[Mapping[str, Any]], country["documents"])
        for one in documents:
            titled = {**one, "title": f"{country['name']}, {one['name']}"}
            names |= {str(one[key]).lower(): titled for key in ("slug", "id")}
        first = next((one for one in documents if "passport" in str(one["id"])), documents[0])
        titled = {**first, "title": f"{country['name']}, {first['name']}"}
        names |= {str(country[key]).lower(): titled for key in ("id", "name")}
    if (document := names.get(wanted.lower())) is None:
        close = difflib.get_close_matches(wanted.lower(), names, 3, cutoff=0.5)
        raise InputError(
            "no such country or document",
            where="--passport",
            got=repr(wanted),
            needed="such as 'us', 'germany' or 'uk-visa'",
            remedy=f"Near: {', '.join(close)}." if close else "",
        )
    return document


def _size(size_px: tuple[int, int], document: Mapping[str, Any]) -> list[PassportCheck]:
    width, height = int(document["widthPx"]), int(document["heightPx"])
    shape = size_px[0] / size_px[1] / (width / height)
    got, needed = f"{size_px[0]} x {size_px[1]} px", f"{width} x {height} px"
    paper = f"{document['widthMm']} x {document['heightMm']} mm"
    return [
        PassportCheck(
            rule="shape", passed=abs(shape - 1) <= _ASPECT, got=got, needed=f"that of {needed} ({paper})"
        ),
        PassportCheck(
            rule="pixels",
            passed=size_px[0] >= width and size_px[1] >= height,
            got=got,
            needed=f"{needed} at least",
        ),
    ]


def _backdrop(rgb: RGBImage, document: Mapping[str, Any]) -> list[PassportCheck]:
    """The colour of both upper corners, where no document shows a shoulder."""
    edge = max(2, round(_BORDER * rgb.shape[1]))
    corners = np.concatenate([rgb[:edge, :edge].reshape(-1, 3), rgb[:edge, -edge:].reshape(-1, 3)])
    lab = colour.to_oklab(corners.astype(np.float32) / 255)
    wanted = colour.to_oklab(colour.parse(str(document["bgColor"])))
    off, spread = float(np.linalg.norm(np.median(lab, axis=0) - wanted)), float(lab[:, 0].std())
    name = str(document["bgColorLabel"]).lower()
    return [
        PassportCheck(
            rule="backdrop colour", passed=off <= _BACKDROP, got=f"{off:.2f} off",
            needed=f"{name}, off by {_BACKDROP:g} at most",
        ),
        PassportCheck(
            rule="even backdrop", passed=spread <= _UNEVEN, got=f"{spread:.3f}", needed=f"{_UNEVEN:g} at most"
        ),
    ]  # fmt: skip


def _face(rgb: RGBImage, overrides: Sequence[str]) -> list[PassportCheck]:
    """One upright face near the middle; not measured by the embedded pack, which knows the studio only."""
    settings = config.load(None, overrides)
    pack: FacePack = resolve_pack(settings.face_pack)
    if pack.synthetic and not settings.allow_synthetic_models:
        return [_unmeasured(rule) for rule in ("one face", "centred", "upright", "whole head")]
    faces = open_analyzer(pack, "select").find(rgb)
    one = PassportCheck(rule="one face", passed=len(faces) == 1, got=str(len(faces)), needed="1")
    return [one] if not faces else [one, *_placed(faces[0], rgb.shape[1])]


def _unmeasured(rule: str) -> PassportCheck:
    needed = "a face pack for photographs: -s face_pack=NAME"
    return PassportCheck(rule=rule, passed=None, got="not checked", needed=needed)


def _placed(face: Face, width_px: int) -> list[PassportCheck]:
    points = np.asarray(face.keypoints_px)
    centre = abs(float(points[:, 0].mean()) / width_px - 0.5)
    across = points[1] - points[0]
    roll = abs(float(np.degrees(np.arctan2(across[1], across[0]))))
    _, crown, _ = head_lines_px(face)
    return [
        PassportCheck(
            rule="centred", passed=centre <= _OFF_CENTRE, got=f"{centre:.2f} of the width off",
            needed=f"{_OFF_CENTRE:g} at most",
        ),
        PassportCheck(
            rule="upright", passed=roll <= _UPRIGHT_DEG, got=f"{roll:.0f} deg",
            needed=f"{_UPRIGHT_DEG:g} at most",
        ),
        PassportCheck(
            rule="whole head", passed=crown >= 0, got=f"crown at row {crown:.0f} (estimated)", needed=">= 0"
        ),
    ]  # fmt: skip
