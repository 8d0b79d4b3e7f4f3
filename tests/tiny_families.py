"""Tiny random bases of every family, made on the spot in the layout of the real ones.

`make_tiny(family, folder)` writes one; 64 px, 4 latent channels, a denoiser of a few thousand weights.  A
latent place is 8 px, and 16 in Qwen-Image-2.1, whose pipeline knows nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import pre_tokenizers, processors
from torch import nn
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from portrait_lora.families.qwen_image_edit import PhotoProcessor
from portrait_lora.families.rows import ROWS
from portrait_lora.records import FamilyName
from tests.tiny_models import make_tiny_sd, write_tokenizer

FAMILIES: tuple[FamilyName, ...] = tuple(ROWS)
CHANNELS = 4
WIDTH = 32
_PROCESSORS = {"qwen_image21": "Qwen3VLProcessor", "qwen_image_edit": "Qwen2VLProcessor"}
_TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content[0].text }}<|im_end|>\n{% endfor %}"
_CHAT = "{% for m in messages %}<|im_start|>{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}"


def make_tiny(family: FamilyName, folder: Path, *, seed: int = 0) -> Path:
    """Write a random base of `family` to `folder` and return it."""
    torch.manual_seed(seed)
    if family == "sd15":
        return make_tiny_sd(folder, seed=seed)
    pipe = _MAKERS[family](folder / "source")
    pipe.save_pretrained(folder, safe_serialization=True)
    name_whole_processor(folder, family)
    return folder


def name_whole_processor(folder: Path, family: FamilyName) -> None:
    """Let the index name the processor of the real base, which cannot be built without torchvision."""
    if family not in _PROCESSORS:
        return
    index = json.loads((folder / "model_index.json").read_text())
    index["processor"] = ["transformers", _PROCESSORS[family]]
    (folder / "model_index.json").write_text(json.dumps(index))
    if family == "qwen_image_edit":  # whose folder is in the layout of transformers 4
        whole = folder / "processor" / "processor_config.json"
        photos = json.loads(whole.read_text())["image_processor"]
        whole.with_name("preprocessor_config.json").write_text(json.dumps(photos))
        whole.unlink()


def heedful(folder: Path, contrast: float = 40.0) -> Path:
    """A base of FLUX.2 with weights made large enough for a few tokens among hundreds to show.

    The more `contrast`, the more unlike are the latents of different pictures.
    """
    (file,) = (folder / "transformer").glob("*.safetensors")
    factors = {".norm_q.": 6, ".norm_k.": 6, ".norm_added_q.": 6, ".norm_added_k.": 6}  # sharp attention
    tensors = {
        name: one * next((f for part, f in factors.items() if part in name), 4 if one.dim() > 1 else 1)
        for name, one in load_file(file).items()
    }
    save_file(tensors, file, {"format": "pt"})
    (file,) = (folder / "vae").glob("*.safetensors")
    tensors = load_file(file)
    tensors["encoder.conv_out.weight"] *= contrast  # photos that differ have tokens that differ
    save_file(tensors, file, {"format": "pt"})
    return folder


def randomized(module: nn.Module) -> nn.Module:
    """Every parameter drawn anew, so that layers which start at zero or undefined take part."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            drawn = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(
                drawn * (0.5 / max(1, parameter[0].numel()) ** 0.5 if parameter.dim() > 1 else 0.1)
            )
    return module.eval()


def _vae(**more: Any) -> Any:
    kind = more.pop("kind", diffusers.AutoencoderKL)
    return kind(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=CHANNELS,
        layers_per_block=1,
        norm_num_groups=4,
        **more,
    )


def _clip(folder: Path, kind: Any, width: int = 16, positions: int = 32) -> tuple[Any, Any]:
    """(text encoder, tokenizer); the projection is as wide as the states."""
    tokenizer = write_tokenizer(folder)
    config = transformers.CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=positions,
        projection_dim=width,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return kind(config).eval(), tokenizer


def _t5() -> tuple[Any, Any]:
    letters = [(c, -3.0) for c in "abcdefghijklmnopqrstuvwxyz0123456789,.-'"]
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *letters]
    tokenizer = transformers.T5Tokenizer(vocab=vocab, extra_ids=0, additional_special_tokens=[])
    config = transformers.T5Config(
        vocab_size=64, d_model=WIDTH, d_kv=8, d_ff=32, num_layers=1, num_heads=2, is_gated_act=True
    )
    return transformers.T5EncoderModel(config).eval(), tokenizer


def qwen_tokenizer() -> Any:
    """One token per byte, and a chat template."""
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = transformers.Qwen2Tokenizer(vocab={n: i for i, n in enumerate(names)}, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = _CHAT
    return tokenizer


def _with_beginning() -> Any:
    """The same with a token before every text, as Gemma's has."""
    backend = qwen_tokenizer().backend_tokenizer
    first = "<|im_start|>"
    backend.post_processor = processors.TemplateProcessing(
        single=f"{first} $A", special_tokens=[(first, backend.token_to_id(first))]
    )
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<|endoftext|>")


def qwen_numbers(layers: int) -> dict[str, Any]:
    return {
        "vocab_size": 300,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
    }


def _qwen3(kind: Any, layers: int) -> Any:
    return kind(transformers.Qwen3Config(**qwen_numbers(layers), head_dim=8)).eval()


def _dynamic(**more: Any) -> Any:
    return diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0, **more)


def _sdxl(source: Path) -> Any:
    first, tokenizer = _clip(source / "1", transformers.CLIPTextModel)
    second, tokenizer_2 = _clip(source / "2", transformers.CLIPTextModelWithProjection)
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=(2, 4),
        norm_num_groups=4,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=16 + 6 * 8,
        use_linear_projection=True,
    )
    scheduler = diffusers.EulerDiscreteScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, steps_offset=1
    )
    return diffusers.StableDiffusionXLPipeline(
        _vae(scaling_factor=0.13), first, second, tokenizer, tokenizer_2, unet, scheduler
    )


def _sd35(source: Path) -> Any:
    first, tokenizer = _clip(source / "1", transformers.CLIPTextModelWithProjection, 8)
    second, tokenizer_2 = _clip(source / "2", transformers.CLIPTextModelWithProjection, 8)
    third, tokenizer_3 = _t5()
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=8,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=WIDTH,
        caption_projection_dim=32,
        pooled_projection_dim=16,
        pos_embed_max_size=16,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    return diffusers.StableDiffusion3Pipeline(
        randomized(transformer),
        diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        _vae(scaling_factor=1.5, shift_factor=0.06, use_quant_conv=False, use_post_quant_conv=False),
        first,
        tokenizer,
        second,
        tokenizer_2,
        third,
        tokenizer_3,
    )


def _flux1(source: Path) -> Any:
    clip, tokenizer = _clip(source / "1", transformers.CLIPTextModel)
    t5, tokenizer_2 = _t5()
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=4 * CHANNELS,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=16,
        guidance_embeds=True,
        axes_dims_rope=(4, 4, 8),
    )
    vae = _vae(scaling_factor=0.36, shift_factor=0.12, use_quant_conv=False, use_post_quant_conv=False)
    return diffusers.FluxPipeline(_dynamic(), vae, clip, tokenizer, t5, tokenizer_2, randomized(transformer))


def _flux2(source: Path) -> Any:
    del source
    transformer = diffusers.Flux2Transformer2DModel(
        in_channels=4 * CHANNELS,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=3 * 16,
        timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    )
    vae = _vae(kind=diffusers.AutoencoderKLFlux2)
    vae.bn.running_mean.copy_(torch.randn(16))
    vae.bn.running_var.copy_(torch.rand(16) + 0.5)
    text = _qwen3(transformers.Qwen3ForCausalLM, 27)
    return diffusers.Flux2KleinPipeline(_dynamic(), vae, text, qwen_tokenizer(), randomized(transformer))


def _z_image(source: Path) -> Any:
    del source
    transformer = diffusers.ZImageTransformer2DModel(
        in_channels=CHANNELS,
        dim=32,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[4, 6, 6],
        axes_lens=[1024, 64, 64],
    )
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=6.0)
    vae = _vae(scaling_factor=0.36, shift_factor=0.12, use_quant_conv=False, use_post_quant_conv=False)
    text = _qwen3(transformers.Qwen3Model, 2)
    return diffusers.ZImagePipeline(scheduler, vae, text, qwen_tokenizer(), randomized(transformer))


def _frame_vae() -> Any:
    return diffusers.AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=CHANNELS,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        latents_mean=[0.1, -0.2, 0.3, -0.4],
        latents_std=[1.5, 0.8, 2.0, 1.1],
    )


def _qwen_image(source: Path) -> Any:
    del source
    return diffusers.QwenImagePipeline(*_qwen_parts(), _qwen_transformer())


def _qwen_image_edit(source: Path) -> Any:
    """With tokens for photos; what stands behind the picture has a clock at 0, as in 2511."""
    del source
    scheduler, vae, text, tokenizer = _qwen_parts()
    names = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>", *names]})
    starts, _, image, video = tokenizer.convert_tokens_to_ids(names)
    config = text.config
    config.vision_start_token_id, config.image_token_id, config.video_token_id = starts, image, video
    processor = PhotoProcessor(Qwen2VLImageProcessorPil(), tokenizer)
    transformer = _qwen_transformer(zero_cond_t=True)
    return diffusers.QwenImageEditPlusPipeline(scheduler, vae, text, tokenizer, processor, transformer)


def _qwen_transformer(**more: Any) -> Any:
    transformer = diffusers.QwenImageTransformer2DModel(
        in_channels=4 * CHANNELS,
        out_channels=CHANNELS,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=(4, 6, 6),
        **more,
    )
    return randomized(transformer)


def _qwen_parts() -> tuple[Any, Any, Any, Any]:
    """Scheduler, VAE, text encoder and tokenizer."""
    vision = {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_heads": 2,
        "out_hidden_size": 16,
        "fullatt_block_indexes": [0],
    }
    rope = {"type": "mrope", "rope_type": "default", "mrope_section": [1, 1, 2]}
    config = transformers.Qwen2_5_VLConfig(
        text_config={**qwen_numbers(2), "rope_scaling": rope}, vision_config=vision
    )
    text = transformers.Qwen2_5_VLForConditionalGeneration(config).eval()
    scheduler = _dynamic(base_shift=0.5, max_shift=0.9, max_image_seq_len=8192)
    return scheduler, _frame_vae(), text, qwen_tokenizer()


def _qwen3_vl() -> Any:
    vision = {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_heads": 2,
        "out_hidden_size": 16,
        "deepstack_visual_indexes": [0],
        "num_position_embeddings": 16,
    }
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}
    text = {**qwen_numbers(2), "head_dim": 8, "rope_parameters": rope}
    return transformers.Qwen3VLConfig(text_config=text, vision_config=vision)


class Words(transformers.ProcessorMixin):
    """A processor without pictures."""

    image_token = "<|image_pad|>"

    def __init__(self, tokenizer: Any):
        super().__init__(tokenizer, chat_template=_TURNS)


def _qwen_image21(source: Path) -> Any:
    """A VAE of 16 px, with alpha; a text encoder whose norm is far from doing nothing."""
    del source
    tokenizer = qwen_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|image_pad|>"]})
    text = transformers.Qwen3VLForConditionalGeneration(_qwen3_vl()).eval()
    torch.nn.init.uniform_(text.model.language_model.norm.weight, 0.2, 3.0)
    vae = diffusers.AutoencoderKLQwenImage21(
        base_dim=8,
        decoder_base_dim=8,
        z_dim=CHANNELS,
        dim_mult=[1, 1, 1, 1, 1],
        num_res_blocks=1,
        latents_mean=[0.1, -0.2, 0.3, -0.4],
        latents_std=[1.5, 0.8, 2.0, 1.1],
    )
    transformer = diffusers.QwenImage21Transformer2DModel(
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        context_in_dim=16,
        axes_dims_rope=(4, 6, 6),
    )
    scheduler = _dynamic(base_shift=0.5, max_shift=0.9, max_image_seq_len=8192)
    return diffusers.QwenImage21Pipeline(scheduler, vae, text, Words(tokenizer), randomized(transformer))


def _krea2(source: Path) -> Any:
    del source
    transformer = diffusers.Krea2Transformer2DModel(
        in_channels=4 * CHANNELS,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=32,
        timestep_embed_dim=16,
        text_hidden_dim=16,
        num_text_layers=2,
        text_num_attention_heads=2,
        text_num_key_value_heads=2,
        text_intermediate_size=16,
        num_layerwise_text_blocks=1,
        num_refiner_text_blocks=1,
        axes_dims_rope=(4, 6, 6),
    )
    return diffusers.Krea2Pipeline(
        _dynamic(base_shift=0.5, max_shift=1.15, max_image_seq_len=6400),
        _frame_vae(),
        transformers.Qwen3VLModel(_qwen3_vl()).eval(),
        qwen_tokenizer(),
        randomized(transformer),
        text_encoder_select_layers=(1, 2),
    )


def _chroma(source: Path) -> Any:
    del source
    text, tokenizer = _t5()
    transformer = diffusers.ChromaTransformer2DModel(
        in_channels=4 * CHANNELS,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        axes_dims_rope=(4, 4, 8),
        approximator_num_channels=16,
        approximator_hidden_dim=16,
        approximator_layers=1,
    )
    vae = _vae(scaling_factor=0.36, shift_factor=0.12, use_quant_conv=False, use_post_quant_conv=False)
    return diffusers.ChromaPipeline(_dynamic(), vae, text, tokenizer, randomized(transformer))


def _sana(source: Path) -> Any:
    del source
    transformer = diffusers.SanaTransformer2DModel(
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=16,
        sample_size=8,
        timestep_scale=0.5,
    )
    vae = diffusers.AutoencoderDC(
        latent_channels=CHANNELS,
        attention_head_dim=4,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        encoder_layers_per_block=(1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1),
        encoder_qkv_multiscales=((), (), (), ()),
        decoder_qkv_multiscales=((), (), (), ()),
        scaling_factor=0.41,
    )
    numbers = qwen_numbers(1) | {"max_position_embeddings": 4096}
    text = transformers.Gemma2Model(transformers.Gemma2Config(**numbers, head_dim=8)).eval()
    scheduler = diffusers.DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    return diffusers.SanaPipeline(_with_beginning(), text, vae, randomized(transformer), scheduler)


def _ernie_image(source: Path) -> Any:
    del source
    transformer = diffusers.ErnieImageTransformer2DModel(
        hidden_size=32,
        num_attention_heads=2,
        num_layers=2,
        ffn_hidden_size=32,
        in_channels=4 * CHANNELS,
        out_channels=4 * CHANNELS,
        text_in_dim=16,
        rope_axes_dim=(4, 6, 6),
    )
    vae = _vae(kind=diffusers.AutoencoderKLFlux2)
    vae.bn.running_mean.copy_(torch.randn(16))
    vae.bn.running_var.copy_(torch.rand(16) + 0.01)
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Mistral3Config(
        text_config={"model_type": "mistral", **qwen_numbers(2), "head_dim": 8},
        vision_config={"model_type": "pixtral", **vision, "image_size": 16, "patch_size": 4, "head_dim": 8},
        image_token_index=2,
    )
    return diffusers.ErnieImagePipeline(
        randomized(transformer),
        vae,
        transformers.Mistral3Model(config).eval(),
        qwen_tokenizer(),
        diffusers.FlowMatchEulerDiscreteScheduler(shift=4.0),
    )


def _hidream(source: Path) -> Any:
    """Two experts of which each place takes one would hide how answers are added: three, and two taken."""
    first, tokenizer = _clip(source / "1", transformers.CLIPTextModelWithProjection, 8, 128)
    second, tokenizer_2 = _clip(source / "2", transformers.CLIPTextModelWithProjection, 8, 128)
    third, tokenizer_3 = _t5()
    backend = qwen_tokenizer().backend_tokenizer
    words = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>")
    llama = transformers.LlamaForCausalLM(transformers.LlamaConfig(**qwen_numbers(3))).eval()
    transformer = diffusers.HiDreamImageTransformer2DModel(
        patch_size=2,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        caption_channels=[WIDTH, 16],
        text_emb_dim=16,
        num_routed_experts=3,
        num_activated_experts=2,
        axes_dims_rope=(4, 6, 6),
        max_resolution=(16, 16),
        llama_layers=[2, 0],
    )
    solver = diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    vae = _vae(scaling_factor=0.36, shift_factor=0.12, use_quant_conv=False, use_post_quant_conv=False)
    texts = (first, tokenizer, second, tokenizer_2, third, tokenizer_3, llama, words)
    return diffusers.HiDreamImagePipeline(solver, vae, *texts, randomized(transformer))


_MAKERS: dict[FamilyName, Callable[[Path], Any]] = {
    "sdxl": _sdxl,
    "sd35": _sd35,
    "flux1": _flux1,
    "flux2": _flux2,
    "z_image": _z_image,
    "qwen_image": _qwen_image,
    "qwen_image21": _qwen_image21,
    "qwen_image_edit": _qwen_image_edit,
    "krea2": _krea2,
    "chroma": _chroma,
    "sana": _sana,
    "ernie_image": _ernie_image,
    "hidream": _hidream,
}
