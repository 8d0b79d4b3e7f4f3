"""Opens a face pack with the analyzer of its backend, behind one interface."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from portrait_lora.faces.packs import FacePack, Role
from portrait_lora.records import Face, FloatArray, Parts


class Analyzer(Protocol):
    """The interface of every backend; see `FaceAnalyzer` for shapes and errors."""

    pack: FacePack
    embedder: Role
    embedder_id: str

    def find(self, image_rgb: npt.NDArray[np.uint8]) -> list[Face]:
        """Every face, largest first."""
        ...

    def embed(self, image_rgb: npt.NDArray[np.uint8], keypoints_px: FloatArray) -> FloatArray:
        """Unit-norm (D,) embedding of the face at five given keypoints."""
        ...

    def covered_face(self, image_rgb: npt.NDArray[np.uint8]) -> Face | None:
        """The most confident low-score face that is partly covered by an object."""
        ...

    def parts(self, image_rgb: npt.NDArray[np.uint8], face: Face) -> Parts | None:
        """Segmentation around a face; None from a pack without a segmenter."""
        ...

    def impostor_embeddings(self) -> FloatArray:
        """(N, K, D): embeddings of K pictures of each of N people in the pack's impostor gallery."""
        ...


def open_analyzer(
    pack: FacePack, embedder: Role = "select", *, device: Literal["cpu", "cuda"] = "cpu"
) -> Analyzer:
    """The analyzer of a pack, after its sanity test on first use.

    Raises `ArtifactError` when its files cannot be loaded or the test fails.
    """
    from portrait_lora.faces import first_use

    first_use.require(pack)
    return open_untested(pack, embedder, device=device)


def open_untested(
    pack: FacePack, embedder: Role = "select", *, device: Literal["cpu", "cuda"] = "cpu"
) -> Analyzer:
    """The analyzer of a pack, without the sanity test.  Raises `ArtifactError` as `open_analyzer` does."""
    if pack.backend == "opencv":
        from portrait_lora.faces.opencv import OpenCvAnalyzer

        return OpenCvAnalyzer(pack, embedder)
    from portrait_lora.faces.analyzer import FaceAnalyzer

    return FaceAnalyzer(pack, embedder, device=device)
