"""The network outside insightface: expression, glasses, beard, lighting, where the key light stands, and
how much of the face something hides."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from portrait_lora import vocabulary
from scripts.precision import half
from scripts.train.checkpoint import averaged, checkpoint_of
from scripts.train.face_pack import augment, occluders
from scripts.train.face_pack.data import Pool, astray, invert, landmark_crop, move
from scripts.train.face_pack.nets import LANDMARK_PX, Attributes
from scripts.train.face_pack.training import plan_of, train

NAME: Final = "attributes"
FILE: Final = "heads/attributes.onnx"
GROUPS: Final = {
    "expression": vocabulary.EXPRESSIONS,
    "glasses": vocabulary.ALL_GLASSES,
    "beard": vocabulary.BEARDS,
    "lighting": vocabulary.LIGHTINGS,
}
WIDTH: Final = sum(map(len, GROUPS.values())) + 3 + 1
SEED: Final = 15
_CHUNK: Final = 200
_SMOOTHING: Final = 0.02
_ASTRAY: Final = 0.3
"""Share of the boxes that are off by more than the usual, as those of covered faces are."""
_BAD_SHARE, _GOOD_SHARE, _BETWEEN = 0.25, 0.05, 0.15


def truth(pool: Pool) -> Tensor:
    """(N, groups) label indices in the order of GROUPS."""
    return torch.cat([pool.expression[:, None], pool.worn], 1)


def split_answer(answer: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    """Logits of every group, the (N, 3) direction of length 1, and the (N,) logit of the share covered."""
    *logits, light, covered = answer.split([*map(len, GROUPS.values()), 3, 1], dim=1)
    return list(logits), F.normalize(light, dim=1), covered[:, 0]


def look(net: nn.Module, crop: Tensor) -> Tensor:
    """The network on crops of 0..255."""
    with half("cpu"):
        return net(((crop - 127.5) / 128.0).contiguous(memory_format=torch.channels_last)).float()


def accuracy(net: nn.Module, pool: Pool) -> dict[str, float]:
    """Share right per group and the mean angle between the key lights in degrees, on plain pictures; and how
    well the covered share is measured, with things painted on (`covered_right`: bad from good, halfway)."""
    net.eval()
    answers: list[Tensor] = []
    painted: list[tuple[Tensor, Tensor]] = []
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for rows in torch.arange(len(pool)).split(_CHUNK):
            crop, affine = landmark_crop(pool.image[rows], pool.box[rows], None, LANDMARK_PX)
            answers.append(look(net, crop))
            spoilt = occluders.paint(crop, move(pool.landmarks[rows], invert(affine)), generator)
            predicted = split_answer(look(net, spoilt.crop * spoilt.cut))[2].sigmoid()
            painted.append((predicted, spoilt.covered))
    logits, light, _ = split_answer(torch.cat(answers))
    right = {
        name: float((guess.argmax(1) == wanted)[wanted >= 0].float().mean())
        for name, guess, wanted in zip(GROUPS, logits, truth(pool).unbind(1), strict=True)
    }
    cosine = (light * F.normalize(pool.light, dim=1)).sum(1).clamp(-1, 1)
    predicted, share = (torch.cat(part) for part in zip(*painted, strict=True))
    clear = (share >= _BAD_SHARE) | (share <= _GOOD_SHARE)
    sorted_right = ((predicted > _BETWEEN) == (share > _BETWEEN))[clear].float().mean()
    covered = {"covered_mae": float((predicted - share).abs().mean()), "covered_right": float(sorted_right)}
    light_deg = float(cosine.acos().rad2deg().mean())
    return right | {"light_deg": light_deg, **covered, "n": float(len(pool))}


def train_attributes(fit: Pool, held: Pool, folder: Path, minutes: float, batch: int = 80) -> None:
    """Cross entropy per group, cosine of the light, share covered; begins from the landmarks' trunk when
    there is one.  Words are learnt from faces that are plain to see, the share covered from all."""
    torch.manual_seed(SEED)
    net = Attributes(WIDTH)
    if (folder / checkpoint_of("landmarks")).exists():
        net.features.load_state_dict(averaged(folder, "landmarks", "net.features."))
    net = net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    wanted = truth(fit)
    towards = F.normalize(fit.light, dim=1)

    def step(progress: float, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = torch.randint(0, len(fit), (batch,), generator=generator)
        box = astray(fit.box[rows], _ASTRAY, generator)
        crop, affine = landmark_crop(fit.image[rows], box, generator, LANDMARK_PX)
        painted = occluders.paint(crop, move(fit.landmarks[rows], invert(affine)), generator)
        crop = augment.camera(painted.crop, generator, soft=0.25, strength=0.4) * painted.cut
        logits, light, covered = split_answer(look(net, crop))
        plain = painted.plain.float()
        count = plain.sum().clamp(min=1)
        losses = [
            (F.cross_entropy(guess, label, label_smoothing=_SMOOTHING, reduction="none") * plain).sum()
            / count
            for guess, label in zip(logits, wanted[rows].unbind(1), strict=True)
        ]
        off = ((1 - (light * towards[rows]).sum(1)) * plain).sum() / count
        share = F.binary_cross_entropy_with_logits(covered, painted.covered)
        wrong = (covered.detach().sigmoid() - painted.covered).abs().mean()
        figures = {name: loss.item() for name, loss in zip(GROUPS, losses, strict=True)}
        figures |= {"light": off.item(), "covered": wrong.item()}
        return torch.stack(losses).sum() + 2 * off + 5 * share, figures

    modules = nn.ModuleDict({"net": net})
    train(NAME, modules, step, plan_of(minutes, 2e-3, batch, SEED), folder, lambda: accuracy(net, held))


def facts() -> dict[str, Any]:
    """The entry of pack.json."""
    return {"file": FILE, "groups": {k: list(v) for k, v in GROUPS.items()}, "covered": True}
