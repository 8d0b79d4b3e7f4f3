"""`training.identity_weight`: the portraits that the identity loss looks at, drawn in the middle of training.

They are drawn by the adapter as it is where the loss begins, once, and kept in the run's folder: a training
that is resumed later looks at the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from portrait_lora import log, manifest
from portrait_lora.errors import ConfigError, PortraitError
from portrait_lora.faces.embedder import similarity_transform
from portrait_lora.faces.preprocessing import Preprocessing
from portrait_lora.records import Adapter, CaptionedCrop, FloatArray, Portrait, Shot
from portrait_lora.stages import limits
from portrait_lora.stages.context import Context

if TYPE_CHECKING:
    from portrait_lora.training.identity import Lessons, Recogniser
    from portrait_lora.training.onnx_network import OnnxNetwork

FOLDER: Final = "lessons"
"""In the folder of a run."""
_ALIKE: Final = 0.97
"""Least mean cosine between the face pack's embeddings of the lessons and those with gradients."""
_SMALL_PX: Final = 256
_WHERE: Final = "training.identity_weight"
_log = log.get(__name__)


def refuse_what_cannot_be(ctx: Context) -> None:
    """Raise `ConfigError` for a face pack whose embedder gives no gradients."""
    if ctx.config.training.identity_weight:
        recogniser(ctx)


def inputs_of(ctx: Context) -> dict[str, str]:
    """What decides the weights beside the settings of training: who finds faces and embeds them.

    Lessons are drawn as the base itself is by default, whatever `generate` says: an adapter is not to be
    trained anew because portraits are to be drawn otherwise, or thresholds were calibrated.
    """
    if not ctx.config.training.identity_weight:
        return {}
    networks = (ctx.pack.embedder("select"), ctx.pack.detector)
    return {"identity": manifest.digest([manifest.sha256_file(ctx.pack.path(name)) for name in networks])}


def recogniser(ctx: Context) -> Recogniser:
    """Embedder A with gradients.  Raises `ConfigError` when its graph has operators without."""
    from portrait_lora.training.identity import Recogniser

    try:
        network = _network(ctx.pack.path(ctx.pack.embedder("select")))
    except PortraitError as error:
        raise ConfigError(
            "this face pack's embedder gives no gradients",
            where=_WHERE,
            got=f"{error.what}: {error.got}",
            remedy=_REMEDY,
        ) from error
    return Recogniser(network, ctx.pack.stated("select") or Preprocessing.arcface())


@lru_cache(maxsize=1)
def _network(path: Path) -> OnnxNetwork:
    from portrait_lora.training.onnx_network import OnnxNetwork

    return OnnxNetwork(path)


class WhenDue:
    """The lessons of one training; drawn when the steps that need them are next, and only once.

    Of several processes those behind `first` wait until they are drawn, and read them.
    """

    def __init__(
        self,
        ctx: Context,
        crops: Sequence[CaptionedCrop],
        steps: int,
        first: Callable[[], AbstractContextManager[None]] = nullcontext,
    ):
        self._ctx, self._crops, self._first = ctx, crops, first
        self._recipe = limits.recipe_of(ctx, steps)
        self._lessons: Lessons | None = None

    @property
    def least(self) -> int:
        """The step at which the loss has been at work once; 0 without one."""
        return self._recipe.identity_from + 1 if self._recipe.identity_weight else 0

    def begun(self) -> int:
        """How many steps of the training are done, by its checkpoints."""
        from portrait_lora.training import checkpoint

        return max((c.step for c in checkpoint.find(self._ctx.run_folder / "checkpoints")), default=0)

    def __call__(self, done: int) -> Lessons | None:
        """The lessons, when the step after `done` needs them."""
        if not self._recipe.identity_from <= done < self._recipe.steps:
            return None
        if self._lessons is None:
            with self._first():
                self._lessons = _lessons(self._ctx, self._crops, self._adapter())
        return self._lessons

    def _adapter(self) -> Adapter:
        """As it is where the loss begins: that checkpoint stays.  Raises `PortraitError` when it is gone."""
        from portrait_lora.training import checkpoint

        place = self._ctx.run_folder / "checkpoints"
        for saved in checkpoint.find(place):
            if saved.step == self._recipe.identity_from:
                return saved.adapter
        raise PortraitError(
            "the checkpoint from which the identity loss begins is missing",
            where=place,
            needed=checkpoint.folder_of(place, self._recipe.identity_from).name,
            remedy="Train anew: `portrait-lora train --force`, or name another run (-s run=NAME).",
        )


def _lessons(ctx: Context, crops: Sequence[CaptionedCrop], adapter: Adapter) -> Lessons:
    """Draw, look at and encode the lessons.

    Raises `ConfigError` when the embedder with gradients does not see what the face pack sees.
    """
    from portrait_lora.evaluation.similarity import embed_photos
    from portrait_lora.generation import prompts
    from portrait_lora.training import cache
    from portrait_lora.training.identity import Lesson, Lessons

    shots = prompts.lesson_shots(
        ctx.trigger,
        ctx.config.subject.kind,
        ctx.config.training.identity_lessons,
        resolution_px=ctx.base.resolution_px,
        seed=ctx.config.seed,
    )
    embedder = recogniser(ctx)
    known, _ = embed_photos(ctx.photos_of(crops), ctx.finder)
    faces = _faces(ctx, _drawn(ctx, adapter, shots), embedder) if len(known) else []
    if not faces:
        where = "lesson" if len(known) else "training photo"
        _log.warning("no face in any %s: the training goes on without the identity loss", where)
        return Lessons((), known.embeddings, embedder)
    _log.info("identity loss from here on, by %d portraits and %d photos", len(faces), len(known))
    as_crops = [as_crop(portrait) for portrait, _ in faces]
    samples = cache.encode(ctx.family, as_crops, ctx.run_folder / "cache").samples
    lessons = [Lesson(sample, matrix) for sample, (_, matrix) in zip(samples, faces, strict=True)]
    return Lessons(tuple(lessons), known.embeddings, embedder)


def _drawn(ctx: Context, adapter: Adapter, shots: Sequence[Shot]) -> list[Portrait]:
    """The lessons in the run's folder; what is there is not drawn again, what is refused is left out."""
    from portrait_lora.generation.drawing import Sampler
    from portrait_lora.generation.guidance import AS_ONE
    from portrait_lora.generation.sample import generate

    ctx.guard([shot.prompt for shot in shots])
    base = ctx.base
    sampler = Sampler(
        steps=base.steps, guidance_scale=base.guidance_scale, adapter_scale=1.0, scheduler="",
        unconditional="adapter", identity=AS_ONE,
    )  # fmt: skip
    small = base.resolution_px <= _SMALL_PX
    drawn = generate(
        ctx.family, adapter, shots, ctx.run_folder / FOLDER, sampler, batch_size=8 if small else 1,
        label="identity lessons", refused=[],
    )  # fmt: skip
    ctx.family.load("none")
    return drawn


def _faces(
    ctx: Context, drawn: Sequence[Portrait], embedder: Recogniser
) -> list[tuple[Portrait, FloatArray]]:
    """The portraits with a face, and the matrix that aligns it."""
    import torch

    from portrait_lora.evaluation.similarity import subject_face
    from portrait_lora.pictures.reader import read_rgb

    stated, alike = embedder.preprocessing, list[float]()
    faces: list[tuple[Portrait, FloatArray]] = []
    for portrait in drawn:
        image = read_rgb(portrait.path)
        face = subject_face(ctx.finder.find(image))
        if face is None:
            continue
        matrix = similarity_transform(face.keypoints_px, np.asarray(stated.template)).astype(np.float32)
        picture = torch.from_numpy(image.astype(np.float32) / 127.5 - 1.0).permute(2, 0, 1)[None]
        with torch.no_grad():
            alike.append(float(embedder.embed(picture, matrix)[0].numpy() @ face.embedding))
        faces.append((portrait, matrix))
    if alike and float(np.mean(alike)) < _ALIKE:
        raise ConfigError(
            "the embedder with gradients does not see what the face pack sees",
            where=_WHERE,
            got=f"cosine {np.mean(alike):.2f} on {len(alike)} portraits",
            needed=f"{_ALIKE:g} or more",
            remedy=f"State the embedder's preprocessing in pack.json. {_REMEDY}",
        )
    return faces


def as_crop(portrait: Portrait) -> CaptionedCrop:
    """A portrait as if it were a crop of the dataset, with its prompt for a caption."""
    size = portrait.shot.size_px
    return CaptionedCrop(
        path=portrait.path,
        source=portrait.path.name,
        source_sha256=manifest.sha256_file(portrait.path),
        crop_xyxy_px=(0, 0, *size),
        bucket=size,
        caption=portrait.shot.prompt,
        trigger="",
    )


_REMEDY: Final = f"Or leave the loss out: -s {_WHERE}=0"
