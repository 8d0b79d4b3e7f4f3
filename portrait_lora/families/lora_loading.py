"""A LoRA file into a pipeline, whole or not at all: every adapter goes in through here.

diffusers warns of layers that it does not know, drops some without a word, and leaves others empty.  So the
layers of the file are counted, those that its loader understood, and those that the networks carry then.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, cast

import torch
from safetensors import safe_open
from torch import nn

from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.families.adapter_file import read_header
from portrait_lora.families.parts import modules

_HALF: Final = re.compile(
    r"(?P<layer>.+?)[._]lora(?:_(?:linear_layer\.)?|\.)(?P<half>A|B|down|up)\.weight"
    r"|(?P<xlabs>.+lora\d)\.(?P<half2>down|up)\.weight"
)
_KRONECKER: Final = re.compile(r"(.+)\.(?:lokr_w1(?:_a)?|hada_w1_a)")
_BESIDE: Final = re.compile(
    r".+(?:\.alpha|\.dora_scale|\.lora_magnitude_vector(?:\.weight)?|\.lora_mid\.weight|\.lora_[AB]\.bias"
    r"|\.lokr_(?:w1_b|w2|w2_a|w2_b|t2)|\.hada_(?:w1_b|w2_a|w2_b|t1|t2))"
)
"""Tensors that go with a layer: those of its two halves, its Kronecker or Hadamard factor, what is beside."""
_HELD: Final = ("lora_A", "lokr_w1", "lokr_w1_a", "hada_w1_a")
"""What peft's layers keep the parts of an adapter under, by the adapter's name."""


def load_lora(pipe: Any, path: Path, name: str) -> int:
    """Put the file into the pipeline as adapter `name`; the number of layers that carry it.

    Raises `InputError` when it is no LoRA file, `ArtifactError` for numbers that are not finite, for halves
    of layers, and unless every layer of the file has gone into a layer of the pipeline.
    """
    in_header = read_header(path)
    in_file = complete_layers(path, in_header)
    refuse_not_finite(path)
    try:
        understood = _load(pipe, path, name)
    except Exception as error:  # diffusers and peft raise many unrelated types
        lines = str(error).splitlines()
        got = lines[0] if lines else type(error).__name__
        raise ArtifactError("the adapter cannot be put into this base", where=path, got=got) from error
    if _magnitudes(in_header) and not _magnitudes(understood):
        raise InputError(
            "a DoRA in a layout whose magnitudes diffusers drops", where=path, needed="lora_magnitude_vector"
        )
    needed = complete_layers(path, understood)
    loaded = sum(carried(part, name) for part in modules(pipe).values())
    if loaded == 0 or loaded != needed or needed < in_file:
        raise ArtifactError(
            "not every layer of the adapter fits",
            where=path,
            got=f"{min(loaded, needed)} layers",
            needed=max(in_file, needed),
            remedy="It was made for another base, or for another program.",
        )
    return loaded


def complete_layers(path: Path, keys: Iterable[str]) -> int:
    """How many layers these tensors change.

    Raises `InputError` when there is none, or a tensor is of no known kind; `ArtifactError` for half a layer.
    """
    halves: dict[str, set[bool]] = {}
    factors, odd = set[str](), list[str]()
    for key in keys:
        if hit := _HALF.fullmatch(key):
            layer, half = hit["layer"] or hit["xlabs"], hit["half"] or hit["half2"]
            halves.setdefault(layer, set()).add(half in ("A", "down"))
        elif hit := _KRONECKER.fullmatch(key):
            factors.add(hit[1])
        elif key != "__metadata__" and not _BESIDE.fullmatch(key):
            odd.append(key)
    if odd or not (halves or factors):
        what = "a tensor that is of no LoRA layer" if halves or factors else "no LoRA layers in this file"
        raise InputError(what, where=path, got=min(odd, default="none"), needed="lora_A and lora_B, or alike")
    if incomplete := sorted(layer for layer, sides in halves.items() if len(sides) < 2):
        raise ArtifactError("half a layer is lacking", where=path, got=incomplete[0], needed="both A and B")
    return len(halves.keys() | factors)


def refuse_not_finite(path: Path) -> None:
    """`ArtifactError` when a number of the file is NaN or infinite: it would draw black pictures."""
    if spoilt := not_finite(path):
        raise ArtifactError(
            "numbers of this file are not finite",
            where=path,
            got=f"{spoilt[0]}" + (f" and {len(spoilt) - 1} more" if len(spoilt) > 1 else ""),
            needed="finite weights",
            remedy="Its training went wrong: take an earlier checkpoint, or a lower learning rate.",
        )


def not_finite(path: Path) -> list[str]:
    """The names of the tensors that hold a NaN or an infinity."""
    with safe_open(path, "pt") as opened:
        file = cast(Any, opened)
        names: list[str] = list(file.keys())
        return [n for n in names if not bool(torch.isfinite(_as_numbers(file.get_tensor(n))).all())]


def _as_numbers(tensor: torch.Tensor) -> torch.Tensor:
    """Kinds of one byte know no test for finiteness."""
    return tensor.float() if tensor.is_floating_point() else torch.zeros(1)


def carried(module: nn.Module, name: str) -> int:
    """How many layers of a module carry the adapter `name`, with numbers in it.

    A layer whose own weights are on the meta device (a network without weights) is counted for its names.
    """
    return sum(any(_filled(m, part, name) for part in _HELD) for m in module.modules())


def _filled(module: nn.Module, part: str, name: str) -> bool:
    held: Any = getattr(module, part, None)
    if not isinstance(held, nn.ModuleDict | nn.ParameterDict) or name not in held:
        return False
    parts: list[Any] = [held[name]]
    if part == "lora_A":
        parts.append(cast(Any, module.lora_B)[name])
    base: Any = getattr(module, "base_layer", None)
    bare = isinstance(base, nn.Module) and any(p.is_meta for p in base.parameters())
    return bare or not any(p.is_meta for one in parts for p in _numbers(one))


def _numbers(part: Any) -> list[torch.Tensor]:
    return list(part.parameters()) if isinstance(part, nn.Module) else [cast(torch.Tensor, part)]


def _magnitudes(keys: Iterable[str]) -> bool:
    return any("dora_scale" in key or "lora_magnitude_vector" in key for key in keys)


def _load(pipe: Any, path: Path, name: str) -> list[str]:
    """Load, and tell under which names diffusers has understood the tensors."""
    understood: list[str] = []
    original: Callable[..., Any] = pipe.lora_state_dict

    def watched(*args: Any, **more: Any) -> Any:
        answer = original(*args, **more)
        state: Any = cast(Any, answer[0] if isinstance(answer, tuple) else answer)
        understood.extend(map(str, state))
        return answer

    pipe.lora_state_dict = watched
    try:
        with warnings.catch_warnings():  # of a second adapter, which is what is wanted
            warnings.filterwarnings("ignore", message="Already found a `peft_config` attribute")
            pipe.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=name)
    finally:
        del pipe.lora_state_dict
    return understood
