"""Measure the embedded face pack on fresh people: detection, landmarks, pose, expression, recognition.

python -m scripts.evaluate.face_pack --quick --json face_pack.json

Everything goes through `FaceAnalyzer`, that is through insightface and the ONNX files. Exits 1 when a target
is missed.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from portrait_lora import synthetic, vocabulary
from portrait_lora.faces import FaceAnalyzer, FacePack, resolve_pack
from portrait_lora.records import Face
from scripts.rows import Row, arguments, finish
from scripts.train.face_pack import calibrate
from scripts.train.face_pack.calibrate import render_views
from scripts.train.face_pack.data import Pool, worn_of
from scripts.train.face_pack.embedders import auc
from scripts.train.face_pack.scenes import POSITIVE, Composer

Measured = dict[str, Any]
FIRST_SEED: Final = 600_000


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    scenes: int
    scene_people: int
    portraits: int
    photos: int
    people: int
    views: int


WORN: Final = {
    "glasses": vocabulary.ALL_GLASSES,
    "beard": vocabulary.BEARDS,
    "lighting": vocabulary.LIGHTINGS,
}
"""The columns of `Pool.worn` by the fields of `records.Face`."""
QUICK: Final = Sizes(scenes=200, scene_people=60, portraits=200, photos=12, people=60, views=8)
FULL: Final = Sizes(scenes=2000, scene_people=400, portraits=2000, photos=60, people=1000, views=8)


def render_pool(first_seed: int, people: int, views: int, size_px: int, **scene: Any) -> Pool:
    """Pictures of fresh people with all their truth; looks vary between the views."""
    parts = [
        _truth(render_views(seed, views, size_px, **scene), seed, seed - first_seed)
        for seed in range(first_seed, first_seed + people)
    ]
    return Pool(**{k: torch.cat([p[k] for p in parts]) for k in parts[0]})


def _truth(out: synthetic.Render, seed: int, person: int) -> dict[str, Tensor]:
    words = [look.expression or vocabulary.EXPRESSIONS[0] for look in out.looks]
    return {
        "image": out.image_BCHW,
        "mask": out.mask_BHW,
        "box": out.face_box_xyxy_px.float(),
        "keypoints": out.keypoints_px.float(),
        "landmarks": out.landmarks_px.float(),
        "visible": out.visible_B68.to(torch.uint8),
        "pose": out.pose_deg.float(),
        "person": torch.full((len(words),), person),
        "seed": torch.full((len(words),), seed),
        "expression": torch.tensor([vocabulary.EXPRESSIONS.index(word) for word in words]),
        "worn": worn_of(out.looks),
        "light": out.light_direction.float(),
    }


def picture(image_CHW: Tensor) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 of one picture."""
    return np.ascontiguousarray(image_CHW.permute(1, 2, 0).round().clamp(0, 255).byte().numpy())


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """IoU of two boxes."""
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return w * h / (area - w * h)


def detection(analyzer: FaceAnalyzer, pool: Pool, scenes: int, seed: int, size_px: int = 256) -> Measured:
    """Recall and false faces per picture on composed scenes; faces that are hardly seen count neither way."""
    composer = Composer(pool, size_px, smallest_px=20.0)
    generator = torch.Generator().manual_seed(seed)
    hits = truths = false = pictures = 0
    errors: list[float] = []
    while pictures < scenes:
        batch = composer.batch(8, generator)
        for i in range(min(len(batch.image), scenes - pictures)):
            pictures += 1
            faces = analyzer.find(picture(batch.image[i]))
            state = batch.state[i].tolist()
            boxes = [tuple(b) for b in batch.box[i].tolist()]
            used: set[int] = set()
            for slot, box in enumerate(boxes):
                if state[slot] != POSITIVE:
                    continue
                truths += 1
                good = [j for j, f in enumerate(faces) if overlap(f.box_xyxy_px, box) >= 0.5]
                used.update(good)
                if good:
                    hits += 1
                    off = faces[good[0]].keypoints_px - batch.keypoints[i, slot].numpy()
                    errors.append(float(np.hypot(*off.T).mean()) / _size(box))
            spare = [b for b, s in zip(boxes, state, strict=True) if s == 0]
            for j, face in enumerate(faces):
                if j not in used and all(overlap(face.box_xyxy_px, b) < 0.2 for b in spare):
                    false += 1
    return {
        "recall": hits / max(1, truths),
        "false_faces_per_picture": false / pictures,
        "keypoint_error": float(np.mean(errors)) if errors else float("nan"),
        "faces": truths,
        "pictures": pictures,
    }


def _size(box: tuple[float, ...]) -> float:
    return max(1e-6, float(((box[2] - box[0]) * (box[3] - box[1])) ** 0.5))


def _own(faces: list[Face], box: list[float]) -> Face | None:
    good = [f for f in faces if overlap(f.box_xyxy_px, tuple(box)) >= 0.5]
    return good[0] if good else None


def whole_pictures(analyzer: FaceAnalyzer, pool: Pool) -> Measured:
    """Plain portraits of one person: found, spurious faces, landmarks, pose, and what the heads predict."""
    detected = false = 0
    right = dict.fromkeys(("expression", *WORN), 0)
    light: list[float] = []
    landmark: list[float] = []
    pose: list[list[float]] = []
    for i in range(len(pool)):
        faces = analyzer.find(picture(pool.image[i]))
        face = _own(faces, pool.box[i].tolist())
        false += len(faces) - (face is not None)
        if face is None:
            continue
        detected += 1
        right["expression"] += face.expression == vocabulary.EXPRESSIONS[int(pool.expression[i])]
        for j, (name, words) in enumerate(WORN.items()):
            right[name] += getattr(face, name) == words[int(pool.worn[i, j])]
        if face.light_direction is not None:
            cosine = float(np.dot(face.light_direction, pool.light[i].numpy()))
            light.append(float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))))
        if face.landmarks_px is not None and face.pose_deg is not None:
            off = face.landmarks_px - pool.landmarks[i].numpy()
            landmark.append(float(np.hypot(*off.T).mean()) / _size(tuple(pool.box[i].tolist())))
            pose.append([abs(a - b) for a, b in zip(face.pose_deg, pool.pose[i].tolist(), strict=True)])
    mean_pose = np.asarray(pose).mean(0) if pose else np.full(3, np.nan)
    return {
        "found": detected / len(pool),
        "false_faces_per_picture": false / len(pool),
        "landmark_error": float(np.mean(landmark)) if landmark else float("nan"),
        "pitch_mae_deg": float(mean_pose[0]),
        "yaw_mae_deg": float(mean_pose[1]),
        "roll_mae_deg": float(mean_pose[2]),
        **{name: count / max(1, detected) for name, count in right.items()},
        "light_deg": float(np.mean(light)) if light else float("nan"),
        "pictures": len(pool),
    }


def recognition(pack: FacePack, first_seed: int, people: int, views: int) -> Measured:
    """How both embedders distinguish people whose hair, beard and glasses change from picture to picture.

    AUC over all pairs of pictures in which a face was found; and, by the protocol's statistic (a portrait to
    four photos), the shares of true and of false matches at the pack's own threshold, and of true ones at
    the threshold that lets 1 stranger in 1,000 of these people through.
    """
    shown = calibrate.show(pack, first_seed, people, views)
    row: Measured = {"people": people, "found": shown.face_rate}
    for name, role, table in (("a", "select", shown.select), ("b", "report", shown.report)):
        flat = table.reshape(-1, table.shape[-1])
        seen = np.isfinite(flat[:, 0])
        who = torch.arange(people).repeat_interleave(views)[torch.from_numpy(seen)]
        row[f"auc_{name}"] = auc(torch.from_numpy(flat[seen]), who)
        own, other = calibrate.statistic(table)
        limit = pack.threshold(role)
        row[f"true_{name}"], row[f"false_{name}"] = (
            float((own >= limit).mean()),
            float((other >= limit).mean()),
        )
        row[f"true_here_{name}"] = calibrate.threshold(table)["true_match_rate"]
        row["portraits"], row["pictures"] = len(own), len(who)
    return row


def evaluate(pack: FacePack, sizes: Sizes, seed: int = 0, only: str | None = None) -> list[Row]:
    """All rows, or those of the part `only`."""
    first = FIRST_SEED + seed * 10_000
    return [row for name in PARTS if only in (None, name) for row in _PARTS[name](pack, sizes, seed, first)]


def _scene_rows(pack: FacePack, sizes: Sizes, seed: int, first: int) -> list[Row]:
    analyzer = FaceAnalyzer(pack, "select")
    scenes = detection(analyzer, render_pool(first, sizes.scene_people, 1, 128), sizes.scenes, seed)
    n = scenes["faces"]
    return [
        Row("scenes: recall at IoU 0.5", scenes["recall"], "share", n, 0.99),
        _most("scenes: false faces", scenes["false_faces_per_picture"], "per picture", sizes.scenes, 0.01),
        _most("scenes: keypoint error", scenes["keypoint_error"], "of face size", n, 0.03),
    ]


def _portrait_rows(pack: FacePack, sizes: Sizes, _: int, first: int) -> list[Row]:
    plain = whole_pictures(FaceAnalyzer(pack, "select"), render_pool(first + 1000, sizes.portraits, 1, 128))
    p = plain["pictures"]
    return [
        Row("portraits 128 px: found", plain["found"], "share", p, 0.99),
        _most("portraits 128 px: false faces", plain["false_faces_per_picture"], "per picture", p, 0.01),
        _most("portraits 128 px: landmark error", plain["landmark_error"], "of face size", p, 0.04),
        _most("pitch error", plain["pitch_mae_deg"], "deg", p, 4),
        _most("yaw error", plain["yaw_mae_deg"], "deg", p, 4),
        _most("roll error", plain["roll_mae_deg"], "deg", p, 3),
        Row("expression right", plain["expression"], "share", p, 0.95),
        Row("glasses right", plain["glasses"], "share", p, 0.95),
        Row("beard right", plain["beard"], "share", p),
        Row("lighting right", plain["lighting"], "share", p),
        Row("light direction error", plain["light_deg"], "deg", p),
    ]


def _photo_rows(pack: FacePack, sizes: Sizes, _: int, first: int) -> list[Row]:
    photos = whole_pictures(FaceAnalyzer(pack, "select"), render_pool(first + 3000, sizes.photos, 1, 1200))
    q = photos["pictures"]
    return [
        Row("photos 1200 px: found", photos["found"], "share", q, 0.97),
        _most("photos 1200 px: false faces", photos["false_faces_per_picture"], "per picture", q, 0.05),
    ]


def _people_rows(pack: FacePack, sizes: Sizes, _: int, first: int) -> list[Row]:
    known = recognition(pack, first + 5000, sizes.people, sizes.views)
    k, n = known["pictures"], known["portraits"]
    rows: list[Row] = []
    for name in "ab":
        label = f"embedder {name.upper()}"
        rows += [
            Row(f"{label}: AUC", known[f"auc_{name}"], "AUC", k, 0.98),
            Row(f"{label}: true match at the pack's threshold", known[f"true_{name}"], "share", n, 0.97),
            Row(f"{label}: false match at the pack's threshold", known[f"false_{name}"], "share", n),
            Row(f"{label}: true match at 1e-3 of these people", known[f"true_here_{name}"], "share", n),
        ]
    return rows


_PARTS: Final = {
    "scenes": _scene_rows,
    "portraits": _portrait_rows,
    "photos": _photo_rows,
    "people": _people_rows,
}
PARTS: Final = tuple(_PARTS)


def _most(name: str, value: float, unit: str, n: int, target: float) -> Row:
    return Row(name, value, unit, n, target, at_most=True)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--part", choices=PARTS, default=None, help="only this")
    parser.add_argument("--pack", default="embedded", help="embedded, or a folder")
    args = parser.parse_args()
    torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
    rows = evaluate(resolve_pack(args.pack), FULL if args.full else QUICK, args.seed, args.part)
    sys.exit(finish(rows, args.json))


if __name__ == "__main__":
    main()
