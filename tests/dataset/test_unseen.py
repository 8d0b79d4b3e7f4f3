"""A picture in which light alone hides the face says so."""

import numpy as np

from portrait_lora.dataset.unseen import unseen

from .made_up import CHECKS, draw, made_up_face


def seen_with_contrast(image):
    return [made_up_face()] if image.std() > 25 and image.max() > 150 else []


def blind(image):
    return []


def test_a_burnt_out_picture_is_distinguished_from_one_without_a_face():
    burnt = np.clip(draw(0).astype(int) // 8 + 238, 0, 255).astype(np.uint8)
    finding = unseen(burnt, seen_with_contrast, CHECKS)
    assert finding is not None
    assert (finding.code, finding.severity) == ("over_exposed", "reject")
    assert finding.measured is not None
    assert finding.measured > CHECKS.max_blown_share == finding.threshold
    assert unseen(burnt, blind, CHECKS) is None


def test_a_dark_picture_is_looked_at_again_brighter():
    dark = (draw(0) * 0.1).astype(np.uint8)
    finding = unseen(dark, seen_with_contrast, CHECKS)
    assert finding is not None
    assert finding.code == "under_exposed"


def test_ordinary_pictures_are_not_looked_at_again():
    looks = []
    assert unseen(draw(0), lambda image: looks.append(1) or [], CHECKS) is None
    assert looks == []


def test_a_white_backdrop_does_not_make_a_face_burnt():
    pale = draw(0, backdrop=(255, 255, 255))
    assert unseen(pale, seen_with_contrast, CHECKS) is None
