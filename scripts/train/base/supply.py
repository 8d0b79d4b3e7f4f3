"""What the UNet learns from: latents, boxes and words of the pictures, all on the device that trains."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from diffusers import AutoencoderKL
from safetensors import safe_open
from torch import Tensor

from portrait_lora.vocabulary import Look
from scripts.train.corpus import Corpus, finished
from scripts.train.traits import KEPT, traits

from .feed import Mixture
from .latents import MIRRORED, latents_of, read_latents


@dataclass(frozen=True, slots=True)
class Table:
    """(N, V, C, h, w) latents of N pictures, as they are and (V = 2) in a mirror; (N, 4) face boxes; (N, T)
    traits of whom they show; words.

    The first `plain` are drawn epoch by epoch.
    """

    latents: Tensor
    boxes: Tensor
    traits: Tensor
    looks: list[Look]
    plain: int
    size_px: int

    @property
    def mirrors(self) -> bool:
        """Whether the pictures are there in a mirror too."""
        return self.latents.shape[1] > 1

    def mixture(self, share: float) -> Mixture:
        """`share` of the samples from behind the plain ones."""
        return Mixture(self.plain, len(self.looks), share)


class Supply(Protocol):
    """Where tables come from; `grows` where more pictures may come later."""

    grows: bool

    def table(self) -> Table | None:
        """All that is there now; None when that is what it was the last time."""
        ...


class Stored:
    """The latents that the stage of that name left in `out`.  Raises `ValueError` where they do not fit."""

    grows = False

    def __init__(
        self, corpus: Corpus, plain: int, out: Path, device: torch.device, mirrors: bool = False
    ) -> None:
        views = [read_latents(out, plain, len(corpus))]
        if mirrors:
            views.append(read_latents(out, plain, len(corpus), MIRRORED))
        latents, boxes = torch.stack(views, 1).to(device), corpus.column("box").to(device)
        who = traits(corpus.column("person").tolist(), KEPT).to(device)
        self._table: Table | None = Table(latents, boxes, who, corpus.looks, plain, corpus.size_px)

    def table(self) -> Table | None:
        whole, self._table = self._table, None
        return whole


@dataclass(frozen=True, slots=True)
class _Shard:
    latents: Tensor
    boxes: Tensor
    traits: Tensor
    looks: list[Look]


def _shards(folder: Path) -> list[Path]:
    """Those that are finished, if any."""
    try:
        return finished(folder)
    except FileNotFoundError:
        return []


class Growing:
    """Shards of folders that are still being rendered, encoded as they come.  What is trained then depends
    on when they came."""

    grows = True

    def __init__(
        self,
        plain: Path,
        others: Sequence[Path],
        vae: AutoencoderKL,
        device: torch.device,
        mirrors: bool = False,
    ) -> None:
        self._folders, self._mirrors, self._device = (plain, *others), mirrors, device
        self._vae = vae.to(device).eval()
        self._known: dict[Path, _Shard] = {}
        self._size_px = 0

    def table(self) -> Table | None:
        files = [_shards(folder) for folder in self._folders]
        new = [f for of in files for f in of if f not in self._known]
        if not new or not files[0]:
            return None
        for file in new:
            self._known[file] = self._encoded(file)
        shards = [self._known[f] for of in files for f in of]
        plain = sum(len(self._known[f].looks) for f in files[0])
        looks = [look for shard in shards for look in shard.looks]
        latents, boxes, who = (
            torch.cat(of) for of in zip(*((s.latents, s.boxes, s.traits) for s in shards), strict=True)
        )
        print(f"unet: {len(looks)} pictures, {plain} of them plain", flush=True)
        return Table(latents, boxes, who, looks, plain, self._size_px)

    @torch.no_grad()
    def _encoded(self, file: Path) -> _Shard:
        rows = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))["looks"]
        with safe_open(str(file), framework="pt") as handle:
            images, boxes = handle.get_tensor("image"), handle.get_tensor("box")
            who = traits(handle.get_tensor("person").tolist(), KEPT)
        self._size_px = int(images.shape[-1])
        parts: list[Tensor] = []
        for part in images.split(256):
            x = part.to(self._device).float() / 127.5 - 1
            views = (x, x.flip(-1)) if self._mirrors else (x,)
            parts.append(torch.stack([latents_of(self._vae, view) for view in views], 1))
        looks = [Look(**row) for row in rows]
        return _Shard(torch.cat(parts), boxes.to(self._device), who.to(self._device), looks)
