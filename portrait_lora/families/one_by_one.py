"""Pipelines that draw one picture at a time, called for several: arguments apart, pictures together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor


def each(value: Any, count: int) -> list[Any]:
    """One per prompt: those of a list, or the same for all."""
    return list(cast(Sequence[Any], value)) if isinstance(value, list | tuple) else [value] * count


def together(drawn: Sequence[Any]) -> Any:
    """The pictures of several calls as of one."""
    if isinstance(drawn[0], Tensor):
        return torch.cat(list(drawn))
    if isinstance(drawn[0], np.ndarray):
        return np.concatenate(drawn)
    return [picture for pictures in drawn for picture in pictures]
