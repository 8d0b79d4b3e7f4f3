"""Learn a warm start from many people: an adapter that begins where people are alike.

python -m scripts.train.render_corpus --edition 2 --people 1600 --views 8 --first-seed 3000000 \
    --out work/many
python -m scripts.train.warm_start --corpus work/many --out work/warm_start --minutes 60

Every sample is a picture of one of them, captioned as a person's own photos are, with the mean embedding of
their other pictures (`conditioned.py`).  A run that was stopped goes on.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Annotated, Any, Final, cast

import torch
import typer
from torch import Tensor, nn

from portrait_lora import config
from portrait_lora.faces.packs import resolve_pack
from portrait_lora.families import open_family
from portrait_lora.families.catalog import resolve_base
from portrait_lora.families.family import Family, Geometry, NoiseSchedule
from portrait_lora.settings import TrainingConfig
from portrait_lora.training import loss, loss_weights
from portrait_lora.training.warm_start import DIRECTIONS, MIDDLE
from scripts.train.checkpoint import write_atomically
from scripts.train.loop import Figures, Plan, Run
from scripts.train.warm_start import conditioned
from scripts.train.warm_start.people import People, directions, studio, texts

FILE: Final = "warm_start.safetensors"


class Lessons:
    """Batches of pictures of all people, and what the denoiser makes of them."""

    def __init__(self, family: Family, people: People, plan: Plan, recipe: TrainingConfig) -> None:
        self.family, self.people, self.plan, self.recipe = family, people, plan, recipe
        self.schedule = cast(NoiseSchedule, family.schedule)
        side = people.mean.shape[-1] * family.latent_px
        self.place = Geometry((side, side), (0, 0), (side, side))

    def take(self, step: int, generator: torch.Generator) -> tuple[Any, ...]:
        """Latents, noise, timesteps, captions and rows of a step: a function of its number."""
        batch, count = self.plan.batch, len(self.people.looks)
        epoch, place = divmod(step * batch, count - count % batch)
        order = torch.randperm(count, generator=torch.Generator().manual_seed(self.plan.seed * 7919 + epoch))
        rows = order[place : place + batch]
        draw = random.Random(f"{self.plan.seed}-{step}")
        captions = texts([self.people.looks[i] for i in rows.tolist()], draw, self.recipe.caption_dropout)
        u = loss.draw_uniform(generator)
        level = [loss.stratified_timestep(self.schedule.steps, u, slot, batch) for slot in range(batch)]
        mean, std = self.people.mean[rows], self.people.std[rows]
        latents = self.family.to_model_space(mean + std * torch.randn(mean.shape, generator=generator))
        noise = torch.randn(mean.shape, generator=generator)
        return latents, noise, torch.tensor(level), captions, rows

    def loss(
        self, person: conditioned.Person, latents: Tensor, noise: Tensor, level: Tensor, captions: list[str],
        rows: Tensor,
    ) -> tuple[Tensor, Figures]:  # fmt: skip
        """The loss of a person's own training, averaged over people."""
        person.coordinates_BK = self.people.coordinates(rows)
        with torch.no_grad():
            condition = self.family.encode_prompts(captions)
        noisy = loss.add_noise(self.schedule, latents, noise, level)
        target = loss.target(self.schedule, latents, noise, level)
        answer = self.family.predict(noisy, level, condition, [self.place] * len(captions))
        each = loss.sample_loss(answer, target)
        weighted = (each * loss_weights.snr_weight(self.schedule, level, self.recipe.snr_gamma)).mean()
        return weighted, {"loss": float(each.detach().mean()), "weighted": float(weighted.detach())}


def main(
    corpus: Annotated[Path, typer.Option(help="of scripts.train.render_corpus")],
    out: Annotated[Path, typer.Option(help="folder of checkpoint and result")] = Path("work/warm_start"),
    base: Annotated[str, typer.Option(help="base that it is for")] = "embedded",
    rank: Annotated[int, typer.Option(help="rank of the shared adapter")] = 16,
    coordinates: Annotated[int, typer.Option(help="directions in which people differ")] = 48,
    batch: Annotated[int, typer.Option(help="pictures of a step")] = 16,
    lr: Annotated[float, typer.Option(help="peak learning rate")] = 2e-3,
    minutes: Annotated[float, typer.Option(help="processor time")] = 60.0,
    threads: Annotated[int, typer.Option(help="of torch")] = 1,
    seed: Annotated[int, typer.Option(help="other draws")] = 0,
) -> None:
    """Train until the time is over, then write the warm start."""
    torch.set_num_threads(threads)
    resolved = config.load(None, [f"base={base}"])
    pack = resolve_pack(resolved.face_pack)
    family = open_family(resolve_base(base))
    family.load("encoders")
    people = directions(studio(corpus, family, pack), coordinates)
    family.load("denoiser_and_text")
    trained, person = conditioned.add(family, rank, coordinates, seed)
    plan = Plan(
        steps=None, batch=batch, lr=lr, minutes=minutes, processor_time=threads == 1, warmup=50,
        lr_floor=0.02, ema=0.99, seed=seed, report_steps=20,
    )  # fmt: skip
    lessons = Lessons(family, people, plan, resolved.training)
    run = Run("warm start", out, cast(nn.ModuleDict, trained), plan)
    about = {"base": family.base.digest, "embedder": pack.embedder_ids["select"], "people": people.count}

    def write(run: Run) -> None:
        own = {name: tensor.clone() for name, tensor in run.kept.items()}
        run.use_average()
        tensors = conditioned.tensors(trained) | {MIDDLE: people.middle, DIRECTIONS: people.along}
        tensors = {name: tensor.half().contiguous() for name, tensor in tensors.items()}
        write_atomically(out / FILE, tensors, {"warm_start": json.dumps(about)})
        for name, tensor in run.kept.items():
            tensor.copy_(own[name])

    run.train(lessons.take, lambda *drawn: lessons.loss(person, *drawn), write)


if __name__ == "__main__":
    typer.run(main)
