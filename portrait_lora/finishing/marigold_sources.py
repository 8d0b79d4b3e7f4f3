"""Where Marigold's networks for relighting photographs come from, and under which licence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

NAME: Final = "marigold"
PARTS: Final = ("normals", "intrinsics")
PIPELINES: Final = ("MarigoldNormalsPipeline", "MarigoldIntrinsicsPipeline")
"""Classes of diffusers, in the order of `PARTS`."""
REPOSITORIES: Final[Mapping[str, str]] = {
    f"{NAME}/normals": "prs-eth/marigold-normals-v1-1",
    f"{NAME}/intrinsics": "prs-eth/marigold-iid-lighting-v1-1",
}
"""Model of the step -> its repository."""
LICENCE: Final = "CreativeML Open RAIL++-M"
"""Of the weights, as others report it; not verified."""
