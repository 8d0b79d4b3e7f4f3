"""Learn a warm start from many people: an adapter that begins where people are alike.

python -m scripts.train.warm_start --people FOLDER --base sdxl --out work/warm_start --minutes 600

FOLDER holds the likeness folders of people who agreed, prepared with `portrait-lora prepare`; the more the
better, hundreds rather than tens.  For the embedded base they are rendered:

python -m scripts.train.render_corpus --edition 2 --people 1600 --views 8 --first-seed 3000000 \\
    --out work/many
python -m scripts.train.warm_start --corpus work/many --out work/warm_start --minutes 60

Every sample is a picture of one of them, captioned as a person's own photos are, with the mean embedding of
their other pictures (`conditioned.py`).  A run that was stopped goes on.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Annotated, Final, cast

import torch
import typer
from torch import Tensor

from portrait_lora import config, device
from portrait_lora.faces.packs import resolve_pack
from portrait_lora.families import open_family
from portrait_lora.families.catalog import resolve_base
from portrait_lora.families.family import Family
from portrait_lora.stages.configured import recipe_of
from portrait_lora.stages.warm_start import embedder_of
from portrait_lora.training import batch as batches
from portrait_lora.training import loss
from portrait_lora.training.cache import Encodings
from portrait_lora.training.draws import Draw, level_of
from portrait_lora.training.memory import use_checkpointing
from portrait_lora.training.recipe import Recipe
from portrait_lora.training.warm_start import DIRECTIONS, MIDDLE
from scripts.train.checkpoint import write_atomically
from scripts.train.loop import Figures, Plan, Run
from scripts.train.warm_start import conditioned, folders, studio
from scripts.train.warm_start.people import Directions, Pictures, rows_of

FILE: Final = "warm_start.safetensors"


class Lessons:
    """Batches of pictures of all people, and the loss of their own trainings averaged over them."""

    def __init__(self, family: Family, pictures: Pictures, directions: Directions, recipe: Recipe) -> None:
        self.family, self.pictures, self.directions, self.recipe = family, pictures, directions, recipe
        self._nothing = Encodings((), pictures.empty)

    def take(self, step: int, generator: torch.Generator) -> tuple[list[Draw], Tensor]:
        """What is drawn in a step, a function of its number, and the rows of the pictures."""
        recipe = self.recipe
        rows = rows_of(step, recipe.batch_size, len(self.pictures.person), recipe.seed)
        draw = random.Random(f"{recipe.seed}-{step}")
        samples = [self.pictures.take(row, draw) for row in rows.tolist()]
        u = loss.draw_uniform(generator)
        levels = [level_of(recipe, self.family.schedule, s, u, slot) for slot, s in enumerate(samples)]

        def normal() -> list[Tensor]:
            return [
                torch.randn(s.mean_CHW.shape, generator=generator, device=generator.device) for s in samples
            ]

        drawn = zip(samples, levels, normal(), normal(), strict=True)
        return [
            Draw(s, level, noise.cpu(), posterior.cpu(), dropped=False)
            for s, level, posterior, noise in drawn
        ], rows

    def loss(self, person: conditioned.Person, draws: list[Draw], rows: Tensor) -> tuple[Tensor, Figures]:
        """Pictures of different sizes go through the denoiser in turn."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for i, drawn in enumerate(draws):
            groups.setdefault(tuple(drawn.noise_CHW.shape), []).append(i)
        total = torch.zeros((), device=self.family.device)
        plain = torch.zeros((), device=self.family.device)
        for places in groups.values():
            of = self.directions.coordinates(self.pictures.others(rows[places]))
            person.coordinates_BK = of.to(self.family.device)
            group = [draws[i] for i in places]
            loss_B, level_B = batches.sample_losses(self.family, self.recipe, self._nothing, group)
            weighted, own = batches.weighted_sums(
                self.family, self.recipe, loss_B, level_B, group, len(draws)
            )
            total, plain = total + weighted, plain + own
        return total, {"loss": float(plain), "weighted": float(total.detach())}


def main(
    people: Annotated[Path | None, typer.Option(help="folder of prepared likeness folders")] = None,
    corpus: Annotated[Path | None, typer.Option(help="of scripts.train.render_corpus instead")] = None,
    out: Annotated[Path, typer.Option(help="folder of checkpoint and result")] = Path("work/warm_start"),
    base: Annotated[str, typer.Option(help="base that it is for")] = "embedded",
    rank: Annotated[int, typer.Option(help="rank of the shared adapter")] = 16,
    coordinates: Annotated[int, typer.Option(help="directions in which people differ")] = 32,
    batch: Annotated[int, typer.Option(help="pictures of a step")] = 16,
    lr: Annotated[float, typer.Option(help="peak learning rate")] = 2e-3,
    minutes: Annotated[float, typer.Option(help="processor time, of a GPU time by the clock")] = 60.0,
    checkpointing: Annotated[bool, typer.Option(help="compute activations twice")] = False,
    megabytes: Annotated[
        float | None, typer.Option(help="of the file, at most: the least is left out")
    ] = None,
    commercial: Annotated[bool, typer.Option(help="require consents for commercial use")] = False,
    threads: Annotated[int, typer.Option(help="of torch")] = 1,
    seed: Annotated[int, typer.Option(help="other draws")] = 0,
) -> None:
    """Train until the time is over, then write the warm start."""
    if (people is None) == (corpus is None):
        raise typer.BadParameter("either --people FOLDER or --corpus FOLDER")
    torch.set_num_threads(threads)
    resolved = config.load(None, [f"base={base}"])
    where = device.choose(resolved.device, resolved.mixed_precision)
    pack, family = resolve_pack(resolved.face_pack), open_family(resolve_base(base), where.device)
    recipe = recipe_of(
        resolved.training.model_copy(update={"rank": rank, "alpha": float(rank), "batch_size": batch}),
        steps=1, seed=seed, mixed_precision=where.mixed_precision,
    )  # fmt: skip
    if corpus is not None:
        family.load("encoders")
        pictures = studio.pictures(corpus, family, pack, recipe.caption_dropout)
        family.load("denoiser_and_text")
    else:
        kept = out / "encoded"
        pictures = folders.pictures(
            cast(Path, people), family, pack, recipe.caption_dropout, kept, commercial=commercial
        )
        family.load("denoiser")
    directions = Directions.of(pictures, min(coordinates, pictures.people - 1))
    trained, person = conditioned.add(family, recipe, len(directions.along))
    use_checkpointing(family.denoiser, float(checkpointing))
    family.denoiser.train()
    plan = Plan(
        steps=None, batch=batch, lr=lr, minutes=minutes, processor_time=threads == 1, warmup=50,
        lr_floor=0.02, ema=0.99, seed=seed, report_steps=20,
    )  # fmt: skip
    lessons = Lessons(family, pictures, directions, recipe)
    run = Run("warm start", out, trained, plan)
    about = {
        "base": family.base.digest,
        "embedder": embedder_of(pack),
        "people": pictures.people,
    }

    def write(run: Run) -> None:
        own = {name: tensor.clone() for name, tensor in run.kept.items()}
        run.use_average()
        tensors = conditioned.tensors(trained) | {MIDDLE: directions.middle, DIRECTIONS: directions.along}
        tensors = {name: tensor.half().cpu().contiguous() for name, tensor in tensors.items()}
        if megabytes is not None:
            tensors = conditioned.within(tensors, int(megabytes * 1e6))
        write_atomically(out / FILE, tensors, {"warm_start": json.dumps(about)})
        for name, tensor in run.kept.items():
            tensor.copy_(own[name])

    run.train(lessons.take, lambda *drawn: lessons.loss(person, *drawn), write)


if __name__ == "__main__":
    typer.run(main)
