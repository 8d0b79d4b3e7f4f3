from pathlib import Path

import numpy as np
from PIL import Image

from portrait_lora import provenance
from portrait_lora.evaluation.overview import Row, head_square, write_overview
from portrait_lora.records import Face


def face(x: float, y: float, size: float) -> Face:
    points = np.zeros((5, 2), np.float32)
    return Face((x, y, x + size, y + size), 1.0, points, np.ones(2, np.float32), "e", 1.0, 1.0)


def test_the_square_holds_the_head_and_stays_inside():
    image = np.zeros((200, 300, 3), np.uint8)
    image[20:60, 230:270] = 255
    crop = head_square(image, face(230, 20, 40))
    assert crop.size == (84, 84)
    assert np.asarray(crop).max() == 255
    assert head_square(image, None).size == (200, 200)
    assert head_square(image, face(0, 0, 400)).size == (200, 200)


def test_rows_are_drawn_and_bytes_repeat(tmp_path: Path):
    rows = [
        Row(t, "note", [(Image.new("RGB", (9, 9), c), "0.50")] * n)
        for t, c, n in (("a", "red", 3), ("b", "blue", 5))
    ]
    write_overview(tmp_path / "1.jpg", "Title", rows)
    write_overview(tmp_path / "2.jpg", "Title", rows)
    assert (tmp_path / "1.jpg").read_bytes() == (tmp_path / "2.jpg").read_bytes()
    assert provenance.source_type(tmp_path / "1.jpg") == "trainedAlgorithmicMedia"
    pixels = np.asarray(Image.open(tmp_path / "1.jpg")).astype(int)
    red = (pixels[..., 0] > 200) & (pixels[..., 2] < 60)
    blue = (pixels[..., 2] > 200) & (pixels[..., 0] < 60)
    assert 1.5 < blue.sum() / red.sum() < 1.8  # five tiles to three
