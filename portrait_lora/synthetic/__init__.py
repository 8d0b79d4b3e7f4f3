"""The synthetic studio: made-up people, rendered with ground truth for every picture."""

from portrait_lora.synthetic.identity import People, distance, restyle, sample_people
from portrait_lora.synthetic.render import Render, render
from portrait_lora.synthetic.scene import Scenes, sample_scenes
from portrait_lora.synthetic.spacing import MIN_DISTANCE, Near, Spacing, between, spacing
from portrait_lora.synthetic.wear import dressed

__all__ = [
    "MIN_DISTANCE",
    "Near",
    "People",
    "Render",
    "Scenes",
    "Spacing",
    "between",
    "distance",
    "dressed",
    "render",
    "restyle",
    "sample_people",
    "sample_scenes",
    "spacing",
]
