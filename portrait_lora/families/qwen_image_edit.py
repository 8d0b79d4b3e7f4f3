"""Qwen-Image-Edit: Qwen-Image with photos behind the picture, which its text encoder sees as well.

Its prompts are read beside the photos, about 384 x 384 px each; the VAE's latents of the same photos, about
1024 x 1024 px each, are further frames of the picture.  diffusers' pipeline insists on a photo, and draws one
picture at a time; without photos the same prompts, in the same instruction, go to the pipeline of Qwen-Image.

Shape legend: see `family.py`.
"""

# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, wraps
from typing import Any, Final, cast

import diffusers
import torch
from diffusers.image_processor import VaeImageProcessor
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as edit_plus
from diffusers.pipelines.qwenimage.pipeline_output import QwenImagePipelineOutput
from PIL.Image import Image
from torch import Tensor
from transformers import Qwen2Tokenizer, Qwen2VLProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.processing_utils import ProcessorMixin

from portrait_lora.families.family import PromptCondition
from portrait_lora.families.one_by_one import each, together
from portrait_lora.families.parts import loaded
from portrait_lora.families.qwen_image import QwenImage, QwenImagePipeline

_PARTS: Final = ("scheduler", "vae", "text_encoder", "tokenizer", "transformer")
"""What the pipeline of Qwen-Image is made of."""
_Named = dict[str, Any]


class PhotoProcessor(Qwen2VLProcessor):
    """The base's processor for words and photos; the whole, which knows videos, needs torchvision."""

    def __init__(self, image_processor: Any, tokenizer: Any):
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        ProcessorMixin.__init__(self, image_processor, tokenizer)


class QwenImageEditPlusPipeline(diffusers.QwenImageEditPlusPipeline):
    """Guidance as in every other family, any number of prompts, and photos or none.

    An empty negative prompt becomes a space, as its makers do.  Its name, and what it is made of, stay those
    of diffusers, which opens pipelines by them.  With `parts_early` prompts are read without the photos as
    well, for `without_references`.
    """

    parts_early: bool = False

    @wraps(cast(Any, diffusers.QwenImageEditPlusPipeline.__call__))
    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        image: Sequence[Image] | Image | None = None,
        prompt: str | list[str] = "",
        negative_prompt: str | list[str] | None = None,
        *,
        guidance_scale: float = 4.0,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        **more: Any,
    ) -> Any:
        """Draw; see `diffusers.QwenImageEditPlusPipeline.__call__`."""
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        if not image:
            return self._without_photos(
                prompt=prompts, negative_prompt=negative_prompt, guidance_scale=guidance_scale,
                generator=generator, **more,
            )  # fmt: skip
        photos = list(image) if isinstance(image, Sequence) else [image]
        negatives, sources = each(negative_prompt, len(prompts)), each(generator, len(prompts))
        drawn: list[Any] = []
        for text, negative, source in zip(prompts, negatives, sources, strict=True):
            guided: _Named = {"negative_prompt": negative or " "} if guidance_scale > 1.0 else {}
            self._apart: list[tuple[Tensor, tuple[Tensor, Tensor | None]]] = []
            answer = super().__call__(
                image=photos, prompt=text, true_cfg_scale=guidance_scale, generator=source, **guided, **more
            )
            drawn.append(cast(QwenImagePipelineOutput, answer).images)
        self._apart = []
        return QwenImagePipelineOutput(images=together(drawn))

    def encode_prompt(self, *args: Any, **named: Any) -> Any:
        """See `diffusers.QwenImageEditPlusPipeline.encode_prompt`."""
        answer = super().encode_prompt(*args, **named)
        if self.parts_early and named.get("image"):
            self._apart.append((answer[0], super().encode_prompt(*args, **{**named, "image": None})))
        return answer

    def without_references(self, named: Mapping[str, Any], patches: int) -> _Named:
        """The arguments of the transformer that tell of the photos, without them: in the prompts, too.

        `patches` are those of the picture, the first of all.
        """
        seen = named["encoder_hidden_states"]
        embeds_BLD, mask_BL = next(apart for read, apart in self._apart if read is seen)
        return {
            "hidden_states": named["hidden_states"][:, :patches],
            "img_shapes": [own[:1] for own in named["img_shapes"]],
            "encoder_hidden_states": embeds_BLD,
            "encoder_hidden_states_mask": mask_BL,
        }

    def _get_qwen_prompt_embeds(self, *args: Any, **named: Any) -> Any:
        with _places_of_photos(self.text_encoder):
            return super()._get_qwen_prompt_embeds(*args, **named)

    @property
    def _without_photos(self) -> QwenImagePipeline:
        """Qwen-Image's pipeline over the same parts, its prompts in the instruction of this one."""
        parts: _Named = {name: self.components[name] for name in _PARTS}
        plain: Any = QwenImagePipeline(**parts)
        plain.set_progress_bar_config(**getattr(self, "_progress_bar_config", {}))
        plain.encode_prompt = self.encode_prompt
        return plain


@contextmanager
def _places_of_photos(text_encoder: Any) -> Generator[None]:
    """Context in which the text encoder learns which tokens are a photo's: these stand in rows and columns.

    With transformers 5 diffusers leaves it out, and they stand in a line, as the base has never seen them
    (diffusers' issue 14194).
    """

    def tell(_: object, args: tuple[Any, ...], named: _Named) -> tuple[tuple[Any, ...], _Named]:
        own = named["input_ids"] == text_encoder.config.image_token_id
        return args, {**named, "mm_token_type_ids": own.int()}

    hook = text_encoder.register_forward_pre_hook(tell, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


class QwenImageEdit(QwenImage):
    """The `Family` of Qwen-Image-Edit since 2509, which takes several photos."""

    pipeline_type = QwenImageEditPlusPipeline

    @cached_property
    def pipeline_options(self) -> Mapping[str, object]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """A processor that needs no torchvision."""
        pictures = self.store.open_plain(Qwen2VLImageProcessorPil, "processor")
        return {"processor": PhotoProcessor(pictures, self.store.open_plain(Qwen2Tokenizer, "processor"))}

    def encode_prompts(self, prompts: Sequence[str]) -> PromptCondition:
        """Last hidden states behind the instruction for edits, of which no photo is shown."""
        return self.encode_prompts_beside(prompts, ())

    @torch.no_grad()
    def encode_prompts_beside(self, prompts: Sequence[str], pictures: Sequence[Image]) -> PromptCondition:
        """The same behind the photos, each resized to about 384 x 384 px."""
        encoders = loaded(self._encoders, "encoders")
        resized: list[Any] = []
        for picture in pictures:
            width, height = _size(edit_plus.CONDITION_IMAGE_SIZE, picture)
            resized.append(encoders.image_processor.resize(picture, height, width))
        rows = [encoders.encode_prompt(text, image=resized or None, device=self.device) for text in prompts]
        return PromptCondition.of_whole([embeds_BLD for embeds_BLD, _ in rows])

    def shown_pixels(self, picture: Image) -> Tensor:
        """About 1024 x 1024 px in area, larger photos made smaller and smaller ones larger."""
        width, height = _size(edit_plus.VAE_IMAGE_SIZE, picture)
        return VaeImageProcessor(vae_scale_factor=self.multiple_px).preprocess(picture, height, width)


def _size(area_px: int, picture: Image) -> tuple[int, int]:
    """(W, H) in which the pipeline shows a photo."""
    return edit_plus.calculate_dimensions(area_px, picture.width / picture.height)
