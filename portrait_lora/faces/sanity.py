"""The sanity test of a pack: does each embedder tell people apart, and is its preprocessing the best one?

A network fed with wrong preprocessing still gives embeddings: strangers come out at a cosine of 0.96, and
everybody is verified.  Only pictures of people show that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np

from portrait_lora import log
from portrait_lora.errors import ArtifactError
from portrait_lora.faces.embedder import Embedder
from portrait_lora.faces.pack import FacePack, Role
from portrait_lora.faces.people import ROLES, People, Seen
from portrait_lora.faces.preprocessing import Points, Preprocessing, same, scaled
from portrait_lora.faces.separation import Advantage, Pairs, Separation
from portrait_lora.records import FloatArray

LEAST_AUC: Final = 0.95
"""Refused when even the upper end of the AUC's interval is lower.  On LFW (40 people, two halves) right
preprocessing gave 0.994 to 0.9996, a weak network 0.94 [0.92, 0.97], wrong preprocessing 0.61 to 0.69."""
MOST_STRANGERS: Final = 0.01
"""Refused when surely more than this share of strangers' pairs reach the pack's own threshold."""
REFUSED_RATIO: Final = 1.2
SURE_RATIO: Final = 1.1
"""Refused when another preprocessing separates 1.2 times as well (d′), and surely 1.1 times.  On LFW a wrong
mean and std (ImageNet's for ArcFace's) cost 1.23 to 1.42, [0, 1] for ArcFace's 1.02 to 1.11: a warning."""
FEW_PEOPLE: Final = 20
"""With 8 people the interval of a ratio spans 0.3: only gross mistakes are found."""
_ALTERNATIVE_PICTURES: Final = 160
"""Each alternative embeds them again; more would take long with large networks."""
_SIDES_PX: Final = (96, 112, 128, 160, 224)


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another preprocessing, and how much better than the stated one it separates."""

    sentence: str
    advantage: Advantage


@dataclass(frozen=True, slots=True)
class Tested:
    """One embedder: figures, failures (refused) and warnings, in words."""

    embedder_id: str
    separation: Separation
    strangers_passing: float | None
    alternatives: tuple[Alternative, ...]
    failures: tuple[str, ...]
    warnings: tuple[str, ...]

    def json_value(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def lines(self) -> list[str]:
        """For people."""
        best = max(self.alternatives, key=lambda a: a.advantage.ratio, default=None)
        lines = [f"{self.embedder_id}: {self.separation.sentence}"]
        if best is not None:
            low, high = best.advantage.interval
            lines.append(
                f"  best of {len(self.alternatives)} other preprocessings: {best.sentence}, "
                f"{best.advantage.ratio:.2f} times the separation [{low:.2f}, {high:.2f}]"
            )
        return [*lines, *(f"  FAILED: {f}" for f in self.failures), *(f"  note: {w}" for w in self.warnings)]


def judge(pack: FacePack, people: People, *, thresholds: Mapping[Role, float] | None = None) -> list[Tested]:
    """Test both embedders on pictures of people.

    `thresholds` are those that the pack states; without them nobody is verified.  Raises `InputError` for
    fewer than two people.
    """
    pairs = Pairs(people.labels)
    few = _spread(people, _ALTERNATIVE_PICTURES)
    return [
        _judge(pack, role, people, pairs, few, None if thresholds is None else thresholds[role])
        for role in ROLES
    ]


def judge_gallery(pack: FacePack, role: Role, gallery_PKD: FloatArray) -> Tested:
    """Test one embedder on the embeddings of its gallery: no other preprocessing can be tried."""
    people, pictures, width = gallery_PKD.shape
    pairs = Pairs([i // pictures for i in range(people * pictures)])
    similarities = pairs.similarities(gallery_PKD.reshape(-1, width))
    return _verdict(pack.embedder_ids[role], pairs, similarities, pack.threshold(role), (), ())


def _judge(
    pack: FacePack, role: Role, people: People, pairs: Pairs, few: Sequence[Seen], threshold: float | None
) -> Tested:
    warnings: list[str] = []
    alternatives: tuple[Alternative, ...] = ()
    if pack.kinds.get(pack.embedder_ids[role]) != "sface":
        alternatives = _alternatives(pack, role, few)
    if all(_is_grey(s) for s in few):
        warnings.append("all pictures are grey: the colour order cannot be judged on them")
    similarities = pairs.similarities(people.table(role))
    return _verdict(pack.embedder_ids[role], pairs, similarities, threshold, alternatives, tuple(warnings))


def _verdict(
    embedder_id: str,
    pairs: Pairs,
    similarities: Any,
    threshold: float | None,
    alternatives: tuple[Alternative, ...],
    noted: tuple[str, ...],
) -> Tested:
    separation = pairs.separation(similarities)
    failures: list[str] = []
    warnings = list(noted)
    low, high = separation.auc_ci95
    if high < LEAST_AUC:
        failures.append(
            f"does not tell people apart: AUC {separation.auc:.3f} [{low:.3f}, {high:.3f}], "
            f"at least {LEAST_AUC} needed; strangers' mean cosine {separation.stranger_mean:.2f}"
        )
    elif low < LEAST_AUC:
        warnings.append(f"an AUC below {LEAST_AUC} is not excluded")
    passing = None
    if threshold is not None:
        passing, surely = pairs.share_of_strangers(similarities, threshold)
        if surely > MOST_STRANGERS:
            failures.append(
                f"{passing:.1%} of pairs of strangers (surely {surely:.1%}) reach the threshold "
                f"{threshold:.3f}: they would pass as the same person"
            )
    better = [a for a in alternatives if a.advantage.interval[0] > 1.0]
    if better:
        best = max(better, key=lambda a: a.advantage.ratio)
        ratio, (sure, _) = best.advantage.ratio, best.advantage.interval
        words = f"{best.sentence} separates {ratio:.2f} times as well (surely {sure:.2f})"
        if ratio >= REFUSED_RATIO and sure >= SURE_RATIO:
            failures.append(f"the preprocessing is wrong: {words}")
        else:
            warnings.append(f"perhaps the preprocessing is wrong: {words}")
    if separation.people < FEW_PEOPLE:
        warnings.append(
            f"{separation.people} people show gross mistakes only; {FEW_PEOPLE} or more show a wrong mean"
        )
    return Tested(embedder_id, separation, passing, alternatives, tuple(failures), tuple(warnings))


def _alternatives(pack: FacePack, role: Role, few: Sequence[Seen]) -> tuple[Alternative, ...]:
    """The stated preprocessing against the usual others, on the same pictures."""
    path = pack.path(pack.embedder(role))
    stated = pack.stated(role) or Preprocessing.arcface()
    try:
        own = Embedder(path, stated)
    except ArtifactError:
        return ()  # without a stated side insightface takes the graph's
    others = usual_others(stated, _SIDES_PX if own.free_side else (), grey=all(_is_grey(s) for s in few))
    labels = [s.person for s in few]
    pairs = Pairs([list(dict.fromkeys(labels)).index(name) for name in labels])
    here = pairs.similarities(np.stack([s.embeddings[role] for s in few]))
    tried: list[Alternative] = []
    with log.progress(f"other preprocessings of {pack.embedder_ids[role]}", len(others)) as advance:
        for other in others:
            try:
                table = _embedded(Embedder(path, other), few)
            except ArtifactError:
                continue  # a side that this network cannot take, or values that it answers with infinities
            finally:
                advance()
            gain = pairs.advantage(pairs.similarities(table), here, tried=len(others))
            tried.append(Alternative(other.sentence, gain))
    return tuple(tried)


def _embedded(embedder: Embedder, few: Sequence[Seen]) -> FloatArray:
    return np.stack([embedder.embed(s.crop, s.keypoints_px) for s in few])


def usual_others(
    stated: Preprocessing, sides_px: Sequence[int], *, grey: bool = False
) -> list[Preprocessing]:
    """Preprocessings that differ from the stated one in colour order, scale of values, side or alignment.

    Grey pictures have no order of colours.
    """
    side, colour = stated.side_px, stated.colour
    scales = (
        (same(127.5), same(127.5)),
        (same(0.0), same(255.0)),
        (same(0.0), same(1.0)),
        ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    )
    swapped = "BGR" if colour == "RGB" else "RGB"
    others = (
        [] if grey else [Preprocessing(side, swapped, stated.mean, stated.std, stated.template, stated.named)]
    )
    others += [Preprocessing(side, colour, mean, std, stated.template, stated.named) for mean, std in scales]
    others += [
        Preprocessing(s, colour, stated.mean, stated.std, scaled(s), named=True)
        for s in sides_px
        if s != side
    ]
    others += [
        Preprocessing(side, colour, stated.mean, stated.std, points)
        for points in (scaled(side), _moved(side, 0.8, 0.0), _moved(side, 1.1, -0.14))
    ]
    return [o for o in others if replace(o, named=stated.named) != stated]


def _moved(side_px: int, scale: float, up: float) -> Points:
    """ArcFace's template about its centre: 0.8 shows more around the face; 1.1 with the eyes a seventh higher
    is the chip of dlib."""
    half = side_px / 2
    return tuple(
        ((x - half) * scale + half, (y - half) * scale + half + up * side_px) for x, y in scaled(side_px)
    )


def _spread(people: People, most: int) -> list[Seen]:
    """At most so many pictures: whole people, evenly over the list."""
    names = list(dict.fromkeys(s.person for s in people.seen))
    count = max(2, most * len(names) // max(1, len(people.seen)))
    kept = {names[i * len(names) // count] for i in range(count)} if count < len(names) else set(names)
    return [s for s in people.seen if s.person in kept]


def _is_grey(seen: Seen) -> bool:
    return bool((seen.crop.max(axis=-1) - seen.crop.min(axis=-1)).max() <= 2)
