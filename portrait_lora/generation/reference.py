"""Style references by IP-Adapter (Ye et al. 2023), for families that diffusers supports.

An image encoder embeds the reference, and the adapter's own attention layers attend to that embedding; their
output is added with a scale.  The reference need not show a face: it does not affect who is portrayed.
Face adapters are refused: the person comes from the photos.  Tested with tiny random adapters and encoders
only, not with published ones.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
import transformers
from PIL import Image

from portrait_lora import manifest
from portrait_lora.errors import ConfigError, InputError
from portrait_lora.families.adapter_file import read_header
from portrait_lora.families.family import Family
from portrait_lora.families.rows import ROWS, family_names, row_of
from portrait_lora.generation.weights import weights_file
from portrait_lora.pictures.reader import read_rgb

_WHERE: Final = "generate.style_reference_adapter"
_ENCODER_FOLDER: Final = "image_encoder"
_GENERAL: Final = ("image_proj.proj.weight", "image_proj.latents", "ip_adapter_proj_model.proj.weight")
"""One of these tensors is in every whole-picture adapter (plain, plus)."""
_ATTENTION: Final = ("ip_adapter.", "double_blocks.")
"""Prefixes of an adapter's attention layers; the second is used by some adapters for flux1."""
_OF_ENCODER: Final = ("config.json", "model.safetensors")


@dataclass(frozen=True, slots=True)
class StyleReference:
    """The picture, the adapter's file, the folder of the image encoder, and the scale, above 0."""

    picture: Path
    adapter: Path
    encoder: Path
    scale: float = 0.6

    @property
    def digests(self) -> dict[str, str]:
        """sha256 of the three, for the generation record."""
        return {
            "style_reference_sha256": manifest.sha256_file(self.picture),
            "style_reference_adapter_sha256": manifest.sha256_file(self.adapter),
            "style_reference_encoder_sha256": encoder_digest(self.encoder),
        }


def reference_of(picture: str, adapter: str, scale: float) -> StyleReference | None:
    """The configured reference; None without one, or at scale 0.

    The image encoder is in the folder `image_encoder` beside the adapter.  Raises `InputError` for files
    that are missing or pickled, `ConfigError` for a picture without an adapter.
    """
    if not picture or scale == 0:
        return None
    if not adapter:
        raise ConfigError(
            "a style reference needs an IP-Adapter",
            where=_WHERE,
            needed="its .safetensors file, or its folder",
        )
    path = Path(picture).expanduser()
    if not path.is_file():
        raise InputError("no such picture", where="generate.style_reference", got=picture)
    file = weights_file(adapter, _WHERE)
    return StyleReference(path, file, _encoder_beside(file), scale)


def _encoder_beside(file: Path) -> Path:
    folder = file.parent / _ENCODER_FOLDER
    missing = [name for name in _OF_ENCODER if not (folder / name).is_file()]
    if missing:
        pickled = any(folder.glob("*.bin"))
        raise InputError(
            "the image encoder of the adapter is incomplete",
            where=folder,
            got="pickled weights only" if pickled else f"no {missing[0]}",
            needed=" and ".join(_OF_ENCODER),
            remedy="Put the encoder that the adapter was trained with there, as safetensors.",
        )
    return folder


def encoder_digest(folder: Path) -> str:
    """sha256 of the weights and configuration of an image encoder."""
    return manifest.digest([manifest.sha256_file(folder / name) for name in _OF_ENCODER])


def read_picture(path: Path) -> Image.Image:
    """The reference, upright, RGB.  Raises `InputError` when it cannot be read."""
    try:
        return Image.fromarray(read_rgb(path))
    except InputError as error:
        raise InputError("the style reference cannot be read", where=path, got=error.what) from error


def load(family: Family, pipe: Any, reference: StyleReference) -> None:
    """Load the adapter into a pipeline of the family; the next `family.pipeline` removes it.

    Raises `ConfigError` for a family without style references, `InputError` for an adapter or an encoder
    that does not fit.
    """
    encoder = row_of(family.base.family).style_encoder
    if encoder is None:
        raise ConfigError(
            "this family does not support style references",
            where="generate.style_reference",
            got=family.base.family,
            needed=family_names(row for row in ROWS.values() if row.style_encoder),
        )
    read_picture(reference.picture)
    _refuse_other_adapters(reference.adapter)
    try:
        _load(pipe, reference, *encoder)
    except Exception as error:  # torch, transformers and diffusers raise many unrelated types
        family.load("none")  # the pipeline may be half changed
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(
            "the IP-Adapter or its image encoder does not fit this base", where=reference.adapter, got=reason
        ) from error


def _refuse_other_adapters(path: Path) -> None:
    names = read_header(path).keys()
    if not any(name.startswith(_ATTENTION) for name in names):
        raise InputError(
            "not an IP-Adapter", where=path, needed="tensors named image_proj.* and ip_adapter.*"
        )
    if not any(name in names for name in _GENERAL) or any("_lora." in name for name in names):
        raise InputError(
            "this IP-Adapter is for faces, or of an unsupported kind",
            where=path,
            needed="a whole-picture adapter (plain or plus)",
            remedy="The person comes from the photos; a reference transfers style only.",
        )


def _load(pipe: Any, reference: StyleReference, encoder_class: str, processor_class: str) -> None:
    encoder = getattr(transformers, encoder_class).from_pretrained(
        str(reference.encoder), use_safetensors=True, local_files_only=True, dtype=pipe.dtype
    )
    side = int(encoder.config.image_size)
    size = {"height": side, "width": side}
    # CLIP's keeps the aspect and takes the middle; SigLIP's knows no cropping.
    more = {"size": {"shortest_edge": side}, "crop_size": size} if "CLIP" in encoder_class else {"size": size}
    looker = getattr(transformers, processor_class)(**more)
    pipe.register_modules(image_encoder=encoder.to(pipe.device).eval(), feature_extractor=looker)
    pipe.load_ip_adapter(
        str(reference.adapter.parent), subfolder="", weight_name=reference.adapter.name, local_files_only=True
    )
    _refuse_misfits(pipe)
    pipe.set_ip_adapter_scale(reference.scale)


@torch.no_grad()
def _refuse_misfits(pipe: Any) -> None:
    """Fail early by encoding a blank picture once, instead of at the first generation."""
    denoiser = getattr(pipe, "unet", None) or pipe.transformer
    if any(parameter.is_meta for parameter in denoiser.parameters()):
        raise ValueError("tensors are missing from the file")
    blank = Image.new("RGB", (32, 32))
    if getattr(pipe, "unet", None) is not None:
        seen = pipe.prepare_ip_adapter_image_embeds(blank, None, pipe.device, 1, False)
        (tokens,), wide = pipe.unet.encoder_hid_proj(seen), pipe.unet.config.cross_attention_dim
    elif getattr(pipe.transformer, "image_proj", None) is not None:
        seen = pipe.encode_image(blank, pipe.device)
        tokens, _ = pipe.transformer.image_proj(seen, torch.zeros(1, device=seen.device, dtype=seen.dtype))
        wide = pipe.transformer.inner_dim
    else:
        seen = pipe.prepare_ip_adapter_image_embeds(blank, None, pipe.device, 1)
        (tokens,), wide = pipe.transformer.encoder_hid_proj(seen), pipe.transformer.config.joint_attention_dim
    if tokens.shape[-1] != wide:
        raise ValueError(f"its tokens are {tokens.shape[-1]} wide, the base's {wide}")
