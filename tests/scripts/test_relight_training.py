"""The training of the network of `relight`, on two people and two steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_tensors

from portrait_lora.finishing import relight
from scripts.train.relight import __main__ as training
from scripts.train.relight import lessons, sittings


def test_two_people_and_two_steps_write_weights_of_the_shape_that_ships(tmp_path: Path) -> None:
    training.render(tmp_path, people=2, views=3)
    training.train(tmp_path, steps=2, batch=1, halved=0.4)
    training.read(tmp_path, steps=2, batch=2)
    training.pack(tmp_path, out=tmp_path / "out")
    written, shipped = (load_file(str(f)) for f in (tmp_path / "out" / "studio.safetensors", relight.STUDIO))
    assert {k: v.shape for k, v in written.items()} == {k: v.shape for k, v in shipped.items()}
    begun = relight.RelightNet()
    training._begin(begun, {k: torch.from_numpy(v)[:1] for k, v in written.items()})
    rows = begun.state_dict()["finest.bias"]
    assert rows[0] != 0 and not rows[1:].any(), "rows that the file lacks do not begin at zero"

    (file,) = tmp_path.glob("sittings-*.safetensors")
    table = load_tensors(str(file))
    for halved in (True, False):
        one, again = (lessons.batch(table, 2, np.random.default_rng(3), halved=halved) for _ in range(2))
        side = sittings.SIZE_PX // (2 if halved else 1)
        assert one.picture_B4HW.shape == (2, 4, side, side)
        assert torch.equal(one.picture_B4HW, again.picture_B4HW)


def test_a_mirrored_picture_has_the_light_of_the_other_side() -> None:
    row = sittings.sitting(7, views=3)
    table = {key: value[None] for key, value in row.items()}
    pictures, light = lessons.readings(table, 24, np.random.default_rng(0))
    assert pictures.shape == (24, 4, sittings.SIZE_PX, sittings.SIZE_PX)
    shown = row["picture"].float() / 255
    for picture, number in zip(pictures, light.tolist(), strict=True):
        off = [
            float((part - picture[:3])[:, picture[3] > 0.99].abs().mean())
            for one in shown
            for part in (one, one.flip(-1))
        ]
        seen_as = [int(rig) ^ flipped for rig in row["rig"] for flipped in (0, 1)]
        same = [other for other, away in zip(seen_as, off, strict=True) if away < min(off) + 1e-4]
        assert number in same, "rigs with the key in the middle look the same from both sides"
        assert len(same) == 1 or number // 2 in (2, 9)


def test_true_maps_in_a_rigs_light_are_the_rendered_picture() -> None:
    row = sittings.sitting(7, views=2)
    maps = sittings.unpacked(row["surface"][None])
    inside = row["cover"][None] == 255
    flat = {name: lessons._picked(values, inside) for name, values in maps.items()}
    for k in range(2):
        seen = lessons._picked(row["seen"][None, k, None].float() / 255, inside)
        light = lessons.shown(flat, seen, torch.ones(len(seen), 3), lessons.lamps(row["rig"])[0][k])
        off = lessons.coded(light) - lessons._picked(row["picture"][None, k].float() / 255, inside)
        assert float(off.abs().mean()) < 0.01
