"""Does the picture fit its prompt, in the eyes of a CLIP model?  Nothing is loaded before it is asked for.

Two figures, for neither depends on how a model scales its cosines: the mean cosine of a picture to its own
prompt (CLIPScore of Hessel et al. 2021 without its factor), and how often its own prompt is the nearest of
all the set's (R-precision of Park et al. 2021), which chance reaches in 1 of as many cases as there are
prompts.  The model never sees the trigger: the word means nothing to it.
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
"""The model that published CLIP scores mostly name; 0.6 GB, MIT."""
BATCH: Final = 16
Rows = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ClipAdherence:
    """Mean cosine to the own prompt, and share of portraits whose own prompt is nearest; `chance` of that."""

    model: str
    mean_cosine: float
    nearest_rate: float
    chance: float
    portraits: int


def clip_adherence(shown: Sequence[tuple[Path, str]], model: str, *, trigger: str = "") -> ClipAdherence:
    """Judge (picture, prompt) pairs with the CLIP model of a folder or of the hub.

    A picture that cannot be read counts as 0 and as not nearest.  Raises InputError when there is nothing
    to judge or the model cannot be had.
    """
    if not shown:
        raise InputError("there is no portrait to judge by its prompt")
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
    """A loaded model; rows come out with unit norm."""

    def __init__(self, network: Any, processor: Any) -> None:
        self._network, self._processor = network, processor

    def pictures(self, images: Sequence[Image.Image]) -> Rows:
        """(P, D)."""
        parts = [images[i : i + BATCH] for i in range(0, len(images), BATCH)]
        return np.concatenate([self._rows("get_image_features", images=list(part)) for part in parts])

    def texts(self, prompts: Sequence[str]) -> Rows:
        """(Q, D); a prompt beyond the model's length is cut."""
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

    log.get(__name__).info("prompts judged by %s; it is downloaded when it is not here yet", model)
    try:
        processor: Any = CLIPProcessor.from_pretrained(model)
        network: Any = CLIPModel.from_pretrained(model, use_safetensors=True).eval()
    except Exception as error:  # hub, files and configuration fail in many ways
        remedy = "Give a folder with a CLIP model in the format of transformers, or leave --clip out."
        raise InputError(
            "the CLIP model cannot be loaded", where=model, got=type(error).__name__, remedy=remedy
        ) from error
    return _Seer(network, processor)
