"""Check one base with its real weights, end to end: `python -m scripts.verify_family BASE`.

BASE is a name of `portrait-lora models`, fetched before (`portrait-lora pull BASE --into DIR`; give the
same --into here), or a folder in diffusers layout.  What is checked is what the tests check on tiny random
weights: the answer to a prompt and a noise is that of diffusers' own pipeline; only adapter weights learn;
the loss falls on two pictures; the exported file goes back into diffusers whole and gives the trained
answer; a picture is drawn, by the distilled sibling where the base has one.  Exits with 1 when something is
wrong.
"""

from __future__ import annotations

import argparse
import gc
import inspect
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from portrait_lora import device as devices
from portrait_lora.errors import PortraitError
from portrait_lora.families import open_family
from portrait_lora.families.catalog import BaseModel, resolve_base
from portrait_lora.families.family import Family, FlowSchedule, Geometry
from portrait_lora.families.parts import injected
from portrait_lora.families.pinned import locked
from portrait_lora.families.store import DTYPES
from portrait_lora.records import Adapter
from scripts.families.learning import Exercise, add_lora, noise, write_adapter
from scripts.families.reference import DOWN, observe, plain_pipeline
from scripts.rows import Row, finish

PROMPTS = ("frontal headshot of ohwx woman, smiling", "ohwx woman in a garden")
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 3e-2, torch.float16: 1e-2}
"""Relative error by precision; kernels differ a little between batch sizes and layouts."""


def main(given: Sequence[str] | None = None) -> int:
    """Run every check and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("base", help="a name of `portrait-lora models`, or a folder in diffusers layout")
    parser.add_argument(
        "--into", type=Path, default=Path(), help="the folder whose portrait-lora.lock it is in"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--weights", choices=["float32", "bfloat16", "float16"], default=None)
    parser.add_argument("--size", type=int, default=None, help="side in px; default: half of the base's")
    parser.add_argument("--steps", type=int, default=20, help="training steps on the two pictures")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate of that training")
    parser.add_argument("--json", type=Path, default=None, help="write the rows to this file")
    options = parser.parse_args(given)
    try:
        base = locked(resolve_base(options.base), options.into)
        alone = replace(base, generate_repo=base.repo, generate_revision=base.revision)
        device = devices.choose(options.device, "auto").device
        family = open_family(alone, device, options.weights)
        sibling = open_family(base, device, options.weights) if len(base.repos) > 1 else family
        size = options.size or base.resolution_px // 2
        rows = list(_checks(family, sibling, size, options.steps, options.rate))
    except PortraitError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"{base.label}: {base.family}, {family.weights} on {family.device}, {base.licence}")
    return finish(rows, options.json)


def _checks(family: Family, sibling: Family, size: int, steps: int, rate: float) -> Iterator[Row]:
    """`sibling` draws with the repository to generate with; it is `family` itself where there is only one."""
    step = family.multiple_px
    short, long = size // step * step, size // step * step + 2 * step  # not a square
    yield from _same_as_diffusers(family, family.base, (long, short))
    with tempfile.TemporaryDirectory() as folder:
        adapter = yield from _learns(family, (long, short), steps, rate, Path(folder) / "adapter.safetensors")
        yield from _draws(sibling, adapter, (long, short))


def _same_as_diffusers(family: Family, base: BaseModel, size_px: tuple[int, int]) -> Iterator[Row]:
    """`predict` and `to_model_space` beside the pipeline's own first call and decoding."""
    width, height = size_px
    dtype = DTYPES[family.weights]
    with _timed() as spent:
        pipe = plain_pipeline(base.source, dtype=dtype, device=str(family.device), revision=base.revision)
        channels = int(getattr(pipe.vae.config, "latent_channels", None) or pipe.vae.config.z_dim)
        start = noise((1, channels, height // DOWN, width // DOWN)).to(family.device, dtype)
        with torch.no_grad():
            seen = observe(base.family, pipe, list(PROMPTS[:1]), start)
    yield Row("pipeline, three steps", spent(), "s", 1)
    del pipe
    _free(family)
    family.load("encoders")
    condition = family.encode_prompts(PROMPTS[:1])
    family.load("denoiser")
    level = seen.timestep.float() / 1000 if isinstance(family.schedule, FlowSchedule) else seen.timestep
    with torch.no_grad():
        answer = family.predict(
            seen.noisy.float(), level.reshape(1), condition, [Geometry(size_px, (0, 0), size_px)]
        )
    yield Row("predict: relative error", _relative(answer, seen.answer), "", 1, _TOLERANCE[dtype], True)
    back = family.to_model_space(seen.decoded.float())
    yield Row("model space: relative error", _relative(back, seen.drawn), "", 1, _TOLERANCE[dtype], True)


def _learns(
    family: Family, size_px: tuple[int, int], steps: int, rate: float, path: Path
) -> Generator[Row, None, Adapter]:
    """Two pictures learnt by a small LoRA, exported to `path`, and loaded back through diffusers."""
    with _timed() as spent:
        exercise = Exercise(family, PROMPTS, size_px)
    yield Row("encode and load", spent(), "s", len(PROMPTS))
    yield Row("spread of the latents", float(exercise.clean_BCHW.std()), "", len(PROMPTS))
    parameters = add_lora(family, family.lora_layers.attention)
    with _timed() as spent:
        losses = exercise.learn(parameters, steps, rate)
    yield Row("training step, two pictures", spent() / steps, "s", steps)
    yield Row("loss, last over first", losses[-1] / losses[0], "", steps, 0.99, True)
    with torch.no_grad():
        trained = exercise.answer()
    count = injected(family.denoiser)
    adapter = write_adapter(family, path)
    _free(family)
    family.denoiser = getattr(family.pipeline(adapter), family.denoiser_name)
    yield Row("layers that went in", injected(family.denoiser) / count, "share", count, 1.0)
    with torch.no_grad():
        error = _relative(exercise.answer(), trained)
    yield Row("exported: relative error", error, "", 1, _TOLERANCE[DTYPES[family.weights]], True)
    if family.device.type == "cuda":
        yield Row("most memory held", torch.cuda.max_memory_allocated() / 1e9, "GB", 1)
    return adapter


def _draws(family: Family, adapter: Adapter, size_px: tuple[int, int]) -> Iterator[Row]:
    """One picture with the adapter, by the pipeline of the repository to generate with."""
    pipe: Any = family.pipeline(adapter)
    asked = {
        "prompt": [PROMPTS[0]],
        "negative_prompt": [""],
        "width": size_px[0],
        "height": size_px[1],
        "num_inference_steps": 4,
        "guidance_scale": family.base.guidance_scale,
        "generator": [torch.Generator().manual_seed(0)],
        "output_type": "pt",
    }
    taken = inspect.signature(pipe.__call__).parameters
    with torch.no_grad():
        picture = pipe(**{name: value for name, value in asked.items() if name in taken}).images
    yield Row("picture: finite share", float(torch.isfinite(picture).float().mean()), "share", 1, 1.0)


def _relative(value: Tensor, expected: Tensor) -> float:
    expected = expected.float().to(value.device)
    return float((value.float() - expected).norm() / expected.norm())


def _free(family: Family) -> None:
    family.load("none")
    gc.collect()


@contextmanager
def _timed() -> Iterator[_Watch]:
    watch = _Watch()
    yield watch
    watch.stop()


class _Watch:
    """Seconds since it was made, until stopped."""

    def __init__(self) -> None:
        self._start, self._spent = time.monotonic(), 0.0

    def stop(self) -> None:
        """Hold the time."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._spent = time.monotonic() - self._start

    def __call__(self) -> float:
        return self._spent


if __name__ == "__main__":
    sys.exit(main())
