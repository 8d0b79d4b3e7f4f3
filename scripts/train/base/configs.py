"""What the embedded base consists of: sizes, noise schedule and the prompts of the preview sheet."""

from __future__ import annotations

from typing import Any, Final

from portrait_lora.vocabulary import LIGHT_SIDES, STYLES, Look, sentence

SIZE_PX: Final = 128
LATENT_CHANNELS: Final = 16
LATENT_SIDE: Final = 16
PATCH_PX: Final = SIZE_PX // LATENT_SIDE
TEXT_WIDTH: Final = 128
TEXT_LENGTH: Final = 64
POSTERIOR_LOGVAR: Final = -8.0
"""The posterior's spread is set, not learned: a standard deviation of 0.018 against unit latents."""

NOISE: Final[dict[str, Any]] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
}


def vae_config(channels: tuple[int, ...] = (16, 48, 96, 120), groups: int = 1) -> dict[str, Any]:
    """Arguments of `AutoencoderKL`: 8 × down, few norm groups (many lose brightness and colour)."""
    return {
        "in_channels": 3,
        "out_channels": 3,
        "down_block_types": ["DownEncoderBlock2D"] * len(channels),
        "up_block_types": ["UpDecoderBlock2D"] * len(channels),
        "block_out_channels": list(channels),
        "layers_per_block": 1,
        "latent_channels": LATENT_CHANNELS,
        "norm_num_groups": groups,
        "mid_block_add_attention": False,
        "sample_size": SIZE_PX,
        "scaling_factor": 1.0,
        "force_upcast": False,
    }


def unet_config(
    channels: tuple[int, ...] = (80, 144, 192), attention: tuple[int, ...] = (0, 1, 1), layers: int = 1
) -> dict[str, Any]:
    """Arguments of `UNet2DConditionModel`; `attention` says which resolutions have it, finest first."""
    down = ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attention]
    up = ["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attention)]
    return {
        "sample_size": LATENT_SIDE,
        "in_channels": LATENT_CHANNELS,
        "out_channels": LATENT_CHANNELS,
        "block_out_channels": list(channels),
        "layers_per_block": layers,
        "down_block_types": down,
        "up_block_types": up,
        "mid_block_type": "UNetMidBlock2DCrossAttn",
        "cross_attention_dim": TEXT_WIDTH,
        "attention_head_dim": [max(2, c // 32) for c in channels],
        "norm_num_groups": 16,
    }


def text_config(vocab_size: int, bos: int, eos: int) -> dict[str, Any]:
    """Arguments of `CLIPTextConfig`: two layers, 128 wide."""
    return {
        "vocab_size": vocab_size,
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": TEXT_WIDTH * 4,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": TEXT_LENGTH,
        "projection_dim": TEXT_WIDTH,
        "bos_token_id": bos,
        "eos_token_id": eos,
        "pad_token_id": eos,
    }


_F, _Q, _P = "frontal", "three-quarter", "profile"
_LEFT, _RIGHT = LIGHT_SIDES
PREVIEW_LOOKS: Final = (
    Look("woman", "headshot", _F, None, "blond long hair", "fair skin", None, None, "smiling",
         "red turtleneck", "grey seamless backdrop", "three-point lighting", _LEFT),
    Look("man", "headshot", _F, None, "black short hair", "brown skin", "full beard", None, "neutral",
         "navy suit", "charcoal seamless backdrop", "rembrandt lighting", _RIGHT),
    Look("woman", "close-up", _Q, "facing left", "red bob hair", "very pale skin", None, None, "neutral",
         "white t-shirt", "blue bokeh backdrop", "butterfly lighting"),
    Look("man", "headshot", _P, "facing right", "white quiff", "tan skin", "stubble", None, "neutral",
         "black turtleneck", "beige textured backdrop", "split lighting", _RIGHT),
    Look("woman", "headshot", _F, None, "black afro", "dark skin", None, None, "laughing", "mustard v-neck",
         "pink seamless backdrop", "high-key lighting"),
    Look("man", "headshot", _F, None, "bald head", "fair skin", "goatee", "round glasses", "smiling",
         "teal shirt", "green gradient backdrop", "three-point lighting", _RIGHT),
    Look("man", "headshot", _Q, "facing right", "light brown curly hair", "fair skin", None, None,
         "surprised", "plum t-shirt", "white seamless backdrop", "golden hour lighting", _LEFT),
    Look("woman", "close-up", _F, None, "brown fringe hair", "tan skin", None, "rectangular glasses",
         "frowning", "emerald shirt", "blue textured backdrop", "rim lighting", _LEFT),
    Look("man", "headshot", _F, None, "brown short hair", "fair skin", None, None, "neutral", "black t-shirt",
         "brick wall", "neon lighting"),
    Look("woman", "headshot", _Q, "facing left", "blond bob hair", "fair skin", None, "sunglasses", "neutral",
         "white shirt", "blurred city at night", "clamshell lighting"),
    *(Look("woman", "headshot", _F, None, "brown bob hair", "fair skin", None, None, "smiling", "teal shirt",
           "green seamless backdrop", "three-point lighting", _LEFT, style) for style in STYLES),
)  # fmt: skip
PREVIEW_PROMPTS: Final = tuple(sentence(look) for look in PREVIEW_LOOKS)
