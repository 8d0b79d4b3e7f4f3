"""What a file says about itself: how a picture was made and marked, what an adapter was trained from."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict
from pathlib import Path
from typing import Final

from PIL import Image

from portrait_lora import manifest, provenance, strict_json
from portrait_lora.errors import ArtifactError, InputError, PortraitError
from portrait_lora.families.adapter_file import read_header
from portrait_lora.rights import credentials
from portrait_lora.rights.signer import EXTRA

Told = dict[str, object]
_GENERATED: Final = {
    provenance.TRAINED: "yes, and marked as such (XMP: trainedAlgorithmicMedia)",
    provenance.ALGORITHMIC: "drawn by a program, not by a trained model (XMP: algorithmicMedia)",
}
_UNMARKED: Final = "it bears no mark: a photograph, or a picture whose mark was taken away"


def inspect_file(path: Path, authorities: Path | None = None) -> Told:
    """Everything known about a picture, an adapter or an artifact folder.

    `authorities` are PEM certificates whose signatures on pictures are trusted.  Raises `InputError` when
    there is nothing at `path` or it is of another kind, `ArtifactError` for a damaged file.
    """
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise InputError("no such file", where=path)
    told: Told = {"file": str(path), "bytes": path.stat().st_size, "sha256": manifest.sha256_file(path)}
    if path.suffix == ".safetensors":
        return told | _adapter(path)
    return told | _picture(path, authorities)


def in_words(told: Told) -> list[str]:
    """The answers that people look for first."""
    if "folder" in told:
        return [f"{told['folder']}: {told['kind']}, {told['files']} files, all as they were written"]
    if told["kind"] == "adapter":
        return _adapter_in_words(told, _known(told["metadata"]))
    width, height = told["size_px"] if isinstance(told["size_px"], list) else ("?", "?")
    recipe = _known(told["recipe"])
    return [
        f"{told['file']}: {told['kind']}, {width} x {height} px",
        f"  generated?  {_GENERATED.get(str(told['digital_source_type']), _UNMARKED)}",
        f"  changed?    {_changed(told)}",
        f"  signed?     {_signed(told)}",
        *([f"  prompt      {recipe['prompt']}"] if recipe.get("prompt") else []),
        *([f"  made with   {recipe['base']}, seed {recipe.get('seed')}"] if recipe.get("base") else []),
    ]


def _adapter_in_words(told: Told, said: Told) -> list[str]:
    spoilt = told.get("not_finite")
    wrong = [f"  wrong       {told['trouble']}"] if told.get("trouble") else []
    if isinstance(spoilt, list) and spoilt:
        wrong.append(f"  wrong       numbers that are not finite in {len(spoilt)} tensors, {spoilt[0]}")
    return [*_adapter_lines(told, said), *wrong]


def _adapter_lines(told: Told, said: Told) -> list[str]:
    if "portrait_lora.trigger" not in said:
        return [f"{told['file']}: {told['layers']} LoRA layers, made by another program"]
    where = f"for {said.get('portrait_lora.family')}, trained on {said.get('portrait_lora.base')}"
    size = f"rank {said.get('portrait_lora.rank')}, step {said.get('portrait_lora.step')}"
    licence = said.get("modelspec.license", "unknown")
    return [
        f"{told['file']}: a LoRA of {told['layers']} layers {where}",
        f"  trigger     {said['portrait_lora.trigger']}",
        f"  size        {size}",
        f"  licence     {licence}, the base's",
    ]


def _changed(told: Told) -> str:
    beside = _known(told["sidecar"])
    if not beside:
        return "not known: no JSON file of this program lies beside it"
    return (
        "no: the JSON file beside it speaks of these bytes"
        if beside["matches"]
        else ("YES: the JSON file beside it speaks of other bytes")
    )


def _signed(told: Told) -> str:
    found = _known(told["credentials"])
    if not found:
        return "no"
    by = f", by {found['signer']}" if found.get("signer") else ""
    return f"{found['state']}{by}" + (f": {found['remedy']}" if found.get("remedy") else "")


def _known(value: object) -> Told:
    return {str(k): v for k, v in value.items()} if isinstance(value, dict) else {}


def _folder(path: Path) -> Told:
    found = manifest.verify(path)
    files, inputs = len(found.files), dict(found.inputs)
    return {"folder": str(path), "kind": found.kind, "files": files, "inputs": inputs, "whole": True}


def _adapter(path: Path) -> Told:
    from portrait_lora.families.lora_loading import complete_layers, not_finite

    header = read_header(path)
    found: Told = {
        "kind": "adapter",
        "layers": 0,
        "metadata": dict(sorted(header.get("__metadata__", {}).items())),
    }
    try:
        found["layers"] = complete_layers(path, header)
    except PortraitError as error:
        found["trouble"] = f"{error.what}: {error.got}"
    return found | {"not_finite": not_finite(path)}


def _picture(path: Path, authorities: Path | None) -> Told:
    try:
        with Image.open(path) as picture:
            size, kind = list(picture.size), str(picture.format)
    except Exception as error:  # Pillow's parsers raise nearly everything
        needed = "a picture, a .safetensors file, or a folder of this program"
        raise InputError(
            "a file of an unknown kind, or damaged", where=path, got=str(error)[:200], needed=needed
        ) from error
    try:
        recipe: object = provenance.read_record(path)
    except ArtifactError:
        recipe = None
    return {
        "kind": kind,
        "size_px": size,
        "digital_source_type": provenance.source_type(path),
        "made_by_the_studio": provenance.is_studio_picture(path),
        "recipe": recipe,
        "sidecar": sidecar_of(path),
        "credentials": _credentials(path, kind, authorities),
    }


def sidecar_of(path: Path) -> Told | None:
    """Whether the JSON beside the picture still speaks of these bytes."""
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return None
    value = strict_json.load_object(beside, "sidecar")
    if not isinstance(value.get("sha256"), str):
        raise ArtifactError("the sidecar is damaged", where=beside, needed="the sha256 of the picture")
    same = value["sha256"] == manifest.sha256_file(path)
    return {"file": beside.name, "matches": same, "versions": value.get("versions", {})}


def _credentials(path: Path, kind: str, authorities: Path | None) -> Told | None:
    """The C2PA credentials in the picture and whether they hold; None when it has none."""
    data = path.read_bytes()
    known = credentials.format_of(kind)
    if known is None or not credentials.carries(data):
        return None
    if importlib.util.find_spec("c2pa") is None:
        return {"state": "not checked", "remedy": f"pip install 'portrait-lora[{EXTRA}]'"}
    try:
        trusted = authorities.read_bytes() if authorities else None
    except OSError as error:
        raise InputError("the authorities cannot be read", where=authorities, got=error.strerror) from error
    found = credentials.read(data, known, trusted)
    return None if found is None else asdict(found)
