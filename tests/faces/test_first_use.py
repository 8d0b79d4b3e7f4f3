"""A pack is tested on first use, once, remembered by its digest; a failing one is refused unless accepted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portrait_lora.errors import ArtifactError
from portrait_lora.faces import backends, first_use
from portrait_lora.faces.backends import open_analyzer
from portrait_lora.faces.packs import resolve_pack
from portrait_lora.records import Face
from tests.faces.test_strangers import without_gallery


class Crowd:
    """Finds six faces, whose embeddings are alike or not."""

    def __init__(self, alike: bool):
        self.alike, self.count = alike, 0

    def find(self, image_rgb: np.ndarray) -> list[Face]:
        self.count += 1
        points = [np.full((5, 2), i, np.float32) for i in range(6)]
        return [Face((0, 0, 8, 8), 1.0, p, self.embed(image_rgb, p), "x", 1.0, 1.0) for p in points]

    def embed(self, image_rgb: np.ndarray, keypoints_px: np.ndarray) -> np.ndarray:
        own = np.random.default_rng(int(keypoints_px[0, 0])).normal(size=64) + 8 * self.alike
        return (own / np.linalg.norm(own)).astype(np.float32)


@pytest.fixture
def crowd(monkeypatch: pytest.MonkeyPatch) -> Crowd:
    """In the place of the pack's networks."""
    own = Crowd(alike=True)
    for module in (backends, first_use):
        monkeypatch.setattr(module, "open_untested", lambda pack, role="select", **_: own)
    return own


def photographs(folder: Path, **changes: Any) -> str:
    return str(without_gallery(folder, synthetic=False, **changes))


def test_a_pack_that_takes_strangers_for_one_person_is_refused_with_the_figures(
    crowd: Crowd, tmp_path: Path
) -> None:
    pack = resolve_pack(photographs(tmp_path / "p"))
    for _ in range(2):
        with pytest.raises(ArtifactError, match="fails its sanity test") as caught:
            open_analyzer(pack)
        assert "15 of 15 pairs of strangers" in str(caught.value) and "--accept" in str(caught.value)
    assert crowd.count == 1, "remembered"
    before = sorted((tmp_path / "p").rglob("*"))
    record = first_use.read(pack)
    assert record is not None and record.outcome == "failed"
    first_use.write(pack, first_use.Record("failed", "x", record.failures, accepted=True))
    open_analyzer(pack)
    assert sorted((tmp_path / "p").rglob("*")) == before, "the pack is never written to"


def test_a_pack_accepted_by_its_maker_is_used_and_says_so(
    crowd: Crowd, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_analyzer(resolve_pack(photographs(tmp_path / "p", accepted="strangers pass")))
    assert "which was accepted" in caplog.text


def test_a_pack_that_tells_strangers_apart_is_tested_once(crowd: Crowd, tmp_path: Path) -> None:
    crowd.alike = False
    pack = resolve_pack(photographs(tmp_path / "p", det_thresh=0.51))
    for _ in range(3):
        open_analyzer(pack)
        first_use._seen.clear()  # as another process
    record = first_use.read(pack)
    assert crowd.count == 1 and record is not None and record.outcome == "passed"
    file = first_use._path(pack)
    for damage in ("{", json.dumps({"format": 2}), json.dumps({"format": 1, "outcome": "fine"})):
        file.write_text(damage)
        assert first_use.read(pack) is None
    open_analyzer(pack)
    assert crowd.count == 2


def test_without_faces_it_is_not_tested_and_says_so(
    crowd: Crowd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(crowd, "find", lambda image: [])
    pack = resolve_pack(photographs(tmp_path / "p", det_thresh=0.52))
    open_analyzer(pack)
    assert "was not tested (0 faces found" in caplog.text and "pack test" in caplog.text


def test_synthetic_packs_are_exempt(crowd: Crowd) -> None:
    open_analyzer(resolve_pack())
    assert crowd.count == 0


def test_the_picture_of_strangers_comes_with_insightface() -> None:
    assert first_use.strangers_picture().is_file()
