"""Where a head begins and ends, from its landmarks."""

from __future__ import annotations

import numpy as np

from portrait_lora.records import Face


def head_lines_px(face: Face) -> tuple[float, float, float]:
    """(eye line, crown, chin) as rows; the crown is estimated from usual proportions."""
    eye_line = float(np.asarray(face.keypoints_px)[:2, 1].mean())
    if face.landmarks_px is None:
        _, y0, _, y1 = face.box_xyxy_px
        return eye_line, y0 - 0.15 * (y1 - y0), y1
    points = np.asarray(face.landmarks_px)
    chin = float(points[:17, 1].max())
    return eye_line, chin - 2.0 * (chin - eye_line), chin  # eyes lie half-way between crown and chin
