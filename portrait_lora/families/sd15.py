"""Stable Diffusion 1.x: CLIP text encoder, AutoencoderKL, UNet2DConditionModel.

The embedded base has the same format at a smaller size.  Shape legend: see `family.py`.
"""

# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false
# diffusers and transformers are typed in part; what they return is narrowed here, at the border.
from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.utils import logging as diffusers_logging
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from portrait_lora import log
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.families.adapter_file import lora_layers
from portrait_lora.families.catalog import BaseModel
from portrait_lora.families.family import (
    ADAPTER_NAME,
    Geometry,
    LatentMoments,
    NoiseSchedule,
    Parts,
    PromptCondition,
)
from portrait_lora.records import Adapter

_log = log.get(__name__)
_T = TypeVar("_T")


class SD15:
    """The `Family` of Stable Diffusion 1.x; weights are float32, faster formats come from autocast."""

    denoiser_name = "unet"

    def __init__(self, base: BaseModel, device: str = "cpu"):
        self.base = base
        self.device = torch.device(device)
        diffusers_logging.disable_progress_bar()
        transformers_logging.disable_progress_bar()
        self._tokenizer: CLIPTokenizer | None = None
        self._text_encoder: CLIPTextModel | None = None
        self._vae: AutoencoderKL | None = None
        self._denoiser: nn.Module | None = None
        self._schedule: NoiseSchedule | None = None
        self._latent_scale: tuple[float, float] | None = None
        self._pipeline: StableDiffusionPipeline | None = None

    @property
    def denoiser(self) -> nn.Module:
        """The UNet; an accelerator may put its wrapped form in place."""
        return _loaded(self._denoiser, "denoiser")

    @denoiser.setter
    def denoiser(self, module: nn.Module) -> None:
        self._denoiser = module

    @property
    def schedule(self) -> NoiseSchedule:
        """The noise process of the base's own scheduler configuration, on the CPU."""
        if self._schedule is None:
            scheduler = cast(DDPMScheduler, self._open(DDPMScheduler, "scheduler"))
            kind = str(scheduler.config["prediction_type"])
            if kind not in ("epsilon", "v_prediction"):
                raise InputError(
                    "unsupported prediction type", where=self.base.source, got=kind, needed="epsilon or v"
                )
            self._schedule = NoiseSchedule(scheduler.alphas_cumprod.to(torch.float32), kind)
        return self._schedule

    def load(self, parts: Parts) -> None:
        """Load one half of the model on the device and free the other; `none` frees everything.

        Raises `InputError` when the weights are not on this machine.
        """
        if parts != "encoders":
            self._tokenizer = self._text_encoder = self._vae = None
        if parts != "denoiser":
            self._denoiser = None
        if parts == "none":
            self._pipeline = None
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if parts == "encoders" and self._vae is None:
            self._tokenizer = cast(CLIPTokenizer, self._open(CLIPTokenizer, "tokenizer"))
            self._text_encoder = cast(CLIPTextModel, self._frozen(CLIPTextModel, "text_encoder"))
            self._vae = cast(AutoencoderKL, self._frozen(AutoencoderKL, "vae"))
        if parts == "denoiser" and self._denoiser is None:
            self._denoiser = self._frozen(UNet2DConditionModel, "unet")

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> PromptCondition:
        """Last hidden states of the text encoder, padded to the tokenizer's length as in the pipeline."""
        tokenizer = _loaded(self._tokenizer, "encoders")
        encoder = _loaded(self._text_encoder, "encoders")
        length = cast(int, tokenizer.model_max_length)
        tokens = tokenizer(
            list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        )
        ids_BL = cast(Tensor, tokens["input_ids"]).to(self.device)
        for prompt in prompts:
            words = cast(Sequence[int], tokenizer(prompt)["input_ids"])
            if len(words) > length:
                _log.warning("prompt cut after %d tokens: %s", length, prompt)
        mask_BL = None
        if getattr(encoder.config, "use_attention_mask", False):
            mask_BL = cast(Tensor, tokens["attention_mask"]).to(self.device)
        embeds_BLD = cast(Tensor, encoder(ids_BL, attention_mask=mask_BL)[0])
        return PromptCondition(embeds_BLD)

    @torch.no_grad()
    def encode_pixels(self, pixels_BCHW: Tensor) -> LatentMoments:
        """Posterior moments of the VAE, unscaled; height and width must suit its downsampling."""
        vae = cast(Any, _loaded(self._vae, "encoders"))
        posterior = vae.encode(pixels_BCHW.to(self.device)).latent_dist
        return LatentMoments(posterior.mean, posterior.std)

    def to_model_space(self, latents_BCHW: Tensor) -> Tensor:
        """(latents - shift) × scaling factor of the VAE's configuration."""
        if self._latent_scale is None:
            config = cast(Mapping[str, float | None], AutoencoderKL.load_config(**self._where("vae")))
            self._latent_scale = (config.get("shift_factor") or 0.0, config.get("scaling_factor") or 0.18215)
        shift, scale = self._latent_scale
        return (latents_BCHW - shift) * scale

    def predict(
        self,
        noisy_BCHW: Tensor,
        noise_level_B: Tensor,
        condition: PromptCondition,
        geometry: Sequence[Geometry],
    ) -> Tensor:
        """The UNet's epsilon or v; this family does not look at the geometry."""
        del geometry
        answer = self.denoiser(
            noisy_BCHW, noise_level_B, encoder_hidden_states=condition.embeds_BLD, return_dict=False
        )
        return cast(Tensor, answer[0])

    def pipeline(self, adapter: Adapter | None) -> StableDiffusionPipeline:
        """DPM-Solver++ on the base's own noise schedule, with the adapter loaded as `ADAPTER_NAME`.

        One pipeline is kept and its adapter exchanged.  Raises `InputError` for an adapter of another
        family, `ArtifactError` when not every layer of the file went in.
        """
        if self._pipeline is None:
            self._pipeline = self._open_pipeline()
        pipe = self._pipeline
        pipe.unload_lora_weights()
        if adapter is None:
            return pipe
        if adapter.family != self.base.family:
            raise InputError(
                "the adapter belongs to another family",
                where=adapter.path,
                got=adapter.family,
                needed=self.base.family,
            )
        if adapter.base_digest != self.base.digest:
            _log.warning("%s was trained on another base than %s", adapter.path, self.base.label)
        needed = lora_layers(adapter.path)
        pipe.load_lora_weights(
            str(adapter.path.parent), weight_name=adapter.path.name, adapter_name=ADAPTER_NAME
        )
        got = _injected(pipe.unet)
        if got == 0 or got != needed:
            raise ArtifactError(
                "not every layer of the adapter fits", where=adapter.path, got=got, needed=needed
            )
        return pipe

    def _open_pipeline(self) -> StableDiffusionPipeline:
        pipe = cast(
            StableDiffusionPipeline,
            self._open(
                StableDiffusionPipeline,
                None,
                safety_checker=None,
                feature_extractor=None,
                image_encoder=None,
                requires_safety_checker=False,
            ),
        )
        solver = cast(Any, DPMSolverMultistepScheduler)
        pipe.scheduler = solver.from_config(pipe.scheduler.config)
        pipe.set_progress_bar_config(disable=True)
        return pipe.to(self.device)

    def _where(self, part: str | None) -> dict[str, Any]:
        local: dict[str, Any] = {"pretrained_model_name_or_path": self.base.source, "local_files_only": True}
        if part:
            local["subfolder"] = part
        if self.base.folder is None:
            local["revision"] = self.base.revision
        return local

    def _open(self, kind: Any, part: str | None, **more: object) -> object:
        """`from_pretrained` without the network; a base that is not here is an `InputError`."""
        try:
            return kind.from_pretrained(**self._where(part), **more)
        except OSError as error:
            repo = self.base.repo
            remedy = f"Fetch it first ({self.base.download_gb:g} GB): hf download {repo}"
            raise InputError(
                f"the weights of base {self.base.name!r} are not on this machine",
                where=self.base.source,
                got=str(error).splitlines()[0] if str(error) else type(error).__name__,
                remedy="" if self.base.folder else remedy,
            ) from error

    def _frozen(self, kind: Any, part: str) -> nn.Module:
        module = cast(nn.Module, self._open(kind, part))
        return module.to(self.device).requires_grad_(False).eval()


def _loaded(part: _T | None, parts: str) -> _T:
    if part is None:
        raise RuntimeError(f'call load("{parts}") first')
    return part


def _injected(module: nn.Module) -> int:
    """How many layers of a module carry the adapter."""
    return sum(ADAPTER_NAME in getattr(m, "lora_A", {}) for m in module.modules())
