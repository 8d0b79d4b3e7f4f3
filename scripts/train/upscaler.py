"""Train the embedded 4× upscaler on renders of the studio and write it into the package.

python -m scripts.train.upscaler corpus --work work/upscaler
python -m scripts.train.upscaler train --work work/upscaler --minutes 20
python -m scripts.train.upscaler pack --work work/upscaler

Truths are renders of 512 px; inputs are what a quarter of the size holds of them (by area, bicubic, or drawn
through the embedded autoencoder, as portraits are), mildly spoilt by noise and JPEG.  Every stage can be
interrupted and repeated.
"""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Final

if __name__ == "__main__":  # read by the libraries while they are imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
import typer  # noqa: E402
from PIL import Image  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as f  # noqa: E402

from portrait_lora import manifest, synthetic  # noqa: E402
from portrait_lora.finishing.esrgan import Compact  # noqa: E402
from scripts.train.checkpoint import averaged, checkpoint_of  # noqa: E402
from scripts.train.loop import Plan, Run  # noqa: E402

app = typer.Typer(no_args_is_help=True, add_completion=False)
OUT: Final = ROOT / "portrait_lora" / "assets" / "upscaler"
FIRST_SEED: Final = 2_300_000
"""People who train nothing else and measure nothing."""
SHARD: Final = 20
TRUTH_PX: Final = 512
SCALE: Final = 4
PATCH_PX: Final = 32
"""Of the input."""
FEATURES, BLOCKS = 32, 10
_INPUTS: Final = ("area", "bicubic", "drawn")
_NAME: Final = "upscaler"
Work = Annotated[Path, typer.Option("--work", help="folder for renders and checkpoints")]


@app.command()
def corpus(work: Work, people: int = 240) -> None:
    """Render the truths and make the inputs, twenty people to a file."""
    vae = _autoencoder()
    work.mkdir(parents=True, exist_ok=True)
    for first in range(0, people, SHARD):
        file = work / f"truths-{first // SHARD:03d}.safetensors"
        if file.exists():
            continue
        seeds = range(FIRST_SEED + first, FIRST_SEED + min(first + SHARD, people))
        truths = torch.cat([truth(seed) for seed in seeds])
        table = {"truth": truths} | inputs(truths, vae)
        temporary = file.with_suffix(".tmp")
        save_file(table, str(temporary))
        os.replace(temporary, file)
        print(f"{file.name}: {len(truths)} renders", flush=True)


def truth(seed: int, size_px: int = TRUTH_PX) -> Tensor:
    """(1, 3, S, S) uint8: one person in a scene of any kind."""
    scene_seed = seed * 1000 + 1
    people = synthetic.dressed(synthetic.sample_people([seed]), [scene_seed])
    scenes = synthetic.sample_scenes([scene_seed], edition=2)
    return synthetic.render(people, scenes, size_px=size_px, supersample=2).image_BCHW


def inputs(truths: Tensor, vae: Any) -> dict[str, Tensor]:
    """The three kinds of inputs, (N, 3, S / 4, S / 4) uint8."""
    large = truths.float() / 255
    area = f.avg_pool2d(large, SCALE)
    small = area.shape[-2:]
    bicubic = f.interpolate(large, small, mode="bicubic", antialias=True).clamp(0, 1)
    with torch.no_grad():
        drawn = [vae.decode(vae.encode(one[None] * 2 - 1).latent_dist.mode()).sample for one in area]
    return {
        "area": _bytes(area),
        "bicubic": _bytes(bicubic),
        "drawn": _bytes((torch.cat(drawn) + 1) / 2),
    }


def _bytes(values: Tensor) -> Tensor:
    return (values.clamp(0, 1) * 255 + 0.5).to(torch.uint8)


def _autoencoder() -> Any:
    from diffusers import AutoencoderKL

    folder = ROOT / "portrait_lora" / "assets" / "base" / "vae"
    return AutoencoderKL.from_pretrained(folder).float().eval()


@app.command()
def train(work: Work, minutes: float = 20.0, batch: int = 16) -> None:
    """Train, or go on; `minutes` are processor time."""
    torch.manual_seed(17)
    net = Compact(FEATURES, BLOCKS, SCALE)
    plan = Plan(
        steps=None, minutes=minutes, processor_time=True, batch=batch, lr=1e-3, seed=17,
        checkpoint=checkpoint_of(_NAME), report_seconds=30.0, report_steps=None, save_seconds=60.0,
    )  # fmt: skip
    run = Run(_NAME, work, nn.ModuleDict({"net": net}), plan)
    parts = [load_file(str(p)) for p in sorted(work.glob("truths-*.safetensors"))]
    table = {key: torch.cat([part[key] for part in parts]) for key in ("truth", *_INPUTS)}

    def loss(small: Tensor, large: Tensor) -> tuple[Tensor, dict[str, float]]:
        off = net(small) - large
        value = (off**2 + 1e-6).sqrt().mean()  # Charbonnier
        return value, {"psnr": float(-10 * torch.log10((off.detach() ** 2).mean()))}

    run.train(lambda step, rng: patches(table, batch, np.random.default_rng([17, step])), loss)


def patches(table: dict[str, Tensor], count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Inputs and truths of one batch, (B, 3, P, P) and (B, 3, 4 P, 4 P)."""
    pairs = [_patch(table, rng) for _ in range(count)]
    return torch.stack([small for small, _ in pairs]), torch.stack([large for _, large in pairs])


def _patch(table: dict[str, Tensor], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A quarter of them shows twice as much, halved: portraits come with small faces too."""
    halved = rng.random() < 0.25
    side = PATCH_PX * (2 if halved else 1)
    which = int(rng.integers(len(table["truth"])))
    y, x = (int(v) for v in rng.integers(0, TRUTH_PX // SCALE - side + 1, 2))
    large = table["truth"][which, :, y * SCALE : (y + side) * SCALE, x * SCALE : (x + side) * SCALE]
    large = large.float() / 255
    if halved:
        large = f.avg_pool2d(large, 2)
        small = f.avg_pool2d(large, SCALE)
    else:
        kind = _INPUTS[int(rng.choice(3, p=(0.5, 0.2, 0.3)))]
        small = table[kind][which, :, y : y + side, x : x + side].float() / 255
    return _turned(_spoilt(small, rng), large, rng)


def _spoilt(small: Tensor, rng: np.random.Generator) -> Tensor:
    if rng.random() < 0.3:
        noise = rng.standard_normal(tuple(small.shape), dtype=np.float32)
        small = small + torch.from_numpy(noise * np.float32(rng.uniform(0, 2.5) / 255))
    if rng.random() < 0.2:
        buffer = io.BytesIO()
        pixels = np.ascontiguousarray(_bytes(small).permute(1, 2, 0).numpy())
        Image.fromarray(pixels).save(buffer, "JPEG", quality=int(rng.integers(80, 97)), subsampling=0)
        read = np.asarray(Image.open(buffer).convert("RGB"), np.float32) / 255
        return torch.from_numpy(read).permute(2, 0, 1)
    return _bytes(small).float() / 255


def _turned(small: Tensor, large: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
    pair = [torch.rot90(one, turns, (1, 2)) for one in (small, large)]
    first, second = (one.flip(2) if mirrored else one for one in pair)
    return first, second


@app.command()
def pack(work: Work, out: Path = OUT) -> None:
    """Write the averaged weights (half precision) with the record of their licence."""
    weights = averaged(work, _NAME)
    out.mkdir(parents=True, exist_ok=True)
    file = out / "studio_x4.safetensors"
    save_file({k: v.half().contiguous() for k, v in weights.items()}, str(file), {"format": "pt"})
    file.chmod(0o644)
    record = {
        "licence": "Apache-2.0",
        "commercial": "yes",
        "source": "trained on renders of the synthetic studio by scripts/train/upscaler.py",
        "sha256": manifest.sha256_file(file),
    }
    sidecar = file.with_suffix(".json")
    sidecar.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"{file}: {file.stat().st_size} bytes", flush=True)


if __name__ == "__main__":
    app()
