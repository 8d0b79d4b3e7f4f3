"""Cut-out: the person with a soft alpha and colours that hold nothing of the old backdrop."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from PIL import Image
from pydantic import Field, model_validator

from portrait_lora import provenance
from portrait_lora.errors import InputError
from portrait_lora.finishing import cutout, cutout_models, licences
from portrait_lora.finishing.canvas import Canvas, Product, to_bytes
from portrait_lora.finishing.foreground import foreground
from portrait_lora.finishing.step import BehindOnly, Tools
from portrait_lora.records import FloatArray, readonly
from portrait_lora.rights import marks
from portrait_lora.settings import Section

PREMULTIPLIED: Final = "-premultiplied.tif"
_EXTRA_SAMPLES: Final = 338
_ASSOCIATED: Final = 1


class CutoutSettings(Section):
    """By default the face pack's segmenter and the colours of the picture decide."""

    band: float = Field(
        default=0.04, gt=0, le=0.3, description="half the width of the soft edge, in sizes of the face"
    )
    model: str = Field(default="", description="an ONNX matting network for photographs, a file")
    network: str = Field(
        default="birefnet-portrait",
        description=f"what that file is: {', '.join(cutout_models.NETWORKS)}",
    )
    model_licence: str = Field(default="", description="licence of that file, for the record")
    rough: bool = Field(
        default=False,
        description="without segmenter and model, guess by proportions and colour; may lose hair and arms",
    )
    keep_colours: bool = Field(
        default=False, description="leave the old backdrop's colour in the edge (a halo on a new one)"
    )
    premultiplied: bool = Field(
        default=False,
        description="also write a TIFF with premultiplied alpha; the picture itself is always straight",
    )

    @model_validator(mode="after")
    def _is_whole(self) -> CutoutSettings:
        if self.network not in cutout_models.NETWORKS:
            raise ValueError(f"network is one of {', '.join(cutout_models.NETWORKS)}")
        if self.model.endswith(".onnx") and not self.model_licence:
            raise ValueError("model_licence must say under which licence the model's file is used")
        return self


class Cutout(BehindOnly):
    """The step `cutout`.  A picture that has transparent places already keeps its alpha and its colours.

    The person's pixels stay, but embedders react to what is behind a face (0.01 to 0.06 on studio people), so
    likeness is measured to references that are cut out as well, and reported; that no part of the face is
    lost is checked here.
    """

    name = "cutout"
    settings = CutoutSettings
    of_colour = True

    def open(self, settings: Any, tools: Tools) -> None:
        """Load the matting network."""
        if settings.model:
            cutout_models.Matting(_model(settings, tools), cutout_models.NETWORKS[settings.network])

    def apply(self, canvas: Canvas, settings: Any, tools: Tools) -> Canvas:
        """The canvas with straight alpha.

        Raises `InputError` without one clear face, with a face that the edge cuts, or where the person cannot
        be told from the backdrop; `ArtifactError` for a model that does not fit.
        """
        one: CutoutSettings = settings
        if not is_cut(canvas):
            face = tools.face(canvas)
            if one.model:
                cutout.check_face(canvas, face)
                alpha = _by_model(canvas, one, tools)
                cutout.check_whole(alpha, face)
            else:
                parts = tools.parts(canvas)
                if parts is None and not one.rough:
                    raise _no_outline()
                alpha = cutout.person_alpha(canvas, face, parts, one.band)
            rgb = canvas.rgb_HW3 if one.keep_colours else foreground(canvas.rgb_HW3, alpha)
            canvas = replace(canvas.with_rgb(rgb), alpha_HW=readonly(alpha))
        if one.premultiplied:
            canvas = replace(
                canvas, products=(*canvas.products, Product(PREMULTIPLIED, _associated(canvas, tools.mark)))
            )
        return canvas


def _no_outline() -> InputError:
    """On photographs the guess took the hair for the wall, and arms for the backdrop."""
    return InputError(
        "nothing here can tell the person from the backdrop",
        where="cutout",
        got="a face pack without a segmenter, and no matting model",
        needed="a matting network as an ONNX file",
        remedy="Name it in the look: cutout: {model: FILE, network: birefnet-portrait, model_licence: …}, or "
        "accept a guess that may lose hair and arms: cutout: {rough: true}.",
    )


def is_cut(canvas: Canvas) -> bool:
    """Whether the canvas has transparent places."""
    return canvas.alpha_HW is not None and float(canvas.alpha_HW.min()) < 1.0


def _model(one: CutoutSettings, tools: Tools) -> Path:
    if not one.model.endswith(".onnx"):
        cutout_models.refuse_name(one.model)
    path = tools.file(one.model, "matting model")
    licences.require(tools, path, one.model_licence)
    return path


def _by_model(canvas: Canvas, one: CutoutSettings, tools: Tools) -> FloatArray:
    """(H, W) by the network, its edge drawn after the picture's own."""
    path = _model(one, tools)
    small = cutout_models.Matting(path, cutout_models.NETWORKS[one.network]).alpha(canvas.rgb_HW3)
    if not 0.01 < float(small.mean()) < 0.995:
        raise InputError(
            "the matting model does not tell a person from the backdrop",
            where=path,
            got=f"{float(small.mean()):.0%} of the picture taken for the person",
        )
    width, height = canvas.size_px
    if max(width, height) <= max(small.shape):
        return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_AREA), np.float32)
    guide = cv2.resize(canvas.rgb_HW3, small.shape[::-1], interpolation=cv2.INTER_AREA)
    return cutout.enlarged(small, np.asarray(guide, np.float32), canvas.rgb_HW3)


def _associated(canvas: Canvas, mark: bytes) -> bytes:
    """A TIFF whose colours are multiplied by alpha (TIFF 6.0, ExtraSamples 1), with both marks."""
    assert canvas.alpha_HW is not None
    alpha = canvas.alpha_HW[..., None]
    origin, rgb = marks.Origin(marks.of_packet(mark)), canvas.rgb_HW3
    if origin.source == provenance.TRAINED:
        rgb = (
            marks.watermarked(to_bytes(rgb), hashlib.sha256(to_bytes(rgb).tobytes()).hexdigest()).astype(
                np.float32
            )
            / 255
        )
    pixels = to_bytes(np.concatenate([rgb * alpha, alpha], axis=2))
    picture = Image.fromarray(pixels, "RGBA")
    data = bytearray(marks.encode(picture, "TIFF", origin, sealed=False, compression="raw"))
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from(f"{order}H", data, entry)[0] == _EXTRA_SAMPLES:
            struct.pack_into(f"{order}H", data, entry + 8, _ASSOCIATED)
    return marks.seal(bytes(data), origin)
