"""What a file says about itself: how a picture was made and marked, what an adapter was trained from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Final

from PIL import Image

from portrait_lora import manifest, provenance, strict_json
from portrait_lora.errors import ArtifactError, InputError, PortraitError
from portrait_lora.families.adapter_file import read_header
from portrait_lora.rights import credentials

Facts = dict[str, object]
_GENERATED: Final = {
    provenance.TRAINED: "yes, and marked as such (XMP: trainedAlgorithmicMedia)",
    provenance.ALGORITHMIC: "drawn by a program, not by a trained model (XMP: algorithmicMedia)",
}
_UNMARKED: Final = "it bears no mark: a photograph, or a picture whose mark was taken away"


def inspect_file(path: Path, authorities: Path | None = None) -> Facts:
    """Everything known about a picture, an adapter or an artifact folder.

    `authorities` are PEM certificates whose signatures on pictures are trusted.  Raises `InputError` when
    there is nothing at `path` or it is of another kind, `ArtifactError` for a damaged file.
    """
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise InputError("no such file", where=path)
    facts: Facts = {"file": str(path), "bytes": path.stat().st_size, "sha256": manifest.sha256_file(path)}
    if path.suffix == ".safetensors":
        return facts | _adapter(path)
    return facts | _picture(path, authorities)


def in_words(facts: Facts) -> list[str]:
    """The answers that people look for first."""
    if "folder" in facts:
        return [f"{facts['folder']}: {facts['kind']}, {facts['files']} files, all as they were written"]
    if facts["kind"] == "adapter":
        return _adapter_in_words(facts, _known(facts["metadata"]))
    width, height = facts["size_px"] if isinstance(facts["size_px"], list) else ("?", "?")
    recipe = _known(facts["recipe"])
    return [
        f"{facts['file']}: {facts['kind']}, {width} x {height} px",
        f"  generated?  {_GENERATED.get(str(facts['digital_source_type']), _UNMARKED)}",
        f"  changed?    {_changed(facts)}",
        f"  signed?     {_signed(facts)}",
        *([f"  prompt      {recipe['prompt']}"] if recipe.get("prompt") else []),
        *([f"  made with   {recipe['base']}, seed {recipe.get('seed')}"] if recipe.get("base") else []),
    ]


def _adapter_in_words(facts: Facts, metadata: Facts) -> list[str]:
    spoilt = facts.get("not_finite")
    wrong = [f"  wrong       {facts['trouble']}"] if facts.get("trouble") else []
    if isinstance(spoilt, list) and spoilt:
        wrong.append(f"  wrong       numbers that are not finite in {len(spoilt)} tensors, {spoilt[0]}")
    return [*_adapter_lines(facts, metadata), *wrong]


def _adapter_lines(facts: Facts, metadata: Facts) -> list[str]:
    if "portrait_lora.trigger" not in metadata:
        return [f"{facts['file']}: {facts['layers']} LoRA layers, made by another program"]
    where = f"for {metadata.get('portrait_lora.family')}, trained on {metadata.get('portrait_lora.base')}"
    size = f"rank {metadata.get('portrait_lora.rank')}, step {metadata.get('portrait_lora.step')}"
    licence = metadata.get("modelspec.license", "unknown")
    return [
        f"{facts['file']}: a LoRA of {facts['layers']} layers {where}",
        f"  trigger     {metadata['portrait_lora.trigger']}",
        f"  size        {size}",
        f"  licence     {licence}, the base's",
    ]


def _changed(facts: Facts) -> str:
    beside = _known(facts["sidecar"])
    if not beside:
        return "not known: no JSON file of this program lies beside it"
    return (
        "no: the JSON file beside it speaks of these bytes"
        if beside["matches"]
        else ("YES: the JSON file beside it speaks of other bytes")
    )


def _signed(facts: Facts) -> str:
    signature = _known(facts["credentials"])
    if not signature:
        return "no"
    by = f", by {signature['signer']}" if signature.get("signer") else ""
    return f"{signature['state']}{by}" + (f": {signature['remedy']}" if signature.get("remedy") else "")


def _known(value: object) -> Facts:
    return {str(k): v for k, v in value.items()} if isinstance(value, dict) else {}


def _folder(path: Path) -> Facts:
    stored = manifest.verify(path)
    files, inputs = len(stored.files), dict(stored.inputs)
    return {"folder": str(path), "kind": stored.kind, "files": files, "inputs": inputs, "whole": True}


def _adapter(path: Path) -> Facts:
    from portrait_lora.families.lora_loading import complete_layers, not_finite

    header = read_header(path)
    facts: Facts = {
        "kind": "adapter",
        "layers": 0,
        "metadata": dict(sorted(header.get("__metadata__", {}).items())),
    }
    try:
        facts["layers"] = complete_layers(path, header)
    except PortraitError as error:
        facts["trouble"] = f"{error.what}: {error.got}"
    return facts | {"not_finite": not_finite(path)}


def _picture(path: Path, authorities: Path | None) -> Facts:
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


def sidecar_of(path: Path) -> Facts | None:
    """Whether the JSON beside the picture still speaks of these bytes."""
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return None
    value = strict_json.load_object(beside, "sidecar")
    if not isinstance(value.get("sha256"), str):
        raise ArtifactError("the sidecar is damaged", where=beside, needed="the sha256 of the picture")
    same = value["sha256"] == manifest.sha256_file(path)
    return {"file": beside.name, "matches": same, "versions": value.get("versions", {})}


def _credentials(path: Path, kind: str, authorities: Path | None) -> Facts | None:
    """The C2PA credentials in the picture and whether they hold; None when it has none."""
    data = path.read_bytes()
    known = credentials.format_of(kind)
    if known is None or not credentials.carries(data):
        return None
    try:
        trusted = authorities.read_bytes() if authorities else None
    except OSError as error:
        raise InputError("the authorities cannot be read", where=authorities, got=error.strerror) from error
    signature = credentials.read(data, known, trusted)
    return None if signature is None else asdict(signature)
