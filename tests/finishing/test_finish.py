"""The command: files, marks, records, what is refused, and the same bytes again."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from portrait_lora import provenance
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.faces.backends import open_analyzer
from portrait_lora.faces.packs import resolve_pack
from portrait_lora.finishing import look
from portrait_lora.finishing.canvas import Canvas
from portrait_lora.generation import save
from portrait_lora.rights import credentials, marks
from portrait_lora.rights.watermark import Reading, payload_of
from portrait_lora.stages import finish_files, finish_judge
from portrait_lora.synthetic.identity import sample_people
from portrait_lora.synthetic.taking import picture_of, plain_photo
from portrait_lora.tasks import detect
from portrait_lora.tasks import finish as finishing
from tests.finishing import studio


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("portrait") / "p.png"
    picture = picture_of(plain_photo(sample_people([3]), 3, 0)).resize((192, 240))
    picture.save(path, pnginfo=provenance.png_info(None))
    return path


def test_a_look_is_made_again_to_the_byte(portrait: Path, tmp_path: Path) -> None:
    before = portrait.read_bytes()
    result = finishing.finish(portrait, "tri-x-like", None, tmp_path, [])
    (one,) = result.pictures
    assert one.file is not None and one.before_a == pytest.approx(1.0, abs=1e-4)
    assert one.before_b is not None and one.after_b is not None
    assert portrait.read_bytes() == before
    assert provenance.source_type(Path(one.file)) == provenance.TRAINED
    assert finishing.is_finished(Path(one.file))
    again = finishing.reproduce(Path(one.file), None, portrait, [])
    assert again.same, again


def test_a_finished_picture_can_be_finished_again_and_keeps_its_mark(
    portrait: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laid: list[str] = []
    lay = marks.watermarked
    monkeypatch.setattr(marks, "watermarked", lambda rgb, recipe: laid.append(recipe) or lay(rgb, recipe))
    first = Path(str(finishing.finish(portrait, "portra-like", None, tmp_path / "a", []).pictures[0].file))
    assert len(laid) == 1
    second = Path(str(finishing.finish(first, "noir", None, tmp_path / "b", [], seed=4).pictures[0].file))
    assert len(laid) == 1, "no second mark over the first"
    record = json.loads(second.with_suffix(".json").read_text())
    assert [step["look"] for step in record["history"]] == ["portra-like", "noir"]
    assert record["recipe"][finish_files.MARK] == finish_files.KEPT
    before, after = (detect.one(file) for file in (first, second))
    assert before.watermark and after.watermark and after.watermark.whole
    assert after.watermark.picture == before.watermark.picture
    assert after.credentials and after.credentials.actions.count(marks.WATERMARKED) == 1
    assert marks.is_watermarked(second), "as publish asks, which adds none"
    assert finishing.reproduce(second, None, portrait, []).same and len(laid) == 2


def test_a_mark_that_is_lost_or_partial_is_laid_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = studio.sitter().picture
    marked = marks.watermarked(pixels, "first")
    stripped, said, unsaid = (tmp_path / name for name in ("stripped.png", "said.png", "unsaid.png"))
    Image.fromarray(marked).save(stripped, pnginfo=provenance.png_info(None))
    for path, edits in ((said, (marks.WATERMARKED,)), (unsaid, ())):
        path.write_bytes(
            marks.encode(Image.fromarray(marked), "PNG", marks.Origin(provenance.TRAINED, edits))
        )
    for source, canvas, kept in (
        (said, marked, True),
        (said, pixels, False),
        (stripped, marked, True),
        (unsaid, marked, False),
    ):
        record = finish_files.with_mark({}, Canvas.of(canvas), source)
        assert (record.get(finish_files.MARK) == finish_files.KEPT) is kept, (source.name, kept)
    with monkeypatch.context() as partial:
        reading = Reading(payload_of("first"), 0.9, 0, whole=False)
        partial.setattr(marks, "watermark", lambda: SimpleNamespace(detect=lambda rgb: reading))
        assert finish_files.MARK not in finish_files.with_mark({}, Canvas.of(marked), said)
    data = finish_files.encoded(Canvas.of(marked), {finish_files.MARK: finish_files.KEPT}, stripped)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), marked)
    stated = credentials.read(data, "PNG")
    assert stated and stated.actions.count(marks.WATERMARKED) == 1, "else publish would lay a second one"


def test_another_source_and_a_changed_file_are_refused(portrait: Path, tmp_path: Path) -> None:
    file = Path(str(finishing.finish(portrait, "noir", None, tmp_path, []).pictures[0].file))
    other = tmp_path / "other.png"
    Image.new("RGB", (192, 240)).save(other)
    with pytest.raises(ArtifactError, match="not the picture that was finished"):
        finishing.reproduce(file, None, other, [])
    with pytest.raises(InputError, match="--source"):
        finishing.reproduce(file, None, None, [])
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(ArtifactError, match="changed since"):
        finishing.reproduce(file, None, portrait, [])


def test_a_photograph_is_not_for_the_embedded_pack(portrait: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.png"
    Image.open(portrait).save(plain)
    with pytest.raises(InputError, match="real photograph"):
        finishing.finish(plain, "noir", None, tmp_path, [])
    assert finishing.finish(plain, "noir", None, tmp_path, ["allow_synthetic_models=true"]).pictures[0].file


def test_an_alpha_channel_stays(portrait: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.png"
    picture = Image.open(portrait).convert("RGBA")
    alpha = np.zeros((240, 192), np.uint8)
    alpha[20:220, 20:170] = 255
    picture.putalpha(Image.fromarray(alpha))
    picture.save(cut, pnginfo=provenance.png_info(None))
    file = finishing.finish(cut, "portra-like", None, tmp_path, []).pictures[0].file
    assert np.array_equal(np.asarray(Image.open(str(file)))[..., 3], alpha)


def test_an_empty_folder_has_nothing_to_finish(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to finish"):
        finishing.finish(tmp_path, "noir", None, None, [])


def test_a_reference_that_a_step_refuses_is_left_out(portrait: Path) -> None:
    pack = resolve_pack("embedded")
    picture = finishing.read_picture(portrait)[0].flat()
    finder = open_analyzer(pack, "select")
    models = finish_judge.Models(pack, finder, finder, (picture, np.full((64, 64, 3), 90, np.uint8)))
    judge = finish_judge.SimilarityJudge(models, models.held_out or (picture,), Path(), 0)
    cut = look.planned([{"cutout": {}}], "here")
    flat = cut[0].step.apply(Canvas.of(picture), cut[0].settings, studio.tools()).flat()
    assert judge.likeness(flat, cut) == pytest.approx(1.0, abs=1e-4)
    assert judge.likeness(flat, ()) != pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("name", ["studio-white", "charcoal", "warm-office"])
def test_a_look_with_a_backdrop_is_made_again_to_the_byte(portrait: Path, tmp_path: Path, name: str) -> None:
    (one,) = finishing.finish(portrait, name, None, tmp_path, [], seed=7).pictures
    assert one.file is not None, one.refused
    assert [step.strength for step in one.steps] == [1.0, 1.0, 1.0]
    assert Image.open(one.file).mode == "RGB"
    assert finishing.reproduce(Path(one.file), None, portrait, []).same


def test_results_stand_beside_each_other_and_the_same_one_once(portrait: Path, tmp_path: Path) -> None:
    first, again, other = (
        Path(str(finishing.finish(portrait, "noir", None, tmp_path, [], seed=seed).pictures[0].file))
        for seed in (0, 0, 1)
    )
    assert first == again != other
    assert first.read_bytes() != other.read_bytes()
    assert sorted(p.name for p in tmp_path.glob("*.png")) == ["p-noir-2.png", "p-noir.png"]


def test_without_held_out_photos_a_change_of_colour_is_no_likeness_of_one(
    portrait: Path, tmp_path: Path
) -> None:
    (one,) = finishing.finish(portrait, "noir", None, tmp_path, []).pictures
    assert one.steps[0].after == pytest.approx(1.0, abs=1e-3)  # the gate compares black and white with itself
    assert one.after_a is not None and one.after_a < 0.99


def test_the_page_shows_before_and_after_with_both_figures(portrait: Path, tmp_path: Path) -> None:
    result = finishing.finish(portrait, "noir", None, tmp_path / "a folder", [])
    page = Path(result.page).read_text()
    assert "p-noir.png" in page and "1 of 1 finished" in page
    assert page.count("<td>1.000</td>") >= 2  # A and B before
    assert "http" not in page.replace("http-equiv", "")


def test_a_look_with_a_lut_is_made_again_from_the_same_file_only(
    portrait: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"{r} {g} {1 - b}" for b in (0, 1) for g in (0, 1) for r in (0, 1)]
    (tmp_path / "mine.cube").write_text("\n".join(["LUT_3D_SIZE 2", *rows]))
    look = tmp_path / "mine.yaml"
    look.write_text("steps: [{grade: {lut: mine.cube, lut_strength: 0.3}}]")
    (one,) = finishing.finish(portrait, str(look), None, tmp_path / "out", []).pictures
    with pytest.raises(InputError, match="no such LUT"):
        finishing.reproduce(Path(str(one.file)), None, portrait, [])
    monkeypatch.chdir(tmp_path)
    assert finishing.reproduce(Path(str(one.file)), None, portrait, []).same
    (tmp_path / "mine.cube").write_text("\n".join(["LUT_3D_SIZE 2", *reversed(rows)]))
    with pytest.raises(ArtifactError, match="another one now"):
        finishing.reproduce(Path(str(one.file)), None, portrait, [])


def test_a_killed_finish_is_gone_on_with_and_an_edited_layered_file_is_left_alone(
    portrait: Path, tmp_path: Path
) -> None:
    look = tmp_path / "mine.yaml"
    look.write_text("steps: [{grade: {contrast: 0.2}}, layers]")

    def finished() -> Path:
        return Path(str(finishing.finish(portrait, str(look), None, tmp_path / "out", []).pictures[0].file))

    first = finished()
    save.sidecar_of(first).unlink()  # as a kill between the two leaves it
    assert finished() == first and save.sidecar_of(first).is_file()
    layers = first.with_suffix(".ora")
    layers.write_bytes(b"edited by hand")
    other = finished()
    assert other != first and layers.read_bytes() == b"edited by hand"
    assert other.with_suffix(".ora").is_file()


def test_a_damaged_picture_does_not_keep_the_series_from_being_finished(
    portrait: Path, tmp_path: Path
) -> None:
    series = tmp_path / "series"
    series.mkdir()
    for name in ("a", "b"):
        (series / f"{name}.png").write_bytes(portrait.read_bytes() if name == "b" else b"no picture")
        (series / f"{name}.json").write_text("{}")
    result = finishing.finish(series, "noir", None, tmp_path / "out", ["allow_synthetic_models=true"])
    first, second = result.pictures
    assert first.file is None and first.refused
    assert second.file is not None


def test_a_damaged_seed_is_an_error() -> None:
    with pytest.raises(ArtifactError, match="finish_seed"):
        finishing.seed_of({"finish_seed": "7"})


def test_a_heic_photo_of_a_phone_is_read(portrait: Path, tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "IMG_0001.HEIC"
    heif.from_pillow(Image.open(portrait).convert("RGB")).save(path, quality=90)
    canvas, record = finishing.read_picture(path)
    assert (canvas.size_px, canvas.alpha_HW, record) == ((192, 240), None, None)
