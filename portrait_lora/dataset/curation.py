"""The settings of curation, and the error when they leave too few photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from portrait_lora.dataset.duplicates import Limits
from portrait_lora.errors import PhotosError
from portrait_lora.records import PhotoReport


@dataclass(frozen=True, slots=True, kw_only=True)
class CurateSettings:
    """The thresholds of curation; similarities are cosines of embeddings or correlations of pixels."""

    min_photos: int
    few_photos: int  # fewer usable photos give a warning
    max_photos: int  # above, the best covering subset is kept
    same_person_similarity: float  # the pack's threshold for two photos of one person
    duplicate_frame: float  # correlation of the registered frames
    duplicate_face: float  # correlation of the registered faces
    duplicate_embedding: float
    same_person: tuple[str, ...] = ()  # file names that the user has said show the subject
    other_person: tuple[str, ...] = ()
    use_anyway: tuple[str, ...] = ()  # file names that are used in spite of their findings, never held out

    @property
    def duplicate_limits(self) -> Limits:
        """The limits of near-duplicates."""
        return Limits(self.duplicate_face, self.duplicate_frame, self.duplicate_embedding)


class TooFewPhotos(PhotosError):
    """Not enough usable photos; `reports` has every photo with all its findings, for the report page."""

    def __init__(
        self, reports: Sequence[PhotoReport], settings: CurateSettings, doubt: str = "", remedy: str = ""
    ) -> None:
        self.reports = tuple(reports)
        usable = [r for r in reports if r.accepted]
        lines = [f"{r.photo.path.name}: {', '.join(r.codes)}" for r in reports if not r.accepted]
        more = f" Not used: {'; '.join(lines[:20])}{' …' if len(lines) > 20 else ''}." if lines else ""
        advice = remedy or "Add clear photos of the subject alone, or fix these."
        if not remedy and any(r.questioned for r in reports):
            advice = f"{advice} Answer the questions with dataset.curate.same_person and other_person."
        super().__init__(
            doubt or "not enough usable photos",
            got=f"{len(usable)} of {len(reports)}",
            needed=f"at least {settings.min_photos}",
            remedy=f"{advice}{more}",
        )
