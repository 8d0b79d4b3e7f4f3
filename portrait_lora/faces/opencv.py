"""Faces with OpenCV: YuNet detects them (`FaceDetectorYN`), SFace or an ArcFace network embeds them.

The pair whose licences allow commercial use.  YuNet gives a box and five keypoints: the pose is fitted to
those, and there is no expression.  Embeddings are taken from the same aligned 112 px crop as
everywhere else, on keypoints that are refined; SFace sees it through `FaceRecognizerSF`.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from insightface.model_zoo import model_zoo

from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.faces import quality
from portrait_lora.faces.embedder import Embedder
from portrait_lora.faces.packs import PACK_FILE, FacePack, Role
from portrait_lora.faces.pose import pose_of_points
from portrait_lora.faces.refine import refined
from portrait_lora.records import Face, FloatArray, RGBImage, readonly

_NMS: Final = 0.3
_MOST_FACES: Final = 200
_MIN_SIDE_PX: Final = 8
_MOST_REFINED: Final = 4
"""Faces of a picture, largest first, whose keypoints are refined: each costs four detections in a window."""


class OpenCvAnalyzer:
    """A pack of OpenCV's detector and two embedders; the interface of `FaceAnalyzer`, on the CPU."""

    def __init__(self, pack: FacePack, embedder: Role = "select"):
        if embedder not in ("select", "report"):
            raise InputError("unknown embedder", got=embedder, needed="select or report")
        self.pack = pack
        self.embedder: Role = embedder
        self.embedder_id = pack.embedder_ids[embedder]
        path, stated = pack.path(pack.embedder(embedder)), pack.stated(embedder)
        self._stated = None if stated is None else Embedder(path, stated)
        side = (pack.det_size_px, pack.det_size_px)
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        self._sface = pack.kinds.get(self.embedder_id) == "sface"
        try:
            detector = str(pack.path(pack.detector))
            self._detector = cv2.FaceDetectorYN.create(detector, "", side, pack.det_thresh, _NMS, _MOST_FACES)
            self._try_detector(side)
            self._recogniser: Any = None
            if self._sface:
                self._recogniser = cv2.FaceRecognizerSF.create(str(path), "")
            elif stated is None:
                self._recogniser = model_zoo.get_model(str(path))
        except ArtifactError:
            raise
        except Exception as error:  # OpenCV, onnxruntime and onnx raise unrelated types
            raise ArtifactError("OpenCV cannot load the face pack", where=pack.folder, got=error) from error
        if not self._sface and stated is None:
            if getattr(self._recogniser, "taskname", None) != "recognition":
                raise ArtifactError("not an ArcFace model", where=path)
            self._recogniser.prepare(-1)

    def _try_detector(self, side_px: tuple[int, int]) -> None:
        """OpenCV opens any network, and fails at the first picture unless it has YuNet's outputs."""
        try:
            self._detector.detect(np.zeros((*side_px, 3), np.uint8))
        except cv2.error as error:
            raise ArtifactError(
                "OpenCV cannot read the outputs of the detector",
                where=self.pack.path(self.pack.detector),
                needed="YuNet",
                remedy=f'For SCRFD state "backend": "insightface" in {PACK_FILE}.',
            ) from error

    def find(self, image_rgb: RGBImage) -> list[Face]:
        """Every face, largest first."""
        image = np.asarray(image_rgb)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            got = f"{image.dtype} {image.shape}"
            raise InputError("not an RGB picture", got=got, needed="uint8 of shape (height, width, 3)")
        height, width = image.shape[:2]
        if min(height, width) < _MIN_SIDE_PX:
            return []
        scale = min(1.0, self.pack.det_size_px / max(height, width))
        size = (max(_MIN_SIDE_PX, round(width * scale)), max(_MIN_SIDE_PX, round(height * scale)))
        shrunk = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
        small = np.asarray(shrunk, dtype=np.uint8)
        back = np.array([width / size[0], height / size[1]], dtype=np.float32)
        rows = sorted(self._rows(small), key=lambda row: -max(row[2], row[3]))
        faces = [self._face(image, row, back, refine=i < _MOST_REFINED) for i, row in enumerate(rows)]
        return sorted(faces, key=lambda face: -face.size_px)

    def _rows(self, image_rgb: RGBImage) -> list[npt.NDArray[np.float32]]:
        """YuNet's rows (x, y, w, h, five points, score) for a picture at its own size."""
        self._detector.setInputSize((image_rgb.shape[1], image_rgb.shape[0]))
        _, rows = self._detector.detect(np.ascontiguousarray(image_rgb[..., ::-1]))
        return [] if rows is None else [row for row in rows if _usable(row)]

    def _points(self, image_rgb: RGBImage) -> npt.NDArray[np.float32]:
        rows = self._rows(image_rgb)
        return np.array([row[4:14] for row in rows], dtype=np.float32).reshape(len(rows), 5, 2)

    def embed(self, image_rgb: RGBImage, keypoints_px: FloatArray) -> FloatArray:
        """Unit-norm (D,) embedding of the face at five given keypoints."""
        keypoints = np.asarray(keypoints_px)
        if self._stated is not None:
            return self._stated.embed(image_rgb, keypoints)
        return self._embed_aligned(quality.aligned_crop(image_rgb, keypoints))

    def covered_face(self, image_rgb: RGBImage) -> None:
        """Always None: OpenCV's models do not detect covered faces."""

    def parts(self, image_rgb: RGBImage, face: Face) -> None:
        """Always None: OpenCV's models do not segment."""

    def impostor_embeddings(self) -> FloatArray:
        """(N, K, D): K pictures of each of N other people; `ArtifactError` without an impostor gallery."""
        from portrait_lora.faces.impostors import read_gallery

        return read_gallery(self.pack, self.embedder)

    def _face(self, image: RGBImage, row: npt.NDArray[np.float32], back: FloatArray, *, refine: bool) -> Face:
        """A row of YuNet in pixels of the picture; `refine` its keypoints."""
        corner, extent = row[0:2] * back, row[2:4] * back
        keypoints = row[4:14].reshape(5, 2) * back
        if refine:
            keypoints = refined(image, keypoints, self._points, largest_px=self.pack.det_size_px)
        aligned = quality.aligned_crop(image, keypoints)
        (x0, y0), (x1, y1) = corner, corner + extent
        return Face(
            box_xyxy_px=(float(x0), float(y0), float(x1), float(y1)),
            score=float(row[14]),
            keypoints_px=readonly(keypoints),
            embedding=self._embed_aligned(aligned) if self._stated is None else self.embed(image, keypoints),
            embedder_id=self.embedder_id,
            sharpness=quality.sharpness(aligned),
            brightness=quality.brightness(aligned),
            pose_deg=pose_of_points(keypoints),
            pose_from_points=True,
        )

    def _embed_aligned(self, aligned_rgb: RGBImage) -> FloatArray:
        bgr = np.ascontiguousarray(aligned_rgb[..., ::-1])
        raw = self._recogniser.feature(bgr) if self._sface else self._recogniser.get_feat(bgr)
        vector = np.asarray(raw, dtype=np.float32).flatten()
        return readonly(vector / max(float(np.linalg.norm(vector)), 1e-12))


def _usable(row: npt.NDArray[np.float32]) -> bool:
    return bool(np.isfinite(row).all() and min(row[2], row[3]) >= 4.0)
