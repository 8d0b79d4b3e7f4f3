"""Train the classifiers that say whether a portrait shows what its prompt says.

python -m scripts.evaluate.studio.classifiers --corpus work/corpus --work work/studio
python -m scripts.evaluate.studio.classifiers --more work/corpus_styles --more work/corpus_wider   later words

They learn from renders and are shown a part of them through the base's autoencoder, mirrored, moved and
blurred, so that they read drawn portraits too.  Every twentieth person is held out; on them it is
decided which lighting rigs cannot be distinguished and count as one.  An interrupted training goes on where
it stopped, and the same number of steps in one go gives the same weights.  The result stays in `--work`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import torch
import typer
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from scripts.evaluate.studio import network, roundtrips
from scripts.evaluate.studio.attributes import ATTRIBUTES, UNLABELLED, labels
from scripts.evaluate.studio.merging import Groups, apart, group_of, merge, pooled
from scripts.train.checkpoint import averaged, write_atomically
from scripts.train.corpus import Corpus
from scripts.train.face_pack.training import plan_of, train
from scripts.train.loop import pick_device

NAME: Final = "classifiers"
FILE: Final = f"{NAME}.safetensors"
WORK: Final = Path("work/studio")
STEPS: Final = 2500
BATCH: Final = 64
SEED: Final = 31
HELD_OUT: Final = 20
"""One person in so many."""
THROUGH: Final = 3000
"""Pictures of the training that are also seen through the autoencoder."""
THROUGH_SHARE: Final = 0.3
THROUGH_HELD: Final = 300
LATENT_NOISE: Final = 0.2
CPU: Final = torch.device("cpu")
_CHUNK: Final = 128


@dataclass(frozen=True, slots=True)
class Reader:
    """Trained classifiers; `groups` (per attribute) are the words that count as one."""

    net: nn.Module
    groups: tuple[Groups, ...]

    @torch.inference_mode()
    def read(self, pictures: Tensor) -> list[Tensor]:
        """Probabilities (N, words) per attribute, of pictures (N, 3, 128, 128) uint8."""
        self.net.eval()
        parts = [network.look(self.net, p) for p in pictures.split(_CHUNK)]
        return [torch.cat(column).softmax(1) for column in zip(*parts, strict=True)]


def right(chances: Tensor, wanted: Tensor, groups: Groups) -> Tensor:
    """(M,) 1 where the group of the word is the likeliest, for the M pictures that have a word."""
    labelled = wanted != UNLABELLED
    table = torch.tensor(group_of(chances.shape[1], groups))
    return (pooled(chances[labelled], groups).argmax(1) == table[wanted[labelled]]).float()


def balanced(chances: Tensor, wanted: Tensor, groups: Groups) -> float:
    """Mean over the groups of the share that is right, as if every group were equally common."""
    known = wanted[wanted != UNLABELLED]
    group = torch.tensor(group_of(chances.shape[1], groups))[known]
    hits = right(chances, wanted, groups)
    shares = [float(hits[group == g].mean()) for g in group.unique().tolist()]
    return sum(shares) / len(shares) if shares else float("nan")


def split(corpus: Corpus) -> tuple[Tensor, Tensor]:
    """Rows to learn from, and those of the people held out."""
    held = corpus.column("person").unique(return_inverse=True)[1] % HELD_OUT == HELD_OUT - 1
    rows = torch.arange(len(corpus))
    return rows[~held], rows[held]


def _spread(rows: Tensor, count: int) -> Tensor:
    """`count` of the rows, evenly."""
    return rows[torch.linspace(0, len(rows) - 1, min(count, len(rows))).long()]


def fit(
    corpus: Corpus,
    work: Path,
    steps: int,
    batch: int = BATCH,
    through: int = THROUGH,
    device: torch.device = CPU,
    minutes: float | None = None,
) -> nn.Module:
    """Train, or go on training, for `steps` or `minutes` in all; the result is on the CPU."""
    learn, _ = split(corpus)
    wanted = labels(corpus.looks)
    weights = [w.to(device) for w in network.word_weights(wanted[learn])]
    chosen = _spread(learn, through)
    soft = roundtrips.cached(
        work / "roundtrips.safetensors", corpus, chosen, roundtrips.open_vae(), noise=LATENT_NOISE, seed=SEED
    ).to(device)
    images = None if device.type == "cpu" else corpus.column("image").to(device)
    learn, wanted, chosen = learn.to(device), wanted.to(device), chosen.to(device)

    def step(_: float, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        few = round(batch * THROUGH_SHARE)
        plain = learn[torch.randint(0, len(learn), (batch - few,), generator=generator)]
        drawn = torch.randint(0, len(chosen), (few,), generator=generator)
        shown = corpus.rows("image", plain) if images is None else images[plain]
        pictures, truth = network.disturb(
            torch.cat([shown, soft[drawn]]).float(),
            torch.cat([wanted[plain], wanted[chosen[drawn]]]),
            generator,
        )
        return network.loss(network.look(net, pictures), truth, weights), {}

    plan = plan_of(minutes, 3e-3, batch, SEED, steps)
    with device:
        torch.manual_seed(SEED)
        net = network.Classifier().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        train(NAME, nn.ModuleDict({"net": net}), step, plan, work)
    net.load_state_dict(averaged(work, NAME))
    return net.to(CPU).eval()


def finish(net: nn.Module, corpus: Corpus, work: Path, steps: int) -> Path:
    """Decide which rigs count as one, measure on the people held out, and write the checkpoint."""
    _, held = split(corpus)
    wanted = labels([corpus.looks[i] for i in held.tolist()])
    chances = Reader(net, ()).read(corpus.rows("image", held))
    labelled = wanted != UNLABELLED
    groups = tuple(
        merge(chance[labelled[:, i]], wanted[labelled[:, i], i])
        if attribute.joinable and bool(labelled[:, i].any())
        else apart(len(attribute.words))
        for i, (chance, attribute) in enumerate(zip(chances, ATTRIBUTES, strict=True))
    )
    few = _spread(torch.arange(len(held)), THROUGH_HELD)
    seen = roundtrips.through(roundtrips.open_vae(), corpus.rows("image", held[few]))
    softly = Reader(net, ()).read(seen)
    print(f"{'attribute':<16} merged  apart  through the autoencoder ({len(held)} and {len(few)} pictures)")
    for i, attribute in enumerate(ATTRIBUTES):
        figures = [
            balanced(chances[i], wanted[:, i], groups[i]),
            balanced(chances[i], wanted[:, i], apart(len(attribute.words))),
            balanced(softly[i], wanted[few, i], groups[i]),
        ]
        merged = joined(attribute.words, groups[i])
        print(f"{attribute.name:<16} " + "  ".join(f"{f:.3f}" for f in figures) + f"  {merged}", flush=True)
    facts = {"groups": json.dumps(groups), "steps": str(steps)}
    write_atomically(work / FILE, dict(net.state_dict()), facts)
    return work / FILE


def joined(words: tuple[str, ...], groups: Groups) -> str:
    """The words that count as one, for people: `brown = black`."""
    return "; ".join(" = ".join(words[w] for w in group) for group in groups if len(group) > 1)


def load(file: Path) -> Reader:
    """Read what `finish` wrote.  Raises `FileNotFoundError` with the command that makes it."""
    if not file.is_file():
        raise FileNotFoundError(
            f"{file}: no classifiers; run python -m scripts.evaluate.studio.classifiers first"
        )
    net = network.Classifier()
    net.load_state_dict(load_file(file))
    with safe_open(str(file), framework="pt") as handle:
        groups = json.loads((handle.metadata() or {})["groups"])
    return Reader(net.eval(), tuple(tuple(tuple(g) for g in of) for of in groups))


def main(
    corpus: Annotated[Path, typer.Option(help="folder of the rendered shards")] = Path("work/corpus"),
    work: Annotated[Path, typer.Option(help="working folder")] = WORK,
    steps: Annotated[int, typer.Option(help="steps, those already done included")] = STEPS,
    limit: Annotated[int | None, typer.Option(help="use only the first so many pictures")] = None,
    more: Annotated[list[Path] | None, typer.Option(help="further folders: styles, later words")] = None,
    batch: Annotated[int, typer.Option(help="pictures of a step")] = BATCH,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto")] = "cpu",
    minutes: Annotated[
        float | None, typer.Option(help="at most so long: CPU minutes, or minutes on a GPU")
    ] = None,
) -> None:
    """Train and write `classifiers.safetensors`."""
    if more and limit:
        raise typer.BadParameter("--limit and --more exclude each other")
    pictures = Corpus(corpus, limit, *(more or ()))
    net = fit(pictures, work, steps, batch, device=pick_device(device), minutes=minutes)
    print(f"wrote {finish(net, pictures, work, steps)}", flush=True)


if __name__ == "__main__":
    typer.run(main)
