"""Streaming: the frozen blocks of a denoiser stay with the host and visit the device one after the other.

The adapters, and whatever is in no block, stay on the device.  Before a block computes, its frozen weights
are put into one of two places there (`slots`), and the next block is fetched into the other one.  What
autograd would keep of them for the backward pass is kept as a note of where it was, and the block is fetched
once more when the note is read; with gradient checkpointing the recomputation fetches it.  Values, shapes,
strides and kernels are those of a resident model, so its results are too, to the bit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from portrait_lora.errors import InputError
from portrait_lora.families.blocks import repeated_blocks
from portrait_lora.families.family import Family
from portrait_lora.families.tensor_files import TensorFiles
from portrait_lora.training.slots import ALIGNMENT, HostSource, Slots, Source

_recomputing = threading.local()


@contextmanager
def recomputed() -> Iterator[None]:
    """Context of a block that gradient checkpointing computes: nothing of it is kept, so no note is taken."""
    before = getattr(_recomputing, "inside", False)
    _recomputing.inside = True
    try:
        yield
    finally:
        _recomputing.inside = before


@dataclass(frozen=True, slots=True)
class Place:
    """A frozen parameter within its block's bytes; `name` is that of the whole network's parameter."""

    module: nn.Module
    key: str
    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    def view(self, block: Tensor) -> Tensor:
        """The parameter in the bytes (uint8) of a block."""
        numbers = block[self.offset : self.offset + self._bytes].view(self.dtype)
        return numbers.as_strided(self.shape, self.stride)

    @property
    def _bytes(self) -> int:
        return torch.Size(self.shape).numel() * self.dtype.itemsize

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.offset + self._bytes


def of_family(family: Family) -> Streamed:
    """The denoiser of a family that was loaded to be streamed, with its adapters."""
    files = family.files
    source = partial(FileSource, files) if files is not None else None
    return Streamed(family.denoiser, family.device, source)


@dataclass(frozen=True, slots=True)
class _Note:
    """What was to be kept of a block's weights: a view of its bytes."""

    index: int
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int


def places_of(name: str, block: nn.Module) -> list[Place]:
    """The frozen parameters of a block, one behind the other."""
    places: list[Place] = []
    end = 0
    for path, module in block.named_modules():
        for key, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                continue
            offset = -(-end // ALIGNMENT) * ALIGNMENT
            full = ".".join(filter(None, (name, path, key)))
            place = Place(
                module, key, full, parameter.dtype, tuple(parameter.shape), parameter.stride(), offset
            )
            places, end = [*places, place], place.end
    return places


class FileSource:
    """Blocks that stay in their files, and are read whenever they are wanted."""

    def __init__(self, files: TensorFiles, blocks: Sequence[Sequence[Place]]):
        self.files, self.blocks = files, blocks
        self.sizes = [bytes_of(places) for places in blocks]

    def read(self, index: int, into: Tensor) -> None:
        """See `Source`; `into` is on the CPU.  Raises `ArtifactError` as `TensorFiles.read` does."""
        for place in self.blocks[index]:
            self.files.read(place.name.replace(".base_layer.", "."), place.view(into))


def bytes_of(places: Sequence[Place]) -> int:
    """Of a block with these parameters."""
    return max((place.end for place in places), default=0)


class Streamed:
    """A denoiser whose frozen blocks are streamed, from now until `close`."""

    def __init__(
        self,
        denoiser: nn.Module,
        device: torch.device,
        source: Callable[[Sequence[Sequence[Place]]], Source] | None = None,
    ):
        """Take the blocks' weights out of the network, and put the rest on the device.

        `source` reads blocks whose weights are not in the network but on the meta device; otherwise they are
        kept in the memory of the machine.  Adapters have to be there already.  Raises `InputError` for a
        network without repeated blocks, and for quantised weights.
        """
        blocks = repeated_blocks(denoiser)
        self.device, self.names = device, tuple(blocks)
        self._places = [places_of(name, block) for name, block in blocks.items()]
        _refuse_quantised(self._places)
        self._source = source(self._places) if source else self._taken(pinned=device.type == "cuda")
        self._withdraw_all()
        denoiser._apply(partial(_moved, device))  # pyright: ignore[reportPrivateUsage]
        self._slots = Slots(self._source, device, threaded=source is not None)
        self._before = self._now = -1
        self._followers: dict[tuple[int, int], int] = {}
        self._modules = list(blocks.values())
        self._forwards = [module.forward for module in self._modules]
        for index, module in enumerate(self._modules):
            module.forward = partial(self._forward, index, module.forward)
        self.fetched = 0
        """How often a block was waited for; for tests and reports."""

    @property
    def bytes_on_device(self) -> int:
        """Of the two places."""
        return self._slots.bytes

    @property
    def block_bytes(self) -> Sequence[int]:
        """Of every block."""
        return self._source.sizes

    def close(self) -> None:
        """Put the weights back where they were taken from, on the host, and stream no more."""
        self._slots.close()
        for index, module in enumerate(self._modules):
            module.forward = self._forwards[index]
            whole = torch.empty(self._source.sizes[index], dtype=torch.uint8)
            self._source.read(index, whole)
            self._install(index, whole)

    def _taken(self, *, pinned: bool) -> HostSource:
        """The weights of every block copied to one piece of memory."""
        wholes: list[Tensor] = []
        for places in self._places:
            whole = torch.zeros(bytes_of(places), dtype=torch.uint8)
            for place in places:
                place.view(whole).copy_(getattr(place.module, place.key))
            wholes.append(whole)
            self._withdraw(places)
        return HostSource(wholes, pinned=pinned)

    def _withdraw_all(self) -> None:
        for places in self._places:
            self._withdraw(places)

    def _withdraw(self, places: Sequence[Place]) -> None:
        """Leave shapes without numbers, with which nothing can be computed by mistake."""
        for place in places:
            empty = torch.empty_strided(place.shape, place.stride, dtype=place.dtype, device="meta")
            setattr(place.module, place.key, nn.Parameter(empty, requires_grad=False))

    def _install(self, index: int, block: Tensor) -> None:
        for place in self._places[index]:
            setattr(place.module, place.key, nn.Parameter(place.view(block), requires_grad=False))

    def _forward(self, index: int, forward: Callable[..., Any], *args: Any, **named: Any) -> Any:
        block = self._fetch(index)
        self._install(index, block)
        try:
            if not torch.is_grad_enabled() or getattr(_recomputing, "inside", False):
                return forward(*args, **named)
            with saved_tensors_hooks(partial(self._pack, index, block), self._unpack):
                return forward(*args, **named)
        finally:
            self._withdraw(self._places[index])

    def _pack(self, index: int, block: Tensor, tensor: Tensor) -> Tensor | _Note:
        if tensor.device != block.device or (
            tensor.untyped_storage().data_ptr() != block.untyped_storage().data_ptr()
        ):
            return tensor.detach()  # with its graph, an output would keep itself alive
        return _Note(index, tensor.dtype, tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset()))

    def _unpack(self, kept: Tensor | _Note) -> Tensor:
        if isinstance(kept, Tensor):
            return kept
        block = self._fetch(kept.index)
        return block.view(kept.dtype).as_strided(kept.shape, kept.stride, kept.offset)

    def _fetch(self, index: int) -> Tensor:
        """The block on the device; the one that followed last time is sent for.

        Forwards and backwards a block has different followers, so they are known by the block before as well.
        """
        block = self._slots.fetch(index)
        if index != self._now:
            self.fetched += 1
            self._followers[self._before, self._now] = index
            self._before, self._now = self._now, index
            follower = self._followers.get((self._before, index))
            if follower is not None:
                self._slots.expect(follower)
        return block


def _moved(device: torch.device, tensor: Tensor) -> Tensor:
    return tensor if tensor.device.type == "meta" else tensor.to(device)


def _refuse_quantised(blocks: Sequence[Sequence[Place]]) -> None:
    for places in blocks:
        for place in places:
            plain = type(getattr(place.module, place.key)) is nn.Parameter and place.dtype.is_floating_point
            if not plain:
                raise InputError(
                    "quantised weights cannot be streamed",
                    where=place.name,
                    got=str(place.dtype),
                    needed="float32, bfloat16 or float16",
                    remedy="Set training.weights=bfloat16, or training.streaming=off.",
                )
