"""One adapter for many people: shared A and B, and in every layer gates that an embedding of the person sets.

The change of a layer is B diag(1 + G z) A, where z are the coordinates of the person among all people.  The
shared projections are those of Meta-LoRA (2503.22352); that what is particular to a person is a linear
function of an embedding, so that a new person needs no training before the training, is what HyperDreamBooth
(Ruiz et al. 2023) has a network for.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from portrait_lora.families.family import Family
from portrait_lora.families.peft_library import LoraLayer
from portrait_lora.training import adapter as lora
from portrait_lora.training.recipe import Recipe

_A, _B, _GATE = ".lora_A.weight", ".lora_B.weight", ".gate.weight"
_SPREAD: Final = 0.5
"""Standard deviation of the gates among people at first."""


class Person:
    """Whose embeddings the gates see now: (B, K) coordinates."""

    coordinates_BK: Tensor


class Gated(nn.Module):
    """A's answer, its ranks multiplied by gates of the person."""

    def __init__(self, down: nn.Module, rank: int, coordinates: int, person: Person) -> None:
        super().__init__()
        self.down, self._person = down, (person,)
        self.gate = nn.Parameter(torch.randn(rank, coordinates) * (_SPREAD / coordinates**0.5))

    @property
    def weight(self) -> Tensor:
        """A itself, whose data type peft asks for."""
        return self.down.weight  # pyright: ignore[reportReturnType]

    def forward(self, x: Tensor) -> Tensor:
        answer = self.down(x)
        gate_BR = 1 + self._person[0].coordinates_BK @ self.gate.T
        if isinstance(self.down, nn.Conv2d):
            return answer * gate_BR[:, :, None, None]
        return answer * gate_BR.view(len(gate_BR), *[1] * (answer.dim() - 2), -1)


def add(family: Family, recipe: Recipe, coordinates: int) -> tuple[nn.ModuleDict, Person]:
    """Put a conditioned adapter into the denoiser, which is loaded, where the recipe's would be: what is
    trained, and the place to put the people of a batch into."""
    lora.add_adapter(
        family.denoiser,
        rank=recipe.rank,
        alpha=recipe.rank,
        target_modules=recipe.target_modules(family),
        blocks=recipe.blocks_in(family),
        seed=recipe.seed,
    )
    person, trained = Person(), nn.ModuleDict()
    torch.manual_seed(recipe.seed)
    for name, layer in family.denoiser.named_modules():
        if isinstance(layer, LoraLayer):
            down = layer.lora_A[lora.NAME]
            gated = Gated(down, recipe.rank, coordinates, person).to(family.device)
            layer.lora_A[lora.NAME] = gated
            trained[name.replace(".", "/")] = nn.ModuleDict({"A": gated, "B": layer.lora_B[lora.NAME]})
    return trained, person


def tensors(trained: nn.ModuleDict) -> dict[str, Tensor]:
    """`<layer>.lora_A.weight` (R, in), `<layer>.lora_B.weight` (out, R), `<layer>.gate.weight` (R, K)."""
    out: dict[str, Tensor] = {}
    for key, pair in trained.items():
        name = key.replace("/", ".")
        gated, up = pair["A"], pair["B"]  # pyright: ignore[reportIndexIssue]
        out[name + _A] = gated.down.weight.detach()
        out[name + _B] = up.weight.detach()
        out[name + _GATE] = gated.gate.detach()
    return {n: t.contiguous().clone() for n, t in out.items()}


def within(tensors: dict[str, Tensor], most_bytes: int) -> dict[str, Tensor]:
    """Without the layers that change least for their size, until the rest needs at most so many bytes."""
    names = [key.removesuffix(_A) for key in tensors if key.endswith(_A)]
    parts = {name: [name + end for end in (_A, _B, _GATE)] for name in names}
    size = {name: sum(tensors[key].nbytes for key in keys) for name, keys in parts.items()}
    change = {name: float(tensors[name + _A].norm() * tensors[name + _B].norm()) for name in names}
    total = sum(tensor.nbytes for tensor in tensors.values())
    left_out = set[str]()
    for name in sorted(names, key=lambda name: change[name] ** 2 / size[name]):
        if total <= most_bytes:
            break
        total -= size[name]
        left_out |= set(parts[name])
    return {key: tensor for key, tensor in tensors.items() if key not in left_out}
