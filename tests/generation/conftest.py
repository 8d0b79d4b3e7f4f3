"""The tiny pipeline, an adapter for it and a few shots, shared by this folder's tests."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tiny_models import make_crops, tiny_folder, tiny_sd15  # noqa: F401 - fixtures

from portrait_lora.families.sd15 import SD15
from portrait_lora.generation import prompts
from portrait_lora.records import Adapter, Shot
from tests.recipes import train_with


@pytest.fixture(scope="module")
def adapter(tiny_sd15: SD15, tmp_path_factory: pytest.TempPathFactory) -> Adapter:  # noqa: F811
    folder = tmp_path_factory.mktemp("adapter")
    result = train_with(
        tiny_sd15, make_crops(folder / "crops"), folder / "run", rank=4, alpha=4.0,
        targets="attention_and_conv", learning_rate=5e-2, batch_size=2, steps=3,
    )  # fmt: skip
    return result.checkpoints[-1]


@pytest.fixture
def shots() -> list[Shot]:
    return prompts.load_series("headshots", trigger="ohwx", subject="man", resolution_px=64, form="clauses")[
        :3
    ]
