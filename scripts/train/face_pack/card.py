"""CARD.md of the pack."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from portrait_lora import manifest
from scripts.train.face_pack import calibrate, embedders, export, segmenter
from scripts.train.face_pack.data import HELD_OUT_SHARE
from scripts.train.traits import LOOKS

_TEXT: Final = """# Synthetic face pack

Four small ONNX models in the layout that insightface loads by itself, and two that it does not know (in
`heads/`), trained from nothing on rendered people of `portrait_lora.synthetic`. No photograph and no other
model was involved.

| file | what | parameters | MB |
|---|---|---|---|
{files}

`impostors.safetensors` holds embeddings of {gallery} people who trained nothing, six pictures each, by both
embedders. `pack.json` names every file with its sha256, the two thresholds, and two tiny networks on the
68 landmarks that give pose in degrees and one of six expressions; where the attribute network is there, the
expression is its word. Faces are aligned on the eyes, nose and mouth corners among the landmarks.

## Data

Renders of made-up people (`scripts/train/render_corpus.py`); hair, beard and glasses vary between a person's
pictures. The last {held:.0%} of the people are held out from training, calibration uses others again.

## Recipe

`python -m scripts.train.face_pack all` trains. The detector (SCRFD layout, quality focal loss, generalised
IoU) sees scenes composed on the fly: 0 to 4 people at any size on clutter, cloth and noise, whole portraits,
heads without a face, heads upside down. Of {people:,} people, embedder A (depthwise-separable, CosFace) saw
every other one, embedder B (residual, sub-centre ArcFace) the others, so that one can choose and the other
report. Each answers with the sum of its unit vectors for the crop and for the crop's mirror image.

Beside the names of the people, **both embedders were taught the renderer's own parameters of every face**:
{traits} numbers for the shape of head, eyes, brows, nose, mouth and ears, and for skin, age, sex, freckles
and irises (`LOOKS` in `scripts/train/traits.py`), by a regression of weight {weight:g} beside the
margin loss; and how near any two of them truly are (`scripts/train/face_pack/closeness.py`), by a weight of
{closeness:g}. A pack for real faces cannot have such a teacher, so how well these embedders tell people apart
says nothing of real ones.

The attribute network begins from the trunk of the landmarks and learns expression, glasses, beard, lighting
rig and the direction of the key light from the same crop; it also saw {later:,} pictures of people in the
words of the vocabulary's second edition (sunglasses, neon, window light).

The segmenter looks at a wider crop and says of every pixel what it shows, and where the face is, hidden or
not. It learnt from {labelled:,} of the pictures, whose parts the renderer knows, with things, dark lenses and
borders painted on. What hides a face is the share of its place that shows a thing.

## Figures

| figure | value |
|---|---|
{figures}

`python -m scripts.evaluate.face_pack --full` measures detection, landmarks, pose, expression and recognition
on fresh people.

## Limits

These models know the synthetic world only: on real photographs they are useless, and the program refuses
them there. Faces below about 14 px of the {det} px the detector sees, turned beyond 75 degrees, upside down
or on their side are not found. Thresholds hold for this pack alone, and for strangers drawn at random (not
look-alikes). Landmarks have no depth (z is 0).

## Licence

Apache-2.0, as the program. Commercial use: yes.

## Digest

`{digest}` names the pack in reports; it is that of `pack.json`, which names these files:

| file | sha256 |
|---|---|
{digests}
"""
_WHAT: Final = {
    "det": "faces, five keypoints",
    "landmark": "68 landmarks",
    "w": "embedder A",
    "x": "embedder B",
    "attributes.onnx": "expression, glasses, beard, light, share of the face covered",
    "segmenter.onnx": "backdrop, clothes, skin, hair, eyes, glasses, things; the place of the face",
}
"""By the beginning of the file's name."""
_HEADS: Final = {
    "pitch_mae_deg": ("pitch, mean error", "°"),
    "yaw_mae_deg": ("yaw, mean error", "°"),
    "roll_mae_deg": ("roll, mean error", "°"),
    "expression_accuracy": ("expression from the landmarks alone, right", ""),
    "expression": ("expression, right", ""),
    "glasses": ("glasses, right", ""),
    "beard": ("beard, right", ""),
    "lighting": ("lighting rig, right", ""),
    "light_deg": ("direction of the key light, mean error", "°"),
}
_PARTS: Final = {
    **{f"iou_{name}": (f"{name}, intersection over union", "") for name in segmenter.PARTS},
    "covered_right": ("face covered by a quarter or more, against 5 % at most, right", ""),
    "covered_mae": ("share of the face covered, mean error", " of the face"),
}


def write_card(out: Path, figures: dict[str, Any]) -> None:
    """Write the card of the sealed pack in `out` with what was measured."""
    sealed = json.loads((out / "pack.json").read_text(encoding="utf-8"))
    models = [name for name in sealed["files"] if name.endswith(".onnx")]
    text = _TEXT.format(
        files="\n".join(_model_row(out / name, name) for name in models),
        gallery=_gallery(out / export.IMPOSTORS),
        held=HELD_OUT_SHARE,
        labelled=round(figures["heads"]["segmenter"]["n"] * (1 / HELD_OUT_SHARE - 1)),
        later=figures["later_pictures"],
        traits=len(LOOKS),
        weight=embedders.TRAIT_WEIGHT,
        closeness=embedders.CLOSENESS_WEIGHT,
        people=figures["embedder_people"],
        figures="\n".join(_figure_rows(figures)),
        det=sealed["det_size_px"],
        digest=manifest.digest(sealed),
        digests="\n".join(f"| {name} | `{digest}` |" for name, digest in sealed["files"].items()),
    )
    manifest.write_text_atomic(out / "CARD.md", text)


def _gallery(file: Path) -> int:
    """How many strangers the pack brings along."""
    from safetensors import safe_open

    if not file.exists():
        return 0
    with safe_open(str(file), framework="pt") as handle:
        return int(handle.get_slice("select").get_shape()[0])


def _model_row(file: Path, name: str) -> str:
    """What one ONNX file is, its parameters and size."""
    import onnx

    count = sum(math.prod(t.dims) for t in onnx.load(str(file)).graph.initializer)
    what = _WHAT[file.name.split("_")[0]]
    return f"| {name} | {what} | {count:,} | {file.stat().st_size / 1e6:.2f} |"


def _figure_rows(figures: dict[str, Any]) -> list[str]:
    """Heads on the people held out; thresholds with what they let through."""
    heads = figures["heads"]
    rows = [*_held_out(_HEADS, heads), *_held_out(_PARTS, heads["segmenter"])]
    for name, row in figures["calibration"].items():
        rows.append(
            f"| {name}: threshold at a false-match rate of {calibrate.FALSE_MATCH_RATE:g}, mean cosine of "
            f"one portrait to four photos ({figures['people']} people, {row['strangers_n']:,.0f} scores "
            f"of strangers) | {row['threshold']:.4f} |"
        )
        rows.append(f"| {name}: scores of the same person that reach it | {row['true_match_rate']:.1%} |")
    return rows


def _held_out(table: Mapping[str, tuple[str, str]], figures: Mapping[str, float]) -> list[str]:
    """Rows of what was measured on pictures held out."""
    n = f"{figures['n']:.0f} pictures held out"
    return [
        f"| {words} ({n}) | {figures[key]:.2f}{unit} |" if unit else f"| {words} ({n}) | {figures[key]:.1%} |"
        for key, (words, unit) in table.items()
        if key in figures
    ]
