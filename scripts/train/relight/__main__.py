"""Train the embedded network of `relight` on renders of the studio and write it into the package.

python -m scripts.train.relight render --work work/relight
python -m scripts.train.relight train --work work/relight --minutes 30
python -m scripts.train.relight read --work work/relight
python -m scripts.train.relight pack --work work/relight

Every stage can be interrupted and repeated.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Final

if __name__ == "__main__":  # read by the libraries while they are imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT: Final = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
import typer  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from torch import nn  # noqa: E402

from portrait_lora import manifest  # noqa: E402
from portrait_lora.finishing.relight_net import RelightNet  # noqa: E402
from scripts.train.checkpoint import averaged, checkpoint_of  # noqa: E402
from scripts.train.loop import Plan, Run  # noqa: E402
from scripts.train.relight import lessons, sittings  # noqa: E402

app = typer.Typer(no_args_is_help=True, add_completion=False)
OUT: Final = ROOT / "portrait_lora" / "assets" / "relight"
SHARD: Final = 50
_NAME: Final = "relight"
_READER: Final = "relight-reader"
_SEED: Final = 23
Work = Annotated[Path, typer.Option("--work", help="folder for renders and checkpoints")]


@app.command()
def render(work: Work, people: int = 1200, views: int = sittings.VIEWS) -> None:
    """Render the sittings, fifty people to a file."""
    work.mkdir(parents=True, exist_ok=True)
    for first in range(0, people, SHARD):
        file = work / f"sittings-{first // SHARD:03d}.safetensors"
        if file.exists():
            continue
        seeds = range(sittings.FIRST_SEED + first, sittings.FIRST_SEED + min(first + SHARD, people))
        rows = [sittings.sitting(seed, views) for seed in seeds]
        temporary = file.with_suffix(".tmp")
        save_file({key: torch.stack([row[key] for row in rows]) for key in rows[0]}, str(temporary))
        os.replace(temporary, file)
        print(f"{file.name}: {len(rows)} people", flush=True)


@app.command()
def train(
    work: Work,
    minutes: float = 30.0,
    batch: int = 4,
    steps: int | None = None,
    halved: float = 0.0,
    lr: float = 2e-3,
    start: Path | None = None,
    clock: bool = False,
    half: bool = False,
) -> None:
    """Train, or go on; `minutes` are processor time (by the `clock`: of the day), `steps` ends it earlier.

    The share `halved` of the run sees pictures of half the size, three times as many.  `start`: packed
    weights to begin with.  `half`: convolutions in bfloat16, far slower on processors that only emulate it.
    """
    torch.set_num_threads(1)
    torch.manual_seed(_SEED)
    net = RelightNet()
    if start is not None:
        _begin(net, load_file(str(start)))
    net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    plan = Plan(
        steps=steps, minutes=minutes, processor_time=not clock, batch=batch, lr=lr, seed=_SEED, ema=0.996,
        warmup=30 if start else 100,
        checkpoint=checkpoint_of(_NAME), report_seconds=30.0, report_steps=None, save_seconds=60.0,
    )  # fmt: skip
    run = Run(_NAME, work, nn.ModuleDict({"net": net}), plan)
    table = _table(work)

    def take(step: int, _: torch.Generator) -> tuple[lessons.Batch]:
        rng = np.random.default_rng([_SEED, step])
        small = run.progress < halved
        return (lessons.batch(table, batch * (3 if small else 1), rng, halved=small),)

    run.train(take, lambda one: lessons.loss(net, one, half=half))


@app.command()
def read(work: Work, steps: int = 900, batch: int = 48) -> None:
    """Train the part that reads the light of a picture, or go on; it shares nothing with the rest."""
    torch.set_num_threads(1)
    torch.manual_seed(_SEED)
    net = RelightNet()
    net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    plan = Plan(
        steps=steps, batch=batch, lr=2e-3, seed=_SEED, ema=0.99, warmup=30, weight_decay=0.02,
        checkpoint=checkpoint_of(_READER), report_seconds=30.0, report_steps=None, save_seconds=60.0,
    )  # fmt: skip
    run = Run(_READER, work, nn.ModuleDict({"reader": net.reader}), plan)
    table = _table(work)

    def take(step: int, _: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        return lessons.readings(table, batch, np.random.default_rng([_SEED, 1, step]))

    run.train(take, lambda pictures, light: lessons.loss_of_reading(net, pictures, light))


def _table(work: Path) -> dict[str, torch.Tensor]:
    parts = [load_file(str(p)) for p in sorted(work.glob("sittings-*.safetensors"))]
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def _begin(net: RelightNet, weights: dict[str, torch.Tensor]) -> None:
    """Put the weights in; further rows of a layer begin at zero, new layers as they are."""
    own = net.state_dict()
    for name, old in weights.items():
        rows = torch.zeros_like(own[name])
        rows[: len(old)] = old.float()
        own[name].copy_(rows)


@app.command()
def pack(work: Work, out: Path = OUT) -> None:
    """Write the averaged weights, in half precision."""
    weights = averaged(work, _NAME)
    weights |= {f"reader.{k}": v for k, v in averaged(work, _READER, "reader.").items()}
    file = out / "studio.safetensors"
    out.mkdir(parents=True, exist_ok=True)
    save_file({k: v.half().contiguous() for k, v in weights.items()}, str(file), {"format": "pt"})
    file.chmod(0o644)
    print(f"{file}: {file.stat().st_size} bytes, sha256 {manifest.sha256_file(file)}", flush=True)


if __name__ == "__main__":
    app()
