"""The adapter for other programs: the right key layout, a sidecar they read, a card for the hub.

Nothing of the person goes along unless asked: no captions, no photo names, no faces.  What was exported is
noted in the likeness folder, so that `forget` knows where to look.
"""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Final

from portrait_lora import log, manifest, terminal
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.families.adapter_file import lora_layers, read_adapter, read_header
from portrait_lora.families.base_model import BaseModel
from portrait_lora.families.lora_readers import Tool, read_by, reads
from portrait_lora.families.rows import row_of
from portrait_lora.generation.publish import bare_copy
from portrait_lora.hub import lock
from portrait_lora.likeness import Likeness
from portrait_lora.tasks import outside

DIFFUSERS_NAME: Final = "pytorch_lora_weights.safetensors"
_log = log.get(__name__)
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
        known = {"comfy": "ComfyUI", "kohya": "A1111 tools"}.get(tool, tool)
        other = "; ComfyUI reads --for comfy" if reads("comfy", base.family) else "; or --for diffusers"
        needed = f"one of {read_by(tool)}{other}"
        raise InputError(f"{known} cannot read this family", where=base.name, needed=needed)
    layers = lora_layers(source)
    if layers == 0:
        raise ArtifactError("the adapter changes no layer", where=source)
    target = manifest.make_folder(out, shared=True) / (
        DIFFUSERS_NAME if tool == "diffusers" else f"{name}.safetensors"
    )
    shown = _pictures(likeness) if tool == "diffusers" and portraits else []
    copies = [out / "images" / f"portrait_{i}.png" for i in range(len(shown))]
    beside = {"kohya": [target.with_suffix(".json")], "diffusers": [out / "README.md"], "comfy": []}[tool]
    files = [target, *beside, *copies]
    with outside.writing(likeness.root, files) as parts:
        pictures = dict(zip([parts[copy] for copy in copies], shown, strict=True))
        reloaded = _write(likeness, base, tool, source, [parts[f] for f in files], pictures, name)
    subject = likeness.config.subject
    return {
        "tool": tool,
        "folder": str(out),
        "files": [f.relative_to(out).as_posix() for f in files],
        "layers": layers,
        "reloaded": reloaded,
        "trigger": subject.trigger,
        "place": _PLACES[tool],
        "base": base.label if base.folder is None else base.name,
        "example_prompt": f"portrait photo of {subject.trigger} {subject.kind}, window light",
    }


def _write(
    likeness: Likeness,
    base: BaseModel,
    tool: Tool,
    source: Path,
    files: list[Path],
    copies: dict[Path, Path],
    name: str,
) -> bool:
    """The adapter, the sidecar or card beside it, and copies of portraits; whether it was loaded again."""
    target = files[0]
    if tool == "diffusers":
        _copy(source, target)
        reloaded = _reload(base, target)
    else:
        from portrait_lora.training.export import export_kohya

        export_kohya(read_adapter(source), target, shared=True)  # written anew: it is read back there
        reloaded = True
    if tool == "kohya":
        sidecar = {
            "activation text": likeness.config.subject.trigger,
            "preferred weight": 1.0,
            "sd version": row_of(base.family).a1111_version,
        }
        manifest.write_json_atomic(files[1], sidecar, shared=True)
    if tool == "diffusers":
        for copy, portrait in copies.items():
            manifest.write_bytes_atomic(copy, bare_copy(portrait), shared=True)
        manifest.write_text_atomic(files[1], card(likeness, base, name, list(copies)), shared=True)
    return reloaded


def exported_to(root: Path) -> list[Path]:
    """The folders outside the likeness folder that exports went to, as the folder itself says.

    The folder may come from a stranger: nothing is removed on its word.
    """
    return outside.noted(root)[1]


def card(likeness: Likeness, base: BaseModel, name: str, pictures: list[Path]) -> str:
    """The model card: hub front-matter, licence, how to load; no name, no caption."""
    trigger, locked = likeness.config.subject.trigger, lock.read(likeness.root).models.get(base.repo)
    on_hub = base.folder is None
    front = [
        "---",
        "library_name: diffusers",
        *([f"base_model: {base.repo}", "base_model_relation: adapter"] if on_hub else []),
        f"instance_prompt: {_quoted(trigger)}",
        *(["license: apache-2.0"] if base.licence == "Apache-2.0" else ["license: other"]),
        *([] if base.licence == "Apache-2.0" else [f"license_name: {_quoted(base.licence)}"]),
        *([f"license_link: {base.licence_url}"] if base.licence_url else []),
        "tags: [text-to-image, lora, diffusers, template:sd-lora]",
        *(["widget:"] if pictures else []),
        *(f"  - {{text: {_quoted(trigger)}, output: {{url: images/{p.name}}}}}" for p in pictures),
        "---",
    ]
    at = f" at commit `{locked.commit}`" if locked else ""
    body = [
        "",
        f"# {_words(name)}",
        "",
        "A LoRA of one person, made with their consent. Keep it private: `hf upload --private`.",
        "",
        *(["<Gallery />", ""] if pictures else []),
        f"- Base model: `{_words(base.label if on_hub else base.name)}`{at}",
        f"- Trigger: `{_words(trigger)}`",
        f"- Licence: {base.licence}. {base.terms}",
        "",
        "```python",
        "pipe.load_lora_weights('.')",
        f"pipe({_example(likeness)})",
        "```",
        "",
        "Pictures made with it are generated: mark them as such, and ask the person before publishing.",
        "",
    ]
    return "\n".join([*front, *body])


def _reload(base: BaseModel, path: Path) -> bool:
    """Load the file as its users will; False where the base's configuration is not on this machine."""
    from portrait_lora.families.reload import layers_taken

    try:
        layers_taken(base, path)
    except InputError as error:
        if error.where != base.source:
            raise
        _log.warning("%s was not loaded again: the base %s is not on this machine", path.name, base.label)
        return False
    return True


def _example(likeness: Likeness) -> str:
    """The prompt to begin with as a string of Python that cannot end the block of code it stands in."""
    subject = likeness.config.subject
    prompt = f"portrait photo of {subject.trigger} {subject.kind}"
    return (
        repr(prompt)
        if prompt.isprintable() and "`" not in prompt
        else json.dumps(prompt).replace("`", "\\u0060")
    )


def _quoted(text: str) -> str:
    """A value of the front matter that stays one value, whatever is in it."""
    return json.dumps(text)


def _words(text: str) -> str:
    """Words of the card's body: no line of their own, no code, no tags."""
    return html.escape(terminal.plain(text), quote=False).replace("`", "'")


def _copy(source: Path, target: Path) -> None:
    """Copy whole or not at all, then check what arrived."""
    manifest.write_bytes_atomic(target, source.read_bytes(), shared=True)
    if read_header(target) != read_header(source):
        raise ArtifactError("the copy differs from the adapter", where=target)


def _pictures(likeness: Likeness) -> list[Path]:
    """A few portraits to show beside the card; only when asked, because they show a face."""
    return sorted(likeness.portraits(likeness.series).glob("*.png"))[:4]
