"""What a fleet shows of itself: forecast, outliers, groups, tables, page, and the table on a terminal."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import pytest
from PIL import Image
from pyarrow import parquet

from portrait_lora.fleet import report, standings, tables, watch
from portrait_lora.fleet.forecast import forecast
from portrait_lora.fleet.home import FleetHome
from portrait_lora.tasks.shard import files
from portrait_lora.tasks.shard.records import PersonState
from tests.fleet.made_up import make_home
from tests.fleet.watched import eight, record


def test_forecast_is_exact_where_everybody_costs_the_same():
    done = {f"p{i}": record(f"p{i}") for i in range(4)}
    waiting = {f"w{i}": record(f"w{i}", PersonState.WAITING) for i in range(6)}
    running = {"r": record("r", PersonState.RUNNING, device_s=40.0)}
    expected = forecast(done | running | waiting, workers=2)
    assert expected.spent_device_s == 440.0
    assert expected.left_device_s == pytest.approx(660.0)
    assert expected.left_device_ci95 == pytest.approx((660.0, 660.0))
    assert expected.left_s == pytest.approx(330.0)
    assert expected.seconds_per_step == 1.0
    assert expected.cost(3.6) == pytest.approx((0.44, 1.1))


def test_forecast_by_the_clock_is_never_shorter_than_one_person():
    people = {"a": record("a"), "w": record("w", PersonState.WAITING)}
    assert forecast(people, workers=50).left_s == pytest.approx(100.0)


def test_people_over_without_work_are_not_in_the_forecast():
    people = {
        "a": record("a", device_s=200.0),
        "no_consent": record("no_consent", PersonState.NEEDS_CONSENT, device_s=0.0),
        "w": record("w", PersonState.WAITING),
    }
    assert forecast(people).left_device_s == pytest.approx(200.0)


def test_lost_starts_and_second_tries_are_paid_for():
    people = {"a": record("a", device_s=300.0, starts=3), "w": record("w", PersonState.WAITING)}
    assert forecast(people).left_device_s == pytest.approx(300.0)


def test_no_forecast_before_somebody_is_done_and_none_needed_after_everybody_is():
    nobody = forecast({"w": record("w", PersonState.WAITING)})
    assert (nobody.left_device_s, nobody.left_s) == (None, None)
    assert "No forecast" in report.forecast_line(nobody, None)
    assert report.forecast_line(forecast({"a": record("a")}), 2.0) == ""


def test_the_interval_of_a_forecast_covers_as_often_as_it_says():
    chance, covered = random.Random(3), 0
    for _ in range(400):
        costs = [max(chance.gauss(100, 20), 1.5) for _ in range(24)]
        done = {f"p{i}": record(f"p{i}", device_s=cost) for i, cost in enumerate(costs[:8])}
        waiting = {f"w{i}": record(f"w{i}", PersonState.WAITING) for i in range(16)}
        low, high = forecast(done | waiting).left_device_ci95 or (0.0, 0.0)
        covered += low <= sum(costs[8:]) <= high
    assert 0.92 <= covered / 400 <= 0.98


@pytest.fixture
def home(tmp_path: Path) -> FleetHome:
    return eight(tmp_path)


def test_outliers_stand_first_with_the_reason(home: FleetHome):
    rows = standings.rows_of(home)
    assert [row.person for row in rows][:2] == ["gus", "finn"]
    assert "far less like" in rows[1].outlier and not any(row.outlier for row in rows[2:])
    assert {row.person: row.name for row in rows}["gus"] == "Gus"


def test_a_second_try_and_a_lost_face_are_remarked(home: FleetHome):
    files.write(home.path, record("ann", share=0.9, tries=2))
    whole = record("bea", share=0.91)
    assert whole.figures is not None
    faceless = whole.figures.model_copy(update={"face_found_rate": 0.75})
    files.write(home.path, whole.model_copy(update={"figures": faceless}))
    remarks = {row.person: row.outlier for row in standings.rows_of(home)}
    assert remarks["ann"] == "needed a second try" and "25%" in remarks["bea"]


def test_groups_have_the_interval_over_people(home: FleetHome):
    groups = {group.name: group for group in standings.groups_of(standings.rows_of(home))}
    assert set(groups) == {"staff", "board", "sales"}
    assert (groups["board"].people, groups["board"].accepted, groups["sales"].measured) == (4, 3, 3)
    low, high = groups["sales"].share_ci95 or (1.0, 0.0)
    # Bea 0.91, Dan 0.93, Finn 0.55: mean 0.797, standard deviation 0.214, t(2) = 4.303
    assert (low, high) == pytest.approx((0.7967 - 0.5309, 0.7967 + 0.5309), abs=1e-3)


def test_without_the_roster_people_have_the_names_of_their_folders(home: FleetHome):
    Path(home.plan.roster).unlink()
    rows = standings.rows_of(home)
    assert {row.name for row in rows} == set(home.people) and not any(row.groups for row in rows)
    assert [group.name for group in standings.groups_of(rows)] == [standings.NO_GROUP]


def test_both_forms_of_the_tables_hold_the_same(home: FleetHome):
    rows = standings.rows_of(home)
    written = {path.name: path for path in tables.write(home.reports, rows)}
    assert set(written) == {"people.csv", "people.parquet", "starts.csv", "starts.parquet"}
    with written["people.csv"].open(newline="") as stream:
        text = {row["person"]: row for row in csv.DictReader(stream)}
    binary = {row["person"]: row for row in parquet.read_table(written["people.parquet"]).to_pylist()}
    assert set(text) == set(binary) == set(home.people)
    assert float(text["finn"]["share_of_ceiling"]) == binary["finn"]["share_of_ceiling"] == 0.55
    assert binary["ida"]["similarity"] is None and text["ida"]["similarity"] == ""
    assert binary["gus"]["tries"] == 2 and text["gus"]["group"] == "staff; board"
    starts = parquet.read_table(written["starts.parquet"]).to_pylist()
    assert len(starts) == 8 and {row["worker"] for row in starts} == {"cpu:0", "cuda:1"}


def test_tables_of_a_fleet_that_has_not_begun_have_their_columns(tmp_path: Path):
    home = make_home(tmp_path / "fleet", ["ann"])
    written = {path.name: path for path in tables.write(home.reports, standings.rows_of(home))}
    assert parquet.read_table(written["starts.parquet"]).column_names == list(tables.STARTS)
    assert parquet.read_table(written["people.parquet"]).num_rows == 1


def test_the_page_shows_everybody_escaped_and_loads_nothing(home: FleetHome):
    picture = home.folder("ann") / "portraits" / "headshots" / "a.png"
    picture.parent.mkdir(parents=True)
    Image.new("RGB", (256, 256), "teal").save(picture)
    picture.with_suffix(".json").write_text(json.dumps({}))
    page = report.write(home).read_text(encoding="utf-8")
    assert all(page.count(f'data-row="{person}"') == 1 for person in home.people)
    assert (
        page.index("Look at these first") < page.index('data-person="gus"') < page.index('data-person="ann"')
    )
    assert "&lt;b&gt;five&lt;/b&gt;" in page and "<b>five</b>" not in page
    assert page.count("data:image/jpeg;base64,") == 1
    assert "http://" not in page and "https://" not in page and "<script" not in page
    assert (home.reports / report.FILE).stat().st_mode & 0o077 == 0


def test_the_table_on_a_terminal_fits_and_names_who_runs(home: FleetHome):
    progress = {"ida": {"label": "train", "done": 12, "total": 400, "left_s": 90.4, "loss": 0.01234}}
    shown = watch.lines(home, home.records(), progress, workers=2)
    assert all(len(line) <= 80 for line in shown)
    assert shown[0].split() == ["ida", "cuda:1", "train", "12/400", "90", "s", "left", "loss", "0.0123"]
    text = " ".join(shown)
    assert "7 of 8 people are done" in text and "left with 2 at a time" in text and "1 s per step" in text
    assert all(len(line) <= 50 for line in watch.lines(home, home.records(), progress, width=50)[1:])


def test_many_at_once_are_counted_not_listed(tmp_path: Path):
    people = [f"p{i:03d}" for i in range(40)]
    home = make_home(tmp_path / "fleet", people)
    records = {person: record(person, PersonState.RUNNING) for person in people}
    assert "and 28 more" in watch.lines(home, records, {})
