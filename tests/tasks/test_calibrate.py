"""A threshold from photos of other people, and the refusal of too few of them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from portrait_lora.evaluation.thresholds import read_threshold
from portrait_lora.records import Face
from portrait_lora.tasks import calibrate
from tests.test_help import run


class Finder:
    """One face per picture, near that of the person whose number is the picture's red."""

    embedder_id = "b"
    pack = SimpleNamespace(digest="d")

    def find(self, image_rgb: np.ndarray) -> list[Face]:
        person, picture = int(image_rgb[0, 0, 0]), int(image_rgb[0, 0, 1])
        near = np.random.default_rng(person).normal(size=16)
        near += 0.1 * np.random.default_rng(picture).normal(size=16)
        unit = (near / np.linalg.norm(near)).astype(np.float32)
        return [Face((0, 0, 8, 8), 1.0, np.zeros((5, 2), np.float32), unit, "b", 1.0, 1.0)]


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three people with two photos each, and one with a single photo."""
    monkeypatch.setattr(calibrate, "resolve_pack", lambda name: name)
    monkeypatch.setattr(calibrate, "open_analyzer", lambda pack, role: Finder())
    for name, count, red in (("0", 2, 0), ("1", 2, 1), ("2", 2, 2), ("lonely", 1, 9)):
        (tmp_path / "people" / name).mkdir(parents=True)
        for k in range(count):
            Image.new("RGB", (8, 8), (red, k, 0)).save(tmp_path / "people" / name / f"{k}.png")
    return tmp_path / "people"


def test_a_threshold_from_photos_of_other_people(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "threshold.json"
    command = ("calibrate", "embedded", "--people", people, "--references", 1, "--out", out)
    assert run(*command) == 2  # 6 comparisons cannot show one in a thousand
    output = capsys.readouterr()
    assert "too few impostor scores" in output.err and "lonely: 1 photos with a face" in output.err
    assert not out.exists()
    assert run(*command, "--false-match-rate", 0.5) == 0
    threshold = read_threshold(out, pack_digest="d")
    assert (threshold.people, threshold.references, threshold.impostor_scores) == (3, 1, 6)
    output = capsys.readouterr()
    assert "100.0% of the same people's photos reach it" in output.out and f"--threshold {out}" in output.out
    assert run(*command, "--false-match-rate", 0.5, "--json") == 0
    assert json.loads(capsys.readouterr().out)["similarity"] == threshold.similarity


def test_people_with_too_few_photos_are_no_gallery(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "threshold.json"
    assert run("calibrate", "embedded", "--people", people, "--references", 2, "--out", out) == 2
    assert "too few people to calibrate with" in capsys.readouterr().err
    assert run("calibrate", "embedded", "--people", people / "absent", "--out", out) == 2
