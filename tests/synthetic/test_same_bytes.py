"""What the studio rendered before its second edition keeps its bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import pytest
import torch
from torch import Tensor

from portrait_lora import vocabulary
from portrait_lora.synthetic import Render, render, restyle, sample_people, sample_scenes
from portrait_lora.synthetic.parts import part_labels
from portrait_lora.synthetic.scene import FIELDS

SEEDS = range(10)
FIXED = {
    "setting": "pink bokeh backdrop",
    "lighting": "rim lighting",
    "wardrobe": "navy suit",
    "shot": "close-up",
}
KIND = "AVX512"
"""The processor of the digests: another one rounds the last bits of a picture otherwise."""


def digest(tensors: Iterable[Tensor]) -> str:
    return hashlib.sha256(b"".join(t.contiguous().numpy().tobytes() for t in tensors)).hexdigest()[:16]


@pytest.fixture(scope="module")
def rendered() -> Render:
    return render(restyle(sample_people(SEEDS), SEEDS), sample_scenes(SEEDS), 64)


def test_people_are_those_of_before() -> None:
    people = sample_people(SEEDS)
    assert set(people.values) == set(restyle(people, SEEDS).values)
    assert "hat" not in people.values and people.rows()[0].hat_name == "no hat"
    restyled = restyle(people, SEEDS, glasses="round glasses")
    rounded = [people.values[k].double().mul(1e4).round() for k in sorted(people.values)]
    assert digest(rounded) == "be615eed3269278c"
    assert (
        digest([restyled.values[k].double().mul(1e4).round() for k in sorted(people.values)])
        == "4804f18b7b94553f"
    )


def test_scenes_are_those_of_before() -> None:
    for fixed, expected in (({}, "97d98438aee295ac"), (FIXED, "d75bb20d02275ec9")):
        scenes = sample_scenes(SEEDS, **fixed)  # pyright: ignore[reportArgumentType]
        assert digest([getattr(scenes, k).double().mul(1e4).round() for k in FIELDS]) == expected


def test_captions_are_those_of_before(rendered: Render) -> None:
    captions = "\n".join(vocabulary.sentence(look) for look in rendered.looks)
    assert hashlib.sha256(captions.encode()).hexdigest()[:16] == "c4c304dfe93148d4"


def test_pictures_are_those_of_before(rendered: Render) -> None:
    people, scenes = restyle(sample_people(SEEDS), SEEDS), sample_scenes(SEEDS)
    labels = part_labels(people.take([0, 1]), scenes.take([0, 1]), 48)
    if torch.backends.cpu.get_cpu_capability() == KIND:
        assert (
            digest([rendered.image_BCHW, rendered.mask_BHW, rendered.visible_B68, labels])
            == "9e862f1f9365c2c8"
        )
    means = rendered.image_BCHW.float().mean((2, 3))
    torch.testing.assert_close(means, torch.tensor(MEANS), atol=0.3, rtol=0)


MEANS = (
    (170.3, 161.3, 155.6),
    (69.6, 58.2, 59.8),
    (79.2, 84.0, 103.2),
    (155.2, 116.4, 107.9),
    (103.4, 97.9, 96.0),
    (109.2, 113.7, 94.5),
    (168.8, 127.2, 129.6),
    (108.3, 95.6, 89.2),
    (82.2, 71.9, 62.0),
    (167.5, 158.7, 154.6),
)
