"""Adapters of several people in one pipeline: every picture of a batch is changed by its own person's alone.

A row of a layer's input is a picture's: base(x) + B[person] A[person] x, the products of all rows as one
batched product.  No operation mixes rows, and all rows take products of the same shapes: what comes out for a
picture depends on its own person, its place and the size of the batch, not on who else is in it.

Shape legend: P people, S rows that the adapters change, R rank (those of all adapters of a person together),
I inputs, O outputs, K side of a kernel, N positions, H W rows and columns.
"""

# pyright: reportUnknownMemberType=false
from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from torch.nn.functional import conv2d

from portrait_lora.errors import InputError
from portrait_lora.generation.guidance import Share

_KINDS: Final = (nn.Linear, nn.Conv2d)


class CannotStack(InputError):
    """These adapters, or this base, cannot draw several people in one batch."""

    def __init__(self, why: str, where: object = ""):
        super().__init__("several people cannot be drawn in one batch", where=where, got=why)


class Seats:
    """Whose the pictures of the next batch are: the place of each one's person in the stack."""

    def __init__(self) -> None:
        self.people: tuple[int, ...] = ()

    @contextmanager
    def taken(self, people: Sequence[int]) -> Iterator[None]:
        """Context in which a batch has these pictures, in this order."""
        before, self.people = self.people, tuple(people)
        try:
            yield
        finally:
            self.people = before


def stack_layers(denoiser: nn.Module, people: Sequence[Sequence[str]], share: Share | None) -> Seats:
    """Have every layer apply to each row the adapters of that row's person; who that is, the seats say.

    `people` are the names of each one's adapters, loaded and at their scales.  With `share` they apply to its
    rows of every batch alone.  This lasts as long as the adapters are in the denoiser: the changed layers are
    removed with them.  Raises `CannotStack` for layers that are no plain LoRA, or differ in shape.
    """
    seats = Seats()
    for name, layer in denoiser.named_modules():
        if isinstance(layer, BaseTunerLayer):
            module = cast(Any, layer)
            module.forward = _Stacked(name, module, people, seats, share)
    return seats


class _Stacked:
    """The forward pass of one layer.  `A` is (P, R, I), of a convolution (P, R, I, K, K); `B` (P, O, R)."""

    def __init__(
        self, name: str, layer: Any, people: Sequence[Sequence[str]], seats: Seats, share: Share | None
    ):
        self.name, self.base, self.seats, self.share = name, layer.base_layer, seats, share
        held = getattr(layer, "lora_A", ())
        halves = [_halves(name, layer, [a for a in names if a in held]) for names in people]
        if len({(a.shape, b.shape) for a, b in halves}) > 1:
            raise CannotStack("adapters of different ranks", name)
        self.A = torch.stack([a for a, _ in halves])
        self.B = torch.stack([b for _, b in halves])
        self._of: tuple[tuple[int, ...], Tensor, Tensor] | None = None

    def __call__(self, x: Tensor, *args: Any, **more: Any) -> Tensor:
        answer: Tensor = self.base(x, *args, **more)
        rows = self.share.rows(x.shape[0]) if self.share is not None else x.shape[0]
        if not rows:
            return answer
        pictures = len(self.seats.people)
        if rows not in (pictures, 2 * pictures):  # both halves of the guidance
            raise CannotStack(f"a layer with {x.shape[0]} rows for {pictures} pictures", self.name)
        a, b = self._chosen(rows // pictures, x.device)
        own = x[-rows:].to(a.dtype)
        change = self._linear(own, a, b) if a.dim() == 3 else self._convolved(own, a, b)
        return torch.cat([answer[:-rows], answer[-rows:] + change.to(answer.dtype)])

    def _chosen(self, times: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """A and B of every row; kept for the steps of a batch."""
        people = self.seats.people * times
        kept = self._of
        if kept is None or kept[0] != people or kept[1].device != device:
            index = torch.tensor(people, device=self.A.device)
            a, b = (part.index_select(0, index).to(device) for part in (self.A, self.B))
            kept = self._of = (people, a, b)
        return kept[1], kept[2]

    @staticmethod
    def _linear(x: Tensor, a_SRI: Tensor, b_SOR: Tensor) -> Tensor:
        x_SNI = x.reshape(x.shape[0], -1, x.shape[-1])
        up_SNO = torch.bmm(torch.bmm(x_SNI, a_SRI.transpose(1, 2)), b_SOR.transpose(1, 2))
        return up_SNO.view(*x.shape[:-1], up_SNO.shape[-1])

    def _convolved(self, x_SIHW: Tensor, a_SRIKK: Tensor, b_SOR: Tensor) -> Tensor:
        """One convolution of as many groups as rows: their channels beside each other."""
        base = cast(nn.Conv2d, self.base)
        rows, rank = a_SRIKK.shape[:2]
        down = conv2d(
            x_SIHW.flatten(0, 1)[None], a_SRIKK.flatten(0, 1), stride=base.stride, padding=base.padding,
            dilation=base.dilation, groups=rows,
        )  # fmt: skip
        height, width = down.shape[-2:]
        up_SON = torch.bmm(b_SOR, down.view(rows, rank, -1))
        return up_SON.view(rows, -1, height, width)


def _halves(name: str, layer: Any, active: Sequence[str]) -> tuple[Tensor, Tensor]:
    """A and B of all adapters of one person, one behind the other, their scales in B; B (O, R)."""
    base: Any = layer.base_layer
    special = any(a in layer.lora_variant or layer.lora_bias.get(a, False) for a in active)
    grouped = isinstance(base, nn.Conv2d) and base.groups != 1
    padded = isinstance(base, nn.Conv2d) and base.padding_mode != "zeros"
    if not active or special or layer.merged or grouped or padded or not isinstance(base, _KINDS):
        raise CannotStack(f"a layer that is no plain LoRA ({type(base).__name__})", name)
    with torch.no_grad():
        a = torch.cat([layer.lora_A[one].weight.detach() for one in active])
        b = [layer.lora_B[one].weight.detach().flatten(1) * layer.scaling[one] for one in active]
    return a, torch.cat(b, dim=1)
