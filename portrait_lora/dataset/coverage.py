"""Coverage: how varied the photos are, and what to add, in a photographer's words.

The bins follow the sign of the yaw: negative faces the left of the picture, which for the subject is a turn
to the right; the advice addresses the subject ("your left").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from portrait_lora import vocabulary
from portrait_lora.dataset.subject import average_linkage, unit_mean
from portrait_lora.dataset.surroundings import Surroundings, group_sizes
from portrait_lora.records import Coverage, Face, PhotoReport, Variety

YAW_BINS: Final = ("left profile", "left three-quarter", "frontal", "right three-quarter", "right profile")
PITCH_BINS: Final = ("looking up", "level", "looking down")
LEVEL_MAX_PITCH_DEG: Final = 12.0
UNKNOWN: Final = "unknown"
EXPRESSION_BINS: Final = (*vocabulary.EXPRESSIONS, UNKNOWN)

SAME_SHARE: Final = 0.6
"""Minimum share of photos with one outfit or backdrop for the warning that it will leak into portraits."""
MONOCHROME_SHARE: Final = 0.2
"""The same for black-and-white photos, which a base takes for a style of the trigger."""
_TURNS: Final = {
    "left three-quarter": "turned a little to your right",
    "frontal": "facing the camera",
    "right three-quarter": "turned a little to your left",
    "left profile": "in profile, turned to your right",
    "right profile": "in profile, turned to your left",
}
_WISHES: Final = {"left three-quarter": 2, "frontal": 3, "right three-quarter": 2}
_PROFILE_WISH_FROM: Final = 12  # photos; smaller sets have more pressing gaps
_PITCH_WISH_FROM: Final = 10
_LIGHT_WISH_FROM: Final = 8
_PERIOD_MAX_YAW_DEG: Final = 30.0
_PERIOD_LEAST: Final = 3


def yaw_bin(face: Face | None) -> str:
    """The bin of `YAW_BINS` for a face, `unknown` without a pose."""
    if face is None or face.pose_deg is None:
        return UNKNOWN
    yaw = face.pose_deg[1]
    view = vocabulary.view_of(yaw)
    return view if view == vocabulary.VIEWS[0] else f"{'left' if yaw < 0 else 'right'} {view}"


def pitch_bin(face: Face | None) -> str:
    """The bin of `PITCH_BINS` for a face, `unknown` without a pose or with one from five keypoints."""
    if face is None or face.pose_deg is None or face.pose_from_points:
        return UNKNOWN
    pitch = face.pose_deg[0]
    return PITCH_BINS[1] if abs(pitch) <= LEVEL_MAX_PITCH_DEG else PITCH_BINS[0 if pitch > 0 else 2]


def expression_bin(face: Face | None) -> str:
    """The bin of `EXPRESSION_BINS` for a face."""
    known = face is not None and face.expression in vocabulary.EXPRESSIONS
    return face.expression if known and face is not None and face.expression else UNKNOWN


def cell(face: Face | None) -> tuple[str, str]:
    """The bins of yaw and of expression."""
    return yaw_bin(face), expression_bin(face)


def coverage(
    reports: Sequence[PhotoReport],
    surroundings: Sequence[Surroundings] = (),
    same_person_similarity: float | None = None,
) -> Coverage:
    """Counts per yaw × pitch × expression over the accepted photos of `reports`, gaps and advice.

    `same_person_similarity` enables the advice on faces that form two groups, as from different years.
    """
    accepted = [r for r in reports if r.accepted]
    faces = [r.face for r in accepted]
    yaws, pitches = (
        (*bins, *((UNKNOWN,) if any(bin_of(f) == UNKNOWN for f in faces) else ()))
        for bins, bin_of in ((YAW_BINS, yaw_bin), (PITCH_BINS, pitch_bin))
    )
    has_unknown = any(expression_bin(f) == UNKNOWN for f in faces)
    expressions = EXPRESSION_BINS if has_unknown else vocabulary.EXPRESSIONS
    cells = np.zeros((len(yaws), len(pitches), len(expressions)), dtype=int)
    for face in faces:
        place = (yaws.index(yaw_bin(face)), pitches.index(pitch_bin(face)))
        cells[(*place, expressions.index(expression_bin(face)))] += 1
    table = cells.sum(axis=1)
    missing, advice = _gaps(table, yaws, expressions)
    variety = group_sizes(surroundings)
    more = [
        *_pitches(cells, pitches),
        *_alike(variety, len(surroundings)),
        *_grey(accepted),
        *_periods(accepted, same_person_similarity),
    ]
    return Coverage(
        yaw_bins=yaws,
        expression_bins=expressions,
        counts=tuple(tuple(int(n) for n in row) for row in table),
        missing=missing,
        advice=(*advice, *more),
        pitch_bins=pitches,
        cells=tuple(tuple(tuple(int(n) for n in row) for row in plane) for plane in cells),
        variety=variety,
        appearance_spread=_spread([f for f in faces if f is not None]),
    )


def _gaps(
    table: np.ndarray, yaws: tuple[str, ...], expressions: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The empty bins worth filling, and advice on what to add."""
    per_yaw = dict(zip(yaws, table.sum(axis=1), strict=True))
    per_expression = dict(zip(expressions, table.sum(axis=0), strict=True))
    if table.sum() and per_yaw.get(UNKNOWN, 0) == table.sum():
        return (), ("This face pack does not measure the pose; check yourself that the views vary.",)
    can_tell = per_expression.get(UNKNOWN, 0) < max(table.sum(), 1)
    wanted = [w for w in ("neutral", "smiling") if can_tell and per_expression[w] == 0]
    short = {view: int(n - per_yaw[view]) for view, n in _WISHES.items() if per_yaw[view] < n}
    if table.sum() >= _PROFILE_WISH_FROM:
        short |= {view: 1 for view in ("left profile", "right profile") if per_yaw[view] == 0}
    missing = [view for view in yaws if view in short and per_yaw[view] == 0]
    missing += [w for w in expressions if w in wanted]
    advice = []
    for view, n in short.items():
        extra = f", {'one of them ' if n > 1 else ''}{_as_manner(wanted.pop(0))}" if wanted else ""
        advice.append(f"Add {_number(n)} {_TURNS[view]}{extra}.")
    advice += [f"Add {_number(2)} {_as_manner(w)}." for w in wanted]
    return tuple(missing), tuple(advice)


def _number(n: int) -> str:
    return f"{('one', 'two', 'three')[n - 1]} photo{'s' if n > 1 else ''}"


def _as_manner(expression: str) -> str:
    return "with a neutral face" if expression == "neutral" else expression


def _pitches(cells: np.ndarray, pitches: tuple[str, ...]) -> list[str]:
    """Advice on raised and lowered heads, once there are enough photos for the more important views."""
    per_pitch = dict(zip(pitches, cells.sum(axis=(0, 2)), strict=True))
    if cells.sum() < _PITCH_WISH_FROM or per_pitch.get(UNKNOWN, 0):
        return []
    short = [word for word in (PITCH_BINS[0], PITCH_BINS[2]) if per_pitch[word] == 0]
    if len(short) == 2:
        return ["Add two photos that are not level: one with the chin a little up, one a little down."]
    ways = {PITCH_BINS[0]: "up", PITCH_BINS[2]: "down"}
    return [f"Add one photo with the chin a little {ways[word]}." for word in short]


def _alike(variety: Sequence[Variety], photos: int) -> list[str]:
    """Warnings when most of the photos surely share one outfit, one backdrop or one light.

    Photos whose outfit or backdrop has no one colour count as different ones.
    """
    notes = []
    for one in variety:
        most = one.groups[0]
        if one.kind == "light":
            if photos >= _LIGHT_WISH_FROM and most == photos:
                notes.append(f"All {photos} photos are lit alike. Add two with light from another side.")
        elif photos >= 4 and most >= SAME_SHARE * photos:
            other = "in other clothes" if one.kind == "outfit" else "in other places"
            notes.append(
                f"{most} of {photos} photos show the same {one.kind}: it will leak into the portraits. "
                f"Add photos {other}."
            )
    return notes


def _grey(accepted: Sequence[PhotoReport]) -> list[str]:
    """A warning when many photos are black-and-white."""
    grey = sum(any(f.code == "monochrome" for f in r.findings) for r in accepted)
    if not grey or grey < MONOCHROME_SHARE * len(accepted):
        return []
    return [
        f"{grey} of {len(accepted)} photos are black-and-white: portraits will turn grey. "
        "Add photos in colour, or leave some of these out."
    ]


def _spread(faces: Sequence[Face]) -> float | None:
    if len(faces) < 2:
        return None
    vectors = np.stack([f.embedding for f in faces])
    return float(1.0 - (vectors @ unit_mean(vectors)).mean())


def _periods(accepted: Sequence[PhotoReport], same_person_similarity: float | None) -> list[str]:
    """Advice when the frontal faces form two groups of at least three photos each."""
    if same_person_similarity is None:
        return []
    open_faces = [
        (r.photo.path.name, r.face)
        for r in accepted
        if r.face is not None and r.face.pose_deg and abs(r.face.pose_deg[1]) <= _PERIOD_MAX_YAW_DEG
    ]
    if len(open_faces) < 2 * _PERIOD_LEAST:
        return []
    vectors = np.stack([face.embedding for _, face in open_faces])
    groups = sorted(average_linkage(vectors @ vectors.T, same_person_similarity), key=len, reverse=True)
    if len(groups) < 2 or len(groups[1]) < _PERIOD_LEAST:
        return []
    names = sorted(open_faces[i][0] for i in groups[1])
    listed = f"{', '.join(names[:4])}{' …' if len(names) > 4 else ''}"
    return [
        f"The face looks different in {len(names)} photos ({listed}): "
        "another year, or a beard? Photos of one period give a steadier likeness."
    ]
