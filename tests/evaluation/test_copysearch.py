"""A picture is recognised through what people and tools do to it; another picture of the face is not."""

import cv2
import numpy as np
import pytest

from portrait_lora.evaluation import copysearch
from portrait_lora.evaluation.copysearch import ViewIndex
from portrait_lora.evaluation.copyview import view
from portrait_lora.evaluation.memorization import LIMITS
from tests.evaluation.drawn import KEYPOINTS, PLANTS, drawn_scene, plant

PHOTOS = [drawn_scene(i) for i in range(6)]
VIEWS = [view(photo, KEYPOINTS) for photo in PHOTOS]
GALLERY = ViewIndex(VIEWS)
HONEST = [view(drawn_scene(i), KEYPOINTS) for i in range(100, 120)]
LIMIT = LIMITS[1]


def planted(kind: str) -> list:
    return [view(*plant(kind, photo, drawn_scene(50 + i), seed=i)) for i, photo in enumerate(PHOTOS)]


@pytest.mark.parametrize("kind", PLANTS)
def test_a_copy_is_found_with_its_source(kind):
    matches = GALLERY.best(planted(kind), above=LIMIT)
    assert [match for match, _ in matches] == list(range(6))
    assert min(value for _, value in matches) > LIMIT


@pytest.mark.parametrize("turn_deg", [-10, 6])
def test_a_tilted_copy_is_found(turn_deg):
    turn = cv2.getRotationMatrix2D((96.0, 96.0), turn_deg, 1.0)
    tilted = [cv2.warpAffine(p, turn, (192, 192), borderMode=cv2.BORDER_REPLICATE) for p in PHOTOS]
    points = cv2.transform(KEYPOINTS[None], turn)[0].astype(np.float32)
    matches = GALLERY.best([view(p, points) for p in tilted], above=LIMIT)
    assert [match for match, value in matches if value > LIMIT] == list(range(6))


def test_another_picture_of_the_same_face_is_no_copy():
    assert max(value for _, value in GALLERY.best(HONEST, above=LIMIT)) <= LIMIT
    assert max(value for _, value in GALLERY.best(HONEST, above=0.0)) < 0.82


def test_no_copy_is_looked_at_closely_only_when_it_might_be_one(monkeypatch):
    seen = []
    real = copysearch.features
    monkeypatch.setattr(copysearch, "features", lambda v: (seen.append(v), real(v))[1])
    ViewIndex(VIEWS).best(HONEST, above=LIMIT)
    assert len(seen) <= 6  # of 20 portraits, each with its photo
    ViewIndex(VIEWS).best(planted("blended"), above=LIMIT)
    assert len(seen) >= 12


def test_a_portrait_is_judged_alike_alone_and_among_others(monkeypatch):
    everything = [*HONEST, *planted("re-cropped")]
    together = GALLERY.best(everything, above=LIMIT)
    monkeypatch.setattr(copysearch, "_CHUNK", 7)
    apart = GALLERY.best(everything, above=LIMIT)
    assert [m for m, _ in apart] == [m for m, _ in together]
    assert [v for _, v in apart] == pytest.approx([v for _, v in together], abs=1e-5)


def test_a_photo_can_be_left_out_of_its_own_search():
    assert [m for m, _ in GALLERY.best(VIEWS, above=0.0)] == list(range(6))
    others = GALLERY.best(VIEWS, above=0.0, without_itself=True)
    assert all(m != i for i, (m, _) in enumerate(others))
    assert max(v for _, v in others) < LIMIT


def test_a_flat_picture_matches_nothing():
    flat = view(np.full((128, 128, 3), 128, np.uint8), KEYPOINTS / 2)
    assert GALLERY.best([flat], above=LIMIT)[0][1] <= 0.1
    assert ViewIndex([]).best(VIEWS[:1], above=LIMIT) == [(-1, 0.0)]
    assert GALLERY.best([], above=LIMIT) == []
