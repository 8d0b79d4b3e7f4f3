"""Styled pictures out of a rendered corpus, without rendering anew: shards beside it, in the same columns.

python -m scripts.train.style_corpus --corpus work/corpus --out work/corpus_styles --count 3600

The pictures are spread over all people, every style has its share, and their looks name it.  Finished shards
are skipped, so the command can be interrupted and repeated.
"""

from __future__ import annotations

import itertools
import json
import random
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Final

import torch
import typer
from torch import Tensor

from portrait_lora import vocabulary
from portrait_lora.synthetic.styles import styled
from scripts.train.checkpoint import write_atomically
from scripts.train.corpus import COLUMNS, Corpus

SHARD_IMAGES: Final = 1200


def chosen(pictures: int, count: int, seed: int) -> list[tuple[int, str]]:
    """(row, style) of `count` different pictures: one from each of as many equal stretches of the corpus."""
    draw = random.Random(f"styles-{seed}")
    edges = [i * pictures // count for i in range(count + 1)]
    rows = [draw.randrange(first, last) for first, last in itertools.pairwise(edges)]
    words = [vocabulary.STYLES[i % len(vocabulary.STYLES)] for i in range(count)]
    draw.shuffle(words)
    return list(zip(rows, words, strict=True))


def write_shard(corpus: Corpus, picks: list[tuple[int, str]], file: Path) -> None:
    """One shard: columns as they are but for the pictures, looks that name the style."""
    rows = [row for row, _ in picks]
    table: dict[str, Tensor] = {column: corpus.rows(column, rows) for column in COLUMNS}
    for style in vocabulary.STYLES:
        mine = [place for place, (_, picked) in enumerate(picks) if picked == style]
        if mine:
            table["image"][mine] = styled(table["image"][mine], style, [rows[place] for place in mine])
    looks = [asdict(replace(corpus.looks[row], style=style)) for row, style in picks]
    file.with_suffix(".json").write_text(
        json.dumps({"size_px": corpus.size_px, "source": str(corpus.folder), "rows": rows, "looks": looks}),
        encoding="utf-8",
    )
    write_atomically(file, table)


def main(
    corpus: Annotated[Path, typer.Option(help="folder of the rendered shards")] = Path("work/corpus"),
    out: Annotated[Path, typer.Option(help="folder of the styled shards")] = Path("work/corpus_styles"),
    count: Annotated[int, typer.Option(help="how many pictures, all styles together")] = 3600,
    seed: Annotated[int, typer.Option(help="another choice of pictures")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads")] = 1,
) -> None:
    """Write the styled shards that are missing."""
    import cv2

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    source = Corpus(corpus)
    if not 0 < count <= len(source):
        raise typer.BadParameter(f"--count is 1 to {len(source)}, the pictures of {corpus}; got {count}")
    settings = {"source": str(corpus), "pictures": len(source), "count": count, "seed": seed}
    out.mkdir(parents=True, exist_ok=True)
    begun = out / "corpus.json"
    if begun.exists() and (before := json.loads(begun.read_text(encoding="utf-8"))) != settings:
        raise typer.BadParameter(f"{out} was begun with {before}, not {settings}; choose another --out")
    begun.write_text(json.dumps(settings, indent=2), encoding="utf-8")
    picks, started = chosen(len(source), count, seed), time.monotonic()
    for shard, first in enumerate(range(0, count, SHARD_IMAGES)):
        file = out / f"shard-{shard:05d}.safetensors"
        if file.exists() and file.with_suffix(".json").exists():
            continue
        write_shard(source, picks[first : first + SHARD_IMAGES], file)
        done = min(count, first + SHARD_IMAGES)
        print(f"{file.name}: {done}/{count} pictures, {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    typer.run(main)
