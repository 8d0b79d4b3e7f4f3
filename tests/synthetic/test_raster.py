"""Which places of the fine grid are shaded, against the definition, pixel by pixel."""

from __future__ import annotations

import itertools

import pytest
import torch

from portrait_lora.synthetic.figure import Triangles
from portrait_lora.synthetic.raster import DEPTH_STEPS, choose_samples


def _triangles() -> Triangles:
    """Of two materials; one of each is worth extra samples."""
    none = torch.zeros(4, 3, dtype=torch.long)
    return Triangles(
        faces_T3=none,
        corners_3T=none.T,
        material_T=torch.tensor([0, 0, 1, 1]),
        two_sided_T=torch.zeros(4, dtype=torch.bool),
        fine_T=torch.tensor([False, True, False, True]),
    )


@pytest.mark.parametrize("s", [2, 3])
def test_one_sample_stands_for_a_plain_pixel_and_all_for_another(s: int) -> None:
    """Plain: covered everywhere, one material, nothing fine, at an even depth."""
    draw = torch.Generator().manual_seed(s)
    height, width = 60, 40
    alike = (
        torch.randint(0, 4, (height, width), generator=draw).repeat_interleave(s, 0).repeat_interleave(s, 1)
    )
    other = torch.randint(0, 4, (height * s, width * s), generator=draw)
    at = torch.rand(height * s, width * s, generator=draw)
    number = torch.where(at < 0.1, other, alike)
    depth = torch.full_like(number, DEPTH_STEPS // 2) + (at * DEPTH_STEPS * 0.003).long()
    depth += torch.where(at > 0.95, int(DEPTH_STEPS * 0.01), 0)
    keys = torch.where((at > 0.1) & (at < 0.15), 0, (depth << 32) | number)
    triangles = _triangles()
    expected: dict[tuple[int, int], tuple[float, float]] = {}
    kinds: set[bool] = set()
    for top, left in itertools.product(range(0, height * s, s), range(0, width * s, s)):
        block = keys[top : top + s, left : left + s].flatten()
        ids, depths = block & 0xFFFFFFFF, block >> 32
        plain = bool(
            (block > 0).all()
            and len(set(triangles.material_T[ids].tolist())) == 1
            and not triangles.fine_T[ids].any()
            and depths.max() - depths.min() < int(DEPTH_STEPS * 0.004)
        )
        kinds.add(plain)
        for place, (row, column) in enumerate(itertools.product(range(s), range(s))):
            if plain and place == 0:
                expected[top, left] = (1.0, (s - 1) / 2)
            elif not plain and block[place] > 0:
                expected[top + row, left + column] = (pytest.approx(1 / s**2), 0.0)
    chosen = choose_samples(keys, triangles, s)
    assert isinstance(chosen.offset_N, torch.Tensor)
    columns = (chosen.y_N, chosen.x_N, chosen.weight_N, chosen.offset_N)
    got = {
        (y, x): (weight, offset) for y, x, weight, offset in zip(*(c.tolist() for c in columns), strict=True)
    }
    assert kinds == {True, False} and got == expected
    assert list(got) == sorted(got), "row by row"
