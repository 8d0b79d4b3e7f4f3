"""End-to-end check of a base with its real weights: what the tests check on tiny random ones.

The answer to a prompt and a noise is that of diffusers' own pipeline; only adapter weights learn; the loss
falls on two pictures; the exported file goes back into diffusers whole and gives the trained answer; a
picture is drawn, by the distilled sibling where the base has one.
"""

from __future__ import annotations

import gc
import inspect
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from portrait_lora import device as devices
from portrait_lora import log
from portrait_lora.families import open_family
from portrait_lora.families.base_model import BaseModel
from portrait_lora.families.catalog import resolve_base
from portrait_lora.families.family import Family, FlowSchedule, Geometry, Weights
from portrait_lora.families.parts import injected
from portrait_lora.families.pinned import locked
from portrait_lora.families.rows import row_of
from portrait_lora.families.store import DTYPES
from portrait_lora.measured import Row
from portrait_lora.records import Adapter
from portrait_lora.tasks.verify.learning import Exercise, add_lora, beside, noise, photos_for, write_adapter
from portrait_lora.tasks.verify.reference import observe, plain_pipeline

PROMPTS: Final = ("frontal headshot of ohwx woman, smiling", "ohwx woman in a garden")
_TOLERANCE: Final = {torch.float32: 1e-3, torch.bfloat16: 3e-2, torch.float16: 1e-2}
"""Relative error by precision; kernels differ a little between batch sizes and layouts."""
_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Verified:
    """The base as it was checked, and a row per figure."""

    base: str
    family: str
    licence: str
    weights: str
    device: str
    figures: tuple[Row, ...]

    @property
    def met(self) -> bool:
        """Whether no figure missed its target."""
        return all(row.met is not False for row in self.figures)

    def summary(self) -> dict[str, object]:
        """For programs."""
        rows = [asdict(row) | {"met": row.met} for row in self.figures]
        return asdict(self) | {"figures": rows, "met": self.met}


def verify(
    name: str,
    into: Path,
    *,
    device: str = "auto",
    weights: Weights | None = None,
    size_px: int | None = None,
    steps: int = 20,
    rate: float = 1e-3,
) -> Verified:
    """Run every check on a base of the catalogue, as `into` has it locked, or on a folder.

    `size_px` is the shorter side of the pictures, half of the base's without; `steps` at learning rate `rate`
    are trained.  Raises `InputError` for weights that are not on this machine.
    """
    base = locked(resolve_base(name), into)
    alone = replace(base, generate_repo=base.repo, generate_revision=base.revision)
    chosen = devices.choose(device, "auto").device
    family = open_family(alone, chosen, weights)
    sibling = open_family(base, chosen, weights) if base.generate_repo != base.repo else family
    figures: list[Row] = []
    for row in _checks(family, sibling, size_px or base.resolution_px // 2, steps, rate):
        _log.info("checked: %s", row.name)
        figures.append(row)
    return Verified(base.label, base.family, base.licence, family.weights, str(family.device), tuple(figures))


def _checks(family: Family, sibling: Family, size: int, steps: int, rate: float) -> Iterator[Row]:
    """`sibling` draws with the repository to generate with; it is `family` itself where there is only one."""
    step = family.multiple_px
    short, long = size // step * step, size // step * step + max(2 * step, 32)  # not a square
    yield from _same_as_diffusers(family, family.base, (long, short))
    with tempfile.TemporaryDirectory() as folder:
        adapter = yield from _learns(family, (long, short), steps, rate, Path(folder) / "adapter.safetensors")
        yield from _draws(sibling, adapter, (long, short))


def _same_as_diffusers(family: Family, base: BaseModel, size_px: tuple[int, int]) -> Iterator[Row]:
    """`predict` and `to_model_space` beside the pipeline's own first call and decoding."""
    width, height = size_px
    dtype = DTYPES[family.weights]
    with _timed() as spent:
        there: dict[str, str] = {"device": str(family.device), "revision": base.revision}
        text = (base.text_repo, base.text_revision)
        pipe = plain_pipeline(base.source, dtype=dtype, text=text, **there)
        channels = int(getattr(pipe.vae.config, "latent_channels", None) or pipe.vae.config.z_dim)
        down = family.latent_px
        start = noise((1, channels, height // down, width // down)).to(family.device, dtype)
        with torch.no_grad():
            unguided, photos = row_of(base.family).unguided, photos_for(family)
            seen = observe(pipe, list(PROMPTS[:1]), start, unguided, down, photos)
    yield Row("pipeline, three steps", spent(), "s", 1)
    del pipe
    _free(family)
    family.load("encoders")
    condition = beside(family, PROMPTS[:1], photos)
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
    requested = {
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
        picture = pipe(**{name: value for name, value in requested.items() if name in taken}).images
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
