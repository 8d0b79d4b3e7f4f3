"""Drawn head-and-shoulder pictures of one person, and what tools do to a picture that they copy."""

import cv2
import numpy as np

SIDE = 192
KEYPOINTS = np.float32([[74, 84], [118, 84], [96, 106], [80, 128], [112, 128]])
PLANTS = ("re-encoded", "rescaled", "flipped", "regraded", "re-cropped", "blended")


def drawn_scene(seed: int) -> np.ndarray:
    """(192, 192, 3): fixed features; backdrop, hair, light and clothes differ by seed."""
    rng = np.random.default_rng(seed)
    canvas = np.full((SIDE, SIDE, 3), rng.uniform(60, 200, 3), np.float32)
    canvas += cv2.GaussianBlur(rng.normal(0, 130, (SIDE, SIDE, 3)).astype(np.float32), (0, 0), 4)
    cv2.rectangle(canvas, (20, 160), (172, SIDE), rng.uniform(20, 230, 3).tolist(), -1)
    for _ in range(12):
        x, y = rng.integers(20, 172), rng.integers(160, SIDE)
        cv2.circle(canvas, (int(x), int(y)), int(rng.integers(2, 6)), rng.uniform(0, 255, 3).tolist(), -1)
    cv2.ellipse(canvas, (96, 72), (52, 58), 0, 180, 360, rng.uniform(10, 90, 3).tolist(), -1)
    for _ in range(40):
        x = int(rng.integers(44, 148))
        cv2.line(
            canvas,
            (x, int(rng.integers(14, 40))),
            (x + int(rng.integers(-9, 9)), 62),
            rng.uniform(0, 120, 3).tolist(),
            1,
        )
    turn, tilt = (int(v) for v in rng.integers(-10, 11, 2))
    cv2.ellipse(canvas, (96, 104), (42, 54), 0, 0, 360, rng.uniform(150, 210, 3).tolist(), -1)
    for x in (74 + turn, 118 + turn):
        cv2.ellipse(canvas, (x, 84 + tilt), (9, int(rng.integers(3, 7))), 0, 0, 360, (40.0, 40.0, 40.0), -1)
    cv2.line(canvas, (96 + turn, 90 + tilt), (96 + 2 * turn, 108 + tilt), (110.0, 100.0, 100.0), 2)
    cv2.ellipse(
        canvas, (96 + turn, 128 + tilt), (16, int(rng.integers(2, 9))), 0, 0, 180, (90.0, 50.0, 50.0), 3
    )
    light = np.linspace(1 - rng.uniform(-0.4, 0.4), 1 + rng.uniform(-0.4, 0.4), SIDE, dtype=np.float32)
    canvas *= light[None, :, None] if rng.random() < 0.5 else light[:, None, None]
    canvas += cv2.GaussianBlur(rng.normal(0, 60, canvas.shape).astype(np.float32), (0, 0), 2)
    return np.clip(canvas, 0, 255).astype(np.uint8)


def plant(kind: str, picture: np.ndarray, other: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The copy and its five keypoints, which a detector would place a little differently."""
    rng = np.random.default_rng(seed)
    points = KEYPOINTS + rng.normal(0, 1.5, KEYPOINTS.shape).astype(np.float32)
    if kind == "re-encoded":
        _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 35])
        return cv2.imdecode(data, cv2.IMREAD_COLOR), points
    if kind == "rescaled":
        return cv2.resize(picture, None, fx=0.55, fy=0.55, interpolation=cv2.INTER_AREA), points * 0.55
    if kind == "flipped":
        turned = points.copy()
        turned[:, 0] = SIDE - 1 - turned[:, 0]
        return np.ascontiguousarray(picture[:, ::-1]), turned[[1, 0, 2, 4, 3]]
    if kind == "regraded":
        graded = (picture / 255.0) ** 1.35 * np.array([1.1, 0.95, 0.8]) * 0.85 + 0.05
        return np.clip(graded * 255, 0, 255).astype(np.uint8), points
    if kind == "re-cropped":
        return picture[12:180, 18:176].copy(), points - np.float32([18, 12])
    assert kind == "blended"
    return cv2.addWeighted(picture, 0.8, other, 0.2, 0), points
