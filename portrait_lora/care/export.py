"""The adapter for other programs: the right key layout, a sidecar they read, a card for the hub.

Nothing of the person goes along unless asked: no captions, no photo names, no faces.  What was exported is
noted in the likeness folder, so that `forget` knows where to look.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from portrait_lora import lock, manifest, strict_json
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.families.adapter_file import lora_layers, read_adapter, read_header
from portrait_lora.families.base_model import BaseModel
from portrait_lora.families.lora_readers import A1111_VERSIONS, Tool, reads
from portrait_lora.likeness import Likeness

NOTED: Final = "exports.json"
DIFFUSERS_NAME: Final = "pytorch_lora_weights.safetensors"
_PLACES: Final = {
    "comfy": "ComfyUI/models/loras/",
    "kohya": "models/Lora/ of A1111 or Forge",
    "diffusers": "pipe.load_lora_weights(folder)",
}


def export(
    likeness: Likeness, base: BaseModel, tool: Tool, out: Path, *, name: str, portraits: bool = False
) -> dict[str, object]:
    """Write the selected adapter for `tool` into `out`; the files, their place, the number of layers.

    Raises `InputError` when nothing has been trained or the tool cannot read this family, `ArtifactError`
    when the adapter on disk is damaged or changes no layer.
    """
    source = likeness.adapters / "adapter.safetensors"
    if not source.is_file():
        remedy = f"Train first: portrait-lora train {likeness.root}"
        raise InputError("there is no adapter to export", where=likeness.adapters, remedy=remedy)
    manifest.verify(likeness.adapters)
    if not reads(tool, base.family):
        needed = f"one of {', '.join(A1111_VERSIONS)}; ComfyUI reads --for comfy"
        raise InputError("A1111 tools cannot read this family", where=base.name, needed=needed)
    layers = lora_layers(source)
    if layers == 0:
        raise ArtifactError("the adapter changes no layer", where=source)
    manifest.make_folder(out, shared=True)
    target = out / (DIFFUSERS_NAME if tool == "diffusers" else f"{name}.safetensors")
    if tool == "diffusers":
        _copy(source, target)
    else:
        from portrait_lora.training.export import export_kohya

        export_kohya(read_adapter(source), target, shared=True)  # written anew: it is read back there
    files = [target]
    trigger = likeness.config.subject.trigger
    if tool == "kohya":
        sidecar = {
            "activation text": trigger,
            "preferred weight": 1.0,
            "sd version": A1111_VERSIONS[base.family],
        }
        manifest.write_json_atomic(target.with_suffix(".json"), sidecar, shared=True)
        files.append(target.with_suffix(".json"))
    if tool == "diffusers":
        shown = _pictures(likeness, out) if portraits else []
        manifest.write_text_atomic(out / "README.md", card(likeness, base, name, shown), shared=True)
        files += [out / "README.md", *shown]
    note_folder(likeness.root, out)
    return {
        "tool": tool,
        "folder": str(out),
        "files": [f.relative_to(out).as_posix() for f in files],
        "layers": layers,
        "trigger": trigger,
        "place": _PLACES[tool],
    }


def exported_to(root: Path) -> list[Path]:
    """The folders outside the likeness folder that exports went to."""
    try:
        noted = strict_json.load(root / NOTED, "record of exports")
    except ArtifactError:
        return []
    return [Path(one) for one in noted if isinstance(one, str)] if isinstance(noted, list) else []


def card(likeness: Likeness, base: BaseModel, name: str, pictures: list[Path]) -> str:
    """The model card: hub front-matter, licence, how to load; no name, no caption."""
    trigger, locked = likeness.config.subject.trigger, lock.read(likeness.root).models.get(base.repo)
    on_hub = base.folder is None
    front = [
        "---",
        "library_name: diffusers",
        *([f"base_model: {base.repo}", "base_model_relation: adapter"] if on_hub else []),
        f"instance_prompt: {trigger}",
        *(["license: apache-2.0"] if base.licence == "Apache-2.0" else ["license: other"]),
        *([] if base.licence == "Apache-2.0" else [f"license_name: {base.licence}"]),
        *([f"license_link: {base.licence_url}"] if base.licence_url else []),
        "tags: [text-to-image, lora, diffusers, template:sd-lora]",
        *(["widget:"] if pictures else []),
        *(f"  - {{text: {trigger}, output: {{url: images/{p.name}}}}}" for p in pictures),
        "---",
    ]
    at = f" at commit `{locked.commit}`" if locked else ""
    body = [
        "",
        f"# {name}",
        "",
        "A LoRA of one person, made with their consent. Keep it private: `hf upload --private`.",
        "",
        *(["<Gallery />", ""] if pictures else []),
        f"- Base model: `{base.label if on_hub else base.name}`{at}",
        f"- Trigger: `{trigger}`",
        f"- Licence: {base.licence}. {base.terms}",
        "",
        "```python",
        "pipe.load_lora_weights('.')",
        f"pipe('portrait photo of {trigger} {likeness.config.subject.kind}')",
        "```",
        "",
        "Pictures made with it are generated: mark them as such, and ask the person before publishing.",
        "",
    ]
    return "\n".join([*front, *body])


def _copy(source: Path, target: Path) -> None:
    """Copy, then check what arrived."""
    manifest.write_bytes_atomic(target, source.read_bytes(), shared=True)
    if read_header(target) != read_header(source):
        raise ArtifactError("the copy differs from the adapter", where=target)


def _pictures(likeness: Likeness, out: Path) -> list[Path]:
    """A few portraits beside the card; only when asked, because they show a face."""
    sources = sorted(likeness.portraits(likeness.series).glob("*.png"))[:4]
    targets = [out / "images" / f"portrait_{i}.png" for i in range(len(sources))]
    for source, target in zip(sources, targets, strict=True):
        manifest.write_bytes_atomic(target, source.read_bytes(), shared=True)
    return targets


def note_folder(root: Path, out: Path) -> None:
    """Remember where something of the person went, so that `forget` searches there."""
    if out.resolve().is_relative_to(root.resolve()):
        return
    with manifest.locked(root / NOTED):  # several exports at once
        noted = sorted({str(p) for p in exported_to(root)} | {str(out.resolve())})
        manifest.write_json_atomic(root / NOTED, noted)
