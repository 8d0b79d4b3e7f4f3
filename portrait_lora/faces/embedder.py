"""An embedder with stated preprocessing: onnxruntime on an aligned crop, nothing guessed from the graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime

from portrait_lora.errors import ArtifactError
from portrait_lora.faces import quality
from portrait_lora.faces.preprocessing import ARCFACE_SIDE_PX, Preprocessing
from portrait_lora.records import FloatArray, RGBImage, readonly

_LEAST_NORM: Final = 1e-12


class Embedder:
    """One network and its preprocessing.  Raises `ArtifactError` when the graph contradicts it."""

    def __init__(self, path: Path, preprocessing: Preprocessing, **session: Any):
        self.preprocessing = preprocessing
        self._path = path
        try:
            self._session: Any = onnxruntime.InferenceSession(str(path), **(session or session_arguments()))
        except Exception as error:  # onnxruntime raises unrelated types
            raise ArtifactError("onnxruntime cannot load the embedder", where=path, got=error) from error
        self.free_side = self._check_graph()
        self._input = self._session.get_inputs()[0].name

    def _check_graph(self) -> bool:
        """Whether the graph accepts any side."""
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shape = list(inputs[0].shape) if inputs else []
        side = self.preprocessing.side_px
        stated = ["N", 3, side, side]
        fits = len(shape) == 4 and all(
            not isinstance(got, int) or got <= 0 or got == want
            for got, want in zip(shape[1:], stated[1:], strict=True)
        )
        if len(inputs) != 1 or len(outputs) != 1 or not fits:
            raise ArtifactError(
                "the embedder does not take the stated input",
                where=self._path,
                got=f"{len(inputs)} inputs, the first of shape {shape}; {len(outputs)} outputs",
                needed=f"one input of shape {stated} and one output",
                remedy="State the side that the network takes (side_px); channels come first.",
            )
        if inputs[0].type != "tensor(float)":
            got = inputs[0].type
            raise ArtifactError("the embedder takes no float32", where=self._path, got=got)
        return not any(isinstance(v, int) and v > 0 for v in shape[2:])

    def embed(self, image_rgb: RGBImage, keypoints_px: FloatArray) -> FloatArray:
        """Unit-norm (D,) embedding of the face at five keypoints (5, 2) of the picture."""
        stated = self.preprocessing
        if stated.named and stated.side_px == ARCFACE_SIDE_PX:
            return self.embed_aligned(quality.aligned_crop(image_rgb, np.asarray(keypoints_px)))
        side = (stated.side_px, stated.side_px)
        matrix = similarity_transform(np.asarray(keypoints_px), np.asarray(stated.template))
        return self.embed_aligned(cv2.warpAffine(image_rgb, matrix, side).astype(np.uint8))

    def embed_aligned(self, aligned_rgb: RGBImage) -> FloatArray:
        """Unit-norm (D,) embedding of an aligned (side, side, 3) crop."""
        stated = self.preprocessing
        pixels = np.asarray(aligned_rgb, dtype=np.float32)
        if stated.colour == "BGR":
            pixels = pixels[..., ::-1]
        pixels = (pixels - np.asarray(stated.mean, np.float32)) / np.asarray(stated.std, np.float32)
        batch = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], dtype=np.float32)
        try:
            vector = np.asarray(self._session.run(None, {self._input: batch})[0], dtype=np.float32).ravel()
        except Exception as error:  # onnxruntime raises unrelated types
            raise ArtifactError("the embedder cannot be run", where=self._path, got=error) from error
        if not np.isfinite(vector).all() or not vector.any():
            raise ArtifactError("the embedder gives no finite embedding", where=self._path)
        return readonly(vector / max(float(np.linalg.norm(vector)), _LEAST_NORM))


def similarity_transform(source: npt.NDArray[Any], target: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """(2, 3) matrix of rotation, scale and shift that takes points (N, 2) to `target` by least squares.

    In the plane the linear solution for (a, b, x, y) in [[a, −b, x], [b, a, y]] is Umeyama's (IEEE PAMI 1991)
    without reflection.
    """
    points, wanted = np.asarray(source, np.float64), np.asarray(target, np.float64)
    one, zero = np.ones(len(points)), np.zeros(len(points))
    rows_x = np.stack([points[:, 0], -points[:, 1], one, zero], axis=1)
    rows_y = np.stack([points[:, 1], points[:, 0], zero, one], axis=1)
    system = np.concatenate([rows_x, rows_y])
    a, b, x, y = np.linalg.lstsq(system, wanted.T.ravel(), rcond=None)[0]
    return np.array([[a, -b, x], [b, a, y]])


def session_arguments(device: str = "cpu", threads: int = 1) -> dict[str, Any]:
    """Arguments of an onnxruntime session: a fixed number of threads, so that results do not vary."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    providers = ["CPUExecutionProvider"]
    if device == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers.insert(0, "CUDAExecutionProvider")
    return {"providers": providers, "sess_options": options}
