"""Edits of a portrait: variations, image to image from a reference, inpainting of a region.

An edit is a pure function of its source picture and its generation record, so it can be reproduced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, cast

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from portrait_lora.errors import ArtifactError
from portrait_lora.families.family import Weights
from portrait_lora.families.row import Form
from portrait_lora.generation import in_context, save
from portrait_lora.generation.compose import LAYERS, compose, free, settled
from portrait_lora.generation.drawing import Sampler, from_picture, inside
from portrait_lora.generation.guidance import AS_ONE, Identity
from portrait_lora.generation.masks import decode_mask
from portrait_lora.generation.prompts import size_for
from portrait_lora.records import Shot

_CROP_MARGIN: Final = 1.7
"""Side of the inpainted square over the longer side of the mask."""
_FEATHER: Final = 0.06
"""Width of the blend inside the mask, as a fraction of that square's side."""


def shot_of(record: Mapping[str, object], name: str = "again") -> Shot:
    """The shot in a generation record.  Raises `ArtifactError` for a damaged one."""
    try:
        width, height = (int(v) for v in cast(list[int], record["size_px"]))
        layers = tuple((str(k), str(v)) for k, v in cast(Mapping[str, object], record["layers"]).items())
        return Shot(
            name,
            str(record["prompt"]),
            str(record["negative_prompt"]),
            (width, height),
            int(cast(int, record["seed"])),
            layers,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError("the generation record of the picture is damaged", got=repr(error)) from error


def sampler_of(record: Mapping[str, object]) -> Sampler:
    """The sampler settings in a generation record, without its files; see `remake.whole_sampler`."""
    try:
        return Sampler(
            steps=int(cast(int, record["num_inference_steps"])),
            guidance_scale=float(cast(float, record["guidance_scale"])),
            adapter_scale=float(cast(float, record["adapter_scale"])),
            scheduler=str(record.get("scheduler", "")),
            unconditional="base" if record.get("unconditional") == "base" else "adapter",
            identity=_identity_of(record),
            scheduler_arguments=tuple(sorted(dict(cast(Any, record.get("scheduler_arguments", {}))).items())),
            weights=cast(Weights | None, record.get("weights")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError("the generation record of the picture is damaged", got=repr(error)) from error


def _identity_of(record: Mapping[str, object]) -> Identity:
    scale, late_scale = (
        None if value is None else float(cast(float, value))
        for value in (record.get("identity_scale"), record.get("identity_late_scale"))
    )
    return Identity(
        scale=scale,
        start=float(cast(float, record.get("identity_start", 0.0))),
        region="head" if record.get("identity_region") == "head" else "picture",
        late=float(cast(float, record.get("identity_late", AS_ONE.late))),
        late_scale=late_scale,
    )


def changed(
    shot: Shot, changes: Mapping[str, str], trigger_words: str, form: Form, *, closed: bool = False
) -> Shot:
    """The shot with some layers replaced and its prompt composed anew.

    `closed`: the base has a closed vocabulary, see `compose.settled`.
    """
    kept = dict(shot.layers)
    for decides, follows in (("view", "facing"), ("lighting", "light_side")):
        if decides in changes:
            kept.pop(follows, None)
    layers = {**kept, **changes}
    layers = settled(layers) if closed else layers
    who = layers.pop("subject", trigger_words)
    described = tuple((k, layers[k]) for k in LAYERS if layers.get(k))
    if words := layers.get("prompt"):
        own = (("subject", who), ("prompt", words), *described)
        return replace(shot, prompt=free(words, layers, who, form), layers=own)
    return replace(shot, prompt=compose(layers, who, form), layers=(("subject", who), *described))


def edit_record(
    action: str,
    source: Image.Image,
    parent: Mapping[str, object] | None,
    begun: Mapping[str, object],
    /,
    **more: object,
) -> save.Record:
    """The generation record of an edit: `begun` holds shot and sampler, `more` what differs.

    `parent` is the record of the source, if it was generated here.
    """
    own = (*save.OF_ONE_EDIT, save.CONDITIONS, in_context.KEY, in_context.UNTIL)  # edits are shown none
    kept = {k: v for k, v in begun.items() if k not in own}
    edit = {save.ACTION: action, "source_pixels_sha256": save.pixel_digest(source), **more}
    return kept | edit | ({save.PARENT: dict(parent)} if parent is not None else {})


def refuse_other_source(source: Image.Image, record: Mapping[str, object]) -> None:
    """`ArtifactError` unless this is the source picture of the edit."""
    if save.pixel_digest(source) != record.get("source_pixels_sha256"):
        raise ArtifactError(
            "this is not the picture that was edited",
            got=save.pixel_digest(source)[:12],
            needed=str(record.get("source_pixels_sha256"))[:12],
        )


def apply_edit(
    pipe: Any,
    source: Image.Image,
    record: Mapping[str, object],
    resolution_px: int,
    sampler: Sampler | None = None,
) -> Image.Image:
    """Carry out the edit in a generation record; `sampler` is the record's, with its files.

    Raises `ArtifactError` for another source picture.
    """
    refuse_other_source(source, record)
    shot, sampler = shot_of(record), sampler or sampler_of(record)
    strength = record.get("strength")
    if not isinstance(strength, int | float):
        raise ArtifactError("the generation record of the picture is damaged: strength", got=repr(strength))
    if record.get(save.ACTION) == "fix":
        mask = decode_mask(str(record.get("mask_png")))
        if mask.shape != (source.height, source.width) or not mask.any():
            raise ArtifactError(
                "the mask in the generation record has another size than the picture", got=mask.shape
            )
        return redraw_inside(pipe, source, mask, shot, sampler, strength, resolution_px)
    return from_picture(pipe, source, shot, sampler, strength)


def redraw_inside(
    pipe: Any,
    source: Image.Image,
    mask_HW: npt.NDArray[np.uint8],
    shot: Shot,
    sampler: Sampler,
    strength: float,
    resolution_px: int,
) -> Image.Image:
    """Inpaint the masked part at the base's own resolution and blend it in.

    Pixels where the mask is 0 are bit-identical to `source`.
    """
    box = crop_box(mask_HW)
    left, top, right, bottom = box
    side = size_for((right - left, bottom - top), resolution_px)
    crop = source.convert("RGB").crop(box)
    part = Image.fromarray(mask_HW[top:bottom, left:right])
    large = crop.resize(side, Image.Resampling.LANCZOS)
    drawn = inside(
        pipe,
        large,
        part.resize(side, Image.Resampling.BILINEAR),
        replace(shot, size_px=side),
        sampler,
        strength,
    ).resize(crop.size, Image.Resampling.LANCZOS)
    alpha = _feather(mask_HW, max(1.0, _FEATHER * (right - left)))[top:bottom, left:right, None]
    before = np.asarray(source.convert("RGB"))
    after = before.copy()
    mixed = alpha * np.asarray(drawn, np.float32) + (1 - alpha) * before[top:bottom, left:right]
    after[top:bottom, left:right] = mixed.round().clip(0, 255).astype(np.uint8)
    after[mask_HW == 0] = before[mask_HW == 0]
    return Image.fromarray(after)


def crop_box(mask_HW: npt.NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """The square to inpaint around the mask: left, top, right, bottom, within the picture."""
    height, width = mask_HW.shape
    rows, columns = np.nonzero(mask_HW)
    side = _CROP_MARGIN * max(int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1)
    side = min(max(round(side), 16), height, width)
    left = round((columns.min() + columns.max() + 1 - side) / 2)
    top = round((rows.min() + rows.max() + 1 - side) / 2)
    if side < max(np.ptp(rows) + 1, np.ptp(columns) + 1):  # the region is larger than a square that fits
        return 0, 0, width, height
    left, top = min(max(left, 0), width - side), min(max(top, 0), height - side)
    return left, top, left + side, top + side


def _feather(mask_HW: npt.NDArray[np.uint8], width_px: float) -> npt.NDArray[np.float32]:
    """1 well inside the mask, falling to 0 at its border."""
    padded = cv2.copyMakeBorder(mask_HW, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    return np.asarray(np.clip(depth / width_px, 0, 1), dtype=np.float32)
