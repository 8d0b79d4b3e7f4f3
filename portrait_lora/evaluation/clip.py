"""Prompt adherence by a CLIP model, loaded on first use.

Two figures: the mean cosine of a picture to its own prompt (CLIPScore of Hessel et al. 2021 without its
factor), and how often its own prompt is the nearest of the set (R-precision of Park et al. 2021, which does
not depend on the scale of the cosines; chance level is 1 / number of prompts).  The trigger is removed from
prompts: it means nothing to the model.
Legend: P portraits, Q prompts, D embedding width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from portrait_lora import log
from portrait_lora.errors import InputError
from portrait_lora.evaluation.similarity import read_rgb

USUAL: Final = "openai/clip-vit-base-patch32"
"""The model most used for published CLIP scores; 0.6 GB, MIT."""
BATCH: Final = 16
Rows = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ClipAdherence:
    """Mean cosine to the own prompt; fraction whose own prompt is nearest, and its chance level."""

    model: str
    mean_cosine: float
    nearest_rate: float
    chance: float
    portraits: int


def clip_adherence(shown: Sequence[tuple[Path, str]], model: str, *, trigger: str = "") -> ClipAdherence:
    """Score (picture, prompt) pairs with a CLIP model from a folder or the hub.

    A picture that cannot be read counts as 0 and as not nearest.  Raises InputError when there is no portrait
    or the model cannot be loaded.
    """
    if not shown:
        raise InputError("there is no portrait to score against its prompt")
    plain_prompts = [plain(prompt, trigger) for _, prompt in shown]
    prompts = list(dict.fromkeys(plain_prompts))
    pictures, readable = _pictures([path for path, _ in shown])
    seer = _open(model)
    cosines = np.full((len(shown), len(prompts)), -1.0, np.float32)
    if pictures:
        cosines[readable] = seer.pictures(pictures) @ seer.texts(prompts).T
    own = np.array([prompts.index(text) for text in plain_prompts])
    mine = np.where(readable, cosines[np.arange(len(shown)), own], 0.0)
    nearest = readable & (cosines.argmax(axis=1) == own)
    return ClipAdherence(model, float(mine.mean()), float(nearest.mean()), 1.0 / len(prompts), len(shown))


def plain(prompt: str, trigger: str) -> str:
    """The prompt without the trigger word."""
    return " ".join(word for word in prompt.split() if not trigger or word.strip(",.") != trigger)


def _pictures(paths: Sequence[Path]) -> tuple[list[Image.Image], npt.NDArray[np.bool_]]:
    pictures: list[Image.Image] = []
    readable = np.zeros(len(paths), dtype=bool)
    for i, path in enumerate(paths):
        try:
            pictures.append(Image.fromarray(read_rgb(path)))
        except InputError:
            continue
        readable[i] = True
    return pictures, readable


class _Seer:
    """A loaded model; embeddings have unit norm."""

    def __init__(self, network: Any, processor: Any) -> None:
        self._network, self._processor = network, processor

    def pictures(self, images: Sequence[Image.Image]) -> Rows:
        """(P, D)."""
        parts = [images[i : i + BATCH] for i in range(0, len(images), BATCH)]
        return np.concatenate([self._rows("get_image_features", images=list(part)) for part in parts])

    def texts(self, prompts: Sequence[str]) -> Rows:
        """(Q, D); prompts beyond the model's length are truncated."""
        return self._rows("get_text_features", text=list(prompts), padding=True, truncation=True)

    def _rows(self, method: str, **arguments: Any) -> Rows:
        import torch

        inputs = self._processor(return_tensors="pt", **arguments)
        with torch.inference_mode():
            output = getattr(self._network, method)(**inputs)
        table = output if isinstance(output, torch.Tensor) else output.pooler_output
        return torch.nn.functional.normalize(table.float(), dim=-1).numpy()


@lru_cache(maxsize=1)
def _open(model: str) -> _Seer:
    from transformers import CLIPModel, CLIPProcessor

    log.get(__name__).info("prompt adherence by %s; it is downloaded if it is not cached", model)
    try:
        processor: Any = CLIPProcessor.from_pretrained(model)
        network: Any = CLIPModel.from_pretrained(model, use_safetensors=True).eval()
    except Exception as error:  # hub, files and configuration fail in many ways
        remedy = "Pass a folder with a CLIP model in transformers format, or omit --clip."
        raise InputError(
            "the CLIP model cannot be loaded", where=model, got=type(error).__name__, remedy=remedy
        ) from error
    return _Seer(network, processor)
