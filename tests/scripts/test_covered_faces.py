"""What is painted before faces hides as much of them as is stated."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scripts.evaluate import covering
from scripts.train.face_pack import occluders

FACE = np.stack([64 + 30 * np.cos(np.arange(68) / 68 * 6.28), 70 + 40 * np.sin(np.arange(68) / 68 * 6.28)], 1)


@pytest.mark.parametrize("share", [0.04, 0.28, 0.4])
def test_a_thing_slides_in_until_it_hides_the_share(share: float) -> None:
    plain = np.full((160, 128, 3), 128, np.uint8)
    for seed in range(12):
        spoilt = covering.covered(plain, FACE, share, seed)
        changed = np.any(spoilt != plain, axis=2) & (covering.face_hull(FACE, plain.shape) > 0)
        measured = changed.sum() / covering.face_hull(FACE, plain.shape).sum()
        assert measured == pytest.approx(share, abs=0.04)
        assert np.array_equal(spoilt, covering.covered(plain, FACE, share, seed))


def test_a_thing_that_only_touches_hides_nothing() -> None:
    plain = np.full((160, 128, 3), 128, np.uint8)
    face = covering.face_hull(FACE, plain.shape) > 0
    for seed in range(6):
        spoilt = covering.covered(plain, FACE, 0.0, seed)
        assert np.any(spoilt != plain, axis=2)[face].mean() < 0.03
        assert np.any(spoilt != plain)


def test_what_training_paints_agrees_with_its_truth() -> None:
    crop = torch.rand(64, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255
    marks = torch.from_numpy((FACE / 2).astype(np.float32)).expand(64, 68, 2)
    one = occluders.paint(crop, marks, torch.Generator().manual_seed(1))
    two = occluders.paint(crop, marks, torch.Generator().manual_seed(1))
    assert torch.equal(one.crop, two.crop)
    assert 0 <= float(one.covered.min()) <= float(one.covered.max()) <= 1
    assert 0.2 < float((one.covered > 0.05).float().mean()) < 0.6
    assert not one.plain[one.covered > occluders.TRUSTED_SHARE].any()
    untouched = (one.crop == crop).flatten(1).all(1)
    assert one.covered[untouched].max() == 0
    assert set(one.cut.unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("shape", occluders.SHAPES)
def test_every_shape_covers_something(shape: occluders.Shape) -> None:
    alpha = np.zeros((128, 128), np.float32)
    for seed in range(4):
        shape(FACE.astype(np.float32), 80.0, np.random.default_rng(seed), alpha)
    assert 0.005 < alpha.mean() < 1
    assert set(np.unique(alpha)) <= {0.0, 1.0}
