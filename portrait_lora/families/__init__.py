"""Base-model families: what differs between them stands behind six methods."""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING

from portrait_lora.device import gpu_memory_gb
from portrait_lora.families import footprint
from portrait_lora.families.catalog import BaseModel
from portrait_lora.families.rows import row_of
from portrait_lora.records import FamilyName

if TYPE_CHECKING:
    from portrait_lora.families.diffusers_family import DiffusersFamily
    from portrait_lora.families.family import Family, Weights


def open_family(base: BaseModel, device: str = "cpu", weights: Weights | None = None) -> Family:
    """The family object of a base model; nothing is loaded before its `load` or `pipeline` is called.

    Without `weights`, bases above 1.5 billion parameters are held in bfloat16 on a GPU, all else in
    float32.  Raises `InputError` for an unknown family, and when a folder holds a base of another family
    than its row says.
    """
    family = family_type(base.family)(base, device, weights or default_weights(base, device))
    room = gpu_memory_gb(device)
    family.placement, family.room_gb = footprint.placement(base, room), room
    family.text_offloaded = not footprint.text_fits(base, room)
    return family


def default_weights(base: BaseModel, device: str) -> Weights:
    """How the weights of a base are held on a device when nothing else is asked for."""
    large = footprint.bytes_per_weight(base) < 4
    return "bfloat16" if large and device.startswith("cuda") else "float32"


def takes_negative(family: FamilyName) -> bool:
    """Whether a negative prompt changes what the family's pipeline draws, by the signature of its call.

    Some take one only with a scale of its own beside the guidance, which nothing here sets.
    """
    kind = family_type(family).pipeline_type
    taken = inspect.signature(kind.__call__).parameters
    set_here = kind.__module__.startswith(f"{__name__}.")  # a pipeline of ours gives it the guidance
    return "negative_prompt" in taken and ("true_cfg_scale" not in taken or set_here)


def family_type(family: FamilyName) -> type[DiffusersFamily]:
    """The class that the family's row names; imported now, because the libraries load slowly."""
    module, _, name = row_of(family).implementation.partition(":")
    return getattr(importlib.import_module(module), name)
