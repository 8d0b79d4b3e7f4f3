"""Pictures on disk: a PNG with its generation record and mark, and a JSON sidecar with the same record.

The generation record (key `recipe` in files) is everything that determines the picture; its `made` part is
the conditions (batch, device, threads, libraries), which can change the last bits.  An edited picture has
the record of its edit, which contains the record of its source as `parent`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from PIL import Image

from portrait_lora import manifest, provenance, strict_json
from portrait_lora.errors import ArtifactError
from portrait_lora.generation.masks import decode_mask
from portrait_lora.records import Portrait
from portrait_lora.rights import guard, marks

Record = dict[str, object]
CONDITIONS: Final = "made"
PARENT: Final = "parent"
ACTION: Final = "action"
SETTLED: Final = "watermark_settled"
"""Key in the record of a finished picture with a layered file: what its watermark settled on."""
OF_ONE_EDIT: Final = (
    PARENT, ACTION, "region", "mask_png", "strength", "box_px", "framing", "framing_missed",
)  # fmt: skip
"""Keys of a generation record that concern the last edit only: a further edit does not inherit them."""
_PACKAGES: Final = ("diffusers", "numpy", "opencv", "peft", "torch", "transformers")
_DISTRIBUTIONS: Final = {"opencv": ("opencv-python", "opencv-python-headless", "opencv-contrib-python")}
"""Packages that come under several names."""
_A1111_KEY: Final = "parameters"
_ACTIONS: Final = {"reframe": "c2pa.cropped"}
"""Actions in credentials (C2PA 2.2, section 18.13); any other edit is `c2pa.edited`."""


def record_of(portrait: Portrait, base: str, base_digest: str, trigger: str | None) -> Record:
    """Everything that determines the picture, as JSON values."""
    shot = portrait.shot
    return {
        "prompt": shot.prompt,
        "negative_prompt": shot.negative_prompt,
        "layers": dict(shot.layers),
        "size_px": list(shot.size_px),
        "seed": shot.seed,
        "num_inference_steps": portrait.steps,
        "guidance_scale": portrait.guidance_scale,
        "adapter_scale": portrait.adapter_scale,
        "adapter_sha256": portrait.adapter_digest,
        "trigger": trigger,
        "base": base,
        "base_digest": base_digest,
    }


def versions() -> dict[str, str]:
    """The versions of the libraries that determine the picture."""
    return versions_of(*_PACKAGES) | marks.version()


def versions_of(*packages: str) -> dict[str, str]:
    """Those of the packages that are installed."""
    known = {name: [v for d in _DISTRIBUTIONS.get(name, (name,)) if (v := _version(d))] for name in packages}
    return {name: versions[0] for name, versions in known.items() if versions}


@cache
def _version(name: str) -> str | None:
    """Cached: every picture records it, and reading it takes milliseconds."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def a1111_parameters(record: Mapping[str, object], sampler_name: str = "DPM++ 2M") -> str:
    """The generation record as the text that A1111, ComfyUI loaders and picture browsers read."""
    width, height = cast(list[int], record["size_px"])
    facts: dict[str, object] = {
        "Steps": record["num_inference_steps"],
        "Sampler": sampler_name,
        "CFG scale": record["guidance_scale"],
        "Seed": record["seed"],
        "Size": f"{width}x{height}",
        "Model hash": str(record["base_digest"])[:10],
        "Model": Path(str(record["base"])).name,
    }
    if record.get("adapter_sha256"):
        facts["Lora hashes"] = f'"likeness: {str(record["adapter_sha256"])[:12]}"'
    if "strength" in record:
        facts["Denoising strength"] = record["strength"]
    negative = str(record["negative_prompt"])
    lines = [str(record["prompt"]), *([f"Negative prompt: {negative}"] if negative else [])]
    return "\n".join([*lines, ", ".join(f"{key}: {value}" for key, value in facts.items())])


def save(picture: Image.Image, portrait: Portrait, record: Record, *, sampler_name: str = "DPM++ 2M") -> None:
    """Write the PNG and then its sidecar; see `write`."""
    write(picture, portrait.path, record, sampler_name=sampler_name)


def write(
    picture: Image.Image,
    path: Path,
    record: Record,
    *,
    sampler_name: str = "DPM++ 2M",
    parent: Path | None = None,
) -> None:
    """Write PNG and sidecar, each atomically; the sidecar has the PNG's sha256 and the edit history.

    The PNG carries signed credentials and, unless it is small, the watermark; the credentials of `parent`,
    the picture that was edited, are kept in them.  Raises `RefusedPicture`, and writes nothing, where the
    guard's checker refuses it.
    """
    guard.require_picture(picture, path.name)
    record = _noted(record)
    action = str(record.get(ACTION, "generate"))
    edits = (f"{_ACTIONS.get(action, 'c2pa.edited')}: {action}",) if parent is not None else ()
    edits += (marks.WATERMARKED,) if marks.is_marked_when_drawn(picture.size) else ()
    data = marks.encode(
        marked(picture, record),
        "PNG",
        marks.Origin(provenance.TRAINED, edits, parent),
        texts={
            provenance.RECIPE_KEY: json.dumps(record, sort_keys=True, ensure_ascii=False),
            _A1111_KEY: a1111_parameters(record, sampler_name),
        },
    )
    manifest.write_bytes_atomic(path, data)
    sidecar = {
        "recipe": record,
        "sha256": manifest.sha256_file(path),
        "digital_source_type": provenance.TRAINED,
        "versions": versions(),
        "history": history(record),
    }
    manifest.write_json_atomic(sidecar_of(path), sidecar)


def _noted(record: Record) -> Record:
    """The record with the watermark's name among the versions that it was made with."""
    conditions = cast(Mapping[str, object], record.get(CONDITIONS) or {})
    known = cast(Mapping[str, str], conditions.get("versions") or {})
    if not marks.version().items() - known.items():
        return record
    return record | {CONDITIONS: {**conditions, "versions": {**known, **marks.version()}}}


def marked(picture: Image.Image, record: Mapping[str, object]) -> Image.Image:
    """The picture with the watermark that its record speaks of; without one as it is.

    Outside the mask of an edit the picture stays to the bit.
    """
    conditions = cast(Mapping[str, object], record.get(CONDITIONS) or {})
    known = cast(Mapping[str, str], conditions.get("versions") or {})
    is_known = marks.version()[marks.WATERMARK] == known.get(marks.WATERMARK)
    if not is_known or not marks.is_marked_when_drawn(picture.size):
        return picture
    mask = decode_mask(str(record["mask_png"])) if record.get(ACTION) == "fix" else None
    rgb = np.asarray(picture.convert("RGB"))
    return Image.fromarray(marks.watermarked(rgb, first_recipe(record), mask_HW=mask))


def first_recipe(record: Mapping[str, object]) -> str:
    """The record of the first picture in a chain of edits, as the watermark's number is computed from it."""
    parent = record.get(PARENT)
    return first_recipe(cast(Record, parent)) if isinstance(parent, dict) else _deciding(record)


def history(record: Mapping[str, object]) -> list[Record]:
    """The edit history, oldest first; each entry without the ones before it."""
    parent = record.get(PARENT)
    before = history(cast(Record, parent)) if isinstance(parent, dict) else []
    own = {key: value for key, value in record.items() if key not in (PARENT, CONDITIONS)}
    return [*before, {ACTION: record.get(ACTION, "generate"), **own}]


def pixel_digest(picture: Image.Image) -> str:
    """Hex sha256 of size and RGB values, independent of the file format."""
    return manifest.digest([picture.size, picture.convert("RGB").tobytes().hex()])


def sidecar_of(path: Path) -> Path:
    return path.with_suffix(".json")


def is_current(path: Path, record: Mapping[str, object], framing: Mapping[str, object] | None = None) -> bool:
    """Whether the picture exists, unchanged, with this generation record (conditions aside).

    With `framing`, a picture that was cropped to exactly that afterwards is current too.
    """
    try:
        sidecar: Any = strict_json.load_object(sidecar_of(path), "sidecar")
        stored = sidecar["recipe"]
        if framing is not None and stored.get("framing") == framing:
            stored = stored[PARENT]
        same = _deciding(stored) == _deciding(record)
        return same and manifest.sha256_file(path) == sidecar["sha256"]
    except (ArtifactError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def is_of(path: Path, record: Mapping[str, object]) -> bool:
    """Whether a picture, unchanged, contains this generation record (conditions aside).

    A picture whose sidecar is still missing counts: its writer was stopped between the two.
    """
    try:
        same = _deciding(provenance.read_record(path)) == _deciding(record)
        return same and (not sidecar_of(path).exists() or is_current(path, record))
    except ArtifactError:
        return False


def _deciding(record: Mapping[str, object]) -> str:
    return manifest.canonical(
        {key: value for key, value in record.items() if key not in (CONDITIONS, SETTLED)}
    )
