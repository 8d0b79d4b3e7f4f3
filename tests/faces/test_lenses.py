"""Dark lenses before the eyes, and what only looks like them, on renders of the studio."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from portrait_lora.faces import lenses
from portrait_lora.faces.quality import aligned_crop
from portrait_lora.synthetic.identity import sample_people
from portrait_lora.synthetic.render import render
from portrait_lora.synthetic.scene import sample_scenes
from portrait_lora.synthetic.wear import dressed
from scripts.train.lenses.__main__ import Net

SEEDS = list(range(7100, 7112))


def shots(glasses: str, **scene) -> list[np.ndarray]:
    """Aligned faces of twelve people who wear this."""
    people = dressed(sample_people(SEEDS), SEEDS, hat="no hat", glasses=glasses)
    fixed = {"head_fraction": 0.6, "lighting": "three-point lighting"} | scene
    drawn = render(people, sample_scenes(SEEDS, max_yaw_deg=25.0, **fixed), (208, 256))
    pictures = drawn.image_BCHW.permute(0, 2, 3, 1).numpy()
    points = drawn.keypoints_px.numpy()
    return [aligned_crop(np.ascontiguousarray(i), p) for i, p in zip(pictures, points, strict=True)]


@pytest.fixture(scope="module")
def bare() -> list[np.ndarray]:
    return shots("no glasses")


def test_sunglasses_are_above_and_bare_eyes_below(bare: list[np.ndarray]) -> None:
    worn = [lenses.lens_evidence(a) for a in shots("sunglasses")]
    seen = [lenses.lens_evidence(a) for a in bare]
    assert sum(v > 0 for v in worn) >= 11 and min(worn) > lenses.SURELY_NONE
    assert max(seen) < 0 and sum(v < lenses.SURELY_NONE for v in seen) >= 10


def test_clear_glasses_are_no_sunglasses() -> None:
    assert all(lenses.lens_evidence(a) < 0 for a in shots("round glasses"))


def test_the_shadow_of_a_brim_is_no_pair_of_lenses(bare: list[np.ndarray]) -> None:
    """Forehead, eyes and the bridge of the nose darker by two stops, as no lens makes them."""
    shade = 1 - 0.5 / (1 + np.exp((np.arange(112, dtype=np.float32) - 66) / 1.5))
    for aligned in bare:
        shaded = aligned * shade[:, None, None]
        assert lenses.lens_evidence(np.rint(shaded).astype(np.uint8)) < 0


def test_dark_skin_is_judged_as_fair_skin_is(bare: list[np.ndarray]) -> None:
    dark = [np.rint(a * 0.45).astype(np.uint8) for a in bare]
    assert all(lenses.lens_evidence(a) < 0 for a in dark)
    worn = [np.rint(a * 0.45).astype(np.uint8) for a in shots("sunglasses")]
    assert sum(lenses.lens_evidence(a) > 0 for a in worn) >= 10


def test_the_mirror_image_has_the_same_evidence(bare: list[np.ndarray]) -> None:
    flipped = np.ascontiguousarray(bare[0][:, ::-1])
    assert lenses.lens_evidence(flipped) == pytest.approx(lenses.lens_evidence(bare[0]), abs=0.6)


def test_the_network_is_the_one_that_was_trained() -> None:
    net = Net().eval()
    net.load_state_dict(load_file(str(lenses.FILE)))
    picture = np.random.default_rng(2).normal(size=(48, 84)).astype(np.float32)
    with torch.inference_mode():
        wanted = float(net(torch.from_numpy(picture)[None, None])[0])
    assert lenses._run(picture) == pytest.approx(wanted, abs=1e-4)
    assert lenses.FILE.stat().st_size < 300_000


def test_a_face_of_one_colour_gives_a_figure() -> None:
    assert np.isfinite(lenses.lens_evidence(np.zeros((112, 112, 3), np.uint8)))
    assert lenses.strip(np.full((112, 112), 90.0)).std() == 0
