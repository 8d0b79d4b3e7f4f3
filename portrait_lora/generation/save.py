"""Pictures on disk: a PNG with its generation record and mark, and a JSON sidecar with the same record.

The generation record (key `recipe` in files) is everything that determines the picture; its `made` part is
the conditions (batch, device, threads, libraries), which can change the last bits.  An edited picture has
the record of its edit, which contains the record of its source as `parent`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, cast

from PIL import Image

from portrait_lora import manifest, provenance, strict_json
from portrait_lora.errors import ArtifactError
from portrait_lora.records import Portrait

Recipe = dict[str, object]
CONDITIONS: Final = "made"
PARENT: Final = "parent"
ACTION: Final = "action"
OF_ONE_EDIT: Final = (
    PARENT, ACTION, "region", "mask_png", "strength", "box_px", "framing", "framing_missed",
)  # fmt: skip
"""Keys of a generation record that concern the last edit only: a further edit does not inherit them."""
_PACKAGES: Final = ("diffusers", "peft", "torch", "transformers")
_A1111_KEY: Final = "parameters"


def recipe_of(portrait: Portrait, base: str, base_digest: str, trigger: str | None) -> Recipe:
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
    return {name: version for name in _PACKAGES if (version := _version(name))}


@cache
def _version(name: str) -> str | None:
    """Cached: every picture records it, and reading it takes milliseconds."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def a1111_parameters(recipe: Mapping[str, object], sampler_name: str = "DPM++ 2M") -> str:
    """The generation record as the text that A1111, ComfyUI loaders and picture browsers read."""
    width, height = cast(list[int], recipe["size_px"])
    facts: dict[str, object] = {
        "Steps": recipe["num_inference_steps"],
        "Sampler": sampler_name,
        "CFG scale": recipe["guidance_scale"],
        "Seed": recipe["seed"],
        "Size": f"{width}x{height}",
        "Model hash": str(recipe["base_digest"])[:10],
        "Model": Path(str(recipe["base"])).name,
    }
    if recipe.get("adapter_sha256"):
        facts["Lora hashes"] = f'"likeness: {str(recipe["adapter_sha256"])[:12]}"'
    if "strength" in recipe:
        facts["Denoising strength"] = recipe["strength"]
    negative = str(recipe["negative_prompt"])
    lines = [str(recipe["prompt"]), *([f"Negative prompt: {negative}"] if negative else [])]
    return "\n".join([*lines, ", ".join(f"{key}: {value}" for key, value in facts.items())])


def save(picture: Image.Image, portrait: Portrait, recipe: Recipe, *, sampler_name: str = "DPM++ 2M") -> None:
    """Write the PNG and then its sidecar; see `write`."""
    write(picture, portrait.path, recipe, sampler_name=sampler_name)


def write(picture: Image.Image, path: Path, recipe: Recipe, *, sampler_name: str = "DPM++ 2M") -> None:
    """Write PNG and sidecar, each atomically; the sidecar has the PNG's sha256 and the edit history."""
    info = provenance.png_info(recipe)
    info.add_itxt(_A1111_KEY, a1111_parameters(recipe, sampler_name))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", pnginfo=info)
    manifest.write_bytes_atomic(path, buffer.getvalue())
    sidecar = {
        "recipe": recipe,
        "sha256": manifest.sha256_file(path),
        "digital_source_type": provenance.TRAINED,
        "versions": versions(),
        "history": history(recipe),
    }
    manifest.write_json_atomic(sidecar_of(path), sidecar)


def history(recipe: Mapping[str, object]) -> list[Recipe]:
    """The edit history, oldest first; each entry without the ones before it."""
    parent = recipe.get(PARENT)
    before = history(cast(Recipe, parent)) if isinstance(parent, dict) else []
    own = {key: value for key, value in recipe.items() if key not in (PARENT, CONDITIONS)}
    return [*before, {ACTION: recipe.get(ACTION, "generate"), **own}]


def pixel_digest(picture: Image.Image) -> str:
    """Hex sha256 of size and RGB values, independent of the file format."""
    return manifest.digest([picture.size, picture.convert("RGB").tobytes().hex()])


def sidecar_of(path: Path) -> Path:
    return path.with_suffix(".json")


def is_current(path: Path, recipe: Mapping[str, object], framing: Mapping[str, object] | None = None) -> bool:
    """Whether the picture exists, unchanged, with this generation record (conditions aside).

    With `framing`, a picture that was cropped to exactly that afterwards is current too.
    """
    try:
        sidecar: Any = strict_json.load_object(sidecar_of(path), "sidecar")
        stored = sidecar["recipe"]
        if framing is not None and stored.get("framing") == framing:
            stored = stored[PARENT]
        same = _deciding(stored) == _deciding(recipe)
        return same and manifest.sha256_file(path) == sidecar["sha256"]
    except (ArtifactError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def is_of(path: Path, recipe: Mapping[str, object]) -> bool:
    """Whether the recipe inside a picture is this one under whatever conditions, and nobody changed it since.

    A picture whose sidecar is still missing counts: its writer was stopped between the two.
    """
    try:
        same = _deciding(provenance.read_recipe(path)) == _deciding(recipe)
        return same and (not sidecar_of(path).exists() or is_current(path, recipe))
    except ArtifactError:
        return False


def _deciding(recipe: Mapping[str, object]) -> str:
    return manifest.canonical({key: value for key, value in recipe.items() if key != CONDITIONS})
