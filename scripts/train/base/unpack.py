"""Stage `unpack`: checkpoints out of the folder that ships, for training that goes on from it.

The vocabulary may have grown since: the tokenizer is built anew, and words that the shipped one lacks begin
as small noise.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Final

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file
from torch import Tensor

from scripts.train.checkpoint import CHECKPOINT, State, write_atomically, write_json

from .export import EARLIER, TRAINING
from .tokenizer import write_tokenizer
from .unet import FOLDER
from .vae import halves

_UNET: Final = "unet/diffusion_pytorch_model.safetensors"
_TEXT: Final = "text_encoder/model.safetensors"
WORDS: Final = "text.embeddings.token_embedding.weight"
"""The word embeddings within a checkpoint of the UNet."""
NEW_WORD_STD: Final = 0.02


def unpack(source: Path, out: Path, names: Path) -> None:
    """Write tokenizer, both halves of the autoencoder, and the UNet with its text encoder to `out`.

    `names` is the file of the network of names that `export` left beside the checkpoints.
    The weights are those of the running average in half precision; optimiser and schedule begin anew.
    Raises FileExistsError when `out` holds a UNet checkpoint already.
    """
    if (out / FOLDER / CHECKPOINT).exists():
        raise FileExistsError(f"{out / FOLDER / CHECKPOINT} exists; choose another --out")
    write_tokenizer(out / "tokenizer")
    if (source / TRAINING).exists():
        shutil.copyfile(source / TRAINING, out / EARLIER)
    vae = AutoencoderKL.from_pretrained(source / "vae")
    channels, groups = vae.config["block_out_channels"], vae.config["norm_num_groups"]
    (out / "vae_shape.txt").write_text(f"{','.join(map(str, channels))} {groups}")
    for part, modules in zip(("encoder", "decoder"), halves(vae), strict=True):
        _checkpoint(
            out / part, {k: v.float() for k, v in modules.named_parameters()}, finished=part == "encoder"
        )
    unet = UNet2DConditionModel.load_config(source / "unet")
    attention = [int("CrossAttn" in block) for block in unet["down_block_types"]]
    shape = {
        "channels": unet["block_out_channels"],
        "attention": attention,
        "layers": unet["layers_per_block"],
    }
    write_json(out / FOLDER / "shape.json", shape)
    weights = {f"unet.{k}": v for k, v in load_file(source / _UNET).items()}
    weights |= {f"text.{k}": v for k, v in load_file(source / _TEXT).items()}
    weights[WORDS] = embeddings_for(
        weights[WORDS].float(), ids_of(source / "tokenizer"), ids_of(out / "tokenizer")
    )
    weights |= {f"names.{k}": v for k, v in load_file(names).items()}
    _checkpoint(out / FOLDER, {k: v.float() for k, v in weights.items()})


def embeddings_for(table: Tensor, old: dict[str, int], new: dict[str, int]) -> Tensor:
    """(V, width) word embeddings of `table` in the order of another vocabulary.

    `old` and `new` map tokens to rows.  A token that `old` lacks begins with CLIP's spread of 0.02, drawn
    with a fixed seed.
    """
    generator = torch.Generator().manual_seed(0)
    extended = torch.randn(len(new), table.shape[1], generator=generator) * NEW_WORD_STD
    for token, row in new.items():
        if token in old:
            extended[row] = table[old[token]]
    return extended


def ids_of(tokenizer: Path) -> dict[str, int]:
    """Token to number, of a tokenizer's folder."""
    return json.loads((tokenizer / "vocab.json").read_text(encoding="utf-8"))


def _checkpoint(folder: Path, weights: dict[str, Tensor], *, finished: bool = False) -> None:
    """Weights as both the weights and their running average."""
    tensors = {
        f"{part}/{k}": v.detach().clone() for part in ("weights", "average") for k, v in weights.items()
    }
    write_atomically(folder / CHECKPOINT, tensors, {"state": json.dumps(asdict(State(finished=finished)))})
