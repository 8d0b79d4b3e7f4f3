"""`finish --from`: a layered file opened again, and what was edited in it brought back into the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

from portrait_lora import manifest
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.finishing import layered, openraster, photoshop
from portrait_lora.finishing.canvas import Canvas, mixed, to_bytes
from portrait_lora.finishing.layered import STEP, Layer, Stack
from portrait_lora.finishing.steps.layers import Layers
from portrait_lora.generation import save
from portrait_lora.results import Number, Value
from portrait_lora.stages import finish_again, finish_files, finish_judge
from portrait_lora.tasks import finish as finishing

ACTION: Final = "edit layers"


class Relayered(Value):
    """The picture of a layered file: the edited layers, and whether steps were carried out again."""

    source: str
    file: str
    edited: tuple[str, ...]
    chain_again: bool
    before_a: Number | None
    after_a: Number | None


def from_layers(path: Path, root: Path | None, out: Path | None, overrides: Sequence[str]) -> Relayered:
    """Write the picture of a layered file beside it, or into `out`.

    When a part below was edited, the steps above it are carried out again at their recorded strengths; when
    a layer of a step was edited, or one was added on top, the layers are laid over each other as they are.
    What was not edited stays to the bit.  Raises `InputError` for a file that cannot be read so, and when
    both parts and steps were edited, `ArtifactError` for a file without its picture.
    """
    if not path.is_file():
        raise InputError("no such file", where=path)
    stack, extra = (photoshop.read(path), {}) if path.suffix.lower() == ".psd" else openraster.read(path)
    picture = _picture(path)
    record = finishing.record_of_file(picture)
    noted = cast(list[list[object]], extra.get("layers", []))
    digests = [(str(name), str(digest)) for name, digest in noted]
    edited = layered.edited(stack, digests) if digests else ("unknown: the file holds no record",)
    models = finish_judge.open_models(root, [picture], overrides)
    before = finishing.read_picture(picture)[0]
    below, above = _halves(stack)
    parts = _names(below, digests)
    again = bool(digests) and bool(layered.edited(below, [d for d in digests if d[0] in parts]))
    steps = [layer for layer in above.layers if layer.kind == STEP]
    if again and any((layer.name, layer.digest) not in digests for layer in steps):
        raise InputError(
            "a part and a step of the chain were both edited",
            where=path,
            got=", ".join(edited),
            needed="edits below or above, as the step is carried out on the edited part",
            remedy="Bring back the edited part first, then edit the new file.",
        )
    canvas = _again(stack, below, above, record, extra, models, picture) if again else _canvas(stack)
    canvas = Canvas(canvas.rgb_HW3, canvas.alpha_HW, before.delivery)
    judge = finish_judge.SimilarityJudge(models, models.held_out or (before.flat(),), picture.parent, 0)
    target = _free((out or path.parent) / f"{path.stem}-edited.png")
    own: save.Record = {
        save.ACTION: ACTION,
        "layers_sha256": manifest.sha256_file(path),
        "edited": list(edited),
        "chain_again": again,
        save.PARENT: dict(record),
    }
    own = finish_again.record_of(own, canvas, picture, before)
    finish_files.write(canvas, target, own, picture, finish_again.encoded(canvas, own, picture, before))
    return Relayered(
        source=str(path),
        file=str(target),
        edited=edited,
        chain_again=again,
        before_a=_rounded(judge.likeness(before.flat(), ())),
        after_a=_rounded(judge.likeness(canvas.flat(), ())),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


def _picture(path: Path) -> Path:
    """The finished picture that the layered file was written beside."""
    pictures = [p for p in sorted(path.parent.glob(f"{path.stem}.*")) if p.suffix in finishing.SUFFIXES]
    if not pictures:
        raise ArtifactError(
            "the picture of this layered file is not beside it",
            where=path,
            needed=f"{path.stem}.png with its .json",
            remedy="Put the file back beside the picture that it was written with.",
        )
    return pictures[0]


def _halves(stack: Stack) -> tuple[Stack, Stack]:
    """The parts (and what was added among them), and the steps with what was added above."""
    first = next((i for i, layer in enumerate(stack.layers) if layer.kind == STEP), len(stack.layers))
    return Stack(stack.size_px, stack.layers[:first]), Stack(stack.size_px, stack.layers[first:])


def _names(below: Stack, digests: Sequence[tuple[str, str]]) -> set[str]:
    """Recorded names that belong to the parts: those before the first one that is a numbered step."""
    steps = {name for name, _ in digests if name[:1].isdigit()}
    return {name for name, _ in digests} - steps | {layer.name for layer in below.layers}


def _canvas(stack: Stack) -> Canvas:
    pixels = stack.flat()
    solid = bool((pixels[..., 3] == 255).all())
    return Canvas.of(pixels[..., :3], None if solid else pixels[..., 3])


def _again(
    stack: Stack,
    below: Stack,
    above: Stack,
    record: Mapping[str, object],
    extra: Mapping[str, Any],
    models: finish_judge.Models,
    picture: Path,
) -> Canvas:
    """The recorded steps on the edited parts, then the layers that were added on top."""
    steps, strengths = finishing.recorded(record)
    begin = int(extra.get("base", 0))
    wanted = [i for i in range(begin, len(steps)) if not isinstance(steps[i].step, Layers)]
    canvas = _canvas(below)
    tools = models.tools(picture.parent, finishing.seed_of(record))
    for place in wanted:
        one = steps[place]
        tools.begin(place, "", canvas)
        full = one.step.apply(canvas, one.settings, tools)
        neutral = one.step.neutral(canvas, one.settings, tools) if strengths[place] < 1 else None
        canvas = full if neutral is None else mixed(neutral, full, strengths[place])
    added = tuple(layer for layer in above.layers if layer.kind != STEP)
    if not added:
        return canvas
    rgb = to_bytes(canvas.rgb_HW3)
    alpha = finishing.alpha_bytes(canvas)
    whole = Layer("finished", layered.joined(rgb, alpha), STEP)
    return _canvas(Stack(stack.size_px, (whole, *added)))


def _free(path: Path) -> Path:
    """The first name that is not taken."""
    manifest.make_folder(path.parent)
    number, free = 2, path
    while free.exists():
        free, number = path.with_stem(f"{path.stem}-{number}"), number + 1
    return free
