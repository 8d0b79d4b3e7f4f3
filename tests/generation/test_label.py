"""The visible label: in a corner, clear of every face, to be read on light and on dark ground."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from portrait_lora.errors import InputError
from portrait_lora.generation.label import contrast, labelled, place_of


@pytest.mark.parametrize("ground", ((255, 255, 255), (0, 0, 0), (128, 128, 128), (240, 200, 60)))
def test_it_can_be_read_on_any_ground(ground: tuple[int, int, int]) -> None:
    picture = Image.new("RGB", (384, 512), ground)
    left, top, width, height = place_of(picture.size, [])
    tile = np.asarray(labelled(picture, []))[top : top + height, left : left + width].astype(int)
    grey = tile.sum(axis=2)
    middle = tile[height // 4 : -height // 4, width // 5 : -width // 5].reshape(-1, 3)
    ink, pill = middle[middle.sum(axis=1).argmax()], middle[middle.sum(axis=1).argmin()]
    assert contrast(ink, pill) >= 7, "letters on the pill"
    edge = [contrast(tile[height // 2, x], ground) for x in range(width // 4)]
    assert max(edge) >= 3, "pill or rim against the ground"
    assert grey.std() > 50
    rest = np.asarray(labelled(picture, [])).copy()
    rest[top : top + height, left : left + width] = ground
    assert (rest == np.asarray(picture)).all(), "nothing else is touched"


@pytest.mark.parametrize("seed", range(20))
def test_never_over_a_face(seed: int) -> None:
    random = np.random.default_rng(seed)
    size = tuple(int(v) for v in random.integers(128, 2000, 2))
    x0, y0 = random.uniform(0, 0.5, 2) * size
    face = (x0, y0, x0 + random.uniform(0.2, 0.45) * size[0], y0 + random.uniform(0.2, 0.45) * size[1])
    left, top, width, height = place_of(size, [face])  # type: ignore[arg-type]
    assert left >= 0 and top >= 0 and left + width <= size[0] and top + height <= size[1]
    assert left >= face[2] or left + width <= face[0] or top >= face[3] or top + height <= face[1]


def test_the_next_corner_is_taken_and_none_is_an_error() -> None:
    usual = place_of((400, 400), [])
    assert usual[0] > 200 and usual[1] > 200
    assert place_of((400, 400), [(200, 200, 400, 400)])[0] < 200
    assert place_of((400, 400), [(200, 0, 400, 300)]) == usual, "a face above it is in nobody's way"
    left, top, _, height = usual
    smaller = place_of((400, 400), [(0, 0, 400, top + 1), (0, 0, left - 60, 400)])
    assert smaller[3] < height and smaller[1] > top, "a smaller label where the usual one touches a face"
    with pytest.raises(InputError, match="no corner for the label"):
        place_of((400, 400), [(0, 0, 400, 400)])
    with pytest.raises(InputError, match="no corner for the label"):
        place_of((16, 16), [])


def test_alpha_stays() -> None:
    picture = Image.new("RGBA", (200, 200), (10, 20, 30, 0))
    marked = labelled(picture, [])
    assert marked.mode == "RGBA" and marked.getpixel((5, 5)) == (10, 20, 30, 0)
    left, top, width, height = place_of(picture.size, [])
    assert marked.getpixel((left + width // 2, top + height // 2))[3] > 200  # type: ignore[index]
