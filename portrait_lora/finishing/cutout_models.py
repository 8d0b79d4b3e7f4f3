"""Matting networks for photographs: what each expects and gives, and one run through onnxruntime.

No checksum of these files is known here, and none of the weights was ever run by this project: a network is
taken only from an ONNX file that the user names together with its licence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.records import FloatArray

RGB = tuple[float, float, float]
_IMAGENET: Final[tuple[RGB, RGB]] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF: Final[tuple[RGB, RGB]] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@dataclass(frozen=True, slots=True)
class Network:
    """Input: 1 x 3 x `side_px` x `side_px`, RGB 0..1 less `mean` over `std`, the picture stretched to it.

    Output: 1 x 1 x S x S, an alpha, or `logits` whose logistic is one.  `licence` as its makers state it.
    """

    side_px: int
    mean: RGB
    std: RGB
    logits: bool
    repository: str
    licence: str


NETWORKS: Final[Mapping[str, Network]] = {
    "birefnet-portrait": Network(1024, *_IMAGENET, True, "ZhengPeng7/BiRefNet-portrait", "MIT"),
    "birefnet-matting": Network(1024, *_IMAGENET, True, "ZhengPeng7/BiRefNet-matting", "MIT"),
    "modnet": Network(512, *_HALF, False, "Xenova/modnet", "Apache-2.0"),
}
"""BiRefNet's exports give logits (model card of emrikol/birefnet-matting-onnx); MODNet ends in a sigmoid."""


def refuse_name(name: str) -> None:
    """Raises `InputError` for a network named alone: its file has to come from the user."""
    known = NETWORKS.get(name)
    if known is None:
        raise InputError(
            "no such matting model",
            got=repr(name),
            needed=f"the path of an ONNX file, with `network` one of {', '.join(NETWORKS)}",
        )
    raise InputError(
        f"{name} cannot be fetched by name: no checksum of its ONNX file is known here",
        where="model",
        needed="the path of a file that you have",
        remedy=f"Export or download it from {known.repository}, then set model: FILE.onnx, "
        f"network: {name} and model_licence (its makers state {known.licence}).",
    )


class Matting:
    """A network from a file.  Raises `ArtifactError` when it cannot be loaded."""

    def __init__(self, path: Path, network: Network):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # sums in another order would change the bytes
        try:
            session = onnxruntime.InferenceSession(
                str(path), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises many unrelated types
            raise ArtifactError("the matting model cannot be loaded", where=path, got=error) from error
        self._session, self._path, self._network = session, path, network
        self._input = session.get_inputs()[0].name

    def alpha(self, rgb_HW3: FloatArray) -> FloatArray:
        """(S, S) coverage 0..1 of the whole picture.  Raises `ArtifactError` for a misshapen answer."""
        one = self._network
        side = one.side_px
        small = cv2.resize(rgb_HW3, (side, side), interpolation=cv2.INTER_AREA)
        blob = ((np.asarray(small) - one.mean) / one.std).astype(np.float32).transpose(2, 0, 1)[None]
        try:
            answer: Any = self._session.run(None, {self._input: np.ascontiguousarray(blob)})[-1]
        except Exception as error:
            raise ArtifactError(
                "the matting model does not run",
                where=self._path,
                got=error,
                needed=f"a network for 1 x 3 x {side} x {side}",
            ) from error
        if answer.ndim != 4 or answer.shape[:2] != (1, 1):
            raise ArtifactError(
                "the matting model has another output shape",
                where=self._path,
                got=str(answer.shape),
                needed="(1, 1, S, S)",
            )
        values = np.asarray(answer[0, 0], np.float32)
        if not np.isfinite(values).all():
            raise ArtifactError("the matting model's answer is not finite", where=self._path)
        if one.logits:
            values = np.asarray(1 / (1 + np.exp(-np.clip(values, -30, 30))), np.float32)
        elif values.min() < -0.01 or values.max() > 1.01:
            raise ArtifactError(
                "the matting model's answer is no alpha",
                where=self._path,
                got=f"{values.min():.2f} to {values.max():.2f}",
                needed="0 to 1",
                remedy="Choose the `network` that this file is.",
            )
        return np.clip(values, 0, 1)
