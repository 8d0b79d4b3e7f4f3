"""Networks of the ESRGAN family, read from safetensors: the shape of a network follows from its keys.

RRDBNet (Wang et al. 2018, ESRGAN, in its first names and in those of BasicSR) and SRVGGNetCompact (Wang et
al. 2021, Real-ESRGAN).  Files of other families are left to `spandrel`, where that package is installed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as f

from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.families import safetensors_header

MAX_BYTES: Final = 512_000_000
"""The largest networks in use, of HAT and DAT, have 170 MB."""
SCALES: Final = (2, 3, 4, 8)
_WRAPPERS: Final = ("params_ema.", "params.", "module.", "state_dict.")
_MARGIN_RRDB_PX: Final = 24
"""Its receptive field is far larger, but what lies 24 px away moves no output byte by more than one."""


class Compact(nn.Module):
    """SRVGGNetCompact: convolutions of one width at the small size, then pixel shuffle over the nearest
    pixel.  `blocks` are the inner convolutions."""

    def __init__(self, features: int, blocks: int, scale: int, *, leaky: bool = False):
        super().__init__()

        def activation() -> nn.Module:
            return nn.LeakyReLU(0.1) if leaky else nn.PReLU(features)

        layers: list[nn.Module] = [nn.Conv2d(3, features, 3, 1, 1), activation()]
        for _ in range(blocks):
            layers += [nn.Conv2d(features, features, 3, 1, 1), activation()]
        self.body = nn.Sequential(*layers, nn.Conv2d(features, 3 * scale**2, 3, 1, 1))
        self.scale, self.margin_px = scale, blocks + 2

    def forward(self, small_BCHW: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 3, scale × H, scale × W)."""
        fine = f.pixel_shuffle(self.body(small_BCHW), self.scale)
        return fine + f.interpolate(small_BCHW, scale_factor=self.scale, mode="nearest")


class _Dense(nn.Module):
    """Five densely connected convolutions."""

    def __init__(self, features: int, growth: int):
        super().__init__()
        for i in range(4):
            self.add_module(f"conv{i + 1}", nn.Conv2d(features + i * growth, growth, 3, 1, 1))
        self.conv5 = nn.Conv2d(features + 4 * growth, features, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        seen = [x]
        for i in range(4):
            seen.append(f.leaky_relu(getattr(self, f"conv{i + 1}")(torch.cat(seen, 1)), 0.2))
        return self.conv5(torch.cat(seen, 1)) * 0.2 + x


class _Block(nn.Module):
    """A residual in residual dense block."""

    def __init__(self, features: int, growth: int):
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (_Dense(features, growth) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.rdb3(self.rdb2(self.rdb1(x))) * 0.2 + x


class RRDB(nn.Module):
    """RRDBNet.  Real-ESRGAN's edition for 2× folds pixels into channels (`fold` 2), then enlarges them 4×."""

    def __init__(self, features: int, growth: int, blocks: int, scale: int, fold: int = 1):
        super().__init__()
        self.conv_first = nn.Conv2d(3 * fold**2, features, 3, 1, 1)
        self.body = nn.Sequential(*(_Block(features, growth) for _ in range(blocks)))
        self.conv_body = nn.Conv2d(features, features, 3, 1, 1)
        self._ups = round(math.log2(scale * fold))
        for i in range(self._ups):
            self.add_module(f"conv_up{i + 1}", nn.Conv2d(features, features, 3, 1, 1))
        self.conv_hr = nn.Conv2d(features, features, 3, 1, 1)
        self.conv_last = nn.Conv2d(features, 3, 3, 1, 1)
        self.scale, self.fold, self.margin_px = scale, fold, _MARGIN_RRDB_PX

    def forward(self, small_BCHW: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 3, scale × H, scale × W); odd sides are padded by their edge."""
        height, width = small_BCHW.shape[2:]
        if self.fold > 1:
            pad = (0, -width % self.fold, 0, -height % self.fold)
            small_BCHW = f.pixel_unshuffle(f.pad(small_BCHW, pad, mode="replicate"), self.fold)
        x = self.conv_first(small_BCHW)
        x = x + self.conv_body(self.body(x))
        for i in range(self._ups):
            larger = f.interpolate(x, scale_factor=2, mode="nearest")
            x = f.leaky_relu(getattr(self, f"conv_up{i + 1}")(larger), 0.2)
        out = self.conv_last(f.leaky_relu(self.conv_hr(x), 0.2))
        return out[..., : height * self.scale, : width * self.scale]


class Upscaler:
    """A loaded network: `scale`, the `margin_px` of its input that a tile needs around it, and the call."""

    def __init__(self, net: Callable[[Tensor], Tensor], scale: int, margin_px: int, architecture: str):
        self._net, self.scale, self.margin_px, self.architecture = net, scale, margin_px, architecture

    @torch.no_grad()
    def __call__(self, rgb_HW3: Any) -> Any:
        """float32 (H, W, 3) in 0..1 -> (scale × H, scale × W, 3), clipped."""
        small = torch.tensor(rgb_HW3, dtype=torch.float32).permute(2, 0, 1)[None]
        large = self._net(small)[0].clamp(0, 1).permute(1, 2, 0).contiguous()
        if not bool(torch.isfinite(large).all()):
            raise ArtifactError("the upscaling model answers with values that are not finite")
        return large.numpy()


def read_upscaler(path: Path) -> Upscaler:
    """The network in a safetensors file.

    Raises `InputError` for a pickle, an architecture that is not known (with the remedy) and a scale that is
    no enlargement, `ArtifactError` for a damaged file.
    """
    if path.suffix != ".safetensors":
        raise InputError(
            "upscaling models are read from safetensors only, since a pickle can run code",
            where=path,
            got=path.suffix or "no suffix",
            needed=".safetensors",
            remedy="Take the model's safetensors edition.",
        )
    if path.stat().st_size > MAX_BYTES:
        raise InputError(
            "too large for an upscaling model",
            where=path,
            got=f"{path.stat().st_size // 1_000_000} MB",
            needed=f"{MAX_BYTES // 1_000_000} MB at most",
        )
    safetensors_header.read(path)
    try:
        raw = load_file(str(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise ArtifactError("not a whole safetensors file", where=path, got=error) from error
    weights = {k: v.float() for k, v in _modern(_unwrapped(raw)).items()}
    net = _compact(weights, path) or _rrdb(weights, path)
    if net is None:
        return _by_spandrel(path)
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise ArtifactError(
            "the upscaling model has misshapen or missing tensors", where=path, got=str(error)[:300]
        ) from error
    net.eval().requires_grad_(False)
    return Upscaler(net, net.scale, net.margin_px, type(net).__name__)


def _unwrapped(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without a prefix that all keys share; of averaged and plain weights, the averaged ones."""
    for prefix in _WRAPPERS:
        own = {k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)}
        if own:
            return _unwrapped(own)
    return dict(weights)


def _compact(weights: dict[str, Tensor], path: Path) -> Compact | None:
    places = sorted({int(m[1]) for k in weights if (m := re.fullmatch(r"body\.(\d+)\.weight", k))})
    convs = [i for i in places if weights[f"body.{i}.weight"].ndim == 4]
    if "body.0.weight" not in weights or "conv_first.weight" in weights or len(convs) < 2:
        return None
    features, last = weights["body.0.weight"].shape[0], weights[f"body.{convs[-1]}.weight"].shape[0]
    scale = round(math.sqrt(last / 3))
    _check_scale(scale if 3 * scale**2 == last else last / 3, path)
    if weights["body.0.weight"].shape[1] != 3:
        raise InputError("the upscaling model is not for RGB", where=path, got=weights["body.0.weight"].shape)
    return Compact(features, len(convs) - 2, scale, leaky=len(places) == len(convs))


_FIRST_NAMES: Final = (
    (r"model\.0\.", "conv_first."),
    (r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.", r"body.\1.rdb\2.conv\3."),
    (r"model\.1\.sub\.\d+\.(?=weight|bias)", "conv_body."),
)
"""Keys of the first ESRGAN and what BasicSR calls them; what follows depends on the number of doublings."""


def _modern(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    tail = sorted({int(m[1]) for k in weights if (m := re.match(r"model\.(\d+)\.weight", k))} - {0})
    if not tail:
        return weights
    names = [f"conv_up{i + 1}." for i in range(len(tail) - 2)] + ["conv_hr.", "conv_last."]
    named: dict[str, Tensor] = {}
    for key, value in weights.items():
        for old, new in _FIRST_NAMES:
            key = re.sub(f"^{old}", new, key)
        for place, name in zip(tail, names, strict=True):
            key = re.sub(rf"^model\.{place}\.", name, key)
        named[key] = value
    return named


def _rrdb(weights: dict[str, Tensor], path: Path) -> RRDB | None:
    blocks = {int(m[1]) for k in weights if (m := re.match(r"body\.(\d+)\.rdb1\.conv1\.weight", k))}
    if "conv_first.weight" not in weights or not blocks or "conv_last.weight" not in weights:
        return None
    features, channels = weights["conv_first.weight"].shape[:2]
    fold = round(math.sqrt(channels / 3))
    if 3 * fold**2 != channels or weights["conv_last.weight"].shape[0] != 3:
        raise InputError("the upscaling model is not for RGB", where=path, got=f"{channels} channels")
    ups = len({m[1] for k in weights if (m := re.match(r"conv_up(\d+)\.weight", k))})
    scale = 2**ups / fold
    _check_scale(scale, path)
    growth = weights["body.0.rdb1.conv1.weight"].shape[0]
    return RRDB(features, growth, len(blocks), int(scale), fold)


def _check_scale(scale: float, path: Path) -> None:
    if scale not in SCALES:
        raise InputError(
            "the upscaling model has another scale", where=path, got=f"{scale:g}×",
            needed=", ".join(f"{one}×" for one in SCALES),
        )  # fmt: skip


def _by_spandrel(path: Path) -> Upscaler:
    """SwinIR, HAT, DAT, SPAN and further ones.  Raises `InputError` without spandrel, or if it knows none."""
    try:
        import spandrel  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError(
            "the architecture of the upscaling model is not known",
            where=path,
            needed="RRDBNet or SRVGGNetCompact (ESRGAN, Real-ESRGAN)",
            remedy="For SwinIR, HAT, DAT and SPAN: pip install 'portrait-lora[spandrel]'",
        ) from error
    try:
        model = spandrel.ModelLoader(device="cpu").load_from_file(path)
    except Exception as error:  # its loaders answer a wrong file with whatever its tensors break
        raise InputError(
            "spandrel does not know this upscaling model", where=path, got=str(error)[:200]
        ) from error
    if not isinstance(model, spandrel.ImageModelDescriptor) or model.input_channels != 3:
        raise InputError("not an upscaling model for RGB", where=path, got=type(model).__name__)
    _check_scale(model.scale, path)
    model.eval()
    return Upscaler(model, model.scale, _MARGIN_RRDB_PX, str(model.architecture.name))
