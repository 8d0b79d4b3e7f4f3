"""Guidance in two terms: prompt guidance and identity guidance.

Classifier-free guidance against the bare base b, with the adapted network a, is a sum that can be split,
as Brooks et al. 2023 (InstructPix2Pix, eq. 3) do for text and image:

    b(empty) + g (a(prompt) - b(empty))  =  b(empty) + g (b(prompt) - b(empty)) + g (a(prompt) - b(prompt))

The first difference is prompt guidance, the second identity guidance: the person, and with it the backdrops
and clothes of the training photos.  Here the second has its own strength (`scale`), start (`start`: colours
of large areas are settled in the first steps), region (`region`), and a strength for the last steps
(`late_scale` from `late` on), in which expressions are settled and too much of a person undoes them.

Shape legend: B pictures, H W rows and columns of the denoiser's input.
"""

# pyright: reportPrivateImportUsage=false
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

import torch
from torch import Tensor, nn

from portrait_lora.generation import book
from portrait_lora.records import Shot

IdentityRegion = Literal["picture", "head"]
_SHARE: Final = "likeness_share"
MOST_MERGED: Final = 300_000_000
"""Maximum number of parameters of which a merged copy is kept: 1.2 GB."""
_HEAD_MARGIN: Final = 1.15
"""Margin for hair around the head, in head sizes."""
_HEAD_WIDTH: Final = 0.85
"""Width of a head with hair over its height from chin to crown."""
_EYE_LINE: Final = 0.38
"""Usual eye line of portraits, from the top; eyes are half-way between crown and chin."""
_EDGE: Final = 0.35
"""Width of the region's soft border, in radii."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Settings of identity guidance.

    `scale` None means the guidance scale.  `start` is the fraction of denoising done before it starts: 0 from
    the beginning.  `region` "head" restricts it to where headshots and close-ups have the head; a shot
    without a type counts as a headshot, and wider shots use the whole picture.  `late_scale` is the scale
    once the fraction `late` of denoising is done, None the same to the end.
    """

    scale: float | None = None
    start: float = 0.0
    region: IdentityRegion = "picture"
    late: float = 0.6
    late_scale: float | None = None

    def divides(self, guidance_scale: float) -> bool:
        """Whether the result can differ from ordinary guidance."""
        scales = {None, guidance_scale}
        if self.scale not in scales or self.late_scale not in scales:
            return True
        return self.start > 0 or self.region != "picture"

    def scale_at(self, done: float, guidance_scale: float) -> float:
        """The scale once the fraction `done` of denoising is done."""
        scale = guidance_scale if self.scale is None else self.scale
        return scale if self.late_scale is None or done < self.late else self.late_scale


AS_ONE: Final = Identity()


class Share:
    """The rows of a batch to which the adapters apply: the last half, the last third, or none (0 parts)."""

    def __init__(self) -> None:
        self.parts = 2

    def rows(self, batch: int) -> int:
        return batch // self.parts if self.parts else 0


def share_layers(denoiser: nn.Module) -> None:
    """Apply the adapters only to the last rows of every batch, where pipelines put the prompts.

    This lasts as long as the adapters are in the denoiser: the changed layers are removed with them, so their
    scales must be set before.  If memory allows, float32 layers use a second weight with the adapters merged,
    which is faster; in half precision the sum would lose what is below the weight's last bit.
    """
    share = new_share(denoiser)
    layers: list[Any] = [layer for layer in denoiser.modules() if hasattr(layer, "lora_A")]
    room = sum(layer.base_layer.weight.numel() for layer in layers) <= MOST_MERGED
    for layer in layers:
        merged = _merged(layer) if room else None
        layer.forward = _last_rows_only(layer, share, merged or layer.forward)


def new_share(denoiser: nn.Module) -> Share:
    """The rows of which `in_two_terms` decides in this denoiser, for layers that heed them."""
    share = Share()
    setattr(denoiser, _SHARE, share)
    return share


def _merged(layer: Any) -> Callable[..., Tensor] | None:
    """The forward pass with adapters merged into one weight; None if they cannot be merged by addition."""
    base: nn.Linear | nn.Conv2d = layer.base_layer
    active = [name for name in layer.active_adapters if name in layer.lora_A]
    special = any(name in layer.lora_variant or layer.lora_bias.get(name, False) for name in active)
    if special or layer.disable_adapters or layer.merged:
        return None
    if type(base) not in (nn.Linear, nn.Conv2d) or base.weight.dtype != torch.float32:
        return None
    with torch.no_grad():
        weight = torch.stack([base.weight, *(layer.get_delta_weight(name) for name in active)]).sum(0)
    if isinstance(base, nn.Conv2d):
        return lambda x, *_, **__: base._conv_forward(x, weight, base.bias)
    return lambda x, *_, **__: nn.functional.linear(x, weight, base.bias)


def _last_rows_only(layer: Any, share: Share, adapted: Callable[..., Tensor]) -> Callable[..., Tensor]:

    def forward(x: Tensor, *args: Any, **more: Any) -> Tensor:
        rows = share.rows(x.shape[0])
        if not rows:
            return layer.base_layer(x, *args, **more)
        plain, prompted = x[:-rows], x[-rows:]
        return torch.cat([layer.base_layer(plain, *args, **more), adapted(prompted, *args, **more)])

    return forward


@contextmanager
def in_two_terms(
    denoiser: nn.Module, identity: Identity, guidance_scale: float, shots: Sequence[Shot], last_time: int
) -> Iterator[None]:
    """Context in which the denoiser turns a batch (empty prompts, prompts) into guidance in two terms.

    For the prompts it returns b + (scale / g) region (a - b): a pipeline that guides with g then computes the
    sum above.  Needs `share_layers`.  `last_time` is the timestep of pure noise.  If both terms are equally
    strong everywhere there is no third pass, and before `start` the adapter is not used.
    """
    share, plain = cast(Share, getattr(denoiser, _SHARE)), cast(Callable[..., Any], denoiser.forward)

    def forward(*args: Any, **more: Any) -> Any:
        time = float(torch.as_tensor(more.get("timestep", args[1] if len(args) > 1 else 0)).flatten()[0])
        begun = time <= (1 - identity.start) * last_time
        ratio = identity.scale_at(1 - time / last_time, guidance_scale) / guidance_scale
        if not begun or (ratio == 1 and identity.region == "picture"):
            share.parts = 2 if begun else 0
            return plain(*args, **more)
        share.parts = 3
        first = args[0] if args else more.get("sample", more.get("hidden_states"))
        batch = cast(Tensor, first).shape[0]
        answer = plain(*_thrice(args, batch), **cast(dict[str, Any], _thrice(more, batch)))
        empty, bare, adapted = cast(Tensor, answer[0]).chunk(3)
        weight = ratio * _region(identity.region, shots, bare)
        mixed = torch.cat([empty, bare + weight * (adapted - bare)])
        return (mixed,) if isinstance(answer, tuple) else type(answer)(sample=mixed)

    denoiser.forward = forward
    try:
        yield
    finally:
        del denoiser.forward
        share.parts = 2


def _thrice(value: Any, batch: int) -> Any:
    """Tensors of a doubled batch with the second half, the prompts, appended again; others unchanged."""
    if isinstance(value, Tensor):
        whole = value.ndim > 0 and value.shape[0] == batch
        return torch.cat([value, value[batch // 2 :]]) if whole else value
    if isinstance(value, Mapping):
        return {key: _thrice(part, batch) for key, part in cast(Mapping[str, Any], value).items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_thrice(part, batch) for part in cast(Sequence[Any], value))
    return value


def _region(region: IdentityRegion, shots: Sequence[Shot], like: Tensor) -> Tensor | float:
    """(B, 1, H, W) weights of identity guidance; `like` (n B, C, H, W) is what they multiply."""
    if region == "picture":
        return 1.0
    height, width = like.shape[-2:]
    each = torch.stack([head_weights(shot, height, width) for shot in shots])[:, None]
    return each.repeat(like.shape[0] // len(shots), 1, 1, 1).to(like)


def head_weights(shot: Shot, height: int, width: int) -> Tensor:
    """(H, W) weights: 1 where this shot type has the head, falling to 0 around it.

    For wider shots the position of the head is unknown: 1 everywhere.
    """
    shot_type = book.shot_of(dict(shot.layers).get("shot", "headshot")) or book.SHOTS[1]
    if shot_type not in book.SHOTS[:2]:
        return torch.ones(height, width)
    tall = _HEAD_MARGIN * max(shot_type.head_share) / 2
    wide = _HEAD_WIDTH * tall * shot.size_px[1] / shot.size_px[0]
    y = ((torch.arange(height) + 0.5) / height - _EYE_LINE) / tall
    x = ((torch.arange(width) + 0.5) / width - 0.5) / wide
    away = (y[:, None] ** 2 + x[None] ** 2).sqrt()
    return ((1 - away) / _EDGE + 0.5).clamp(0, 1)
