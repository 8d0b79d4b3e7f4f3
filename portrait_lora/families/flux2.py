"""FLUX.2: one language model as text encoder, normalised 2×2 patches, positions in four dimensions.

klein reads its prompts with Qwen3, dev with Mistral; the index of the base says which pipeline it has.
Shape legend: see `family.py`.
"""

# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final, cast

import torch
from diffusers import (
    DiffusionPipeline,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
)
from diffusers.pipelines.flux2.image_processor import Flux2ImageProcessor
from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu
from PIL.Image import Image
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedTokenizerFast

from portrait_lora.errors import InputError
from portrait_lora.families.family import (
    JOINT_ATTENTION,
    FlowSchedule,
    Geometry,
    LoraLayers,
    Parts,
    PromptCondition,
    Weights,
)
from portrait_lora.families.packing import pack, positions, unpack
from portrait_lora.families.parts import loaded
from portrait_lora.families.patch_vae import PatchVae

_GUIDANCE: Final = 1.0
_STEPS: Final = 50
_TOKENS: Final = (256, 4096)
_APART: Final = 10
"""Between the positions of a picture and of what is shown with it, in the first dimension."""


class Flux2(PatchVae):
    """The `Family` of FLUX.2 klein and dev.

    The outgoing layer of a single-stream block is left alone: its name is that of a list elsewhere.
    """

    denoiser_type = Flux2Transformer2DModel
    pipeline_type = Flux2KleinPipeline
    lora_layers = LoraLayers(
        (*JOINT_ATTENTION, "to_qkv_mlp_proj"),
        (
            *JOINT_ATTENTION,
            "to_qkv_mlp_proj",
            "ff.linear_in",
            "ff.linear_out",
            "ff_context.linear_in",
            "ff_context.linear_out",
        ),
    )

    def read_schedule(self) -> FlowSchedule:
        """Straight lines; the shift of the pipeline's own rule at 50 steps, linear in the tokens."""
        mu = [compute_empirical_mu(tokens, _STEPS) for tokens in _TOKENS]
        return FlowSchedule(1.0, (_TOKENS[0], mu[0], _TOKENS[1], mu[1]), self.patch)

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> PromptCondition:
        """Hidden states of three layers side by side, padded to 512 tokens."""
        encoders = loaded(self._encoders, "encoders")
        embeds_BLD, _ = encoders.encode_prompt(list(prompts), device=self.device)
        return PromptCondition(embeds_BLD)

    def shown_pixels(self, picture: Image) -> Tensor:
        """At most 1024 x 1024 px in area, and cut to whole patches, as the pipelines do."""
        processor = Flux2ImageProcessor(vae_scale_factor=self.multiple_px)
        try:
            processor.check_image_input(picture)
        except ValueError as error:
            raise InputError("this photo cannot be shown as a reference", got=error) from error
        picture = processor._resize_if_exceeds_area(picture)  # pyright: ignore[reportPrivateUsage]
        width, height = (side // self.multiple_px * self.multiple_px for side in picture.size)
        return processor.preprocess(picture, height=height, width=width, resize_mode="crop")

    def ask(
        self, noisy_BCHW: Tensor, level_B: Tensor, condition: PromptCondition, geometry: Sequence[Geometry]
    ) -> Tensor:
        """Velocity; positions are (0, row, column, 0) for places and (0, 0, 0, token) for text.

        References stand behind the picture, the first at (10, row, column, 0), the second at 20.
        """
        del geometry
        count, length = condition.embeds_BLD.shape[:2]
        device = noisy_BCHW.device
        rows, columns = noisy_BCHW.shape[-2] // 2, noisy_BCHW.shape[-1] // 2
        text_L4 = pad(torch.arange(length, device=device)[:, None], (3, 0))
        shown = [noisy_BCHW, *condition.references]
        place_N4 = torch.cat([_places(one, _APART * number) for number, one in enumerate(shown)])
        guided = self.denoiser_config.get("guidance_embeds", True)
        answer = self.denoiser(
            hidden_states=torch.cat([pack(one) for one in shown], dim=1),
            timestep=level_B,
            guidance=torch.full_like(level_B, _GUIDANCE, dtype=torch.float32) if guided else None,
            encoder_hidden_states=condition.embeds_BLD,
            txt_ids=text_L4.expand(count, -1, -1),
            img_ids=place_N4.expand(count, -1, -1),
            return_dict=False,
        )
        return unpack(cast(Tensor, answer[0])[:, : rows * columns], 2 * rows, 2 * columns)

    @cached_property
    def pipeline_options(self) -> Mapping[str, object]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """dev's processor wants torchvision for pictures that it is never shown; its tokenizer is enough."""
        return {"tokenizer": None} if self.chosen_pipeline() is Flux2Pipeline else {}

    def load(self, parts: Parts) -> None:
        """See `DiffusersFamily.load`."""
        super().load(parts)
        self._with_words(self._encoders)

    def _open_pipeline(self, weights: Weights) -> Any:
        return self._with_words(super()._open_pipeline(weights))

    def _with_words(self, pipe: Any) -> Any:
        """The pipeline with the tokenizer of dev, when it was opened without one."""
        if pipe is not None and pipe.tokenizer is None:
            pipe.register_modules(tokenizer=self.store.open(PreTrainedTokenizerFast, "tokenizer"))
        return pipe

    def chosen_pipeline(self) -> Any:
        """As the index of the base says."""
        index = self.store.config(DiffusionPipeline, None)
        dev = index.get("_class_name") == Flux2Pipeline.__name__
        return Flux2Pipeline if dev else Flux2KleinPipeline


def _places(latents_BCHW: Tensor, time: int) -> Tensor:
    """(N, 4): where the patches of a picture stand."""
    rows, columns = latents_BCHW.shape[-2] // 2, latents_BCHW.shape[-1] // 2
    place_N4 = pad(positions(rows, columns, latents_BCHW.device), (0, 1))
    place_N4[:, 0] = time
    return place_N4
