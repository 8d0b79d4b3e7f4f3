"""Read the shards that `render_corpus.py` wrote, without holding the pictures in memory.

A shard is one safetensors file (memory-mapped) and one JSON file with the words of every picture:

| column            | shape          | meaning                                                       |
|-------------------|----------------|---------------------------------------------------------------|
| `image`           | (N, 3, H, W)   | uint8 RGB                                                     |
| `mask`            | (N, H, W)      | uint8 coverage of the person                                  |
| `box`             | (N, 4)         | face box, pixels                                              |
| `keypoints`       | (N, 5, 2)      | insightface order, pixels                                     |
| `landmarks`       | (N, 68, 2)     | iBUG order, pixels                                            |
| `visible`         | (N, 68)        | uint8, 1 where the landmark is not hidden                     |
| `pose`            | (N, 3)         | pitch, yaw, roll in degrees                                   |
| `person`          | (N,)           | seed of the person                                            |
| `light_direction` | (N, 3)         | direction of the key light in camera space                    |
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open
from torch import Tensor

from portrait_lora import vocabulary
from portrait_lora.vocabulary import Look

COLUMNS: Final = (
    "image",
    "mask",
    "box",
    "keypoints",
    "landmarks",
    "visible",
    "pose",
    "person",
    "light_direction",
)


def finished(folder: Path) -> list[Path]:
    """The finished shards of a folder.  Raises `FileNotFoundError` where there is none."""
    files = [f for f in sorted(folder.glob("shard-*.safetensors")) if f.with_suffix(".json").exists()]
    if not files:
        raise FileNotFoundError(f"{folder}: no finished shard; run scripts.train.render_corpus first")
    return files


class Corpus:
    """All finished shards of a folder behind one index; pictures of one person are neighbours.

    Of several folders the rows of the first come first.
    """

    def __init__(self, folder: Path, limit: int | None = None, *more: Path) -> None:
        files = [file for one in (folder, *more) for file in finished(one)]
        self.folder = folder
        self._handles: list[Any] = []
        self._starts = [0]
        self.looks: list[Look] = []
        for file in files:
            if limit is not None and self._starts[-1] >= limit:
                break
            self._handles.append(safe_open(str(file), framework="pt"))
            rows = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))["looks"]
            self.looks.extend(Look(**row) for row in rows)
            self._starts.append(self._starts[-1] + len(rows))
        self._size = min(self._starts[-1], limit) if limit is not None else self._starts[-1]
        self.looks = self.looks[: self._size]

    def __len__(self) -> int:
        return self._size

    @property
    def size_px(self) -> int:
        """Side of the square pictures."""
        return int(self._handles[0].get_slice("image").get_shape()[-1])

    def column(self, name: str) -> Tensor:
        """One whole column; meant for the small ones."""
        return torch.cat([h.get_tensor(name) for h in self._handles])[: self._size]

    def rows(self, name: str, index: Tensor | Sequence[int]) -> Tensor:
        """The rows `index` of a column; only these are read from disk."""
        index = torch.as_tensor(index, dtype=torch.long)
        starts = torch.tensor(self._starts[1:])
        shard = torch.bucketize(index, starts, right=True)
        out: Tensor | None = None
        for s in shard.unique().tolist():
            here = shard == s
            part = self._handles[s].get_tensor(name)[index[here] - self._starts[s]]
            if out is None:
                out = part.new_empty((len(index), *part.shape[1:]))
            out[here] = part
        if out is None:
            raise IndexError(f"{self.folder}: no rows asked of column {name}")
        return out

    def pictures(self, index: Tensor | Sequence[int]) -> Tensor:
        """RGB pictures as float in [-1, 1], (N, 3, H, W)."""
        return self.rows("image", index).float() / 127.5 - 1.0

    def captions(self) -> list[str]:
        """The full caption of every picture."""
        return [vocabulary.sentence(look) for look in self.looks]
