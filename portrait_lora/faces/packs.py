"""Face packs: folders of ONNX models with a `pack.json`, verified before insightface loads them.

insightface picks the role of every `*.onnx` in a folder by its graph and checks no hash.  So a pack lists
its files, their roles and their sha256, and its folder may hold no other ONNX file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from portrait_lora import log, manifest, strict_json
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.faces import pack_file
from portrait_lora.faces.catalog import KNOWN, RESEARCH, Backend, KnownPack, Strangers, packs_home
from portrait_lora.faces.pack import (
    Alignment,
    AttributeModel,
    Derived,
    FacePack,
    LandmarkHead,
    PartModel,
    Role,
)
from portrait_lora.faces.preprocessing import Preprocessing

__all__ = ["EMBEDDED", "AttributeModel", "FacePack", "LandmarkHead", "PartModel", "Role", "resolve_pack"]

EMBEDDED: Final = "embedded"
_FORMER: Final = {"synthetic": EMBEDDED}
"""Names that packs had before, and those that they have."""
"""The name of that pack by its purpose."""
PACK_FILE: Final = "pack.json"
FORMAT: Final = 1
HEADS: Final = "heads"
"""Subfolder of the models that insightface does not support and must not see."""
_V2_MANIFEST: Final = "manifest.json"
_REINSTALL: Final = "Reinstall portrait-lora."
_RESTORE: Final = "Restore the folder from its source."
_log = log.get(__name__)


def embedded_folder() -> Path:
    """The folder of the pack shipped with the program."""
    return Path(str(resources.files("portrait_lora"))) / "assets" / "face_pack"


def resolve_pack(name_or_dir: str = EMBEDDED, *, quiet: bool = False) -> FacePack:
    """The embedded pack, an installed known one, or the one in a folder; every sha256 is checked here.

    `quiet` leaves out the word on research licences.  Raises InputError when this is not a pack or the
    working folder has an entry with its name, ArtifactError when its files are not those that it lists.
    """
    name = str(name_or_dir)
    known = KNOWN.get(name)
    if name == EMBEDDED:
        folder, remedy = embedded_folder(), _REINSTALL
    elif known:
        folder, remedy = packs_home() / name, f"Download it again with: portrait-lora pull {name}"
        refuse_shadow(name)
    else:
        folder, remedy = Path(name).expanduser().resolve(), _RESTORE
    if not folder.is_dir():
        refuse_former_name(name)
        names = ", ".join((EMBEDDED, *KNOWN))
        raise InputError(
            "this face pack is not on this machine" if known else "no such face pack",
            where=name_or_dir,
            got=f"no folder {folder}" if known else "no folder of this name",
            needed=f"one of {names}, or a folder with a {PACK_FILE}",
            remedy=f"Download it with: portrait-lora pull {name}" if known else "Check face_pack.",
        )
    raw = _read(folder, remedy)
    _verify(folder, raw, remedy)
    pack = _build(folder, raw, remedy)
    _refuse_one_judge(pack, raw)
    if known:
        _refuse_unknown_bytes(known, raw, folder, remedy)
    if pack.commercial == "no" and not quiet:
        _log.warning("Face pack %s: %s.", pack.name, RESEARCH)
    return pack


def refuse_former_name(name: str) -> None:
    """`InputError` with the present name of a pack that was renamed."""
    if name in _FORMER:
        now = _FORMER[name]
        raise InputError(
            "this face pack has another name now",
            where="face_pack",
            got=repr(name),
            needed=repr(now),
            remedy=f"Write `face_pack: {now}` in likeness.yaml.",
        )


def read_pack_file(folder: Path) -> Mapping[str, Any]:
    """The content of a folder's pack.json.  Raises as `resolve_pack` does."""
    return _read(folder, _RESTORE)


def refuse_shadow(name: str) -> None:
    """Refuse a folder in the working directory that insightface would mistake for the pack of that name."""
    if Path(name).exists():
        raise InputError(
            "a file or folder in the working directory has the name of a face pack",
            where=Path(name).resolve(),
            got=name,
            remedy="Rename it, or work in another folder.",
        )


def _refuse_one_judge(pack: FacePack, raw: Mapping[str, Any]) -> None:
    """The network that selected the adapter must not measure it as well."""
    files = raw["files"]
    same = files[pack.embedder_select] == files[pack.embedder_report]
    if same or pack.embedder_ids["select"] == pack.embedder_ids["report"]:
        raise ArtifactError(
            "the pack selects and reports with the same network",
            where=pack.folder,
            got=pack.embedder_ids["report"],
            needed="two different embedders",
        )


def _refuse_unknown_bytes(known: KnownPack, raw: Mapping[str, Any], folder: Path, remedy: str) -> None:
    """A folder with a known name must hold the known networks and no others."""
    own = raw["models"].get("impostors")  # a gallery that the user made: any content
    actual = {sha256 for file, sha256 in raw["files"].items() if file != own or file.endswith(".onnx")}
    expected = {n.sha256 for n in known.networks}
    if actual != expected:
        raise ArtifactError(
            f"this is not the face pack {known.name}",
            where=folder,
            got=", ".join(sorted(str(g)[:12] for g in actual - expected)) or "fewer files",
            needed="the networks of that pack",
            remedy=remedy,
        )


def _read(folder: Path, remedy: str) -> dict[str, Any]:
    """The content of pack.json."""
    file = folder / PACK_FILE
    if (folder / _V2_MANIFEST).exists():
        raise InputError(
            f"a {_V2_MANIFEST} makes insightface ignore landmarks and pose",
            where=folder,
            got=_V2_MANIFEST,
            needed=f"a flat folder of ONNX files with a {PACK_FILE}",
            remedy="Remove it from the pack.",
        )
    if not file.is_file():
        got = f"no {PACK_FILE}"
        raise InputError("not a face pack", where=folder, got=got, needed=PACK_FILE, remedy=remedy)
    raw: Any = strict_json.load(file, PACK_FILE, remedy=remedy)
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        got = raw.get("format", "none") if isinstance(raw, dict) else type(raw).__name__
        raise InputError(
            "unknown face pack format", where=file, got=got, needed=f"format {FORMAT}", remedy=remedy
        )
    return raw


def _verify(folder: Path, raw: Mapping[str, Any], remedy: str) -> None:
    """Check that every listed file exists with its sha256, and that there is no unlisted ONNX file."""
    files = raw.get("files")
    if not isinstance(files, dict) or not files:
        raise InputError(
            "the pack lists no files", where=folder / PACK_FILE, got=files, needed="files", remedy=remedy
        )
    for name, expected in files.items():
        path = folder / name
        inside = Path(name).parts in {(Path(name).name,), (HEADS, Path(name).name)} and ".." not in name
        if not inside or not path.is_file():
            raise ArtifactError("a file of the face pack is missing", where=path, needed=name, remedy=remedy)
        got = manifest.sha256_file(path)
        if got != expected:
            raise ArtifactError(
                "a file of the face pack has been modified",
                where=path,
                got=f"sha256 {got[:12]}",
                needed=f"sha256 {str(expected)[:12]}",
                remedy=remedy,
            )
    for path in sorted(folder.glob("*.onnx")):
        if path.name not in files:
            raise ArtifactError(
                "the face pack contains an unlisted model",
                where=path,
                got=path.name,
                needed=f"only the files listed in {PACK_FILE}",
                remedy="Remove it: insightface would load it unchecked.",
            )


def _head(raw: Mapping[str, Any], key: str) -> LandmarkHead | None:
    value = raw.get(key)
    return LandmarkHead.from_json(value) if value else None


def _attributes(raw: Mapping[str, Any]) -> AttributeModel | None:
    """The attribute network; its file must be listed with a sha256."""
    value = raw.get("attributes")
    if not value:
        return None
    groups = {str(k): tuple(map(str, labels)) for k, labels in value["groups"].items()}
    if value["file"] not in raw["files"] or not all(groups.values()):
        raise ValueError("attributes refer to a file without sha256, or a group without labels")
    return AttributeModel(str(value["file"]), MappingProxyType(groups), bool(value.get("covered", False)))


def _segmenter(raw: Mapping[str, Any]) -> PartModel | None:
    """The segmenter; its file must be listed with a sha256."""
    value = raw.get("segmenter")
    if not value:
        return None
    parts = tuple(map(str, value["parts"]))
    if value["file"] not in raw["files"] or not {"skin", "thing"} <= set(parts):
        raise ValueError("segmenter refers to a file without sha256, or lacks the parts skin and thing")
    return PartModel(str(value["file"]), parts)


def _alignment(raw: Mapping[str, Any]) -> Alignment:
    """The source of the five keypoints; `landmarks` needs a landmark model."""
    value = raw.get("align", "detector")
    if value not in ("detector", "landmarks"):
        raise ValueError(f"align must be detector or landmarks, not {value!r}")
    if value == "landmarks" and not raw["models"].get("landmarks"):
        raise ValueError("align is landmarks, but the pack has no landmark model")
    return value


def _strangers(raw: Mapping[str, Any], ids: Iterable[str]) -> dict[str, Strangers]:
    """Published impostor statistics: those in pack.json, else the known ones of its embedders."""
    known = {e.id: e.strangers for p in KNOWN.values() for e in (p.select, p.report) if e.strangers}
    published = {i: known[i] for i in ids if i in known}
    for embedder, value in raw.get("strangers", {}).items():
        strangers = Strangers(float(value["mean"]), float(value["false_match_rate"]), str(value["source"]))
        if not (-1 <= strangers.mean < 1 and 0 < strangers.false_match_rate < 1):
            raise ValueError("strangers needs a mean from -1 to 1 and a rate between 0 and 1")
        published[str(embedder)] = strangers
    return published


def _backend(raw: Mapping[str, Any]) -> Backend:
    value = raw.get("backend", "insightface")
    if value not in ("insightface", "opencv"):
        raise ValueError(f"backend must be insightface or opencv, not {value!r}")
    return value


def _build(folder: Path, raw: Mapping[str, Any], remedy: str) -> FacePack:
    """The typed record; an unknown key, a missing or malformed field is an ArtifactError."""
    wrong = pack_file.problem(raw)
    if wrong is not None:
        kind, got = wrong
        raise ArtifactError(
            f"{PACK_FILE} has {kind}",
            where=folder / PACK_FILE,
            got=got,
            needed="the keys that `portrait-lora pack schema` prints",
            remedy=remedy,
        )
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
            segmenter=_segmenter(raw),
            backend=_backend(raw),
            kinds=MappingProxyType({str(k): str(v) for k, v in raw.get("kinds", {}).items()}),
            calibrated=bool(raw.get("calibrated", True)),
            strangers=MappingProxyType(_strangers(raw, ids.values())),
            preprocessing=MappingProxyType(
                {str(i): Preprocessing.from_json(v) for i, v in raw.get("preprocessing", {}).items()}
            ),
            derived=MappingProxyType({str(i): Derived(**v) for i, v in raw.get("derived", {}).items()}),
            accepted=str(raw.get("accepted", "")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{PACK_FILE} has a missing or malformed field", where=folder, got=repr(error), remedy=remedy
        ) from error
    named = (pack.detector, pack.landmarks, pack.embedder_select, pack.embedder_report, pack.impostors)
    for name in named:
        if name is not None and name not in raw["files"]:
            raise ArtifactError(
                f"{PACK_FILE} uses a file without sha256", where=folder, got=name, remedy=remedy
            )
    return pack
