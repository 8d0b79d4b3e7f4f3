"""The outline of the person: a hard mask by colour, made soft in a narrow band along its edge.

The hard mask is GrabCut's (Rother et al. 2004), begun with head and shoulders and what the face pack's
segmenter says.  The band is solved by closed-form matting (Levin, Lischinski and Weiss, "A closed-form
solution to natural image matting", 2008) in linear light, where cameras mix a hair with what is behind it.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np

from portrait_lora.errors import InputError
from portrait_lora.finishing import colour
from portrait_lora.finishing.canvas import Canvas, to_bytes
from portrait_lora.records import NOT_SEEN, Face, FloatArray, Parts

WORK_PX: Final = 640
"""Longer side at which the outline is found; larger pictures get it by the affine model of guided filters."""
MIN_INSIDE: Final = 0.8
"""Share of the face's box within the picture below which the face counts as cut off."""
MIN_FACE: Final = 0.95
"""Share of what is sure to be face that a network has to leave."""
_RIM: Final = 0.06
_ROUNDS: Final = 3
_EPSILON: Final = 1e-6
"""Regularisation of the colour lines: of 1e-6, 1e-5 and 1e-3 the best in the hair band of 12 people."""
_TOE: Final = 0.07
"""Coverage below which there is nothing, and above one minus which everything: the solution has faint veils
where the hard mask was wrong (the same 12 people: 0.031 -> 0.021 in the hair band)."""
_FIXED: Final = 100.0
_OFFSETS: Final = tuple((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1))
_GUIDE_PX: Final = 2


def check_face(canvas: Canvas, face: Face) -> None:
    """Raises `InputError` for a face that the edge of the picture cuts."""
    width, height = canvas.size_px
    x0, y0, x1, y1 = face.box_xyxy_px
    inside = max(0.0, min(x1, width) - max(x0, 0.0)) * max(0.0, min(y1, height) - max(y0, 0.0))
    share = inside / max((x1 - x0) * (y1 - y0), 1e-6)
    if share < MIN_INSIDE:
        raise InputError(
            "the face is cut by the edge of the picture",
            got=f"{share:.0%} of it inside",
            needed=f"{MIN_INSIDE:.0%}",
            remedy="Use a picture with more room round the head.",
        )


def check_whole(alpha_HW: FloatArray, face: Face) -> None:
    """Raises `InputError` for an alpha that takes the face, or a part of it, for backdrop."""
    inside = _Seeds(face, None, alpha_HW.shape, 1.0).face()
    share = float(alpha_HW[inside].mean()) if inside.any() else 0.0
    if share < MIN_FACE:
        raise InputError(
            "the cut-out cuts into the face",
            got=f"{share:.0%} of it left",
            needed=f"{MIN_FACE:.0%}",
            remedy="Use another model.",
        )


def person_alpha(canvas: Canvas, face: Face, parts: Parts | None, band: float) -> FloatArray:
    """(H, W) coverage 0..1 of the person; `band` is half the width of the soft edge in face sizes.

    Raises `InputError` when nothing but the person, or no person, is left.
    """
    check_face(canvas, face)
    width, height = canvas.size_px
    scale = min(1.0, WORK_PX / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = canvas.rgb_HW3
    if scale < 1:
        small = np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_AREA), np.float32)
        if parts is not None:
            labels = cv2.resize(parts.labels_HW, size, interpolation=cv2.INTER_NEAREST)
            parts = Parts(parts.names, np.asarray(labels, np.uint8))
    hard = _Seeds(face, parts, (size[1], size[0]), scale).mask(small)
    if not 0.01 < hard.mean() < 0.995:
        raise InputError(
            "the person cannot be told from the backdrop",
            got=f"{hard.mean():.0%} of the picture taken for the person",
            remedy="Name a matting model with `model`.",
        )
    alpha = _soft(colour.to_linear(small), hard, max(1.5, band * face.size_px * scale))
    return alpha if scale == 1 else enlarged(alpha, small, canvas.rgb_HW3)


class _Seeds:
    """What is sure and what is likely before the colours are looked at, in pixels of a smaller picture.

    Measures are shares of the face's width and of the height of the head (twice from chin to eyes).
    """

    def __init__(self, face: Face, parts: Parts | None, shape: tuple[int, int], scale: float):
        self.shape, self._parts = shape, parts
        self._size = face.size_px * scale
        x0, y0, x1, y1 = (v * scale for v in face.box_xyxy_px)
        eyes = float(np.asarray(face.keypoints_px)[:2, 1].mean()) * scale
        self._points: np.ndarray | None = None
        self.chin = y1
        if face.landmarks_px is not None:
            self._points = np.asarray(face.landmarks_px, np.float64) * scale
            self.chin = float(self._points[:17, 1].max())
        self._box = (x0, y0, x1, y1)
        self._middle, self._wide = (x0 + x1) / 2, max(x1 - x0, 1.0)
        self._tall = max(2 * (self.chin - eyes), 1.0)

    def mask(self, rgb_HW3: FloatArray) -> np.ndarray:
        """(H, W) bool; the same picture gives the same mask."""
        labels = self._labels()
        cv2.setRNGSeed(0)
        models = np.zeros((1, 65)), np.zeros((1, 65))
        bgr = np.ascontiguousarray(to_bytes(rgb_HW3)[..., ::-1])
        cv2.grabCut(bgr, labels, (0, 0, 1, 1), *models, _ROUNDS, cv2.GC_INIT_WITH_MASK)
        inside = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
        radius = max(1, round(0.01 * self._size))
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        room = 2 * radius  # at the picture's edge closing would widen what touches it
        closed = cv2.morphologyEx(
            np.pad(inside.astype(np.uint8), room), cv2.MORPH_CLOSE, kernel, borderValue=0
        )[room:-room, room:-room]
        return _filled(_joined(np.ascontiguousarray(closed), self.face()))

    def _labels(self) -> np.ndarray:
        labels = np.full(self.shape, cv2.GC_PR_BGD, np.uint8)
        possible = self._head(0.95, 0.8) | self._shoulders(0.6, -0.1, 1.7, 0.35, 1.7)
        likely = self._head(0.6, 0.6) | self._shoulders(0.3, 0.1, 1.0, 0.5, 1.25)
        trunk = self._shoulders(0.15, -0.1, 0.45, 0.55, 0.8)  # from the chin: a polo neck parts head and body
        if self._parts is None:
            labels[likely], labels[trunk] = cv2.GC_PR_FGD, cv2.GC_FGD
        else:
            unseen = self._parts.labels_HW == NOT_SEEN
            labels[self._shoulders(0.3, 0.15, 0.5, 0.6, 0.9) | (likely & unseen)] = cv2.GC_PR_FGD
            person = self._person(self._parts)
            possible |= person & self._parts.where("hair")
            labels[person & possible] = cv2.GC_PR_FGD
            depth = cv2.distanceTransform((person & possible).astype(np.uint8), cv2.DIST_L2, 3)
            labels[(depth > 0.06 * self._size) & self._parts.where("skin", "eyes", "glasses")] = cv2.GC_FGD
            deep_hair = (depth > 0.1 * self._size) & self._parts.where("hair")
            labels[deep_hair & self._head(0.6, 0.4)] = cv2.GC_FGD  # above, brick and beams pass for hair
            labels[self._shoulders(0.2, 0.2, 0.45, 0.55, 0.8) | (trunk & unseen)] = cv2.GC_FGD
        labels[self.face()] = cv2.GC_FGD
        labels[~possible] = cv2.GC_BGD
        return labels

    def _person(self, parts: Parts) -> np.ndarray:
        """What the segmenter takes for the person, and what hangs together with it: a hat is a thing."""
        face = parts.where("skin", "hair", "eyes", "glasses")
        return _joined((face | parts.where("clothes", "thing")).astype(np.uint8), face)

    def face(self) -> np.ndarray:
        """What is sure to be face: the hull of the landmarks less a rim, for a face that is turned away has
        landmarks before its outline; or an ellipse in the box."""
        mask = np.zeros(self.shape, np.uint8)
        if self._points is None:
            x0, y0, x1, y1 = self._box
            centre = round((x0 + x1) / 2), round((y0 + y1) / 2)
            cv2.ellipse(mask, centre, (round(0.4 * (x1 - x0)), round(0.42 * (y1 - y0))), 0, 0, 360, 1, -1)
        else:
            hull = np.asarray(cv2.convexHull(self._points.round().astype(np.int32)))
            cv2.fillConvexPoly(mask, hull, 1)
            deep = cv2.distanceTransform(mask, cv2.DIST_L2, 3) > _RIM * self._size
            return deep if deep.any() else mask > 0
        return mask > 0

    def _head(self, wide: float, tall: float) -> np.ndarray:
        mask = np.zeros(self.shape, np.uint8)
        centre = round(self._middle), round(self.chin - self._tall / 2)
        cv2.ellipse(mask, centre, (round(wide * self._wide), round(tall * self._tall)), 0, 0, 360, 1, -1)
        return mask > 0

    def _shoulders(self, above: float, top: float, wide: float, down: float, bottom: float) -> np.ndarray:
        """Half widths at the neck (`top` below the chin), the shoulders (`down`) and the picture's end."""
        mask, x, w = np.zeros(self.shape, np.uint8), self._middle, self._wide
        first, second = self.chin + top * self._tall, self.chin + down * self._tall
        end = max(float(self.shape[0]), second)
        corners = [(above, first), (wide, second), (bottom, end)]
        outline = [(x - a * w, y) for a, y in corners] + [(x + a * w, y) for a, y in reversed(corners)]
        cv2.fillPoly(mask, [np.array(outline).round().astype(np.int32)], 1)
        return mask > 0


def _joined(mask: np.ndarray, seed: np.ndarray) -> np.ndarray:
    """(H, W) bool: the connected part that holds most of the seed."""
    count, labels = cv2.connectedComponents(mask)
    held = np.bincount(labels[seed & (mask > 0)], minlength=count)
    return labels == 1 + held[1:].argmax() if held[1:].any() else seed.copy()


def _filled(mask: np.ndarray) -> np.ndarray:
    """Without holes, also such as open only to the picture's lower edge."""
    from scipy import ndimage

    closed = np.pad(mask, ((0, 1), (0, 0)), constant_values=True)
    return np.asarray(ndimage.binary_fill_holes(closed))[:-1]


def _soft(linear_HW3: FloatArray, hard: np.ndarray, radius: float) -> FloatArray:
    """(H, W) the hard mask with a band of `radius` pixels to either side of its edge solved."""
    inner, outer = (cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, 5) for side in (hard, ~hard))
    fixed = (inner > radius) | (outer > radius)
    alpha = closed_form(linear_HW3, hard.astype(np.float32), fixed)
    return np.clip((alpha - _TOE) / (1 - 2 * _TOE), 0, 1).astype(np.float32)


def closed_form(linear_HW3: FloatArray, known_HW: FloatArray, fixed: np.ndarray) -> FloatArray:
    """(H, W) alpha 0..1, `known_HW` where `fixed` (bool), solved elsewhere (Levin et al. 2008, eq. 12)."""
    from scipy import sparse
    from scipy.sparse.linalg import spsolve

    height, width = known_HW.shape
    touched = cv2.dilate((~fixed).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    touched[[0, -1]] = False
    touched[:, [0, -1]] = False
    rows, columns = np.nonzero(touched)
    if not len(rows):
        return known_HW
    windows = np.stack([(rows + y) * width + columns + x for y, x in _OFFSETS], 1)
    colours = np.asarray(linear_HW3, np.float64).reshape(-1, 3)[windows]
    away = colours - colours.mean(1, keepdims=True)
    spread = np.einsum("nik,nil->nkl", away, away) / 9 + np.eye(3) * (_EPSILON / 9)
    affinity = (1 + np.einsum("nik,nkl,njl->nij", away, np.linalg.inv(spread), away)) / 9
    used, place = np.unique(windows, return_inverse=True)
    place = place.reshape(windows.shape)
    at = np.repeat(place, 9, 1).ravel(), np.tile(place, (1, 9)).ravel()
    count = len(used)
    laplacian = sparse.coo_matrix(((np.eye(9) - affinity).ravel(), at), shape=(count, count)).tocsc()
    held = _FIXED * fixed.ravel()[used] + 1e-9
    solved: Any = spsolve(laplacian + sparse.diags(held).tocsc(), held * known_HW.ravel()[used])
    alpha = known_HW.astype(np.float32).ravel().copy()
    alpha[used] = np.where(fixed.ravel()[used], alpha[used], np.clip(solved, 0, 1))
    return alpha.reshape(height, width)


def enlarged(alpha_hw: FloatArray, guide_hw3: FloatArray, guide_HW3: FloatArray) -> FloatArray:
    """(H, W) a smaller alpha at the size of the picture, its edge drawn after the picture's own.

    A fast guided filter (He and Sun 2015) on luma: its line is fitted at the small size, applied at the full.
    """
    side = 2 * _GUIDE_PX + 1

    def mean(values: np.ndarray) -> np.ndarray:
        return np.asarray(cv2.blur(values, (side, side)))

    grey, full = colour.luma(guide_hw3), colour.luma(guide_HW3)
    middle, level = mean(grey), mean(alpha_hw)
    slope = (mean(grey * alpha_hw) - middle * level) / (mean(grey * grey) - middle**2 + 1e-4)
    offset = mean(level - slope * middle)
    size = guide_HW3.shape[1], guide_HW3.shape[0]
    up_slope, up_offset, plain = (
        np.asarray(cv2.resize(v, size, interpolation=cv2.INTER_LINEAR), np.float32)
        for v in (mean(slope), offset, alpha_hw)
    )
    certain = (plain < 0.002) | (plain > 0.998)
    return np.where(certain, plain.round(), np.clip(up_slope * full + up_offset, 0, 1)).astype(np.float32)
