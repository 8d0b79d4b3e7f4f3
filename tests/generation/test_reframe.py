"""Heads at one height: the nearest crop, what it cannot reach, and the same picture reproduced."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from portrait_lora import provenance
from portrait_lora.errors import ArtifactError, ConfigError
from portrait_lora.families.sd15 import SD15
from portrait_lora.generation import reframe, remake, save
from portrait_lora.generation.brand import Brand
from portrait_lora.generation.checklist import Framing, framing
from portrait_lora.generation.reframe import Crop, Target
from portrait_lora.generation.sample import conditions, generate
from portrait_lora.records import Adapter, Face, Shot, readonly
from portrait_lora.stages import framing as stage
from portrait_lora.stages.context import Context
from portrait_lora.tasks.team import steadiness
from tests.generation import drawn_face
from tests.recipes import sampler as make_sampler

PX = 128
TARGET = Target(0.42, 0.56, 1.4)


def _seen(face: Face, crop: Crop) -> Framing:
    """The framing of the face after the crop, from its points carried along."""
    left, top, right, bottom = crop.box_px
    zoom = PX / (bottom - top)
    points = (np.asarray(face.landmarks_px) - (left, top)) * zoom
    keys = (np.asarray(face.keypoints_px) - (left, top)) * zoom
    assert zoom == pytest.approx(PX / (right - left), abs=1e-3)
    return framing(replace(face, landmarks_px=readonly(points), keypoints_px=readonly(keys)), PX)


def _largest(seen: list[Framing]) -> float:
    steady = steadiness(seen)
    assert steady.eye_line_std is not None and steady.head_height_std is not None
    return max(steady.eye_line_std, steady.head_height_std)


def test_people_of_unlike_framing_come_out_even() -> None:
    people = [drawn_face.face(cx, cy, size) for cx, cy, size in
              ((60, 48, 42), (70, 60, 44), (64, 50, 52), (58, 62, 43), (66, 54, 54))]  # fmt: skip
    before = [framing(face, PX) for face in people]
    crops = [reframe.crop_for(face, (PX, PX), TARGET) for face in people]
    after = [
        _seen(face, crop) if crop else seen for face, crop, seen in zip(people, crops, before, strict=True)
    ]
    assert _largest(before) > 0.03
    assert _largest(after) < 0.01
    for crop in filter(None, crops):
        left, top, right, bottom = crop.box_px
        assert 0 <= left < right <= PX and 0 <= top < bottom <= PX
        assert PX / (bottom - top) <= TARGET.limit + 1e-6 and max(crop.missed) <= reframe.NEAR


def test_what_would_leave_the_picture_or_enlarge_too_much_comes_as_near_as_it_can() -> None:
    small, large, low = (drawn_face.face(64, cy, size) for cy, size in ((56, 24), (56, 70), (100, 48)))
    grown = reframe.crop_for(small, (PX, PX), TARGET)
    assert grown and PX / (grown.box_px[3] - grown.box_px[1]) == pytest.approx(1.4, abs=0.01)
    assert grown.missed[1] > reframe.NEAR
    kept = reframe.crop_for(large, (PX, PX), TARGET)
    assert kept and kept.box_px == (0, 0, PX, PX) and kept.missed[1] > reframe.NEAR
    down = reframe.crop_for(low, (PX, PX), Target(0.2, None, 1.25))
    assert down and down.box_px[3] == PX and down.missed == (pytest.approx(down.missed[0]), 0.0)
    assert down.missed[0] > reframe.NEAR
    seen = framing(large, PX)
    assert reframe.crop_for(large, (PX, PX), Target(seen.eye_line, seen.head_height)) is None


def test_a_brand_without_framing_is_an_error() -> None:
    with pytest.raises(ConfigError, match="eye_line"):
        reframe.target_of(Brand("b", {"shot": "headshot"}), 1.25)
    with pytest.raises(ConfigError, match="no brand"):
        reframe.target_of(None, 1.25)


def _context(family: SD15, *faces: Face) -> Context:
    return cast(
        Context, SimpleNamespace(family=family, finder=SimpleNamespace(find=lambda image: list(faces)))
    )


def test_the_crop_is_the_last_edit_and_reproducible(
    tiny_sd15: SD15, adapter: Adapter, shots: list[Shot], tmp_path: Path
) -> None:
    sampler, folder = make_sampler(2, 2.0), tmp_path / "series"
    portraits = generate(tiny_sd15, adapter, shots[:2], folder, sampler, batch_size=2)
    plain = [p.path.read_bytes() for p in portraits]
    face = drawn_face.face(32, 26, 26)
    wanted = Target(0.42, 0.62, 1.25)
    assert stage.reframed(_context(tiny_sd15, face), portraits, wanted) == []
    recipe: dict[str, Any] = provenance.read_record(portraits[0].path)
    assert recipe[save.ACTION] == "reframe" and recipe["framing"]["head_height"] == 0.62
    assert [step["action"] for step in save.history(recipe)] == ["generate", "reframe"]
    assert provenance.source_type(portraits[0].path) == "trainedAlgorithmicMedia"
    picture = Image.open(portraits[0].path).convert("RGB")
    assert picture.size == shots[0].size_px
    again = remake.remake(tiny_sd15, recipe, adapter, lambda digest: None)
    assert remake.compare(picture, again, recipe).same

    kept = [p.path.read_bytes() for p in portraits]
    assert kept[0] != plain[0]
    generate(tiny_sd15, adapter, shots[:2], folder, sampler, batch_size=2, framing=wanted.entry)
    stage.reframed(_context(tiny_sd15, face), portraits, wanted)
    assert [p.path.read_bytes() for p in portraits] == kept  # neither drawn nor cropped twice
    generate(tiny_sd15, adapter, shots[:2], folder, sampler, batch_size=2)
    assert [p.path.read_bytes() for p in portraits] == plain  # drawn anew without a crop

    far = stage.reframed(_context(tiny_sd15, face), portraits[:1], Target(0.42, 0.9, 1.05))
    assert "head height" in far[0] and "1.05" in far[0]
    assert "no face" in stage.reframed(_context(tiny_sd15), portraits[1:], wanted)[0]
    broken = recipe | {"box_px": [-1, 0, 64, 64], save.CONDITIONS: conditions(tiny_sd15, 1, 0)}
    with pytest.raises(ArtifactError, match="exceeds the picture"):
        remake.remake(tiny_sd15, broken, adapter, lambda digest: None)
