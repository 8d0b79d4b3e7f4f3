"""The training scripts of the embedded base, on sizes that take seconds."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from portrait_lora import vocabulary
from portrait_lora.families.layout import folder_digest
from portrait_lora.vocabulary import Look
from scripts.evaluate.studio import roundtrips
from scripts.train import style_corpus
from scripts.train.base import __main__ as train_base
from scripts.train.base import export as export_stage
from scripts.train.base import extend as extend_stage
from scripts.train.base import feed, names, supply
from scripts.train.base import latents as latents_stage
from scripts.train.base import unet as unet_stage
from scripts.train.base import unpack as unpack_stage
from scripts.train.base import vae as vae_stage
from scripts.train.base.captions import training_caption
from scripts.train.base.card import Pictures
from scripts.train.base.configs import PREVIEW_LOOKS, TEXT_LENGTH
from scripts.train.base.likeness import Teacher
from scripts.train.base.tokenizer import EOS, load_tokenizer, merges_for, pieces, write_tokenizer
from scripts.train.checkpoint import CHECKPOINT, State, read_part, read_state, write_atomically
from scripts.train.corpus import Corpus
from scripts.train.face_pack.nets import EmbedderA
from scripts.train.kin import kin_of
from scripts.train.loop import Plan
from scripts.train.traits import KEPT, traits

COUNT = 6
SHAPE = unet_stage.Shape((32, 32), (0, 1))
CPU = torch.device("cpu")


def write_shard(folder: Path, number: int, looks: tuple[Look, ...]) -> dict[str, torch.Tensor]:
    """A shard of random pictures."""
    n = len(looks)
    g = torch.Generator().manual_seed(number)
    table = {
        "image": torch.randint(0, 256, (n, 3, 128, 128), generator=g, dtype=torch.uint8),
        "mask": torch.zeros(n, 128, 128, dtype=torch.uint8),
        "box": torch.tensor([[40.0, 30.0, 90.0, 100.0]]).repeat(n, 1),
        "person": torch.arange(n) + 10 * number,
        "keypoints": torch.zeros(n, 5, 2),
        "landmarks": torch.rand(n, 68, 2, generator=g) * 50 + 35,
        "visible": torch.ones(n, 68, dtype=torch.uint8),
        "pose": torch.zeros(n, 3),
        "light_direction": torch.zeros(n, 3),
    }
    save_file(table, str(folder / f"shard-{number:05d}.safetensors"))
    rows = [{f: getattr(look, f) for f in vocabulary.LOOK_FIELDS} for look in looks]
    (folder / f"shard-{number:05d}.json").write_text(json.dumps({"looks": rows}))
    return table


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    folder = tmp_path / "corpus"
    folder.mkdir()
    write_shard(folder, 0, PREVIEW_LOOKS[:4])
    write_shard(folder, 1, PREVIEW_LOOKS[4:COUNT])
    return Corpus(folder)


def test_every_word_is_one_token_and_other_text_survives(tmp_path: Path) -> None:
    tokenizer = write_tokenizer(tmp_path / "tokenizer")
    for unit in pieces(vocabulary.words()):
        assert len(tokenizer(unit, add_special_tokens=False).input_ids) == 1, unit
    assert tokenizer.tokenize("t-shirt, ohwx") == ["t</w>", "-</w>", "shirt</w>", ",</w>", "ohwx</w>"]
    assert tokenizer.decode(tokenizer("zebra café").input_ids, skip_special_tokens=True) == "zebra café"
    assert tokenizer.model_max_length == TEXT_LENGTH
    assert len(tokenizer("word " * 200, truncation=True).input_ids) == TEXT_LENGTH


def test_longest_caption_fits(tmp_path: Path) -> None:
    tokenizer = write_tokenizer(tmp_path / "tokenizer")

    def longest(phrases: tuple[str, ...]) -> str:
        return max(phrases, key=lambda p: len(tokenizer.tokenize(p)))

    colour = longest(vocabulary.HAIR_COLOURS)
    look = Look(
        subject=longest(vocabulary.SUBJECTS),
        shot=longest(vocabulary.SHOTS),
        view=longest(vocabulary.VIEWS),
        hair=longest(tuple(f"{colour} {s}" for s in vocabulary.HAIR_STYLES)),
        skin=longest(vocabulary.SKIN_TONES),
        beard=longest(vocabulary.BEARDS[1:]),
        glasses=longest(vocabulary.GLASSES[1:]),
        expression=longest(vocabulary.EXPRESSIONS),
        wardrobe=f"{longest(vocabulary.GARMENT_COLOURS)} {longest(vocabulary.GARMENTS)}",
        setting=f"{longest(vocabulary.BACKDROP_COLOURS)} {longest(vocabulary.BACKDROPS)}",
        lighting=longest(vocabulary.LIGHTINGS),
    )
    assert len(tokenizer(vocabulary.sentence(look)).input_ids) <= TEXT_LENGTH


def test_captions_never_hold_the_trigger() -> None:
    draw = random.Random(0)
    texts = [training_caption(look, draw) for look in PREVIEW_LOOKS * 50]
    assert not any(vocabulary.TRIGGER in t for t in texts)
    assert 0.04 < sum(t == "" for t in texts) / len(texts) < 0.18
    known = set(vocabulary.words())
    assert {w for t in texts for w in t.replace(",", "").split()} <= known


def test_corpus_reads_across_shards(corpus: Corpus) -> None:
    assert len(corpus) == COUNT
    assert corpus.size_px == 128
    index = [5, 0, 3, 4]
    whole = corpus.column("image")
    assert torch.equal(corpus.rows("image", index), whole[index])
    assert corpus.rows("person", index).tolist() == [11, 0, 3, 10]
    assert corpus.pictures([1]).abs().max() <= 1
    assert corpus.captions()[2] == vocabulary.sentence(PREVIEW_LOOKS[2])


def test_epoch_rows_cover_each_row_once() -> None:
    seen = torch.cat([feed.epoch_rows(step, 4, 14, seed=3, skip=2) for step in range(3)])
    assert sorted(seen.tolist()) == list(range(2, 14))
    assert not torch.equal(feed.epoch_rows(0, 4, 14, 3, 2), feed.epoch_rows(3, 4, 14, 3, 2))


def train(corpus: Corpus, out: Path, steps: int) -> None:
    """Train a tiny UNet on random latents."""
    vae = vae_stage.new_vae((8, 8, 8, 8), 1)
    plan = Plan(steps, batch=2, lr=1e-3, report_steps=1000)
    words = load_tokenizer(out / "tokenizer")
    unet_stage.train_unet(
        supply.Stored(corpus, len(corpus), out, CPU), lambda: vae, words, out, plan, SHAPE, CPU
    )


def prepare(corpus: Corpus, out: Path) -> Path:
    """What the UNet stage needs, with made-up contents."""
    write_tokenizer(out / "tokenizer")
    g = torch.Generator().manual_seed(0)
    latents = torch.randn(len(corpus), 16, 16, 16, generator=g).half()
    write_atomically(out / latents_stage.LATENTS_FILE, {"latents": latents})
    return out


def test_export_loads_in_diffusers_without_arguments(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

    monkeypatch.setattr(unet_stage, "preview", lambda *_: None)
    out = prepare(corpus, tmp_path / "out")
    train(corpus, out, steps=2)
    target = tmp_path / "base"
    export_stage.export(out, target, vae_stage.new_vae((8, 8, 8, 8), 1), Pictures(len(corpus), 5, 3))
    pipeline = StableDiffusionPipeline.from_pretrained(str(target))
    assert isinstance(pipeline.scheduler, DPMSolverMultistepScheduler)
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    assert {pipeline.unet.dtype, pipeline.vae.dtype, pipeline.text_encoder.dtype} == {torch.float32}
    assert pipeline.safety_checker is None
    picture = pipeline("frontal headshot of ohwx man", num_inference_steps=2, output_type="np").images[0]
    assert picture.shape == (128, 128, 3)
    assert export_stage.digests(target) == json.loads((target / "digests.json").read_text())
    card = (target / "CARD.md").read_text()
    unet = "unet/diffusion_pytorch_model.safetensors"
    assert f"`{export_stage.digests(target)[unet]}`" in card
    assert f"| {sum(p.numel() for p in pipeline.unet.parameters()):,} |" in card
    assert f"`{folder_digest(target)}`" in card
    assert "sde-dpmsolver++, order 2, trailing" in card
    assert "2 steps, 4 samples" in card
    joined = card.replace("\n", " ")
    assert ", 5 of other people with the words of the second edition" in joined
    assert ", and 3 of the first once more as cartoon, oil painting, monochrome film" in joined
    assert "psnr" not in card and "None" not in card and "- dB" not in card
    for part in ("Data", "Recipe", "Sampler", "Figures", "Limits", "Licence", "Digest"):
        assert f"## {part}" in card


def test_a_shipped_base_goes_on_from_its_weights(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unet_stage, "preview", lambda *_: None)
    out, again = prepare(corpus, tmp_path / "out"), tmp_path / "again"
    train(corpus, out, steps=2)
    export_stage.export(out, tmp_path / "base", vae_stage.new_vae((8, 8, 8, 8), 1), Pictures(len(corpus)))
    assert not (tmp_path / "base" / names.FILE).exists()
    unpack_stage.unpack(tmp_path / "base", again, out / names.FILE)
    words = load_tokenizer(again / "tokenizer")
    shipped = unet_stage.load_averaged(out, words, export_stage.read_shape(out)).state_dict()
    unpacked = unet_stage.load_averaged(again, words, export_stage.read_shape(again)).state_dict()
    assert all(
        torch.equal(unpacked[k], v.half().to(v.dtype)) for k, v in shipped.items() if v.is_floating_point()
    )
    write_atomically(again / latents_stage.LATENTS_FILE, load_file(out / latents_stage.LATENTS_FILE))
    decoded_on = tmp_path / "decoded on"
    export_stage.export(again, decoded_on, vae_stage.new_vae((8, 8, 8, 8), 1), Pictures(len(corpus)))
    after, before = (json.loads((f / "training.json").read_text()) for f in (decoded_on, tmp_path / "base"))
    assert after == before and after["last"]["samples"] == after["samples"] == 4
    assert "2 steps, 4 samples |" in (decoded_on / "CARD.md").read_text()
    train(corpus, again, steps=1)
    assert read_state(again / "unet").step == 1
    assert export_stage.totals(again)["last"]["samples"] == 2
    with pytest.raises(FileExistsError):
        unpack_stage.unpack(tmp_path / "base", again, out / names.FILE)


def test_one_command_gives_every_stage_the_later_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: dict[str, list[object]] = {}
    for stage in ("tokenizer", "pca", "encoder", "latents", "decoder", "unet", "export"):
        stage_calls = calls.setdefault(stage, [])
        monkeypatch.setattr(train_base, stage, lambda *a, _calls=stage_calls, **_: _calls.append(a))
    more = [tmp_path / "styles", tmp_path / "later"]
    train_base.everything(tmp_path / "corpus", more, tmp_path / "out")
    assert all(calls.values())
    assert [more in stage_calls for stage_calls in calls["latents"]] == [False, True]  # type: ignore[operator]
    assert all(more in calls[stage][0] for stage in ("decoder", "unet", "export"))  # type: ignore[operator]


@pytest.mark.parametrize(("minutes", "fraction"), [(None, 1.0), (4.0, 0.25)])
def test_minutes_stand_in_place_of_steps(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: float | None, fraction: float
) -> None:
    plans: list[Plan] = []
    monkeypatch.setattr(train_base, "_begin", lambda *_: CPU)
    monkeypatch.setattr(vae_stage, "train_encoder", lambda *a: plans.append(a[3]))
    monkeypatch.setattr(vae_stage, "train_decoder", lambda *a: plans.append(a[3]))
    monkeypatch.setattr(train_base, "_vae", lambda _: None)
    monkeypatch.setattr(unet_stage, "train_unet", lambda *a: plans.append(a[4]))
    out = prepare(corpus, tmp_path / "out")
    train_base.encoder(corpus.folder, out, steps=10, minutes=minutes)
    train_base.decoder(corpus.folder, out=out, steps=10, minutes=minutes)
    train_base.unet(corpus.folder, out=out, steps=10, minutes=minutes, checkpoint_minutes=2.0)
    assert [plan.fraction(State(step=10, seconds=60)) for plan in plans] == [fraction] * 3
    assert plans[2].save_seconds == 120


def test_words_that_are_new_begin_small_and_the_others_stay() -> None:
    table = torch.arange(6.0).reshape(3, 2) + 1
    extended = unpack_stage.embeddings_for(table, {"a": 0, "b": 1, "c": 2}, {"c": 0, "new": 1, "a": 2})
    assert torch.equal(extended[[0, 2]], table[[2, 0]])
    assert 0 < extended[1].abs().max() < 0.2


def test_the_face_counts_more_than_the_backdrop() -> None:
    places = unet_stage.place_weights(torch.tensor([[40.0, 30.0, 90.0, 100.0]]), 128)
    assert places.shape == (1, 1, 16, 16)
    assert float(places.mean()) == pytest.approx(1)
    assert float(places[0, 0, 8, 8]) > 2 * float(places[0, 0, 0, 15])


def test_eyes_count_more_than_cheeks_for_the_decoder() -> None:
    box, eye = torch.tensor([[40.0, 30.0, 90.0, 100.0]]), torch.tensor([[[54.0, 56.0]]])
    weights = vae_stage.feature_weights(box, eye, 128)
    face = vae_stage.face_weights(box, 128)
    assert weights.shape == face.shape == (1, 1, 128, 128)
    assert float((weights - face)[0, 0, 56, 54]) == pytest.approx(vae_stage.FEATURE_WEIGHT, rel=0.02)
    assert torch.equal(weights[..., 110:, :], face[..., 110:, :])


def test_the_teacher_sees_the_person_and_moves_the_decoded_picture_only(corpus: Corpus) -> None:
    torch.manual_seed(0)
    teacher = Teacher(EmbedderA(), CPU)
    real, landmarks = corpus.pictures([0, 1]), corpus.column("landmarks")[:2]
    decoded = real.clone().requires_grad_()
    assert teacher.unlikeness(decoded, real, landmarks).item() == pytest.approx(0, abs=1e-5)
    unlike = teacher.unlikeness(decoded, real.flip(0).requires_grad_(), landmarks)
    unlike.backward()
    assert unlike.item() > 0.01 and decoded.grad is not None and decoded.grad.abs().sum() > 0


@pytest.mark.parametrize("taught", [False, True])
def test_the_decoder_learns_with_and_without_a_teacher(corpus: Corpus, tmp_path: Path, taught: bool) -> None:
    torch.manual_seed(0)
    out = prepare(corpus, tmp_path / "out")
    plan = Plan(6, batch=2, lr=5e-3, warmup=1)
    teacher = Teacher(EmbedderA(), CPU) if taught else None
    before = vae_stage.new_vae((8, 8, 8, 8), 1).decoder.conv_in.weight.detach().clone()
    vae = vae_stage.new_vae((8, 8, 8, 8), 1)
    vae_stage.train_decoder(corpus, vae, out, plan, CPU, teacher=teacher)
    state = read_state(out / "decoder")
    assert state.finished and ("unlike" in (state.figures or {})) is taught
    assert not torch.equal(vae.decoder.conv_in.weight, before)
    assert json.loads((out / "vae.json").read_text())["psnr"] > 0


def test_round_trips_are_repeated_for_another_autoencoder(corpus: Corpus, tmp_path: Path) -> None:
    rows, file = torch.tensor([0, 3]), tmp_path / "seen.safetensors"
    one, other = (vae_stage.new_vae((8, 8, 8, 8), 1, seed).eval() for seed in (0, 1))
    first = roundtrips.cached(file, corpus, rows, one, noise=0.0, seed=0)
    stamp = file.stat().st_mtime_ns
    assert torch.equal(roundtrips.cached(file, corpus, rows, one, noise=0.0, seed=0), first)
    assert file.stat().st_mtime_ns == stamp
    assert not torch.equal(roundtrips.cached(file, corpus, rows, other, noise=0.0, seed=0), first)


def test_uprights_are_cut_around_the_face() -> None:
    z = torch.arange(16.0).expand(3, 4, 16, 16)
    box = torch.tensor([[30, 20, 70, 80], [0, 0, 20, 40], [100, 0, 128, 40]])
    cut, places = unet_stage.narrowed(z, z[:, :1], box, 12)
    assert cut.shape == (3, 4, 16, 12)
    assert cut[:, 0, 0, 0].tolist() == [0, 0, 4]
    assert torch.equal(cut[:, :1], places)


def test_a_stopped_run_goes_on_to_the_same_weights(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unet_stage, "preview", lambda *_: None)
    straight, halted = prepare(corpus, tmp_path / "a"), prepare(corpus, tmp_path / "b")
    train(corpus, straight, steps=4)
    original = unet_stage.velocity_loss
    calls = 0

    def interrupted(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(unet_stage, "velocity_loss", interrupted)
    with pytest.raises(SystemExit):
        train(corpus, halted, steps=4)
    assert not read_state(halted / "unet").finished
    train(corpus, halted, steps=4)
    words = load_tokenizer(straight / "tokenizer")
    one = unet_stage.load_averaged(straight, words, SHAPE).state_dict()
    two = unet_stage.load_averaged(halted, words, SHAPE).state_dict()
    assert all(torch.equal(one[k], two[k]) for k in one)


def shorten(out: Path) -> None:
    """A training as it stood before the second edition of the vocabulary: tokenizer and no checkpoint."""
    shipped = Path("portrait_lora/assets/base/tokenizer")
    first, *_ = vocabulary.editions()
    merges = merges_for(pieces(first))
    tokens = list(json.loads((out / "tokenizer" / "vocab.json").read_text()))
    kept = tokens[: tokens.index(EOS) + 1]
    (out / "tokenizer" / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(kept)}))
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    (out / "tokenizer" / "merges.txt").write_text("\n".join(lines) + "\n")
    known = json.loads((shipped / "vocab.json").read_text())
    assert [known.get(token) for token in kept] == list(range(len(kept)))


def test_words_that_came_later_get_numbers_behind_the_others(corpus: Corpus, tmp_path: Path) -> None:
    now = write_tokenizer(tmp_path / "now" / "tokenizer")
    write_tokenizer(tmp_path / "then" / "tokenizer")
    shorten(tmp_path / "then")
    then = load_tokenizer(tmp_path / "then" / "tokenizer")
    assert len(then) < len(now) and then.eos_token_id == now.eos_token_id
    texts = [*corpus.captions(), vocabulary.TRIGGER, ""]
    assert then(texts).input_ids == now(texts).input_ids
    styled = [f"{style} {texts[0]}" for style in vocabulary.STYLES]
    assert then(styled).input_ids != now(styled).input_ids
    assert min(now(style).input_ids[1] for style in vocabulary.STYLES) >= len(then)


def test_an_extended_checkpoint_draws_as_before_and_trains_on_with_styles(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unet_stage, "preview", lambda *_: None)
    out = prepare(corpus, tmp_path / "out")
    shorten(out)
    train(corpus, out, steps=2)
    file = out / "unet" / CHECKPOINT
    ids = feed.tokens(load_tokenizer(out / "tokenizer"), corpus.captions())
    answers: list[torch.Tensor] = []
    for _ in range(2):
        words = load_tokenizer(out / "tokenizer")
        modules = unet_stage.load_averaged(out, words, SHAPE)
        z = torch.randn(len(ids), 16, 16, 16, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            states = modules["text"](feed.tokens(words, corpus.captions())).last_hidden_state
            answers.append(modules["unet"](z, torch.tensor(500), states).sample)
        if len(answers) == 1:
            before = {p: read_part(file, p) for p in ("weights", "optimizer/exp_avg", "optimizer/step")}
            added = extend_stage.extend(out)
    assert added > 0 and torch.equal(*answers)
    assert extend_stage.extend(out) == 0
    after = {p: read_part(file, p) for p in before}
    for part, tensors in before.items():
        assert all(
            torch.equal(after[part][k][: len(t)] if t.ndim else after[part][k], t) for k, t in tensors.items()
        )
    moments = after["optimizer/exp_avg"][unpack_stage.WORDS]
    assert len(moments) == len(load_tokenizer(out / "tokenizer")) and not moments[-added:].any()
    assert read_state(out / "unet").step == 2

    folder = styled_folder(corpus, tmp_path)
    mixture = feed.Mixture(len(corpus), len(corpus) + 3, share=1.0)
    both = Corpus(corpus.folder, None, folder)
    with pytest.raises(FileNotFoundError):
        latents_stage.read_latents(out, mixture.plain, mixture.total)
    write_atomically(out / latents_stage.MORE_LATENTS_FILE, {"latents": torch.randn(3, 16, 16, 16).half()})
    with pytest.raises(ValueError, match="3 latents in latents_more"):
        latents_stage.read_latents(out, len(corpus), len(corpus) + 2)
    vae = vae_stage.new_vae((8, 8, 8, 8), 1)
    plan = Plan(4, batch=2, lr=1e-3, report_steps=1000)
    words = load_tokenizer(out / "tokenizer")
    unet_stage.train_unet(
        supply.Stored(both, len(corpus), out, CPU), lambda: vae, words, out, plan, SHAPE, CPU, share=1.0
    )
    assert read_state(out / "unet").step == 4
    moved = read_part(file, "weights")[unpack_stage.WORDS] - after["weights"][unpack_stage.WORDS]
    assert moved[-added:].abs().max() > 1e-6


def styled_folder(corpus: Corpus, folder: Path) -> Path:
    """A folder of three pictures, one in each style."""
    looks = tuple(replace(k, style=s) for k, s in zip(corpus.looks, vocabulary.STYLES, strict=False))
    (folder / "styled").mkdir()
    write_shard(folder / "styled", 0, looks)
    return folder / "styled"


def test_the_requested_share_of_samples_is_of_the_other_pictures() -> None:
    plan = Plan(1, batch=32, lr=1e-3)
    mixed, alone = feed.Mixture(640, 690, 0.1), feed.Mixture(640, 640, 0.1)
    rows = torch.cat([feed.drawn_rows(step, plan, mixed) for step in range(100)])
    assert 0.08 < (rows >= 640).float().mean() < 0.12
    assert len(rows[rows >= 640].unique()) > 45 and rows.max() < 690
    plain = torch.cat([feed.drawn_rows(step, plan, alone) for step in range(20)])
    assert sorted(plain.tolist()) == list(range(640))


def test_styles_are_spread_over_the_corpus_and_lead_the_caption(corpus: Corpus, tmp_path: Path) -> None:
    picks = style_corpus.chosen(2400, 360, seed=0)
    assert Counter(style for _, style in picks) == dict.fromkeys(vocabulary.STYLES, 120)
    rows = [row for row, _ in picks]
    assert rows == sorted(set(rows)) and max(b - a for a, b in itertools.pairwise(rows)) < 14
    file = tmp_path / "shard-00000.safetensors"
    style_corpus.write_shard(corpus, style_corpus.chosen(COUNT, 3, seed=0), file)
    styled = Corpus(tmp_path)
    assert sorted(str(k.style) for k in styled.looks) == sorted(vocabulary.STYLES)
    for i, (row, style) in enumerate(style_corpus.chosen(COUNT, 3, seed=0)):
        assert styled.looks[i] == replace(corpus.looks[row], style=style)
        assert styled.captions()[i] == f"{style} {corpus.captions()[row]}"
        assert torch.equal(styled.rows("box", [i]), corpus.rows("box", [row]))
        assert not torch.equal(styled.rows("image", [i]), corpus.rows("image", [row]))
    draw = random.Random(0)
    captions = [training_caption(styled.looks[0], draw) for _ in range(200)]
    assert all(t.startswith(f"{styled.looks[0].style} ") for t in captions if t)


def test_mirrors_swap_left_and_right_in_words_boxes_and_latents(corpus: Corpus, tmp_path: Path) -> None:
    sided = next(k for k in PREVIEW_LOOKS if k.facing and k.light_side)
    other = feed.in_a_mirror(sided)
    assert {other.facing, sided.facing} == set(vocabulary.FACINGS)
    assert {other.light_side, sided.light_side} == set(vocabulary.LIGHT_SIDES)
    assert feed.in_a_mirror(other) == sided
    box = torch.tensor([[10.0, 20.0, 50.0, 90.0]])
    assert unet_stage.flipped(box, 128).tolist() == [[78.0, 20.0, 118.0, 90.0]]
    vae = vae_stage.new_vae((8, 8, 8, 8), 1)
    for mirrors in (False, True):
        latents_stage.encode_all(corpus, vae, tmp_path / latents_stage.LATENTS_FILE, CPU, mirrors)
        plain = latents_stage.read_latents(tmp_path, COUNT, COUNT)
        assert plain.shape == (COUNT, 16, 16, 16)
    seen = latents_stage.read_latents(tmp_path, COUNT, COUNT, latents_stage.MIRRORED)
    assert not torch.equal(seen, plain) and not torch.equal(seen, plain.flip(-1))


def test_batches_prepared_ahead_are_those_of_their_steps(corpus: Corpus, tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "tokenizer")
    words, plan = load_tokenizer(tmp_path / "tokenizer"), Plan(9, batch=4, lr=1e-3)
    batches = feed.Batches(corpus.looks, words, plan, feed.Mixture(COUNT, COUNT), mirrors=True)
    ahead = feed.Feed(batches, workers=2)
    for step in (3, 4, 5):
        prepared, known = ahead.take(step), feed.Feed(batches, 0).take(step)
        assert torch.equal(prepared.ids, known.ids) and torch.equal(prepared.rows, known.rows)
        assert torch.equal(prepared.mirrored, known.mirrored) and prepared.width == known.width
    flips = torch.cat([batches[step].mirrored for step in range(40)])
    assert 0.3 < flips.float().mean() < 0.7
    plain = feed.Batches(corpus.looks, words, plan, feed.Mixture(COUNT, COUNT), mirrors=False)
    assert not plain[3].mirrored.any()


def test_training_with_mirrors_needs_their_latents(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unet_stage, "preview", lambda *_: None)
    out = prepare(corpus, tmp_path / "out")
    words, plan = load_tokenizer(out / "tokenizer"), Plan(2, batch=2, lr=1e-3)
    vae = vae_stage.new_vae((8, 8, 8, 8), 1)
    with pytest.raises(ValueError, match="no mirrored"):
        unet_stage.train_unet(
            supply.Stored(corpus, COUNT, out, CPU, mirrors=True), lambda: vae, words, out, plan, SHAPE, CPU
        )
    latents_stage.encode_all(corpus, vae, out / latents_stage.LATENTS_FILE, CPU, mirrors=True)
    unet_stage.train_unet(
        supply.Stored(corpus, COUNT, out, CPU, mirrors=True), lambda: vae, words, out, plan, SHAPE, CPU
    )
    assert read_state(out / "unet").step == 2


def test_a_supply_grows_by_the_shards_that_are_rendered_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unet_stage, "preview", lambda *_: None)
    plain, other, vae = tmp_path / "plain", tmp_path / "other", vae_stage.new_vae((8, 8, 8, 8), 1)
    growing = supply.Growing(plain, [other], vae, CPU, mirrors=True)
    assert growing.table() is None
    plain.mkdir(), other.mkdir()
    write_shard(plain, 1, PREVIEW_LOOKS[:2])
    write_shard(other, 0, PREVIEW_LOOKS[2:5])
    first = growing.table()
    assert first is not None and first.plain == 2 and len(first.looks) == 5 and first.size_px == 128
    assert growing.table() is None
    write_shard(plain, 0, PREVIEW_LOOKS[5:8])
    second = growing.table()
    assert second is not None and second.plain == 5 and second.mirrors
    assert second.looks == [*PREVIEW_LOOKS[5:8], *PREVIEW_LOOKS[:5]]
    assert torch.equal(second.latents[3:], first.latents)
    known = Corpus(plain, None, other)
    latents_stage.encode_all(known, vae, tmp_path / latents_stage.LATENTS_FILE, CPU, mirrors=True)
    stored = supply.Stored(known, len(known), tmp_path, CPU, mirrors=True).table()
    assert stored is not None and torch.allclose(stored.latents.float(), second.latents.float(), atol=2e-2)

    out = prepare(Corpus(plain), tmp_path / "out")
    monkeypatch.setattr(unet_stage, "LOOK_SECONDS", 0.0)
    words, plan = load_tokenizer(out / "tokenizer"), Plan(2, batch=2, lr=1e-3)
    again = supply.Growing(plain, [other], vae, CPU)
    unet_stage.train_unet(again, lambda: vae, words, out, plan, SHAPE, CPU, share=0.5)
    assert read_state(out / "unet").step == 2
    with pytest.raises(ValueError, match="no pictures"):
        unet_stage.train_unet(again, lambda: vae, words, out, plan, SHAPE, CPU)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="steps are recorded on a GPU")
def test_replayed_steps_train_as_others_do(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unet_stage, "preview", lambda *_: None)
    gpu, averages = torch.device("cuda"), []
    for replay in (False, True):
        out = prepare(corpus, tmp_path / str(replay))
        words, plan = load_tokenizer(out / "tokenizer"), Plan(12, batch=4, lr=1e-3, replay=replay)
        stored = supply.Stored(corpus, len(corpus), out, gpu)
        unet_stage.train_unet(stored, lambda: None, words, out, plan, SHAPE, gpu)  # type: ignore[arg-type, return-value]
        averages.append(read_part(out / "unet" / CHECKPOINT, "average"))
    assert all(torch.allclose(averages[0][k], averages[1][k], atol=1e-3) for k in averages[0])


def test_the_card_mentions_pictures_that_nobody_kept() -> None:
    from scripts.train.base.card import _grown

    assert _grown({}) == "" and _grown({"pictures": 9, "mirrors": True, "grown": False}) == ""
    assert _grown({"pictures": 60_124, "mirrors": True, "grown": True}) == (
        " The last run of the UNet saw 60,124 further pictures of other people, rendered while it trained, "
        "half of them with left for right."
    )


def test_traits_are_those_of_the_person_and_of_even_spread() -> None:
    rows = traits([1_000_000 + i for i in range(400)], KEPT)
    assert rows.shape == (400, len(KEPT))
    assert rows.mean(0).abs().max() < 0.3 and rows.std(0).min() > 0.7 and rows.std(0).max() < 1.3
    again = traits([1_000_007, 1_000_003, 1_000_007], KEPT)
    assert torch.equal(again, rows[[7, 3, 7]])
    relative = traits([kin_of(1_000_007)], KEPT)[0]
    assert 0 < (relative - rows[7]).norm() < (rows[8] - rows[7]).norm() * 1.5


def test_a_name_stands_at_the_noun_alone_and_is_nothing_at_first(tmp_path: Path) -> None:
    words = write_tokenizer(tmp_path / "tokenizer")
    ids = feed.tokens(words, ["frontal headshot of ohwx woman, smiling", "portrait of a person", ""])
    place = torch.isin(ids, torch.tensor(names.noun_ids(words))).float()
    assert [words.decode(row[at.bool()]) for row, at in zip(ids, place, strict=True)] == [
        "woman",
        "person",
        "",
    ]
    states, traits_NT = torch.randn(3, TEXT_LENGTH, 128), traits([1, 2, 3], KEPT)
    network = names.Names()
    assert torch.equal(names.with_names(states, place, network(traits_NT)), states)
    torch.nn.init.ones_(network.layers[-1].bias)
    moved = names.with_names(states, place, network(traits_NT)) - states
    assert torch.equal(moved.abs().amax(2) > 0, place > 0)


def test_half_of_the_captions_have_a_name_that_may_stand_for_hair_and_skin(corpus: Corpus) -> None:
    draw = random.Random(0)
    look = next(k for k in PREVIEW_LOOKS if k.beard and k.skin)
    plain = [training_caption(look, draw) for _ in range(400)]
    named = [training_caption(look, draw, named=True) for _ in range(400)]

    def share_with(texts: list[str], clause: str) -> float:
        return sum(clause in text for text in texts) / len(texts)

    for clause in (look.hair, look.skin, look.beard):
        assert clause and share_with(plain, clause) > 0.65 and 0.3 < share_with(named, clause) < 0.5
    assert abs(share_with(named, str(look.expression)) - share_with(plain, str(look.expression))) < 0.1
    words = load_tokenizer(Path("portrait_lora/assets/base/tokenizer"))
    plan = Plan(9, batch=4, lr=1e-3)
    batches = feed.Batches(corpus.looks, words, plan, feed.Mixture(COUNT, COUNT), mirrors=False)
    share = torch.cat([batches[step].named for step in range(60)]).float().mean()
    assert abs(share - feed.NAMED) < 0.12


def test_names_are_learnt_where_they_are_informative(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unet_stage, "preview", lambda *_: None)
    monkeypatch.setattr(feed, "NAMED", 0.0)
    train(corpus, prepare(corpus, tmp_path / "without"), steps=3)
    monkeypatch.setattr(feed, "NAMED", 1.0)
    train(corpus, prepare(corpus, tmp_path / "with"), steps=3)
    last = "names.layers.2.weight"
    without, learnt = (
        read_part(tmp_path / k / "unet" / CHECKPOINT, "weights")[last] for k in ("without", "with")
    )
    assert not without.any() and learnt.abs().max() > 0
    seen = json.loads((tmp_path / "with" / "unet" / unet_stage.PICTURES).read_text())
    assert seen["named"] == unet_stage.NAMED
