"""Copies are found through the changes a generator makes; new pictures of the same face are not copies."""

import cv2
import numpy as np
import pytest
from scipy import stats

from portrait_lora.errors import InputError
from portrait_lora.evaluation.identity import ReferenceSet
from portrait_lora.evaluation.memorization import (
    copy_report,
    copy_score,
    correlations,
    match_threshold,
    similarity_gap,
)


def drawn_face(seed: int) -> np.ndarray:
    """An aligned 112 px grey crop of one person: fixed features, other light, hair, brow and backdrop."""
    rng = np.random.default_rng(seed)
    canvas = np.full((112, 112), rng.integers(60, 220), np.float32)
    canvas += cv2.GaussianBlur(rng.normal(0, 60, (112, 112)).astype(np.float32), (0, 0), 5)
    turn = int(rng.integers(-8, 9))
    cv2.ellipse(canvas, (56 + turn, 62), (38, 48), 0, 0, 360, float(rng.integers(130, 200)), -1)
    for x in (38, 74):
        cv2.ellipse(canvas, (x, 51), (7, int(rng.integers(2, 6))), 0, 0, 360, 40.0, -1)
        cv2.line(
            canvas, (x - 9, 40 + int(rng.integers(-3, 4))), (x + 9, 40 + int(rng.integers(-3, 4))), 50.0, 3
        )
    cv2.line(canvas, (56 + turn, 55), (56 + turn, 72), 110.0, 2)
    cv2.ellipse(canvas, (56, 90), (15, int(rng.integers(2, 9))), 0, 0, 180, 70.0, 3)
    light = np.linspace(1 - rng.uniform(-0.4, 0.4), 1 + rng.uniform(-0.4, 0.4), 112, dtype=np.float32)
    canvas *= light if rng.random() < 0.5 else light[:, None]
    canvas += cv2.GaussianBlur(rng.normal(0, 25, (112, 112)).astype(np.float32), (0, 0), 2)
    return np.clip(canvas, 0, 255).astype(np.uint8)


def perturbed(crop: np.ndarray, seed: int) -> np.ndarray:
    """A near-copy: darker, lower contrast, moved by a pixel or two, blurred and noisy."""
    rng = np.random.default_rng(seed)
    moved = np.roll(crop.astype(np.float32), rng.integers(-3, 4, 2), (0, 1)) * 0.75 + 15
    noisy = cv2.GaussianBlur(moved, (0, 0), 0.8) + rng.normal(0, 4, crop.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


TRAINING = np.stack([drawn_face(i) for i in range(12)])
HOLDOUT = np.stack([drawn_face(i) for i in range(100, 103)])
NEW = np.stack([drawn_face(i) for i in range(200, 240)])


def test_perturbed_training_photos_are_copies():
    copies = np.stack([perturbed(crop, i) for i, crop in enumerate(TRAINING)])
    found = copy_report(copies, TRAINING, HOLDOUT)
    assert found.copy_score >= 0.9
    assert [match for match, _ in found.matches] == list(range(12))
    assert found.real_photos == 15


def test_new_pictures_of_the_same_person_are_not():
    assert copy_score(NEW, TRAINING, HOLDOUT) <= 0.05


def test_the_score_is_the_share():
    mixed = np.concatenate([NEW[:3], perturbed(TRAINING[4], 1)[None]])
    found = copy_report(mixed, TRAINING, HOLDOUT)
    assert found.copied == (False, False, False, True)
    assert found.copy_score == 0.25


def test_a_mirrored_copy_is_a_copy():
    mirrored = np.stack([perturbed(crop[:, ::-1], i) for i, crop in enumerate(TRAINING)])
    assert copy_score(mirrored, TRAINING, HOLDOUT) >= 0.9


def test_colour_and_grey_crops_agree():
    colour = np.repeat(TRAINING[..., None], 3, axis=-1)
    assert correlations(colour[:2], TRAINING) == pytest.approx(correlations(TRAINING[:2], TRAINING), abs=1e-3)


def test_correlation_of_a_crop_with_itself_is_one_and_a_flat_crop_has_none():
    assert np.diag(correlations(TRAINING, TRAINING)) == pytest.approx(1.0, abs=1e-5)
    flat = np.full((1, 112, 112), 128, np.uint8)
    assert correlations(flat, TRAINING) == pytest.approx(0.0, abs=1e-5)


def test_the_threshold_by_hand():
    # best matches 0.5, 0.5 and 0.4
    pairs = np.array([[1, 0.5, 0.2], [0.5, 1, 0.4], [0.2, 0.4, 1]], np.float32)
    z = np.arctanh([0.5, 0.5, 0.4])
    limit = np.tanh(z.mean() + stats.t.ppf(0.99, 2) * z.std(ddof=1) * np.sqrt(4 / 3))
    assert match_threshold(pairs) == pytest.approx(limit, abs=1e-6)


def test_the_threshold_is_never_below_the_percentile_of_the_pairs():
    pairs = np.full((4, 4), 0.6, np.float32)
    assert match_threshold(pairs) == pytest.approx(0.6, abs=1e-6)


def test_few_photos_make_it_cautious():
    threshold = match_threshold(correlations(TRAINING[:3], TRAINING[:3]))
    assert threshold > match_threshold(correlations(TRAINING, TRAINING))


def test_too_few_real_photos_and_no_portraits():
    with pytest.raises(InputError, match="got 2; needed 3"):
        copy_report(NEW, TRAINING[:1], HOLDOUT[:1])
    with pytest.raises(InputError, match="training crop"):
        copy_report(NEW, TRAINING[:0], HOLDOUT)
    assert copy_report(NEW[:0], TRAINING, HOLDOUT).copy_score == 0.0


def test_gap_matches_poses_and_numbers():
    # two held-out photos at yaw 0 and 40; of the three training photos those at 5 and 38 are compared
    holdout = ReferenceSet(np.array([[1, 0, 0], [0, 1, 0]]), ("h0", "h1"), "b", (0.0, 40.0))
    training = ReferenceSet(
        np.array([[0, 0, 1], [0.6, 0.8, 0], [0.8, 0.6, 0]]), ("x", "y", "z"), "b", (-60.0, 5.0, 38.0)
    )
    portrait = np.array([[0.6, 0.8, 0]])
    assert similarity_gap(portrait, training, holdout) == pytest.approx(1.0 - 0.8)
    far = ReferenceSet(training.embeddings, training.names, "b", (1.0, 90.0, 39.0))
    assert similarity_gap(portrait, far, holdout) == pytest.approx(0.96 - 0.8)


def test_gap_needs_all_three():
    holdout = ReferenceSet(np.eye(2), ("a", "b"))
    with pytest.raises(InputError):
        similarity_gap(np.zeros((0, 2)), holdout, holdout)
