"""Stage `extend`: a checkpoint of a shorter vocabulary becomes one of today's, and nothing else changes.

Words that came later get rows behind the others, so every earlier text is encoded as before; the optimiser
goes on with its moments, those of the new rows being zero.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import torch
from safetensors import safe_open
from torch import Tensor

from scripts.train.checkpoint import CHECKPOINT, write_atomically

from .tokenizer import write_tokenizer
from .unet import FOLDER
from .unpack import WORDS, embeddings_for, ids_of

_MOMENTS: Final = ("optimizer/exp_avg", "optimizer/exp_avg_sq")


def extend(out: Path) -> int:
    """Give tokenizer and checkpoint in `out` the words that they lack; returns how many rows were added.

    May be repeated, also after it was interrupted.  Raises `FileNotFoundError` without a checkpoint, and
    `ValueError` when the tokenizer is not the beginning of today's.
    """
    file = out / FOLDER / CHECKPOINT
    if not file.exists():
        raise FileNotFoundError(f"{file}: no checkpoint to extend")
    before = ids_of(out / "tokenizer")
    temporary = out / ".tokenizer"
    write_tokenizer(temporary)
    now = ids_of(temporary)
    if list(now.items())[: len(before)] != list(before.items()):
        raise ValueError(
            f"{out / 'tokenizer'}: its numbers are not those that today's vocabulary begins with"
        )
    with safe_open(str(file), framework="pt") as handle:
        metadata = handle.metadata()
        tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    rows = len(tensors[f"weights/{WORDS}"])
    known = {token: row for token, row in now.items() if row < rows}
    for part in ("weights", "average"):
        tensors[f"{part}/{WORDS}"] = embeddings_for(tensors[f"{part}/{WORDS}"], known, now)
    for part in _MOMENTS:
        if (name := f"{part}/{WORDS}") in tensors:
            tensors[name] = _padded(tensors[name], len(now))
    write_atomically(file, tensors, metadata)
    for written in temporary.iterdir():
        written.replace(out / "tokenizer" / written.name)
    temporary.rmdir()
    state = json.loads((metadata or {})["state"])
    print(f"extended at step {state['step']}: {rows} -> {len(now)} word embeddings", flush=True)
    return len(now) - rows


def _padded(table: Tensor, rows: int) -> Tensor:
    return torch.cat([table, table.new_zeros(rows - len(table), table.shape[1])])
