"""One of the processes of `test_two_processes_equal_one`: the base's folder, the test's folder."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tiny_models import make_crops

from portrait_lora.families.catalog import resolve_base
from portrait_lora.families.sd15 import SD15
from portrait_lora.training.loop import train

base, folder = map(Path, sys.argv[1:])
crops = make_crops(folder / f"crops_{os.environ['RANK']}")
train(
    SD15(resolve_base(base)), crops, folder / "both", rank=2, alpha=2.0, target_modules="attention",
    learning_rate=1e-2, batch_size=2, steps=4, checkpoint_steps=(2, 4), seed=5, cache_dir=folder / "cache",
)  # fmt: skip
