"""Render the training corpus of the embedded models: made-up people in made-up studios.

python -m scripts.train.render_corpus --people 6000 --views 5 --out work/corpus

Every person appears in `--views` pictures; hair, beard and glasses are drawn anew for every picture but
the first.  Shards that are finished are skipped, so the command can be interrupted and repeated, and
a later run with more `--people` only adds shards.  Small seeds belong to demonstrations and tests.

python -m scripts.train.render_corpus --edition 2 --people 1000 --first-seed 1500000 --out work/corpus_wider

Edition 2 shows the later words of the vocabulary in about half of its lights, backdrops and wear, and leaves
out people who are too near to an earlier one.

python -m scripts.train.render_corpus --kin --people 6000 --views 2 --out work/corpus_kin

A relative of each of them (`scripts/train/kin.py`), for the embedders: near to a face without being it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import torch
import typer
from safetensors.torch import save_file
from torch import Tensor

from scripts.train.kin import kin_of, people_of

FIRST_TRAINING_SEED: Final = 1_000_000
SHARD_IMAGES: Final = 2000
LATER_FIELDS: Final = ("hat", "makeup")
_DEFAULTS: Final = {"edition": 1, "kin": False, "shard": SHARD_IMAGES}
"""What a folder that does not say so was begun with."""
VIEWS_PER_SEED: Final = 1000
"""Image seeds are person seed × this + view, so that no two pictures share one."""


@dataclass(frozen=True, slots=True)
class Job:
    """One shard: which people, how many views, how large, where to."""

    shard: int
    seeds: tuple[int, ...]
    views: int
    size_px: int
    supersample: int
    batch: int
    out: str
    edition: int = 1

    @property
    def file(self) -> Path:
        return Path(self.out) / f"shard-{self.shard:05d}.safetensors"


def _columns(render: Any, seeds: list[int]) -> dict[str, Tensor]:
    """The stored columns of one rendered batch."""
    return {
        "image": render.image_BCHW,
        "mask": render.mask_BHW,
        "box": render.face_box_xyxy_px.float(),
        "keypoints": render.keypoints_px.float(),
        "landmarks": render.landmarks_px.float(),
        "visible": render.visible_B68.to(torch.uint8),
        "pose": render.pose_deg.float(),
        "person": torch.tensor(seeds, dtype=torch.long),
        "light_direction": render.light_direction.float(),
    }


def render_batch(seeds: list[int], view: int, job: Job) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Pictures number `view` of the people `seeds`: columns and words."""
    from portrait_lora import synthetic

    image_seeds = [s * VIEWS_PER_SEED + view for s in seeds]
    people = people_of(seeds)
    if view > 0:
        people = synthetic.restyle(people, image_seeds)
    if job.edition > 1:
        people = synthetic.dressed(people, image_seeds)
    scenes = synthetic.sample_scenes(image_seeds, edition=job.edition)
    out = synthetic.render(people, scenes, size_px=job.size_px, supersample=job.supersample)
    return _columns(out, seeds), [_words(look, job.edition) for look in out.looks]


def _words(look: Any, edition: int) -> dict[str, Any]:
    """What is recorded of a picture; the first edition has no fields for later words."""
    words = asdict(look)
    return words if edition > 1 else {k: v for k, v in words.items() if k not in LATER_FIELDS}


def render_shard(job: Job) -> tuple[int, int, float]:
    """Render and store one shard; returns its number, its pictures and the seconds taken."""
    started = time.monotonic()
    parts: list[dict[str, Tensor]] = []
    looks: list[dict[str, Any]] = []
    order: list[tuple[int, int]] = []
    with torch.inference_mode():
        for start in range(0, len(job.seeds), job.batch):
            seeds = list(job.seeds[start : start + job.batch])
            for view in range(job.views):
                columns, words = render_batch(seeds, view, job)
                parts.append(columns)
                looks.extend(words)
                order.extend((s, view) for s in seeds)
    by_person = sorted(range(len(order)), key=order.__getitem__)
    index = torch.tensor(by_person)
    table = {k: torch.cat([p[k] for p in parts])[index].contiguous() for k in parts[0]}
    temporary = job.file.with_suffix(f".tmp{os.getpid()}")
    save_file(table, str(temporary))
    words_file = job.file.with_suffix(".json")
    payload = {"views": job.views, "size_px": job.size_px, "looks": [looks[i] for i in by_person]}
    words_file.write_text(json.dumps(payload), encoding="utf-8")
    os.replace(temporary, job.file)
    return job.shard, len(order), time.monotonic() - started


def plan(
    people: Sequence[int],
    views: int,
    size: int,
    supersample: int,
    batch: int,
    out: Path,
    edition: int = 1,
    pictures: int = SHARD_IMAGES,
) -> list[Job]:
    """Shards of at most so many `pictures` of the people with these seeds that are not on disk yet."""
    each = max(1, pictures // views)
    jobs: list[Job] = []
    for shard, start in enumerate(range(0, len(people), each)):
        seeds = tuple(people[start : start + each])
        job = Job(shard, seeds, views, size, supersample, batch, str(out), edition)
        if not (job.file.exists() and job.file.with_suffix(".json").exists()):
            jobs.append(job)
    return jobs


def people_apart(first_seed: int, count: int) -> list[int]:
    """The seeds that are left when nobody is too near to an earlier person; prints the distances."""
    from portrait_lora import synthetic

    spaced = synthetic.spacing(synthetic.sample_people(range(first_seed, first_seed + count)))
    if spaced.nearest:
        near = spaced.nearest
        print(
            f"smallest distance of {count} people: {near.apart:.3f} ({near.earlier}, {near.seed})", flush=True
        )
    for near in spaced.too_near:
        print(f"left out: {near.seed}, {near.apart:.3f} from {near.earlier}", flush=True)
    print(f"{len(spaced.kept)} people at least {synthetic.MIN_DISTANCE} apart", flush=True)
    return list(spaced.kept)


def _check_settings(out: Path, settings: dict[str, int]) -> None:
    """Refuse to mix shards of different settings in one folder."""
    file = out / "corpus.json"
    if file.exists():
        before = json.loads(file.read_text(encoding="utf-8"))
        known = _DEFAULTS | before
        changed = [k for k, v in (_DEFAULTS | settings).items() if k != "people" and known.get(k) != v]
        if changed:
            raise typer.BadParameter(f"{out} was begun with other {', '.join(changed)}: {before}")
    file.write_text(json.dumps(settings, indent=2), encoding="utf-8")


def main(
    people: Annotated[int, typer.Option(help="how many people")] = 6000,
    views: Annotated[int, typer.Option(help="pictures of each person")] = 5,
    first_seed: Annotated[int, typer.Option(help="seed of the first person")] = FIRST_TRAINING_SEED,
    size: Annotated[int, typer.Option(help="side of the pictures, pixels")] = 128,
    supersample: Annotated[int, typer.Option(help="rays per pixel side")] = 1,
    out: Annotated[Path, typer.Option(help="folder of the shards")] = Path("work/corpus"),
    workers: Annotated[int, typer.Option(help="single-thread processes")] = 2,
    batch: Annotated[int, typer.Option(help="people rendered at once")] = 10,
    edition: Annotated[int, typer.Option(min=1, max=2, help="2: with the later words")] = 1,
    shard: Annotated[int, typer.Option(help="pictures of a shard, which one worker makes")] = SHARD_IMAGES,
    kin: Annotated[bool, typer.Option(help="everybody's relative in place of them")] = False,
) -> None:
    """Render the shards that are missing."""
    if first_seed < FIRST_TRAINING_SEED:
        raise typer.BadParameter(f"training people have seeds of {FIRST_TRAINING_SEED} and above")
    out.mkdir(parents=True, exist_ok=True)
    settings = {
        "people": people,
        "views": views,
        "first_seed": first_seed,
        "size": size,
        "supersample": supersample,
    }
    if edition > 1:
        settings["edition"] = edition
    if kin:
        settings["kin"] = True
    if shard != SHARD_IMAGES:
        settings["shard"] = shard
    _check_settings(out, settings)
    seeds = people_apart(first_seed, people) if edition > 1 else range(first_seed, first_seed + people)
    if kin:
        seeds = [kin_of(seed) for seed in seeds]
    jobs = plan(seeds, views, size, supersample, batch, out, edition, shard)
    total = sum(len(j.seeds) for j in jobs) * views
    print(f"{total} pictures in {len(jobs)} shards to render", flush=True)
    started, done = time.monotonic(), 0
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for future in as_completed([pool.submit(render_shard, job) for job in jobs]):
            shard, count, seconds = future.result()
            done += count
            rate = done / (time.monotonic() - started)
            eta = (total - done) / rate / 60
            line = f"shard {shard}: {count} in {seconds:.0f} s | {done}/{total} {rate:.1f} images/s"
            print(f"{line}, {eta:.1f} min left", flush=True)


if __name__ == "__main__":
    typer.run(main)
