"""The frozen records that wings exchange.  Imports numpy at most, never torch.

Shape legend: D embedding width.  Units stand in names: `_px` pixels of the upright picture
(origin top left), `_deg` degrees.  Arrays are made read-only on construction.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from portrait_lora.vocabulary import Severity

FloatArray = npt.NDArray[np.float32]
RGBImage = npt.NDArray[np.uint8]
"""(H, W, 3) eight-bit sRGB."""
Split = Literal["train", "holdout"]
Layers = tuple[tuple[str, str], ...]
"""(layer, words) of a prompt, in the order of the prompt book; empty for a picture from elsewhere."""
FamilyName = str
"""The name of a model family: a key of `families.rows.ROWS`, whose `row_of` raises for any other."""


def readonly(array: FloatArray) -> FloatArray:
    """A read-only float32 copy."""
    out = np.array(array, dtype=np.float32, copy=True)
    out.setflags(write=False)
    return out


@dataclass(frozen=True, slots=True)
class PhotoEdit:
    """How a photo is read: turned clockwise, then cropped; the file itself stays as it is.

    `turn_deg` is 0, 90, 180 or 270; `crop` is (x0, y0, x1, y1) in fractions of the upright, turned picture.
    """

    turn_deg: int = 0
    crop: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)

    def box_px(self, size_px: tuple[int, int]) -> tuple[int, int, int, int]:
        """(x0, y0, x1, y1) of the crop in pixels of the turned picture, whose size (W, H) before was this."""
        width, height = size_px if self.turn_deg % 180 == 0 else (size_px[1], size_px[0])
        x0, y0 = min(round(self.crop[0] * width), width - 1), min(round(self.crop[1] * height), height - 1)
        return x0, y0, max(round(self.crop[2] * width), x0 + 1), max(round(self.crop[3] * height), y0 + 1)

    def size_px(self, size_px: tuple[int, int]) -> tuple[int, int]:
        """(W, H) of what is left of an upright picture of this size."""
        x0, y0, x1, y1 = self.box_px(size_px)
        return x1 - x0, y1 - y0

    def of(self, image_rgb: RGBImage) -> RGBImage:
        """The turned and cropped pixels (H, W, 3) of an upright picture."""
        x0, y0, x1, y1 = self.box_px((image_rgb.shape[1], image_rgb.shape[0]))
        turned = np.rot90(image_rgb, -(self.turn_deg // 90))
        return np.ascontiguousarray(turned[y0:y1, x0:x1])


@dataclass(frozen=True, slots=True)
class Photo:
    """One picture file; `size_px` is (W, H) after EXIF orientation and `edit`, (0, 0) when unreadable.

    `taken_s` is the time of exposure by the camera's clock, in seconds since 1970; None if the file does not
    state it.
    """

    path: Path
    sha256: str
    size_px: tuple[int, int]
    taken_s: float | None = None
    edit: PhotoEdit | None = None


@dataclass(frozen=True, slots=True)
class Face:
    """One detected face.

    `pose_deg` is (pitch, yaw, roll): positive pitch looks up, positive yaw turns towards the right of
    the picture, positive roll leans clockwise.  `sharpness` is the variance of the Laplacian of the
    aligned 112 px crop in grey levels squared.  None means that the face pack has no model for it.
    """

    box_xyxy_px: tuple[float, float, float, float]
    score: float
    keypoints_px: FloatArray  # (5, 2): left eye, right eye, nose tip, left and right mouth corner, as seen
    embedding: FloatArray  # (D,) unit norm
    embedder_id: str
    sharpness: float
    brightness: float  # mean luma of the aligned crop, 0..255
    pose_deg: tuple[float, float, float] | None = None
    expression: str | None = None
    landmarks_px: FloatArray | None = None  # (68, 2) iBUG order
    glasses: str | None = None
    beard: str | None = None
    lighting: str | None = None
    light_direction: tuple[float, float, float] | None = None  # unit, to the key light: x right, y up, z near
    covered_share: float | None = None  # of the face between brows and chin, hidden behind something, 0..1
    pose_from_points: bool = False  # the pose is a fit of the five keypoints: its pitch is rough

    @property
    def size_px(self) -> float:
        """The longer side of the box."""
        x0, y0, x1, y1 = self.box_xyxy_px
        return max(x1 - x0, y1 - y0)


NOT_SEEN = 255
"""Label of pixels outside the segmenter's crop."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A segmentation: `labels_HW` indexes `names` (or is NOT_SEEN)."""

    names: tuple[str, ...]
    labels_HW: npt.NDArray[np.uint8]

    def where(self, *names: str) -> npt.NDArray[np.bool_]:
        """(H, W) mask of the pixels with one of these labels; unknown names match none."""
        known = [i for i, name in enumerate(self.names) if name in names]
        return np.isin(self.labels_HW, known)


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding on one photo: the measured value, the threshold, and advice."""

    code: str
    severity: Severity
    measured: float | None
    threshold: float | None
    advice: str


@dataclass(frozen=True, slots=True)
class PhotoReport:
    """A photo, the face of its subject (None without one) and its findings.

    `others` are further prominent faces, in pixels of the original, the most prominent first.
    """

    photo: Photo
    face: Face | None
    findings: tuple[Finding, ...] = ()
    others: tuple[Face, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether the photo is used: nothing rejects it, and no question about it is open."""
        return not self.codes

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes that keep the photo out: of rejections and of open questions."""
        return tuple(f.code for f in self.findings if f.severity in ("reject", "question"))

    @property
    def questioned(self) -> bool:
        """Whether nothing but an answer is needed to use the photo."""
        return not self.accepted and not any(f.severity == "reject" for f in self.findings)


@dataclass(frozen=True, slots=True)
class Variety:
    """Groups of accepted photos that are alike in one respect."""

    kind: Literal["outfit", "backdrop", "light"]
    groups: tuple[int, ...]  # photos per group, largest first

    @property
    def photos(self) -> int:
        """The number of photos that show it at all."""
        return sum(self.groups)


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many accepted photos fall into each yaw bin × pitch bin × expression bin, and what to add.

    `appearance_spread` is one minus the mean cosine of the faces to their mean direction; None without.
    """

    yaw_bins: tuple[str, ...]
    expression_bins: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]  # [yaw][expression]
    missing: tuple[str, ...]
    advice: tuple[str, ...]
    pitch_bins: tuple[str, ...] = ()
    cells: tuple[tuple[tuple[int, ...], ...], ...] = ()  # [yaw][pitch][expression]
    variety: tuple[Variety, ...] = ()
    appearance_spread: float | None = None


@dataclass(frozen=True, slots=True)
class CuratedSet:
    """The photos of the subject after curation; `holdout` never enters training, nor do the `rejected` ones,
    among which are those with an open question."""

    kept: tuple[PhotoReport, ...]
    rejected: tuple[PhotoReport, ...]
    holdout: tuple[PhotoReport, ...]
    coverage: Coverage
    centroid: FloatArray  # (D,) unit norm
    embedder_id: str


@dataclass(frozen=True, slots=True)
class CaptionedCrop:
    """One training picture; `crop_xyxy_px` are pixels of the upright original."""

    path: Path
    source: str
    source_sha256: str
    crop_xyxy_px: tuple[int, int, int, int]
    bucket: tuple[int, int]  # W, H
    caption: str
    trigger: str
    mask_path: Path | None = None  # the person
    head_path: Path | None = None


@dataclass(frozen=True, slots=True)
class Adapter:
    """A trained LoRA file and its origin."""

    path: Path
    family: FamilyName
    base: str
    base_digest: str
    rank: int
    alpha: float
    target_modules: tuple[str, ...]
    trigger: str
    dataset_digest: str
    config_digest: str
    step: int


@dataclass(frozen=True, slots=True)
class TrainResult:
    """The result of training: one adapter per checkpoint, oldest first; `samples` over all steps.

    `final_loss` is None without a recorded step.
    """

    checkpoints: tuple[Adapter, ...]
    steps: int
    samples: int
    final_loss: float | None
    resumed_from: int | None


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture to generate; the layers are those of the prompt book, in order."""

    name: str
    prompt: str
    negative_prompt: str
    size_px: tuple[int, int]  # W, H
    seed: int
    layers: Layers = ()


@dataclass(frozen=True, slots=True)
class Portrait:
    """One generated picture; `adapter_digest` is None for the bare base model."""

    path: Path
    shot: Shot
    steps: int
    guidance_scale: float
    adapter_scale: float
    adapter_digest: str | None


@dataclass(frozen=True, slots=True)
class IdentityScore:
    """Mean cosine of one portrait to the held-out photos; None when no face was detected.

    Of the scored face: `yaw_deg`, `face_px` (longer side of its box); `faces` counts all detected faces.
    `layers` are what the prompt was composed of, where that is known.
    """

    portrait: str
    prompt: str
    similarity: float | None
    nearest: str | None
    pose_bin: str | None
    embedder_id: str
    yaw_deg: float | None = None
    face_px: float | None = None
    faces: int = 0
    layers: Layers = ()


@dataclass(frozen=True, slots=True)
class PromptDrift:
    """The scores of one prompt's portraits."""

    prompt: str
    mean: float
    ci95: tuple[float, float] | None
    face_found_rate: float
    verified_rate: float
    portraits: int


@dataclass(frozen=True, slots=True)
class DriftReport:
    """The identity drift of one adapter.  `mean` counts a portrait without a face as 0."""

    embedder_id: str
    pack_digest: str
    prompts: tuple[PromptDrift, ...]
    mean: float
    mean_of_found: float | None
    ci95: tuple[float, float]
    face_found_rate: float
    verified_rate: float
    threshold: float
    false_match_rate: float
    ceiling: float
    impostor: float
    base_mean: float
    copy_score: float
    scores: tuple[IdentityScore, ...] = ()
    base_scores: tuple[IdentityScore, ...] = ()
    holdout: tuple[str, ...] = field(default=())
    impostor_source: str = "gallery of the face pack"

    @property
    def share_of_ceiling(self) -> float:
        """(mean - impostor) / (ceiling - impostor), NaN when `impostor` is (no figure): docs/protocol.md."""
        return (self.mean - self.impostor) / max(self.ceiling - self.impostor, 1e-6)
