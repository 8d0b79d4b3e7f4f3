"""What the program knows of a model family without opening a model: one row each, in `families.rows`.

Everything that differs between families and is no computation stands in the row; the computation stands in
the class that `implementation` names.  Whoever needs either asks `families.rows.row_of`, which raises for an
unknown family.  Torch-free.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from portrait_lora.families.base_model import BaseModel
from portrait_lora.families.spelling import Spelling
from portrait_lora.records import FamilyName

Form = Literal["clauses", "sentences"]


@dataclass(frozen=True, slots=True)
class Cost:
    """Counted on one base of the family at one size, per sample: forward TFLOP, activations in GB kept for
    the backward pass, and the same when they are recomputed.

    `streamed_share` of the weights are on the device at a time when its blocks are streamed: whatever is in
    no block, and two of the longest.  `picture_share` of the tokens are the picture's, the rest the text's;
    `attention_share` of the computation grows with the square of the tokens.  Both count for references only.
    """

    parameters_b: float
    px: int
    forward_tflop: float
    kept_gb: float
    recomputed_gb: float
    streamed_share: float = 1.0
    picture_share: float = 1.0
    attention_share: float = 0.0


@dataclass(frozen=True, slots=True)
class TextReader:
    """Limits of a family's text encoder: tokens that fit (with begin and end), and the preferred form.

    The limits are those of the diffusers pipelines' default `max_sequence_length`.
    """

    limit: int
    form: Form


CLIP: Final = TextReader(77, "clauses")
"""CLIP reads 77 tokens and weighs the first ones most."""


@dataclass(frozen=True, slots=True)
class CheckpointFile:
    """How a checkpoint in one file is recognised, in the layout that A1111 and ComfyUI use.

    `title` is what people call such a file; all tensors of `encoders` are in it, and in that of no other
    family; `like` is the base whose configuration it has unless the user says otherwise.
    """

    title: str
    encoders: tuple[str, ...]
    like: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyRow:
    """One family.

    `implementation` is `module:class`, imported when a model is opened.  `pipelines` are the classes that
    `model_index.json` names.  `resolution_px` is that of a folder which does not say.  `architecture` and
    `kohya_version` stand in the header of an adapter (ModelSpec; `ss_base_model_version`).

    `decoding_gb`: the VAE's weights and what it needs to decode a picture of the size of `cost`, counted in
    the precision of the weights.

    `elsewhere`: parts of the pipeline that the repositories of the bases name but do not hold.

    `float32_up_to_b`: bases with no more billions of parameters are held in float32 on a GPU too; None: none
    is.  `text_encoders_b`: billions of weights in the text encoders that can be trained along; 0 where none
    can.  `comfy` are ComfyUI's names of the layers, by part of the pipeline; none where it reads none
    of the family.  `a1111_version` is the word of
    A1111's `sd version`, by which it hides files of the other kind; empty where it reads none of the family.
    `style_encoder` are the classes of transformers that see a style reference: the encoder, and what
    prepares a picture for it; None where the family takes none.  `references`: most photos that its
    pipelines take in context while they draw; 0 where they take none.  `references_in_text`: the text
    encoder sees them too, so that a prompt is encoded beside what is shown with it, and diffusers' own
    pipeline draws beside photos only.  `unguided` are the arguments with which that pipeline draws without
    guidance, in the size that is asked for.
    """

    name: FamilyName
    implementation: str
    pipelines: tuple[str, ...]
    bases: tuple[BaseModel, ...]
    elsewhere: tuple[str, ...] = ()
    resolution_px: int = 1024
    cost: Cost
    decoding_gb: float
    text: TextReader
    architecture: str
    kohya_version: str
    float32_up_to_b: float | None = None
    text_encoders_b: float = 0.0
    comfy: Mapping[str, Spelling]
    a1111_version: str = ""
    style_encoder: tuple[str, str] | None = None
    references: int = 0
    references_in_text: bool = False
    checkpoint: CheckpointFile | None = None
    unguided: Mapping[str, float] = field(default_factory=lambda: {"guidance_scale": 1.0})
