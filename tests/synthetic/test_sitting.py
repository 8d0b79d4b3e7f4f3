"""One person under many rigs: the very pictures that `render` draws, and what they are made of."""

from __future__ import annotations

import torch

from portrait_lora import vocabulary
from portrait_lora.synthetic import dressed, render, sample_people, sample_scenes
from portrait_lora.synthetic.sitting import CHANNELS, Sitting


def test_every_rig_gives_the_picture_that_render_draws() -> None:
    people = dressed(sample_people([71]), [4], hat="navy beanie", glasses="sunglasses")
    for rig, flip in (("neon lighting", True), ("loop lighting", False)):
        scenes = sample_scenes([8], edition=2, lighting=rig, rig_flip=flip)
        drawn = render(people, scenes, 64, supersample=2, transparent=True)
        one = Sitting(people.rows()[0], sample_scenes([8], edition=2).rows()[0], (64, 64))
        picture, seen = one.under(rig, flip=flip)
        assert torch.equal(picture, drawn.image_BCHW[0])
        assert 0 <= float(seen.min()) < 0.3 < 0.9 < float(seen.max()) <= 1.0001
        assert torch.equal((one.cover_HW * 255 + 0.5).to(torch.uint8), drawn.mask_BHW[0])


def test_the_surface_has_every_channel_and_nothing_where_nobody_is() -> None:
    one = Sitting(sample_people([72]).rows()[0], sample_scenes([9]).rows()[0], (48, 64))
    surface = one.surface()
    assert surface.shape == (64, 48, sum(CHANNELS.values()))
    assert not surface[one.cover_HW == 0].any()
    whole = one.cover_HW > 0.99
    assert float(surface[whole][:, 3:6].norm(dim=1).mean()) > 0.97
    assert vocabulary.ALL_LIGHTINGS[0] == "three-point lighting"
