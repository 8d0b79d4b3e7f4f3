"""Face packs: folders of ONNX models with a `pack.json`, verified before insightface may open them.

insightface picks the role of every `*.onnx` of a folder by its graph and checks no hash.  So a pack names
its files, their roles and their sha256, and nothing else of that kind may lie in its folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, Self

from portrait_lora import manifest
from portrait_lora.errors import ArtifactError, InputError

EMBEDDED: Final = "embedded"
PACK_FILE: Final = "pack.json"
FORMAT: Final = 1
HEADS: Final = "heads"
"""Subfolder of the models that insightface does not know and must not see."""
Role = Literal["select", "report"]
Alignment = Literal["detector", "landmarks"]
"""Whether faces are aligned on the detector's five keypoints or on those within the 68 landmarks."""
_V2_MANIFEST: Final = "manifest.json"
_REINSTALL: Final = "Install portrait-lora again."
_RESTORE: Final = "Restore the folder from where it came from."


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
        """Plain lists."""
        return {
            "mean": list(self.mean),
            "scale": list(self.scale),
            "weights": [[list(row) for row in layer] for layer in self.weights],
            "biases": [list(row) for row in self.biases],
            "labels": list(self.labels),
        }


@dataclass(frozen=True, slots=True)
class AttributeModel:
    """A network outside insightface: logits of every group one after another, then a direction (x, y, z)."""

    file: str  # relative to the pack, in a subfolder
    groups: Mapping[str, tuple[str, ...]]

    @property
    def width(self) -> int:
        """How many numbers it answers."""
        return sum(len(labels) for labels in self.groups.values()) + 3


@dataclass(frozen=True, slots=True)
class FacePack:
    """A verified pack.  `thresholds` maps an embedder id to the similarity reached by strangers at
    `false_match_rate`; None models are abilities that the pack lacks (the finding is `not_checked`)."""

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

    def path(self, file: str) -> Path:
        """Where a file of the pack lies."""
        return self.folder / file

    def threshold(self, role: Role = "report") -> float:
        """The verification threshold of one of the two embedders."""
        return self.thresholds[self.embedder_ids[role]]


def embedded_folder() -> Path:
    """The folder of the pack that ships with the program."""
    return Path(str(resources.files("portrait_lora"))) / "assets" / "face_pack"


def resolve_pack(name_or_dir: str = EMBEDDED) -> FacePack:
    """The pack called "embedded", or the one in a folder; every file's sha256 is checked here.

    Raises InputError when this is no pack, ArtifactError when its files are not those it names.
    """
    packaged = str(name_or_dir) == EMBEDDED
    folder = embedded_folder() if packaged else Path(name_or_dir).expanduser().resolve()
    remedy = _REINSTALL if packaged else _RESTORE
    if not folder.is_dir():
        raise InputError(
            "no such face pack",
            where=name_or_dir,
            got="no folder of this name",
            needed=f"{EMBEDDED!r} or a folder with a {PACK_FILE}",
            remedy=remedy if packaged else "Check faces.pack.",
        )
    raw = _read(folder, remedy)
    _verify(folder, raw, remedy)
    return _build(folder, raw, remedy)


def _read(folder: Path, remedy: str) -> dict[str, Any]:
    """The content of pack.json, or an InputError."""
    file = folder / PACK_FILE
    if (folder / _V2_MANIFEST).exists():
        raise InputError(
            f"a {_V2_MANIFEST} makes insightface ignore landmarks and pose",
            where=folder,
            got=_V2_MANIFEST,
            needed=f"a flat folder of onnx files with a {PACK_FILE}",
            remedy="Remove it from the pack.",
        )
    if not file.is_file():
        got = f"no {PACK_FILE}"
        raise InputError("no face pack", where=folder, got=got, needed=PACK_FILE, remedy=remedy)
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{PACK_FILE} cannot be read", where=file, got=error, remedy=remedy) from error
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        got = raw.get("format", "none") if isinstance(raw, dict) else type(raw).__name__
        raise InputError(
            "unknown format of a face pack", where=file, got=got, needed=f"format {FORMAT}", remedy=remedy
        )
    return raw


def _verify(folder: Path, raw: Mapping[str, Any], remedy: str) -> None:
    """Every named file is there with the named sha256, and no onnx file is there unnamed."""
    files = raw.get("files")
    if not isinstance(files, dict) or not files:
        raise InputError(
            "the pack names no files", where=folder / PACK_FILE, got=files, needed="files", remedy=remedy
        )
    for name, expected in files.items():
        path = folder / name
        inside = Path(name).parts in {(Path(name).name,), (HEADS, Path(name).name)} and ".." not in name
        if not inside or not path.is_file():
            raise ArtifactError("a file of the face pack is missing", where=path, needed=name, remedy=remedy)
        got = manifest.sha256_file(path)
        if got != expected:
            raise ArtifactError(
                "a file of the face pack was changed",
                where=path,
                got=f"sha256 {got[:12]}",
                needed=f"sha256 {str(expected)[:12]}",
                remedy=remedy,
            )
    for path in sorted(folder.glob("*.onnx")):
        if path.name not in files:
            raise ArtifactError(
                "an unknown model lies in the face pack",
                where=path,
                got=path.name,
                needed=f"only the files named in {PACK_FILE}",
                remedy="Remove it: insightface would load it unchecked.",
            )


def _head(raw: Mapping[str, Any], key: str) -> LandmarkHead | None:
    value = raw.get(key)
    return LandmarkHead.from_json(value) if value else None


def _attributes(raw: Mapping[str, Any]) -> AttributeModel | None:
    """The attribute network, whose file must be among those with a sha256."""
    value = raw.get("attributes")
    if not value:
        return None
    groups = {str(k): tuple(map(str, labels)) for k, labels in value["groups"].items()}
    if value["file"] not in raw["files"] or not all(groups.values()):
        raise ValueError("attributes name a file without sha256, or a group without labels")
    return AttributeModel(str(value["file"]), MappingProxyType(groups))


def _alignment(raw: Mapping[str, Any]) -> Alignment:
    """Where the five keypoints come from; landmarks need a landmark model."""
    value = raw.get("align", "detector")
    if value not in ("detector", "landmarks"):
        raise ValueError(f"align is detector or landmarks, not {value!r}")
    if value == "landmarks" and not raw["models"].get("landmarks"):
        raise ValueError("align is landmarks, and the pack has no landmark model")
    return value


def _build(folder: Path, raw: Mapping[str, Any], remedy: str) -> FacePack:
    """The typed record; a missing or misshapen field becomes an ArtifactError."""
    try:
        models, ids = raw["models"], {role: str(raw["embedder_ids"][role]) for role in ("select", "report")}
        pack = FacePack(
            name=str(raw["name"]),
            folder=folder,
            digest=manifest.digest(raw),
            synthetic=bool(raw["synthetic"]),
            licence=str(raw["licence"]),
            commercial=str(raw["commercial"]),
            detector=str(models["detector"]),
            landmarks=models.get("landmarks"),
            embedder_select=str(models["embedder_select"]),
            embedder_report=str(models["embedder_report"]),
            embedder_ids=MappingProxyType(ids),
            thresholds=MappingProxyType({i: float(raw["thresholds"][i]) for i in ids.values()}),
            false_match_rate=float(raw["false_match_rate"]),
            det_size_px=int(raw["det_size_px"]),
            det_thresh=float(raw["det_thresh"]),
            impostors=models.get("impostors"),
            pose_calibration=_head(raw, "pose_calibration"),
            expression_model=_head(raw, "expression_model"),
            align=_alignment(raw),
            attributes=_attributes(raw),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{PACK_FILE} lacks or misstates a field", where=folder, got=repr(error), remedy=remedy
        ) from error
    named = (pack.detector, pack.landmarks, pack.embedder_select, pack.embedder_report, pack.impostors)
    for name in named:
        if name is not None and name not in raw["files"]:
            raise ArtifactError(
                f"{PACK_FILE} uses a file it gives no sha256 for", where=folder, got=name, remedy=remedy
            )
    return pack
