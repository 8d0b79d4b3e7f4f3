"""How much faster many people train in one pass than one after the other, where the gain lies, and how equal.

python -m scripts.bench.together                     16 people, batch 1 and 2, the embedded base's network
python -m scripts.bench.together --full              more rounds, and how differences grow with the steps
python -m scripts.bench.together --device cuda --shape sdxl-512     SDXL's network at 512 px, random weights

Both ways run the real loops, records included, and take their steps in turns: between two steps of the group
the person alone takes as many as take about as long, so whatever else the machine does falls on both alike.
The ratios are of samples/s by the clock and by the CPU time of this process, the median over the rounds.
A profile of a step each way says how many calls and how much time a sample costs, by kind of operation.

`--full` also trains to the end both ways, with checkpoints on the way, and states by how much adapters
differ, |together - alone| / |alone| over all of their numbers; beside it the same of a training alone in
micro-batches of half the size, whose sums differ by rounding alone as well.
"""

from __future__ import annotations

import logging
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch.profiler import ProfilerActivity, profile

from portrait_lora.config import load
from portrait_lora.families import open_family
from portrait_lora.families.catalog import resolve_base
from portrait_lora.families.family import Geometry, PromptCondition
from portrait_lora.records import CaptionedCrop, TrainResult
from portrait_lora.stages.configured import recipe_of
from portrait_lora.training.cache import EncodedSample, Encodings
from portrait_lora.training.loop import Run
from portrait_lora.training.member import Member
from portrait_lora.training.recipe import Recipe
from portrait_lora.training.run import about
from portrait_lora.training.together import Group, Outcome, Waiting
from scripts.bench import gpu
from scripts.rows import Row, arguments, finish

PEOPLE: Final = 16
WARM: Final = 2
GOAL: Final = 1.5
TOLERANCE: Final = 1e-5
CHECKPOINTS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 400)
KINDS: Final = {
    "products": ("mm", "bmm", "addmm", "baddbmm", "linear", "matmul"),
    "convolutions": ("conv", "mkldnn", "cudnn"),
    "attention": ("attention",),
    "normalisation": ("norm",),
    "optimizer": ("adam", "lerp", "foreach"),
    "copies": ("copy_", "cat", "clone", "to_copy", "contiguous", "stack", "index"),
}
"""Kinds of operations by a part of their names; the first that fits counts, everything else is "others"."""


def family_of(shape: str, device: str) -> Any:
    """The embedded base, or a network of random weights."""
    if shape == "embedded":
        return open_family(resolve_base("embedded"), device)
    return gpu.random_family("sdxl", device, shape == "sdxl-tiny")


def encodings_of(shape: str, seed: int) -> Encodings:
    """Random pictures and one prompt of one person."""
    torch.manual_seed(seed)
    if shape != "embedded":
        return gpu.encodings("sdxl", 16 if shape == "sdxl-tiny" else 64)
    condition, size = PromptCondition(torch.randn(1, 64, 128)), (128, 128)
    samples = (
        EncodedSample(
            f"{seed} {i}", "", torch.randn(16, 16, 16), torch.full((16, 16, 16), 0.1), condition,
            Geometry(size, (0, 0), size),
        )
        for i in range(8)
    )  # fmt: skip
    return Encodings(tuple(samples), condition)


def recipe(shape: str, batch: int, steps: int, seed: int) -> Recipe:
    """As the base's own configuration has it."""
    base, mixed = ("embedded", "no") if shape == "embedded" else ("sdxl", "bf16")
    settings = load(None, [f"base={base}", f"training.batch_size={batch}"]).training
    return recipe_of(settings, steps=steps, seed=seed, mixed_precision=mixed)  # type: ignore[arg-type]


def alone(
    family: Any, encoded: Encodings, chosen: Recipe, folder: Path, *, kept: Sequence[int] = (), micro: int = 0
) -> TrainResult:
    """One person, by the ordinary loop."""
    header = about(family, chosen, folder, trigger="ohwx", dataset_digest="", config_digest="")
    run = Run(family, encoded, folder, chosen, header, Accelerator(cpu=family.device.type == "cpu"))
    run.micro_batch = micro or run.micro_batch
    return run.go((*(k for k in kept if k < chosen.steps), chosen.steps), None)


def together(
    family: Any,
    encoded: Sequence[Encodings],
    recipes: Sequence[Recipe],
    folder: Path,
    kept: Sequence[int] = (),
) -> list[TrainResult]:
    """A group."""
    size = (8, 8)
    crop = CaptionedCrop(folder, "", "0" * 64, (0, 0, *size), size, "", "ohwx")
    outcomes: list[Outcome | None] = [None] * len(encoded)
    waiting = deque(
        Waiting(i, Member(crops=[crop], out_dir=folder / str(i), recipe=own, checkpoint_steps=kept), one)
        for i, (one, own) in enumerate(zip(encoded, recipes, strict=True))
    )
    Group(family, waiting, outcomes, len(encoded), None, gradient_checkpointing=False).go()
    return [o for o in outcomes if isinstance(o, TrainResult)]


class Turns:
    """A training in a thread of its own that waits at every question to the denoiser until it may go on."""

    def __init__(self, family: Any, work: Callable[[], object]):
        self._go, self._waits = threading.Semaphore(0), threading.Semaphore(0)
        self._error: BaseException | None = None
        self.profiled: profile | None = None
        ask = family.predict

        def predict(*inputs: Any) -> Any:
            if family.device.type == "cuda":
                torch.cuda.synchronize()
            if self.profiled is not None:
                self.profiled.__exit__(None, None, None)
            self._waits.release()
            self._go.acquire()
            if self.profiled is not None:  # a profile sees its own thread only
                self.profiled.__enter__()
            return ask(*inputs)

        def body() -> None:
            try:
                work()
            except BaseException as error:  # told in the thread that asks
                self._error = error
            self._waits.release()

        family.predict = predict
        threading.Thread(target=body, daemon=True).start()
        self._waits.acquire()

    def step(self) -> tuple[float, float]:
        """Go on to the next question; seconds by the clock and of the CPU."""
        wall, cpu = time.perf_counter(), time.process_time()
        self._go.release()
        self._waits.acquire()
        if self._error is not None:
            raise self._error
        return time.perf_counter() - wall, time.process_time() - cpu


def ratios(
    shape: str, device: str, batch: int, people: int, rounds: int, work: Path
) -> tuple[list[Row], list[str]]:
    """Rows of one batch size, and lines of the profile."""
    last = 10_000  # neither training comes to its end
    encoded = [encodings_of(shape, i) for i in range(people)]
    first, second = family_of(shape, device), family_of(shape, device)
    one = Turns(
        first, lambda: alone(first, encoded[0], recipe(shape, batch, last, 0), work / f"alone{batch}")
    )
    recipes = [recipe(shape, batch, last, i) for i in range(people)]
    group = Turns(second, lambda: together(second, encoded, recipes, work / f"together{batch}"))
    for turns in (one, group) * WARM:
        turns.step()
    spent: dict[str, list[tuple[float, float]]] = {"alone": [], "together": []}
    each = people // 2
    for _ in range(rounds):
        times = [one.step() for _ in range(each)]
        spent["alone"].append((sum(w for w, _ in times) / each, sum(c for _, c in times) / each))
        spent["together"].append(group.step())
    n, rows, name = rounds, list[Row](), f"batch {batch}"
    for kind, unit in ((0, "1/s"), (1, "1/CPU s")):
        rate_alone = [batch / s[kind] for s in spent["alone"]]
        rate_group = [people * batch / s[kind] for s in spent["together"]]
        rows.append(Row(f"{name}: samples alone", statistics.median(rate_alone), unit, n))
        rows.append(Row(f"{name}: samples together", statistics.median(rate_group), unit, n))
        ratio = statistics.median(g / a for a, g in zip(rate_alone, rate_group, strict=True))
        goal = GOAL if kind == 0 and shape != "sdxl-tiny" else None
        rows.append(Row(f"{name}: together over alone ({unit})", ratio, "ratio", n, target=goal))
    lines: list[str] = []
    for what, turns, samples in (("alone", one, batch), ("together", group, people * batch)):
        calls, kinds = profiled(turns, samples, device)
        rows.append(Row(f"{name}: operations per sample {what}", calls, "calls", 1))
        share = ", ".join(f"{kind} {ms:.1f}" for kind, ms in kinds.items())
        lines.append(f"{name} {what:<9} {calls:7.0f} calls/sample; ms/sample: {share}")
    return rows, lines


def profiled(turns: Turns, samples: int, device: str) -> tuple[float, dict[str, float]]:
    """Operations per sample of one step, and their own ms per sample by kind."""
    gpu_too = [ProfilerActivity.CUDA] if device == "cuda" else []
    turns.profiled = profile(activities=[ProfilerActivity.CPU, *gpu_too])
    turns.step()
    seen, turns.profiled = turns.profiled, None
    calls, kinds = 0, dict.fromkeys((*KINDS, "others"), 0.0)
    for event in seen.key_averages():
        on_device = float(getattr(event, "self_device_time_total", 0.0))
        own_us = on_device if device == "cuda" else float(event.self_cpu_time_total)
        if event.key.startswith("aten::"):
            calls += int(event.count)
        kinds[_kind(event.key)] += own_us / 1e3 / samples
    return calls / samples, kinds


def _kind(name: str) -> str:
    low = name.lower()
    return next((kind for kind, parts in KINDS.items() if any(part in low for part in parts)), "others")


def differences(shape: str, device: str, batch: int, steps: int, work: Path) -> Iterator[Row]:
    """How far an adapter of a group of four is from the one trained alone, by step."""
    encoded = [encodings_of(shape, i) for i in range(4)]
    kept = tuple(k for k in CHECKPOINTS if k < steps)
    recipes = [recipe(shape, batch, steps, i) for i in range(4)]
    group = together(family_of(shape, device), encoded, recipes, work / f"differ{batch}", kept)

    def trained(name: str, micro: int) -> list[TrainResult]:
        return [
            alone(
                family_of(shape, device),
                encoded[i],
                recipes[i],
                work / f"{name}{batch}-{i}",
                kept=kept,
                micro=micro,
            )
            for i in (0, 1)
        ]

    solo = trained("alone", 0)
    others = {"together": group[:2]}
    if batch > 1:
        others["in micro-batches"] = trained("micro", batch // 2)
    for what, results in others.items():
        for k, step in enumerate((*kept, steps)):
            off = max(_off(a, b, k) for a, b in zip(results, solo, strict=True))
            goal = TOLERANCE if step == steps and what == "together" else None
            yield Row(f"batch {batch}: {what} off alone, step {step}", off, "relative", 2, goal, at_most=True)


def _off(a: TrainResult, b: TrainResult, k: int) -> float:
    first, second = load_file(a.checkpoints[k].path), load_file(b.checkpoints[k].path)
    off = sum(float((first[n] - second[n]).square().sum()) for n in first)
    return (off / sum(float(t.square().sum()) for t in second.values())) ** 0.5


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shape", choices=("embedded", "sdxl-512", "sdxl-tiny"), default="embedded")
    parser.add_argument("--people", type=int, default=PEOPLE)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of torch")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=None)
    parser.add_argument("--steps", type=int, default=None, help="of the trainings compared; 0: none")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("no GPU here; --shape embedded runs on the CPU, --shape sdxl-tiny tries the other one")
    logging.getLogger("portrait_lora").setLevel(logging.ERROR)
    torch.set_num_threads(args.threads)
    rounds = args.rounds or (15 if args.full else 4)
    steps = args.steps if args.steps is not None else (200 if args.full else 0)
    rows, profiles = list[Row](), list[str]()
    with tempfile.TemporaryDirectory() as folder:
        for batch in args.batches:
            more, lines = ratios(args.shape, args.device, batch, args.people, rounds, Path(folder))
            rows, profiles = [*rows, *more], [*profiles, *lines]
        for batch in args.batches if steps else ():
            rows += differences(args.shape, args.device, batch, steps, Path(folder))
        print("\n".join(profiles))
        sys.stdout.flush()
        code = finish(rows, args.json)
    os._exit(code)  # the trainings that wait are threads that never end


if __name__ == "__main__":
    main()
