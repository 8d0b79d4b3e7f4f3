"""The figures of the autoencoder, on vectors whose answer is known, and on two people."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.evaluate.autoencoder import FIRST_SEED, kept, measure, ratio


def test_what_is_kept_leaves_out_the_picture_itself() -> None:
    real = np.array([[1.0, 0.0], [0.6, 0.8]])
    assert kept(real, real) == pytest.approx((0.6, 0.6))
    assert kept(real, real[::-1]) == pytest.approx((0.6, 1.0))


def test_the_interval_holds_the_ratio_of_the_means() -> None:
    noise = np.random.default_rng(0).normal(size=(60, 2)) * 0.05
    value, (low, high) = ratio(np.array([0.8, 0.6]) + noise, seed=1)
    assert value == pytest.approx(0.75, abs=0.02)
    assert low < value < high and high - low < 0.06


def test_the_shipped_autoencoder_keeps_most_of_a_face() -> None:
    rows = {r.name: r for r in measure(range(FIRST_SEED, FIRST_SEED + 2), "embedded", "embedded", 0)}
    assert 26 < rows["autoencoder: fidelity"].value < 45
    for name in "AB":
        assert 0.8 < rows[f"autoencoder: likeness kept, embedder {name}"].value <= 1.02
