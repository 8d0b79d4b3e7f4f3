"""The figures of the protocol (docs/protocol.md) besides the headline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from portrait_lora.evaluation import groups, memorization, similarity
from portrait_lora.evaluation.adherence import Obeyed, Request, mean_adherence, obeyed
from portrait_lora.evaluation.clip import ClipAdherence
from portrait_lora.evaluation.copyview import View
from portrait_lora.evaluation.power import ParaphraseDrift, SampleSize, paraphrase_drift, portraits_needed
from portrait_lora.records import DriftReport, Face, Layers

VERSION: Final = "1.2"
"""Protocol version: the second number changes when figures are added, the first when one is redefined."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One scored portrait: its name, prompt, scored face, view, and the layers of the prompt."""

    name: str
    prompt: str
    face: Face | None
    view: View | None
    layers: Layers = ()

    @property
    def request(self) -> Request:
        """What was asked for."""
        return Request(self.prompt, self.layers)


@dataclass(frozen=True, slots=True)
class Copies:
    """`copied` maps a portrait's name to the photo that it copies."""

    score: float
    threshold: float
    copied: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Extras:
    """Everything besides the headline; None means "not measurable"."""

    protocol: str
    ceiling_pose_matched: float | None
    real_scores: tuple[float, ...]
    impostor_scores: tuple[float, ...]
    by_view: tuple[groups.Bin, ...]
    by_face_size: tuple[groups.Bin, ...]
    adherence: float | None
    diversity: float | None
    diversity_of_photos: float | None
    copies: Copies | None
    copy_gap: float | None
    paraphrases: ParaphraseDrift | None
    needed: SampleSize | None
    several_faces: tuple[str, ...]
    tiny_faces: tuple[str, ...]
    unreadable: tuple[str, ...]
    repeated: tuple[tuple[str, str], ...]
    attributes: tuple[Obeyed, ...] = ()
    clip: ClipAdherence | None = None


def copies(
    portraits: Sequence[Seen],
    training: Sequence[View],
    holdout: Sequence[View],
    training_names: Sequence[str],
    portrait_count: int,
) -> Copies | None:
    """Fraction of all portraits that copy a training photo; None with fewer than three real photos."""
    if not training or len(training) + len(holdout) < memorization.MIN_REAL_PHOTOS:
        return None
    shown = [(seen.name, seen.view) for seen in portraits if seen.view is not None]
    report = memorization.copy_report([view for _, view in shown], training, holdout)
    named = tuple(
        (name, training_names[match])
        for (name, _), (match, _), is_copy in zip(shown, report.matches, report.copied, strict=True)
        if is_copy
    )
    return Copies(len(named) / max(portrait_count, 1), report.threshold, named)


def extras(
    report: DriftReport,
    portraits: Sequence[Seen],
    *,
    training: similarity.ReferenceSet,
    holdout: similarity.ReferenceSet,
    photo_views: Sequence[View],
    impostors: similarity.FloatArray | None,
    copied: Copies | None,
    meanings: Mapping[str, str] | None = None,
    unreadable: Sequence[str] = (),
    repeated: Sequence[tuple[str, str]] = (),
    clip: ClipAdherence | None = None,
) -> Extras:
    """The figures of the protocol for one report."""
    scores = report.scores
    views = [(s.name, s.view) for s in portraits if s.view is not None]
    again = memorization.duplicates([view for _, view in views])
    embedded = [s.face.embedding for s in portraits if s.face is not None]
    gap = None
    if embedded and len(training):
        gap = memorization.similarity_gap(np.stack(embedded), training, holdout)
    return Extras(
        protocol=VERSION,
        ceiling_pose_matched=similarity.pose_matched_ceiling(
            training, holdout, [s.yaw_deg for s in scores if s.yaw_deg is not None]
        ),
        real_scores=tuple(similarity.real_scores(training, holdout).tolist()),
        impostor_scores=()
        if impostors is None
        else tuple(similarity.impostor_scores(impostors, holdout).ravel().tolist()),
        by_view=tuple(groups.by_view(scores, report.threshold)),
        by_face_size=tuple(groups.by_face_size(scores, report.threshold)),
        adherence=mean_adherence((s.request, s.face) for s in portraits),
        diversity=memorization.diversity([view for _, view in views]),
        diversity_of_photos=memorization.diversity(photo_views),
        copies=copied,
        copy_gap=gap,
        paraphrases=paraphrase_drift(scores, meanings or {}),
        needed=portraits_needed(scores),
        several_faces=tuple(s.portrait for s in scores if s.faces > 1),
        tiny_faces=tuple(
            s.portrait for s in scores if s.face_px is not None and s.face_px < groups.TINY_FACE_PX
        ),
        unreadable=tuple(unreadable),
        repeated=(*repeated, *((views[i][0], views[j][0]) for i, j in again)),
        attributes=obeyed([(s.request, s.face) for s in portraits]),
        clip=clip,
    )
