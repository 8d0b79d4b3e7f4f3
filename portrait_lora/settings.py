"""The schema of `likeness.yaml`: every key with its type, limits, default and meaning.

`config.py` reads files into it; wings receive plain parameters, never these sections.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from portrait_lora import vocabulary
from portrait_lora.removal import NAME_PATTERN
from portrait_lora.written import plain

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    """Frozen, and a key it does not know is an error, as is a number that is not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _as_written(cls, value: object, info: ValidationInfo) -> object:
        """A number where text belongs is that text; a truth value is neither 0 nor 1."""
        kinds = set(_kinds(cls.model_fields[str(info.field_name)].annotation))
        if isinstance(value, bool) and bool not in kinds:
            raise ValueError("text must be in quotes" if str in kinds else "a truth value is no number")
        if isinstance(value, list):
            return [_text_or_number(one, kinds) for one in cast(list[object], value)]
        return _text_or_number(value, kinds)


def _text_or_number(value: object, kinds: set[type]) -> object:
    number = plain(value)
    return str(value) if number is not value and str in kinds and not kinds & {int, float} else number


def _kinds(annotation: Any) -> Iterator[type]:
    """The plain types within an annotation: `bool | Literal["auto"]` has bool and str."""
    if get_origin(annotation) is Literal:
        yield from map(type, get_args(annotation))
    elif inner := get_args(annotation):
        yield from (kind for one in inner for kind in _kinds(one))
    elif isinstance(annotation, type):
        yield annotation


class SubjectConfig(Section):
    """Who is portrayed and the word that stands for them."""

    name: str = Field(default="", description="for people to read; never trained on")
    kind: Literal["man", "woman", "person"] = Field(
        default="person", description="the class word after the trigger"
    )
    trigger: str = Field(
        default=vocabulary.TRIGGER, min_length=2, description="the rare token that stands for this person"
    )

    @field_validator("trigger")
    @classmethod
    def _not_blank(cls, value: str) -> str:
        if len(value.strip()) < 2:
            raise ValueError("a trigger of at least two characters that are not spaces")
        return " ".join(value.split())


class CheckConfig(Section):
    """Thresholds of the photo check; every finding prints the one it used."""

    min_face_px: float = Field(default=64.0, gt=0, description="longer side of the face box")
    min_side_px: Positive = Field(
        default=128, description="shorter side of the picture; the base's resolution may ask for more"
    )
    max_blur_px: float = Field(
        default=1.15, gt=0, description="width of the sharpest edges (sigma) in the aligned 112 px crop"
    )
    min_brightness: float = Field(default=22.0, ge=0, le=255, description="mean luma of the aligned crop")
    max_brightness: float = Field(default=232.0, ge=0, le=255)
    min_highlight: float = Field(default=70.0, ge=0, le=255, description="95th percentile of the face's luma")
    max_blown_share: Fraction = Field(default=0.4, description="share of face pixels that are pure white")
    max_clipped_share: Fraction = Field(
        default=0.35, description="share of face pixels that are pure black or pure white"
    )
    min_border_share: float = Field(
        default=0.01, ge=-1, le=1, description="room between face and border, in face sizes"
    )
    max_yaw_deg: float = Field(default=85.0, gt=0, le=90)
    max_pitch_deg: float = Field(default=40.0, gt=0, le=90)
    max_roll_deg: float = Field(default=45.0, gt=0, le=180)
    max_contrast_stops: float = Field(
        default=3.75, gt=0, description="between the lit and the shadowed side of the face"
    )
    min_eye_brightness: float = Field(
        default=0.6, ge=0, description="luma of the eyes over that of the cheeks; dark lenses are below"
    )
    max_covered_share: Fraction = Field(
        default=0.17, description="share of the face that a hand, a mask or a cup may hide"
    )
    several_faces_ratio: Fraction = Field(
        default=0.4, description="a second face this large beside the largest is a rival"
    )
    max_megapixels: float = Field(default=120.0, gt=0, description="larger pictures are refused unread")


class CurateConfig(Section):
    """Who the subject is, what is a duplicate, how much is held out."""

    min_photos: Positive = Field(default=5, description="fewer usable photos end with exit code 3")
    few_photos: Positive = Field(default=10, description="fewer usable photos give a warning")
    max_photos: Positive = Field(default=40, description="above, the best covering subset is kept")
    duplicate_frame: Fraction = Field(
        default=0.98, description="correlation of two whole pictures from which they are one"
    )
    duplicate_face: Fraction = Field(default=0.93, description="correlation of the two aligned faces")
    duplicate_embedding: Fraction = Field(default=0.6, description="cosine of the two faces")


class CaptionConfig(Section):
    """Who writes the captions; `captions.csv` wins over all of them."""

    captioner: Literal["attributes", "sidecar", "florence2", "blip"] = Field(
        default="attributes", description="sidecar: a .txt beside the photo, or metadata.jsonl in its folder"
    )
    model: str = Field(
        default="", description="repository or folder of the captioning model, in place of the usual one"
    )
    words: str = Field(default="", description="your own words, added to every caption")


class DatasetConfig(Section):
    """Photo check, curation, crops and captions."""

    check: CheckConfig = CheckConfig()
    curate: CurateConfig = CurateConfig()
    captions: CaptionConfig = CaptionConfig()
    crops_per_photo: Annotated[int, Field(ge=1, le=4)] = 2
    aspects: tuple[Annotated[str, Field(pattern=r"^[1-9]\d?:[1-9]\d?$")], ...] = Field(
        default=("1:1",), min_length=1, description="W:H of the crops; the framings take them in turn"
    )


class TrainingConfig(Section):
    """The LoRA and how it is trained; the base model's YAML sets these for its family."""

    rank: Positive = 16
    alpha: float = Field(default=16.0, gt=0)
    targets: Literal["attention", "attention_and_conv"] = "attention"
    learning_rate: float = Field(default=1e-4, gt=0)
    batch_size: Positive = 4
    exposures_per_photo: Positive = Field(default=100, description="how often each accepted photo is seen")
    checkpoints: Annotated[int, Field(ge=1, le=50)] = Field(default=4, description="saved at equal distances")
    early_stop: bool = Field(
        default=False, description="probe each checkpoint and stop once going on is not worth it"
    )
    warmup_steps: Annotated[int, Field(ge=0)] = 10
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    caption_dropout: Fraction = 0.05
    snr_gamma: float = Field(default=5.0, gt=0, description="min-SNR gamma")
    background_weight: Fraction = Field(
        default=1.0, description="loss weight outside the person mask; 1 = no mask"
    )
    learn_region: Literal["picture", "person", "head"] = Field(
        default="picture", description="what of the photos is learnt; the rest is held to the base's answer"
    )
    adapter: Literal["lora", "lokr", "loha"] = Field(
        default="lora", description="lokr and loha are saved as the LoRA of higher rank that they equal"
    )
    rank_stabilised: bool = Field(default=False, description="scale alpha / sqrt(rank), for high ranks")
    dora: bool = Field(default=False, description="magnitudes beside a LoRA; not every program loads them")
    blocks: tuple[str, ...] = Field(
        default=(), description="beginnings of layer names to keep to; [identity]: those the family knows"
    )
    optimizer: Literal["adamw", "adamw8bit", "prodigy"] = Field(
        default="adamw", description="prodigy wants learning_rate 1 and the extra `prodigy`"
    )
    ema_decay: float = Field(
        default=0.0, ge=0, lt=1, description="the saved adapter is a running average; 0 = the last weights"
    )
    timesteps: Literal["logit_normal", "uniform"] = Field(
        default="logit_normal", description="how flow-matching bases draw their noise"
    )
    timestep_shift: float | None = Field(
        default=None, gt=0, description="more noise above 1; unset: as the base's own scheduler"
    )
    prior_pictures: Annotated[int, Field(ge=0)] = Field(
        default=0, description="pictures of the class that the base makes, to keep what it knows; 0 = none"
    )
    prior_weight: float = Field(default=1.0, ge=0, description="loss weight of the pictures of the class")
    micro_batch: Positive | None = Field(
        default=None, description="samples computed at a time, at most batch_size; unset: what fits"
    )
    gradient_checkpointing: bool | Literal["auto"] = Field(
        default="auto", description="compute activations twice instead of keeping them"
    )
    weights: Literal["auto", "float32", "bfloat16", "float16", "int8", "nf4"] = Field(
        default="auto", description="how the frozen base is held in memory"
    )
    text_encoder: Fraction = Field(
        default=0.0,
        description="a LoRA on the text encoders too (SD families), at this share of learning_rate; 0 = none",
    )


class SelectConfig(Section):
    """Probe portraits that choose the checkpoint, scored with embedder A."""

    probes: Positive = 8
    copy_limit: Fraction = Field(
        default=0.15, description="a checkpoint whose probes copy training photos more often is out"
    )
    average: bool = Field(
        default=False, description="try the average of all good checkpoints and keep it where it is better"
    )


class ScoreConfig(Section):
    """What the report measures beside the likeness."""

    clip: str = Field(
        default="",
        description="a CLIP model to judge prompts by: a folder, or a name on the hub; empty: none",
    )


class GenerateConfig(Section):
    """Sampler settings; the base model's YAML sets those of its family."""

    series: str = Field(default="headshots", description="a packaged series or a YAML file")
    brand: str = Field(default="", description="a packaged brand sheet or a YAML file, over every shot")
    reframe: bool = Field(
        default=False, description="crop finished portraits to the brand's eye_line and head_height"
    )
    reframe_limit: float = Field(
        default=1.25, ge=1, le=2, description="how much a crop may enlarge what it keeps"
    )
    per_shot: Positive = Field(default=2, description="pictures per shot, each with a seed of its own")
    best_of: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1, description="candidates per picture; the best by checks and embedder A is kept"
    )
    strict: bool = Field(default=False, description="remarks of the prompt linter are errors")
    scheduler: str = Field(default="", description="dpm++, euler, ddim, unipc …; the family's own when empty")
    preset: str = Field(
        default="", description="few steps by distillation: sets steps, guidance_scale and scheduler"
    )
    accelerator: str = Field(default="", description="LoRA file of the preset; empty: the published one")
    accelerator_scale: float | None = Field(default=None, ge=0, le=2, description="null: as the preset says")
    style_adapter: str = Field(default="", description="a second LoRA file beside the identity")
    style_scale: float = Field(default=0.6, ge=0, le=2)
    style_reference: str = Field(default="", description="a picture that lends its style")
    style_reference_adapter: str = Field(
        default="", description="its IP-Adapter: a .safetensors file, with image_encoder/ beside it"
    )
    style_reference_scale: Fraction = Field(default=0.6, description="0 = no style reference")
    max_pictures: Positive = Field(default=1000, description="more pictures than this are asked about first")
    price_per_hour: float | None = Field(default=None, ge=0, description="of the machine, for the cost shown")
    num_inference_steps: Positive = 25
    guidance_scale: float = Field(default=5.0, ge=1)
    unconditional: Literal["adapter", "base"] = Field(
        default="adapter",
        description="who answers the empty prompt: against the bare base, guidance drives towards the person",
    )
    identity_scale: float | None = Field(
        default=None,
        ge=0,
        description="guidance towards the person beyond the prompt; as guidance_scale if null",
    )
    identity_start: float = Field(
        default=0.0, ge=0, lt=1, description="share of the noise that is gone before the adapter counts"
    )
    identity_region: Literal["picture", "head"] = Field(
        default="picture", description="where the adapter counts; head: where the shot type has it"
    )
    adapter_scale: float = Field(default=1.0, ge=0, le=2)
    batch_size: Positive = 8


class LikenessConfig(Section):
    """Everything that decides what comes out for one person."""

    base: str = Field(
        default="embedded", description="a name of `portrait-lora models`, or a folder in diffusers format"
    )
    face_pack: str = Field(default="embedded", description="a known pack, or a folder of ONNX files")
    allow_synthetic_models: bool = Field(
        default=False, description="let the embedded models look at real photographs"
    )
    commercial: bool = Field(
        default=False, description="the portraits will be used commercially: forbids models that may not be"
    )
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    device: str = "auto"
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    max_training_hours: float = Field(
        default=168, gt=0, description="a training estimated to take longer on this machine is refused"
    )
    run: str = Field(default="main", pattern=NAME_PATTERN, description="folder name under adapters/")
    subject: SubjectConfig = SubjectConfig()
    dataset: DatasetConfig = DatasetConfig()
    training: TrainingConfig = TrainingConfig()
    select: SelectConfig = SelectConfig()
    generate: GenerateConfig = GenerateConfig()
    score: ScoreConfig = ScoreConfig()
