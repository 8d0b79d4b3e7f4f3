"""What a base takes of a GPU's memory while it draws, and where its parts are kept for that.

Counted, never measured on a GPU: the weights of denoiser and text encoders in the precision they are held in,
what the VAE needs to decode one picture, and the libraries' own.  Torch-free.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from portrait_lora.device import SPARE
from portrait_lora.families.base_model import BaseModel
from portrait_lora.families.rows import row_of

if TYPE_CHECKING:
    from portrait_lora.families.family import Weights

BYTES: Final[Mapping[Weights, float]] = {
    "float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "int8": 1.1, "nf4": 0.6,
}  # fmt: skip
"""Of memory per number of a denoiser."""
QUANTISED: Final[tuple[Literal["int8", "nf4"], ...]] = ("int8", "nf4")
Placement = Literal["resident", "text_offloaded", "offloaded"]
"""Everything on the card; the layers of the text encoders on the host until they compute; all layers."""
_OVERHEAD_GB: Final = 1.0
"""The context of CUDA, work space of its libraries, and what the allocator does not give back."""


class Footprint(NamedTuple):
    """GB of a GPU's memory: everything there; all but the text encoders; these alone, to read prompts."""

    resident_gb: float
    text_offloaded_gb: float
    text_gb: float


def bytes_per_weight(base: BaseModel) -> int:
    """Of the frozen weights on a GPU, when nothing else is asked for."""
    small = row_of(base.family).float32_up_to_b
    return 2 if small is None or base.parameters_b > small else 4


def footprint(base: BaseModel, weights: Weights | None = None) -> Footprint | None:
    """For one picture at a time in the base's resolution; None where the text encoders were not counted.

    `weights`: of the denoiser; None as when nothing else is asked for.  The text encoders of a pipeline are
    held in what its denoiser computes in, which is bfloat16 for quantised weights.
    """
    if base.encoders_b is None:
        return None
    row, usual = row_of(base.family), bytes_per_weight(base)
    size, beside = (usual, usual) if weights is None else (BYTES[weights], max(2, int(BYTES[weights])))
    decoding = row.decoding_gb * (base.resolution_px / row.cost.px) ** 2
    text = base.encoders_b * beside
    rest = base.parameters_b * size + decoding + _OVERHEAD_GB
    return Footprint(rest + text, rest, text + _OVERHEAD_GB)


def placement(base: BaseModel, memory_gb: float | None, weights: Weights | None = None) -> Placement:
    """The quickest that fits into a GPU with this memory; what is not known is resident."""
    needs = footprint(base, weights)
    if memory_gb is None or needs is None or needs.resident_gb <= memory_gb * SPARE:
        return "resident"
    return "text_offloaded" if needs.text_offloaded_gb <= memory_gb * SPARE else "offloaded"


def text_fits(base: BaseModel, memory_gb: float | None) -> bool:
    """Whether the text encoders, without the denoiser, fit into a GPU; what is not known does."""
    needs = footprint(base)
    return memory_gb is None or needs is None or needs.text_gb <= memory_gb * SPARE


def drawing_gb(base: BaseModel, memory_gb: float) -> float:
    """What drawing takes on such a GPU when the denoiser stays there; infinite when it is not known."""
    needs = footprint(base)
    if needs is None:
        return float("inf")
    return needs.resident_gb if placement(base, memory_gb) == "resident" else needs.text_offloaded_gb
