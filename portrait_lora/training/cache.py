"""Cache of encoded crops and captions.  Entries are keyed by their content, so that captions and pictures can
never be mismatched, and an edited caption or crop is encoded again.

Shape legend: B pictures, C latent channels, H W latent rows and columns, L tokens, D embedding width.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from portrait_lora import log, manifest
from portrait_lora.errors import ArtifactError
from portrait_lora.families.family import Family, Geometry, PromptCondition
from portrait_lora.records import CaptionedCrop
from portrait_lora.training.references import tightest

LearnRegion = Literal["picture", "person", "head"]
_VERSION: Final = 1
_EIGHT_BIT: Final = ("RGB", "RGBA", "L", "LA", "P")
_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class EncodedSample:
    """One encoded crop; tensors are on the CPU, `condition` has one row.

    `key` is the sha256 of the crop's file, `source` that of its photo.  `mask_1HW` is the coverage (0..1) of
    the person, or of the head, per latent place, `mask_key` the digest of its file.
    """

    key: str
    caption: str
    mean_CHW: Tensor
    std_CHW: Tensor
    condition: PromptCondition
    geometry: Geometry
    mask_1HW: Tensor | None = None
    mask_key: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class EncodedPhoto:
    """A photo that may be shown in context: digests of crop and photo, the mean (C, H, W) of its latents."""

    key: str
    source: str
    mean_CHW: Tensor


Beside = tuple[str, tuple[str, ...]]
"""A caption, and the keys of the photos that are shown with it, in order."""


@dataclass(frozen=True, slots=True)
class PromptsBeside:
    """Prompts as a text encoder reads them that sees what is shown with them: in files, as there are many.

    `base` is what the entries of a base are keyed by.
    """

    folder: Path
    base: str

    def path(self, beside: Beside) -> Path:
        """The file of an entry."""
        caption, photos = beside
        return self.folder / _entry("beside", self.base, [caption, *photos])

    def read(self, beside: Beside) -> PromptCondition:
        """The prompt, one row.  Raises `ArtifactError` when its entry is gone or damaged."""
        path = self.path(beside)
        entry = _read(path)
        if entry is None:
            raise ArtifactError(
                "an encoded prompt cannot be read",
                where=path,
                remedy="Delete it if it is there, and train again: it is encoded anew.",
            )
        return _condition(entry)


@dataclass(frozen=True, slots=True)
class Encodings:
    """All samples of a run, and the empty prompt for dropped captions.

    `prior` are pictures of the class, for prior preservation; `photos` what may be shown in context, a crop
    per photo.  `beside` has the prompts with what is shown, where the text encoder sees it.
    """

    samples: tuple[EncodedSample, ...]
    empty: PromptCondition
    prior: tuple[EncodedSample, ...] = ()
    photos: tuple[EncodedPhoto, ...] = ()
    beside: PromptsBeside | None = None


def encode(
    family: Family, crops: Sequence[CaptionedCrop], folder: Path, *, prior: Sequence[CaptionedCrop] = (),
    region: LearnRegion = "picture", references: bool = False,
    beside: Callable[[Encodings], Collection[Beside]] | None = None,
) -> Encodings:  # fmt: skip
    """Read the encodings of `crops` from `folder`, encoding what is missing, changed or damaged.

    The mask of a sample is of the head if `region` is "head", else of the person.  With `references` the
    tightest crop of every photo may be shown in context; it is encoded once more where the family's pipeline
    would resize it first.  `beside` says which prompts are read beside which photos, for a text encoder that
    sees them.

    The encoders are loaded only when something is missing, and freed afterwards.  Raises `ArtifactError` for
    a crop that cannot be read, is not of its bucket's size, or whose encoding is not finite, `InputError` for
    one that the family does not take as a reference.
    """
    persons, crops = len(crops), [*crops, *prior]
    base = family.base.digest if family.weights == "float32" else f"{family.base.digest} {family.weights}"
    keys = [_key(crop) for crop in crops]
    latents = {k: _entry("latents", base, k) for k in keys}
    prompts = {c: _entry("prompt", base, c) for c in ("", *(crop.caption for crop in crops))}
    photos = {_key(crop): crop for crop in tightest(crops[:persons])} if references else {}
    whole = {key for key, crop in photos.items() if _shown_whole(family, crop)}
    shown = {key: latents[key] if key in whole else _entry("reference", base, key) for key in photos}
    cached = {n: _read(folder / n) for n in {*latents.values(), *prompts.values(), *shown.values()}}
    missing = [n for n, v in cached.items() if v is None]
    with _encoders(family) as load:
        if missing:
            load()
            with log.progress("encode", len(missing)) as advance:
                for key, crop in zip(keys, crops, strict=True):
                    if cached[latents[key]] is None:
                        cached[latents[key]] = _encode_crop(family, crop, folder / latents[key])
                        advance()
                for key, name in shown.items():
                    if cached[name] is None:
                        cached[name] = _encode_reference(family, photos[key], folder / name)
                        advance()
                for caption, name in prompts.items():
                    if cached[name] is None:
                        cached[name] = _encode_caption(family, caption, folder / name)
                        advance()

        def entry(name: str) -> dict[str, Tensor]:
            value = cached[name]
            assert value is not None
            return value

        samples = tuple(
            EncodedSample(
                key=key,
                caption=crop.caption,
                mean_CHW=entry(latents[key])["mean_CHW"],
                std_CHW=entry(latents[key])["std_CHW"],
                condition=_condition(entry(prompts[crop.caption])),
                geometry=_geometry(crop),
                mask_1HW=_mask(mask_of(crop, region), entry(latents[key])["mean_CHW"].shape[-2:]),
                mask_key=manifest.sha256_file(mask) if (mask := mask_of(crop, region)) else "",
                source=crop.source_sha256,
            )
            for key, crop in zip(keys, crops, strict=True)
        )
        seen = (EncodedPhoto(k, photos[k].source_sha256, entry(n)["mean_CHW"]) for k, n in shown.items())
        encodings = Encodings(
            samples[:persons], _condition(entry(prompts[""])), samples[persons:], tuple(seen)
        )
        if beside is None:
            return encodings
        there = PromptsBeside(folder, base)
        left = [one for one in sorted(set(beside(encodings))) if not _is_whole(there.path(one))]
        if left:
            load()
            with log.progress("encode", len(left)) as advance:
                for one in left:
                    _encode_beside(family, one, photos, there.path(one))
                    advance()
        return replace(encodings, beside=there)


@contextmanager
def _encoders(family: Family) -> Iterator[Callable[[], None]]:
    """Yields what loads the encoders; they are freed afterwards, if they were."""
    used: list[bool] = []

    def load() -> None:
        used.append(True)
        family.load("encoders")

    try:
        yield load
    finally:
        if used:
            family.load("none")


def mask_of(crop: CaptionedCrop, region: LearnRegion) -> Path | None:
    """The mask file of the region in a crop."""
    return crop.head_path if region == "head" else crop.mask_path


def without_mask(crops: Sequence[CaptionedCrop], region: LearnRegion) -> list[CaptionedCrop]:
    """The crops without a mask of the region."""
    return [crop for crop in crops if mask_of(crop, region) is None]


def _key(crop: CaptionedCrop) -> str:
    try:
        return manifest.sha256_file(crop.path)
    except OSError as error:
        raise ArtifactError("the crop cannot be read", where=crop.path, got=error, remedy=_REDO) from error


def _entry(kind: str, base: str, what: str | Sequence[str]) -> str:
    """File name of an entry; captions appear in it as a digest only."""
    return f"{kind}-{manifest.digest([_VERSION, kind, base, what])[:32]}.safetensors"


def _read(path: Path) -> dict[str, Tensor] | None:
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as stream:
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - not a dict
        if all(bool(t.isfinite().all()) for t in tensors.values()):
            return tensors
        raise ValueError("it has values that are not finite")
    except (SafetensorError, OSError, ValueError) as error:
        _log.warning("%s is damaged (%s); encoding it again", path, error)
        return None


def _is_whole(path: Path) -> bool:
    """Whether an entry is there in its full length, by its header: there are too many to read them all."""
    try:
        with safe_open(path, "pt"):
            return True
    except (SafetensorError, OSError):
        return False


def _write(path: Path, tensors: dict[str, Tensor], of: object) -> dict[str, Tensor]:
    value = {
        k: v.detach().to("cpu", torch.float32 if v.is_floating_point() else v.dtype).contiguous()
        for k, v in tensors.items()
    }
    if not all(bool(t.isfinite().all()) for t in value.values()):
        raise ArtifactError(
            "its encoding is not finite",
            where=of,
            got="NaN or infinity",
            remedy="Encode in float32 (mixed_precision=no), or omit this one.",
        )
    manifest.write_bytes_atomic(path, save(value))
    return value


def _encode_crop(family: Family, crop: CaptionedCrop, path: Path) -> dict[str, Tensor]:
    moments = family.encode_pixels(_pixels(crop))
    return _write(path, {"mean_CHW": moments.mean_BCHW[0], "std_CHW": moments.std_BCHW[0]}, crop.path)


def _encode_reference(family: Family, crop: CaptionedCrop, path: Path) -> dict[str, Tensor]:
    moments = family.encode_pixels(_shown_pixels(family, crop))
    return _write(path, {"mean_CHW": moments.mean_BCHW[0]}, crop.path)


def _shown_whole(family: Family, crop: CaptionedCrop) -> bool:
    """Whether a crop is shown in the size in which it is trained on."""
    width, height = crop.bucket
    return tuple(_shown_pixels(family, crop).shape[-2:]) == (height, width)


def _shown_pixels(family: Family, crop: CaptionedCrop) -> Tensor:
    return family.shown_pixels(_picture(crop))


def _picture(crop: CaptionedCrop) -> Image.Image:
    """The crop as it is shown: RGB."""
    try:
        with Image.open(crop.path) as picture:
            return picture.convert("RGB")
    except OSError as error:
        raise ArtifactError("the crop cannot be read", where=crop.path, got=error, remedy=_REDO) from error


def _encode_caption(family: Family, caption: str, path: Path) -> dict[str, Tensor]:
    return _write_prompt(family.encode_prompts([caption]), caption, path)


def _encode_beside(
    family: Family, beside: Beside, photos: Mapping[str, CaptionedCrop], path: Path
) -> dict[str, Tensor]:
    caption, shown = beside
    pictures = [_picture(photos[key]) for key in shown]
    return _write_prompt(family.encode_prompts_beside([caption], pictures), caption, path)


def _write_prompt(condition: PromptCondition, caption: str, path: Path) -> dict[str, Tensor]:
    rows = {"embeds_LD": condition.embeds_BLD[0]}
    if condition.mask_BL is not None:
        rows["mask_L"] = condition.mask_BL[0]
    if condition.pooled_BD is not None:
        rows["pooled_D"] = condition.pooled_BD[0]
    return _write(path, rows, f"the caption {caption!r}")


def _condition(entry: dict[str, Tensor]) -> PromptCondition:
    mask_L, pooled_D = entry.get("mask_L"), entry.get("pooled_D")
    return PromptCondition(
        entry["embeds_LD"][None],
        None if mask_L is None else mask_L[None],
        None if pooled_D is None else pooled_D[None],
    )


def _pixels(crop: CaptionedCrop) -> Tensor:
    """(1, 3, H, W) in [-1, 1]."""
    try:
        with Image.open(crop.path) as picture:
            mode = picture.mode
            rgb = np.asarray(picture.convert("RGB"), dtype=np.float32)
    except OSError as error:
        raise ArtifactError("the crop cannot be read", where=crop.path, got=error, remedy=_REDO) from error
    if mode not in _EIGHT_BIT:
        raise ArtifactError(
            "the crop does not have 8 bits per channel",  # floats may hold NaN, and their scale is unknown
            where=crop.path,
            got=mode,
            needed="RGB",
            remedy=_REDO,
        )
    size = (rgb.shape[1], rgb.shape[0])
    if size != crop.bucket:
        raise ArtifactError(
            "the crop has another size than its record",
            where=crop.path,
            got=size,
            needed=crop.bucket,
            remedy=_REDO,
        )
    return torch.from_numpy(rgb / 127.5 - 1.0).permute(2, 0, 1)[None]


def _mask(path: Path | None, size_hw: Sequence[int]) -> Tensor | None:
    """Coverage of the mask (white is the person) averaged over each latent place."""
    if path is None:
        return None
    try:
        with Image.open(path) as picture:
            grey = np.asarray(
                picture.convert("L").resize((size_hw[1], size_hw[0]), Image.Resampling.BOX), dtype=np.float32
            )
    except OSError as error:
        raise ArtifactError("the mask cannot be read", where=path, got=error, remedy=_REDO) from error
    return torch.from_numpy(grey / 255.0)[None]


def _geometry(crop: CaptionedCrop) -> Geometry:
    x0, y0, x1, y1 = crop.crop_xyxy_px
    return Geometry((x1 - x0, y1 - y0), (0, 0), crop.bucket)


_REDO: Final = "Run `portrait-lora prepare` again."
