"""Train the network that reads the embedded watermark, and write it with the scheme's table into the package.

python -m scripts.train.watermark corpus --work work/watermark
python -m scripts.train.watermark train --work work/watermark --steps 900 --seed 17
python -m scripts.train.watermark pack --work work/watermark

The table (which wave carries which bit) is drawn once from a fixed seed and belongs to the scheme: pictures
that are marked already are read with it.  The network is trained on patches of marked pictures that were
compressed, resampled and toned, to let through as much of the mark as possible and as little of the picture.
"""

from __future__ import annotations

import json
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
from PIL import Image  # noqa: E402
from safetensors.numpy import save_file as save_arrays  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from portrait_lora import manifest  # noqa: E402
from portrait_lora.rights.watermark import code  # noqa: E402
from portrait_lora.rights.watermark.tiled import FILE  # noqa: E402
from scripts.train.watermark import pictures  # noqa: E402
from scripts.train.watermark.lessons import Lessons  # noqa: E402
from scripts.train.watermark.net import Extractor, measured, rate  # noqa: E402
from scripts.train.watermark.table import POINTS, SHELLS, table  # noqa: E402

app = typer.Typer(no_args_is_help=True, add_completion=False)
FIRST_SEED: Final = 2_810_000
"""People who train nothing else and measure nothing."""
TEXTURES, NOISES = 40, 25
SIZE_PX: Final = 512
Work = Annotated[Path, typer.Option("--work", help="folder for renders and the trained network")]


@app.command()
def corpus(work: Work, people: int = 75) -> None:
    """Render the pictures, one file each; what is there already stays."""
    work.mkdir(parents=True, exist_ok=True)
    for seed in range(FIRST_SEED, FIRST_SEED + people):
        file = work / f"{SIZE_PX}-{seed}.png"
        if not file.exists():
            temporary = file.with_suffix(".tmp")
            Image.fromarray(pictures.studio(seed, SIZE_PX)).save(temporary, "PNG")
            os.replace(temporary, file)


@app.command()
def train(work: Work, steps: int = 900, seed: int = 17) -> None:
    """Train from the start; the same seed and machine give the same bytes."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    renders = [np.asarray(Image.open(file).convert("RGB")) for file in sorted(work.glob(f"{SIZE_PX}-*.png"))]
    others = [pictures.texture(seed * 1000 + i, SIZE_PX) for i in range(TEXTURES)]
    others += [pictures.noise(seed * 1000 + i, SIZE_PX) for i in range(NOISES)]
    lessons = Lessons(renders, others)
    net = Extractor()
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-4)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps, pct_start=0.1)
    shells, recent = torch.from_numpy(SHELLS), []
    for step in range(steps):
        luma, tile, truth = lessons.batch(np.random.default_rng([seed, step]))
        seen = measured(net(luma)[:, 0], tile)[:, POINTS[:, 0], POINTS[:, 1]]
        value = rate(seen, truth, shells).mean()
        (-value).backward()
        norm = torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        if torch.isfinite(norm):
            optimiser.step()
        optimiser.zero_grad()
        plan.step()
        recent.append(float(value.detach()))
        if step % 20 == 19:
            print(f"step {step + 1}: {np.mean(recent[-40:]):.3f} bits per wave", flush=True)
            save_file(net.state_dict(), str(work / "extractor.safetensors"))
    save_file(net.state_dict(), str(work / "extractor.safetensors"))


@app.command()
def pack(work: Work, out: Path = FILE) -> None:
    """Write network and table with the record of their licence."""
    weights = {f"extractor.{k}": v.numpy() for k, v in load_file(str(work / "extractor.safetensors")).items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    everything = weights | table(code.CODED_BITS)
    save_arrays({k: np.ascontiguousarray(v) for k, v in everything.items()}, str(out), {"format": "np"})
    out.chmod(0o644)
    record = {
        "licence": "Apache-2.0",
        "commercial": "yes",
        "source": "trained on renders, textures and noise by scripts/train/watermark",
        "sha256": manifest.sha256_file(out),
    }
    out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"{out}: {out.stat().st_size} bytes", flush=True)


if __name__ == "__main__":
    app()
