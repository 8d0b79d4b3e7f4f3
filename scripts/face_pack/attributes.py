"""The network outside insightface: expression, glasses, beard, lighting and where the key light stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from portrait_lora import vocabulary
from scripts.face_pack import augment
from scripts.face_pack.data import Pool, landmark_crop
from scripts.face_pack.loop import CHECKPOINT, Plan, averaged, train
from scripts.face_pack.nets import LANDMARK_PX, Attributes

NAME: Final = "attributes"
FILE: Final = "heads/attributes.onnx"
GROUPS: Final = {
    "expression": vocabulary.EXPRESSIONS,
    "glasses": vocabulary.GLASSES,
    "beard": vocabulary.BEARDS,
    "lighting": vocabulary.LIGHTINGS,
}
WIDTH: Final = sum(map(len, GROUPS.values())) + 3
SEED: Final = 15
MINUTES: Final = 8.0
_CHUNK: Final = 200
_SMOOTHING: Final = 0.02


def truth(pool: Pool) -> Tensor:
    """(N, groups) label indices in the order of GROUPS."""
    return torch.cat([pool.expression[:, None], pool.worn], 1)


def split_answer(answer: Tensor) -> tuple[list[Tensor], Tensor]:
    """Logits of every group, and the (N, 3) direction of length 1."""
    *logits, light = answer.split([*map(len, GROUPS.values()), 3], dim=1)
    return list(logits), F.normalize(light, dim=1)


def look(net: nn.Module, crop: Tensor) -> Tensor:
    """The network on crops of 0..255."""
    with torch.autocast("cpu", torch.bfloat16):
        return net(((crop - 127.5) / 128.0).contiguous(memory_format=torch.channels_last)).float()


def accuracy(net: nn.Module, pool: Pool) -> dict[str, float]:
    """Share right per group, and the mean angle between the key lights in degrees, on plain pictures."""
    net.eval()
    with torch.no_grad():
        answers = [
            look(net, landmark_crop(pool.image[r], pool.box[r], None, LANDMARK_PX)[0])
            for r in torch.arange(len(pool)).split(_CHUNK)
        ]
    logits, light = split_answer(torch.cat(answers))
    right = {
        name: float((guess.argmax(1) == wanted).float().mean())
        for name, guess, wanted in zip(GROUPS, logits, truth(pool).unbind(1), strict=True)
    }
    cosine = (light * F.normalize(pool.light, dim=1)).sum(1).clamp(-1, 1)
    return right | {"light_deg": float(cosine.acos().rad2deg().mean()), "n": float(len(pool))}


def train_attributes(fit: Pool, held: Pool, folder: Path, minutes: float, batch: int = 64) -> None:
    """Cross entropy per group, cosine of the light; begins from the landmarks' trunk when there is one."""
    torch.manual_seed(SEED)
    net = Attributes(WIDTH)
    if (folder / CHECKPOINT.format(name="landmarks")).exists():
        net.features.load_state_dict(averaged(folder, "landmarks", "net.features."))
    net = net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    wanted = truth(fit)
    towards = F.normalize(fit.light, dim=1)

    def step(progress: float, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = torch.randint(0, len(fit), (batch,), generator=generator)
        crop, _ = landmark_crop(fit.image[rows], fit.box[rows], generator, LANDMARK_PX)
        crop = augment.camera(crop, generator, soft=0.25, strength=0.4)
        logits, light = split_answer(look(net, crop))
        losses = [
            F.cross_entropy(guess, label, label_smoothing=_SMOOTHING)
            for guess, label in zip(logits, wanted[rows].unbind(1), strict=True)
        ]
        off = (1 - (light * towards[rows]).sum(1)).mean()
        figures = {name: loss.item() for name, loss in zip(GROUPS, losses, strict=True)}
        return torch.stack(losses).sum() + 2 * off, figures | {"light": off.item()}

    modules = nn.ModuleDict({"net": net})
    train(NAME, modules, step, Plan(minutes, 2e-3), folder, SEED, lambda: accuracy(net, held))


def facts() -> dict[str, Any]:
    """The entry of pack.json."""
    return {"file": FILE, "groups": {k: list(v) for k, v in GROUPS.items()}}
