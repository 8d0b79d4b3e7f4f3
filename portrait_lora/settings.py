"""The schema of `likeness.yaml`: every key with its type, limits, default and meaning.

`config.py` reads files into it; rooms receive typed records, made of these sections in
`stages/configured.py` and `stages/sampling.py`, never the sections themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, Self, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from portrait_lora import vocabulary
from portrait_lora.removal import NAME_PATTERN
from portrait_lora.written import plain

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    """A frozen section: unknown keys and numbers that are not finite are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _as_written(cls, value: object, info: ValidationInfo) -> object:
        """Convert numbers to text for text fields; refuse booleans where numbers belong."""
        kinds = set(_kinds(cls.model_fields[str(info.field_name)].annotation))
        if isinstance(value, bool) and bool not in kinds:
            raise ValueError("text must be in quotes" if str in kinds else "a boolean is not a number")
        if isinstance(value, list):
            return [_text_or_number(one, kinds) for one in cast(list[object], value)]
        return _text_or_number(value, kinds)


def _text_or_number(value: object, kinds: set[type]) -> object:
    number = plain(value)
    return str(value) if number is not value and str in kinds and not kinds & {int, float} else number


def _kinds(annotation: Any) -> Iterator[type]:
    """The plain types of an annotation: `bool | Literal["auto"]` gives bool and str."""
    if get_origin(annotation) is Literal:
        yield from map(type, get_args(annotation))
    elif inner := get_args(annotation):
        yield from (kind for one in inner for kind in _kinds(one))
    elif isinstance(annotation, type):
        yield annotation


class SubjectConfig(Section):
    """The person portrayed and their trigger word."""

    name: str = Field(default="", description="display name; not used in training")
    kind: Literal["man", "woman", "person"] = Field(
        default="person", description="class word that follows the trigger"
    )
    trigger: str = Field(
        default=vocabulary.TRIGGER, min_length=2, description="rare token that stands for this person"
    )

    @field_validator("trigger")
    @classmethod
    def _not_blank(cls, value: str) -> str:
        if len(value.strip()) < 2:
            raise ValueError("the trigger needs at least two characters other than spaces")
        return " ".join(value.split())


class CheckConfig(Section):
    """Thresholds of the photo check; every finding reports the threshold that it used."""

    min_face_px: float = Field(
        default=64.0, gt=0, description="minimum longer side of the face box, in pixels"
    )
    min_side_px: Positive = Field(
        default=128,
        description="minimum shorter side of the picture; the base model's resolution may need more",
    )
    max_blur_px: float = Field(
        default=1.15,
        gt=0,
        description="maximum blur (sigma) of the sharpest edges in the aligned 112 px crop of a large face;"
        " one of few pixels may have more",
    )
    min_brightness: float = Field(
        default=22.0, ge=0, le=255, description="minimum mean luma of the aligned crop"
    )
    max_brightness: float = Field(
        default=232.0, ge=0, le=255, description="maximum mean luma of the aligned crop"
    )
    min_highlight: float = Field(
        default=70.0, ge=0, le=255, description="minimum 95th percentile of the face's luma"
    )
    max_blown_share: Fraction = Field(
        default=0.4, description="maximum fraction of face pixels that are pure white"
    )
    max_clipped_share: Fraction = Field(
        default=0.35, description="maximum fraction of face pixels that are pure black or pure white"
    )
    min_chroma: float = Field(
        default=6.0,
        ge=0,
        description="minimum chroma (CIELAB) of the face; black-and-white photos fall below",
    )
    min_border_share: float = Field(
        default=0.01,
        ge=-1,
        le=1,
        description="minimum distance from face box to picture border, in face sizes",
    )
    max_yaw_deg: float = Field(default=85.0, gt=0, le=90, description="maximum turn of the head to the side")
    max_pitch_deg: float = Field(default=40.0, gt=0, le=90, description="maximum tilt of the head up or down")
    max_roll_deg: float = Field(default=45.0, gt=0, le=180, description="maximum lean of the head")
    max_contrast_stops: float = Field(
        default=3.75, gt=0, description="maximum contrast between the lit and the shadowed side of the face"
    )
    max_lens_evidence: float = Field(
        default=0.0, description="maximum evidence of dark lenses before the eyes, about -9 to 7"
    )
    max_covered_share: Fraction = Field(
        default=0.17, description="maximum fraction of the face hidden by a hand, a mask or a cup"
    )
    several_faces_ratio: Fraction = Field(
        default=0.4, description="size relative to the largest face from which a second face counts"
    )
    max_megapixels: float = Field(
        default=120.0, gt=0, description="larger pictures are rejected without decoding them"
    )


class CurateConfig(Section):
    """Limits on the number of photos, and thresholds for duplicates."""

    min_photos: Positive = Field(default=5, description="with fewer usable photos, stop with exit code 3")
    few_photos: Positive = Field(default=10, description="with fewer usable photos, warn")
    max_photos: Positive = Field(default=40, description="with more, keep the subset with the best coverage")
    duplicate_frame: Fraction = Field(
        default=0.9,
        description="minimum correlation of two whole pictures, laid over each other, that are duplicates",
    )
    duplicate_face: Fraction = Field(
        default=0.988, description="same, for the correlation of the two faces, laid over each other"
    )
    duplicate_embedding: Fraction = Field(
        default=0.6, description="same, for the cosine similarity of the two face embeddings"
    )
    same_person: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(), description="files that show the subject: answers to doubtful_person and other_person"
    )
    other_person: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(), description="files that show somebody else, answers likewise"
    )
    use_anyway: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(), description="files used in spite of what the check finds on them; never held out"
    )

    @model_validator(mode="after")
    def _one_answer(self) -> Self:
        both = sorted(set(self.same_person) & set(self.other_person))
        if both:
            raise ValueError(f"{', '.join(both)}: in same_person and in other_person; keep one of them")
        return self


CAPTION_ADVICE: Final = (
    "Captions: of a photograph the built-in captioner says only what is sure. A model also describes clothes "
    "and places: set dataset.captions.captioner to florence2 (about 0.5 GB), or write captions.csv yourself."
)


class CaptionConfig(Section):
    """The source of the captions; `captions.csv` takes precedence over it."""

    captioner: Literal["attributes", "sidecar", "florence2", "blip"] = Field(
        default="attributes",
        description="sidecar: from a .txt file beside the photo, or metadata.jsonl in its folder",
    )
    model: str = Field(
        default="", description="repository or folder of the captioning model; empty: the default one"
    )
    words: str = Field(default="", description="words added to every caption")


class EditConfig(Section):
    """How one photo is read; the file stays as it is."""

    file: str = Field(min_length=1, description="name of the file in photos/")
    turn_deg: Literal[0, 90, 180, 270] = Field(default=0, description="turned clockwise by so many degrees")
    crop: tuple[Fraction, Fraction, Fraction, Fraction] = Field(
        default=(0.0, 0.0, 1.0, 1.0),
        description="left, top, right, bottom of what is kept, in fractions of the turned picture",
    )

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        left, top, right, bottom = self.crop
        if right - left < MIN_CROP or bottom - top < MIN_CROP:
            raise ValueError(f"at least {MIN_CROP:.0%} of the width and of the height must be left")
        return self


MIN_CROP: Final = 0.05
"""Of the width and of the height, that a crop by hand has to leave."""


class DatasetConfig(Section):
    """Photo check, curation, crops and captions."""

    check: CheckConfig = CheckConfig()
    curate: CurateConfig = CurateConfig()
    captions: CaptionConfig = CaptionConfig()
    edits: tuple[EditConfig, ...] = Field(
        default=(), description="photos turned or cropped by hand, before anything else looks at them"
    )
    crops_per_photo: Annotated[int, Field(ge=1, le=4)] = Field(
        default=2, description="training crops per photo, each with another framing"
    )
    aspects: tuple[Annotated[str, Field(pattern=r"^[1-9]\d?:[1-9]\d?$")], ...] = Field(
        default=("1:1",), min_length=1, description="W:H of the crops; framings cycle through them"
    )

    @model_validator(mode="after")
    def _one_edit(self) -> Self:
        files = [edit.file for edit in self.edits]
        twice = sorted({file for file in files if files.count(file) > 1})
        if twice:
            raise ValueError(f"edits names {', '.join(twice)} twice")
        return self


class TrainingConfig(Section):
    """The LoRA and its training; the base model's YAML sets the defaults for its family."""

    rank: Positive = Field(default=16, description="rank of the LoRA")
    alpha: float = Field(default=16.0, gt=0, description="the LoRA is scaled by alpha / rank")
    warm_start: str = Field(
        default="",
        description="begin where many other people were learnt: a file of scripts.train.warm_start",
    )
    targets: Literal["attention", "attention_and_conv"] = Field(
        default="attention", description="layers that get a LoRA"
    )
    learning_rate: float = Field(default=1e-4, gt=0, description="peak learning rate")
    batch_size: Positive = Field(default=4, description="samples per optimizer step")
    exposures_per_photo: Positive = Field(
        default=100, description="training samples per accepted photo; sets the number of steps"
    )
    checkpoints: Annotated[int, Field(ge=1, le=50)] = Field(
        default=4, description="number of checkpoints, evenly spaced"
    )
    early_stop: bool = Field(
        default=False, description="probe each checkpoint and stop once the likeness no longer improves"
    )
    previews: bool = Field(
        default=False, description="draw and score the probe portraits of each checkpoint while training"
    )
    warmup_steps: Annotated[int, Field(ge=0)] = Field(default=10, description="steps of linear warm-up")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="constant", description="learning-rate schedule after the warm-up"
    )
    caption_dropout: Fraction = Field(
        default=0.05, description="fraction of samples trained with an empty caption"
    )
    snr_gamma: float = Field(default=5.0, gt=0, description="gamma of min-SNR loss weighting")
    background_weight: Fraction = Field(
        default=1.0, description="loss weight outside the person mask; 1: no mask"
    )
    learn_region: Literal["picture", "person", "head"] = Field(
        default="picture",
        description="region that is learnt; elsewhere the base model's prediction is kept",
    )
    adapter: Literal["lora", "lokr", "loha"] = Field(
        default="lora",
        description="adapter type; lokr and loha are saved as an equivalent LoRA of higher rank",
    )
    rank_stabilised: bool = Field(
        default=False, description="rsLoRA: scale by alpha / sqrt(rank), for high ranks"
    )
    dora: bool = Field(
        default=False, description="DoRA: learn magnitudes as well; not every program loads them"
    )
    blocks: tuple[str, ...] = Field(
        default=(),
        description="train only layers whose names begin so; [identity]: the family's identity layers",
    )
    optimizer: Literal["adamw", "adamw8bit", "prodigy"] = Field(
        default="adamw", description="prodigy needs learning_rate 1 and the extra `prodigy`"
    )
    ema_decay: float = Field(
        default=0.0, ge=0, lt=1, description="decay of the exponential moving average of the weights; 0: none"
    )
    timesteps: Literal["logit_normal", "uniform"] = Field(
        default="logit_normal", description="timestep distribution for flow-matching bases"
    )
    timestep_shift: float | None = Field(
        default=None,
        gt=0,
        description="above 1: more high-noise timesteps; unset: that of the base's scheduler",
    )
    references: Fraction = Field(
        default=0.0,
        description="share of the samples at which other photos of the person are shown to the base; families"
        " that take references; 0: none",
    )
    max_references: Annotated[int, Field(ge=1, le=4)] = Field(
        default=2, description="most photos shown at a sample; how many is drawn at random"
    )
    identity_weight: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="weight of the loss of identity on portraits by the unfinished adapter; 0: none",
    )
    identity_share: float = Field(
        default=0.25,
        gt=0,
        le=0.9,
        description="share of the steps, the last ones, with the identity loss",
    )
    identity_lessons: Annotated[int, Field(ge=4, le=200)] = Field(
        default=24, description="portraits that are drawn for the identity loss"
    )
    prior_pictures: Annotated[int, Field(ge=0)] = Field(
        default=0, description="class pictures generated by the base for prior preservation; 0: none"
    )
    prior_weight: float = Field(default=1.0, ge=0, description="loss weight of the class pictures")
    micro_batch: Positive | None = Field(
        default=None, description="samples per forward pass, at most batch_size; unset: as many as fit"
    )
    gradient_checkpointing: bool | Literal["auto"] = Field(
        default="auto", description="recompute activations to save memory"
    )
    streaming: bool | Literal["auto"] = Field(
        default="auto",
        description="keep the base's blocks off the GPU (without one: on disk) until they compute",
    )
    weights: Literal["auto", "float32", "bfloat16", "float16", "int8", "nf4"] = Field(
        default="auto", description="data type of the frozen base weights"
    )
    together: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1, description="people of a fleet trained in one pass of the base; 1: one after the other"
    )
    text_encoder: Fraction = Field(
        default=0.0,
        description="learning rate of a text encoder LoRA (SD families), over learning_rate; 0: none",
    )


class SelectConfig(Section):
    """How the checkpoint is chosen: probe portraits, scored with embedder A."""

    probes: Positive = Field(default=8, description="probe portraits per checkpoint")
    copy_limit: Fraction = Field(
        default=0.15,
        description="reject a checkpoint when a larger fraction of its probes copies training photos",
    )
    average: bool = Field(
        default=False, description="also try the average of all good checkpoints; keep it if it is better"
    )
    step: Positive | None = Field(
        default=None, description="checkpoint to keep, chosen by hand; null: the best on the probes"
    )


class ScoreConfig(Section):
    """What the report measures besides the likeness."""

    clip: str = Field(
        default="",
        description="CLIP model for prompt adherence: a folder or a repository on the hub; empty: none",
    )


class GenerateConfig(Section):
    """Sampler settings; the base model's YAML sets the defaults for its family."""

    series: str = Field(default="headshots", description="name of a packaged series, or a YAML file")
    brand: str = Field(
        default="", description="name of a packaged brand sheet, or a YAML file; applies to every shot"
    )
    reframe: bool = Field(
        default=False, description="crop finished portraits to the brand's eye_line and head_height"
    )
    reframe_limit: float = Field(
        default=1.25, ge=1, le=2, description="maximum enlargement of a reframed portrait"
    )
    per_shot: Positive = Field(default=2, description="pictures per shot, each with its own seed")
    best_of: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1, description="candidates per picture; the best by its checks and embedder A is kept"
    )
    strict: bool = Field(default=False, description="treat warnings of the prompt linter as errors")
    scheduler: str = Field(default="", description="dpm++, euler, ddim, unipc …; empty: the family's own")
    weights: Literal["auto", "float32", "bfloat16", "float16", "int8", "nf4"] = Field(
        default="auto",
        description="data type of the denoiser while it draws; auto: bfloat16 for large bases on a GPU, else "
        "float32",
    )
    preset: str = Field(
        default="",
        description="few-step preset (distillation LoRA): sets steps, guidance_scale and scheduler",
    )
    accelerator: str = Field(default="", description="LoRA file of the preset; empty: the published one")
    accelerator_scale: float | None = Field(
        default=None, ge=0, le=2, description="scale of the preset's LoRA; null: the preset's own"
    )
    style_adapter: str = Field(
        default="", description="LoRA file of a style, used together with the identity adapter"
    )
    style_scale: float = Field(default=0.6, ge=0, le=2, description="scale of style_adapter")
    style_reference: str = Field(default="", description="picture whose style is transferred (IP-Adapter)")
    style_reference_adapter: str = Field(
        default="",
        description="IP-Adapter for style_reference: a .safetensors file with image_encoder/ beside it",
    )
    style_reference_scale: Fraction = Field(default=0.6, description="scale of the style reference; 0: none")
    references: Annotated[int, Field(ge=0, le=8)] = Field(
        default=0,
        description="photos of the person shown to the base while it draws; families that take references",
    )
    references_until: float = Field(
        default=1.0, gt=0, le=1, description="fraction of denoising during which references are shown; 1: all"
    )
    max_pictures: Positive = Field(
        default=1000, description="ask for confirmation before generating more pictures than this"
    )
    price_per_hour: float | None = Field(
        default=None, ge=0, description="price of the machine, for the cost estimate"
    )
    num_inference_steps: Positive = Field(default=25, description="denoising steps")
    guidance_scale: float = Field(default=5.0, ge=1, description="scale of classifier-free guidance")
    unconditional: Literal["adapter", "base"] = Field(
        default="adapter",
        description="model for the unconditional pass: adapter or bare base (which strengthens identity)",
    )
    identity_scale: float | None = Field(
        default=None,
        ge=0,
        description="scale of identity guidance (adapter against base); null: same as guidance_scale",
    )
    identity_start: float = Field(
        default=0.0, ge=0, lt=1, description="fraction of denoising done before identity guidance starts"
    )
    identity_late: float = Field(
        default=0.6,
        gt=0,
        lt=1,
        description="fraction of denoising done from which identity_late_scale holds",
    )
    identity_late_scale: float | None = Field(
        default=None,
        ge=0,
        description="scale of identity guidance in the last steps, where a lower one keeps expressions; "
        "null: the same throughout",
    )
    identity_region: Literal["picture", "head"] = Field(
        default="picture",
        description="region of identity guidance; head: where the shot type places the head",
    )
    adapter_scale: float = Field(default=1.0, ge=0, le=2, description="strength of the LoRA; 1: as trained")
    batch_size: Positive = Field(default=8, description="pictures per batch")
    together: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1, description="people of a fleet whose pictures share batches; 1: one after the other"
    )


class LikenessConfig(Section):
    """All settings of one likeness."""

    base: str = Field(
        default="embedded", description="name from `portrait-lora models`, or a folder in diffusers format"
    )
    face_pack: str = Field(default="embedded", description="name of a known pack, or a folder of ONNX files")
    allow_synthetic_models: bool = Field(
        default=False, description="allow the embedded models on real photographs"
    )
    commercial: bool = Field(
        default=False, description="commercial use: refuse models whose licence forbids it"
    )
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(default=0, description="seed of every random draw")
    device: str = Field(default="auto", description="auto, cpu, mps, cuda or cuda:N")
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = Field(
        default="auto", description="data type of mixed-precision training"
    )
    max_training_hours: float = Field(
        default=168, gt=0, description="refuse a training run estimated to take longer on this machine"
    )
    run: str = Field(default="main", pattern=NAME_PATTERN, description="folder name under adapters/")
    subject: SubjectConfig = SubjectConfig()
    dataset: DatasetConfig = DatasetConfig()
    training: TrainingConfig = TrainingConfig()
    select: SelectConfig = SelectConfig()
    generate: GenerateConfig = GenerateConfig()
    score: ScoreConfig = ScoreConfig()
