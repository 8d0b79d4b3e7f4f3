"""The evaluation's own parts at the smallest size, and the calibration of a user's threshold."""

import json
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pytest

from portrait_lora import config
from portrait_lora.evaluation.checkpoint_choice import CheckpointScore
from portrait_lora.records import Face
from portrait_lora.synthetic import People, between, sample_people
from scripts.evaluate import selection as evaluate_selection
from scripts.evaluate.protocol import choosing, cohort, copies, distance, intervals, oracle, truth
from scripts.evaluate.protocol.store import Store
from tests.evaluation.drawn import drawn_scene


@pytest.mark.parametrize("prompts", intervals.PROMPTS)
def test_intervals_of_people_prompts_and_seeds_cover(prompts: int):
    share = intervals.coverage(prompts, 800, seed=1)
    assert 0.93 <= share <= 0.97  # 3.8 standard errors around 0.95 at 800 studies; the script takes 4,000


def test_selection_beats_the_last_and_a_random_checkpoint():
    rows = {row.name: row.value for row in choosing.rows(40, 0, Store(None))}
    assert rows["simulated selection: regret"] < rows["simulated: regret of the last checkpoint"] / 2
    assert rows["simulated selection: regret"] < rows["simulated: regret of a random checkpoint"] / 2
    assert rows["simulated early stop: steps saved"] > 0.1


def test_interpolated_people_are_as_far_apart_as_they_should_be():
    a, b = sample_people([1]), sample_people([2])
    scale = distance.stranger_scale(0, pairs=10)
    own = distance.head_of(a)
    apart = [
        distance.distance(own, distance.head_of(between(a, b, share)), scale)
        for share in (0.0, 0.3, 0.6, 1.0)
    ]
    assert apart[0] == 0
    assert apart == sorted(apart)


@pytest.mark.parametrize("wanted", [0.0, 0.05, 0.5, 1.0])
def test_people_are_found_at_the_requested_distance(wanted: float):
    scale = distance.stranger_scale(0, pairs=10)
    a = sample_people([3])
    someone, reached = distance.at_distance(a, wanted, scale, first_other=40, step=1)
    assert reached == pytest.approx(wanted, abs=2e-3)
    heads = distance.head_of(a), distance.head_of(someone)
    assert distance.distance(*heads, scale) == pytest.approx(reached, abs=1e-6)


def test_strangers_are_1_apart_in_the_middle_and_half_of_it_is_skin():
    scale = distance.stranger_scale(1, pairs=30)
    heads = [distance.head_of(sample_people([500 + i])) for i in range(60)]
    apart = [distance.distance(heads[2 * i], heads[2 * i + 1], scale) for i in range(30)]
    assert 0.8 < np.median(apart) < 1.25
    pale = sample_people([1])
    dark = People(pale.seeds, MappingProxyType({**pale.values, "melanin": pale.values["melanin"] + 1.0}))
    moved, coloured = distance.parts(distance.head_of(pale), distance.head_of(dark))
    assert moved == 0 and coloured > 0.5 * scale.albedo


@pytest.mark.parametrize("kind", copies.PLANTS)
def test_plants_change_the_picture_and_stay_pictures(kind: str):
    photo, other = drawn_scene(0), drawn_scene(1)
    planted = copies.plant(kind, photo, other, np.random.default_rng(0))
    assert planted.dtype == np.uint8 and planted.ndim == 3
    assert planted.shape != photo.shape or not np.array_equal(planted, photo)


class Finder:
    """One face per picture; the embedding is that of the person, whose number is the picture's grey level."""

    embedder_id = "b"
    pack = SimpleNamespace(digest="d")

    def find(self, image_rgb: np.ndarray) -> list[Face]:
        person, picture = int(image_rgb[0, 0, 0]), int(image_rgb[0, 0, 1])
        unit = np.random.default_rng(person).normal(size=16) + 0.1 * np.random.default_rng(picture).normal(
            size=16
        )
        unit = (unit / np.linalg.norm(unit)).astype(np.float32)
        return [Face((0, 0, 8, 8), 1.0, np.zeros((5, 2), np.float32), unit, "b", 1.0, 1.0)]

    def embed(self, image_rgb: np.ndarray, keypoints_px: np.ndarray) -> np.ndarray:
        return Finder.find(self, image_rgb)[0].embedding


class Seer(Finder):
    """As `Finder`; a picture whose third channel says so shows no face."""

    def find(self, image_rgb: np.ndarray) -> list[Face]:
        return [] if image_rgb[0, 0, 2] else super().find(image_rgb)


def test_portraits_are_held_against_all_photos_and_the_first() -> None:
    size = truth.HOLDOUT + truth.SERIES
    pictures = np.zeros((size, 8, 8, 3), np.uint8)
    pictures[:, 0, 0] = [(1, 0, 0), (1, 1, 0), (2, 0, 0), (2, 1, 0), *((1, 2 + k, 0) for k in range(8))]
    vectors = [Finder().find(p)[0].embedding for p in pictures]
    photos, portraits = vectors[: truth.HOLDOUT], vectors[truth.HOLDOUT :]

    def similarity() -> tuple[float | None, ...]:
        seer = Seer()
        return truth._similarity(seer, pictures, truth._faces(seer, pictures))  # type: ignore[arg-type]

    series, one, alone = similarity()
    assert alone == pytest.approx(float(photos[0] @ portraits[0]))
    assert one == pytest.approx(np.mean([p @ portraits[0] for p in photos]))
    assert series == pytest.approx(np.mean([p @ q for p in photos for q in portraits]))
    assert one is not None and alone is not None and one < alone - 0.1
    pictures[-1, 0, 0, 2] = 1
    fewer, *_ = similarity()
    assert fewer == pytest.approx(np.mean([p @ q for p in photos for q in portraits[:-1]]) * 7 / 8)
    pictures[0, 0, 0, 2] = 1
    assert similarity() == (None, None, None)


def test_pieces_are_measured_once(tmp_path: Path):
    measured: list[int] = []

    def work(part: range) -> list[int]:
        measured.extend(part)
        return [i * i for i in part]

    store = Store(tmp_path, "pack")
    assert list(store.pieces("squares", 5, 2, work)) == [0, 1, 4, 9, 16]
    assert list(store.pieces("squares", 7, 2, work)) == [i * i for i in range(7)]
    assert measured == [0, 1, 2, 3, 4, 4, 5, 6]  # only the last, shorter piece and what follows are new
    list(Store(tmp_path, "another pack").pieces("squares", 2, 2, work))
    assert measured[-2:] == [0, 1]
    list(Store(None).pieces("squares", 1, 2, work))
    assert measured[-1:] == [0]


def trained(seed: int, likeness: list[float], noise: float = 0.02) -> oracle.Study:
    """A person whose probes and portraits scatter around these likenesses, one per checkpoint."""
    rng = np.random.default_rng(seed)
    probes = [
        CheckpointScore(30 * (i + 1), float(np.mean(values)), 1.0, 8, tuple(values))
        for i, v in enumerate(likeness)
        for values in [[float(x) for x in v + rng.normal(0, noise, 8)]]
    ]
    truth = tuple(tuple(v + rng.normal(0, noise, 16)) for v in likeness)
    return oracle.Study(seed, 1.0, tuple(probes), truth)


def test_regret_of_those_who_choose():
    rising = [0.5 * (1 - np.exp(-i / 2)) for i in range(1, 16)]
    falling = [v - 0.02 * max(i - 6, 0) for i, v in enumerate(rising)]
    regrets = [oracle.regrets(trained(seed, falling)) for seed in range(12)]
    chosen, last = np.mean([r.chosen for r in regrets]), np.mean([r.last for r in regrets])
    assert abs(chosen) < 0.02 < 0.1 < last
    assert np.mean([r.highest for r in regrets]) >= chosen
    assert all(0 <= r.saved < 1 for r in regrets)
    rows = {row.name: row for row in oracle.rows([trained(seed, falling) for seed in range(4)])}
    assert rows["selection: regret"].n == 4
    assert rows["people whose last checkpoint is 0.01 below the best"].value == 1.0
    assert rows["checkpoints per person, fewest"].value == 15


def test_a_study_reads_back(tmp_path: Path):
    one = trained(3, [0.1, 0.2, 0.3, 0.4, 0.5])
    assert oracle.Study.from_json(json.loads(json.dumps(one.to_json()))) == one
    assert len(oracle.rows([one])) == 9


def test_trained_people_by_group(tmp_path: Path):
    scores = [{"similarity": v} for v in (0.6, None)]
    raw = {
        "scores": scores, "threshold": 0.5, "ceiling": 0.8, "impostor": 0.0, "impostor_scores": [0.1, 0.6],
        "copy_score": 0.5, "needed": {"paired_prompts": 40},
    }  # fmt: skip
    for seed in (2000, 2001, 2002):
        (tmp_path / f"person-{seed}" / "reports").mkdir(parents=True)
        (tmp_path / f"person-{seed}" / "reports" / "drift.json").write_text(json.dumps(raw))
    (tmp_path / "person-2003").mkdir()
    rows = {row.name: row for row in cohort.rows(tmp_path)}
    assert rows["trained: portraits flagged as copies"].value == 0.5
    assert rows["trained: prompts for a difference of 0.02, median"].value == 40
    missed = [row for name, row in rows.items() if "false non-match, sex" in name]
    assert sum(row.n for row in missed) == 6 and {row.value for row in missed} == {0.5}
    assert any("likeness, skin" in name for name in rows)
    assert cohort.rows(tmp_path / "nowhere") == []


def test_what_the_series_asks_for_is_drawn_by_the_studio():
    pictures = copies.series_pictures(820_000)
    assert len(pictures) == 8 and {picture.shape for picture in pictures} == {(128, 128, 3)}
    assert all(set(layers) <= set(copies.PROMPTED) and "view" in layers for layers in copies._series_layers())


def test_every_second_person_learns_faster_and_finished_people_are_read(tmp_path: Path):
    plain, hot = (config.load(None, evaluate_selection.overrides_of(seed, 3.0)) for seed in (6000, 6001))
    assert hot.training.learning_rate == pytest.approx(3 * plain.training.learning_rate)
    assert plain.training.checkpoints >= 8 and plain.training.exposures_per_photo == 150
    one = trained(2500, [0.1, 0.2, 0.3, 0.4, 0.5])
    (tmp_path / "person-2500").mkdir()
    (tmp_path / "person-2501").mkdir()
    (tmp_path / "person-2500" / evaluate_selection.RESULT).write_text(json.dumps(one.to_json()))
    assert evaluate_selection.measured(tmp_path) == [one]
