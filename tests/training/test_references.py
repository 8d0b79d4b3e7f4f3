"""Training with other photos of the person in context: what is trained is what diffusers' pipelines draw.

The networks are random and tiny: this shows that the pieces fit together, not that a face is kept.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import Flux2KleinPipeline
from PIL import Image
from tiny_families import heedful, make_tiny
from tiny_models import make_crops
from torch import Tensor

from portrait_lora.errors import InputError
from portrait_lora.families import open_family
from portrait_lora.families.catalog import resolve_base
from portrait_lora.families.family import Family, FlowSchedule, Geometry, PromptCondition
from portrait_lora.families.sd15 import SD15
from portrait_lora.records import CaptionedCrop, TrainResult
from portrait_lora.tasks.verify.reference import plain_pipeline
from portrait_lora.training import cache
from portrait_lora.training.adapter import add_adapter
from portrait_lora.training.draws import Draw, draw, draw_prior
from portrait_lora.training.member import Member
from portrait_lora.training.recipe import Recipe
from portrait_lora.training.run import train
from portrait_lora.training.together import train_together
from tests.recipes import recipe
from tests.tiny_catalogue import write_repository
from tests.training.by_the_book import TextbookAdamW, model_space, put_loras

STEPS, BATCH, RANK, ALPHA, RATE, DECAY = 3, 2, 4, 2.0, 5e-3, 0.01
SIZES = ((64, 64), (64, 80), (80, 64), (64, 64))
PLAN = recipe(
    rank=RANK, alpha=ALPHA, seed=5, learning_rate=RATE, batch_size=BATCH, steps=STEPS, caption_dropout=0.3,
    warmup_steps=0, weight_decay=DECAY, references=0.8, max_references=2,
)  # fmt: skip


def opened(folder: Path) -> Any:
    return open_family(resolve_base(heedful(folder, contrast=2.0)))


@pytest.fixture(scope="module")
def klein(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return opened(make_tiny("flux2", tmp_path_factory.mktemp("klein") / "base"))


@pytest.fixture(scope="module", params=["klein", "dev"])
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    if request.param == "klein":
        return request.getfixturevalue("klein")
    folder = tmp_path_factory.mktemp("dev") / "base"
    return opened(write_repository("black-forest-labs/FLUX.2-dev", "flux2", folder))


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> list[CaptionedCrop]:
    """Two crops of each of four photos, the tighter one second; coarse, so that their tokens differ."""
    folder, random = tmp_path_factory.mktemp("crops"), np.random.default_rng(3)
    twice = make_crops(folder, tuple(size for size in SIZES for _ in range(2)))
    for i, crop in enumerate(twice):
        coarse = random.integers(0, 2, (4, 4, 3), dtype=np.uint8) * 255
        Image.fromarray(coarse).resize(crop.bucket, Image.Resampling.NEAREST).save(crop.path)
        box = (0, 0, *(side * 3 for side in crop.bucket)) if i % 2 == 0 else crop.crop_xyxy_px
        twice[i] = replace(crop, source_sha256=f"{i // 2:064d}", crop_xyxy_px=box)
    Image.linear_gradient("L").save(folder / "mask.png")
    return [
        replace(crop, mask_path=folder / "mask.png", caption=twice[i % 2].caption)
        for i, crop in enumerate(twice)
    ]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of all trainings."""
    return tmp_path_factory.mktemp("cache")


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def shown_files(encodings: cache.Encodings, crops: Sequence[CaptionedCrop], drawn: Draw) -> list[Path]:
    """The crops whose latents a draw shows, by their digests."""
    by_key = {sample.key: crop.path for sample, crop in zip(encodings.samples, crops, strict=True)}
    keys = [next(p.key for p in encodings.photos if p.mean_CHW is one) for one in drawn.references]
    return [by_key[key] for key in keys]


class ByPipeline:
    """Loss of a sample through diffusers' own pipeline pieces, with and without the adapter's layers."""

    def __init__(self, family: Family, starts: dict[str, Tensor]):
        self.pipe = plain_pipeline(family.base.source)
        self.bare = deepcopy(self.pipe.transformer)
        self.weights = put_loras(self.pipe.transformer, starts, ALPHA)

    def answer(self, net: Any, noisy: Tensor, level: float, prompt: Tensor, photos: Sequence[Path]) -> Tensor:
        """What the denoising loop of the pipelines calls a prediction, with these files as `image`."""
        pipe = self.pipe
        patches = pipe._patchify_latents(noisy)
        here, at = pipe._pack_latents(patches), pipe._prepare_latent_ids(patches)
        tokens, places = here, at
        if photos:
            images: list[Tensor] = []
            for path in photos:
                picture = Image.open(path)
                width, height = (side // 16 * 16 for side in picture.size)
                size: Any = {"height": height, "width": width, "resize_mode": "crop"}
                images.append(pipe.image_processor.preprocess(picture, **size))
            behind, beyond = pipe.prepare_image_latents(images, 1, None, "cpu", torch.float32)
            tokens, places = torch.cat([here, behind], 1), torch.cat([at, beyond], 1)
        velocity = net(
            hidden_states=tokens,
            timestep=torch.tensor([level]),
            guidance=torch.ones(1) if self.bare.config.guidance_embeds else None,
            encoder_hidden_states=prompt,
            txt_ids=pipe._prepare_text_ids(prompt),
            img_ids=places,
            return_dict=False,
        )[0][:, : here.shape[1]]
        return Flux2KleinPipeline._unpatchify_latents(pipe._unpack_latents_with_ids(velocity, at))

    def loss(self, encodings: cache.Encodings, drawn: Draw, photos: Sequence[Path], region: str) -> Tensor:
        sample, noise, level = drawn.sample, drawn.noise_CHW[None], drawn.noise_level
        raw = (sample.mean_CHW + sample.std_CHW * drawn.posterior_CHW)[None]
        x0 = model_space("flux2", self.pipe.vae, raw)
        noisy, target = (1 - level) * x0 + level * noise, noise - x0
        prompt = (encodings.empty if drawn.dropped else sample.condition).embeds_BLD
        if region == "person" and sample.mask_1HW is not None:
            with torch.no_grad():
                kept = self.answer(self.bare, noisy, level, prompt, photos)
            target = sample.mask_1HW * target + (1 - sample.mask_1HW) * kept
        return ((self.answer(self.pipe.transformer, noisy, level, prompt, photos) - target) ** 2).mean()


def test_steps_with_references_are_those_of_the_pipelines_own_pieces(
    family: Any, crops: list[CaptionedCrop], kept: Path, tmp_path: Path
) -> None:
    """Whole pictures with klein, the person alone with dev: there the bare base sees the references too."""
    region = "person" if family.denoiser_config["guidance_embeds"] else "picture"
    plan = replace(PLAN, learn_region=region)
    train(family, crops, tmp_path / "run", plan, cache_dir=kept)
    family.load("none")
    family.load("denoiser")
    begun = add_adapter(
        family.denoiser, rank=RANK, alpha=ALPHA, target_modules=plan.target_modules(family), seed=plan.seed
    )
    end = ".lora_A.likeness.weight"
    starts = {n.removesuffix(end): p.detach() for n, p in begun.items() if n.endswith(end)}
    family.load("none")
    encodings = cache.encode(family, crops, kept, region=plan.learn_region, references=True)
    book, expected, otherwise = ByPipeline(family, starts), list[float](), list[float]()
    optimizer, counts = TextbookAdamW(book.weights, DECAY, max_norm=1.0), set[int]()
    for step in range(STEPS):
        drawn = [draw(plan, encodings, family.schedule, step, slot) for slot in range(BATCH)]
        files = [shown_files(encodings, crops, one) for one in drawn]
        counts |= {len(own) for own in files}
        own = [book.loss(encodings, d, f, region) for d, f in zip(drawn, files, strict=True)]
        with torch.no_grad():
            turned = [book.loss(encodings, d, f[::-1], region) for d, f in zip(drawn, files, strict=True)]
        expected.append(sum(one.item() for one in own) / BATCH)
        otherwise.append(sum(one.item() for one in turned) / BATCH)
        optimizer.step(sum(own, torch.zeros(())) / BATCH, RATE)
    assert counts == {0, 1, 2}
    torch.testing.assert_close(losses(tmp_path / "run"), expected, rtol=1e-6, atol=0.0)
    assert max(abs(a - b) / b for a, b in zip(otherwise, expected, strict=True)) > 1e-5


def test_a_photo_is_prepared_as_the_pipelines_do(family: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to 1024 x 1024 px, cut in the middle: what the pipeline itself hands to the VAE, to the bit."""

    class Prepared(Exception):
        pass

    def stop(images: list[Tensor], *_: object, **__: object) -> None:
        raise Prepared(images)

    pipe, random = plain_pipeline(family.base.source), np.random.default_rng(0)
    monkeypatch.setattr(pipe, "prepare_image_latents", stop)
    text = torch.zeros(1, 8, pipe.transformer.config.joint_attention_dim)
    sizes = ((64, 64), (70, 100), (1300, 1001), (3000, 500))
    pictures = [Image.fromarray(random.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in sizes]
    with pytest.raises(Prepared) as stopped:
        pipe(
            prompt_embeds=text, image=pictures, height=64, width=64, num_inference_steps=1, guidance_scale=1.0
        )
    for picture, theirs in zip(pictures, stopped.value.args[0], strict=True):
        assert torch.equal(family.shown_pixels(picture), theirs)
    for side in (63, 65 * 8):
        with pytest.raises(InputError, match="cannot be shown as a reference"):
            family.shown_pixels(Image.new("RGB", (64, side)))


def invented(crops_per_photo: int = 2, photos: int = 4) -> cache.Encodings:
    """Photos whose latents hold their number; every photo may be shown by its first crop."""
    none = PromptCondition(torch.zeros(1, 2, 3))
    place = Geometry((64, 64), (0, 0), (64, 64))
    samples = tuple(
        cache.EncodedSample(
            f"{photo}-{i}",
            "",
            torch.full((4, 4, 4), photo),
            torch.ones(4, 4, 4),
            none,
            place,
            source=str(photo),
        )
        for photo in range(photos)
        for i in range(crops_per_photo)
    )
    seen = tuple(
        cache.EncodedPhoto(f"{photo}-0", str(photo), torch.full((4, 4, 4), float(photo)))
        for photo in range(photos)
    )
    return cache.Encodings(samples, none, samples[:1], seen)


def draws(plan: Recipe, encodings: cache.Encodings, steps: int = 300) -> list[Draw]:
    return [
        draw(plan, encodings, FlowSchedule(), step, slot) for step in range(steps) for slot in range(BATCH)
    ]


def test_never_the_photo_itself_and_every_other_one_equally_often() -> None:
    encodings = invented()
    plan = recipe(batch_size=BATCH, references=0.5, max_references=2, seed=3)
    seen, counts = Counter[tuple[str, int]](), Counter[int]()
    for drawn in draws(plan, encodings):
        numbers = [int(one[0, 0, 0]) for one in drawn.references]
        assert int(drawn.sample.source) not in numbers and len(set(numbers)) == len(numbers)
        seen.update((drawn.sample.source, n) for n in numbers)
        counts[len(numbers)] += 1
    assert len(seen) == 12 and max(seen.values()) < 2 * min(seen.values())
    assert set(counts) == {0, 1, 2}
    assert abs(counts[0] / 600 - 0.5) < 0.06 and abs(counts[1] - counts[2]) < 60
    one = replace(plan, references=1.0, max_references=4)
    counts = Counter(len(d.references) for d in draws(one, invented(photos=3), 50))
    assert set(counts) == {1, 2}  # there are no more
    copies = [replace(photo, key=encodings.samples[0].key) for photo in encodings.photos]  # under other names
    for drawn in draws(one, replace(encodings, photos=tuple(copies)), 20):
        assert (drawn.sample.key != encodings.samples[0].key) == bool(drawn.references)
    assert draw_prior(one, encodings, FlowSchedule(), 0, 0).references == ()


def test_without_the_key_every_draw_and_setting_is_as_it_was(klein: Any) -> None:
    encodings = invented()
    off, on = recipe(batch_size=BATCH), recipe(batch_size=BATCH, references=1.0)
    for a, b in zip(draws(off, encodings, 10), draws(on, encodings, 10), strict=True):
        assert (a.sample, a.noise_level, a.dropped, a.references) == (b.sample, b.noise_level, b.dropped, ())
        assert torch.equal(a.noise_CHW, b.noise_CHW) and torch.equal(a.posterior_CHW, b.posterior_CHW)
        assert b.references
    before, now = (one.settings(klein, encodings) for one in (off, on))
    assert now.keys() - before.keys() == {"references", "max_references", "photos_shown"}
    assert before.items() <= now.items()
    assert recipe(batch_size=BATCH, max_references=4).settings(klein, encodings) == before
    moved = replace(encodings, samples=tuple(replace(s, source="0") for s in encodings.samples))
    assert on.settings(klein, moved) != now and off.settings(klein, moved) == before


def test_a_killed_run_a_streamed_one_and_one_in_company_end_the_same(
    klein: Any, crops: list[CaptionedCrop], kept: Path, tmp_path: Path
) -> None:
    """To the bit; in company but for the rounding of larger batches.  Checkpointing is on where streamed."""

    def trained(out: str, plan: Recipe = PLAN, **more: Any) -> TrainResult:
        return train(klein, crops, tmp_path / out, plan, checkpoint_steps=(2,), cache_dir=kept, **more)

    def die(adapter: object) -> None:
        raise RuntimeError("killed")

    straight = trained("straight").checkpoints[-1].path
    with pytest.raises(RuntimeError, match="killed"):
        trained("killed", on_checkpoint=die)
    again = trained("killed")
    assert again.resumed_from == 2 and again.checkpoints[-1].path.read_bytes() == straight.read_bytes()
    klein.streamed = True
    try:
        streamed = trained("streamed", gradient_checkpointing=1.0)
    finally:
        klein.streamed = False
    assert streamed.checkpoints[-1].path.read_bytes() == straight.read_bytes()
    group = [
        Member(
            crops=crops, out_dir=tmp_path / str(seed), recipe=replace(PLAN, seed=seed, references=share),
            cache_dir=kept,
        )
        for seed, share in ((5, 0.8), (6, 0.0))
    ]  # fmt: skip
    results = train_together(klein, group, seats=2)
    for one, result in zip(group, results, strict=True):
        assert isinstance(result, TrainResult)
        alone = losses(tmp_path / "straight") if one.recipe == PLAN else None
        if alone is None:
            trained("other", one.recipe)
            alone = losses(tmp_path / "other")
        torch.testing.assert_close(losses(one.out_dir), alone, rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match=r"references 0\.8 became"):
        trained("straight", replace(PLAN, references=0.5, steps=STEPS + 1))


def test_what_is_shown_smaller_is_encoded_once_more_and_kept(
    klein: Any, crops: list[CaptionedCrop], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = cache.encode(klein, crops, tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    whole = cache.encode(klein, crops, tmp_path, references=True)
    assert plain.photos == () and {path.name for path in tmp_path.iterdir()} == before
    tightest = {s.key: s.mean_CHW for s in whole.samples[1::2]}
    assert sorted(p.source for p in whole.photos) == [f"{i:064d}" for i in range(4)]
    assert all(torch.equal(p.mean_CHW, tightest[p.key]) for p in whole.photos)
    real = klein.shown_pixels
    monkeypatch.setattr(klein, "shown_pixels", lambda picture: real(picture)[..., :64, :64])
    small = cache.encode(klein, crops, tmp_path, references=True)
    new = {path.name for path in tmp_path.iterdir()} - before
    assert len(new) == 2 and all(name.startswith("reference-") for name in new)
    assert {tuple(p.mean_CHW.shape) for p in small.photos} == {(4, 8, 8)}
    monkeypatch.setattr(klein, "load", lambda _: pytest.fail("nothing is missing"))
    again = cache.encode(klein, crops, tmp_path, references=True)
    assert all(torch.equal(a.mean_CHW, b.mean_CHW) for a, b in zip(small.photos, again.photos, strict=True))


def test_what_cannot_be_is_refused(
    klein: Any, tiny_sd15: SD15, crops: list[CaptionedCrop], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"does not take reference photos.*got sd15; needed flux2"):
        train(tiny_sd15, crops, tmp_path / "sd15", PLAN)
    with pytest.raises(InputError, match="no other photo"):
        train(klein, crops[:2], tmp_path / "one", PLAN)
    with pytest.raises(InputError, match="max_references"):
        recipe(references=0.5, max_references=0)
    rows = [PromptCondition(torch.zeros(1, 2, 3), references=(torch.zeros(1, 4, 4, s),)) for s in (4, 6)]
    with pytest.raises(ValueError, match="same sizes"):
        PromptCondition.batch(rows)
    both = PromptCondition.batch([rows[0], rows[0]]).to(torch.device("cpu"))
    assert [tuple(one.shape) for one in both.references] == [(2, 4, 4, 4)]
    assert not list(tmp_path.iterdir())
