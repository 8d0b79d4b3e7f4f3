"""Masks that lie where they should, and checks that distinguish good portraits from bad ones."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from portrait_lora.generation.brand import Brand
from portrait_lora.generation.checklist import check_portrait, failures, framing, skin_texture
from portrait_lora.generation.regions import REGIONS, region_mask
from portrait_lora.records import NOT_SEEN, Parts, Shot
from tests.generation.drawn_face import face, picture

FACE = face()
IMAGE = picture(FACE)
SHOT = Shot("s", "p", "", (128, 128), 1, (("shot", "headshot"), ("lighting", "three-point lighting")))


def _verdicts(image: np.ndarray, faces: list, shot: Shot = SHOT, **more: object) -> dict[str, bool | None]:
    return {c.code: c.passed for c in check_portrait(image, faces, shot, **more)}  # type: ignore[arg-type]


def test_masks_lie_where_they_should() -> None:
    masks = {region: region_mask(IMAGE, FACE, region) > 0 for region in REGIONS}  # type: ignore[arg-type]
    eyes = np.asarray(FACE.keypoints_px)[:2].round().astype(int)
    for x, y in eyes:
        assert masks["eyes"][y, x] and masks["face"][y, x] and not masks["skin"][y, x]
    assert masks["skin"][eyes[0][1] + 12, eyes[0][0]]
    assert masks["eyes"].mean() < masks["face"].mean() / 3
    assert masks["background"][4, 4] and not masks["background"][60, 64]
    assert not (masks["background"] & masks["face"]).any() and not (masks["hair"] & masks["skin"]).any()
    again = region_mask(IMAGE, FACE, "hair") > 0
    assert (again == masks["hair"]).all()


def test_what_a_segmenter_saw_counts() -> None:
    names = ("backdrop", "clothes", "skin", "hair", "eyes", "glasses", "thing")
    labels = np.zeros(IMAGE.shape[:2], np.uint8)
    labels[20:100, 30:100] = names.index("skin")
    labels[10:20, 30:100] = names.index("hair")
    parts = Parts(names, labels)
    assert ((region_mask(IMAGE, FACE, "hair", parts) > 0) == (labels == names.index("hair"))).all()
    skin = region_mask(IMAGE, FACE, "skin", parts) > 0
    assert skin.any() and (labels[skin] == names.index("skin")).all()
    background = region_mask(IMAGE, FACE, "background", parts) > 0
    assert background[4, 4] and not background[labels > 0].any()
    labels[:, 110:] = NOT_SEEN
    beyond = region_mask(IMAGE, FACE, "background", Parts(names, labels)) > 0
    assert beyond[4, 120] and not beyond[60, 64]


def test_a_good_portrait_passes_and_says_what_it_cannot_tell() -> None:
    verdicts = _verdicts(IMAGE, [FACE])
    assert verdicts["light_direction"] is None and verdicts["skin_texture"] is None
    assert {v for k, v in verdicts.items() if k not in ("light_direction", "skin_texture")} == {True}


@pytest.mark.parametrize(
    ("code", "image", "faces"),
    [
        ("one_face", IMAGE, []),
        ("one_face", IMAGE, [FACE, face(30, 40, 40)]),
        ("sharp_eyes", cv2.GaussianBlur(IMAGE, (0, 0), 4), [FACE]),
        ("exposure", (IMAGE * 0.1).astype(np.uint8), [FACE]),
        ("exposure", np.clip(IMAGE * 3.0, 0, 255).astype(np.uint8), [FACE]),
        ("framing", picture(face(64, 56, 16)), [face(64, 56, 16)]),
        ("nothing_cut", IMAGE, [face(110, 56, 48)]),
    ],
)
def test_faults_are_detected(code: str, image: np.ndarray, faces: list) -> None:
    assert _verdicts(image, faces)[code] is False


def test_plastic_skin_is_judged_against_the_persons_photos() -> None:
    from portrait_lora.faces import quality

    aligned = quality.aligned_crop(IMAGE, np.asarray(FACE.keypoints_px))
    usual = skin_texture(aligned)
    smooth = cv2.bilateralFilter(IMAGE, 9, 60, 9)
    assert _verdicts(IMAGE, [FACE], photo_texture=usual)["skin_texture"] is True
    assert _verdicts(smooth, [FACE], photo_texture=usual)["skin_texture"] is False


@pytest.mark.parametrize(
    ("light", "good"),
    [
        ((-0.5, 0.57, 0.64), True),
        ((0.5, 0.57, 0.64), True),
        ((0.0, -0.9, 0.4), False),
        ((0.98, 0.1, -0.1), False),
    ],
)
def test_the_light_comes_from_the_requested_side(light: tuple[float, float, float], good: bool) -> None:
    assert _verdicts(IMAGE, [face(light=light)])["light_direction"] is good


def test_framing_follows_the_brand() -> None:
    seen = framing(FACE, 128)
    near = Brand("b", {}, eye_line=seen.eye_line + 0.02, head_height=seen.head_height)
    far = Brand("b", {}, eye_line=seen.eye_line + 0.2)
    assert _verdicts(IMAGE, [FACE], brand=near)["framing"] is True
    checks = check_portrait(IMAGE, [FACE], SHOT, brand=far)
    assert failures(checks) == ("framing",)
