"""What all families have in common: parts loaded and freed, the VAE, the pipeline with its adapter.

A family derives from `DiffusersFamily`, names its classes, and adds how prompts become conditions and how
its denoiser is asked.  Nothing here knows a family by name.  Shape legend: see `family.py`.
"""

# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# diffusers is typed in part; what it returns is narrowed here, at the border.
from __future__ import annotations

import gc
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, cast

import torch
from PIL.Image import Image
from torch import Tensor, nn

from portrait_lora import log, starting
from portrait_lora.errors import InputError, PortraitError
from portrait_lora.families.catalog import BaseModel
from portrait_lora.families.family import (
    ADAPTER_NAME,
    FlowSchedule,
    Geometry,
    LatentMoments,
    LoraLayers,
    NoiseSchedule,
    Parts,
    PromptCondition,
    Weights,
)
from portrait_lora.families.footprint import QUANTISED, Placement
from portrait_lora.families.lora_loading import load_lora
from portrait_lora.families.parts import loaded, modules
from portrait_lora.families.placing import placed, placement_of
from portrait_lora.families.store import DTYPES, Store, refuse_other_family
from portrait_lora.families.tensor_files import TensorFiles
from portrait_lora.records import Adapter

_log = log.get(__name__)


class DiffusersFamily(ABC):
    """A `Family` whose weights lie in diffusers layout, in a folder or in the hub's cache.

    `patch` is the side of a denoiser's token in latent places; `pipeline_options` go to every pipeline;
    `solver` replaces its sampler, on the base's own noise schedule; `guides_in_one_batch`: its pipeline asks
    for both halves of classifier-free guidance in one batch, the empty prompts first; `rows_are_pictures`:
    every layer gets one row per picture in its first axis, and all pictures at once; `placement`: which
    layers of the pipeline wait on the host, and visit the device when they compute; `text_offloaded`: those
    of the encoders do so too while they read prompts for training; `room_gb`: memory of a GPU.
    """

    base: BaseModel
    device: torch.device
    weights: Weights
    denoiser_name: str = "transformer"
    denoiser_type: Any
    vae_type: Any
    pipeline_type: Any
    pipeline_options: Mapping[str, object] = {}
    solver: Any = None
    guides_in_one_batch: bool = False
    rows_are_pictures: bool = True
    patch: int = 2
    streamed: bool = False
    placement: Placement = "resident"
    room_gb: float | None = None
    text_offloaded: bool = False
    lora_layers: LoraLayers

    def __init__(self, base: BaseModel, device: str = "cpu", weights: Weights = "float32"):
        """Nothing is loaded yet.  Raises `InputError` when the folder holds a base of another family."""
        self.base = base
        self.device = torch.device(device)
        self.weights = weights
        self._usual: Weights = weights  # of pipelines
        self.store = Store(base)
        self.files: TensorFiles | None = None  # of the denoiser, while its blocks are read from there
        self._encoders: Any | None = None  # the pipeline without VAE and denoiser
        self._vae: Any | None = None
        self._denoiser: nn.Module | None = None
        self._pipeline: Any | None = None
        self._pipeline_in: Weights = weights
        self._schedule: NoiseSchedule | FlowSchedule | None = None
        if base.folder is not None:
            kind = self.denoiser_type.__name__
            refuse_other_family(base.folder, base.family, self.denoiser_name, kind, self.fits)

    @property
    def denoiser(self) -> nn.Module:
        """The denoiser; an accelerator may put its wrapped form in place."""
        return loaded(self._denoiser, "denoiser")

    @denoiser.setter
    def denoiser(self, module: nn.Module) -> None:
        self._denoiser = module

    def text_encoders(self) -> Mapping[str, nn.Module]:
        """By their names in the pipeline, with which their keys in a LoRA file begin."""
        return modules(loaded(self._encoders, "encoders"))

    @property
    def schedule(self) -> NoiseSchedule | FlowSchedule:
        """The noise process of the base's own scheduler configuration, on the CPU."""
        if self._schedule is None:
            self._schedule = self.read_schedule()
        return self._schedule

    @abstractmethod
    def read_schedule(self) -> NoiseSchedule | FlowSchedule:
        """The schedule; asked for once."""

    @property
    def by_files(self) -> bool:
        """Whether the denoiser's blocks stay in their files: without a GPU there is no other place."""
        return self.streamed and self.device.type == "cpu"

    @property
    def dtype(self) -> torch.dtype:
        """In which the frozen weights compute."""
        return DTYPES[self.weights]

    @property
    def multiple_px(self) -> int:
        """Both sides of a picture are multiples of this."""
        return self.latent_px * self.patch

    @property
    def latent_px(self) -> int:
        """The side of a latent place in pixels."""
        return 2 ** (len(cast(Sequence[int], self.vae_config["block_out_channels"])) - 1)

    @cached_property
    def vae_config(self) -> Mapping[str, Any]:
        """The VAE's configuration; the VAE itself need not be loaded."""
        return self.store.config(self.vae_type, "vae")

    @cached_property
    def denoiser_config(self) -> Mapping[str, Any]:
        """The denoiser's configuration, whatever has been put round the denoiser itself."""
        return self.store.config(self.denoiser_type, self.denoiser_name)

    def load(self, parts: Parts) -> None:
        """Load one half of the model on the device and free the other; `none` frees everything.

        Raises `InputError` when the weights are not on this machine.
        """
        starting.settle()
        held = self._held()
        if parts not in ("encoders", "denoiser_and_text"):
            self._encoders = None
        if parts != "encoders":
            self._vae = None
        if not parts.startswith("denoiser"):
            self._denoiser = None
        if parts == "none":
            self._pipeline = None
        if held > self._held():
            self._collect()
        if parts == "encoders" and self._vae is None:
            self._encoders, self._vae = self._open_placed_encoders(), self.open_vae()
        if parts == "denoiser_and_text" and self._encoders is None:
            self._encoders = self._open_encoders().to(self.device)
        if parts.startswith("denoiser") and self._denoiser is None:
            self._denoiser = self._open_denoiser(self.weights)

    def _collect(self) -> None:
        gc.collect()  # modules refer to each other in circles
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _held(self) -> int:
        """How many parts are in memory."""
        return sum(p is not None for p in (self._encoders, self._vae, self._denoiser, self._pipeline))

    @abstractmethod
    def encode_prompts(self, prompts: Sequence[str]) -> PromptCondition:
        """Prompts to the condition `predict` takes, as the family's pipeline makes it."""

    def encode_prompts_beside(self, prompts: Sequence[str], pictures: Sequence[Image]) -> PromptCondition:
        """See `Family.encode_prompts_beside`; most text encoders see no pictures."""
        del pictures
        return self.encode_prompts(prompts)

    @torch.no_grad()
    def encode_pixels(self, pixels_BCHW: Tensor) -> LatentMoments:
        """Posterior moments of the VAE, unscaled.  Raises `InputError` for sides that do not fit."""
        loaded(self._vae, "encoders")
        height, width = pixels_BCHW.shape[-2:]
        if height % self.multiple_px or width % self.multiple_px:
            raise InputError(
                f"a picture of this size cannot be given to {self.base.name}",
                got=f"{width} x {height} px",
                needed=f"sides that are multiples of {self.multiple_px} px",
            )
        return self.moments(pixels_BCHW.to(self.device))

    def moments(self, pixels_BCHW: Tensor) -> LatentMoments:
        """`encode_pixels` for pictures of a fitting size, on the device."""
        posterior = loaded(self._vae, "encoders").encode(self.vae_input(pixels_BCHW)).latent_dist
        return LatentMoments(self.vae_output(posterior.mean), self.vae_output(posterior.std))

    def vae_input(self, values_BCHW: Tensor) -> Tensor:
        """Pixels, or latents, as the VAE takes them."""
        return values_BCHW

    def vae_output(self, values: Tensor) -> Tensor:
        """What the VAE gives, as (B, C, H, W)."""
        return values

    def shown_pixels(self, picture: Image) -> Tensor:
        """See `Family.shown_pixels`; most families take no references."""
        raise InputError("this family does not take reference photos", got=self.base.family)

    def to_model_space(self, latents_BCHW: Tensor) -> Tensor:
        """(latents - shift) × scaling factor of the VAE's configuration."""
        shift = cast(float, self.vae_config.get("shift_factor") or 0.0)
        return (latents_BCHW - shift) * cast(float, self.vae_config["scaling_factor"])

    def from_model_space(self, latents_BCHW: Tensor) -> Tensor:
        """The inverse of `to_model_space`."""
        shift = cast(float, self.vae_config.get("shift_factor") or 0.0)
        return latents_BCHW / cast(float, self.vae_config["scaling_factor"]) + shift

    def open_decoder(self) -> Callable[[Tensor], Tensor]:
        """See `Family.open_decoder`."""
        vae = self.open_vae()

        def decode(latents_BCHW: Tensor) -> Tensor:
            raw = self.vae_input(self.from_model_space(latents_BCHW.to(self.device)))
            return self.vae_output(vae.decode(raw).sample)

        return decode

    def predict(
        self,
        noisy_BCHW: Tensor,
        noise_level_B: Tensor,
        condition: PromptCondition,
        geometry: Sequence[Geometry],
    ) -> Tensor:
        """The denoiser's answer in float32, in the layout of `noisy_BCHW`; see `Family.predict`."""
        noisy_BCHW, pooled_BD = noisy_BCHW.to(self.dtype), condition.pooled_BD
        typed = PromptCondition(
            condition.embeds_BLD.to(self.dtype),
            condition.mask_BL,
            None if pooled_BD is None else pooled_BD.to(self.dtype),
            tuple(one.to(self.dtype) for one in condition.references),
        )
        return self.ask(noisy_BCHW, noise_level_B, typed, geometry).float()

    @abstractmethod
    def ask(
        self, noisy_BCHW: Tensor, level_B: Tensor, condition: PromptCondition, geometry: Sequence[Geometry]
    ) -> Tensor:
        """`predict` in the precision of the weights."""

    def pipeline(self, adapter: Adapter | None, weights: Weights | None = None) -> Any:
        """The diffusers pipeline, with the adapter loaded as `ADAPTER_NAME` or bare; see `Family.pipeline`.

        One pipeline is kept and its adapter exchanged.  Raises `InputError` for an adapter of another
        family, for quantised weights without a CUDA device or too large for it, and as `load_lora` does:
        every layer of the file goes in, or none.
        """
        if adapter is not None and adapter.family != self.base.family:
            raise InputError(
                "the adapter belongs to another family",
                where=adapter.path,
                got=adapter.family,
                needed=self.base.family,
            )
        held = weights or self._usual
        if self._pipeline is not None and self._pipeline_in != held:
            self._pipeline = None
            self._collect()
        if self._pipeline is None:
            self._pipeline, self._pipeline_in = self._open_pipeline(held), held
        pipe: Any = self._pipeline
        pipe.unload_lora_weights()
        if getattr(pipe, "image_encoder", None) is not None:  # of a style reference
            pipe.unload_ip_adapter()
        if adapter is None:
            return pipe
        if adapter.base_digest != self.base.digest:
            _log.warning("%s was trained on another base than %s", adapter.path, self.base.label)
        try:
            load_lora(pipe, adapter.path, ADAPTER_NAME)
        except PortraitError:
            self._pipeline = None  # it may be half changed
            raise
        return pipe

    def open_vae(self) -> Any:
        """The VAE in float32 on the device."""
        return self.store.open(self.vae_type, "vae").to(self.device).requires_grad_(False).eval()

    def fits(self, config: Mapping[str, object]) -> bool:
        """Whether the denoiser's configuration is one of this family's."""
        del config
        return True

    def chosen_pipeline(self) -> Any:
        """The class of the pipeline, where a family has several."""
        return self.pipeline_type

    def borrowed_parts(self, weights: Weights) -> Mapping[str, object]:
        """Opened parts of the pipeline that another repository holds; in most families none."""
        return {}

    def _open_pipeline(self, weights: Weights) -> Any:
        quantised: dict[str, object] = {}
        usual = weights == self._usual
        where = self.placement if usual else placement_of(self.base, self.room_gb, weights)
        if self.streamed and weights not in QUANTISED:
            where = "offloaded"
        if weights in QUANTISED:
            quantised = {self.denoiser_name: self._open_denoiser(weights, generating=True)}
        options = {**self.pipeline_options, **self.borrowed_parts(weights)}
        more: dict[str, Any] = {"dtype": DTYPES[weights], **quantised, **options}
        pipe = self.store.open(self.chosen_pipeline(), None, generating=True, **more)
        if self.solver is not None:
            pipe.scheduler = self.solver.from_config(pipe.scheduler.config)
        pipe.set_progress_bar_config(disable=True)
        return placed(pipe, self.device, where)

    def _open_placed_encoders(self) -> Any:
        aside = self.streamed or self.text_offloaded
        return placed(self._open_encoders(), self.device, "offloaded" if aside else "resident")

    def _open_encoders(self) -> Any:
        # Language models overflow in float16; the VAE is small and its moments are kept: full precision.
        dtype = torch.float32 if self.weights == "float32" else torch.bfloat16
        bare: dict[str, Any] = {
            self.denoiser_name: None,
            "vae": None,
            **self.pipeline_options,
            **self.borrowed_parts(self.weights),
        }
        pipe = self.store.open(self.chosen_pipeline(), None, dtype=dtype, **bare)
        for module in modules(pipe).values():
            module.requires_grad_(False)
        return pipe

    def _open_denoiser(self, weights: Weights, *, generating: bool = False) -> nn.Module:
        if weights in QUANTISED and self.device.type != "cuda":
            where = "generate.weights" if generating else "training.weights"
            raise InputError(f"{weights} weights need a CUDA device", where=where, got=self.device)
        if self.by_files and not generating:
            module, self.files = self.store.open_by_files(
                self.denoiser_type, self.denoiser_name, DTYPES[weights]
            )
            return cast(nn.Module, module.requires_grad_(False).eval())
        module = self.store.open_denoiser(
            self.denoiser_type, self.denoiser_name, weights, generating=generating
        )
        # Quantised weights are put on their device while they are read; blocks that are streamed stay here.
        if weights not in QUANTISED and not self.streamed:
            module = module.to(self.device)
        return cast(nn.Module, module.requires_grad_(False).eval())
