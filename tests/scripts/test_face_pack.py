"""The training of the face pack, on sizes that take seconds."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from portrait_lora import manifest
from scripts.evaluate import face_pack as evaluate_face_pack
from scripts.train.checkpoint import State, averaged, checkpoint_of, read_part, read_state
from scripts.train.face_pack import (
    attributes,
    augment,
    calibrate,
    card,
    closeness,
    data,
    embedders,
    export,
    heads,
    losses,
    scenes,
    stages,
)
from scripts.train.face_pack.nets import (
    Attributes,
    AttributesOnnx,
    Detector,
    DetectorOnnx,
    EmbedderB,
    Landmarks,
    LandmarksOnnx,
)
from scripts.train.face_pack.training import Length, plan_of, train
from scripts.train.kin import kin_of
from scripts.train.loop import Plan
from scripts.train.traits import LOOKS


@pytest.fixture(scope="module")
def pool() -> data.Pool:
    return evaluate_face_pack.render_pool(50_000, people=4, views=2, size_px=64)


def test_warp_matches_its_points(pool: data.Pool) -> None:
    affine = data.place(torch.tensor([[30.0, 34.0]]), torch.tensor([0.5]), torch.tensor([0.3]), 64.0)
    points = torch.tensor([[[30.0, 34.0], [40.0, 20.0]]])
    there = data.move(points, data.invert(affine))
    assert torch.allclose(data.move(there, affine), points, atol=1e-4)
    assert torch.allclose(there[0, 0], torch.tensor([32.0, 32.0]), atol=1e-4)


def test_aligned_crops_put_the_eyes_in_place(pool: data.Pool) -> None:
    from portrait_lora.faces import quality

    ours = data.aligned(pool.image, pool.keypoints, None, 0.0)
    for i in range(2):
        image = evaluate_face_pack.picture(pool.image[i])
        theirs = quality.aligned_crop(image, pool.keypoints[i].numpy()).astype(np.float32)
        theirs = theirs.reshape(56, 2, 56, 2, 3).mean((1, 3))
        assert np.abs(ours[i].permute(1, 2, 0).numpy() - theirs).mean() < 2.0


def test_scenes_are_reproducible_and_true(pool: data.Pool) -> None:
    composer = scenes.Composer(pool, 96)
    a = composer.batch(4, torch.Generator().manual_seed(5))
    b = composer.batch(4, torch.Generator().manual_seed(5))
    assert torch.equal(a.image, b.image)
    assert a.image.shape == (8, 3, 96, 96)
    assert 0 <= float(a.image.min()) <= float(a.image.max()) <= 255
    mirrored = 96 - a.box[:4, :, [2, 0]]
    assert torch.allclose(a.box[4:, :, [0, 2]], mirrored)


def test_closeness_agrees_with_the_protocols_truth() -> None:
    from scipy import stats

    from scripts.evaluate.protocol import distance
    from scripts.train.kin import people_of

    seeds = [s for own in range(60_000, 60_012) for s in (own, kin_of(own))]
    distances = closeness.truth_of(seeds).distance(torch.arange(len(seeds)))
    assert torch.equal(distances.diagonal(), torch.zeros(len(seeds)))
    pairs = [(2 * i, 2 * i + 1) for i in range(len(seeds) // 2)]
    scale = distance.stranger_scale(0, pairs=8)
    heads = [distance.head_of(people_of([seed])) for seed in seeds]
    known = [distance.distance(heads[i], heads[j], scale) for i, j in pairs]
    assert stats.spearmanr([float(distances[i, j]) for i, j in pairs], known).statistic > 0.95


def test_what_is_known_of_people_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "truth.safetensors"
    truth = closeness.truth_of([60_000, 60_001, 60_002], file)
    monkeypatch.setattr(closeness, "_seen", lambda seed: pytest.fail(f"{seed} was reckoned again"))
    again = closeness.truth_of([60_002, 60_000], file)
    assert torch.equal(again.shape, truth.shape[[2, 0]]) and torch.equal(again.albedo, truth.albedo[[2, 0]])


def test_closeness_loss_is_least_where_the_cosines_tell_the_truth() -> None:
    people = closeness.truth_of([60_000, 60_001])
    person = torch.tensor([0, 0, 1, 1])
    apart = float(people.distance(person)[0, 2])
    wanted = math.exp(-((apart / closeness.REACH) ** 2))
    other = torch.tensor([wanted, math.sqrt(1 - wanted**2)])
    right = torch.stack([torch.tensor([2.0, 0.0]), torch.tensor([1.0, 0.0]), other, other])
    assert float(closeness.closeness_loss(right, person, people)) == pytest.approx(0.0, abs=1e-6)
    assert float(closeness.closeness_loss(right[[0, 2, 1, 3]], person, people)) > 0.3


def test_few_who_are_near_count_as_much_as_many_strangers() -> None:
    places = torch.tensor([[0.0], [0.2], *([float(i)] for i in range(5, 25))])
    people = closeness.Truth(2 * places, torch.zeros(len(places), 3))
    apart = torch.eye(len(places))  # as if everybody were a stranger to everybody
    near = math.exp(-((0.2 / closeness.REACH) ** 2))
    loss = float(closeness.closeness_loss(apart, torch.arange(len(places)), people))
    assert loss == pytest.approx(near**2, abs=1e-3)


def test_a_batch_shows_everybody_twice(pool: data.Pool) -> None:
    people = torch.tensor([2, 0, 3])
    one, other = embedders.views(embedders.places_of(pool), people, torch.Generator().manual_seed(0)).chunk(2)
    assert torch.equal(pool.person[one], people) and torch.equal(pool.person[other], people)
    assert (one != other).all()
    alone = pool.take(torch.tensor([0, 2, 3])).renumbered()  # the first has no second picture
    assert (
        len(
            embedders.views(
                embedders.places_of(alone), torch.tensor([0, 1]), torch.Generator().manual_seed(0)
            )
        )
        == 4
    )


def test_relatives_come_in_pairs_behind_those_to_be_distinguished(pool: data.Pool) -> None:
    own = embedders.seeds_of(pool)
    near = replace(pool.take(pool.person < 2), seed=torch.tensor([kin_of(own[0])] * 2 + [kin_of(own[1])] * 2))
    album = embedders.album_of(pool, near)
    assert album.named == pool.people and len(album.pool) == len(pool) + len(near)
    seeds = embedders.seeds_of(album.pool)
    assert [(seeds[a], seeds[b]) for a, b in album.relatives.tolist()] == [(s, kin_of(s)) for s in own[:2]]
    batch = album.people(8, torch.Generator().manual_seed(0)).tolist()
    assert sorted(batch[:4]) == sorted(album.relatives.flatten().tolist()) and max(batch[4:]) < album.named
    assert len(embedders.album_of(pool, None).people(3, torch.Generator().manual_seed(0))) == 3
    with pytest.raises(ValueError, match="no picture shows a relative"):
        embedders.album_of(pool, replace(near, seed=near.seed + 500_000))


def test_embedders_learn_with_and_without_relatives(pool: data.Pool, tmp_path: Path) -> None:
    near = replace(pool, seed=pool.seed + kin_of(0))
    for kin, name in ((None, "plain"), (near, "kin")):
        embedders.train_embedder_a(pool, tmp_path / name, Length(0.001), kin)
        assert averaged(tmp_path / name, "embedder-a")["norm.weight"].isfinite().all()
    embedders.train_embedder_a(pool, tmp_path / "on", Length(1e-9, start=tmp_path / "kin"), near)
    began = averaged(tmp_path / "on", "embedder-a")
    before = {k: v for k, v in averaged(tmp_path / "kin", "embedder-a").items() if v.ndim > 1}
    assert all(torch.allclose(v, began[k], atol=1e-3) for k, v in before.items())


def test_every_counted_face_has_anchors(pool: data.Pool) -> None:
    batch = scenes.Composer(pool, 128).batch(8, torch.Generator().manual_seed(1))
    slot, _ = losses.assign(batch, 128, 128)
    counted = (batch.state == scenes.POSITIVE).nonzero().tolist()
    assert counted
    for i, m in counted:
        assert (slot[i] == m).any()


def test_detector_learns(pool: data.Pool) -> None:
    torch.manual_seed(0)
    net, composer = Detector(16), scenes.Composer(pool, 96)
    batch = composer.batch(4, torch.Generator().manual_seed(2))
    optimiser = torch.optim.Adam(net.parameters(), 5e-3)
    values = []
    for _ in range(16):
        loss, figures = losses.detector_loss(net((batch.image - 127.5) / 128), batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        values.append(figures["box"])
    assert values[-1] < 0.85 * values[0]
    assert set(figures) == {"score", "box", "kps"}


@pytest.mark.parametrize("angular", [True, False])
def test_a_margin_makes_the_task_harder(angular: bool) -> None:
    torch.manual_seed(0)
    margin = losses.Margin(5, 8, scale=10, margin=0.3, angular=angular, centres=2)
    x, y = torch.randn(6, 8), torch.tensor([0, 1, 2, 3, 4, 0])
    assert margin(x, y, 1.0) > margin(x, y, 0.0)


def test_camera_keeps_the_range() -> None:
    x = torch.rand(5, 3, 24, 20) * 255
    y = augment.camera(x, torch.Generator().manual_seed(0), soft=1.0)
    assert y.shape == x.shape
    assert 0 <= float(y.min()) <= float(y.max()) <= 255


class Toy:
    """A small network with dropout and batch-norm statistics; SIGTERM comes in the step `stop_at`."""

    def __init__(self, stop_at: int | None = None) -> None:
        torch.manual_seed(3)
        layers = (
            torch.nn.Linear(3, 8),
            torch.nn.BatchNorm1d(8),
            torch.nn.Dropout(0.3),
            torch.nn.Linear(8, 1),
        )
        self.modules = torch.nn.ModuleDict({"net": torch.nn.Sequential(*layers)})
        self.calls, self.stop_at = 0, stop_at

    def step(self, progress: float, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        self.calls += 1
        if self.calls == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        x = torch.randn(4, 3, generator=generator)
        return (self.modules["net"](x) - 1 - progress).square().mean(), {}

    def train(self, folder: Path, plan: Plan) -> None:
        train("toy", self.modules, self.step, plan, folder)


def test_a_run_that_was_stopped_goes_on_to_the_same_weights_and_statistics(tmp_path: Path) -> None:
    plan, (whole, halted) = plan_of(None, 0.01, 4, seed=1, steps=8), (tmp_path / "a", tmp_path / "b")
    Toy().train(whole, plan)
    with pytest.raises(SystemExit, match="130"):
        Toy(stop_at=3).train(halted, plan)
    stopped = read_state(halted, checkpoint_of("toy"))
    assert stopped.step == 3 and not stopped.finished
    torch.manual_seed(99)
    on = Toy()
    on.train(halted, plan)
    assert on.calls == 5 and read_state(halted, checkpoint_of("toy")).finished
    for part in ("weights", "average", "optimizer/exp_avg", "optimizer/exp_avg_sq"):
        one, two = (read_part(folder / checkpoint_of("toy"), part) for folder in (whole, halted))
        assert one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one), part
    average = averaged(whole, "toy")
    assert int(average["1.num_batches_tracked"]) == 8 and average["1.running_mean"].abs().max() > 0
    loaded = on.modules["net"].state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in average.items())
    assert not torch.equal(
        average["0.weight"], read_part(whole / checkpoint_of("toy"), "weights")["net.0.weight"]
    )


def test_a_plan_ends_at_its_steps_or_its_minutes_whichever_comes_first() -> None:
    both = plan_of(2.0, 0.01, 4, seed=1, steps=10)
    assert both.fraction(State(step=5, seconds=12)) == 0.5
    assert both.fraction(State(step=1, seconds=90)) == 0.75
    assert both.fraction(State(step=10)) == both.fraction(State(seconds=121)) == 1
    with pytest.raises(ValueError, match="steps or minutes"):
        plan_of(None, 0.01, 4, seed=1)


def test_the_time_of_a_plan_is_the_cpu_time_of_the_process_where_it_says_so(tmp_path: Path) -> None:
    class Idle(Toy):
        def step(self, progress: float, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
            time.sleep(0.3)
            return super().step(progress, generator)

    plan = plan_of(None, 0.01, 4, seed=1, steps=2)
    Idle().train(tmp_path / "processor", plan)
    Idle().train(tmp_path / "wall", replace(plan, processor_time=False))
    seconds = {k: read_state(tmp_path / k, checkpoint_of("toy")).seconds for k in ("processor", "wall")}
    assert 0 < seconds["processor"] < 0.5 and seconds["wall"] >= 0.6


def test_rates_and_running_averages_of_the_two_kinds_of_plan() -> None:
    pack, base = plan_of(None, 1.0, 4, seed=1, steps=10), Plan(10, 4, 1.0)
    assert pack.rate(29, 0) == 0.5 and base.rate(49, 0) == pytest.approx(0.5 * 1.005)
    assert pack.rate(500, 0.5) == pytest.approx(0.51) and base.rate(500, 0.5) == pytest.approx(0.505)
    assert pack.rate(500, 1) == pytest.approx(0.02) and base.rate(500, 1) == pytest.approx(0.005)
    assert pack.renewal(0) == pytest.approx(9 / 11) and base.renewal(0) == pytest.approx(8 / 9)
    assert pack.renewal(10**6) == pytest.approx(0.002) and base.renewal(10**6) == pytest.approx(0.001)


def test_a_checkpoint_of_another_network_is_named(tmp_path: Path) -> None:
    plan = plan_of(None, 0.01, 4, seed=1, steps=1)
    Toy().train(tmp_path, plan)
    with pytest.raises(ValueError, match=r"toy\.checkpoint\.safetensors: no average/margin\."):
        averaged(tmp_path, "toy", "margin.")
    other = torch.nn.ModuleDict({"other": torch.nn.Linear(3, 1)})
    with pytest.raises(ValueError, match=r"toy\.checkpoint\.safetensors: no weights/other\.bias"):
        train("toy", other, Toy().step, plan, tmp_path)


def test_the_attribute_network_learns_what_is_worn(pool: data.Pool, tmp_path: Path) -> None:
    before = attributes.accuracy(Attributes(attributes.WIDTH), pool)
    attributes.train_attributes(pool, pool, tmp_path, minutes=0.1, batch=8)
    after = attributes.accuracy(stages.trained(tmp_path, attributes.NAME), pool)
    assert set(after) == {*attributes.GROUPS, "light_deg", "covered_mae", "covered_right", "n"}
    assert sum(after[name] for name in attributes.GROUPS) > sum(before[name] for name in attributes.GROUPS)
    assert after["light_deg"] < before["light_deg"]
    assert after["covered_mae"] < before["covered_mae"]


def test_a_last_layer_that_grew_keeps_what_it_knew(tmp_path: Path) -> None:
    def run(width: int, steps: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(width)
        net = torch.nn.Linear(3, width)

        def step(progress: float, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
            return net(torch.ones(1, 3)).square().sum(), {}

        modules = torch.nn.ModuleDict({"net": net})
        train("toy", modules, step, plan_of(None, 1e-4, 1, seed=1, steps=steps), tmp_path)
        return averaged(tmp_path, "toy")

    before, after = run(2, 4), run(3, 5)
    assert after["weight"].shape == (3, 3)
    assert torch.allclose(after["weight"][:2], before["weight"], atol=1e-3)


def test_onnx_computes_what_torch_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    for name, net, wrap, shape in (
        ("detector", Detector(), DetectorOnnx, (1, 3, 64, 96)),
        ("landmarks", Landmarks(), LandmarksOnnx, (1, 3, 192, 192)),
        ("attributes", Attributes(attributes.WIDTH), AttributesOnnx, (1, 3, 192, 192)),
        ("embedder-b", EmbedderB(), export.EmbedderOnnx, (1, 3, 112, 112)),
    ):
        x = torch.randn(shape)
        with torch.no_grad():
            expected = wrap(net.eval())(x)
        expected = expected if isinstance(expected, tuple) else (expected,)
        file = tmp_path / f"{name}.onnx"
        export.export_net(name, net, file)
        got = onnxruntime.InferenceSession(str(file), options).run(None, {"input": x.numpy()})
        for a, b in zip(expected, got, strict=True):
            assert a.shape == b.shape
            halved = name.startswith("embedder")  # its weights are stored in half precision
            assert np.allclose(a.numpy(), b, atol=2e-3 if halved else 1e-4)


def test_auc_counts_pairs() -> None:
    who = torch.tensor([0, 0, 1, 1])
    apart = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    assert embedders.auc(apart, who) == 1.0
    assert embedders.auc(apart[[0, 2, 1, 3]], who) == 0.0


def test_the_threshold_holds_its_rate() -> None:
    vectors = np.random.default_rng(0).normal(size=(60, 7, 16)).astype(np.float32)
    vectors += np.random.default_rng(1).normal(size=(60, 1, 16)) * 2
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    vectors[3, 5] = np.nan
    row = calibrate.threshold(vectors, rate=0.01)
    _, other = calibrate.statistic(vectors)
    assert (other >= row["threshold"]).mean() == pytest.approx(0.01, abs=0.002)
    assert row["same"] > row["strangers"]


def test_heads_learn_pose_from_true_landmarks(pool: data.Pool) -> None:
    from portrait_lora.faces import shape

    x = torch.from_numpy(shape.normalise(pool.landmarks.numpy())).float()
    mean, scale = x.mean(0), x.std(0).clamp(min=1e-3)
    net, spread = heads._fit((x - mean) / scale, pool.pose, classes=None, steps=150, seed=0)
    head = heads._head(net, spread, mean, scale, heads.POSE_LABELS)
    off = [
        abs(shape.pose(head, p.numpy())[1] - y)
        for p, y in zip(pool.landmarks, pool.pose[:, 1].tolist(), strict=True)
    ]
    assert float(np.mean(off)) < 6


def test_overlap() -> None:
    assert evaluate_face_pack.overlap((0, 0, 2, 2), (0, 0, 2, 2)) == 1
    assert evaluate_face_pack.overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert evaluate_face_pack.overlap((0, 0, 1, 1), (2, 2, 3, 3)) == 0


def test_the_card_states_where_the_pack_comes_from(tmp_path: Path) -> None:
    torch.manual_seed(0)
    export.export_net("landmarks", Landmarks(), tmp_path / export.FILES["landmarks"])
    facts = {"det_size_px": 256, "thresholds": {"synthetic-a": 0.4}}
    export.write_pack(tmp_path, facts)
    row = {"threshold": 0.4, "true_match_rate": 0.75, "strangers_n": 1200.0}
    parts = {"n": 4.0, "iou_hair": 0.9, "covered_mae": 0.03}
    heads = {"n": 9.0, "glasses": 0.95, "yaw_mae_deg": 2.25, "segmenter": parts}
    figures = {"heads": heads, "people": 3, "later_pictures": 1100, "embedder_people": 4000}
    card.write_card(tmp_path, figures | {"calibration": {"synthetic-a": row}})
    text = (tmp_path / "CARD.md").read_text()
    sealed = json.loads((tmp_path / "pack.json").read_text())
    assert f"`{manifest.digest(sealed)}`" in text
    assert f"| landmark_synthetic.onnx | `{sealed['files']['landmark_synthetic.onnx']}` |" in text
    assert "| glasses, right (9 pictures held out) | 95.0% |" in text
    assert "| hair, intersection over union (4 pictures held out) | 90.0% |" in text
    assert "| share of the face covered, mean error (4 pictures held out) | 0.03 of the face |" in text
    assert "| yaw, mean error (9 pictures held out) | 2.25° |" in text
    assert "it also saw 1,100 pictures" in text
    assert "Of 4,000 people" in text
    assert f"{len(LOOKS)} numbers for the shape of head" in text
    for part in ("Data", "Recipe", "Figures", "Limits", "Licence", "Digest"):
        assert f"## {part}" in text
