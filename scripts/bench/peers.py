"""Likeness like for like: adapters of ours and of others' recipes on the same base, crops and captions.

python -m scripts.bench.peers --people 4                   ours, diffusers' and kohya's recipe, one training
python -m scripts.bench.peers --people 20 --trainings 3    three with other seeds: the noise of one

Every adapter is drawn twice: plainly (ordinary guidance, as any program does) and with our guidance; embedder
B judges by the held-out photos, portraits without a face count 0.  Others are trained for as many samples as
ours (`straight.py`).  Differences are paired by portrait, their intervals over people.  What is done is kept.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Final, get_args

import numpy as np
import torch

from portrait_lora import config, manifest
from portrait_lora.dataset.build import load_dataset_folder
from portrait_lora.evaluation.drift import clustered_interval
from portrait_lora.evaluation.similarity import PortraitItem, embed_photos, score_portraits
from portrait_lora.faces.backends import open_analyzer
from portrait_lora.generation.guidance import AS_ONE
from portrait_lora.generation.sample import generate
from portrait_lora.likeness import Likeness
from portrait_lora.records import Adapter
from portrait_lora.stages.context import Context
from portrait_lora.stages.sampling import sampler_of
from scripts.bench import straight
from scripts.evaluate.methods import FIRST_SEED, Arm, measured, prepared
from scripts.rows import Row, Table, arguments

OURS: Final = "ours"
WAYS: Final = ("plainly", "guided")


@dataclass(frozen=True, slots=True)
class Cell:
    """One person, one trainer, one training: similarity of every portrait by the way of drawing."""

    seed: int
    trainer: str
    training: int
    similarities: dict[str, tuple[float, ...]]


def cell(job: tuple[int, str, int, Path, str]) -> Cell:
    """Train, draw and judge, or read what was done before."""
    seed, trainer, training, work, settings = job
    torch.set_num_threads(1)
    arm = Arm.of(f"{OURS}{training}:{','.join(filter(None, [settings, f'seed={training}']))}")
    folder = work / "peers" / f"{trainer}-{training}-{arm.digest[:6]}" / f"person-{seed}"
    record = folder / "similarities.json"
    if not record.is_file():
        if trainer == OURS:
            file = measured(arm, seed, work).folder / "adapters" / "main" / "adapter.safetensors"
        else:
            file = _straight(trainer, seed, training, work, folder, arm.settings)
        manifest.write_json_atomic(record, _judged(prepared(seed, work), file, folder))
    facts = json.loads(record.read_text(encoding="utf-8"))
    print(f"{trainer} {seed} {training}: " + _means(facts), flush=True)
    return Cell(seed, trainer, training, {way: tuple(facts[way]) for way in WAYS})


def _means(facts: dict[str, list[float]]) -> str:
    return ", ".join(f"{way} {np.mean(facts[way]):.3f}" for way in WAYS)


def _straight(
    trainer: str, seed: int, training: int, work: Path, out: Path, settings: tuple[str, ...]
) -> Path:
    """As many samples as ours sees with these settings."""
    ctx = _context(prepared(seed, work), settings)
    crops, _ = load_dataset_folder(ctx.likeness.dataset)
    photos = len({crop.source_sha256 for crop in crops})
    steps = straight.steps_for(photos, ctx.config.training.exposures_per_photo)
    pairs = [(crop.path, crop.caption) for crop in crops]
    peer = next(name for name in get_args(straight.Peer) if name == trainer)
    folder = ctx.base.folder
    assert folder is not None, f"{ctx.base.name} is not on this machine"
    straight.train(peer, folder, pairs, steps, training, out)
    return out / straight.FILE


def _context(folder: Path, settings: tuple[str, ...] = ()) -> Context:
    return Context(Likeness(folder, config.load(folder / config.FILE_NAME, settings)))


def _judged(person: Path, file: Path, out: Path) -> dict[str, list[float]]:
    ctx = _context(person)
    holdout = sorted((ctx.likeness.dataset / "holdout").glob("*.png"))
    judge = open_analyzer(ctx.pack, "report")
    known, _ = embed_photos(holdout, judge)
    adapter = Adapter(
        path=file, family=ctx.base.family, base=ctx.base.name, base_digest=ctx.base.digest,
        rank=straight.RANK, alpha=straight.RANK, target_modules=straight.LAYERS, trigger="ohwx",
        dataset_digest="", config_digest="", step=0,
    )  # fmt: skip
    guided = sampler_of(ctx.config.generate)
    plain = replace(guided, unconditional="adapter", identity=AS_ONE)
    result: dict[str, list[float]] = {}
    for way, sampler in zip(WAYS, (plain, guided), strict=True):
        drawn = generate(ctx.family, adapter, ctx.shots, out / way, sampler, batch_size=8)
        scores = score_portraits([PortraitItem.of(p) for p in drawn], known, judge)
        result[way] = [float(score.similarity or 0.0) for score in scores]
    return result


def rows_of(cells: list[Cell]) -> Iterator[Row]:
    """Means of every trainer, differences of ours to the others, and the noise of one training."""
    trainers = list(dict.fromkeys(c.trainer for c in cells))
    for way in WAYS:
        for trainer in trainers:
            own = [c for c in cells if c.trainer == trainer]
            means = [float(np.mean(c.similarities[way])) for c in own]
            spread = clustered_interval(means, [c.seed for c in own])
            yield Row(f"{trainer}, {way}", spread.mean, "cosine", len(own), ci95=spread.ci95)
        for trainer in trainers[1:]:
            values, clusters = list[float](), list[int]()
            for mine in (c for c in cells if c.trainer == OURS):
                other = next(
                    c for c in cells if (c.trainer, c.seed, c.training) == (trainer, mine.seed, mine.training)
                )
                pairs = zip(mine.similarities[way], other.similarities[way], strict=True)
                values += [a - b for a, b in pairs]
                clusters += [mine.seed] * len(mine.similarities[way])
            spread = clustered_interval(values, clusters)
            target = 0.05 if way == "plainly" else 0.03
            name = f"ours minus {trainer}, {way}"
            yield Row(name, spread.mean, "cosine", len(values), target, ci95=spread.ci95)
        if len({c.training for c in cells}) > 1:
            for trainer in trainers:
                by_person: dict[int, list[float]] = {}
                for c in (c for c in cells if c.trainer == trainer):
                    by_person.setdefault(c.seed, []).append(float(np.mean(c.similarities[way])))
                noise = float(np.sqrt(np.mean([np.var(v, ddof=1) for v in by_person.values()])))
                yield Row(f"{trainer}, {way}: one training beside another", noise, "cosine", len(by_person))


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--people", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--trainings", type=int, default=1)
    parser.add_argument("--settings", default="", help="of ours: key=value,key=value")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("work/methods"))
    args = parser.parse_args()
    seeds = range(args.first_seed, args.first_seed + args.people)
    trainers = (OURS, *get_args(straight.Peer))
    jobs = [
        (s, trainer, t, args.work, args.settings)
        for s in seeds for t in range(args.trainings) for trainer in trainers
    ]  # fmt: skip
    with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool:
        cells = list(pool.map(cell, jobs))
    table = Table(args.json)
    table.add(list(rows_of(cells)))
    sys.exit(table.code())


if __name__ == "__main__":
    main()
