"""Which backend runs a detector: recognised by running the network and looking at its outputs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime

from portrait_lora.errors import InputError
from portrait_lora.faces.catalog import Backend
from portrait_lora.faces.embedder import session_arguments

_SIDE_PX: Final = 640


def backend_of(path: Path) -> Backend:
    """`insightface` for the SCRFD layout, `opencv` for YuNet.

    Raises `InputError` for everything else, with the outputs that the network has.
    """
    try:
        session: Any = onnxruntime.InferenceSession(str(path), **session_arguments())
        taken = session.get_inputs()[0]
        shape = [1, 3, *(_side(v) for v in taken.shape[2:])]
        outputs = session.run(None, {taken.name: np.zeros(shape, np.float32)})
    except Exception as error:  # onnxruntime raises unrelated types
        raise InputError(
            "the detector cannot be run", where=path, got=error, needed="an ONNX file"
        ) from error
    # per stride: score (YuNet: of class and object), box, five keypoints
    widths = Counter(int(o.shape[-1]) for o in outputs if o.ndim)
    strides = widths.get(10, 0)
    if strides and len(outputs) == sum(widths[w] for w in (1, 4, 10)) and widths[4] == strides:
        if widths[1] == strides and strides in (3, 5):
            return "insightface"
        if widths[1] == 2 * strides and strides == 3:
            return "opencv"
    shapes = ", ".join(str(tuple(o.shape)) for o in outputs[:15])
    boxes_only = not strides and widths.get(4, 0) in (3, 5)
    raise InputError(
        "not a detector that is known here",
        where=path,
        got=f"{len(outputs)} outputs: {shapes}" + ("; it gives no keypoints" if boxes_only else ""),
        needed="SCRFD with keypoints (9 or 15 outputs of width 1, 4 and 10) or YuNet (12 outputs)",
    )


def _side(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else _SIDE_PX
