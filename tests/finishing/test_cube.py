"""LUTs: identity, a known map, interpolation on the grey diagonal, and files that are wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from portrait_lora.errors import InputError
from portrait_lora.finishing.canvas import Canvas
from portrait_lora.finishing.cube import read_cube
from portrait_lora.finishing.steps.grade import Grade, GradeSettings
from tests.finishing.made_up import NoTools

Map = Callable[[float, float, float], tuple[float, float, float]]


def _write(path: Path, side: int, value: Map, head: str = "") -> Path:
    steps = [i / (side - 1) for i in range(side)]
    rows = [" ".join(map(str, value(r, g, b))) for b in steps for g in steps for r in steps]
    lines = ['TITLE "test"', "# a comment", head, f"LUT_3D_SIZE {side}", *rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def _colours() -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 1, (500, 3)).astype(np.float32)


def test_an_identity_changes_nothing(tmp_path: Path) -> None:
    table = read_cube(_write(tmp_path / "i.cube", 5, lambda r, g, b: (r, g, b)))
    assert np.allclose(table.apply(_colours()), _colours(), atol=1e-6)
    assert np.allclose(table.apply(np.ones((1, 3))), 1.0)


def test_channels_are_not_mixed_up(tmp_path: Path) -> None:
    table = read_cube(_write(tmp_path / "s.cube", 3, lambda r, g, b: (b, r, g)))
    assert np.allclose(table.apply(_colours()), _colours()[:, [2, 0, 1]], atol=1e-6)


def test_greys_stay_grey_where_the_diagonal_is(tmp_path: Path) -> None:
    """Trilinear interpolation would mix in the coloured corners of every cube."""
    table = read_cube(
        _write(tmp_path / "g.cube", 4, lambda r, g, b: (r, g, b) if r == g == b else (1 - r, g * g, b / 2))
    )
    greys = np.linspace(0, 1, 101, dtype=np.float32)[:, None].repeat(3, 1)
    assert np.allclose(table.apply(greys), greys, atol=1e-6)


def test_a_domain_and_one_dimension(tmp_path: Path) -> None:
    wide = "DOMAIN_MIN 0 0 0\nDOMAIN_MAX 2 2 2"
    table = read_cube(_write(tmp_path / "d.cube", 2, lambda r, g, b: (r, g, b), wide))
    assert np.allclose(table.apply(np.full((1, 3), 0.5)), 0.25)
    flat = tmp_path / "one.cube"
    flat.write_text("LUT_1D_SIZE 3\n0 0 0\n0.2 0.5 0.9\n1 1 1\n")
    assert np.allclose(read_cube(flat).apply(np.full((1, 3), 0.25)), [[0.1, 0.25, 0.45]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("LUT_3D_SIZE 2\n0 0 0\n", "wrong number of colours in a .cube file: got 1; needed 8"),
        ("LUT_3D_SIZE 2\n0 0 zero\n", "l.cube:2: not a number"),
        ("LUT_3D_SIZE 2\n0 0\n", "l.cube:2: not a colour"),
        ("LUT_3D_SIZE 2\n0 0 nan\n", "not a finite number|not a number"),
        ("0 0 0\n", "states one size"),
        ("LUT_3D_SIZE 300\n", "needed 2 to 129"),
        ("LUT_2D_SIZE 2\n", "unknown keyword"),
        ("LUT_1D_SIZE 2\nDOMAIN_MIN 1 1 1\n0 0 0\n1 1 1\n", "not a domain"),
    ],
)
def test_wrong_files_are_errors(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "l.cube"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_cube(path)


def test_a_grade_uses_it_by_its_strength(tmp_path: Path) -> None:
    _write(tmp_path / "n.cube", 2, lambda r, g, b: (1 - r, 1 - g, 1 - b))
    before = Canvas(np.full((20, 20, 3), 0.2, np.float32))
    after = Grade().apply(before, GradeSettings(lut="n.cube", lut_strength=0.5), NoTools(tmp_path))
    assert np.allclose(after.rgb_HW3, 0.5)
