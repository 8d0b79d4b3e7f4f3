"""Trains the network of `faces.lenses` from nothing, on studio renders alone.

python -m scripts.train.lenses render --work FOLDER    1,500 faces (two minutes of one core)
python -m scripts.train.lenses train --work FOLDER     2,600 steps of 64 (five minutes of one core)

The same folder gives the same bytes again; `CARD.md` beside the weights names those that ship.

A third of the people wear the studio's sunglasses, a quarter its glasses.  On 42 of 100 of the others lenses
are drawn; the rest get what looks like them: shade, deep sockets, make-up, brows, frames, tinted lenses.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Final

import cv2
import numpy as np
import torch
import typer
from insightface.utils import face_align
from safetensors.torch import save
from torch import Tensor, nn

from portrait_lora import manifest, vocabulary
from portrait_lora.faces import lenses
from portrait_lora.synthetic.identity import sample_people
from portrait_lora.synthetic.render import render as render_people
from portrait_lora.synthetic.scene import sample_scenes
from portrait_lora.synthetic.wear import dressed
from scripts.train.lenses import drawing

app = typer.Typer(no_args_is_help=True, add_completion=False)
PEOPLE_FROM, SCENES_FROM = 200_000, 500_000
"""People and scenes that no evaluation uses."""
BATCH: Final = 64
LENSES_ODDS: Final = 0.42
_GLASSES = (vocabulary.GLASSES[0], "clear", "sunglasses")
_GLASSES_ODDS: Final = (0.45, 0.25, 0.3)
_CLEAR = vocabulary.GLASSES[1:]
Work = Annotated[Path, typer.Option("--work", help="folder for the renders")]


@app.command()
def render(work: Work, people: int = 1500) -> None:
    """Render the faces, aligned and grey, with their eyes and what they wear."""
    torch.set_num_threads(1)
    rows = [_face(i) for i in range(people)]
    work.mkdir(parents=True, exist_ok=True)
    pictures, eyes, worn = (np.array(column) for column in zip(*rows, strict=True))
    np.savez(work / "lenses.npz", pictures=pictures, eyes=eyes, worn=worn)


def _face(index: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Luma (SIDE, SIDE), the eyes (2, 2) in it, and the place in `_GLASSES`."""
    rng = np.random.default_rng([index, 9])
    worn = int(rng.choice(3, p=_GLASSES_ODDS))
    word = _CLEAR[int(rng.integers(len(_CLEAR)))] if worn == 1 else _GLASSES[worn]
    person = dressed(sample_people([PEOPLE_FROM + index]), [index], glasses=word)
    fraction = float(rng.uniform(0.6, 0.75))
    scene = sample_scenes([SCENES_FROM + index], edition=2, max_yaw_deg=55.0, head_fraction=fraction)
    shot = render_people(person, scene, (208, 256))
    image = np.ascontiguousarray(shot.image_BCHW[0].permute(1, 2, 0).numpy())
    points = shot.keypoints_px[0].numpy().astype(np.float32)
    target = (face_align.arcface_dst + drawing.MARGIN).astype(np.float32)
    affine, _ = cv2.estimateAffinePartial2D(points, target, method=cv2.LMEDS)
    size = (drawing.SIDE, drawing.SIDE)
    aligned = cv2.warpAffine(image, affine, size, borderMode=cv2.BORDER_REPLICATE)
    eyes = points[:2].astype(np.float64) @ affine[:, :2].T + affine[:, 2]
    return cv2.cvtColor(aligned, cv2.COLOR_RGB2GRAY), eyes, worn


class Net(nn.Module):
    """Three convolutions and two layers; the names of the weights are those of the file."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(1, 12, 5, 2, 2), nn.Conv2d(12, 24, 3, 2, 1)
        self.c3 = nn.Conv2d(24, 32, 3, 2, 1)
        self.f, self.o, self.d = nn.Linear(32 * 6 * 11, 24), nn.Linear(24, 1), nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.c1, self.c2, self.c3):
            x = torch.relu(layer(x))
        return self.o(torch.relu(self.f(self.d(x.flatten(1))))).squeeze(1)


def sample(
    picture: np.ndarray, eyes: np.ndarray, worn: int, rng: np.random.Generator
) -> tuple[np.ndarray, int]:
    """A strip for training and whether it shows dark lenses."""
    image, dark = picture.astype(np.float32), int(worn == 2)
    if not dark and rng.random() < LENSES_ODDS:
        image, dark = drawing.lenses(image, eyes, rng), 1
    elif not dark:
        for thing, odds in drawing.HARMLESS:
            if rng.random() < odds and (worn == 0 or thing not in (drawing.frames, drawing.tint)):
                image = thing(image, eyes, rng)
    if dark and rng.random() < 0.25:
        image = (drawing.brim_shade, drawing.strands)[int(rng.integers(2))](image, eyes, rng)
    image = drawing.spoilt(image[:, ::-1] if rng.random() < 0.5 else image, rng)
    middle = (drawing.SIDE / 2, drawing.SIDE / 2)
    affine = cv2.getRotationMatrix2D(middle, rng.normal(0, 4), float(np.exp(rng.normal(0, 0.06))))
    affine[:, 2] += rng.normal(0, 2.5, 2) - drawing.MARGIN
    aligned = cv2.warpAffine(image, affine, (112, 112), borderMode=cv2.BORDER_REPLICATE)
    return lenses.strip(np.asarray(aligned, dtype=np.float32)), dark


@app.command()
def train(work: Work, steps: int = 2600, out: Path = lenses.FILE) -> None:
    """Train and write the weights."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    faces, rng, begin = np.load(work / "lenses.npz"), np.random.default_rng(1), time.monotonic()
    pictures, eyes, worn = faces["pictures"], faces["eyes"], faces["worn"]
    net = Net()
    optimiser = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    for step in range(steps):
        rows = rng.integers(len(pictures), size=BATCH)
        samples = [sample(pictures[i], eyes[i], int(worn[i]), rng) for i in rows]
        x = torch.from_numpy(np.stack([strip for strip, _ in samples]))[:, None]
        y = torch.tensor([dark for _, dark in samples], dtype=torch.float32) * 0.96 + 0.02
        loss = nn.functional.binary_cross_entropy_with_logits(net(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 100 == 99:
            print(f"{step + 1} steps, loss {loss.item():.3f}, {time.monotonic() - begin:.0f} s", flush=True)
    manifest.make_folder(out.parent)
    weights = save({k: v.contiguous() for k, v in net.state_dict().items()})
    manifest.write_bytes_atomic(out, weights, shared=True)
    print(f"{out}: sha256 {manifest.sha256_file(out)}")


if __name__ == "__main__":
    app()
