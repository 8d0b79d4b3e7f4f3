"""A network that insightface does not support, run here on square crops of a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from portrait_lora.errors import ArtifactError


class CropModel:
    """`what` names it in errors.  Raises ArtifactError when it cannot be loaded."""

    def __init__(self, path: Path, what: str, session_arguments: dict[str, Any]):
        try:
            self._session = onnxruntime.InferenceSession(str(path), **session_arguments)
        except Exception as error:  # onnxruntime raises many unrelated types
            raise ArtifactError(f"the {what} cannot be loaded", where=path, got=error) from error
        self._input = self._session.get_inputs()[0].name

    def answer(self, crop_rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """The output for one (S, S, 3) crop, without the batch axis."""
        blob = (crop_rgb.astype(np.float32) - 127.5) / 128.0
        answers: Any = self._session.run(None, {self._input: blob.transpose(2, 0, 1)[None]})
        return answers[0][0]
