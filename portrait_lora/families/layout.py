"""Folders in diffusers layout: which family, which parts, and nothing that could run code.

A model folder is data from strangers.  Before any library opens one, this module has read its JSON and
the headers of its weights: safetensors only, no Python, no class outside diffusers and transformers, no
link or shard name that leads out of the folder.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, cast

from portrait_lora import manifest, strict_json
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.families.adapter_file import read_header
from portrait_lora.families.rows import ROWS
from portrait_lora.records import FamilyName

INDEX: Final = "model_index.json"
SD_PARTS: Final = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
UNUSED: Final = ("safety_checker", "feature_extractor", "image_encoder", "pe", "pe_tokenizer")
"""Parts of a pipeline that are never loaded, so never fetched."""
WEIGHTLESS: Final = ("tokenizer", "tokenizer_2", "tokenizer_3", "tokenizer_4", "scheduler", "processor")
PICKLES: Final = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle", ".msgpack", ".h5", ".npy", ".npz")
_LIBRARIES: Final = ("diffusers", "transformers")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_]+")
_TAKEN: Final = re.compile(
    r"^(?!.*\.(fp16|bf16|non_ema|ema)[.-])(?!openvino|flax|onnx).*\.(json|txt|model|jinja|safetensors)$"
)
_MAX_JSON_BYTES: Final = 64 << 20
_MAX_TENSORS: Final = 200_000


def parameters_b(part: Path) -> float:
    """Billions of numbers in the weights of one part, by their headers; variants in other formats are left
    out.  Raises `ArtifactError` for a damaged file."""
    files = [p for p in part.glob("*.safetensors") if _TAKEN.match(p.name)]
    shapes = [
        cast(Sequence[int], tensor["shape"])
        for file in files
        for name, tensor in read_header(file).items()
        if name != "__metadata__"
    ]
    return sum(math.prod(shape) for shape in shapes) / 1e9


@dataclass(frozen=True, slots=True)
class Layout:
    """What `model_index.json` says: the family and the parts that are used, each with its class."""

    family: FamilyName
    pipeline: str
    parts: Mapping[str, str]


def read_layout(folder: Path) -> Layout:
    """The layout of a folder; one without `model_index.json` is taken for Stable Diffusion.

    Raises `InputError` for an architecture that is not known or that asks for code of its own,
    `ArtifactError` when the file cannot be read.
    """
    path = folder / INDEX
    if not path.is_file():
        return Layout("sd15", "StableDiffusionPipeline", dict.fromkeys(SD_PARTS, ""))
    return parse_index(_json(path), where=path)


def published_parts(folder: Path) -> Mapping[str, str]:
    """What the repository of a base holds of the parts that its index names; raises as `read_layout`."""
    read = read_layout(folder)
    elsewhere = ROWS[read.family].elsewhere
    return {part: kind for part, kind in read.parts.items() if part not in elsewhere}


def parse_index(index: Mapping[str, object], *, where: object) -> Layout:
    """The layout of a parsed `model_index.json`; raises `InputError` as `read_layout` does."""
    pipeline = index.get("_class_name")
    family = next((row.name for row in ROWS.values() if pipeline in row.pipelines), None)
    if family is None:
        known = ", ".join(name for row in ROWS.values() for name in row.pipelines)
        raise InputError("unknown architecture of a model", where=where, got=repr(pipeline), needed=known)
    return Layout(family, str(pipeline), _parts(index, where))


def read_parts(folder: Path, pipelines: Sequence[str]) -> Mapping[str, str]:
    """The parts, each with its class, of a model that is no base, by its `model_index.json`.

    Raises `InputError` for another pipeline or one that asks for code of its own, `ArtifactError` when the
    file cannot be read.
    """
    index = _json(folder / INDEX)
    if index.get("_class_name") not in pipelines:
        got = repr(index.get("_class_name"))
        raise InputError("another kind of model", where=folder, got=got, needed=" or ".join(pipelines))
    return _parts(index, folder)


def _parts(index: Mapping[str, object], where: object) -> Mapping[str, str]:
    parts: dict[str, str] = {}
    for name, value in index.items():
        if name.startswith("_") or name in UNUSED or not isinstance(value, list):
            continue
        entry = cast(Sequence[object], value)
        if entry and all(type(one) in (int, float) for one in entry):  # a setting, such as layers to read
            continue
        library, kind = entry if len(entry) == 2 else ("", "")
        if library is None or kind is None:
            continue
        fits = _PLAIN.fullmatch(name) and isinstance(kind, str) and _PLAIN.fullmatch(kind)
        if library not in _LIBRARIES or not fits:
            raise _code(where, f"{name}: {library}.{kind}")
        parts[name] = str(kind)
    return parts


def inspect(folder: Path) -> Layout:
    """Read a whole model folder the way the loaders would, and refuse what must not be loaded.

    Raises `InputError` for pickles, code, foreign classes and names that lead out of the folder, and
    for missing parts; `ArtifactError` for files that are cut short or lie about their content.
    """
    layout = read_layout(folder)
    inspect_parts(folder, layout.parts)
    return layout


def inspect_parts(folder: Path, parts: Mapping[str, str]) -> None:
    """As `inspect`, for parts that are known already."""
    missing = [part for part in parts if not (folder / part).is_dir()]
    if missing:
        raise InputError(
            "the model is incomplete",
            where=folder,
            got=f"no {', '.join(missing)}",
            needed=f"the folders {', '.join(parts)}",
        )
    # what is not used today may be opened tomorrow, by this program or by another
    _refuse_files(folder, [p for p in folder.rglob("*") if not p.is_dir() and not _is_hidden(p, folder)])
    for part, kind in parts.items():
        files = [p for p in (folder / part).rglob("*") if not p.is_dir()]
        _refuse_files(folder, files)
        _check_part(folder / part, kind, files, weightless=part in WEIGHTLESS)


def wanted_files(parts: Mapping[str, str], names: Iterable[str]) -> tuple[str, ...]:
    """The files of a repository that these parts need: JSON, tokenizers, full-precision safetensors.

    Variants (fp16, ema, other formats) and pickles stay on the hub.  Raises `InputError` when a part has
    no safetensors.
    """
    kept = [INDEX]
    for name in sorted(names):
        part, _, file = name.partition("/")
        if part in parts and file and "/" not in file and _TAKEN.search(file):
            kept.append(name)
    for part in parts:
        if part not in WEIGHTLESS and not any(
            n.startswith(f"{part}/") and n.endswith(".safetensors") for n in kept
        ):
            got = ", ".join(n for n in names if n.startswith(f"{part}/")) or "nothing"
            raise InputError("a part has no safetensors weights", where=part, got=got)
    return tuple(kept)


def text_files(names: Iterable[str]) -> tuple[str, ...]:
    """The files of a repository that holds a language model and its tokenizer, and nothing in folders."""
    return tuple(name for name in sorted(names) if "/" not in name and _TAKEN.search(name))


def inspect_text(folder: Path) -> None:
    """As `inspect`, for such a repository."""
    files = [p for p in folder.iterdir() if not p.is_dir()]
    _refuse_files(folder, files)
    _check_part(folder, "", files, weightless=False)


def config_of(folder: Path, part: str) -> dict[str, object]:
    """The part's `config.json`; empty when the part is not there.  Raises `ArtifactError`."""
    return _json(folder / part / "config.json") if (folder / part).is_dir() else {}


def config_file(path: Path) -> dict[str, object]:
    """A JSON object of a model folder.  Raises `ArtifactError` when it cannot be read."""
    return _json(path)


def folder_digest(folder: Path) -> str:
    """Digest of names and contents of the parts that are used; hashed once per state of the folder."""
    return _digest(folder, _state(folder), tuple(read_layout(folder).parts))


def files_digest(folder: Path) -> str:
    """Digest of names and contents of all files of a folder; hashed once per state of the folder."""
    return _digest(folder, _state(folder), (".",))


def _state(folder: Path) -> tuple[tuple[str, int, int], ...]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return tuple((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files)


@lru_cache(maxsize=16)
def _digest(folder: Path, state: tuple[tuple[str, int, int], ...], parts: tuple[str, ...]) -> str:
    del state  # part of the cache key only
    files = sorted(p for part in parts for p in (folder / part).rglob("*") if p.is_file())
    return manifest.digest({p.relative_to(folder).as_posix(): manifest.sha256_file(p) for p in files})


def _refuse_files(folder: Path, files: Sequence[Path]) -> None:
    """Pickles, Python, and links out of the folder (a hub snapshot links into its own `blobs`)."""
    allowed = [folder.resolve()]
    if folder.parent.name == "snapshots":
        allowed.append(folder.parent.parent.resolve() / "blobs")
    for path in files:
        if not any(path.resolve().is_relative_to(root) for root in allowed):
            raise InputError("a link leads out of the model folder", where=path, got=path.resolve())
        suffix = path.suffix.lower()
        if suffix in PICKLES:
            raise InputError(
                "this kind of file can run code when it is opened",
                where=path,
                got=suffix,
                needed="safetensors",
                remedy="Remove it, or take a version of the model in safetensors.",
            )
        if suffix in (".py", ".pyc", ".so", ".pyd", ".dll"):
            raise _code(path, path.name)


def _is_hidden(path: Path, folder: Path) -> bool:
    """Below a folder such as `.git` or `.cache`, where downloaders keep their notes."""
    return any(name.startswith(".") for name in path.relative_to(folder).parts[:-1])


def _check_part(part: Path, kind: str, files: Sequence[Path], *, weightless: bool) -> None:
    """Configuration of the announced class, whole weights, shards inside the folder."""
    for path in files:
        if path.suffix == ".json" and _asks_for_code(_json(path, need_object=False)):
            raise _code(path, "auto_map")
    config = config_of(part.parent, part.name) if (part / "config.json").is_file() else {}
    declared = config.get("_class_name")
    if declared is not None and kind and declared != kind:
        raise InputError("a part is of another class than announced", where=part, got=declared, needed=kind)
    for path in files:
        if path.name.endswith(".safetensors.index.json"):
            _check_shards(path)
        elif path.suffix == ".safetensors" and len(read_header(path)) > _MAX_TENSORS:
            raise InputError("too many tensors", where=path, needed=f"at most {_MAX_TENSORS}")
    if not weightless and not any(p.suffix == ".safetensors" for p in files):
        raise InputError("a part has no weights", where=part, needed="a .safetensors file")


def _check_shards(index: Path) -> None:
    names = _json(index).get("weight_map")
    shards = set(cast(dict[str, object], names).values()) if isinstance(names, dict) else {None}
    for shard in sorted(map(str, shards)):
        if Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise InputError("a shard is not a safetensors file of this folder", where=index, got=shard)
        if not (index.parent / shard).is_file():
            raise ArtifactError("a shard is missing", where=index.parent / shard)


def _json(path: Path, *, need_object: bool = True) -> dict[str, object]:
    value = strict_json.load(path, "configuration of the model", max_bytes=_MAX_JSON_BYTES, infinities=True)
    if not isinstance(value, dict):
        if not need_object:
            return {}
        got = type(value).__name__
        raise ArtifactError("the configuration of the model is damaged", where=path, got=got)
    return cast(dict[str, object], value)


def _asks_for_code(value: object) -> bool:
    """Whether an `auto_map` stands at whatever depth; in a vocabulary it is a token with a number."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            inside = cast(dict[str, object], one)
            if "auto_map" in inside and not isinstance(inside["auto_map"], int):
                return True
            waiting += inside.values()
        elif isinstance(one, list):
            waiting += cast(list[object], one)
    return False


def _code(where: object, got: object) -> InputError:
    return InputError(
        "the model wants to run code of its own, which is never done",
        where=where,
        got=got,
        needed="classes of diffusers and transformers only",
    )
