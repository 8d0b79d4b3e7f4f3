"""Adapters of several people in one frozen denoiser: their A and B stacked, one slice per person.

Every row of a batch is somebody's: base(x) + scale * B[person] A[person] x, the products of all people as one
batched product.  No operation mixes rows, so neither do the gradients of people.

Shape legend: P people in the stack, S samples (rows) of a batch, b samples of each person, R rank, I inputs,
O outputs, K side of a kernel, N positions, H W rows and columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

from portrait_lora.errors import InputError
from portrait_lora.families.family import Family
from portrait_lora.training.adapter import NAME, Switched, layer_names, put_start_into, start_value
from portrait_lora.training.recipe import Recipe
from portrait_lora.training.warm_start import Start

_A, _B = f".lora_A.{NAME}.weight", f".lora_B.{NAME}.weight"
_KINDS: Final = (nn.Linear, nn.Conv2d)


class Seats:
    """Whose the rows of the next batch are: `counts[i]` of them, one after the other, are person `i`'s.

    None stands for nobody: then the frozen base answers.
    """

    def __init__(self) -> None:
        self.counts: tuple[int, ...] | None = None

    @contextmanager
    def taken(self, counts: Sequence[int]) -> Iterator[None]:
        """Context in which a batch has these rows."""
        before, self.counts = self.counts, tuple(counts)
        try:
            yield
        finally:
            self.counts = before


class StackedLora(Switched):
    """A frozen linear layer or convolution with the LoRA of several people.

    `A` is (P, R, I) and `B` (P, O, R), of a convolution (P, R, I, K, K) and (P, O, R, 1, 1).  They may be
    of another data type than the base's weights: then the change is computed in theirs, as peft does.
    """

    def __init__(self, base: nn.Linear | nn.Conv2d, seats: Seats, scale: float):
        super().__init__()
        self.base_layer, self.seats, self.scale = base, seats, scale
        self.A = nn.Parameter(torch.empty(0))
        self.B = nn.Parameter(torch.empty(0))
        self.enabled = True

    def enable_adapters(self, enabled: bool) -> None:
        """Whether the adapters count; without them the frozen base answers."""
        self.enabled = enabled

    @property
    def weight(self) -> Tensor:
        """The frozen weight: networks ask their layers for its data type."""
        return self.base_layer.weight

    @property
    def bias(self) -> Tensor | None:
        return self.base_layer.bias

    def forward(self, x: Tensor, *args: Any, **more: Any) -> Tensor:
        """The base's answer, changed in the rows of every person by their own adapter.

        Raises `RuntimeError` when the first axis is not that of the samples.
        """
        answer = self.base_layer(x, *args, **more)
        counts = self.seats.counts
        if counts is None or not self.enabled:
            return answer
        if x.shape[0] != sum(counts):
            raise RuntimeError(f"a layer got {x.shape[0]} rows for {sum(counts)} samples")
        if not torch.is_autocast_enabled(x.device.type):
            x = x.to(self.A.dtype)
        change = self._linear(x, counts) if self.A.dim() == 3 else self._convolved(x, counts)
        return (answer + change * self.scale).to(answer.dtype)

    def _linear(self, x: Tensor, counts: tuple[int, ...]) -> Tensor:
        chosen, each = _even(counts)
        if not each or len(chosen) == 1:
            parts = x.split([c for c in counts if c])
            down = [linear(part, self.A[i]) for part, i in zip(parts, chosen, strict=True)]
            return torch.cat([linear(d, self.B[i]) for d, i in zip(down, chosen, strict=True)])
        a_PRI, b_POR = self._of(chosen)
        x_PNI = x.reshape(len(chosen), -1, x.shape[-1])
        up_PNO = torch.bmm(torch.bmm(x_PNI, a_PRI.transpose(1, 2)), b_POR.transpose(1, 2))
        return up_PNO.view(*x.shape[:-1], up_PNO.shape[-1])

    def _convolved(self, x: Tensor, counts: tuple[int, ...]) -> Tensor:
        base = cast(nn.Conv2d, self.base_layer)
        places: dict[str, Any] = {
            "stride": base.stride,
            "padding": base.padding,
            "dilation": base.dilation,
        }
        chosen, each = _even(counts)
        if not each or len(chosen) == 1:
            parts = x.split([c for c in counts if c])
            down = [conv2d(part, self.A[i], **places) for part, i in zip(parts, chosen, strict=True)]
            return torch.cat([conv2d(d, self.B[i]) for d, i in zip(down, chosen, strict=True)])
        a_PRIKK, b_POR11 = self._of(chosen)
        people, rank = len(chosen), a_PRIKK.shape[1]
        # One convolution of as many groups as people: their channels beside each other, (b, P I, H, W).
        x_bPIHW = x.unflatten(0, (people, each)).transpose(0, 1)
        down = conv2d(x_bPIHW.flatten(1, 2), a_PRIKK.flatten(0, 1), groups=people, **places)
        down_PbRN = down.flatten(2).unflatten(1, (people, rank)).transpose(0, 1)
        up_PbON = torch.matmul(b_POR11.flatten(2).unsqueeze(1), down_PbRN)
        return up_PbON.flatten(0, 1).unflatten(2, down.shape[-2:])

    def _of(self, chosen: Sequence[int]) -> tuple[Tensor, Tensor]:
        if len(chosen) == self.A.shape[0]:
            return self.A, self.B
        index = torch.tensor(chosen, device=self.A.device)
        return self.A.index_select(0, index), self.B.index_select(0, index)


def _even(counts: Sequence[int]) -> tuple[list[int], int]:
    """Those with rows, and how many each of them has; 0 when they differ."""
    chosen = [i for i, count in enumerate(counts) if count]
    kinds = {counts[i] for i in chosen}
    return chosen, kinds.pop() if len(kinds) == 1 else 0


class Stack:
    """The stacked layers of a denoiser; everybody's own parameters are views of their slice while seated.

    Replaces the layers that the recipe's targets and blocks name: parameters have the names, shapes, first
    values and order that `training.adapter.add_adapters` gives them.
    """

    def __init__(self, family: Family, recipe: Recipe):
        """Raises `InputError` for a layer that is neither linear nor an ungrouped convolution, and for a
        family whose layers get other rows than pictures."""
        if not getattr(family, "rows_are_pictures", True):
            raise InputError(
                "people cannot be trained in one pass on this family",
                where=family.base.family,
                got="layers whose rows are not pictures",
                remedy="Set training.together=1.",
            )
        denoiser = family.denoiser.requires_grad_(False)
        self.rank, self.seats, self.prefix = recipe.rank, Seats(), family.denoiser_name
        self.scale = recipe.alpha / (recipe.rank**0.5 if recipe.rank_stabilised else recipe.rank)
        self.layers: dict[str, StackedLora] = {}
        for name in layer_names(denoiser, recipe.target_modules(family), recipe.blocks_in(family)):
            base = denoiser.get_submodule(name)
            if not isinstance(base, _KINDS) or (isinstance(base, nn.Conv2d) and base.groups != 1):
                raise InputError(
                    "this layer cannot carry the adapters of several people",
                    where=name,
                    got=type(base).__name__,
                    needed="a linear layer or an ungrouped convolution",
                )
            self.layers[name] = StackedLora(base, self.seats, self.scale)
            denoiser.set_submodule(name, self.layers[name])

    def parameters(self, seed: int, start: Start | None = None) -> dict[str, nn.Parameter]:
        """One person's parameters as they begin, by the names that a LoRA trained alone gives them."""
        own: dict[str, nn.Parameter] = {}
        for name, layer in self.layers.items():
            down, up = _shapes(layer.base_layer, self.rank)
            device = layer.base_layer.weight.device
            a, b = name + _A, name + _B
            own[a] = nn.Parameter(start_value(seed, a, down, self.rank).to(device))
            own[b] = nn.Parameter(torch.zeros(up, device=device))
        if start is not None:
            put_start_into(own, start, self.scale, list(self.layers))
        return own

    def seat(self, people: Sequence[Mapping[str, nn.Parameter]]) -> None:
        """Stack these people in this order; whoever sat before and does not now keeps their values."""
        for name, layer in self.layers.items():
            for part, end in (("A", _A), ("B", _B)):
                own = [person[name + end] for person in people]
                stacked = torch.stack([p.detach() for p in own]) if own else torch.empty(0)
                setattr(layer, part, nn.Parameter(stacked))
                for parameter, view in zip(own, stacked, strict=False):
                    parameter.data = view

    def collect(self, people: Sequence[Mapping[str, nn.Parameter]]) -> None:
        """Hand everybody the gradients of their slice; those of the stack are dropped."""
        for name, layer in self.layers.items():
            for whole, end in ((layer.A, _A), (layer.B, _B)):
                for person, gradient in zip(
                    people, whole.grad if whole.grad is not None else (), strict=False
                ):
                    person[name + end].grad = gradient
        self.forget_gradients()

    def forget_gradients(self) -> None:
        for layer in self.layers.values():
            layer.A.grad = layer.B.grad = None

    def state(self, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One person's layers as `training.adapter.diffusers_state` gives them, B with the scale."""
        out: dict[str, Tensor] = {}
        for name in self.layers:
            out[f"{self.prefix}.{name}.lora_A.weight"] = _plain(own[name + _A])
            out[f"{self.prefix}.{name}.lora_B.weight"] = _plain(own[name + _B]) * self.scale
        return out


def _plain(weight: Tensor) -> Tensor:
    return weight.detach().to("cpu", torch.float32).contiguous().clone()


def _shapes(base: nn.Linear | nn.Conv2d, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if isinstance(base, nn.Conv2d):
        return (rank, base.in_channels, *base.kernel_size), (base.out_channels, rank, 1, 1)
    return (rank, base.in_features), (base.out_features, rank)
