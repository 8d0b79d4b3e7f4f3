"""The 68 iBUG landmarks and the face's outline, as points on the head.

A landmark is a rest coordinate (eye contour, brow, nose, lip curve: the shader's own curves) looked up
on the grid: the nearest vertex plus a first-order step, so that it rides on the moved surface.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import torch
from torch import Tensor

from portrait_lora.synthetic import curves
from portrait_lora.synthetic import head as head_grid
from portrait_lora.synthetic.curves import Features
from portrait_lora.synthetic.geometry import PI, differences
from portrait_lora.synthetic.head import Head
from portrait_lora.synthetic.identity import Person
from portrait_lora.synthetic.scene import Scene

LEFT_EYE, RIGHT_EYE = slice(36, 42), slice(42, 48)
NOSE_TIP, MOUTH_LEFT, MOUTH_RIGHT = 30, 48, 54
_LID_PLACES: Final = (-0.42, 0.42)
_INNER_CORNER: Final = 0.88
_JAW_RING, _EAR_RING = 9.95, 5.6
_FACE_RINGS: Final = (3.2, 10.6)
_FACE_ANGLE: Final = 1.48
_FRONT_ANGLE: Final = 1.25


def landmarks(person: Person, f: Features, scene: Scene, head: Head) -> tuple[Tensor, Tensor]:
    """((68, 3) landmarks, (2, 3) eye centres left and right in the picture), unposed head coordinates."""
    eye_pixels = _lookup(head, _face_targets(person, f, scene), rows=_face_rows(), height=head.rest[..., 1])
    face, eyes = eye_pixels[:-2], eye_pixels[-2:]
    return torch.cat([_jaw(head), face, _mouth(person, f, head)]), eyes


def face_outline(head: Head) -> Tensor:
    """(M, 3) vertices from the hairline to the chin and from ear to ear, unposed head coordinates."""
    rings = head_grid.RING_OF_ROW
    rows = [i for i, ring in enumerate(rings) if _FACE_RINGS[0] <= ring <= _FACE_RINGS[1]]
    columns = head_grid.topology(torch.device("cpu")).angle_C.abs() < _FACE_ANGLE
    return head.position[rows[0] : rows[-1] + 1][:, columns.to(head.position.device)].reshape(-1, 3)


def _nearest(values: list[float], wanted: float) -> int:
    return min(range(len(values)), key=lambda i: abs(values[i] - wanted))


@lru_cache(maxsize=1)
def _jaw_places() -> list[tuple[int, int]]:
    """(row, column) of the 17 points from the ear at the picture's left round the chin."""
    angles = head_grid.topology(torch.device("cpu")).angle_C.tolist()
    jaw = _nearest(head_grid.RING_OF_ROW, _JAW_RING)
    ear = _nearest(head_grid.RING_OF_ROW, _EAR_RING)
    places = []
    for i in range(17):
        side = abs(i - 8) / 8
        row = jaw if side < 0.6 else round(jaw + (ear - jaw) * (side - 0.6) / 0.4)
        places.append((row, _nearest(angles, (i - 8) / 8 * PI * 0.5)))
    return places


def _jaw(head: Head) -> Tensor:
    rows, columns = zip(*_jaw_places(), strict=True)
    return head.position[list(rows), list(columns)]


def _face_rows() -> tuple[int, ...]:
    """Rows from forehead to upper lip: unambiguous in (x, y)."""
    return tuple(i for i in range(head_grid.UPPER_LIP_ROW) if head_grid.RING_OF_ROW[i] > 2.5)


def _face_targets(person: Person, f: Features, scene: Scene) -> list[tuple[float, float]]:
    """Rest (x, y) of landmarks 17..47, then the two eye centres."""
    start, end = curves.BROW_START, curves.brow_end(person)
    along = torch.tensor([start + (end - start) * t for t in curves.brow_points()])
    _, middle, half = curves.brows(along, f, person)
    brow = list(zip(along.tolist(), (middle + half * 0.35).tolist(), strict=True))
    points = [(-x, y) for x, y in reversed(brow)] + brow
    points += [(0.0, 0.02 + (f.nose_tip_y - 0.02) * i / 3) for i in range(4)]
    points += [(i * f.nose_width * 0.85, f.nose_base_y + 0.02 + 0.02 * abs(i)) for i in (-1, -0.5, 0, 0.5, 1)]
    inner, outer = _LID_PLACES
    top, low, _ = curves.lids(torch.tensor(_LID_PLACES), f, scene)
    high, deep = top.tolist(), low.tolist()
    contour = [
        (-1.0, 0.0),
        (inner, high[0]),
        (outer, high[1]),
        (1.0, 0.0),
        (outer, deep[1]),
        (inner, deep[0]),
    ]
    right = [curves.eye_to_rest(lx, ly, f) for lx, ly in contour]
    left = [(-right[i][0], right[i][1]) for i in (3, 2, 1, 0, 5, 4)]
    return [*points, *left, *right, (-f.eye_x, f.eye_y), (f.eye_x, f.eye_y)]


def _lookup(head: Head, targets: list[tuple[float, float]], rows: tuple[int, ...], height: Tensor) -> Tensor:
    """(M, 3) surface points whose rest (x, height) are the targets; `height` is (R, C)."""
    columns = head_grid.topology(torch.device("cpu")).angle_C.abs() < _FRONT_ANGLE
    first, last = int(columns.nonzero()[0]), int(columns.nonzero()[-1]) + 1
    window = (slice(rows[0], rows[-1] + 1), slice(first, last))
    plane = torch.stack([head.rest[..., 0], height], -1)[window]
    surface = head.position[window]
    wanted = torch.tensor(targets, device=plane.device)
    flat, count = plane.reshape(-1, 2), plane.shape[1]
    away = (flat[None, :, 0] - wanted[:, :1]).square() + (flat[None, :, 1] - wanted[:, 1:]).square()
    nearest = away.argmin(1)
    row, column = nearest // count, nearest % count
    step = wanted - plane[row, column]
    down, across = differences(plane, 0)[row, column], differences(plane, 1)[row, column]
    determinant = down[:, 0] * across[:, 1] - down[:, 1] * across[:, 0]
    determinant = torch.where(determinant.abs() < 1e-9, torch.full_like(determinant, 1e9), determinant)
    a = (step[:, 0] * across[:, 1] - step[:, 1] * across[:, 0]) / determinant
    b = (down[:, 0] * step[:, 1] - down[:, 1] * step[:, 0]) / determinant
    a, b = a.clamp(-0.5, 0.5), b.clamp(-0.5, 0.5)
    move = (
        differences(surface, 0)[row, column] * a[:, None] + differences(surface, 1)[row, column] * b[:, None]
    )
    return surface[row, column] + move


def _mouth(person: Person, f: Features, head: Head) -> Tensor:
    """(20, 3) outer then inner lip contour."""
    upper_rows = tuple(range(head_grid.UPPER_LIP_ROW - 9, head_grid.UPPER_LIP_ROW + 1))
    lower_rows = tuple(range(head_grid.LOWER_LIP_ROW, head_grid.LOWER_LIP_ROW + 9))
    places = torch.tensor([-0.62, -0.24, 0.0, 0.24, 0.62]) * f.mouth_width
    upper, lower = curves.lips(places, f, person)
    inner = [x * f.mouth_width for x in (-_INNER_CORNER, -0.3, 0.0, 0.3, _INNER_CORNER)]
    corner = f.mouth_width
    x = places.tolist()
    above = [*zip(x, upper.tolist(), strict=True), *((i, 0.0) for i in inner), (-corner, 0.0), (corner, 0.0)]
    below = [
        *zip(x, (-lower).tolist(), strict=True),
        *((i, 0.0) for i in inner),
        (-corner, 0.0),
        (corner, 0.0),
    ]
    top = _lookup(head, above, upper_rows, head.lip_height)
    bottom = _lookup(head, below, lower_rows, head.lip_height)
    middle = (top + bottom) / 2
    order = [middle[10], *top[0:5], middle[11], *bottom[0:5].flip(0)]
    order += [middle[5], *top[6:9], middle[9], *bottom[6:9].flip(0)]
    return torch.stack(order)
