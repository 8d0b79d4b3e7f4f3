"""Pictures on disk: a PNG that carries its recipe and its mark, and the same recipe beside it as JSON."""

from __future__ import annotations

import io
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from PIL import Image

from portrait_lora import manifest, provenance
from portrait_lora.records import Portrait

_PACKAGES = ("diffusers", "peft", "torch", "transformers")


def recipe_of(portrait: Portrait, base: str, base_digest: str, trigger: str | None) -> dict[str, object]:
    """Everything that decides the picture, as JSON values."""
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
    """The versions of the libraries that drew the picture."""
    found: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def save(picture: Image.Image, portrait: Portrait, recipe: dict[str, object]) -> None:
    """Write the PNG and then its sidecar, each atomically; the sidecar knows the PNG's sha256."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", pnginfo=provenance.png_info(recipe))
    manifest.write_bytes_atomic(portrait.path, buffer.getvalue())
    sidecar = {
        "recipe": recipe,
        "sha256": manifest.sha256_file(portrait.path),
        "digital_source_type": provenance.TRAINED,
        "versions": versions(),
    }
    manifest.write_json_atomic(sidecar_of(portrait.path), sidecar)


def sidecar_of(path: Path) -> Path:
    return path.with_suffix(".json")


def is_current(path: Path, recipe: dict[str, object]) -> bool:
    """Whether the picture is there, unchanged, and was made with exactly this recipe."""
    try:
        sidecar = json.loads(sidecar_of(path).read_text(encoding="utf-8"))
        same = manifest.canonical(sidecar["recipe"]) == manifest.canonical(recipe)
        return same and manifest.sha256_file(path) == sidecar["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
