"""Series and brand files of a roster, with their pictures, on machines that do not have them."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from portrait_lora import manifest
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.fleet import roster as rosters
from portrait_lora.fleet import sheets, store_moves
from portrait_lora.fleet.begin import begin
from portrait_lora.fleet.home import FleetHome
from portrait_lora.fleet.store import Workplace
from portrait_lora.generation.series import finish_of
from portrait_lora.stages.finish import look_of
from portrait_lora.tasks.shard import files, identity, plan
from portrait_lora.tasks.shard import sheets as placing
from portrait_lora.tasks.shard.work import work
from tests.fleet.folders import picture, pictures

_numbers = itertools.count()
SERIES = """series: corp
shots:
  - prompt: a headshot of {trigger}
finish: looks/office.yaml
"""
BRAND = """brand: acme
setting: grey seamless backdrop
finish:
  - cutout
  - backdrop: {picture: ../wall.png}
"""


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[FleetHome]:
    """A roster beside its series, whose look and pictures lie in folders, and a brand elsewhere.

    The umask is the usual one, that lets everybody read.
    """
    before = os.umask(0o022)
    place = tmp_path / "rosters"
    pictures(place / "a")
    picture(place / "looks/pictures/office.png", 7)
    (place / "looks/office.yaml").write_text(
        "steps:\n  - cutout\n  - backdrop: {picture: pictures/office.png}\n"
    )
    (place / "corp.yaml").write_text(SERIES)
    picture(tmp_path / "brands/wall.png", 8)
    (tmp_path / "brands/de").mkdir()
    (tmp_path / "brands/de/acme.yaml").write_text(BRAND)
    settings = json.dumps({"base": "embedded", "face_pack": "embedded", "allow_synthetic_models": True})
    (place / "people.yaml").write_text(
        f"people: [{{name: Anna Lee, photos: a}}]\nsettings: {settings}\n"
        f"series: corp.yaml\nbrand: {tmp_path / 'brands/de/acme.yaml'}\n"
    )
    yield begin(rosters.read(place / "people.yaml"), place / "people-fleet", threads=1).home
    os.umask(before)


def sheets_of(home: Path, name: str, seed: int) -> Path:
    """The copy of a picture of that seed in a home that holds older copies too."""
    example = picture(home.parent / f"example-{seed}.png", seed)
    copies = (home / "sheets").rglob(name)
    return next(one for one in copies if one.read_bytes() == example.read_bytes())


@pytest.fixture
def worker(fleet: FleetHome, tmp_path: Path) -> Workplace:
    """A worker that has nothing but the store."""
    url = f"memory://sheets-{next(_numbers)}"
    store_moves.send(fleet.path, url, fleet.people)
    for place in ("rosters/corp.yaml", "rosters/looks", "brands"):
        target = tmp_path / place
        target.unlink() if target.is_file() else shutil.rmtree(target)
    place = Workplace(url, tmp_path / "scratch")
    place.fetch_plan()
    return place


def test_a_worker_elsewhere_has_sheets_and_pictures(fleet: FleetHome, worker: Workplace) -> None:
    whole = plan.read(worker.home)
    here = placing.placed(worker.home, whole)
    for name in (here.series, here.brand):
        assert Path(name).is_relative_to(worker.home / "sheets") and Path(name).is_file()
    assert (Path(here.series).stem, Path(here.brand).stem) == ("corp", "acme")  # folders of portraits
    by_brand, by_series = finish_of(here.series, here.brand), finish_of(here.series)
    assert by_brand is not None and by_series is not None
    for wanted, name in ((by_brand, "../wall.png"), (by_series, "pictures/office.png")):
        assert (look_of(wanted).folder / name).is_file()
    worker.fetch("anna-lee")
    # where the files lie is no matter to what is to be done
    assert identity.glance_of(worker.home, whole, "anna-lee") == identity.glance_of(
        fleet.path, fleet.plan, "anna-lee"
    )


def test_the_users_own_file_is_used_where_it_is_here(fleet: FleetHome, tmp_path: Path) -> None:
    here = placing.placed(fleet.path, fleet.plan)
    assert (here.series, here.brand) == (fleet.plan.series, fleet.plan.brand)
    picture(tmp_path / "brands/wall.png", 9)  # changed after the fleet was begun
    assert Path(placing.placed(fleet.path, fleet.plan).brand).is_relative_to(fleet.path)
    before = identity.glance_of(fleet.path, fleet.plan, "anna-lee")
    again = begin(rosters.read(Path(fleet.plan.roster)), fleet.path).home
    assert placing.placed(again.path, again.plan).brand == fleet.plan.brand
    assert identity.glance_of(again.path, again.plan, "anna-lee") != before  # there is work to do
    copy = sheets_of(again.path, "wall.png", 9)
    picture(copy, 11)  # a copy that was spoiled is made again
    begin(rosters.read(Path(fleet.plan.roster)), fleet.path)
    assert copy.read_bytes() == (tmp_path / "brands/wall.png").read_bytes()


def test_another_file_is_an_error_that_names_it(fleet: FleetHome, worker: Workplace) -> None:
    whole = plan.read(worker.home)
    wall = next((worker.home / "sheets").rglob("wall.png"))
    picture(wall, 9)
    with pytest.raises(InputError, match=r"wall\.png: a file of this fleet's series or brand is another"):
        work(worker.home, ["anna-lee"], worker="w", device="cpu")
    with pytest.raises(InputError):
        placing.placed(worker.home, whole)
    worker.fetch_plan()  # a copy that was spoiled is brought again
    assert manifest.sha256_file(wall) in placing.placed(worker.home, whole).sheets[whole.brand].files.values()
    name = next(one for one in worker.objects.sizes("sheets") if one.endswith("office.png"))
    worker.objects.write(name, b"something else")
    next((worker.home / "sheets").rglob("office.png")).unlink()
    with pytest.raises(ArtifactError, match=r"office\.png: the store has other bytes"):
        worker.fetch_plan()
    worker.objects.remove([name])
    with pytest.raises(ArtifactError, match=r"office\.png"):
        worker.fetch_plan()
    sheet = whole.sheets[whole.series].model_copy(update={"files": {"../../x": "0" * 64}})
    astray = whole.model_copy(update={"sheets": {whole.series: sheet}})
    with pytest.raises(ArtifactError, match="names a file elsewhere"):
        sheets.fetch(worker.home, worker.objects, astray)
    # the next `fleet run` mends the store; its own copy has to be right
    sheets.deliver(fleet.path, worker.objects, fleet.plan)
    worker.fetch_plan()
    worker.objects.write(name, b"cut off")
    sheets.deliver(fleet.path, worker.objects, fleet.plan)
    assert worker.objects.sizes("sheets")[name] > len(b"cut off")
    picture(next((fleet.path / "sheets").rglob("office.png")), 11)
    worker.objects.remove([name])
    with pytest.raises(
        ArtifactError, match=r"office\.png: a file of this fleet's series or brand is another"
    ):
        sheets.deliver(fleet.path, worker.objects, fleet.plan)
    next((fleet.path / "sheets").rglob("office.png")).unlink()
    with pytest.raises(
        ArtifactError, match=r"office\.png: a file of this fleet's series or brand is missing"
    ):
        sheets.deliver(fleet.path, worker.objects, fleet.plan)


def test_what_a_sheet_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("net.safetensors", "net.json", "far.png", "lone.png"):
        (tmp_path / name).write_bytes(name.encode())
    sheet, folder = tmp_path / "in" / "corp.yaml", str(tmp_path)
    sheet.parent.mkdir()
    steps = f"[upscale: {{model: ../net.safetensors}}, backdrop: {{picture: {folder}/far.png}}]"
    for finish, names in (
        ("noir", {"corp.yaml"}),
        ("[backdrop: {picture: ../lone.png}]", {"in/corp.yaml", "lone.png"}),
        (steps, {"in/corp.yaml", "net.safetensors", "net.json"}),
    ):
        sheet.write_text(SERIES.replace("looks/office.yaml", finish))
        assert not caplog.messages, "shipped looks and relative names go along"
        assert set(sheets._sheet(sheet, "series").files) == names
    assert any("far.png by its absolute path" in line for line in caplog.messages)


def test_the_work_is_done_with_the_copies(worker: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    from portrait_lora import recipe

    overrides: list[str] = []

    def run_together(folders: list[Path], *, own: dict[Path, tuple[str, ...]], **_: object) -> list[object]:
        overrides.extend(own[folders[0]])
        return [ArtifactError("enough")]

    monkeypatch.setattr(recipe, "run_together", run_together)
    monkeypatch.setattr("portrait_lora.rights.consent.photographs", lambda photos: [])
    worker.fetch("anna-lee")
    work(worker.home, ["anna-lee"], worker="w", device="cpu")
    named = dict(one.split("=", 1) for one in overrides)
    assert Path(named["generate.series"]).is_file() and Path(named["generate.brand"]).is_file()


def test_nothing_of_a_fleet_is_for_others_to_read(fleet: FleetHome, worker: Workplace) -> None:
    worker.fetch("anna-lee")
    fleet.lead().release()
    for home in (fleet.path, worker.home):
        held = files.hold(home, "anna-lee")
        assert held is not None
        held.release()
        open_to_others = [p for p in (home, *home.rglob("*")) if p.stat().st_mode & 0o077]
        assert not open_to_others
    copies = [p.relative_to(worker.home) for p in (worker.home / "sheets").rglob("*.*")]
    assert copies and all(
        (fleet.path / one).read_bytes() == (worker.home / one).read_bytes() for one in copies
    )
