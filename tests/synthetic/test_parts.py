"""The parts of a render are where the render shows them."""

from __future__ import annotations

import pytest
import torch

from portrait_lora import synthetic, vocabulary
from portrait_lora.synthetic.parts import BACKDROP, CLOTHES, EYES, GLASSES, HAIR, PARTS, SKIN, part_labels

SEEDS = [3, 4, 5, 6, 7, 8]


@pytest.fixture(scope="module")
def rendered() -> tuple[synthetic.Render, torch.Tensor]:
    people, scenes = synthetic.sample_people(SEEDS), synthetic.sample_scenes(SEEDS)
    return synthetic.render(people, scenes, 96), part_labels(people, scenes, 96)


def test_the_person_is_where_the_mask_says(rendered: tuple[synthetic.Render, torch.Tensor]) -> None:
    render, labels = rendered
    assert labels.shape == (len(SEEDS), 96, 96) and labels.dtype == torch.uint8
    assert ((labels > BACKDROP) == (render.mask_BHW > 127)).float().mean() > 0.99
    for i in range(len(SEEDS)):
        assert {BACKDROP, SKIN} <= set(labels[i].unique().tolist()) <= set(range(len(PARTS)))


def test_eyes_lie_between_their_landmarks(rendered: tuple[synthetic.Render, torch.Tensor]) -> None:
    render, labels = rendered
    for i in range(len(SEEDS)):
        y, x = (labels[i] == EYES).nonzero(as_tuple=True)
        if not len(y):
            continue
        eyes = render.landmarks_px[i, 36:48]
        assert (x >= eyes[:, 0].min() - 1).all() and (x <= eyes[:, 0].max() + 1).all()
        assert (y >= eyes[:, 1].min() - 1).all() and (y <= eyes[:, 1].max() + 1).all()


def test_who_wears_glasses_or_no_hair_is_seen(rendered: tuple[synthetic.Render, torch.Tensor]) -> None:
    render, labels = rendered
    for look, one in zip(render.looks, labels, strict=True):
        assert bool((one == GLASSES).any()) == (look.glasses != vocabulary.GLASSES[0])
        assert bool((one == HAIR).any()) == (look.hair != vocabulary.HAIR_STYLES[0])


def test_a_neckline_shows_skin_below_the_neck() -> None:
    people = synthetic.sample_people([7])
    scenes = (synthetic.sample_scenes([seed]) for seed in range(200))
    deep = (s for s in scenes if s.rows()[0].garment_name == "v-neck")
    labels = next(one for one in (part_labels(people, s)[0] for s in deep) if (one == CLOTHES).sum() > 400)
    rows = {part: (labels == part).nonzero()[:, 0] for part in (SKIN, CLOTHES)}
    assert rows[SKIN].max() > rows[CLOTHES].min()


def test_there_must_be_as_many_scenes_as_people() -> None:
    with pytest.raises(ValueError, match="2 people but 1 scenes"):
        part_labels(synthetic.sample_people([1, 2]), synthetic.sample_scenes([1]))
