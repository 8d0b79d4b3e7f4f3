"""Base-model families: what differs between them stands behind six methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portrait_lora.families.catalog import BaseModel

if TYPE_CHECKING:
    from portrait_lora.families.diffusers_family import DiffusersFamily
    from portrait_lora.families.family import Family, Weights


def open_family(base: BaseModel, device: str = "cpu", weights: Weights | None = None) -> Family:
    """The family object of a base model; nothing is loaded before its `load` or `pipeline` is called.

    Without `weights`, bases above 1.5 billion parameters are held in bfloat16 on a GPU, all else in
    float32.  Raises `InputError` when a folder holds a base of another family than its row says.
    """
    large = base.parameters_b > 1.5 or base.family not in ("sd15", "sdxl")
    chosen = weights or ("bfloat16" if large and device.startswith("cuda") else "float32")
    return _family_type(base)(base, device, chosen)


def _family_type(base: BaseModel) -> type[DiffusersFamily]:
    """One import per family: the libraries load slowly."""
    if base.family == "sd15":
        from portrait_lora.families.sd15 import SD15

        return SD15
    if base.family == "sdxl":
        from portrait_lora.families.sdxl import SDXL

        return SDXL
    if base.family == "sd35":
        from portrait_lora.families.sd35 import SD35

        return SD35
    if base.family == "flux1":
        from portrait_lora.families.flux1 import Flux1

        return Flux1
    if base.family == "flux2":
        from portrait_lora.families.flux2 import Flux2

        return Flux2
    if base.family == "z_image":
        from portrait_lora.families.z_image import ZImage

        return ZImage
    from portrait_lora.families.qwen_image import QwenImage

    return QwenImage
