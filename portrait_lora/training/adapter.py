"""The adapter: added to denoiser and text encoders, and saved as a LoRA that other programs can load.

LoRA (Hu et al. 2021), rank-stabilised (Kalajdzievski 2023: alpha / sqrt(rank)), DoRA (Liu et al. 2024), LoHa
(Hyeon-Woo et al. 2022) and LoKr (Yeh et al. 2023).  LoHa and LoKr are trained in their own form and saved as
an equivalent LoRA of higher rank, because hardly any program loads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from portrait_lora import log, manifest
from portrait_lora.errors import InputError, PortraitError
from portrait_lora.families.family import Family
from portrait_lora.families.peft_library import (
    BaseTunerLayer,
    LoHaConfig,
    LoHaLayer,
    LoKrConfig,
    LoKrLayer,
    LoraConfig,
    LoraLayer,
    inject_adapter_in_model,
)
from portrait_lora.training.export import (
    adapter_bytes,
    export_diffusers,
    export_kohya,
    kohya_bytes,
    kohya_state,
)
from portrait_lora.training.recipe import AdapterKind, Recipe
from portrait_lora.training.warm_start import Start

__all__ = [
    "adapter_bytes",
    "add_adapter",
    "add_adapters",
    "diffusers_state",
    "diffusers_states",
    "export_diffusers",
    "export_kohya",
    "kohya_bytes",
    "kohya_state",
]

NAME: Final = "likeness"
"""Under which peft knows the adapter: parameters are named `<layer>.lora_A.likeness.weight`."""
_LOKR_FACTOR: Final = 4
"""Side of LoKr's small matrix; the equivalent LoRA has this many times the rank."""
_log = log.get(__name__)


def add_adapters(family: Family, recipe: Recipe) -> dict[str, nn.Parameter]:
    """Add the adapters of a recipe: to the denoiser, and to the text encoders if configured.

    Parameter names of a text encoder begin with the encoder's name.
    """
    chosen: dict[str, Any] = {
        "rank": recipe.rank, "alpha": recipe.alpha, "seed": recipe.seed, "kind": recipe.adapter_kind,
        "rank_stabilised": recipe.rank_stabilised, "dora": recipe.dora,
    }  # fmt: skip
    parameters = add_adapter(
        family.denoiser,
        target_modules=recipe.target_modules(family),
        blocks=recipe.blocks_in(family),
        start=recipe.start,
        **chosen,
    )
    for name, encoder in _text_encoders(family, recipe).items():
        layers = family.lora_layers.text
        parameters |= add_adapter(encoder, target_modules=layers, prefix=f"{name}.", **chosen)
    return parameters


class Switched(nn.Module):
    """A layer that is not peft's, and whose adapters can be left out all the same."""

    def enable_adapters(self, enabled: bool) -> None:
        """Whether the adapters count."""
        raise NotImplementedError


@contextmanager
def bare(denoiser: nn.Module) -> Iterator[None]:
    """Context in which the denoiser runs without its adapter."""
    layers = [m for m in denoiser.modules() if isinstance(m, (BaseTunerLayer, Switched))]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def _text_encoders(family: Family, recipe: Recipe) -> Mapping[str, nn.Module]:
    return family.text_encoders() if recipe.text_encoder else {}


def add_adapter(
    denoiser: nn.Module,
    *,
    rank: int,
    alpha: float,
    target_modules: tuple[str, ...],
    seed: int,
    kind: AdapterKind = "lora",
    rank_stabilised: bool = False,
    dora: bool = False,
    blocks: tuple[str, ...] = (),
    prefix: str = "",
    start: Start | None = None,
) -> dict[str, nn.Parameter]:
    """Put an adapter into `denoiser` and return its parameters by name: the only ones with gradients.

    `prefix` is prepended to their names.  `target_modules` are suffixes of layer names; `blocks`, if any, are
    prefixes that they must have as well.  Without a `start` the model's output is unchanged at first; the
    initial values are drawn from `seed`: for a LoRA, A is Gaussian and B zero.  Parameters are float32
    whatever the base's data type.  Raises `InputError` when no layer matches, or the start does not fit.
    """
    denoiser.requires_grad_(False)
    names = layer_names(denoiser, target_modules, blocks)
    common: dict[str, Any] = {"r": rank, "target_modules": names if blocks else list(target_modules)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_number(seed, "adapter", *filter(None, [prefix])))
        inject_adapter_in_model(
            _config(kind, alpha, rank_stabilised, dora, common), denoiser, adapter_name=NAME
        )
    if next(denoiser.parameters()).dtype == torch.float32:
        _leave_casts_to_autocast(denoiser)
    _begin_at_zero(denoiser)
    parameters = {prefix + n: p for n, p in denoiser.named_parameters() if p.requires_grad}
    for name, parameter in parameters.items():
        parameter.data = parameter.data.float()
        if ".lora_A." in name:
            parameter.data.copy_(start_value(seed, name, parameter.shape, rank))
    if start is not None:
        put_start_into(parameters, start, alpha / (rank**0.5 if rank_stabilised else rank), names)
    return parameters


def put_start_into(
    parameters: Mapping[str, nn.Parameter], start: Start, scale: float, layers: Sequence[str]
) -> None:
    """Give plain LoRA `parameters` of these `layers` the values of a warm start.

    Raises `InputError` where it does not fit, or has none of the layers.
    """
    if not any(name in start.layers for name in layers):
        raise InputError(
            "the warm start has none of these layers",
            where="training.warm_start",
            got=", ".join(list(start.layers)[:2]),
            needed=", ".join(layers[:2]),
        )
    for name in layers:
        down, up = (parameters[f"{name}.lora_{part}.{NAME}.weight"] for part in "AB")
        start.put_into(name, down, up, scale)


def _begin_at_zero(denoiser: nn.Module) -> None:
    """Give memory to adapters of layers whose weights stay in their files: peft put them beside those."""
    for module in denoiser.modules():
        for key, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and parameter.is_meta:
                setattr(module, key, nn.Parameter(torch.zeros(parameter.shape)))


def start_value(seed: int, name: str, shape: Sequence[int], rank: int) -> Tensor:
    """What A begins with, Gaussian with a standard deviation of 1 / rank; B begins with zero."""
    generator = torch.Generator().manual_seed(_number(seed, "lora_A", name))
    return torch.randn(tuple(shape), generator=generator) / rank


def _leave_casts_to_autocast(denoiser: nn.Module) -> None:
    """Switch off peft's cast of inputs to float32, which autocast reverts at once."""
    for layer in denoiser.modules():
        if isinstance(layer, BaseTunerLayer):
            layer.cast_input_dtype_enabled = False  # pyright: ignore[reportArgumentType]


def layer_names(denoiser: nn.Module, endings: tuple[str, ...], blocks: tuple[str, ...]) -> list[str]:
    """The layers that get an adapter, in the network's order.  Raises `InputError` when there is none."""
    names = [
        name
        for name, _ in denoiser.named_modules()
        if any(name == e or name.endswith(f".{e}") for e in endings)
        and (not blocks or any(name.startswith(f"{b}.") for b in blocks))
    ]
    if not names:
        raise InputError(
            "no layer of the denoiser matches the target modules",
            where="target_modules",
            got=", ".join(endings) + (f" in {', '.join(blocks)}" if blocks else ""),
        )
    return names


def _config(
    kind: AdapterKind, alpha: float, rank_stabilised: bool, dora: bool, common: dict[str, Any]
) -> LoraConfig | LoHaConfig | LoKrConfig:
    if kind == "lora":
        if dora:
            _log.warning(
                "DoRA: diffusers and ComfyUI apply these files; other programs may drop the magnitudes, "
                "which changes the likeness"
            )
        return LoraConfig(
            lora_alpha=cast(int, alpha),
            init_lora_weights="gaussian",
            use_rslora=rank_stabilised,
            use_dora=dora,
            **common,
        )
    if rank_stabilised:
        raise InputError("rank stabilisation needs a plain LoRA", where="rank_stabilised", got=kind)
    if kind == "loha":
        return LoHaConfig(alpha=cast(int, alpha), **common)
    return LoKrConfig(alpha=cast(int, alpha), decompose_factor=_LOKR_FACTOR, **common)


def _number(*key: object) -> int:
    return int(manifest.digest(list(key))[:15], 16)


def diffusers_states(family: Family, denoiser: nn.Module, recipe: Recipe) -> dict[str, Tensor]:
    """`diffusers_state` of everything that the recipe trains; `denoiser` is the family's, unwrapped.

    Raises `PortraitError` when no layer has the adapter.
    """
    state = diffusers_state(denoiser, family.denoiser_name)
    for name, encoder in _text_encoders(family, recipe).items():
        # Newer libraries name the layers of some encoders without what older ones and ComfyUI put before.
        inner = "" if hasattr(encoder, "text_model") else ".text_model"
        state |= diffusers_state(encoder, name + inner)
    if not state:
        raise PortraitError("no layer has the adapter", where=family.denoiser_name)
    return state


def diffusers_state(denoiser: nn.Module, prefix: str) -> dict[str, Tensor]:
    """Every layer's A, and B with its scale folded in, as loaders apply them at scale 1.

    DoRA adds the magnitudes.  Raises `InputError` for a LoHa or LoKr on a convolution.
    """
    state: dict[str, Tensor] = {}
    for name, layer in _layers(denoiser):
        if isinstance(layer, LoraLayer):
            down, up = _weight(layer.lora_A), _weight(layer.lora_B)
            if NAME in layer.lora_magnitude_vector:
                state[f"{prefix}.{name}.lora_magnitude_vector"] = _weight(layer.lora_magnitude_vector)
        else:
            down, up = _as_lora(name, layer)
        state[f"{prefix}.{name}.lora_A.weight"] = down
        state[f"{prefix}.{name}.lora_B.weight"] = up * float(layer.scaling[NAME])
    return state


def _layers(denoiser: nn.Module) -> Iterator[tuple[str, LoraLayer | LoHaLayer | LoKrLayer]]:
    for name, module in denoiser.named_modules():
        if isinstance(module, (LoraLayer, LoHaLayer, LoKrLayer)) and NAME in module.scaling:
            yield name, module


def _weight(modules: Any) -> Tensor:
    return _plain(modules[NAME].weight)


def _plain(weight: object) -> Tensor:
    return cast(Tensor, weight).detach().to("cpu", torch.float32).contiguous().clone()


def _as_lora(name: str, layer: LoHaLayer | LoKrLayer) -> tuple[Tensor, Tensor]:
    """A (R, in) and B (out, R) with B A equal to the layer's change, exactly.

    LoHa: (w1a w1b) * (w2a w2b) is of rank r² and its factors are the row-wise and column-wise Kronecker
    products.  LoKr: w1 ⊗ (a b) = (w1 ⊗ a)(1 ⊗ b).
    """
    if not isinstance(layer.get_base_layer(), nn.Linear):
        raise InputError(
            "LoHa and LoKr support linear layers only", where=name, remedy="Use training.targets=attention."
        )
    if isinstance(layer, LoHaLayer):
        w1a, w1b = _plain(layer.hada_w1_a[NAME]), _plain(layer.hada_w1_b[NAME])
        w2a, w2b = _plain(layer.hada_w2_a[NAME]), _plain(layer.hada_w2_b[NAME])
        up = torch.einsum("or,os->ors", w1a, w2a).flatten(1)
        down = torch.einsum("ri,si->rsi", w1b, w2b).flatten(0, 1)
        return down.contiguous(), up.contiguous()
    w1 = _plain(layer.lokr_w1[NAME])
    if NAME in layer.lokr_w2:
        b = _plain(layer.lokr_w2[NAME])
        a = torch.eye(b.shape[0])
    else:
        a, b = _plain(layer.lokr_w2_a[NAME]), _plain(layer.lokr_w2_b[NAME])
    return torch.kron(torch.eye(w1.shape[1]), b).contiguous(), torch.kron(w1, a).contiguous()
