"""CARD.md of the pack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from portrait_lora import manifest

_TEXT = """# Synthetic face pack

Four small ONNX models in the layout that insightface loads by itself, and one that it does not know (in
`heads/`), trained from nothing on rendered people of `portrait_lora.synthetic`. No photograph and no other
model was involved.

| file | what | parameters | MB |
|---|---|---|---|
{files}

`impostors.safetensors` holds embeddings of {gallery} people who trained nothing, six pictures each, by both
embedders. `pack.json` names every file with its sha256, the two thresholds, and two tiny networks on the
68 landmarks that give pose in degrees and one of six expressions; where the attribute network is there, the
expression is its word. Faces are aligned on the eyes, nose and mouth corners among the landmarks.

## Data and recipe

`scripts/render_corpus.py` renders the people; hair, beard and glasses vary between a person's pictures.
`scripts/train_face_pack.py all` trains. The detector (SCRFD layout, quality focal loss, generalised IoU) sees
scenes composed on the fly: 0 to 4 people at any size on clutter, cloth and noise, whole portraits, heads
without a face, heads upside down. Embedder A (depthwise-separable, CosFace) saw every other person,
embedder B (residual, sub-centre ArcFace) the others, so that one can choose and the other report. Beside the
names both were taught the renderer's own parameters of face, skin and eyes, which no real embedder can be.
The attribute network begins from the trunk of the landmarks and learns expression, glasses, beard, lighting
rig and the direction of the key light from the same crop.

## Figures

{figures}

`python scripts/evaluate_face_pack.py --full` measures detection, landmarks, pose, expression and recognition
on fresh people.

## Limits

These models know the synthetic world only: on real photographs they are useless, and the program refuses
them there. Faces below about 14 px of the {det} px the detector sees, turned beyond 75 degrees, upside down
or on their side are not found. Thresholds hold for this pack alone, and for strangers drawn at random (not
look-alikes). Landmarks have no depth (z is 0).

## Licence

Apache-2.0, as the program. Commercial use: yes.
"""


def write_card(out: Path, figures: dict[str, Any]) -> None:
    """Write the card with what was measured."""
    import onnx

    rows: list[str] = []
    words = {"det": "faces, five keypoints", "landmark": "68 landmarks", "w": "embedder A", "x": "embedder B"}
    words |= {"attributes.onnx": "expression, glasses, beard, light"}
    for file in sorted(out.rglob("*.onnx")):
        graph = onnx.load(str(file)).graph
        count = sum(_size(t.dims) for t in graph.initializer)
        what = words[file.name.split("_")[0]]
        rows.append(f"| {file.relative_to(out)} | {what} | {count:,} | {file.stat().st_size / 1e6:.2f} |")
    lines = [f"- {k}: {v}" for k, v in figures["heads"].items() if k != "n"]
    for name, row in figures["calibration"].items():
        lines.append(
            f"- {name}: threshold {row['threshold']} at a false-match rate of 0.001 for the mean cosine of "
            f"one portrait to four photos ({figures['people']} people, {row['strangers_n']:.0f} scores of "
            f"strangers); {row['true_match_rate']:.1%} of same-person scores reach it"
        )
    text = _TEXT.format(files="\n".join(rows), gallery=96, figures="\n".join(lines), det=256)
    manifest.write_text_atomic(out / "CARD.md", text)


def _size(dims: Any) -> int:
    total = 1
    for d in dims:
        total *= int(d)
    return total
