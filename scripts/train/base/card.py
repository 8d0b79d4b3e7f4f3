"""CARD.md of the base: data, recipe, sampler, figures, limits, licence, digests."""

from __future__ import annotations

import hashlib
import json
import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safetensors import safe_open

from portrait_lora import config
from portrait_lora.families.layout import folder_digest
from portrait_lora.vocabulary import STYLES

from .captions import CLAUSE_DROPOUT, WHOLE_DROPOUT
from .configs import NOISE, SIZE_PX
from .unet import FOLDER

CARD: Final = "CARD.md"
WEIGHTS: Final = {
    "unet": "unet/diffusion_pytorch_model.safetensors",
    "vae": "vae/diffusion_pytorch_model.safetensors",
    "text encoder": "text_encoder/model.safetensors",
}
_FIGURES: Final = {
    "psnr": "autoencoder PSNR on pictures that it was not trained on, dB",
    "psnr_face": "the same, weighted to the face, dB",
    "psnr_linear": "the best linear code of equal size, dB",
}
_TEXT: Final = """# Embedded synthetic studio base

A Stable-Diffusion-format text-to-image model ({size} px) that knows one thing: the made-up people and
studios of `portrait_lora.synthetic`. It exists so that every step of portrait_lora runs, and is measured,
without downloading anything.

## Data

{data}

## Recipe (`python -m scripts.train.base`)

| part | how | training |
|---|---|---|
| tokenizer | `CLIPTokenizer`, every vocabulary word one token, length 64 | - |
| vae | `AutoencoderKL`, 16 channels at 1/8, regressed onto face-weighted patch PCA{watched} | {vae} |
| unet + text encoder | v-prediction, min-SNR 5, EMA, lr {lr} cosine, batch {batch}, face weighted | {unet} |

Noise: {noise}.
Weights are stored in float16 and load as float32.

## Sampler

{sampler}, {steps} steps, guidance {guidance:g} (`configs/embedded.yaml`).

## Figures

| figure | value |
|---|---|
{figures}

Whether prompts are obeyed is measured on the finished model by
`python -m scripts.evaluate.studio.obedience --full`, and what adapters on it reach by
`python -m scripts.evaluate.embedded --full`; `docs/studio.md` shows what it draws.

## Limits

It draws only what the renderer renders, at {size} px, and understands only the words of the vocabulary. It
must not be used on, or judged by, photographs of real people; the programme refuses that unless it is told
otherwise.

## Licence

Apache-2.0, weights included. Commercial use: yes.

## Digest

`{digest}` names the model in portraits, adapters and locks. `digests.json` holds the sha256 of every file.

| weights | parameters | MB | sha256 |
|---|---|---|---|
{weights}
"""


_DATA: Final = (
    "{pictures:,} procedurally rendered portraits (`scripts/train/render_corpus.py`){further}; no "
    "photograph, no real person and no other model's output.{grown} Captions are the words of "
    "`portrait_lora.vocabulary` (`scripts/train/base/captions.py`): {whole:.0%} are empty, and "
    "{clause:.0%} of the clauses of the others are left out, so a prompt without glasses or beard does "
    "not forbid them. The trigger word `ohwx` occurs in none.{named}"
)
_WATCHED: Final = (
    "; decoder weighted to the features, embedder A of the face pack watching that the person stays the same"
)
_LATER: Final = ", {:,} of other people with the words of the second edition"
_STYLED: Final = ", and {:,} of the first once more as {} (`scripts/train/style_corpus.py`)"


_GROWN: Final = (
    " The last run of the UNet saw {:,} further pictures of other people, rendered while it trained"
)
_MIRRORED: Final = ", half of them with left for right"
_NAMED: Final = (
    " In {:.0%} of the samples of that run the UNet was told whom they show: a small network turns what a "
    "person of the studio is made of into a vector beside the noun (`scripts/train/base/names.py`). It is "
    "not needed to draw, and no part of this folder."
)


@dataclass(frozen=True, slots=True)
class Pictures:
    """How many pictures a base was trained on: plain ones, those with later words, styled ones."""

    plain: int
    later: int = 0
    styled: int = 0

    def further(self) -> str:
        """The two others in words."""
        later = _LATER.format(self.later) if self.later else ""
        return later + (_STYLED.format(self.styled, ", ".join(STYLES)) if self.styled else "")


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no file."""
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def write_card(out: Path, folder: Path, pictures: Pictures, done: Mapping[str, Any]) -> None:
    """Write the card of the model in `folder`, trained in `out`; `done` is what `export.totals` returns.

    Figures that were not measured are left out.
    """
    last = done["last"]
    samples = int(last.get("samples", 0))
    begun = f", the last {samples:,} of them in its last run" if samples < done["samples"] else ""
    settings = config.load(None).generate
    data = _DATA.format(
        pictures=pictures.plain,
        further=pictures.further(),
        grown=_grown(last.get("pictures", {})),
        named=_NAMED.format(share) if (share := last.get("pictures", {}).get("named")) else "",
        whole=WHOLE_DROPOUT,
        clause=CLAUSE_DROPOUT,
    )
    text = _TEXT.format(
        size=SIZE_PX,
        data=textwrap.fill(data, 104, break_on_hyphens=False),
        vae=f"encoder {done['encoder']:,} steps, decoder {done['decoder']:,} steps",
        watched=_WATCHED if done["watched"] else "",
        lr=last.get("lr"),
        batch=last.get("batch"),
        unet=f"{done[FOLDER]:,} steps, {done['samples']:,} samples{begun}",
        noise=f"{NOISE['beta_schedule']} {NOISE['beta_start']} to {NOISE['beta_end']}, "
        f"{NOISE['num_train_timesteps']} steps",
        sampler=_sampler(folder),
        steps=settings.num_inference_steps,
        guidance=settings.guidance_scale,
        figures="\n".join(_figures(out, last.get("error"))),
        digest=folder_digest(folder),
        weights="\n".join(_weights(folder / file, name) for name, file in WEIGHTS.items()),
    )
    (folder / CARD).write_text(text, encoding="utf-8")


def _grown(seen: Mapping[str, Any]) -> str:
    """Of pictures that nobody kept."""
    if not seen.get("grown"):
        return ""
    return _GROWN.format(seen["pictures"]) + (_MIRRORED if seen.get("mirrors") else "") + "."


def _sampler(folder: Path) -> str:
    """The scheduler that ships, in words."""
    config = read_json(folder / "scheduler" / "scheduler_config.json")
    kind, order = config.get("algorithm_type", ""), config.get("solver_order", "")
    name = config.get("_class_name", "unknown scheduler")
    return f"`{name}` ({kind}, order {order}, {config.get('timestep_spacing')} timesteps)"


def _figures(out: Path, error: float | None) -> list[str]:
    vae = read_json(out / "vae.json")
    rows = [] if error is None else [f"| velocity error in training (running mean) | {error:.4f} |"]
    rows += [f"| {words} | {vae[key]} |" for key, words in _FIGURES.items() if key in vae]
    return rows or ["| none was measured | - |"]


def _weights(file: Path, name: str) -> str:
    """One row: parameters, size, sha256."""
    with safe_open(str(file), framework="pt") as handle:
        names: list[str] = list(handle.keys())
        count = sum(math.prod(handle.get_slice(key).get_shape()) for key in names)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return f"| {name} | {count:,} | {file.stat().st_size / 1e6:.2f} | `{digest}` |"
