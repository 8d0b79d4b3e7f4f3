"""Series and edits in a likeness folder, as the commands run them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait_lora import manifest, provenance, recipe
from portrait_lora.errors import ArtifactError, ConfigError, InputError
from portrait_lora.generation.regions import region_of
from portrait_lora.results import GenerateResult
from portrait_lora.stages.series import TooManyPictures
from portrait_lora.tasks import edit as editing
from portrait_lora.tasks import lint as linting
from portrait_lora.tasks import sweep
from tests.conftest import REDUCED, Journey

pytestmark = pytest.mark.journey
SMALL = (*REDUCED, "generate.series=avatars", "generate.num_inference_steps=2")
BEST_OF_TWO = (*SMALL, "generate.best_of=2", "generate.brand=example", "generate.price_per_hour=3.6")


@pytest.fixture(scope="module")
def generated(journey: Journey, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, GenerateResult]:
    folder = tmp_path_factory.mktemp("series") / "demo"
    shutil.copytree(journey.folder, folder)
    return folder, recipe.generate(folder, overrides=BEST_OF_TWO).of(GenerateResult)


@pytest.fixture
def portrait(generated: tuple[Path, GenerateResult]) -> Path:
    return sorted(Path(generated[1].folder).glob("*.png"))[0]


def test_a_branded_best_of_two_is_sealed_checked_and_recorded(generated: tuple[Path, GenerateResult]) -> None:
    folder, result = generated
    series = Path(result.folder)
    manifest.verify(series)
    pictures = sorted(series.glob("*.png"))
    assert result.portraits == len(pictures) == 2
    chosen = json.loads((series / "choices.json").read_text())
    for path in pictures:
        written = provenance.read_record(path)
        assert written["seed"] == chosen[path.stem]
        assert "navy suit, grey seamless backdrop, three-point lighting" in str(written["prompt"])
    checks = json.loads((series / "checklist.json").read_text())
    assert set(checks) == {p.name for p in pictures} and len(checks[pictures[0].name]) == 7
    page = Path(result.gallery).read_text()
    assert all(p.name in page for p in pictures) and "cost" in page
    assert result.seconds_per_portrait is not None
    assert result.cost_per_portrait == pytest.approx(result.seconds_per_portrait / 1000, rel=0.1)
    assert not list((folder / "portraits").glob(".*"))


def test_the_report_says_that_portraits_were_chosen(generated: tuple[Path, GenerateResult]) -> None:
    recipe.score(generated[0], overrides=BEST_OF_TWO)
    page = (generated[0] / "reports" / "drift.html").read_text()
    assert "<dt>chosen by embedder A</dt><dd>best of 2</dd>" in page


def test_a_portrait_is_reproduced_bit_for_bit(portrait: Path) -> None:
    result = editing.reproduce(portrait, None, None, SMALL)
    assert result.same and result.changed_pixels == 0


def test_a_fix_stays_inside_its_mask_or_is_not_kept(portrait: Path) -> None:
    for region in ("eyes", "background"):
        wanted = region_of(region)
        result = editing.fix(portrait, None, SMALL, region=wanted, strength=0.3, tries=2, changes={})
        if not result.kept:
            assert result.file is None and Path(str(result.refused)).is_file(), "it can be looked at"
            continue
        assert result.refused is None
        assert result.changed_outside_mask == 0
        assert result.similarity_after is not None and result.similarity_before is not None
        assert result.similarity_after >= result.similarity_before - editing.IDENTITY_NOISE
        assert editing.reproduce(Path(str(result.file)), None, None, SMALL).same
    manifest.verify(portrait.parent)


def test_a_painted_mask_is_what_is_drawn_again(portrait: Path, tmp_path: Path) -> None:
    with Image.open(portrait) as picture:
        painted = np.zeros((picture.height, picture.width, 3), np.uint8)
    painted[8:30, 8:40] = (255, 255, 255)
    Image.fromarray(painted).save(tmp_path / "mask.png")
    mask = editing.read_mask(tmp_path / "mask.png")
    result = editing.fix(portrait, None, SMALL, region=mask, strength=0.9, tries=1, changes={}, keep=True)
    file = Path(str(result.file))
    before, after = (np.asarray(Image.open(one).convert("RGB")) for one in (portrait, file))
    changed = (before != after).any(axis=-1)
    assert result.region == "painted" and file.name == f"{portrait.stem}-painted-1.png"
    assert changed[8:30, 8:40].any() and not changed[mask == 0].any() and result.changed_outside_mask == 0
    assert result.mask_share == pytest.approx(22 * 32 / mask.size, abs=1e-4)
    assert editing.reproduce(file, None, None, SMALL).same
    for wrong, why in ((mask[1:], "another size"), (mask * 0, "nothing is painted")):
        with pytest.raises(InputError, match=why):
            editing.fix(portrait, None, SMALL, region=wrong, strength=0.9, tries=1, changes={})


def test_a_fix_that_costs_likeness_is_shown_and_kept_on_request(
    portrait: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from portrait_lora.commands import portraits as commands

    def fixed(keep: bool) -> editing.Fix:
        falling = iter((0.9, 0.4))
        monkeypatch.setattr(editing, "_similarity", lambda *_: next(falling))
        return editing.fix(portrait, None, SMALL, region="eyes", strength=0.3, tries=1, changes={}, keep=keep)

    refused, kept = fixed(False), fixed(True)
    assert not refused.kept and refused.file is None and refused.likeness_fell
    shown, file = Path(str(refused.refused)), Path(str(kept.file))
    assert shown.is_file() and "refused" in shown.name and str(shown) in commands._fix_lines(refused)[1]
    assert commands._after_fix(refused, portrait, "eyes").endswith("--region eyes --keep")
    assert kept.kept and kept.refused is None and "refused" not in file.name
    assert np.array_equal(np.asarray(Image.open(file)), np.asarray(Image.open(shown)))
    assert "kept because of --keep" in commands._fix_lines(kept)[0]
    assert commands._after_fix(kept, portrait, "eyes") == f"portrait-lora reproduce {file}"


def test_variations_and_a_reference(portrait: Path, journey: Journey, tmp_path: Path) -> None:
    change = {"lighting": "rim lighting"}
    result = editing.vary(portrait, None, SMALL, strength=0.4, count=2, changes=change)
    files = [Path(one.file) for one in result.made]
    written = provenance.read_record(files[0])
    assert "rim lighting" in str(written["prompt"]) and written["action"] == "vary"
    assert editing.reproduce(files[1], None, None, SMALL).same
    root = portrait.parents[2]
    photo = next(iter(sorted((root / "dataset" / "train").glob("*.png"))))
    seen = editing.vary(photo, root, SMALL, strength=0.5, count=1, changes={}, shot="smiling")
    drawn = Path(seen.made[0].file)
    assert photo.stem not in drawn.with_suffix(".json").read_text()
    with pytest.raises(InputError, match="--source"):
        editing.reproduce(drawn, None, None, SMALL)
    assert editing.reproduce(drawn, None, photo, SMALL).same
    with pytest.raises(ConfigError, match="no such layer"):
        editing.vary(portrait, None, SMALL, strength=0.4, count=1, changes={"lightning": "x"})


def test_bad_pictures_are_distinguished(portrait: Path, tmp_path: Path) -> None:
    root = portrait.parents[2]
    blank = tmp_path / "blank.png"
    Image.fromarray(np.full((128, 128, 3), 90, np.uint8)).save(blank)
    with pytest.raises(InputError, match="no likeness folder"):
        editing.reproduce(blank, None, None, SMALL)
    with pytest.raises(InputError, match="no generation record"):
        editing.reproduce(blank, root, None, SMALL)
    with pytest.raises(InputError, match="no face"):
        editing.vary(blank, root, SMALL, strength=0.4, count=1, changes={})
    forged = tmp_path / portrait.name
    shutil.copyfile(portrait.with_suffix(".json"), forged.with_suffix(".json"))
    forged.write_bytes(portrait.read_bytes() + b" ")
    with pytest.raises(ArtifactError, match="changed since it was made"):
        editing.reproduce(forged, root, None, SMALL)
    forged.unlink()
    with pytest.raises(InputError, match="no such picture"):
        editing.reproduce(forged, root, None, SMALL)


def test_a_large_series_needs_confirmation_and_strict_means_strict(
    generated: tuple[Path, GenerateResult], tmp_path: Path
) -> None:
    with pytest.raises(TooManyPictures, match=r"10,000 pictures, about .* h at .* s each") as caught:
        recipe.generate(generated[0], overrides=[*SMALL, "generate.per_shot=5000"])
    assert caught.value.exit_code == 2 and "--yes" in caught.value.remedy
    series = tmp_path / "mine.yaml"
    series.write_text("shots: [{view: frontal, shot: headshot, lighting: velvet lighting}]")
    with pytest.raises(ConfigError, match="velvet"):
        recipe.generate(generated[0], overrides=[*SMALL, f"generate.series={series}", "generate.strict=true"])


def test_strengths_side_by_side(generated: tuple[Path, GenerateResult]) -> None:
    result = sweep.sweep(generated[0], [0.5, 1.5], 1, SMALL)
    assert [row.scale for row in result.rows] == [0.5, 1.5]
    assert Path(result.contact_sheet).is_file()


def test_prompts_from_text_file_and_series(tmp_path: Path) -> None:
    (row,) = linting.lint_text("portrait of a man, good lighting")
    assert {r.code for r in row.remarks} == {"vague_light", "no_surface_detail"}
    file = tmp_path / "prompts.txt"
    file.write_text("# mine\nmasterpiece, rim light, skin\n\nohwx man, rim light, skin\n")
    rows = linting.lint_text(str(file))
    assert [r.where for r in rows] == ["prompts.txt:2", "prompts.txt:4"] and not rows[1].remarks
    assert len(linting.lint_text("headshots", "embedded")) == 8
    with pytest.raises(InputError, match="empty"):
        linting.lint_text("  ")


def test_a_brand_s_framing_is_cropped_to_and_reproducible(
    generated: tuple[Path, GenerateResult], tmp_path: Path
) -> None:
    folder = tmp_path / "framed"
    shutil.copytree(generated[0], folder)
    brand = tmp_path / "mine.yaml"
    brand.write_text("brand: mine\nframing: {head_height: 0.98}\n")
    overrides = [*SMALL, f"generate.brand={brand}", "generate.reframe=true", "generate.reframe_limit=1.6"]
    series = Path(recipe.generate(folder, overrides=overrides).of(GenerateResult).folder)
    pictures = sorted(series.glob("*.png"))
    recipes = [provenance.read_record(path) for path in pictures]
    cropped = [path for path, one in zip(pictures, recipes, strict=True) if one.get("action") == "reframe"]
    assert cropped and manifest.verify(series) is not None
    assert editing.reproduce(cropped[0], None, None, overrides).same
    varied = editing.vary(cropped[0], None, overrides, strength=0.3, count=1, changes={})
    again = Path(varied.made[0].file)
    assert "box_px" not in provenance.read_record(again)
    assert editing.reproduce(again, None, None, overrides).same
    with pytest.raises(ConfigError, match="no framing to crop to"):
        recipe.generate(folder, overrides=[*SMALL, "generate.brand=example", "generate.reframe=true"])
