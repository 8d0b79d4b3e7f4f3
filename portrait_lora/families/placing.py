"""A pipeline put on its device: as a whole, or with layers that wait on the host until they compute."""

# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from portrait_lora.errors import InputError
from portrait_lora.families.footprint import QUANTISED, Placement, footprint, placement
from portrait_lora.families.parts import modules

if TYPE_CHECKING:
    from portrait_lora.families.base_model import BaseModel
    from portrait_lora.families.family import Weights


def placed(pipe: Any, device: torch.device, where: Placement) -> Any:
    """The pipeline on the device, its layers where `where` says."""
    if where == "resident":
        return pipe.to(device)
    here = [name for name in modules(pipe) if not name.startswith("text_encoder")]
    # The copies of diffusers' groups run on a stream beside the computation where there is one.
    beside = {"use_stream": True, "record_stream": True} if device.type == "cuda" else {}
    pipe.enable_group_offload(
        onload_device=device,
        offload_device=torch.device("cpu"),
        offload_type="leaf_level",
        exclude_modules=here if where == "text_offloaded" else None,
        **beside,
    )
    if where == "offloaded" and getattr(pipe, "vae", None) is not None:
        pipe.vae.enable_tiling()
    return pipe


def placement_of(base: BaseModel, room_gb: float | None, weights: Weights) -> Placement:
    """Where the layers of a denoiser held so are kept on a GPU with so much memory.

    Raises `InputError` for a quantised one that does not fit: its layers are not moved one by one.
    """
    where = placement(base, room_gb, weights)
    if where != "offloaded" or weights not in QUANTISED:
        return where
    needs, less = footprint(base, weights), "nf4, or " if weights == "int8" else ""
    raise InputError(
        f"{base.name} does not fit this GPU in {weights}",
        where="generate.weights",
        got=f"{room_gb:.0f} GB",
        needed=f"{needs.text_offloaded_gb:.0f} GB" if needs else "",
        remedy=f"Set generate.weights={less}auto: its layers then wait on the host.",
    )
