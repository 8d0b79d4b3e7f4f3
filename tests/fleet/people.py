"""Photos of made-up people, small ones, with the studio's mark: as good as needed to tell them apart."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from portrait_lora.synthetic.identity import sample_people
from portrait_lora.synthetic.photos import GOOD_PLANS
from portrait_lora.synthetic.render import render
from portrait_lora.synthetic.taking import encode, picture_of, planned_scene

SIZE_PX = (288, 360)


def take(folder: Path, person_seed: int, scenes: Iterable[int]) -> Path:
    """One photo per scene of a person: the same seed is the same face."""
    folder.mkdir(parents=True, exist_ok=True)
    person = sample_people([person_seed])
    for scene in scenes:
        plan = GOOD_PLANS[scene % len(GOOD_PLANS)]
        rendered = render(person, planned_scene(person_seed, scene, plan), SIZE_PX, supersample=1)
        (folder / f"s{scene:02d}.jpg").write_bytes(encode(picture_of(rendered)))
    return folder
