"""From sections of the configuration to the typed records that the rooms take: by name, and only here.

Defaults are those of `settings.py` alone: a field that is not filled here is an error, not another default.
How pictures are drawn is in `sampling`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from portrait_lora.dataset.curate import CurateSettings
    from portrait_lora.dataset.findings import CheckSettings
    from portrait_lora.settings import CheckConfig, CurateConfig


def check_of(settings: CheckConfig, *, least_side_px: int = 0) -> CheckSettings:
    """The thresholds of the photo check; the base's resolution may ask for `least_side_px` of a picture."""
    from portrait_lora.dataset.findings import CheckSettings

    given = settings.model_dump()
    return CheckSettings(**given | {"min_side_px": max(settings.min_side_px, least_side_px)})


def curate_of(settings: CurateConfig, *, same_person_similarity: float) -> CurateSettings:
    """The thresholds of curation; `same_person_similarity` is the face pack's."""
    from portrait_lora.dataset.curate import CurateSettings

    return CurateSettings(**settings.model_dump(), same_person_similarity=same_person_similarity)
