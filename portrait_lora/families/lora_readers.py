"""How other programs name the layers of a LoRA: what is written for them, and what they would not find.

Each reader takes a key apart on its own.  ComfyUI: `lora_unet_` and `lora_te…` with underscores for UNets and
CLIP, `lora_transformer_` for Stable Diffusion 3 and FLUX, `diffusion_model.` with dots for Z-Image and
Qwen-Image; A1111 and Forge: the same underscores, of UNets only.  diffusers: `unet.`, `transformer.`,
`text_encoder.` with dots.  Each family's row says how its layers are spelled.  Torch-free.
"""

from __future__ import annotations

from typing import Literal

from portrait_lora.errors import InputError
from portrait_lora.families.rows import ROWS, family_names, row_of
from portrait_lora.records import FamilyName

Tool = Literal["comfy", "kohya", "diffusers"]


def reads(tool: Tool, family: FamilyName) -> bool:
    """Whether the program reads adapters of this family at all."""
    row = row_of(family)
    return {"diffusers": True, "comfy": bool(row.comfy), "kohya": bool(row.a1111_version)}[tool]


def read_by(tool: Tool) -> str:
    """The names of the families that the program reads, for an error."""
    return family_names(row for row in ROWS.values() if reads(tool, row.name))


def spelled(tool: Tool, family: FamilyName, layer: str) -> str:
    """A layer of a diffusers file (`unet.mid_block…`), as `tool` names it.

    Raises `InputError` when the program cannot read the family, or has no name for this layer.
    """
    row, (part, _, name) = row_of(family), layer.partition(".")
    if tool == "diffusers":
        return layer
    spelling = row.comfy.get(part) if reads(tool, family) else None
    if spelling is None or not spelling.layers.fullmatch(name):
        raise InputError(
            f"{tool} has no name for this layer",
            where=family,
            got=layer,
            needed="layers that it reads" if spelling else f"one of {read_by(tool)}",
            remedy="Use --for diffusers." if spelling or part.startswith("text") else "",
        )
    return spelling.key(name)
