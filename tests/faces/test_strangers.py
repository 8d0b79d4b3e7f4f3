"""Scores without a gallery of strangers: published figures stand in, or the share is not measured."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest

from portrait_lora import summaries
from portrait_lora.commands import readiness
from portrait_lora.dataset.build import load_dataset_folder
from portrait_lora.errors import ArtifactError
from portrait_lora.faces import packs
from portrait_lora.faces.catalog import AURAFACE, KNOWN, SFACE
from portrait_lora.results import LikenessFigures
from portrait_lora.tasks import compare
from portrait_lora.tasks import judge as standalone
from tests.conftest import Journey


def without_gallery(folder: Path, **changes: object) -> Path:
    """The embedded pack without its table of strangers, with other fields of pack.json."""
    shutil.copytree(packs.embedded_folder(), folder)
    file = folder / packs.PACK_FILE
    raw = json.loads(file.read_text())
    (folder / raw["models"]["impostors"]).unlink()
    del raw["files"][raw["models"].pop("impostors")]
    file.write_text(json.dumps(raw | changes))
    return folder


def published(**changes: object) -> dict[str, object]:
    raw = json.loads((packs.embedded_folder() / packs.PACK_FILE).read_text())
    one = {"mean": 0.05, "false_match_rate": 4e-5, "source": "a measurement; with its place"}
    return {raw["embedder_ids"]["report"]: one | changes}


def test_the_packs_with_published_figures_name_their_source_and_the_others_stay_silent() -> None:
    for pack in KNOWN.values():
        for judge in (pack.select, pack.report):
            if judge.strangers:
                assert judge.strangers.source and judge.threshold > judge.strangers.mean
                assert f"{judge.strangers.false_match_rate:.0e}".replace("e-0", "e-") in judge.note
    assert AURAFACE.strangers is not None and SFACE.strangers is None, "nobody states SFace's rate"


def test_a_rate_is_only_stated_where_it_is_known(tmp_path: Path) -> None:
    assert packs.resolve_pack().rate_at_threshold() == packs.resolve_pack().false_match_rate
    silent = packs.resolve_pack(str(without_gallery(tmp_path / "a", calibrated=False)))
    assert math.isnan(silent.rate_at_threshold()) and silent.published() is None
    stated = packs.resolve_pack(str(without_gallery(tmp_path / "b", calibrated=False, strangers=published())))
    assert stated.rate_at_threshold() == 4e-5
    with pytest.raises(ArtifactError, match=r"malformed|not a number of JSON"):
        packs.resolve_pack(str(without_gallery(tmp_path / "c", strangers=published(mean=float("nan")))))


def test_a_run_says_beforehand_what_stands_in_for_strangers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = without_gallery(tmp_path / "a")
    readiness._name_the_floor(str(silent))
    text = capsys.readouterr().err
    assert "will not be reported" in text and f"portrait-lora gallery {silent} --people DIR" in text
    readiness._name_the_floor(str(without_gallery(tmp_path / "b", strangers=published())))
    assert "published figures are used" in capsys.readouterr().err
    readiness._name_the_floor("embedded")
    assert capsys.readouterr().err == ""


@pytest.mark.journey
@pytest.mark.parametrize("stated", [True, False], ids=["published", "nothing known"])
def test_a_score_without_a_gallery_says_which_figure_it_used(
    stated: bool, journey: Journey, tmp_path: Path
) -> None:
    pack = without_gallery(
        tmp_path / "pack", calibrated=False, **({"strangers": published()} if stated else {})
    )
    portraits = tmp_path / "portraits"
    portraits.mkdir()
    for file in sorted((journey.folder / "portraits" / "headshots").glob("*.png"))[:3]:
        shutil.copy(file, portraits)
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in load_dataset_folder(journey.folder / "dataset")[1]:
        shutil.copy(path, photos)
    result = standalone.score_folders(
        photos, portraits, tmp_path / "out", face_pack=str(pack), allow_synthetic=True
    )
    likeness, text = result.likeness, " ".join(standalone.lines_of(result))
    json.dumps(result.json_value(), allow_nan=False)
    raw = json.loads((tmp_path / "out" / "drift.json").read_text())
    page = (tmp_path / "out" / "drift.html").read_text()
    assert "nan" not in page.replace("finance", "").split("</style>")[1].split("data:")[0].lower()
    if stated:
        assert likeness.impostor == raw["impostor"] == 0.05
        assert likeness.impostor_source.startswith("published calibration of ")
        assert "published calibration of" in text and "a measurement; with its place" in page
        ratio = (likeness.adapter_mean - 0.05) / (likeness.ceiling - 0.05)
        assert likeness.share_of_ceiling == pytest.approx(ratio)
        assert "false-match rate 4e-05" in page
    else:
        assert likeness.impostor is None and likeness.share_of_ceiling is None
        assert raw["impostor"] is None and raw["share_of_ceiling"] is None
        assert "not measured" in text and "what other people reach is not known here" in page
        assert "false-match rate is not stated" in page
    people = compare.collate([tmp_path / "out", tmp_path / "out"], None, tmp_path / "people.csv")
    json.dumps(people, allow_nan=False)
    assert (people["share_of_ceiling"]["mean"] is None) == (not stated)
    assert compare.collation_lines(people)


def test_the_lines_for_people_name_a_published_floor() -> None:
    figures = LikenessFigures(
        embedder="mine", adapter_mean=0.35, ci95=(0.3, 0.4), ceiling=0.7, impostor=0.0, share_of_ceiling=0.5,
        face_found_rate=1.0, verified_rate=1.0, threshold=0.1,
        impostor_source="published calibration of auraface: centre taken as 0; and more",
    )  # fmt: skip
    line = summaries.against_others(figures)
    assert "published calibration of auraface: centre taken as 0)" in line and "50%" in line
    own = figures.model_copy(update={"impostor_source": "gallery of 96 people"})
    assert "gallery" not in summaries.against_others(own)
