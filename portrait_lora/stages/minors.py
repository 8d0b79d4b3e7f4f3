"""People who may be minors: seen by a pack's age network, trained on with a guardian or a date of birth.

An age network errs by years in both directions: what is below `UNSURE_YEARS` is taken for a possible minor,
and then a statement decides, never the network.  Without a network nothing is said about age.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from portrait_lora import log, provenance
from portrait_lora.errors import ArtifactError
from portrait_lora.pictures.reader import UnreadablePhoto, load_photo
from portrait_lora.records import Finding, PhotoReport
from portrait_lora.results import CheckResult
from portrait_lora.rights import consent

if TYPE_CHECKING:
    from portrait_lora.faces.age import AgeReader
    from portrait_lora.stages.context import Context

CODE: Final = "may_be_minor"
UNSURE_YEARS: Final = 25.0
"""Faces that look younger may be those of minors: 18, and some years of error."""
_SIDE_PX: Final = 1280
_log = log.get(__name__)


def with_ages(reports: Sequence[PhotoReport], reader: AgeReader | None) -> list[PhotoReport]:
    """The reports, with the finding for photographs whose face looks young; made-up people have no age."""
    photographs = [r for r in reports if r.face and provenance.is_unmarked_picture(r.photo.path)]
    if reader is None:
        if photographs:
            _log.warning("this face pack has no age network: whether photos show a minor is not checked")
        return list(reports)
    real = {id(r) for r in photographs}
    return [_looked(r, reader) if id(r) in real else r for r in reports]


def _looked(report: PhotoReport, reader: AgeReader) -> PhotoReport:
    if report.face is None:
        return report
    try:
        photo, image = load_photo(report.photo.path, _SIDE_PX, edit=report.photo.edit)
    except UnreadablePhoto:  # it went away between two looks
        return report
    scale = max(image.shape[:2]) / max(photo.size_px)
    x0, y0, x1, y1 = (value * scale for value in report.face.box_xyxy_px)
    age = reader.read(image, (x0, y0, x1, y1))
    if age is None or age.years >= UNSURE_YEARS:
        return report
    advice = (
        f"The face looks {age.years:.0f} years old, which is uncertain ({age.low:.0f} to {age.high:.0f}). "
        "If this is a minor, a guardian has to consent; if not, the consent has to name the date of birth."
    )
    remark = Finding(CODE, "warn", age.years, UNSURE_YEARS, advice)
    return replace(report, findings=(*report.findings, remark))


def require_adult_or_guardian(ctx: Context) -> None:
    """`InputError` where most of the photos in use may show a minor, and the consent says neither.

    What the last check read counts; a folder that was never checked has said nothing of age.
    """
    try:
        photos = [row for row in ctx.journal.result(CheckResult).findings if row.accepted]
    except ArtifactError:
        return
    young = [row for row in photos if any(f.code == CODE for f in row.findings)]
    if 2 * len(young) > len(photos):
        consent.require_age(ctx.likeness.root, f"{len(young)} of {len(photos)} photos")
