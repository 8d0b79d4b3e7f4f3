"""Train the embedded base (Stable-Diffusion format, 128 px) from the rendered corpus, stage by stage.

python -m scripts.train.base all --corpus work/corpus --more work/corpus_styles --more work/corpus_wider \\
    --teacher work/face_pack

On a GPU the same with `--device cuda`.  So that the pictures need not be there first, the UNet can also learn
from what is being rendered (`--grow`); the one that ships went on so for eleven minutes of an H100:

python -m scripts.train.render_corpus --people 12000 --views 2 --first-seed 3000000 --shard 240 \\
    --out work/own &
python -m scripts.train.render_corpus --edition 2 --people 7000 --views 2 --first-seed 3500000 --shard 240 \\
    --out work/wider &
python -m scripts.train.base unpack
python -m scripts.train.base unet --grow --mirrors --device cuda --minutes 11.3 --share 0.5 \\
    --corpus work/own --more work/wider --more work/styles
python -m scripts.train.style_corpus --corpus work/own --count 1400 --out work/styles    meanwhile

Once these were there, as many people of edition 2 again (from seed 3600000) and two more choices of styles
came in the same way.

Stages: tokenizer, pca, encoder, latents, decoder, unet, export; `unpack` in place of the first three goes on
from the base that ships, `extend` adds later words to a training that has begun.  Every stage leaves its
result in `--out` and goes on from its checkpoint when repeated; `export` may run at any time from the newest.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Annotated, Any, Final

if __name__ == "__main__":  # read by the libraries while they are imported
    os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import typer

from scripts.train.base import export as export_stage
from scripts.train.base import extend as extend_stage
from scripts.train.base import latents as latents_stage
from scripts.train.base import supply
from scripts.train.base import tokenizer as tokenizer_stage
from scripts.train.base import unet as unet_stage
from scripts.train.base import unpack as unpack_stage
from scripts.train.base import vae as vae_stage
from scripts.train.base.card import Pictures
from scripts.train.base.likeness import teacher_of
from scripts.train.base.names import FILE as NAMES_FILE
from scripts.train.checkpoint import CHECKPOINT, read_state
from scripts.train.corpus import Corpus
from scripts.train.loop import Plan, pick_device
from scripts.train.memory import keep_memory

app = typer.Typer(add_completion=False, help=__doc__, pretty_exceptions_enable=False)

Folder = Annotated[Path, typer.Option("--corpus", help="folder of the rendered shards")]
More = Annotated[
    list[Path] | None,
    typer.Option("--more", help="a further folder of shards: other styles, later words; may be repeated"),
]
Out = Annotated[Path, typer.Option("--out", help="working folder")]
Threads = Annotated[int, typer.Option(help="CPU threads; 0 leaves it to torch")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]
Minutes = Annotated[float | None, typer.Option(help="length of the run in minutes, instead of --steps")]
Steps = Annotated[int, typer.Option(help="length of the run in steps")]
Batch = Annotated[int, typer.Option()]
Rate = Annotated[float, typer.Option("--lr", help="peak learning rate")]
Limit = Annotated[int | None, typer.Option(help="use only the first so many pictures")]
Mirrors = Annotated[
    bool,
    typer.Option("--mirrors", help="half of the pictures with left for right: asked of latents and unet"),
]
Sizes = Annotated[str, typer.Option(help="channels per resolution, finest first")]
Teaching = Annotated[
    Path | None,
    typer.Option(
        "--teacher", help="working folder of scripts.train.face_pack: its embedder A watches the likeness"
    ),
]
Checkpoint = Annotated[float, typer.Option(help="minutes between checkpoints")]

CORPUS: Final = Path("work/corpus")
OUT: Final = Path("work/base")
ASSETS: Final = Path("portrait_lora/assets/base")
NAMES: Final = Path(__file__).with_name(NAMES_FILE)
VAE_CHANNELS: Final = "16,48,96,120"
VAE_GROUPS: Final = 1
UNET_CHANNELS: Final = "80,144,192"
UNET_ATTENTION: Final = "0,1,1"


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(c) for c in text.split(","))


def _steps(steps: int, minutes: float | None) -> int | None:
    """Minutes stand in place of steps."""
    return steps if minutes is None else None


def _begin(threads: int, device: str) -> torch.device:
    if threads:
        torch.set_num_threads(threads)
    keep_memory()
    torch.set_float32_matmul_precision("high")
    return pick_device(device)


def _without_limit(more: list[Path] | None, limit: int | None) -> None:
    if more and limit:
        raise typer.BadParameter("--limit and --more exclude each other")


def _vae(out: Path) -> Any:
    shape = out / "vae_shape.txt"
    channels, groups = shape.read_text().split() if shape.exists() else (VAE_CHANNELS, VAE_GROUPS)
    return vae_stage.load_vae(out, _sizes(channels), int(groups))


@app.command()
def tokenizer(out: Out = OUT) -> None:
    """Build the tokenizer."""
    tokens = tokenizer_stage.write_tokenizer(out / "tokenizer")
    print(f"tokenizer: {len(tokens)} tokens, at most {tokens.model_max_length} per prompt", flush=True)


@app.command()
def unpack(
    out: Out = OUT,
    source: Annotated[Path, typer.Option("--from", help="folder of a shipped base")] = ASSETS,
    names: Annotated[Path, typer.Option(help="its network of names")] = NAMES,
) -> None:
    """Turn a shipped base back into checkpoints, so that training can go on where it ended."""
    unpack_stage.unpack(source, out, names)


@app.command()
def extend(out: Out = OUT) -> None:
    """Give a stopped training the words that came to the vocabulary since it began; then go on with unet."""
    extend_stage.extend(out)


@app.command()
def pca(
    corpus: Folder = CORPUS,
    out: Out = OUT,
    whiten: Annotated[float, typer.Option(help="1 = every channel of unit spread, 0 = as it comes")] = 0.75,
    limit: Limit = None,
    threads: Threads = 2,
) -> None:
    """Choose the latents."""
    _begin(threads, "cpu")
    vae_stage.fit_pca(Corpus(corpus, limit), out, whiten)


@app.command()
def encoder(
    corpus: Folder = CORPUS,
    out: Out = OUT,
    channels: Sizes = VAE_CHANNELS,
    groups: Annotated[int, typer.Option(help="groups of the normalisation")] = VAE_GROUPS,
    steps: Steps = 900,
    minutes: Minutes = None,
    batch: Batch = 16,
    lr: Rate = 2e-3,
    limit: Limit = None,
    threads: Threads = 2,
    device: Device = "auto",
) -> None:
    """Train the encoder onto the chosen latents."""
    where = _begin(threads, device)
    out.mkdir(parents=True, exist_ok=True)
    (out / "vae_shape.txt").write_text(f"{channels} {groups}")
    plan = Plan(_steps(steps, minutes), batch, lr, minutes, ema=0.99, betas=(0.9, 0.98))
    vae = vae_stage.new_vae(_sizes(channels), groups)
    vae_stage.train_encoder(Corpus(corpus, limit), vae, out, plan, where)


@app.command()
def latents(
    corpus: Folder = CORPUS,
    out: Out = OUT,
    more: Annotated[
        list[Path] | None, typer.Option(help="encode these further folders instead, in this order")
    ] = None,
    mirrors: Mirrors = False,
    limit: Limit = None,
    threads: Threads = 2,
    device: Device = "auto",
) -> None:
    """Encode the whole corpus once."""
    where = _begin(threads, device)
    file = out / (latents_stage.MORE_LATENTS_FILE if more else latents_stage.LATENTS_FILE)
    first, *others = more or [corpus]
    latents_stage.encode_all(Corpus(first, limit, *others), _vae(out), file, where, mirrors)


@app.command()
def decoder(
    corpus: Folder = CORPUS,
    more: More = None,
    out: Out = OUT,
    steps: Steps = 5000,
    minutes: Minutes = None,
    batch: Batch = 16,
    lr: Rate = 1.5e-3,
    teacher: Teaching = None,
    limit: Limit = None,
    threads: Threads = 2,
    device: Device = "auto",
) -> None:
    """Train the decoder from the encoder's latents."""
    where = _begin(threads, device)
    plan = Plan(_steps(steps, minutes), batch, lr, minutes, ema=0.995, betas=(0.9, 0.98))
    _without_limit(more, limit)
    pictures = Corpus(corpus, limit, *(more or ()))
    likeness = teacher_of(teacher, where) if teacher else None
    vae_stage.train_decoder(pictures, _vae(out), out, plan, where, len(Corpus(corpus, limit)), likeness)


@app.command()
def unet(
    corpus: Folder = CORPUS,
    more: More = None,
    share: Annotated[float, typer.Option(help="part of the samples that come from --more")] = 0.4,
    out: Out = OUT,
    channels: Sizes = UNET_CHANNELS,
    attention: Annotated[str, typer.Option(help="which resolutions attend, finest first")] = UNET_ATTENTION,
    steps: Steps = 10_000,
    minutes: Minutes = None,
    batch: Annotated[int | None, typer.Option(help="by default 32 on a CPU, 512 on a GPU")] = None,
    lr: Rate = 1e-3,
    checkpoint_minutes: Checkpoint = 5.0,
    seed: Annotated[int, typer.Option()] = 0,
    mirrors: Mirrors = False,
    grow: Annotated[
        bool, typer.Option("--grow", help="encode the shards itself, those too that are rendered meanwhile")
    ] = False,
    replay: Annotated[bool, typer.Option(help="on a GPU, record a step and replay it")] = True,
    limit: Limit = None,
    threads: Threads = 2,
    device: Device = "auto",
) -> None:
    """Train the UNet and the text encoder on the stored latents."""
    where = _begin(threads, device)
    batch = batch or (32 if where.type == "cpu" else 512)
    plan = Plan(
        _steps(steps, minutes),
        batch,
        lr,
        minutes,
        warmup=150,
        seed=seed,
        save_seconds=checkpoint_minutes * 60,
        replay=replay,
    )
    shape = unet_stage.Shape(_sizes(channels), _sizes(attention))
    words = tokenizer_stage.load_tokenizer(out / "tokenizer")
    _without_limit(more, limit)
    source = (
        supply.Growing(corpus, more or (), _vae(out), where, mirrors)
        if grow
        else supply.Stored(
            Corpus(corpus, limit, *(more or ())), len(Corpus(corpus, limit)), out, where, mirrors
        )
    )
    unet_stage.train_unet(source, lambda: _vae(out), words, out, plan, shape, where, share if more else 0.0)


@app.command()
def export(
    corpus: Folder = CORPUS,
    more: More = None,
    out: Out = OUT,
    target: Annotated[Path, typer.Option(help="folder to write")] = ASSETS,
    threads: Threads = 2,
) -> None:
    """Write the folder that ships, from the newest running average."""
    _begin(threads, "cpu")
    looks = Corpus(corpus, None, *(more or ())).looks[len(Corpus(corpus)) :]
    styled = sum(look.style is not None for look in looks)
    drawn = Pictures(len(Corpus(corpus)), len(looks) - styled, styled)
    export_stage.export(out, target, _vae(out), drawn)
    if target == ASSETS:
        shutil.copyfile(out / NAMES_FILE, NAMES)


@app.command("all")
def everything(
    corpus: Folder = CORPUS,
    more: More = None,
    out: Out = OUT,
    minutes: Annotated[float | None, typer.Option(help="minutes for the UNet, instead of its steps")] = None,
    teacher: Teaching = None,
    threads: Threads = 2,
    device: Device = "auto",
) -> None:
    """All stages in order, skipping those that are finished."""
    if not (out / "tokenizer" / "vocab.json").exists():
        tokenizer(out)
    if not (out / vae_stage.PCA_FILE).exists():
        pca(corpus, out, threads=threads)
    if not read_state(out / "encoder").finished:
        encoder(corpus, out, threads=threads, device=device)
    if not (out / latents_stage.LATENTS_FILE).exists():
        latents(corpus, out, threads=threads, device=device)
    if more and not (out / latents_stage.MORE_LATENTS_FILE).exists():
        latents(corpus, out, more, threads=threads, device=device)
    if not read_state(out / "decoder").finished:
        decoder(corpus, more, out, teacher=teacher, threads=threads, device=device)
    if not read_state(out / "unet").finished or not (out / "unet" / CHECKPOINT).exists():
        unet(corpus, more, out=out, minutes=minutes, threads=threads, device=device)
    export(corpus, more, out, threads=threads)


if __name__ == "__main__":
    app()
