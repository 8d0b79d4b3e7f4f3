"""Single tensors out of the safetensors files of a network, read by their place in the file.

Nothing is mapped: a network far larger than the memory, or than the address space that a process may have, is
read piece by piece.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import Tensor

from portrait_lora import strict_json
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.families import safetensors_header

_DTYPES: Final = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
_PREFIX: Final = 8
"""Bytes before the header, which say how long it is."""
_NAME: Final = "diffusion_pytorch_model.safetensors"


@dataclass(frozen=True, slots=True)
class _Entry:
    path: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int


class TensorFiles:
    """The tensors of some files by name."""

    def __init__(self, paths: Sequence[Path]):
        """Reads the headers.  Raises `ArtifactError` for a file that is not whole, or of other numbers."""
        self._entries: dict[str, _Entry] = {}
        for path in paths:
            header = safetensors_header.read(path)
            header.pop(safetensors_header.METADATA, None)
            with path.open("rb") as stream:
                data = _PREFIX + int.from_bytes(stream.read(_PREFIX), "little")
            for name, entry in header.items():
                begin = cast("list[int]", entry["data_offsets"])[0]
                dtype = _DTYPES.get(str(entry["dtype"]))
                if dtype is None:
                    raise ArtifactError(
                        "numbers of this type are not read piece by piece", where=path,
                        got=f"{name}: {entry['dtype']}", needed=", ".join(_DTYPES),
                    )  # fmt: skip
                shape = tuple(cast("list[int]", entry["shape"]))
                self._entries[name] = _Entry(path, dtype, shape, data + begin)

    @classmethod
    def of_folder(cls, folder: Path) -> TensorFiles:
        """The weights of one part in diffusers layout, in one file or in several with an index.

        Raises `InputError` when there are none, `ArtifactError` when they are not whole.
        """
        index = folder / f"{_NAME}.index.json"
        if index.is_file():
            table = strict_json.parse_object(index.read_bytes(), index, "index of the weights")
            files = {str(name) for name in cast("dict[str, object]", table.get("weight_map", {})).values()}
            return cls([folder / Path(name).name for name in sorted(files)])
        if not (folder / _NAME).is_file():
            raise InputError("no weights to read piece by piece", where=folder, needed=_NAME)
        return cls([folder / _NAME])

    def require(self, name: str, shape: tuple[int, ...]) -> None:
        """Raise `ArtifactError` for a tensor that is in no file or has another shape."""
        entry = self._entry(name)
        if entry.shape != shape:
            raise ArtifactError(
                "a tensor has another shape than the network's", where=f"{entry.path}: {name}",
                got=entry.shape, needed=shape,
            )  # fmt: skip

    def read(self, name: str, into: Tensor) -> None:
        """Fill `into`, on the CPU, converting numbers of another type.

        Raises `ArtifactError` as `require` does, and for a tensor that is cut short.
        """
        self.require(name, tuple(into.shape))
        entry = self._entry(name)
        direct = entry.dtype == into.dtype and into.is_contiguous()
        target = into if direct else torch.empty(entry.shape, dtype=entry.dtype)
        if target.numel():
            _read(entry, target.view(-1).view(torch.uint8), name)
        if not direct:
            into.copy_(target)

    def _entry(self, name: str) -> _Entry:
        if name not in self._entries:
            raise ArtifactError("a tensor of the network is in none of its files", got=name)
        return self._entries[name]


def _read(entry: _Entry, target: Tensor, name: str) -> None:
    """Fill `target` (bytes,) from where the tensor begins."""
    view, done = memoryview(cast(Any, target.numpy())), 0
    descriptor = os.open(entry.path, os.O_RDONLY)
    try:
        while done < len(view):
            count = os.preadv(descriptor, [view[done:]], entry.offset + done)
            if not count:
                raise ArtifactError("the file ends within a tensor", where=f"{entry.path}: {name}")
            done += count
    finally:
        os.close(descriptor)
