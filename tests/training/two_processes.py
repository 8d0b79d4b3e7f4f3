"""One of the processes of `test_two_processes_equal_one`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from portrait_lora.families.catalog import resolve_base
from portrait_lora.families.sd15 import SD15
from portrait_lora.training import update
from portrait_lora.training.recipe import Recipe
from tests.recipes import train_with
from tests.tiny_models import make_crops
from tests.training.small_lessons import embedder, lessons_of

LATE = Path("checkpoints/step-000004")


def momentum(
    parameters: Mapping[str, nn.Parameter], recipe: Recipe, device: torch.device
) -> torch.optim.Optimizer:
    """Smooth in the gradient, so rounding noise stays noise: Adam would make of it a step of full length."""
    del device
    return torch.optim.SGD(update._groups(parameters, recipe), lr=recipe.learning_rate, momentum=0.9)


def train_twice(base: Path, folder: Path, name: str, crops: str) -> None:
    """AdamW as it is; and the text encoder too, with the identity loss, with momentum in AdamW's place.

    One process goes through the batch in the halves that two would have: equal sums, so equal weights.
    """
    torch.set_num_threads(1)
    family, pictures = SD15(resolve_base(base)), make_crops(folder / crops)
    settings = {
        "rank": 2, "alpha": 2.0, "targets": "attention", "batch_size": 4, "micro_batch": 2, "steps": 4,
        "checkpoint_steps": (2, 4), "seed": 5, "cache_dir": folder / "cache",
    }  # fmt: skip
    train_with(family, pictures, folder / name, learning_rate=1e-2, **settings)
    adamw, update._optimizer = update._optimizer, momentum
    try:
        settings |= {
            "learning_rate": 0.3, "text_encoder": 0.5, "identity_weight": 0.5, "identity_share": 0.5,
            "lessons": lessons_of(family, folder / f"lessons_{crops}", embedder(folder / f"{crops}.onnx")),
        }  # fmt: skip
        train_with(family, pictures, folder / f"{name}_momentum", **settings)
    finally:
        update._optimizer = adamw


def one_of_both(base: Path, folder: Path) -> None:
    """What each of the two processes does."""
    train_twice(base, folder, "both", f"crops_{os.environ['RANK']}")
