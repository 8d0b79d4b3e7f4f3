"""One reduced journey on the embedded default, made once, serves every end-to-end test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PERSON_SEED = 11
REDUCED = (
    "training.exposures_per_photo=10",
    "training.checkpoints=3",
    "select.probes=2",
    "generate.per_shot=1",
    "generate.num_inference_steps=8",
)


@dataclass(frozen=True)
class Journey:
    """The likeness folder of the reduced demo and what it said."""

    folder: Path
    summary: dict[str, Any]


@pytest.fixture(scope="session")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    from portrait_lora import recipe

    folder = tmp_path_factory.mktemp("journey") / "demo"
    return Journey(folder, recipe.demo(folder, PERSON_SEED, overrides=REDUCED))
