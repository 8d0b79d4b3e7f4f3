"""People whose likeness folders were prepared (`portrait-lora prepare`), and who agreed to be learnt from."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch

from portrait_lora import config
from portrait_lora.dataset.build import load_dataset_folder
from portrait_lora.errors import InputError
from portrait_lora.evaluation.similarity import embed_photos
from portrait_lora.faces.backends import open_analyzer
from portrait_lora.faces.pack import FacePack
from portrait_lora.families.family import Family, PromptCondition
from portrait_lora.likeness import Likeness
from portrait_lora.rights import consent
from portrait_lora.training import cache
from portrait_lora.training.cache import EncodedSample
from scripts.train.warm_start.people import Pictures, numbered


def pictures(
    folder: Path, family: Family, pack: FacePack, caption_dropout: float, kept: Path, *, commercial: bool
) -> Pictures:
    """The training crops of every prepared folder in `folder`, without those that show no face.

    Held-out photos are left out.  Latents and prompts are kept in `kept`.  Raises `InputError` for people
    whose consent does not cover a training, and where nobody was prepared.
    """
    samples, embeddings, names = list[EncodedSample](), list[np.ndarray](), list[str]()
    empty: PromptCondition | None = None
    finder = open_analyzer(pack)
    for root in sorted(path.parent for path in folder.glob("*/dataset")):
        opened = Likeness(root, config.load(root / config.FILE_NAME))
        consent.require(root, opened.photos, commercial=commercial)
        crops, _ = load_dataset_folder(root / "dataset")
        known, _ = embed_photos([crop.path for crop in crops], finder)
        with_face = [crop for crop in crops if crop.path.name in known.names]
        encoded = cache.encode(family, with_face, kept)
        samples += encoded.samples
        embeddings += list(known.embeddings)
        names += [root.name] * len(with_face)
        empty = encoded.empty
        print(f"{root.name}: {len(with_face)} pictures", flush=True)
    if empty is None or len(set(names)) < 2:
        raise InputError(
            "nobody to learn from", where=folder, got=f"{len(set(names))} people", needed="2 or more",
            remedy="Prepare everybody's photos first: portrait-lora prepare DIR",
        )  # fmt: skip
    nothing = empty

    def take(row: int, draw: random.Random) -> EncodedSample:
        sample = samples[row]
        if draw.random() >= caption_dropout:
            return sample
        return EncodedSample(sample.key, "", sample.mean_CHW, sample.std_CHW, nothing, sample.geometry)

    return Pictures(torch.from_numpy(np.stack(embeddings)).float(), numbered(names), take, nothing)
