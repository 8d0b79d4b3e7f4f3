"""Registration of one aligned face with another, and then of the two frames around them, to test whether both
have the same pixels.

The five keypoints of two copies differ by a pixel or two; an affine transform by enhanced correlation (ECC,
Evangelidis & Psarakis, "Parametric image alignment", PAMI 2008) corrects that.  Smooth changes of light and
tone curves cancel out in the correlation.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from insightface.utils import face_align

from portrait_lora.faces.quality import ALIGNED_PX, aligned_crop, source_px_per_aligned_px
from portrait_lora.records import FloatArray, RGBImage

Mask = npt.NDArray[np.bool_]
SIDE: Final = 64
_SOFTEN_PX: Final = 1.0
_EDGE: Final = np.ones((5, 5), np.uint8)
"""Erosion kernel: the blur carries the outside this far inwards."""
_INSIDE: Final = 253
_STOP: Final = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-4)
_MIN_COVERED: Final = 0.3
_MAX_STRETCH: Final = 1.25
_FLAT: Final = 1.0
FRAME_SIDE_PX: Final = 112
"""The longer side of a frame.  At this size the frames of copies of photographs correlate by 0.95 and more,
those of different ones by up to 0.91 (docs/log.md)."""
_COARSER: Final = 1.3
"""From this ratio of scales the finer of two frames is blurred to the coarser one's detail."""
_FEW_PX: Final = 60
_EDGE_PX: Final = 3
_NOWHERE: Final = np.eye(3, dtype=np.float32)
"""The transform that moves nothing."""


def aligned_luma(image_rgb: RGBImage, keypoints_px: FloatArray) -> tuple[FloatArray, Mask]:
    """The aligned face as (SIDE, SIDE) luma, and the mask of its part inside the picture.

    It is downscaled before it is rotated, to avoid aliasing.
    """
    scale = min(1.0, 1.0 / max(source_px_per_aligned_px(keypoints_px), 1e-3))
    height, width = image_rgb.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(np.ascontiguousarray(image_rgb), size, interpolation=cv2.INTER_AREA)
    ratio = np.array([size[0] / width, size[1] / height], dtype=np.float32)
    points = np.asarray(keypoints_px * ratio, dtype=np.float32)
    crop = aligned_crop(np.asarray(small, dtype=np.uint8), points)
    whole = aligned_crop(np.full_like(crop, 255, shape=(size[1], size[0], 3)), points)
    inside = cv2.erode(cv2.resize(whole[:, :, 0], (SIDE, SIDE), interpolation=cv2.INTER_AREA), _EDGE)
    luma = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
    reduced = cv2.resize(luma, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    softened = np.asarray(cv2.GaussianBlur(reduced, (0, 0), _SOFTEN_PX), dtype=np.float32)
    return softened, np.asarray(inside >= _INSIDE, dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class Frame:
    """A whole picture, small: `luma` (H, W), and `to_face`, the (3, 3) transform of its pixels to the aligned
    face of `SIDE` px."""

    luma: FloatArray
    to_face: FloatArray

    def mirrored(self) -> Frame:
        """The frame of the mirrored picture."""
        flip_face, flip = _flip(SIDE), _flip(self.luma.shape[1])
        return Frame(
            np.ascontiguousarray(self.luma[:, ::-1]),
            np.asarray(flip_face @ self.to_face @ flip, dtype=np.float32),
        )

    @property
    def of_points(self) -> FloatArray:
        """The (3, 3) transform of points in shares of the longer side to this frame's pixels."""
        side = float(max(self.luma.shape))
        return np.array([[side, 0, -0.5], [0, side, -0.5], [0, 0, 1]], dtype=np.float32)


def _flip(width: int) -> FloatArray:
    return np.array([[-1, 0, width - 1], [0, 1, 0], [0, 0, 1]], dtype=np.float32)


def frame_of(image_rgb: RGBImage, keypoints_px: FloatArray) -> Frame:
    """The frame of a picture; `keypoints_px` (5, 2) are in its pixels."""
    height, width = image_rgb.shape[:2]
    scale = FRAME_SIDE_PX / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(np.ascontiguousarray(image_rgb), size, interpolation=cv2.INTER_AREA)
    luma = cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), _SOFTEN_PX)
    ratio = np.array([size[0] / width, size[1] / height], dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-image renames what insightface calls
        points = np.asarray(keypoints_px * ratio, dtype=np.float32)
        aligned = np.asarray(face_align.estimate_norm(points, ALIGNED_PX), dtype=np.float64)
    to_face = np.vstack([aligned * (SIDE / ALIGNED_PX), [0.0, 0.0, 1.0]])
    return Frame(np.asarray(luma, dtype=np.float32), np.asarray(to_face, dtype=np.float32))


def laid_over(
    a: FloatArray, a_inside: Mask, b: FloatArray, b_inside: Mask, start: FloatArray = _NOWHERE
) -> tuple[float, FloatArray]:
    """The correlation 0..1 of two (SIDE, SIDE) faces after the best transform, and that transform (3, 3) from
    pixels of `a` to those of `b`, sought from `start`; 0 for none.

    Only the overlap of both pictures counts.
    """
    if a_inside.sum() > b_inside.sum():  # the smaller one is sought in the other
        fit, move = laid_over(b, b_inside, a, a_inside, np.asarray(np.linalg.inv(start), dtype=np.float32))
        return fit, np.asarray(np.linalg.inv(move), dtype=np.float32)
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    fit, covered = _correlation(a, a_inside, b, b_inside, start)
    move = _registered(a, b, start, np.ascontiguousarray(a_inside))
    if move is not None:
        better, more = _correlation(a, a_inside, b, b_inside, move)
        if better >= fit:
            return (better if more >= _MIN_COVERED else 0.0), move
    return (fit if covered >= _MIN_COVERED else 0.0), start


def frames_fit(a: Frame, b: Frame, move: FloatArray) -> float:
    """The correlation 0..1 of the overlap of two whole pictures whose faces are registered by `move`."""
    start = np.linalg.inv(b.to_face.astype(np.float64)) @ move @ a.to_face
    scale = float(np.sqrt(abs(np.linalg.det(start[:2, :2]))))
    first, second = a.luma, b.luma
    if scale > _COARSER:
        second = np.asarray(cv2.GaussianBlur(second, (0, 0), 0.6 * scale), dtype=np.float32)
    if scale < 1 / _COARSER:
        first = np.asarray(cv2.GaussianBlur(first, (0, 0), 0.6 / scale), dtype=np.float32)
    whole_a, whole_b = _without_edge(first.shape), _without_edge(second.shape)
    begin = np.asarray(start, dtype=np.float32)
    fit, covered = _correlation(first, whole_a, second, whole_b, begin)
    if covered * first.size < _FEW_PX:
        return 0.0
    within = _warped(whole_b.astype(np.uint8) * 255, begin, first.shape) >= _INSIDE
    better = _registered(first, second, begin, within)
    return fit if better is None else max(fit, _correlation(first, whole_a, second, whole_b, better)[0])


def _without_edge(shape: tuple[int, ...]) -> Mask:
    """All but the edge of a frame, into which a border around its copy is blurred."""
    inside = np.zeros(shape, np.bool_)
    inside[_EDGE_PX:-_EDGE_PX, _EDGE_PX:-_EDGE_PX] = True
    return inside


def _registered(a: FloatArray, b: FloatArray, start: FloatArray, a_inside: Mask) -> FloatArray | None:
    """The affine transform (3, 3) from `a` to `b` by ECC; None when it does not converge or stretches."""
    move, mask = np.array(start[:2], dtype=np.float32), a_inside.astype(np.uint8) * 255
    try:
        _, move = cv2.findTransformECC(a, b, move, cv2.MOTION_AFFINE, _STOP, mask, 3)
    except cv2.error:  # it says so when it does not converge
        return None
    relative = np.asarray(move[:, :2], dtype=np.float64) @ np.linalg.inv(start[:2, :2].astype(np.float64))
    stretches = np.linalg.svd(relative, compute_uv=False)
    if stretches.max() > _MAX_STRETCH or stretches.min() < 1 / _MAX_STRETCH:
        return None
    return np.asarray(np.vstack([move, [0.0, 0.0, 1.0]]), dtype=np.float32)


def _warped(b: np.ndarray, move: FloatArray, shape: tuple[int, ...]) -> np.ndarray:
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(b, move[:2], (shape[1], shape[0]), flags=how)


def _correlation(
    a: FloatArray, a_inside: Mask, b: FloatArray, b_inside: Mask, move: FloatArray
) -> tuple[float, float]:
    """Correlation 0..1 of the overlap, and the share of `a` that it covers; 0 where one of them is flat."""
    moved = _warped(b, move, a.shape)
    inside = (_warped(b_inside.astype(np.uint8) * 255, move, a.shape) >= _INSIDE) & a_inside
    covered = float(inside.mean())
    if not inside.any():
        return 0.0, 0.0
    return _explained(a[inside], moved[inside], inside), covered


def _explained(first: FloatArray, second: FloatArray, inside: Mask) -> float:
    """Multiple correlation 0..1 of `second` with `first` under smooth changes of light.

    `first` may be multiplied by a gain that varies over the picture and bent by a tone curve, as filters and
    vignettes do; both lose their smooth part, which different photos in one light have in common.
    """
    rows, columns = np.nonzero(inside)
    down = (rows / inside.shape[0] - 0.5).astype(np.float32)
    across = (columns / inside.shape[1] - 0.5).astype(np.float32)
    smooth, _ = np.linalg.qr(
        np.stack([np.ones_like(down), across, down, across**2, down**2, across * down], 1)
    )

    def detail(values: np.ndarray) -> np.ndarray:
        return values - smooth @ (smooth.T @ values)

    plain, sought = detail(first / 128), detail(second / 128)  # of order 1: the least squares below stay tame
    if min(float(np.linalg.norm(plain)), float(np.linalg.norm(sought))) * 128 <= _FLAT or plain @ sought <= 0:
        return 0.0
    ways = (across, down, across**2 + down**2, first / 128)
    terms = np.stack([plain, *(detail(first / 128 * way) for way in ways)], axis=1)
    share, _, _, _ = np.linalg.lstsq(terms, sought, rcond=None)
    rest = sought - terms @ share
    return float(np.sqrt(max(0.0, 1 - float(rest @ rest) / float(sought @ sought))))
