"""The training of the network for dark lenses, on three faces and a few steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from portrait_lora import manifest
from portrait_lora.faces import lenses
from scripts.train.lenses import __main__ as training
from scripts.train.lenses import drawing


def test_three_faces_and_two_steps_write_weights_of_the_shape_that_ships(tmp_path: Path) -> None:
    training.render(tmp_path, people=3)
    training.train(tmp_path, steps=2, out=tmp_path / "out" / "lenses.safetensors")
    written, shipped = (load_file(str(f)) for f in (tmp_path / "out" / "lenses.safetensors", lenses.FILE))
    assert {k: v.shape for k, v in written.items()} == {k: v.shape for k, v in shipped.items()}


def test_the_same_faces_give_the_same_bytes_again(tmp_path: Path) -> None:
    files = []
    for name in ("first", "second"):
        training.render(tmp_path / name, people=3)
        training.train(tmp_path / name, steps=3, out=tmp_path / name / "lenses.safetensors")
        files.append([(tmp_path / name / f).read_bytes() for f in ("lenses.npz", "lenses.safetensors")])
    assert files[0] == files[1]


def test_the_card_names_the_bytes_that_ship() -> None:
    card = (lenses.FILE.parent / "CARD.md").read_text(encoding="utf-8")
    assert manifest.sha256_file(lenses.FILE) in card


def test_far_below_a_brim_nothing_is_darker_and_nothing_overflows() -> None:
    face = np.full((drawing.SIDE, drawing.SIDE), 170, np.float32)
    eyes = np.array([(62.0, 76.0), (98.0, 76.0)])
    with np.errstate(over="raise"):
        shaded = [drawing.brim_shade(face, eyes, np.random.default_rng(i)) for i in range(20)]
    assert all((s[-1, 40:120] > 169).all() and s[0, 80] < 130 for s in shaded)


def test_drawn_lenses_darken_the_eyes_and_frames_leave_them() -> None:
    eyes = np.array([(62.0, 76.0), (98.0, 76.0)])
    face = np.full((drawing.SIDE, drawing.SIDE), 170, np.float32)
    rng = np.random.default_rng(3)
    for _ in range(12):
        framed = drawing.frames(face, eyes, rng)
        assert framed[76, 62] > 120
    darker = [drawing.lenses(face, eyes, rng)[76, 62] for _ in range(30)]
    assert np.median(darker) < 100


def test_a_sample_is_the_strip_that_the_product_sees() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (drawing.SIDE, drawing.SIDE)).astype(np.uint8)
    eyes = np.array([(62.0, 76.0), (98.0, 76.0)])
    seen = [
        training.sample(picture, eyes, worn, np.random.default_rng(i)) for i in range(12) for worn in (0, 2)
    ]
    assert {strip.shape for strip, _ in seen} == {(48, 84)}
    assert {dark for _, dark in seen[1::2]} == {1} and {dark for _, dark in seen[::2]} == {0, 1}
