"""Which photos are shown for a shot: near in pose and light, varied, and the same whatever the order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portrait_lora.generation.reference_choice import (
    Aspect,
    Candidate,
    aspect_of_shot,
    aspect_of_words,
    choose,
)
from portrait_lora.records import FloatArray, readonly

LEFT = "lit from the left"


def _unit(picture: Any) -> FloatArray:
    return readonly((picture / np.linalg.norm(picture)).astype(np.float32))


def _photo(name: str, aspect: Aspect, seed: int) -> Candidate:
    small = np.random.default_rng(seed).normal(size=(32, 32))
    return Candidate(Path(f"{name}.png"), name, aspect, _unit(small))


PHOTOS = [
    _photo(name, Aspect(yaw, False, lighting, side), seed)
    for seed, (name, yaw, lighting, side) in enumerate(
        [
            ("front", 2.0, "butterfly lighting", None),
            ("left", -35.0, "rembrandt lighting", "lit from the left"),
            ("right", 30.0, "rembrandt lighting", "lit from the right"),
            ("far-right", 68.0, "split lighting", "lit from the left"),
            ("split", 6.0, "split lighting", "lit from the right"),
        ]
    )
]


def _names(paths: tuple[Path, ...]) -> list[str]:
    return [path.stem for path in paths]


@pytest.mark.parametrize(
    ("layers", "first"),
    [
        ((), "front"),
        ((("view", "three-quarter"), ("facing", "facing left")), "left"),
        ((("view", "three-quarter"), ("facing", "facing right")), "right"),
        ((("view", "profile"),), "far-right"),
        ((("view", "frontal"), ("lighting", "split lighting")), "split"),
        ((("view", "three-quarter"), ("lighting", "rembrandt lighting"), ("light_side", LEFT)), "left"),
    ],
)  # fmt: skip
def test_pose_and_light_decide(layers: tuple[tuple[str, str], ...], first: str) -> None:
    wanted = aspect_of_shot(layers)
    assert _names(choose(wanted, PHOTOS, 1)) == [first]
    all_of_them = choose(wanted, PHOTOS, 8)
    assert all_of_them == choose(wanted, PHOTOS[::-1], 8) and all_of_them[0].stem == first
    assert sorted(_names(all_of_them)) == sorted(p.path.stem for p in PHOTOS)
    assert choose(wanted, PHOTOS, 3) == all_of_them[:3], "more of them change nothing of the first"


def test_no_photo_comes_twice_and_alike_ones_come_late() -> None:
    front = PHOTOS[0]
    noisy = front.small + 0.1 * np.linalg.norm(front.small) / 32 * np.random.default_rng(9).normal(
        size=(32, 32)
    )
    blended = front.small + 0.7 * PHOTOS[4].small
    more = [
        replace(front, path=Path("a-crop-of-front.png"), small=PHOTOS[3].small),
        replace(front, path=Path("copy.png"), source_sha256="x", small=_unit(noisy)),
        replace(front, path=Path("like.png"), source_sha256="y", small=_unit(blended)),
    ]
    assert (
        float((more[1].small * front.small).sum()) > 0.97 > float((more[2].small * front.small).sum()) > 0.7
    )
    chosen = _names(choose(Aspect(0.0), [front, *more[1:], PHOTOS[2]], 8))
    assert chosen == ["copy", "right", "like"], "one of two near-duplicates, the varied one before the alike"
    assert len({*_names(choose(Aspect(0.0), [front, more[0]], 8))}) == 1


def test_captions_and_prompts_are_read() -> None:
    words = "three-quarter headshot of ohwx man facing left, rembrandt lighting, lit from the right"
    assert aspect_of_words(words) == Aspect(-32.0, False, "rembrandt lighting", "lit from the right")
    assert aspect_of_words("me in the garden") == Aspect()
    assert aspect_of_shot((), "LinkedIn profile picture of ohwx man").yaw_deg == 0
    own = aspect_of_shot((), "profile portrait of ohwx man in Rembrandt light")
    assert own == Aspect(70.0, True, "rembrandt lighting", None)
    unknown = _photo("unknown", Aspect(), 20)
    assert _names(choose(Aspect(0.0), [unknown, PHOTOS[0]], 2)) == ["front", "unknown"]
