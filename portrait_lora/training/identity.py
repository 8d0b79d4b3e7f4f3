"""The identity loss: what the denoiser is about to draw is to be recognised as the person by embedder A.

Portraits that the unfinished adapter drew of its person, here *lessons*, are noised, the clean picture is
predicted in one step, decoded, aligned at the face of the lesson, and embedded; the loss is 1 - the mean
cosine to the photos, and what the face has lost of the light and colour of its lesson.  PortraitBooth (Peng
et al. 2024) and ID-Booth (Tomasevic et al. 2025) compute the first part on the training photos; own portraits
show prompts, poses and lights that the photos lack, and there the likeness is lost.  Without the second part
faces turn to the light of the photos, in which an embedder knows them best.  Embedder A trains here, so it is
embedder B that tells what came of it.

Shape legend: B rows, C channels, H W rows and columns, N photos, D embedding width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from portrait_lora.errors import InputError
from portrait_lora.faces.preprocessing import Preprocessing
from portrait_lora.families.family import Family, FlowSchedule, NoiseSchedule
from portrait_lora.records import FloatArray
from portrait_lora.training import batch, cache, draws, loss
from portrait_lora.training.draws import Draw
from portrait_lora.training.onnx_network import OnnxNetwork
from portrait_lora.training.recipe import Recipe

_TIMESTEPS: Final = (0.1, 0.7)
"""Shares of the schedule between which lessons are noised: below the lesson itself is seen, above nothing."""
_SIGMAS: Final = (0.25, 0.8)
"""The same noise where the picture fades along a straight line."""
_KEEP: Final = 3.0
"""Weight of the mean squared change of light and colour, in values from -1 to 1, beside the cosine."""
_COARSE: Final = 7
"""Places a side of the aligned face over which light and colour are averaged: coarser than its features."""
_WHOLE: Final = 32
"""Latents of at most so many places a side are decoded whole; of larger ones the part round the face."""
_MARGIN: Final = 4


@dataclass(frozen=True, slots=True)
class Lesson:
    """A portrait by the unfinished adapter; `matrix_23` takes its pixels to those of an aligned crop."""

    sample: cache.EncodedSample
    matrix_23: FloatArray


class Recogniser:
    """Embedder A with gradients: the graph of its file, and the preprocessing that it wants."""

    def __init__(self, network: OnnxNetwork, preprocessing: Preprocessing):
        self.network, self.preprocessing = network, preprocessing

    def to(self, device: torch.device) -> Recogniser:
        """The same on a device."""
        return Recogniser(self.network.to(device), self.preprocessing)

    def embed(self, picture_1CHW: Tensor, matrix_23: FloatArray) -> Tensor:
        """Unit embedding (1, D) of the face that the matrix aligns, in RGB from -1 to 1."""
        stated = self.preprocessing
        grey = (aligned(picture_1CHW, matrix_23, stated.side_px).clamp(-1.0, 1.0) + 1.0) * 127.5
        if stated.colour == "BGR":
            grey = grey.flip(1)
        mean, std = (
            torch.tensor(values, device=grey.device).view(1, 3, 1, 1) for values in (stated.mean, stated.std)
        )
        return functional.normalize(self.network((grey - mean) / std), dim=-1)


@dataclass(frozen=True, slots=True)
class Lessons:
    """What the loss is computed with: lessons, unit embeddings (N, D) of the training photos, embedder A.

    Without any lesson, or photo, training goes on without the loss.
    """

    lessons: tuple[Lesson, ...]
    known_ND: FloatArray
    recogniser: Recogniser


@dataclass(frozen=True, slots=True)
class _Drawn:
    draw: Draw
    lesson: Lesson


@dataclass(frozen=True, slots=True)
class _Seen:
    """Of every row: the mean cosine to the photos, and the squared change of light and colour."""

    similarity_B: Tensor
    changed_B: Tensor


class IdentityLoss:
    """The loss of one person's steps.  Every draw is a function of (seed, step), so resuming changes nothing.

    Raises `InputError` when the photos were embedded by another embedder.
    """

    def __init__(
        self,
        family: Family,
        recipe: Recipe,
        lessons: Lessons,
        decode: Callable[[Tensor], Tensor] | None = None,
    ):
        self.family, self.recipe, self.lessons = family, recipe, lessons.lessons
        self.known_ND = torch.from_numpy(np.array(lessons.known_ND, dtype=np.float32)).to(family.device)
        self.recogniser = lessons.recogniser.to(family.device)
        self._decode = decode or (family.open_decoder() if self.lessons else None)
        self._coarse: dict[str, Tensor] = {}
        self._empty = cache.Encodings((), self.lessons[0].sample.condition) if self.lessons else None

    def due(self, step: int) -> bool:
        """Whether the step after `step` is taken with the loss."""
        return step >= self.recipe.identity_from and bool(self.lessons) and len(self.known_ND) > 0

    def backward(
        self,
        step: int,
        room: int,
        scaled: Callable[[Tensor], Tensor],
        seat: Callable[[int], AbstractContextManager[None]] = lambda rows: nullcontext(),
        share: tuple[int, int] = (0, 1),
    ) -> float:
        """Add the gradients of the step after `step`, at most `room` rows at a time; the mean similarity.

        `seat` is the context in which so many rows are this person's.  With a `share` (i, n), for process i
        of n, it is every n-th row from the i-th on, so that the mean over the processes of gradients, and of
        what is returned, is that of all rows; one without a row adds nothing and returns 0.
        """
        index, of = share
        every = self._draws(step)
        drawn, weight = every[index::of], of / len(every)
        mean = 0.0
        for start in range(0, len(drawn), room):
            part = drawn[start : start + room]
            with seat(len(part)):  # also backwards: checkpointing computes the layers again
                seen = self._seen(part)
                each_B = 1.0 - seen.similarity_B + _KEEP * seen.changed_B
                total = self.recipe.identity_weight * weight * each_B.sum()
                scaled(total).backward()  # pyright: ignore[reportUnknownMemberType]
            mean += weight * float(seen.similarity_B.detach().sum())
        return mean

    def _draws(self, step: int) -> list[_Drawn]:
        recipe, rows = self.recipe, rows_of(self.recipe)
        u = loss.draw_uniform(draws.generator(recipe.seed, "identity level", step))
        drawn: list[_Drawn] = []
        for slot in range(rows):
            index = draws.turn(recipe, "identity order", len(self.lessons), step * rows + slot)
            lesson = self.lessons[index]
            own = draws.generator(recipe.seed, "identity", step, slot, lesson.sample.key)
            noise_CHW = torch.randn(lesson.sample.mean_CHW.shape, generator=own)
            level = level_at(self.family.schedule, loss.stratified(u, slot, rows))
            still_CHW = torch.zeros_like(noise_CHW)  # the mean of the posterior
            drawn.append(_Drawn(Draw(lesson.sample, level, noise_CHW, still_CHW, False), lesson))
        return drawn

    def _seen(self, drawn: Sequence[_Drawn]) -> _Seen:
        """What every row's predicted picture shows, with gradient."""
        family, group = self.family, [one.draw for one in drawn]
        noised = batch.noised(family, group)
        assert self._empty is not None
        with batch.precision(family, self.recipe):
            condition = batch.condition(family, self.recipe, self._empty, group)
            answer_BCHW = family.predict(
                noised.noisy_BCHW, noised.level_B, condition, [d.sample.geometry for d in group]
            )
        clean_BCHW = loss.clean(family.schedule, noised.noisy_BCHW, answer_BCHW, noised.level_B)
        similarities, changes = list[Tensor](), list[Tensor]()
        for row, one in enumerate(drawn):
            picture_1CHW, matrix_23 = self._decoded(clean_BCHW[row : row + 1], one.lesson.matrix_23)
            embedding_1D = self.recogniser.embed(picture_1CHW, matrix_23)
            if embedding_1D.shape[1] != self.known_ND.shape[1]:
                raise InputError(
                    "the photos were embedded by another embedder",
                    got=self.known_ND.shape[1], needed=embedding_1D.shape[1],
                )  # fmt: skip
            similarities.append((embedding_1D @ self.known_ND.T).mean(dim=1))
            change = self._light(picture_1CHW, matrix_23) - self._light_of(one.lesson)
            changes.append(change.square().mean().reshape(1))
        return _Seen(torch.cat(similarities), torch.cat(changes))

    @torch.no_grad()
    def _light_of(self, lesson: Lesson) -> Tensor:
        """That of the lesson itself, through the same decoder; decoded once."""
        key = lesson.sample.key
        if key not in self._coarse:
            own_1CHW = self.family.to_model_space(lesson.sample.mean_CHW[None].to(self.family.device))
            self._coarse[key] = self._light(*self._decoded(own_1CHW, lesson.matrix_23))
        return self._coarse[key]

    def _light(self, picture_1CHW: Tensor, matrix_23: FloatArray) -> Tensor:
        """Light and colour in the large (1, C, h, w) on the face that the matrix aligns."""
        face_1CHW = aligned(picture_1CHW, matrix_23, self.recogniser.preprocessing.side_px)
        return functional.adaptive_avg_pool2d(face_1CHW.clamp(-1.0, 1.0), _COARSE)

    def _decoded(self, latents_1CHW: Tensor, matrix_23: FloatArray) -> tuple[Tensor, FloatArray]:
        """The picture, or its part round the face, and the matrix that aligns the face in it."""
        place_px = self.family.latent_px
        box = window(
            matrix_23,
            self.recogniser.preprocessing.side_px,
            (latents_1CHW.shape[-1], latents_1CHW.shape[-2]),
            place_px,
            self.family.multiple_px // place_px,
        )
        x0, y0, x1, y1 = box
        assert self._decode is not None
        picture_1CHW = self._decode(latents_1CHW[..., y0:y1, x0:x1].float())
        moved = np.array(matrix_23, dtype=np.float64)
        moved[:, 2] += moved[:, :2] @ np.array([x0 * place_px, y0 * place_px])
        return picture_1CHW.float(), moved.astype(np.float32)


def rows_of(recipe: Recipe) -> int:
    """Lessons of a step: half a batch of them, one at least."""
    return max(1, recipe.batch_size // 2)


def level_at(schedule: NoiseSchedule | FlowSchedule, quantile: float) -> float:
    """The timestep, or sigma, at a quantile of those at which lessons are noised."""
    flows = isinstance(schedule, FlowSchedule)
    low, high = _SIGMAS if flows else _TIMESTEPS
    share = low + (high - low) * quantile
    return (
        share if isinstance(schedule, FlowSchedule) else min(int(share * schedule.steps), schedule.steps - 1)
    )


def aligned(picture_1CHW: Tensor, matrix_23: FloatArray, side_px: int) -> Tensor:
    """The aligned crop (1, C, side, side), bilinear; pixel centres lie at whole numbers, as in OpenCV."""
    height, width = picture_1CHW.shape[-2:]
    back_33 = np.linalg.inv(np.vstack([np.asarray(matrix_23, np.float64), (0.0, 0.0, 1.0)]))
    v, u = np.mgrid[0:side_px, 0:side_px].astype(np.float64)
    x = back_33[0, 0] * u + back_33[0, 1] * v + back_33[0, 2]
    y = back_33[1, 0] * u + back_33[1, 1] * v + back_33[1, 2]
    places = np.stack([(x + 0.5) / width * 2.0 - 1.0, (y + 0.5) / height * 2.0 - 1.0], axis=-1)
    grid = torch.from_numpy(places[None].astype(np.float32)).to(picture_1CHW.device)
    # outside the picture OpenCV's crop is black
    return functional.grid_sample(picture_1CHW + 1.0, grid, padding_mode="zeros", align_corners=False) - 1.0


def window(
    matrix_23: FloatArray, side_px: int, size: tuple[int, int], place_px: int, patch: int
) -> tuple[int, int, int, int]:
    """The places (x0, y0, x1, y1) of latents of `size` (W, H) that the aligned crop is cut from, with a
    margin, in whole patches; all of them where there are few."""
    if max(size) <= _WHOLE:
        return 0, 0, *size
    back_33 = np.linalg.inv(np.vstack([np.asarray(matrix_23, np.float64), (0.0, 0.0, 1.0)]))
    corners = np.array([(x, y, 1.0) for x in (0, side_px) for y in (0, side_px)])
    places = (corners @ back_33.T)[:, :2] / place_px
    low, high = places.min(axis=0) - _MARGIN, places.max(axis=0) + _MARGIN
    x0, y0 = (max(0, int(np.floor(v / patch)) * patch) for v in low)
    x1, y1 = (min(side, int(np.ceil(v / patch)) * patch) for v, side in zip(high, size, strict=True))
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else (0, 0, *size)
