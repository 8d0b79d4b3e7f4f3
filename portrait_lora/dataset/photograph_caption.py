"""The built-in captioner for photographs: a word is written where it is sure, else left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from portrait_lora import vocabulary
from portrait_lora.dataset import colours
from portrait_lora.dataset import photograph_words as words
from portrait_lora.dataset.clothes import chest_of
from portrait_lora.dataset.crop import Framing
from portrait_lora.records import Face, RGBImage

_POSE_ERROR_DEG: Final = 5.0
_FIVE_POINT_ERROR_DEG: Final = 10.0
"""A view is named where the yaw is farther than this from its limits: the error of a pose network, and
that of a pose from five points."""


@dataclass(frozen=True, slots=True)
class PhotographCaptioner:
    """View, clothing, background, black and white; the order is that of `vocabulary.clauses`."""

    trigger: str
    subject: str

    def caption(self, image_rgb: RGBImage, face: Face, crop: Framing) -> str:
        """What is sure of the crop; doubtful attributes are omitted."""
        return vocabulary.sentence(self.look(image_rgb, face, crop))

    def look(self, image_rgb: RGBImage, face: Face, crop: Framing) -> vocabulary.Look:
        """The words before they are joined."""
        scene, chest = words.scene_of(image_rgb, face, crop), chest_of(image_rgb, face)
        name = colours.tone_name if colours.is_toned(scene.rgb) else colours.colour_name
        shown = chest if chest is not None and words.shows_clothes(scene, chest) else None
        view, facing = view_words(face)
        return vocabulary.Look(
            subject=f"{self.trigger} {self.subject}",
            shot=crop.shot,
            style=words.BLACK_AND_WHITE if colours.is_black_and_white(scene.rgb) else None,
            view=view,
            facing=facing,
            expression=face.expression if face.expression in vocabulary.EXPRESSIONS else None,
            wardrobe=words.clothing_word(shown, name),
            setting=words.background_word(words.back_of(scene), name),
            lighting=face.lighting if face.lighting in vocabulary.ALL_LIGHTINGS else None,
        )


def view_words(face: Face) -> tuple[str | None, str | None]:
    """(view, facing), each None where the error of the pose reaches its limits."""
    if face.pose_deg is None:
        return None, None
    yaw = face.pose_deg[1]
    error = _FIVE_POINT_ERROR_DEG if face.pose_from_points else _POSE_ERROR_DEG
    low, high = (
        vocabulary.view_of(max(abs(yaw) - error, 0.0)),
        vocabulary.view_of(abs(yaw) + error),
    )
    facing = vocabulary.facing_of(yaw) if low != vocabulary.VIEWS[0] else None
    return low if low == high else None, facing
