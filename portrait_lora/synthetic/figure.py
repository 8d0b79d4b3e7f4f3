"""Puts one person together: every grid, its attributes and triangles, then its pose.

V vertices, T triangles.  Only parts that a person wears are built, so each figure has its own list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import torch
from torch import Tensor

from portrait_lora.synthetic import body, hair, hats
from portrait_lora.synthetic import head as head_grid
from portrait_lora.synthetic.curves import Features, features_of
from portrait_lora.synthetic.geometry import grid_faces, normals_and_tangents, rotate, rotation, smooth, unit
from portrait_lora.synthetic.head import Head
from portrait_lora.synthetic.identity import Person
from portrait_lora.synthetic.scene import Scene

HEAD, EAR, CAP, CURTAIN, BUN, TORSO, COLLAR, GLASSES, HAT, LENS = range(10)
"""Materials, stored per triangle."""
HAIR: Final = (CAP, CURTAIN, BUN)
_TWO_SIDED: Final = (EAR, CURTAIN, COLLAR, GLASSES, HAT, LENS)
_SHADOW_STRIDE: Final = 2
_WRAPPED: Final = (HEAD, EAR, CAP, BUN, TORSO, COLLAR, GLASSES, HAT, LENS)
PIVOT: Final = (0.0, -1.15, -0.18)
"""The neck joint about which head and shoulders turn."""
HEAD_STRETCH: Final = (1.06, 1.0, 1.02)
ATTRIBUTES: Final = 8
"""Rest x, y, z; grid place u, v; lip height (of a hat: which piece); mouth slit; rise above the hairline."""


@dataclass(frozen=True, slots=True)
class Part:
    """One grid (R, C, 3) with its material and how far it follows the head (0 torso..1 head)."""

    material: int
    grid_RC3: Tensor
    rest_RC3: Tensor
    follow: Tensor | float
    lip: Tensor | None = None
    slit: Tensor | None = None
    rise: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Triangles:
    """(T, 3) vertex ids and, per triangle: material, seen from both sides, worth extra samples."""

    faces_T3: Tensor
    corners_3T: Tensor
    material_T: Tensor
    two_sided_T: Tensor
    fine_T: Tensor


@dataclass(frozen=True, slots=True)
class Figure:
    """A posed figure: per vertex position, normal, tangent (V, 3 each) and attributes (V, 8)."""

    head: Head
    features: Features
    position_V3: Tensor
    shading_V17: Tensor
    triangles: Triangles
    shadow_triangles: Triangles
    head_rotation_33: Tensor

    def pose_head_points(self, points: Tensor) -> Tensor:
        """World positions of points (..., 3) given in the unposed head's coordinates."""
        stretched = points * torch.tensor(HEAD_STRETCH, device=points.device)
        return _turn(stretched, self.head_rotation_33)


def build_figure(person: Person, scene: Scene, device: torch.device) -> Figure:
    """One posed person."""
    features = features_of(person)
    head = head_grid.build_head(person, features, scene, device)
    parts = _parts(person, scene, features, head, device)
    head_turn = rotation(scene.yaw_deg, scene.pitch_deg, scene.roll_deg, device)
    body_turn = rotation(scene.body_yaw_deg, 0.0, scene.roll_deg * 0.1, device)
    positions, shading = [], []
    for part in parts:
        grid = part.grid_RC3
        if part.material not in (TORSO, COLLAR):
            grid = grid * torch.tensor(HEAD_STRETCH, device=device)
        posed = _follow(grid, part.follow, head_turn, body_turn)
        normal, tangent = normals_and_tangents(posed, part.material in _WRAPPED)
        if part.material == HEAD:
            normal = _close_lips(normal, head, features)
        positions.append(posed.reshape(-1, 3))
        shading.append(torch.cat([posed, normal, tangent, _attributes(part)], -1).reshape(-1, 9 + ATTRIBUTES))
    layout = tuple((p.material, p.grid_RC3.shape[0], p.grid_RC3.shape[1]) for p in parts)
    fine, coarse = _triangles(layout, 1, device), _triangles(layout, _SHADOW_STRIDE, device)
    return Figure(head, features, torch.cat(positions), torch.cat(shading), fine, coarse, head_turn)


def _parts(person: Person, scene: Scene, f: Features, head: Head, device: torch.device) -> list[Part]:
    rise = hair.rise_above_hairline(person, head)
    grid = head_grid.topology(device)
    neck = (1 - smooth(grid.ring_of_row_R, 11.3, 13.8))[:, None, None]
    slit = grid.slit_R[:, None].expand(-1, head_grid.COLUMNS)
    parts = [Part(HEAD, head.position, head.rest, neck, head.lip_height, slit, rise)]
    style, garment = person.style_name, scene.garment_name
    if style not in hair.CURTAINED:
        parts += [_solid(EAR, body.build_ear(person, head, side), 1.0) for side in (1.0, -1.0)]
    if style != "bald head":
        cap, cap_rise = hair.build_cap(person, head, rise)
        parts.append(Part(CAP, cap, cap, 1.0, rise=cap_rise))
    if style in hair.CURTAINED:
        curtain = hair.build_curtain(person, device)
        parts.append(_solid(CURTAIN, curtain, (1 - 0.8 * smooth(-curtain[..., 1], 0.7, 1.8))[..., None]))
    if style == "bun hair" and not person.hatted:
        parts.append(_solid(BUN, hair.build_bun(person, device), 1.0))
    parts.append(_solid(TORSO, body.build_torso(person, device), 0.0))
    if garment in body.COLLARED:
        parts.append(_solid(COLLAR, body.build_collar(person, garment, device), 0.15))
    if person.hatted:
        parts += [
            Part(HAT, grid, grid, 1.0, lip=torch.full_like(grid[..., 0], float(piece)))
            for piece, grid in enumerate(hats.build_hat(person, head))
        ]
    if int(person.glasses) == body.SUNGLASSES:
        parts += [_solid(LENS, g, 1.0) for g in body.build_lenses(f, device)]
    if int(person.glasses):
        parts += [_solid(GLASSES, g, 1.0) for g in body.build_glasses(person, f, device)]
    return parts


def _solid(material: int, grid_RC3: Tensor, follow: Tensor | float) -> Part:
    return Part(material, grid_RC3, grid_RC3, follow)


def _turn(points: Tensor, matrix_33: Tensor) -> Tensor:
    pivot = torch.tensor(PIVOT, device=points.device)
    return rotate(points - pivot, matrix_33) + pivot


def _follow(grid: Tensor, follow: Tensor | float, head_turn: Tensor, body_turn: Tensor) -> Tensor:
    if isinstance(follow, float) and follow in (0.0, 1.0):
        return _turn(grid, head_turn if follow else body_turn)
    with_head, with_body = _turn(grid, head_turn), _turn(grid, body_turn)
    return with_body + (with_head - with_body) * follow


def _attributes(part: Part) -> Tensor:
    """(R, C, 8) attributes of a part."""
    rows, columns = part.grid_RC3.shape[:2]
    device = part.grid_RC3.device
    u = torch.linspace(0, 1, rows, device=device)[:, None].expand(rows, columns)
    v = torch.linspace(0, 1, columns, device=device)[None].expand(rows, columns)
    zero = torch.zeros(rows, columns, device=device)
    lip = zero if part.lip is None else part.lip
    slit = zero - 1 if part.slit is None else part.slit
    rise = zero - 9 if part.rise is None else part.rise
    return torch.cat([part.rest_RC3, torch.stack([u, v, lip, slit, rise], -1)], -1)


def _close_lips(normal: Tensor, head: Head, f: Features) -> Tensor:
    """Outside the lips the mouth's slit has no area: give its rows the normal of their surroundings."""
    top, end = head_grid.UPPER_LIP_ROW, head_grid.LOWER_LIP_ROW + 1
    outside = (head.rest[top, :, 0].abs() > f.mouth_width * 0.97)[None, :, None]
    average = unit(normal[top - 1 : top] + normal[end : end + 1])
    slit = torch.where(outside, average, normal[top:end])
    return torch.cat([normal[:top], slit, normal[end:]])


@lru_cache(maxsize=128)
def _triangles(layout: Sequence[tuple[int, int, int]], stride: int, device: torch.device) -> Triangles:
    faces, material, fine = [], [], []
    offset = 0
    for kind, rows, columns in layout:
        part = grid_faces(rows, columns, offset, stride if kind not in (GLASSES, LENS) else 1)
        fine_vertex = _fine_vertices(rows, columns) if kind == HEAD else None
        fine.append(
            fine_vertex[part - offset].any(1)
            if fine_vertex is not None
            else torch.full((len(part),), kind == GLASSES)
        )
        faces.append(part)
        material.append(torch.full((len(part),), kind))
        offset += rows * columns
    kinds = torch.cat(material)
    two_sided = torch.isin(kinds, torch.tensor(_TWO_SIDED))
    ids = torch.cat(faces)
    tensors = (ids, ids.T.contiguous(), kinds, two_sided, torch.cat(fine))
    return Triangles(*(t.to(device) for t in tensors))


def _fine_vertices(rows: int, columns: int) -> Tensor:
    """(rows * columns,) True around eyes and mouth."""
    ring = torch.tensor(head_grid.RING_OF_ROW)[:, None]
    angle = head_grid.topology(torch.device("cpu")).angle_C.abs()[None]
    eyes = (ring > 4.7) & (ring < 5.45) & (angle < 0.85)
    mouth = (ring > 7.6) & (ring < 8.45) & (angle < 0.55)
    return (eyes | mouth).reshape(-1)
