"""The reference: each base called through diffusers alone, LoRA and AdamW in the words of their papers.

Nothing of `portrait_lora` computes here.  One picture at a time, no peft, no accelerate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import (
    ChromaPipeline,
    ErnieImagePipeline,
    Flux2KleinPipeline,
    FluxPipeline,
    Krea2Pipeline,
    QwenImage21Pipeline,
    QwenImagePipeline,
)
from torch import Tensor, nn

from portrait_lora.families.family import Geometry, PromptCondition
from portrait_lora.records import FamilyName


def model_space(name: FamilyName, vae: Any, raw: Tensor) -> Tensor:
    """Raw latents (1, C, H, W) as the denoiser knows them."""
    config = vae.config
    if name in ("qwen_image", "qwen_image21", "qwen_image_edit", "krea2"):
        mean, std = (torch.tensor(config[key]).view(1, -1, 1, 1) for key in ("latents_mean", "latents_std"))
        return (raw - mean) / std
    if name in ("flux2", "ernie_image"):
        small = config.batch_norm_eps if name == "flux2" else 1e-5
        mean, spread = vae.bn.running_mean, (vae.bn.running_var + small).sqrt()
        patches = Flux2KleinPipeline._patchify_latents(raw)
        patches = (patches - mean.view(1, -1, 1, 1)) / spread.view(1, -1, 1, 1)
        return Flux2KleinPipeline._unpatchify_latents(patches)
    return (raw - (config.get("shift_factor", None) or 0.0)) * config.scaling_factor


def ask(
    name: FamilyName, net: Any, x: Tensor, level: float, condition: PromptCondition, size: Geometry
) -> Tensor:
    """The answer to one noisy picture (1, C, H, W): epsilon, v, or the velocity from picture to noise."""
    embeds, pooled = condition.embeds_BLD, condition.pooled_BD
    height, width = x.shape[-2:]
    down = 8
    if name == "sd15":
        return net(x, torch.tensor([int(level)]), encoder_hidden_states=embeds).sample
    if name == "sdxl":
        pairs = (size.original_px, size.crop_origin_px, size.target_px)
        sizes = torch.tensor([[float(side) for pair in pairs for side in pair[::-1]]])
        added = {"text_embeds": pooled, "time_ids": sizes}
        t = torch.tensor([int(level)])
        return net(x, t, encoder_hidden_states=embeds, added_cond_kwargs=added).sample
    sigma = torch.tensor([level])
    if name == "sd35":
        text = {"encoder_hidden_states": embeds, "pooled_projections": pooled}
        return net(hidden_states=x, timestep=1000 * sigma, **text).sample
    if name == "flux1":
        answer = net(
            hidden_states=FluxPipeline._pack_latents(x, *x.shape),
            timestep=sigma,
            guidance=torch.ones(1) if net.config.guidance_embeds else None,
            pooled_projections=pooled,
            encoder_hidden_states=embeds,
            txt_ids=torch.zeros(embeds.shape[1], 3),
            img_ids=FluxPipeline._prepare_latent_image_ids(1, height // 2, width // 2, "cpu", torch.float32),
        ).sample
        return FluxPipeline._unpack_latents(answer, height * down, width * down, down)
    if name == "flux2":
        patches = Flux2KleinPipeline._patchify_latents(x)
        places = Flux2KleinPipeline._prepare_latent_ids(patches)
        answer = net(
            hidden_states=Flux2KleinPipeline._pack_latents(patches),
            timestep=sigma,
            guidance=torch.ones(1) if net.config.guidance_embeds else None,
            encoder_hidden_states=embeds,
            txt_ids=Flux2KleinPipeline._prepare_text_ids(embeds),
            img_ids=places,
        ).sample
        grid = Flux2KleinPipeline._unpack_latents_with_ids(answer, places)
        return Flux2KleinPipeline._unpatchify_latents(grid)
    if name == "hidream":
        config = net.config
        t5, llama = config.caption_channels
        states = embeds.split([t5, *[llama] * len(set(config.llama_layers))], dim=2)
        layers = dict(zip(sorted(set(config.llama_layers)), states[1:], strict=True))
        net.train()  # or no gradient passes its experts, as diffusers has them
        answer = net(
            hidden_states=x,
            timesteps=1000 * sigma,
            encoder_hidden_states_t5=states[0],
            encoder_hidden_states_llama3=torch.stack([layers.get(i, states[1]) for i in range(3)]),
            pooled_embeds=pooled,
        ).sample
        places = answer[:, :, : height * width // 4]  # behind them is what fills a picture up
        places = places.unflatten(3, (2, 2)).unflatten(2, (height // 2, width // 2))
        return -places.transpose(3, 4).reshape(x.shape)
    assert condition.mask_BL is not None
    assert condition.mask_BL.all() or name == "sana"  # one prompt is not padded elsewhere
    if name == "z_image":
        return -net([x[0].unsqueeze(1)], 1 - sigma, [embeds[0]]).sample[0].unsqueeze(0).squeeze(2)
    if name == "sana":
        text = {"encoder_hidden_states": embeds, "encoder_attention_mask": condition.mask_BL}
        return net(x, timestep=1000 * sigma * net.config.timestep_scale, **text).sample
    if name == "ernie_image":
        lengths = torch.tensor([embeds.shape[1]])
        answer = net(ErnieImagePipeline._patchify_latents(x), 1000 * sigma, embeds, lengths).sample
        return ErnieImagePipeline._unpatchify_latents(answer)
    if name == "qwen_image21":
        slots = height * width // 4  # one for each 2 x 2 places
        answer = net(
            hidden_states=QwenImage21Pipeline._pack_latents(x, *x.shape),
            timestep=sigma,
            encoder_hidden_states=embeds,
            img_shapes=[[(1, height, width)]],
            img_mask=torch.tensor([[False] * embeds.shape[1] + [True] * slots]),
        ).sample[:, -height * width :]
        return QwenImage21Pipeline._unpack_latents(answer, height * 16, width * 16, 16).squeeze(2)
    if name == "chroma":
        answer = net(
            hidden_states=FluxPipeline._pack_latents(x, *x.shape),
            timestep=sigma,
            encoder_hidden_states=embeds,
            txt_ids=torch.zeros(embeds.shape[1], 3),
            img_ids=ChromaPipeline._prepare_latent_image_ids(1, height // 2, width // 2, "cpu", x.dtype),
        ).sample
        return ChromaPipeline._unpack_latents(answer, height * down, width * down, down)
    if name == "krea2":
        grid = x.shape[-2] // 2, x.shape[-1] // 2
        patches = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 2, 4, 1, 3, 5)
        answer = net(
            hidden_states=patches.reshape(1, -1, 4 * x.shape[1]),
            encoder_hidden_states=torch.stack(embeds.chunk(net.config.num_text_layers, dim=-1), dim=2),
            timestep=sigma,
            position_ids=Krea2Pipeline.prepare_position_ids(embeds.shape[1], *grid, "cpu"),
        ).sample
        return answer.unflatten(2, (-1, 2, 2)).unflatten(1, grid).permute(0, 3, 1, 4, 2, 5).reshape(x.shape)
    answer = net(
        hidden_states=QwenImagePipeline._pack_latents(x, *x.shape),
        timestep=sigma,
        encoder_hidden_states=embeds,
        encoder_hidden_states_mask=None,
        img_shapes=[[(1, height // 2, width // 2)]],
    ).sample
    return QwenImagePipeline._unpack_latents(answer, height * down, width * down, down).squeeze(2)


class PlainLora(nn.Module):
    """W x + (alpha / rank) B A x, on a linear layer (Hu et al. 2021, section 4.1)."""

    def __init__(self, layer: nn.Module, down: Tensor, alpha: float):
        super().__init__()
        self.layer, self.scale = layer, alpha / down.shape[0]
        self.down = nn.Parameter(down.clone())
        self.up = nn.Parameter(torch.zeros(layer.out_features, down.shape[0]))  # type: ignore[arg-type]

    def forward(self, x: Tensor, *_: object) -> Tensor:
        return self.layer(x) + F.linear(F.linear(x, self.down), self.up) * self.scale


def put_loras(net: nn.Module, starts: dict[str, Tensor], alpha: float) -> list[nn.Parameter]:
    """A LoRA round each named layer; their parameters."""
    net.requires_grad_(False)
    parameters: list[nn.Parameter] = []
    for name, down in starts.items():
        parent, _, leaf = name.rpartition(".")
        lora = PlainLora(net.get_submodule(name), down, alpha)
        setattr(net.get_submodule(parent), leaf, lora)
        parameters += [lora.down, lora.up]
    return parameters


class TextbookAdamW:
    """Loshchilov and Hutter 2019, algorithm 2, after clipping to a global norm (Pascanu et al. 2013)."""

    def __init__(self, weights: Sequence[nn.Parameter], decay: float, max_norm: float):
        self.weights, self.decay, self.max_norm = weights, decay, max_norm
        self.first, self.second = ([torch.zeros_like(p) for p in weights] for _ in range(2))
        self.steps = 0

    def step(self, loss: Tensor, rate: float) -> None:
        """One update down the gradient of `loss`."""
        # What the answer does not depend on stays as it is: the last block's way out of the text stream.
        grads = torch.autograd.grad(loss, self.weights, allow_unused=True)
        size = math.sqrt(sum(float(g.square().sum()) for g in grads if g is not None))
        self.steps += 1
        with torch.no_grad():
            for i, (p, g) in enumerate(zip(self.weights, grads, strict=True)):
                if g is None:
                    continue
                g = g * min(1.0, self.max_norm / (size + 1e-6))
                self.first[i] = 0.9 * self.first[i] + 0.1 * g
                self.second[i] = 0.99 * self.second[i] + 0.01 * g * g
                mean = self.first[i] / (1 - 0.9**self.steps)
                spread = (self.second[i] / (1 - 0.99**self.steps)).sqrt()
                p.mul_(1 - rate * self.decay).sub_(rate * mean / (spread + 1e-8))
