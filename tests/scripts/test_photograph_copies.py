"""Copies are flagged by what `score` says of them, and files that show one photo count once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait_lora.config import CheckConfig
from portrait_lora.dataset.checks import check_photo
from portrait_lora.faces.backends import open_analyzer
from portrait_lora.faces.packs import resolve_pack
from portrait_lora.stages.configured import check_of
from scripts.evaluate import photograph_copies
from scripts.evaluate.photograph_copies import KINDS, Verdicts, each_once, judge, rows_of, second_files
from scripts.evaluate.protocol.copies import pictures


def test_copies_are_flagged_with_their_source_and_other_photos_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photograph_copies, "TRAINING", 2)
    monkeypatch.setattr(photograph_copies, "HOLDOUT", 2)
    pack, settings = resolve_pack(quiet=True), check_of(CheckConfig())
    select, report = open_analyzer(pack, "select"), open_analyzer(pack, "report")
    reports = []
    for index, picture in enumerate(pictures(4711, 6)):
        file = tmp_path / f"{index}.png"
        Image.fromarray(picture).save(file)
        reports.append(check_photo(file, select, settings))
    verdicts = Verdicts()
    judge(reports, select, report, tmp_path, verdicts)
    rows = {row.name.strip(): row for row in rows_of(verdicts)}
    copies = rows["copies of training photos flagged"]
    assert (copies.value, copies.n) == (1.0, 2 * len(KINDS))
    assert rows["of those flagged, another photo named"].value == 0.0
    honest = rows["other photos of the same person flagged"]
    assert (honest.value, honest.n, honest.met) == (0.0, 2, True)


def test_every_kind_of_copy_changes_the_picture_and_keeps_its_form() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (300, 256, 3), dtype=np.uint8)
    for kind, change in KINDS.items():
        copy = change(picture)
        assert copy.dtype == np.uint8 and copy.ndim == 3, kind
        assert copy.shape != picture.shape or not np.array_equal(copy, picture), kind
    assert KINDS["crop 5 %"](picture).shape == (285, 244, 3)
    assert KINDS["half size"](picture).shape == (150, 128, 3)


def test_files_of_one_photo_count_once(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.csv"
    pairs.write_text(
        "file_a,file_b,kind\nset/anna/b.jpg,set/anna/a.jpg,same\nset/anna/c.jpg,set/anna/a.jpg,session\n"
    )
    photos = tmp_path / "set"
    files = [photos / "anna" / name for name in ("a.jpg", "b.jpg", "c.jpg")]
    assert [f.name for f in each_once(files, photos, second_files(pairs))] == ["a.jpg", "c.jpg"]
    pairs.write_text("file,kind\n")
    with pytest.raises(ValueError, match="file_a"):
        second_files(pairs)
