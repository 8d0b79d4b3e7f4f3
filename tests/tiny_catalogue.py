"""A tiny random model for every repository of the catalogue: its pipeline, its parts, its peculiarities.

`write_repository(repo, family, folder)` writes one in the layout of that repository.  What distinguishes it
from its siblings (distilled, other blocks, another text encoder, another clock) is in `PECULIAR`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from portrait_lora.records import FamilyName
from portrait_lora.tasks.verify.reference import plain_pipeline
from tests.tiny_families import make_tiny, name_whole_processor, qwen_numbers, qwen_tokenizer, randomized

_PROMPT = "{% for m in messages %}[{{ m.role }}] {% for c in m.content %}{{ c.text }}{% endfor %}{% endfor %}"
_LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
_IMAGE = ["[IMG]", "[IMG_BREAK]", "[IMG_END]"]


def write_repository(repo: str, family: FamilyName, folder: Path) -> Path:
    """Write the model; siblings of one seed share their weights wherever their shapes agree."""
    plain = make_tiny(family, folder.with_name(f"{folder.name}-plain"))
    pipe: Any = plain_pipeline(str(plain))
    pipe = PECULIAR.get(repo, lambda p: p)(pipe)
    pipe.save_pretrained(folder, safe_serialization=True)
    if isinstance(pipe, diffusers.Flux2Pipeline):  # the real one is a processor, which needs torchvision
        index = json.loads((folder / "model_index.json").read_text())
        index["tokenizer"] = ["transformers", "PixtralProcessor"]
        (folder / "model_index.json").write_text(json.dumps(index))
    name_whole_processor(folder, family)
    if isinstance(pipe, diffusers.HiDreamImagePipeline):
        _keep_one_side(folder, llama=repo == _LLAMA)
    return folder


def _keep_one_side(folder: Path, *, llama: bool) -> None:
    """The rest without Llama, which its index names all the same; or Llama alone, without folders."""
    parts = [folder / "text_encoder_4", folder / "tokenizer_4"]
    if llama:
        for file in [file for part in parts for file in part.iterdir()]:
            file.replace(folder.parent / f"{folder.name}-{file.name}")
        shutil.rmtree(folder)
        folder.mkdir()
        for file in folder.parent.glob(f"{folder.name}-*.*"):
            file.replace(folder / file.name.removeprefix(f"{folder.name}-"))
        return
    for part in parts:
        shutil.rmtree(part)


def _rebuilt(pipe: Any, **changes: Any) -> Any:
    """The pipeline with another transformer of the same kind; weights of the same shape are kept."""
    old = pipe.transformer
    with torch.random.fork_rng():
        torch.manual_seed(0)
        new = randomized(type(old).from_config({**old.config, **changes}))
    kept = {
        k: v
        for k, v in old.state_dict().items()
        if k in (there := new.state_dict()) and v.shape == there[k].shape
    }
    new.load_state_dict(kept, strict=False)
    pipe.register_modules(transformer=new)
    return pipe


def _clock(pipe: Any, **changes: Any) -> Any:
    pipe.register_modules(scheduler=type(pipe.scheduler).from_config({**pipe.scheduler.config, **changes}))
    return pipe


def _schnell(pipe: Any) -> Any:
    return _clock(_rebuilt(pipe, guidance_embeds=False), use_dynamic_shifting=False, shift=1.0)


def _large(pipe: Any) -> Any:
    return _rebuilt(pipe, dual_attention_layers=())


def _distilled(pipe: Any) -> Any:
    pipe.register_to_config(is_distilled=True)
    return pipe


def _own_levels(pipe: Any) -> Any:
    pipe.register_to_config(sample_sigmas=[1.0, 0.97, 0.9, 0.5])
    return pipe


def _turbo(pipe: Any) -> Any:
    return _clock(pipe, shift=3.0)


def _dev(pipe: Any) -> Any:
    """FLUX.2 dev: guidance embedded, and a language model of another maker."""
    wide, tokenizer = _rebuilt(pipe, guidance_embeds=True), qwen_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": _IMAGE})
    tokenizer.chat_template, tokenizer.padding_side = _PROMPT, "left"
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Mistral3Config(
        text_config={"model_type": "mistral", **qwen_numbers(30), "head_dim": 8},
        vision_config={"model_type": "pixtral", **vision, "image_size": 16, "patch_size": 4, "head_dim": 8},
        image_token_index=tokenizer.convert_tokens_to_ids("[IMG]"),
    )
    text = transformers.Mistral3ForConditionalGeneration(config).eval()
    return diffusers.Flux2Pipeline(wide.scheduler, wide.vae, text, tokenizer, wide.transformer)


def _parted(pipe: Any) -> Any:
    return pipe


PECULIAR: dict[str, Callable[[Any], Any]] = {
    "stabilityai/stable-diffusion-3.5-large": _large,
    "black-forest-labs/FLUX.1-schnell": _schnell,
    "black-forest-labs/FLUX.2-klein-4B": _distilled,
    "black-forest-labs/FLUX.2-klein-9B": _distilled,
    "black-forest-labs/FLUX.2-dev": _dev,
    "Tongyi-MAI/Z-Image-Turbo": _turbo,
    "krea/Krea-2-Turbo": _distilled,
    "Qwen/Qwen-Image-2.1-Turbo": _own_levels,
    "HiDream-ai/HiDream-I1-Full": _parted,
    _LLAMA: _parted,
}
