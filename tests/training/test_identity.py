"""The identity loss: the embedder with gradients, the loss in plain words, and the steps that have it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file
from tiny_models import make_crops
from torch.nn.functional import grid_sample, normalize

from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.faces.packs import resolve_pack
from portrait_lora.families.family import FlowSchedule, NoiseSchedule
from portrait_lora.families.sd15 import SD15
from portrait_lora.records import Adapter, CaptionedCrop, TrainResult
from portrait_lora.training import draws, loss
from portrait_lora.training.adapter import add_adapters
from portrait_lora.training.identity import (
    IdentityLoss,
    Lesson,
    Lessons,
    aligned,
    level_at,
    window,
)
from portrait_lora.training.member import Member
from portrait_lora.training.onnx_network import OnnxNetwork
from portrait_lora.training.recipe import Recipe
from portrait_lora.training.run import train
from portrait_lora.training.together import train_together
from tests.recipes import recipe
from tests.training.small_lessons import SIDE, TURN, embedder, lessons_of

PLAN = recipe(
    rank=4, alpha=2.0, targets="attention_and_conv", learning_rate=5e-3, batch_size=4, steps=4, seed=3,
    caption_dropout=0.3, weight_decay=0.01, ema_decay=0.9, identity_weight=0.5, identity_share=0.5,
)  # fmt: skip
Run = Callable[..., TrainResult]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return embedder(tmp_path_factory.mktemp("embedder") / "embedder.onnx")


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> list[CaptionedCrop]:
    return make_crops(tmp_path_factory.mktemp("crops"), ((64, 64),) * 3)


@pytest.fixture(scope="module")
def lessons(tiny_sd15: SD15, network: Path, tmp_path_factory: pytest.TempPathFactory) -> Lessons:
    return lessons_of(tiny_sd15, tmp_path_factory.mktemp("lessons"), network)


@pytest.fixture
def run(tiny_sd15: SD15, crops: list[CaptionedCrop], tmp_path: Path) -> Run:
    def call(out: str, plan: Recipe = PLAN, **more: Any) -> TrainResult:
        kept = tmp_path / "cache"
        return train(tiny_sd15, crops, tmp_path / out, plan, checkpoint_steps=(2, 3), cache_dir=kept, **more)

    return call


def ends_of(result: TrainResult) -> bytes:
    return result.checkpoints[-1].path.read_bytes()


@pytest.mark.parametrize("which", ["small", "a", "b"])
def test_the_network_answers_as_onnxruntime_does_and_has_its_gradients(which: str, network: Path) -> None:
    pack = resolve_pack()
    path = network if which == "small" else pack.path(pack.embedder("select" if which == "a" else "report"))
    ours, side = OnnxNetwork(path), SIDE if which == "small" else 112
    session = onnxruntime.InferenceSession(str(path))
    pixels = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1), requires_grad=True)

    def theirs(pictures: torch.Tensor) -> np.ndarray[Any, Any]:
        name = session.get_inputs()[0].name
        rows = [session.run(None, {name: one[None].detach().numpy()})[0] for one in pictures]
        return np.concatenate(rows)

    answer = ours(pixels)
    np.testing.assert_allclose(answer.detach().numpy(), theirs(pixels), rtol=1e-4, atol=1e-5)
    along = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(2))
    measure = torch.randn(answer.shape[1], generator=torch.Generator().manual_seed(3))
    (gradient,) = torch.autograd.grad((answer[0] * measure).sum(), pixels)
    assert not gradient[1].any() and not any(p.requires_grad for p in ours.parameters())
    h = 5e-4
    up, down = ((theirs(pixels[:1] + sign * h * along[:1]) * measure.numpy()).sum() for sign in (1, -1))
    assert float((gradient[0] * along[0]).sum()) == pytest.approx((up - down) / (2 * h), rel=0.05, abs=0.02)


def test_what_is_no_network_or_has_no_gradient_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.onnx").write_bytes(b"not a model")
    with pytest.raises(ArtifactError, match="no ONNX model"):
        OnnxNetwork(tmp_path / "no.onnx")
    pack = resolve_pack()
    assert pack.landmarks is not None
    with pytest.raises(InputError, match=r"without a gradient.*Pad"):
        OnnxNetwork(pack.path(pack.landmarks))


def test_the_aligned_crop_is_opencvs() -> None:
    picture = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 256, (70, 50, 3), np.uint8), (0, 0), 2)
    matrix = np.array([[0.7, -0.2, 6.0], [0.2, 0.7, -4.0]], np.float32)
    theirs = cv2.warpAffine(picture, matrix, (40, 40)).astype(np.float32)
    tensor = torch.from_numpy(picture.astype(np.float32) / 127.5 - 1.0).permute(2, 0, 1)[None]
    ours = ((aligned(tensor, matrix, 40)[0].permute(1, 2, 0) + 1.0) * 127.5).numpy()
    assert np.abs(ours - theirs).max() < 4.0 and np.abs(ours - theirs).mean() < 0.5
    assert (theirs == 0).all(axis=2).any() and abs(ours[(theirs == 0).all(axis=2)]).max() < 4.0  # outside


def test_of_large_latents_the_part_round_the_face_is_decoded() -> None:
    assert window(TURN, SIDE, (32, 24), 8, 1) == (0, 0, 32, 24)
    matrix = np.array(
        [[0.5, 0.0, -200.0], [0.0, 0.5, -100.0]], np.float32
    )  # the face is at (400, 200), 224 px
    x0, y0, x1, y1 = window(matrix, 112, (96, 64), 8, 2)
    assert (x0, y0, x1, y1) == (46, 20, 82, 58) and not (x0 | y0 | x1 | y1) % 2
    assert window(matrix, 112, (64, 40), 8, 2) == (46, 20, 64, 40)  # as far as there is a picture


def test_what_is_cut_from_a_part_is_what_is_cut_from_the_whole(tiny_sd15: SD15, lessons: Lessons) -> None:
    def enlarged(latents: torch.Tensor) -> torch.Tensor:
        return latents[:, :3].repeat_interleave(8, 2).repeat_interleave(8, 3)

    tiny_sd15.load("none")
    identity = IdentityLoss(tiny_sd15, PLAN, lessons, enlarged)
    latents = torch.rand(1, 4, 50, 60, generator=torch.Generator().manual_seed(4)) * 2 - 1
    matrix = np.array([[0.1, 0.02, -20.0], [-0.02, 0.1, -10.0]], np.float32)
    part, moved = identity._decoded(latents, matrix)
    assert part.shape[-1] < 480 and part.shape[-2] < 400
    whole = aligned(enlarged(latents), matrix, SIDE)
    torch.testing.assert_close(aligned(part, moved, SIDE), whole, atol=1e-3, rtol=0.0)


def test_lessons_are_noised_within_bounds() -> None:
    steps = NoiseSchedule(torch.linspace(0.99, 0.01, 1000), "epsilon")
    assert [level_at(steps, q) for q in (0.0, 0.5, 1.0)] == [100, 400, 700]
    assert [level_at(FlowSchedule(), q) for q in (0.0, 1.0)] == [0.25, 0.8]


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "velocity"])
def test_a_true_answer_gives_the_clean_picture_back(kind: Any) -> None:
    ramp = torch.linspace(0.99, 0.01, 1000)
    schedule = FlowSchedule() if kind == "velocity" else NoiseSchedule(ramp, kind)
    level = torch.tensor([0.3, 0.9]) if kind == "velocity" else torch.tensor([100, 900])
    latents, noise = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    noisy = loss.add_noise(schedule, latents, noise, level)
    answer = loss.target(schedule, latents, noise, level)
    torch.testing.assert_close(loss.clean(schedule, noisy, answer, level), latents, atol=1e-4, rtol=1e-4)


def in_plain_words(family: SD15, lesson: Lesson, level: float, noise: torch.Tensor, lessons: Lessons) -> Any:
    """Mean cosine of the picture that the network is about to draw, through diffusers' own modules."""
    net: Any = family.denoiser
    family_vae: Any = family.open_vae()
    x0 = lesson.sample.mean_CHW[None] * family_vae.config.scaling_factor
    a = family.schedule.alphas_cumprod_T[int(level)]
    noisy = a.sqrt() * x0 + (1 - a).sqrt() * noise[None]
    t = torch.tensor([int(level)])
    v = net(noisy, t, encoder_hidden_states=lesson.sample.condition.embeds_BLD).sample
    clean = a.sqrt() * noisy - (1 - a).sqrt() * v
    square = np.linalg.inv(np.vstack([TURN, [0, 0, 1]]).astype(np.float64))
    places = [[square @ (x, y, 1) for x in range(SIDE)] for y in range(SIDE)]
    grid = ((torch.tensor(np.array(places))[None, ..., :2] + 0.5) / 64 * 2 - 1).float()

    def face(latents: Any) -> Any:
        picture = family_vae.decode(latents / family_vae.config.scaling_factor).sample
        return grid_sample((picture + 1) * 127.5, grid, padding_mode="zeros", align_corners=False)

    def sevenths(grey: Any) -> Any:
        ends = [(i * SIDE // 7, -(-(i + 1) * SIDE // 7)) for i in range(7)]
        return torch.stack([grey[..., a:b, c:d].mean((-2, -1)) for a, b in ends for c, d in ends]) / 127.5

    ready = (face(clean).clamp(0, 255).flip(1) - 100.0) / 60.0
    embedding = normalize(lessons.recogniser.network(ready), dim=-1)
    before = face(lesson.sample.mean_CHW[None] * family_vae.config.scaling_factor).clamp(0, 255)
    change = ((sevenths(face(clean).clamp(0, 255)) - sevenths(before).detach()) ** 2).mean()
    return (embedding @ torch.from_numpy(np.array(lessons.known_ND)).T).mean(), change


def test_the_loss_of_a_step_in_plain_words(tiny_sd15: SD15, lessons: Lessons) -> None:
    """Two lessons of a step, spread over the noise; the gradients of what autograd makes of them."""
    tiny_sd15.load("none")
    tiny_sd15.load("denoiser")
    parameters = add_adapters(tiny_sd15, PLAN)
    for name, parameter in parameters.items():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, 0, 0.05, generator=torch.Generator().manual_seed(len(name)))
    identity, step = IdentityLoss(tiny_sd15, PLAN, lessons), 4
    mean = identity.backward(step, 1, lambda total: total)
    ours = {name: p.grad.clone() for name, p in parameters.items() if p.grad is not None}
    again = IdentityLoss(tiny_sd15, PLAN, lessons)
    for parameter in parameters.values():
        parameter.grad = None
    assert again.backward(step, 8, lambda total: 2 * total) == pytest.approx(mean, abs=1e-6)
    name = max(ours, key=lambda n: float(ours[n].norm()))
    torch.testing.assert_close(parameters[name].grad, 2 * ours[name], rtol=1e-3, atol=1e-6)
    for parameter in parameters.values():
        parameter.grad = None
    shares = [again.backward(step, 8, lambda total: total / 3, share=(i, 3)) for i in range(3)]
    assert shares[2] == 0.0 != shares[1] and sum(shares) / 3 == pytest.approx(mean, abs=1e-6)
    torch.testing.assert_close(parameters[name].grad, ours[name], rtol=1e-3, atol=1e-6)

    for parameter in parameters.values():
        parameter.grad = None
    u = loss.draw_uniform(draws.generator(PLAN.seed, "identity level", step))
    plain: list[Any] = []
    for slot in range(2):
        lesson = lessons.lessons[draws.turn(PLAN, "identity order", 3, step * 2 + slot)]
        own = draws.generator(PLAN.seed, "identity", step, slot, lesson.sample.key)
        noise = torch.randn(lesson.sample.mean_CHW.shape, generator=own)
        level = 1000 * (0.1 + 0.6 * ((u + slot / 2) % 1.0))
        plain.append(in_plain_words(tiny_sd15, lesson, math.floor(level), noise, lessons))
    alike, changed = (torch.stack(list(values)) for values in zip(*plain, strict=True))
    assert (
        mean == pytest.approx(float(alike.mean().detach()), abs=1e-5) and float(changed.min().detach()) > 1e-4
    )
    (0.5 * (1 - alike + 3 * changed).mean()).backward()
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, parameters[name].grad, rtol=1e-3, atol=1e-7)
    tiny_sd15.load("none")


def test_the_last_steps_have_it_and_a_killed_run_goes_on_to_the_bit(
    run: Run, lessons: Lessons, tmp_path: Path
) -> None:
    first = run("whole")  # without lessons it ends where they begin
    assert first.steps == 2 == PLAN.identity_from and [a.step for a in first.checkpoints] == [2]
    whole = run("whole", lessons=lessons)
    assert whole.steps == 4 and whole.resumed_from == 2
    written = (tmp_path / "whole" / "metrics.jsonl").read_bytes()
    done = run("whole")  # nor does it need any when all is done
    assert (done.steps, done.resumed_from) == (4, 4) and ends_of(done) == ends_of(whole)
    assert (tmp_path / "whole" / "metrics.jsonl").read_bytes() == written
    rows = [json.loads(line) for line in written.decode().splitlines()]
    assert ["likeness" in row for row in rows] == [False] * 2 + [True] * 2

    def die(adapter: Adapter) -> None:
        if adapter.step == 3:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        run("killed", lessons=lessons, on_checkpoint=die)
    again = run("killed", lessons=lessons)
    assert again.resumed_from == 3 and ends_of(again) == ends_of(whole)
    assert (tmp_path / "killed/metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()

    plain = run("plain", replace(PLAN, identity_weight=0.0))
    assert ends_of(plain) != ends_of(whole)
    two = run("two", replace(PLAN, identity_weight=0.0, steps=2))  # up to there nothing is different
    folders = [tmp_path / out / "checkpoints" / "step-000002" for out in ("whole", "two")]
    states = [load_file(folder / "optimizer.safetensors") for folder in folders]
    assert two.steps == 2 and all(torch.equal(states[0][name], states[1][name]) for name in states[1])
    with pytest.raises(InputError, match=r"identity_share 0\.5 became 0\.9"):
        run("whole", replace(PLAN, identity_share=0.9), lessons=lessons)
    with pytest.raises(InputError, match="steps 4 became 5"):
        run("whole", replace(PLAN, steps=5), lessons=lessons)


def test_without_a_lesson_or_a_photo_the_steps_are_ordinary(run: Run, lessons: Lessons) -> None:
    plain = ends_of(run("plain", replace(PLAN, identity_weight=0.0)))

    def weights(data: bytes) -> bytes:
        return data[int.from_bytes(data[:8], "little") :]

    for empty in (replace(lessons, lessons=()), replace(lessons, known_ND=np.zeros((0, 1), np.float32))):
        out = f"empty{len(empty.lessons)}"
        assert weights(ends_of(run(out, lessons=empty)))[-4096:] == weights(plain)[-4096:]


def test_photos_by_another_embedder_are_refused(run: Run, lessons: Lessons) -> None:
    with pytest.raises(InputError, match="another embedder: got 9; needed 6"):
        run("other", lessons=replace(lessons, known_ND=np.ones((2, 9), np.float32)))


def test_together_as_alone(tiny_sd15: SD15, lessons: Lessons, tmp_path: Path) -> None:
    """Two with the loss and one without, who come to it at steps of their own."""

    def member(i: int, out: str, **changes: Any) -> Member:
        return Member(
            crops=make_crops(tmp_path / f"crops{i}", ((64, 64),) * 2, seed=i),
            out_dir=tmp_path / out / str(i),
            recipe=replace(PLAN, seed=i, **changes),
            cache_dir=tmp_path / f"cache{i}",
            lessons=lessons if changes.get("identity_weight", 1.0) else None,
        )

    def group(out: str) -> list[Member]:
        return [member(0, out), member(1, out, identity_share=0.8), member(2, out, identity_weight=0.0)]

    together = train_together(tiny_sd15, group("together"), seats=3)
    for one, outcome in zip(group("alone"), together, strict=True):
        assert isinstance(outcome, TrainResult) and outcome.steps == 4
        own = train(
            tiny_sd15, one.crops, one.out_dir, one.recipe, cache_dir=one.cache_dir, lessons=one.lessons
        )
        shared = tmp_path / "together" / one.out_dir.name / "metrics.jsonl"
        files = (shared, one.out_dir / "metrics.jsonl")
        pairs = zip(*([*map(json.loads, p.read_text().splitlines())] for p in files), strict=True)
        for theirs, ours in pairs:
            assert theirs.keys() == ours.keys()
            assert theirs["loss"] == pytest.approx(ours["loss"], rel=1e-4)
            if "likeness" in ours:
                assert theirs["likeness"] == pytest.approx(ours["likeness"], abs=1e-4)
        assert own.steps == 4
    again = train_together(tiny_sd15, [replace(m, lessons=None) for m in group("together")], seats=3)
    assert [o.steps for o in again if isinstance(o, TrainResult)] == [4, 4, 4]
    short = train_together(tiny_sd15, [replace(m, lessons=None) for m in group("short")], seats=3)
    assert [o.steps for o in short if isinstance(o, TrainResult)] == [2, 1, 4]
