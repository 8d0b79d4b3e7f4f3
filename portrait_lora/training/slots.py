"""Two places on the device for frozen blocks: one is computed with while the other is filled.

On CUDA a block is copied from pinned memory on a stream of its own, so that the copy runs beside the
computation of the block before.  On a CPU the same two places are filled by plain copies, or from files by a
thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Protocol

import torch
from torch import Tensor

from portrait_lora import log

ALIGNMENT: Final = 512
"""Every tensor begins at a multiple of so many bytes: kernels choose their way by alignment."""
_log = log.get(__name__)


class Source(Protocol):
    """Where blocks lie while nobody computes with them; `sizes` are their bytes."""

    @property
    def sizes(self) -> Sequence[int]: ...

    def read(self, index: int, into: Tensor) -> None:
        """Copy a block to `into` (uint8, as long as the block); asynchronous on CUDA."""
        ...


class HostSource:
    """Blocks in the memory of the machine, pinned for a GPU where the system allows it."""

    def __init__(self, blocks: Sequence[Tensor], *, pinned: bool):
        """`blocks`: (bytes,) uint8 each."""
        self.sizes = [block.numel() for block in blocks]
        self.pinned = pinned
        self.blocks = [self._pin(block) for block in blocks]

    def _pin(self, block: Tensor) -> Tensor:
        if not self.pinned:
            return block
        try:
            return block.pin_memory()
        except RuntimeError as error:
            self.pinned = False
            reason = str(error).splitlines()[0]
            _log.warning(
                "no more pinned memory (%s): the other blocks are copied from ordinary memory, slower", reason
            )
            return block

    def read(self, index: int, into: Tensor) -> None:
        """See `Source`."""
        into.copy_(self.blocks[index], non_blocking=True)


@dataclass(slots=True)
class _Slot:
    """`index`: the block that lies here or is on its way; `ready`: an event of CUDA, or a thread's future."""

    buffer: Tensor
    index: int = -1
    ready: Any = None


class Slots:
    """The two places."""

    def __init__(self, source: Source, device: torch.device, *, threaded: bool = False):
        """`threaded`: blocks are read by a thread, which pays for files."""
        self.source = source
        longest = -(-max(source.sizes) // ALIGNMENT) * ALIGNMENT
        self._slots = [
            _Slot(torch.empty(longest, dtype=torch.uint8, device=device))
            for _ in range(min(2, len(source.sizes)))
        ]
        self._current = self._slots[0]
        self._side = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._reader = ThreadPoolExecutor(1, "blocks") if threaded and self._side is None else None

    @property
    def bytes(self) -> int:
        """Memory that the places take on the device."""
        return sum(slot.buffer.numel() for slot in self._slots)

    def fetch(self, index: int) -> Tensor:
        """The place (uint8) with this block in it, to be computed with until the next `fetch`."""
        slot = next((s for s in self._slots if s.index == index), None) or self._begin(index)
        self._wait(slot)
        self._current = slot
        return slot.buffer

    def expect(self, index: int) -> None:
        """Begin to fill the other place with the block that will be wanted next."""
        if all(slot.index != index for slot in self._slots):
            self._begin(index)

    def _begin(self, index: int) -> _Slot:
        slot = next((s for s in self._slots if s is not self._current), self._current)
        self._wait(slot)  # what was expected there, and is not wanted after all
        slot.index, part = -1, slot.buffer[: self.source.sizes[index]]
        if self._side is not None:
            used, slot.ready = torch.cuda.Event(), torch.cuda.Event()
            used.record(torch.cuda.current_stream(part.device))  # nobody computes with the old block any more
            with torch.cuda.stream(self._side):
                self._side.wait_event(used)
                self.source.read(index, part)
                slot.ready.record(self._side)
        elif self._reader is not None:
            slot.ready = self._reader.submit(self.source.read, index, part)
        else:
            self.source.read(index, part)
        slot.index = index
        return slot

    def _wait(self, slot: _Slot) -> None:
        ready, slot.ready = slot.ready, None
        if isinstance(ready, Future):
            index, slot.index = slot.index, -1  # it stays so where the reading failed
            ready.result()
            slot.index = index
        elif ready is not None:
            torch.cuda.current_stream(slot.buffer.device).wait_event(ready)

    def close(self) -> None:
        """End the thread; what is read is waited for."""
        if self._reader is not None:
            self._reader.shutdown()
