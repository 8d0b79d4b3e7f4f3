"""Photoshop files through psd-tools (MIT, the extra `psd`): the same layers, to be edited there.

What a layer covers is its mask there, so that it can be repainted.  A PSD carries no record of ours: to bring
edits back with the chain carried out again, use OpenRaster.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image, ImageChops

from portrait_lora.errors import InputError, require_extra
from portrait_lora.finishing.canvas import MAX_PIXELS
from portrait_lora.finishing.layered import PART, STEP, Layer, Stack, refuse_many

_GROUPS: Final = {PART: "picture", STEP: "finishing"}


def encoded(stack: Stack, mark: bytes = b"") -> bytes:
    """The file with a group of parts, a group of steps, and the XMP packet.

    Raises `InputError` without the extra.
    """
    require_extra("psd_tools", "psd")
    from psd_tools import PSDImage
    from psd_tools.constants import Resource
    from psd_tools.psd.image_resources import ImageResource

    width, height = stack.size_px
    document: Any = PSDImage.new("RGB", (width, height))
    for kind, title in _GROUPS.items():
        layers = stack.only(kind).layers
        if layers:
            group = document.create_group(name=title)
            for layer in layers:
                group.create_pixel_layer(
                    Image.fromarray(layer.pixels), name=layer.name, opacity=round(255 * layer.opacity)
                )
    if mark:
        resource = ImageResource(key=Resource.XMP_METADATA.value, data=mark)
        document.image_resources[Resource.XMP_METADATA] = resource
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def read(path: Path) -> Stack:
    """The pixel layers of a file, groups opened.

    Raises `InputError` for a file that is none, and for adjustments, effects, blend modes and soft masks.
    """
    require_extra("psd_tools", "psd")
    from psd_tools import PSDImage
    from psd_tools.constants import BlendMode

    try:
        document: Any = PSDImage.open(path)
    except Exception as error:  # psd-tools answers damaged bytes with many unrelated types
        raise InputError("not a Photoshop file", where=path, got=str(error)[:200]) from error
    width, height = document.size
    if not 0 < width * height <= MAX_PIXELS or document.color_mode.name != "RGB":
        got = f"{width} x {height} px, {document.color_mode.name}"
        raise InputError("not a Photoshop file that can be used", where=path, got=got, needed="RGB")
    leaves = [one for one in document.descendants() if not one.is_group()]
    refuse_many(len(leaves), path)
    layers: list[Layer] = []
    for one in leaves:
        soft = one.has_mask() and one.mask.parameters is not None
        plain = one.kind == "pixel" and one.blend_mode == BlendMode.NORMAL and not (soft or one.has_effects())
        if not plain:
            raise InputError(
                "a layer that this program does not repeat",
                where=path,
                got=f"{one.name}: {one.kind}, {one.blend_mode.name.lower()}",
                needed="normal pixel layers",
                remedy="Merge it with the layer below it and save again.",
            )
        layers.append(_layer(one, (width, height)))
    return Stack((width, height), tuple(layers))


def _layer(one: Any, size: tuple[int, int]) -> Layer:
    width, height = size
    sheet = Image.new("RGBA", size)
    picture = one.topil()
    if picture is not None:
        sheet.paste(picture.convert("RGBA"), (one.left, one.top))
    if one.has_mask() and not one.mask.disabled:
        mask = Image.new("L", size, one.mask.background_color)
        mask.paste(one.mask.topil().convert("L"), (one.mask.left, one.mask.top))
        sheet.putalpha(ImageChops.multiply(sheet.getchannel("A"), mask))
    group = one.parent.name if one.parent is not None else ""
    kind = next((kind for kind, title in _GROUPS.items() if title == group), "")
    pixels = np.asarray(sheet).reshape(height, width, 4)
    return Layer(str(one.name), pixels, kind, bool(one.is_visible()), one.opacity / 255)
