"""A series or a brand names a look: its finished pictures are made once, and gone on with when stopped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from portrait_lora import Likeness, config, manifest, recipe
from portrait_lora.errors import InputError, PortraitError
from portrait_lora.finishing import chain
from portrait_lora.generation import save
from portrait_lora.generation.series import finish_of
from portrait_lora.likeness import open_likeness
from portrait_lora.results import FinishedSeries, GenerateResult
from portrait_lora.stages import finish as finishing
from portrait_lora.stages.context import Context, folder_digest
from portrait_lora.stages.generate import finishing_of
from portrait_lora.tasks import finish as tasks_finish
from portrait_lora.tasks import forget, outside, team
from tests.conftest import REDUCED, Journey

SHOTS = """
series: duo
seed: 5
count: 1
shots:
  - {name: classic, view: frontal, shot: headshot, wardrobe: navy suit, lighting: high-key lighting}
  - {name: beauty, view: frontal, shot: close-up, wardrobe: red v-neck, lighting: butterfly lighting}
"""
LUT = "LUT_3D_SIZE 2\n" + "\n".join(f"{r} {g} {b}" for b in (0, 1) for g in (0, 1) for r in (0, 1))
FASTER = "generate.num_inference_steps=8"
Finished = tuple[Path, Path]


def _sheet(folder: Path, finish: str, name: str = "duo") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(f"{SHOTS}finish: {finish}\n")
    return path


def _generate(folder: Path, series: Path, *more: str, force: bool = False) -> FinishedSeries:
    overrides = [*REDUCED, FASTER, f"generate.series={series}", *more]
    done = recipe.generate(folder, overrides=overrides, force=force).of(GenerateResult)
    assert done.finished is not None
    return done.finished


@pytest.fixture(scope="module")
def finished(journey: Journey, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A likeness folder with a finished series, and its sheet; the LUT of its look lies beside it."""
    here = tmp_path_factory.mktemp("finished")
    (here / "house.cube").write_text(LUT)
    folder = Path(shutil.copytree(journey.folder, here / "me"))
    series = _sheet(here, "[grade: {lut: house.cube, contrast: 0.1}, layers]")
    _generate(folder, series)
    return folder, series


@pytest.fixture
def mine(finished: Finished, tmp_path: Path) -> Iterator[Finished]:
    """The same, which a test may change: the journal knows the sheet by its path, so it is put back after."""
    here = finished[1].parent
    shutil.copytree(here, tmp_path / "kept")
    yield finished
    shutil.rmtree(here)
    shutil.copytree(tmp_path / "kept", here)


@pytest.fixture
def chains(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every chain that is carried out."""
    calls: list[int] = []
    run = chain.run

    def counted(*args: Any, **keys: Any) -> chain.Finished:
        calls.append(1)
        return run(*args, **keys)

    monkeypatch.setattr(chain, "run", counted)
    return calls


def _times(folder: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in sorted(folder.iterdir())}


def test_the_finished_pictures_lie_beside_the_series(finished: Finished) -> None:
    folder = finished[0] / "portraits" / "duo-finished" / "duo"
    sealed = manifest.verify(folder)
    shots = ["01-classic", "02-beauty"]
    ends = ("-duo.png", "-duo.json", "-duo.ora")
    assert set(sealed.files) == {"finished.html", *(f"{s}{end}" for s in shots for end in ends)}
    assert finishing.pictures_of(folder) == {s: folder / f"{s}-duo.png" for s in shots}
    sidecar = json.loads((folder / "01-classic-duo.json").read_text())
    assert sidecar["sheet"] == "series duo"
    assert sidecar["recipe"]["steps"][0]["grade"] == {"contrast": 0.1, "lut": "house.cube"}
    page = (folder / "finished.html").read_text()
    assert "2 of 2 finished" in page and "../../duo/01-classic.png" in page
    assert manifest.verify(finished[0] / "portraits" / "duo").files.keys() >= {"01-classic.png"}
    me = Likeness(finished[0], settings=[*REDUCED, FASTER, f"generate.series={finished[1]}"])
    assert me.finished() == [folder / f"{s}-duo.png" for s in shots]
    with pytest.raises(InputError, match="neither series nor brand"):
        Likeness(finished[0]).finished()


def test_unchanged_it_is_skipped_and_a_changed_look_is_made_again(mine: Finished, chains: list[int]) -> None:
    root, series = mine
    folder, drawn = root / "portraits" / "duo-finished" / "duo", root / "portraits" / "duo"
    before, portraits, digest = _times(folder), _times(drawn), folder_digest(drawn)
    again = _generate(root, series)
    assert (again.pictures, again.refused, again.look) == (2, 0, "duo")
    assert (_times(folder), chains) == (before, [])
    # other bytes of a file that the look names; one layered file was edited meanwhile, and stays
    (series.with_name("house.cube")).write_text(LUT.replace("0 0 1\n", "0 0 0.9\n"))
    edited = folder / "02-beauty-duo.ora"
    edited.write_bytes(b"edited by hand")
    _generate(root, series)
    assert len(chains) == 2
    assert edited.read_bytes() == b"edited by hand"
    assert finishing.pictures_of(folder)["02-beauty"].name == "02-beauty-duo-2.png"
    assert finishing.pictures_of(folder)["01-classic"].name == "01-classic-duo.png"
    assert not list(folder.glob("01-classic-duo-2*"))
    # score measures the portraits as they were drawn: their folder is the same
    assert (_times(drawn), folder_digest(drawn)) == (portraits, digest)


def test_stopped_it_goes_on_and_what_no_shot_has_makes_way(
    mine: Finished, chains: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, series = mine
    folder = root / "portraits" / "duo-finished" / "duo"
    (series.with_name("house.cube")).write_text(LUT.replace("0 0 1\n", "0 0 0.8\n"))
    stale = folder / "09-gone-duo.png"
    shutil.copy(folder / "01-classic-duo.png", stale)
    content = json.loads((folder / "01-classic-duo.json").read_text())
    content["products"] = {}
    save.sidecar_of(stale).write_text(json.dumps(content))
    write = tasks_finish.finish_files.write
    written: list[Path] = []

    def stopping(canvas: Any, path: Path, *rest: Any) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(path)
        write(canvas, path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(tasks_finish.finish_files, "write", stopping)
        with pytest.raises(KeyboardInterrupt):
            _generate(root, series)
    first = written[0].stat().st_mtime_ns
    assert len(chains) == 2
    assert _generate(root, series).pictures == 2
    assert (len(chains), written[0].stat().st_mtime_ns) == (3, first)
    assert not stale.exists() and not save.sidecar_of(stale).exists()
    assert sorted(p.name for p in folder.glob("*.png")) == ["01-classic-duo.png", "02-beauty-duo.png"]
    assert tasks_finish.reproduce(written[0], None, None, [*REDUCED, FASTER]).whole


def test_a_brands_look_counts_alone_and_goes_for_a_team(mine: Finished, tmp_path: Path) -> None:
    root, series = mine
    brand = tmp_path / "house.yaml"
    brand.write_text("brand: House\nfinish: {look: own.yaml, limit: 0.5, seed: 9}\n")
    (tmp_path / "own.yaml").write_text("name: own\nsteps: [{upscale: {factor: 2}}, {grade: {grain: 0.2}}]\n")
    assert (wanted := finish_of(str(series), str(brand))) is not None
    assert (wanted.sheet, wanted.look, wanted.limit, wanted.seed) == ("brand house", "own.yaml", 0.5, 9)
    overrides = [*REDUCED, FASTER, f"generate.series={series}", f"generate.brand={brand}"]

    def make(folder: Path) -> GenerateResult:
        return recipe.generate(folder, overrides=overrides).of(GenerateResult)

    result = team.generate([root], make, tmp_path / "out", overrides)
    (row,) = result.people
    assert row.finished is not None
    assert (row.finished.look, row.finished.sheet, row.finished.pictures) == ("own", "brand house", 2)
    folder = root / "portraits" / "duo--house-finished" / "own"
    assert not (root / "portraits" / "duo--house-finished" / "duo").exists()
    assert json.loads((folder / "01-classic-own.json").read_text())["recipe"]["finish_seed"] == 9
    with Image.open(folder / "01-classic-own.png") as one:
        assert one.size == (256, 256)
    assert Image.open(result.finished_sheet).width > 256
    assert result.finished_sheet.endswith("finished_sheet.jpg")


def test_the_limit_of_a_sheet_arrives_at_the_gate(mine: Finished) -> None:
    root, series = mine
    _sheet(series.parent, "{steps: [grade: {exposure: -3}, format: {preset: a4}], limit: 0}")
    refused = _generate(root, series)
    assert (refused.pictures, refused.refused) == (0, 2)  # too small for a4
    assert "Refused" in Path(refused.page).read_text()
    wanted = finish_of(str(series))
    assert wanted is not None and wanted.limit == 0
    ctx = Context(open_likeness(root, [f"generate.series={series}"]))
    assert (one := finishing_of(ctx)) is not None and one.limit == 0


EARLY = {
    "nowhere": "no such look",
    "[grade: {lut: missing.cube}]": "no such LUT",
    "[grade: {lut: house.cube}, grade: {lut: damaged.cube}]": "step 2",
    "[backdrop: {picture: missing.jpg}]": "no such picture for the backdrop",
    "[cutout: {model: missing.onnx, model_licence: MIT}]": "no such matting model",
    "[upscale: {model: missing.safetensors}]": "no such upscaling model",
    "[blur]": "no such step",
    "[grade: {contrast: 3}]": "wrong setting of grade",
    "[]": "1 to 32 steps",
    "{look: noir, steps: [cutout]}": "one of them",
    "{look: noir, strength: 1}": "unknown key 'strength'",
    "{look: noir, limit: 2}": "not a limit",
    "{look: noir, seed: -1}": "not a whole number",
    "3": "not text",
}


@pytest.mark.parametrize("finish", EARLY)
def test_what_is_wrong_with_a_look_is_told_before_anything_is_drawn(
    finish: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "me" / "photos").mkdir(parents=True)
    (tmp_path / "house.cube").write_text(LUT)
    (tmp_path / "damaged.cube").write_text(LUT.rsplit("\n", 1)[0])
    series = _sheet(tmp_path, finish)
    monkeypatch.setattr(recipe, "STAGES", {})  # none of them is begun
    for call in (recipe.generate, recipe.run, recipe.score):
        with pytest.raises(PortraitError, match=EARLY[finish]):
            call(tmp_path / "me", overrides=[f"generate.series={series}"])


def test_what_lies_elsewhere_is_forgotten_too(mine: Finished, tmp_path: Path) -> None:
    root, series = mine
    out = tmp_path / "elsewhere"
    look = tmp_path / "plain.yaml"
    look.write_text("steps: [grade: {contrast: 0.1}, layers]")
    portrait = root / "portraits" / "duo" / "01-classic.png"
    result = tasks_finish.finish(portrait, str(look), None, out, [*REDUCED, f"generate.series={series}"])
    assert result.pictures[0].file is not None, result
    names = {Path(row.file).name for row in outside.written_for(root)}
    assert names == {f"01-classic-plain{end}" for end in (".png", ".json", ".ora")} | {"finished.html"}
    forget.forget(root, photos=False)
    assert not list(out.iterdir())
    assert not (root / "portraits").exists()


def test_a_look_beside_its_sheet_comes_before_a_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "noir.yaml").write_text("name: mine\nsteps: [{grade: {contrast: 0.2}}]\n")
    for words, name in (("noir", "noir"), ("noir.yaml", "mine")):
        wanted = finish_of(str(_sheet(tmp_path, words)))
        assert wanted is not None
        assert finishing.look_of(wanted).name == name
    (tmp_path / "up.yaml").write_text("name: ../up\nsteps: [cutout]\n")
    wanted = finish_of(str(_sheet(tmp_path, "up.yaml")))
    assert wanted is not None
    with pytest.raises(InputError, match="not a name for a file"):
        finishing.look_of(wanted)


def test_the_shipped_sheets_name_looks_that_are_there() -> None:
    places: Sequence[str] = [p.stem for p in sorted((config.configs_dir() / "brands").glob("*.yaml"))]
    looks = [finishing.look_of(w).steps for one in places if (w := finish_of("headshots", one))]
    assert all(looks)
