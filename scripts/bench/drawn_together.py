"""How much faster several people's portraits are drawn in one batch than one after the other, and how equal.

python -m scripts.bench.drawn_together             4 people with 1 picture each and with 4, 4 steps
python -m scripts.bench.drawn_together --full      8 people, as many steps as the embedded base takes

Both ways run what the stage runs, files and records included, on the embedded base with adapters of random
numbers.  The ratios are of pictures per second of the processor, the way alone taken first and last.  The
differences are |together - alone| / |alone| of a picture before rounding, and of its values after it; the
target is that of few steps, and grows with them as between batches of any two sizes, which are compared too.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

from portrait_lora.config import load
from portrait_lora.families import open_family
from portrait_lora.families.adapter_file import metadata, read_adapter
from portrait_lora.families.catalog import resolve_base
from portrait_lora.generation import drawing, sample
from portrait_lora.generation.together import Sitter, generate_together
from portrait_lora.records import Adapter, Shot
from portrait_lora.stages.configured import recipe_of
from portrait_lora.stages.sampling import sampler_of
from portrait_lora.training.run import about
from portrait_lora.training.stacked import Stack
from scripts.rows import Row, arguments, finish

TOLERANCE: Final = 1e-5
STRENGTH: Final = 0.02
"""Standard deviation of the numbers of B: pictures change as by a trained adapter."""
PROMPT: Final = "frontal headshot of a woman, grey seamless backdrop"
Raw = dict[str, NDArray[np.float32]]


def adapters(family: Any, folder: Path, people: int, seed: int) -> list[Adapter]:
    """Files of adapters in the shape that the base's settings give them, of random numbers."""
    recipe = recipe_of(load(None, ["base=embedded"]).training, steps=1, seed=seed, mixed_precision="no")
    header = about(family, recipe, folder, trigger="ohwx", dataset_digest="", config_digest="")
    words = metadata(header, resolution_px=128, prediction_type=family.schedule.prediction_type, licence="")
    family.load("denoiser")
    stack, files = Stack(family, recipe), list[Adapter]()
    for person in range(people):
        own = stack.parameters(seed + person)
        draw = torch.Generator().manual_seed(seed + person)
        for name, value in own.items():
            if ".lora_B." in name:
                value.data = torch.randn(value.shape, generator=draw) * STRENGTH
        path = folder / f"{person}.safetensors"
        save_file(stack.state(own), path, words)
        files.append(read_adapter(path))
    family.load("none")
    return files


def shots_of(person: int, count: int) -> list[Shot]:
    """Pictures of one person, named and drawn as nobody else's."""
    return [Shot(f"{person}-{n}", PROMPT, "", (128, 128), 100 * person + n, ()) for n in range(count)]


def timed(work: Callable[[], object]) -> tuple[float, Raw]:
    """Seconds of the processor, and every picture before rounding."""
    seen: Raw = {}
    real = drawing._pictures  # pyright: ignore[reportPrivateUsage]

    def watched(pipe: Any, drawn_BHWC: NDArray[np.float32], shots: Sequence[Shot]) -> list[Image.Image]:
        seen.update((s.name, one.copy()) for s, one in zip(shots, drawn_BHWC, strict=True))
        return real(pipe, drawn_BHWC, shots)

    began = time.process_time()
    with patch.object(drawing, "_pictures", watched):
        work()
    return time.process_time() - began, seen


def measure(options: Namespace) -> list[Row]:
    """Both ways, with one picture of each and with as many as fill a batch."""
    people = 8 if options.full else 4
    chosen = load(None, ["base=embedded", *([] if options.full else ["generate.num_inference_steps=4"])])
    sampler, batch = sampler_of(chosen.generate), chosen.generate.batch_size
    family: Any = open_family(resolve_base("embedded"), "cpu")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="drawn-") as name:
        folder, numbers = Path(name), itertools.count()
        everybody = adapters(family, folder, people, options.seed)

        def alone(count: int, size: int = batch) -> None:
            for person, own in enumerate(everybody):
                out = folder / str(next(numbers))
                sample.generate(family, own, shots_of(person, count), out, sampler, batch_size=size)

        def together(count: int) -> None:
            out = folder / str(next(numbers))
            sitters = [
                Sitter(
                    adapter=own, sets=[(out / str(person), shots_of(person, count))], framing=None,
                    on_drawn=lambda portrait, seconds: None, refused=[],
                )
                for person, own in enumerate(everybody)
            ]  # fmt: skip
            generate_together(family, sitters, sampler, batch_size=batch)

        timed(lambda: alone(1))  # what is opened once is opened
        for count in (1, 4):
            first, one = timed(lambda n=count: alone(n))
            both, other = timed(lambda n=count: together(n))
            last, _ = timed(lambda n=count: alone(n))
            rows += _rows(people, count, (first + last) / 2, both, one, other)
        _, single = timed(lambda: alone(4, 1))
        what = "alone, batches of one beside batches of four: largest difference"
        rows.append(Row(what, max(_off(one, single)), "relative", len(one)))
    return rows


def _rows(people: int, count: int, alone: float, together: float, one: Raw, other: Raw) -> list[Row]:
    what, pictures = f"{people} people, {count} each", people * count
    levels = np.stack([np.abs((other[n] * 255).round() - (one[n] * 255).round()) for n in one])
    unequal, most, off = float((levels > 0).mean()), float(levels.max()), max(_off(one, other))
    return [
        Row(f"{what}: alone", round(alone / pictures, 3), "s of the processor a picture", pictures),
        Row(f"{what}: together", round(together / pictures, 3), "s of the processor a picture", pictures),
        Row(f"{what}: times as fast", round(alone / together, 2), "times", pictures),
        Row(f"{what}: largest difference", off, "relative", pictures, TOLERANCE, at_most=True),
        Row(f"{what}: values off by a grey level", unequal, "share", pictures),
        Row(f"{what}: largest, in grey levels", most, "", pictures, 1, at_most=True),
    ]  # fmt: skip


def _off(one: Raw, other: Raw) -> list[float]:
    """|other - one| / |one| of every picture."""
    return [float(np.linalg.norm(other[n] - one[n]) / np.linalg.norm(one[n])) for n in one]


def main() -> int:
    """Measure and print."""
    options = arguments(__doc__ or "").parse_args()
    return finish(measure(options), options.json)


if __name__ == "__main__":
    sys.exit(main())
