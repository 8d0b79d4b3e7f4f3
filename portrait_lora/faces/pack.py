"""The record of a verified face pack, and the small models stored in its `pack.json`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self

from portrait_lora.faces.catalog import Backend, Strangers
from portrait_lora.faces.preprocessing import Preprocessing

Role = Literal["select", "report"]
Alignment = Literal["detector", "landmarks"]
"""Whether faces are aligned on the detector's five keypoints or on those within the 68 landmarks."""


@dataclass(frozen=True, slots=True)
class LandmarkHead:
    """A tiny network on the 68 normalised landmarks: tanh layers, the last one linear."""

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[tuple[tuple[float, ...], ...], ...]  # per layer (out, in)
    biases: tuple[tuple[float, ...], ...]
    labels: tuple[str, ...]

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        layers = tuple(tuple(tuple(map(float, row)) for row in layer) for layer in raw["weights"])
        biases = tuple(tuple(map(float, row)) for row in raw["biases"])
        return cls(
            tuple(map(float, raw["mean"])),
            tuple(map(float, raw["scale"])),
            layers,
            biases,
            tuple(map(str, raw["labels"])),
        )

    def to_json(self) -> dict[str, Any]:
        """As plain lists, for JSON."""
        return {
            "mean": list(self.mean),
            "scale": list(self.scale),
            "weights": [[list(row) for row in layer] for layer in self.weights],
            "biases": [list(row) for row in self.biases],
            "labels": list(self.labels),
        }


@dataclass(frozen=True, slots=True)
class AttributeModel:
    """A network outside insightface: logits of every group one after another, then a direction (x, y, z),
    then, with `covered`, the logit of the covered share of the face."""

    file: str  # relative to the pack, in a subfolder
    groups: Mapping[str, tuple[str, ...]]
    covered: bool = False

    @property
    def width(self) -> int:
        """The number of its outputs."""
        return sum(len(labels) for labels in self.groups.values()) + 3 + self.covered


@dataclass(frozen=True, slots=True)
class PartModel:
    """A network outside insightface: probabilities of `parts`, then of the face's place, covered or not."""

    file: str  # relative to the pack, in a subfolder
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Derived:
    """A threshold that `gallery` derived, for the mean cosine to `references` photos, and its derivation."""

    similarity: float
    false_match_rate: float
    references: int
    people: int
    impostor_comparisons: int
    genuine_comparisons: int
    genuine_accepted: float  # 0..1


@dataclass(frozen=True, slots=True)
class FacePack:
    """A verified pack.  `thresholds` maps an embedder id to the similarity that impostors reach at
    `false_match_rate`; a model that is None is missing (its findings are `not_checked`)."""

    name: str
    folder: Path
    digest: str
    synthetic: bool
    licence: str
    commercial: str
    detector: str
    landmarks: str | None
    embedder_select: str
    embedder_report: str
    embedder_ids: Mapping[str, str]  # role -> id
    thresholds: Mapping[str, float]  # embedder id -> similarity
    false_match_rate: float
    det_size_px: int
    det_thresh: float
    impostors: str | None = None
    pose_calibration: LandmarkHead | None = None
    expression_model: LandmarkHead | None = None
    align: Alignment = "detector"
    attributes: AttributeModel | None = None
    segmenter: PartModel | None = None
    backend: Backend = "insightface"
    kinds: Mapping[str, str] = field(default_factory=dict)  # embedder id -> "sface"; ArcFace when not named
    calibrated: bool = True
    strangers: Mapping[str, Strangers] = field(default_factory=dict)  # embedder id -> published calibration
    preprocessing: Mapping[str, Preprocessing] = field(default_factory=dict)  # embedder id -> as stated
    derived: Mapping[str, Derived] = field(default_factory=dict)  # embedder id -> threshold of the gallery
    accepted: str = ""

    @property
    def abilities(self) -> Mapping[str, bool]:
        """What this pack can check; a finding without a model is `not_checked`, never a pass."""
        return MappingProxyType(
            {
                "faces": True,
                "identity": True,
                "two embedders": True,
                "pose": self.landmarks is not None,
                "expression": self.expression_model is not None or self.attributes is not None,
                "glasses and light": self.attributes is not None,
                "covered faces": self.segmenter is not None
                or (self.attributes is not None and self.attributes.covered),
                "hair and backdrop": self.segmenter is not None,
                "other people": self.impostors is not None,
                "calibrated threshold": self.calibrated or self.embedder_ids["report"] in self.derived,
            }
        )

    def published(self, role: Role = "report") -> Strangers | None:
        """Published impostor statistics of one of the two embedders."""
        return self.strangers.get(self.embedder_ids[role])

    def stated(self, role: Role) -> Preprocessing | None:
        """The stated preprocessing of one of the two embedders."""
        return self.preprocessing.get(self.embedder_ids[role])

    def embedder(self, role: Role) -> str:
        """The file of one of the two embedders."""
        return self.embedder_select if role == "select" else self.embedder_report

    def path(self, file: str) -> Path:
        """Path of a file of the pack."""
        return self.folder / file

    def threshold(self, role: Role = "report") -> float:
        """The verification threshold of one of the two embedders: derived from the gallery, else stated."""
        embedder = self.embedder_ids[role]
        own = self.derived.get(embedder)
        return own.similarity if own else self.thresholds[embedder]

    def rate_at_threshold(self, role: Role = "report") -> float:
        """False-match rate at that threshold; NaN where it is not published."""
        own = self.derived.get(self.embedder_ids[role])
        if own:
            return own.false_match_rate
        if self.calibrated:
            return self.false_match_rate
        published = self.published(role)
        return published.false_match_rate if published else math.nan
