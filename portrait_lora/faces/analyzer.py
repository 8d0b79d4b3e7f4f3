"""Detect, measure and embed the faces of a picture with a face pack, through insightface.

Pictures are RGB uint8 (H, W, 3) here and BGR inside insightface.  One embedder per analyzer: "select"
chooses checkpoints and curates, "report" measures what is published, so that a figure is never measured
by the network that was used to improve it.  Only "select" runs the segmenter to measure how much of a face is
hidden: that is needed for photos only, and takes as long as everything else.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from insightface.app import FaceAnalysis
from insightface.model_zoo import model_zoo

from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.faces import quality, shape
from portrait_lora.faces.attributes import AttributeReader
from portrait_lora.faces.embedder import Embedder, session_arguments
from portrait_lora.faces.packs import PACK_FILE, FacePack, Role
from portrait_lora.faces.pose import pose_of_points
from portrait_lora.faces.segmenter import PartReader
from portrait_lora.records import Face, FloatArray, Parts, RGBImage, readonly

_LANDMARKS: Final = "landmark_3d_68"
_MIN_SIDE_PX: Final = 8
_MIN_BOX_PX: Final = 4.0
_DOUBTED_SCORE: Final = 0.22
_COVERED_SHARES: Final = (0.15, 0.6)
_COVERED_SIDE: Final = 0.22
"""Faces of which 28 to 40 % is hidden were missed in 8 of 100 pictures.  They scored 0.22 and more, a thing
was seen on 0.32 to 0.56 of them, and they filled a third of the picture's shorter side or more; what passed
for such a face in 300 pictures without one (4) filled a fifth at most."""


class FaceAnalyzer:
    """One pack, ready to use.  `device` "cuda" uses the GPU if available, else the CPU.

    `threads` is fixed (not "all cores"), so the same picture gives the same numbers on any machine load.
    """

    def __init__(
        self,
        pack: FacePack,
        embedder: Role = "select",
        *,
        device: Literal["cpu", "cuda"] = "cpu",
        threads: int = 1,
    ):
        if embedder not in ("select", "report"):
            raise InputError("unknown embedder", got=embedder, needed="select or report")
        self.pack = pack
        self.embedder: Role = embedder
        self.embedder_id = pack.embedder_ids[embedder]
        kwargs = session_arguments(device, threads)
        file = pack.embedder(embedder)
        stated = pack.stated(embedder)
        self._stated = None if stated is None else Embedder(pack.path(file), stated, **kwargs)
        with _quiet():
            try:
                routed = embedder == "select" and pack.align == "detector" and stated is None
                modules = _modules(pack, recognition=routed)
                self._app = FaceAnalysis(name=str(pack.folder), allowed_modules=modules, **kwargs)
                self._recogniser: Any = None
                if routed:
                    self._recogniser = self._app.models.get("recognition")
                elif stated is None:
                    self._recogniser = model_zoo.get_model(str(pack.path(file)), **kwargs)
            except Exception as error:  # onnxruntime and onnx raise many unrelated types
                raise ArtifactError(
                    "insightface cannot load the face pack", where=pack.folder, got=error
                ) from error
            side = (pack.det_size_px, pack.det_size_px)
            context = 0 if device == "cuda" else -1
            self._app.prepare(ctx_id=context, det_thresh=pack.det_thresh, det_size=side)
            self._check_roles(file)
            model = pack.attributes
            self._attributes = AttributeReader(pack, model, kwargs) if model else None
            segmenter = pack.segmenter if embedder == "select" else None
            self._parts = PartReader(pack, segmenter, kwargs) if segmenter else None
            if self._recogniser is not None:
                self._recogniser.prepare(context)

    def _check_roles(self, file: str) -> None:
        """Check that insightface, which routes by graph, gave every file the role stated in pack.json."""
        if not hasattr(self._app.det_model, "fmc"):  # set only for a number of outputs that it knows
            raise ArtifactError(
                "insightface cannot read the outputs of the detector",
                where=self.pack.path(self.pack.detector),
                needed="a detector of the SCRFD layout",
                remedy=f'For YuNet state "backend": "opencv" in {PACK_FILE}.',
            )
        if self._stated is None:
            self._check_recogniser(file)
        if self.pack.landmarks is not None and _LANDMARKS not in self._app.models:
            raise ArtifactError("not a 68-landmark model", where=self.pack.path(self.pack.landmarks))

    def _check_recogniser(self, file: str) -> None:
        if getattr(self._recogniser, "taskname", None) != "recognition":
            raise ArtifactError("not an ArcFace model", where=self.pack.path(file))
        if Path(self._recogniser.model_file).name != file:
            got = Path(self._recogniser.model_file).name
            raise ArtifactError(
                "insightface chose a different embedder", where=self.pack.folder, got=got, needed=file
            )

    def find(self, image_rgb: RGBImage) -> list[Face]:
        """Every face, largest first."""
        image = _checked(image_rgb)
        if min(image.shape[:2]) < _MIN_SIDE_PX:
            return []
        bgr = np.ascontiguousarray(image[..., ::-1])
        with _quiet():
            raw_faces = self._app.get(bgr)
        faces = [self._face(image, raw) for raw in raw_faces if _usable(raw)]
        return sorted(faces, key=lambda f: -f.size_px)

    def covered_face(self, image_rgb: RGBImage) -> Face | None:
        """The most confident low-score face that is partly covered by an object; None without one, from
        a pack without a segmenter, or with the "report" embedder."""
        if self._parts is None:
            return None
        detector: Any = self._app.det_model
        detector.det_thresh = _DOUBTED_SCORE
        try:
            faces = self.find(image_rgb)
        finally:
            detector.det_thresh = self.pack.det_thresh
        (least, most), side = _COVERED_SHARES, _COVERED_SIDE * min(image_rgb.shape[:2])
        doubted = [f for f in faces if least <= (f.covered_share or 0.0) <= most and f.size_px >= side]
        return max(doubted, key=lambda f: f.score, default=None)

    def embed(self, image_rgb: RGBImage, keypoints_px: FloatArray) -> FloatArray:
        """Unit-norm (D,) embedding of the face at five given keypoints."""
        image, keypoints = _checked(image_rgb), np.asarray(keypoints_px)
        if self._stated is not None:
            return self._stated.embed(image, keypoints)
        return self._embed_aligned(quality.aligned_crop(image, keypoints))

    def parts(self, image_rgb: RGBImage, face: Face) -> Parts | None:
        """Segmentation around a face; None from a pack without a segmenter, or with the "report" embedder."""
        if self._parts is None:
            return None
        return self._parts.parts(_checked(image_rgb), face.box_xyxy_px, shape.lean_deg(face.keypoints_px))

    def impostor_embeddings(self) -> FloatArray:
        """(N, K, D): embeddings of K pictures of each of N people in the pack's impostor gallery."""
        from portrait_lora.faces.impostors import read_gallery

        return read_gallery(self.pack, self.embedder)

    def _embed_aligned(self, aligned_rgb: RGBImage) -> FloatArray:
        with _quiet():
            vector = self._recogniser.get_feat(np.ascontiguousarray(aligned_rgb[..., ::-1])).flatten()
        return _unit(vector)

    def _embedding(
        self, image: RGBImage, keypoints: FloatArray, aligned: RGBImage, routed: Any
    ) -> FloatArray:
        """From insightface's own pass when it ran the embedder, else from the crop."""
        if self._stated is not None:
            return self._stated.embed(image, keypoints)
        return self._embed_aligned(aligned) if routed is None else _unit(routed)

    def _face(self, image: RGBImage, raw: Any) -> Face:
        """Convert insightface's result into a record."""
        points, embedding = raw.get(_LANDMARKS), raw.get("embedding")
        landmarks = None if points is None else readonly(np.asarray(points)[:, :2])
        keypoints = np.asarray(raw.kps, dtype=np.float32)
        if self.pack.align == "landmarks" and landmarks is not None:
            keypoints = shape.five_points(landmarks)
        aligned = quality.aligned_crop(image, keypoints)
        x0, y0, x1, y1 = (float(v) for v in raw.bbox)
        read = self._attributes.read(image, (x0, y0, x1, y1)) if self._attributes else None
        words = read.words if read else {}
        covered = read.covered_share if read and self.pack.segmenter is None else None
        if self._parts is not None:
            covered = self._parts.covered_share(image, (x0, y0, x1, y1), shape.lean_deg(keypoints))
        pose = self._pose(raw, landmarks)
        return Face(
            box_xyxy_px=(x0, y0, x1, y1),
            score=float(raw.det_score),
            keypoints_px=readonly(keypoints),
            embedding=self._embedding(image, keypoints, aligned, embedding),
            embedder_id=self.embedder_id,
            sharpness=quality.sharpness(aligned),
            brightness=quality.brightness(aligned),
            pose_deg=pose_of_points(keypoints) if pose is None else pose,
            expression=words.get("expression") or self._expression(landmarks),
            landmarks_px=landmarks,
            glasses=words.get("glasses"),
            beard=words.get("beard"),
            lighting=words.get("lighting"),
            light_direction=read.light_direction if read else None,
            covered_share=covered,
            pose_from_points=pose is None,
        )

    def _pose(self, raw: Any, landmarks: FloatArray | None) -> tuple[float, float, float] | None:
        """Degrees from the pack's own calibration, else insightface's estimate."""
        if landmarks is None:
            return None
        if self.pack.pose_calibration is not None:
            return shape.pose(self.pack.pose_calibration, landmarks)
        pose = raw.get("pose")
        return None if pose is None else (float(pose[0]), float(pose[1]), float(pose[2]))

    def _expression(self, landmarks: FloatArray | None) -> str | None:
        head = self.pack.expression_model
        return None if landmarks is None or head is None else shape.expression(head, landmarks)


def _modules(pack: FacePack, *, recognition: bool) -> list[str]:
    """The modules that FaceAnalysis runs, without its recogniser, which aligns only on its detector."""
    landmarks = [_LANDMARKS] if pack.landmarks is not None else []
    return ["detection", *landmarks, *(["recognition"] if recognition else [])]


def _unit(vector: npt.NDArray[np.float32]) -> FloatArray:
    return readonly(vector / max(float(np.linalg.norm(vector)), 1e-12))


def _checked(image_rgb: RGBImage) -> RGBImage:
    image = np.asarray(image_rgb)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        got = f"{image.dtype} {image.shape}"
        raise InputError("not an RGB picture", got=got, needed="uint8 of shape (height, width, 3)")
    return image


def _usable(raw: Any) -> bool:
    """Whether a face has keypoints and a box that is not degenerate."""
    if raw.kps is None:
        return False
    x0, y0, x1, y1 = raw.bbox
    return bool(min(x1 - x0, y1 - y0) >= _MIN_BOX_PX and np.isfinite(raw.kps).all())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence insightface's prints and its deprecation warnings."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
