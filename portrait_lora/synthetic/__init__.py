"""The synthetic studio: made-up people, rendered with the truth known about every picture."""

from portrait_lora.synthetic.identity import People, distance, restyle, sample_people
from portrait_lora.synthetic.render import Render, render
from portrait_lora.synthetic.scene import Scenes, sample_scenes

__all__ = ["People", "Render", "Scenes", "distance", "render", "restyle", "sample_people", "sample_scenes"]
