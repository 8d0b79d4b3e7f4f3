"""Captions by a vision-language model through transformers; nothing is loaded before the first caption.

The model describes the picture; its words for the person are replaced by trigger and class word.  Weights
are loaded by `transformers` (from its cache, a folder, or the hub), which is logged.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from PIL import Image

from portrait_lora import log
from portrait_lora.dataset.crop import Framing, render_crop
from portrait_lora.errors import InputError
from portrait_lora.records import Face, RGBImage

MODELS: Final = {
    "florence2": "florence-community/Florence-2-base",
    "blip": "Salesforce/blip-image-captioning-base",
}
"""The default models: MIT and BSD licences, about 0.5 and 1 GB."""
_PROMPTS: Final = {"florence2": "<DETAILED_CAPTION>", "blip": None}
_MAX_NEW_TOKENS: Final = 80
_FILLER: Final = re.compile(
    r"^(the|this|an?)\s+(image|picture|photo|photograph|portrait)\s+(shows|features|depicts|is|of)\s+(of\s+)?",
    re.I,
)
_PERSON: Final = re.compile(
    r"\b(an?|the|one)\s+((?:young|old|older|middle[- ]aged|smiling|handsome|beautiful)\s+)*"
    r"(man|woman|person|lady|guy|girl|boy|gentleman|model|face|character)\b",
    re.I,
)

Describe = Callable[[RGBImage], str]
"""Describes the RGB pixels of a crop in a sentence."""


@dataclass(frozen=True, slots=True)
class ModelCaptioner:
    """Captions by `describe`, with the subject named by trigger and class word."""

    trigger: str
    subject: str
    describe: Describe

    def caption(self, image_rgb: RGBImage, face: Face, crop: Framing) -> str:
        """One line that begins with or contains `trigger subject`."""
        return name_subject(self.describe(render_crop(image_rgb, crop)), f"{self.trigger} {self.subject}")


def name_subject(description: str, subject: str) -> str:
    """The description without "the image shows", with its first person replaced by `subject`."""
    text = _FILLER.sub("", " ".join(description.split())).strip(" .")
    named, count = _PERSON.subn(subject, text, count=1)
    return named if count else f"{subject}, {text}" if text else subject


def transformers_describer(kind: str, model: str = "") -> Describe:
    """A `Describe` that loads its model at the first picture.  Raises InputError when it cannot be loaded."""
    return lambda pixels: _open(kind, model or MODELS[kind])(pixels)


@lru_cache(maxsize=1)
def _open(kind: str, model: str) -> Describe:
    import torch
    import transformers

    log.get(__name__).info("captions by %s; it is downloaded if it is not cached", model)
    try:
        processor: Any = transformers.AutoProcessor.from_pretrained(model)
        network: Any = transformers.AutoModelForImageTextToText.from_pretrained(model).eval()
    except Exception as error:  # hub, files and configuration fail in many ways
        remedy = "Set dataset.captions.model to a folder or another name, or use captioner: attributes."
        raise InputError(
            "the captioning model cannot be loaded", where=model, got=type(error).__name__, remedy=remedy
        ) from error
    prompt = _PROMPTS[kind]

    def describe(pixels: RGBImage) -> str:
        picture = Image.fromarray(np.ascontiguousarray(pixels))
        words = {"text": prompt} if prompt else {}
        inputs = processor(images=picture, return_tensors="pt", **words)
        with torch.inference_mode():
            tokens = network.generate(**inputs, max_new_tokens=_MAX_NEW_TOKENS, do_sample=False, num_beams=1)
        return str(processor.batch_decode(tokens, skip_special_tokens=True)[0])

    return describe
