"""Training beside photos that the text encoder sees: what is trained is what diffusers' own pipeline draws.

The networks are random and tiny: this shows that the pieces fit together, not that a face is kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as edit_plus
from PIL import Image
from tiny_families import heedful, make_tiny
from torch import Tensor

from portrait_lora.errors import ArtifactError
from portrait_lora.families import open_family
from portrait_lora.families.catalog import resolve_base
from portrait_lora.families.family import Family
from portrait_lora.records import CaptionedCrop, TrainResult
from portrait_lora.tasks.verify.reference import plain_pipeline
from portrait_lora.training import cache
from portrait_lora.training.adapter import add_adapter
from portrait_lora.training.draws import Draw, draw, prompts_beside
from portrait_lora.training.member import Member
from portrait_lora.training.run import encoded, train
from portrait_lora.training.together import train_together
from tests.recipes import recipe
from tests.training.by_the_book import TextbookAdamW, model_space, put_loras
from tests.training.test_references import crops, losses, shown_files  # noqa: F401 - a fixture

STEPS, BATCH, RANK, ALPHA, RATE, DECAY = 3, 2, 4, 2.0, 5e-3, 0.01
PLAN = recipe(
    rank=RANK, alpha=ALPHA, seed=5, learning_rate=RATE, batch_size=BATCH, steps=STEPS, caption_dropout=0.4,
    warmup_steps=0, weight_decay=DECAY, references=0.8, max_references=2,
)  # fmt: skip
NONE: tuple[str, ...] = ()


@pytest.fixture(autouse=True, scope="module")
def small() -> Iterator[None]:
    """Photos are shown in about 64 × 64 px, so that a step takes no second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edit_plus, "VAE_IMAGE_SIZE", 64 * 64)
        patch.setattr(edit_plus, "CONDITION_IMAGE_SIZE", 64 * 64)
        yield


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("edit") / "base"
    return open_family(resolve_base(heedful(make_tiny("qwen_image_edit", folder), contrast=2.0)))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of all trainings."""
    return tmp_path_factory.mktemp("cache")


class ByPipeline:
    """Loss of a sample through diffusers' own pipeline pieces, with and without the adapter's layers."""

    def __init__(self, family: Family, starts: dict[str, Tensor]):
        self.pipe = plain_pipeline(family.base.source)
        self.bare = deepcopy(self.pipe.transformer)
        self.weights = put_loras(self.pipe.transformer, starts, ALPHA)

    def answer(self, net: Any, noisy: Tensor, level: float, caption: str, photos: Sequence[Path]) -> Tensor:
        """What the denoising loop of the pipeline calls a prediction, with these files as `image`."""
        pipe, (height, width) = self.pipe, noisy.shape[-2:]
        prepared: list[Tensor] = []
        resized: list[Any] = []
        shapes = [(1, height // 2, width // 2)]
        for path in photos:
            picture = Image.open(path).convert("RGB")
            wide, high = edit_plus.calculate_dimensions(64 * 64, picture.width / picture.height)
            resized.append(pipe.image_processor.resize(picture, high, wide))
            prepared.append(pipe.image_processor.preprocess(picture, high, wide).unsqueeze(2))
            shapes.append((1, high // 16, wide // 16))
        here = pipe._pack_latents(noisy, *noisy.shape)
        sizes = (8 * height, 8 * width)
        shared: Any = (1, noisy.shape[1], *sizes, torch.float32, "cpu", None, here)
        _, behind = pipe.prepare_latents(prepared or None, *shared)
        with torch.no_grad():
            prompt, mask = pipe.encode_prompt([caption], image=resized or None, device=torch.device("cpu"))
        velocity = net(
            hidden_states=here if behind is None else torch.cat([here, behind], 1),
            timestep=torch.tensor([level]),
            encoder_hidden_states=prompt,
            encoder_hidden_states_mask=mask,
            img_shapes=[shapes],
            return_dict=False,
        )[0][:, : here.shape[1]]
        return pipe._unpack_latents(velocity, *sizes, 8).squeeze(2)

    def loss(self, drawn: Draw, photos: Sequence[Path], region: str) -> Tensor:
        sample, noise, level = drawn.sample, drawn.noise_CHW[None], drawn.noise_level
        raw = (sample.mean_CHW + sample.std_CHW * drawn.posterior_CHW)[None]
        x0 = model_space("qwen_image_edit", self.pipe.vae, raw)
        noisy, target = (1 - level) * x0 + level * noise, noise - x0
        seen = (noisy, level, "" if drawn.dropped else sample.caption, photos)
        if region == "person" and sample.mask_1HW is not None:
            with torch.no_grad():
                kept = self.answer(self.bare, *seen)
            target = sample.mask_1HW * target + (1 - sample.mask_1HW) * kept
        return ((self.answer(self.pipe.transformer, *seen) - target) ** 2).mean()


@pytest.mark.parametrize("region", ["picture", "person"])
def test_steps_are_those_of_the_pipelines_own_pieces(
    family: Any, crops: list[CaptionedCrop], kept: Path, tmp_path: Path, region: Any  # noqa: F811
) -> None:  # fmt: skip
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
    encodings = encoded(family, crops, kept, plan)
    book, expected, otherwise = ByPipeline(family, starts), list[float](), list[float]()
    optimizer, kinds = TextbookAdamW(book.weights, DECAY, max_norm=1.0), set[tuple[int, bool]]()
    for step in range(STEPS):
        drawn = [draw(plan, encodings, family.schedule, step, slot) for slot in range(BATCH)]
        files = [shown_files(encodings, crops, one) for one in drawn]
        kinds |= {(len(own), one.dropped) for own, one in zip(files, drawn, strict=True)}
        own = [book.loss(d, f, region) for d, f in zip(drawn, files, strict=True)]
        with torch.no_grad():
            turned = [book.loss(d, f[::-1], region) for d, f in zip(drawn, files, strict=True)]
        expected.append(sum(one.item() for one in own) / BATCH)
        otherwise.append(sum(one.item() for one in turned) / BATCH)
        optimizer.step(sum(own, torch.zeros(())) / BATCH, RATE)
    assert {count for count, _ in kinds} == {0, 1, 2} and any(c and dropped for c, dropped in kinds)
    torch.testing.assert_close(losses(tmp_path / "run"), expected, rtol=2e-6, atol=0.0)
    assert max(abs(a - b) / b for a, b in zip(otherwise, expected, strict=True)) > 1e-5


def test_a_prompt_beside_other_photos_is_another_entry(
    family: Any, crops: list[CaptionedCrop], tmp_path: Path, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    """By base, caption, photos and their order; each is read beside its own, and once."""
    encodings = encoded(family, crops, tmp_path, PLAN)
    assert encodings.beside is not None
    keys = [photo.key for photo in encodings.photos]
    several = [
        *((caption, shown) for caption in ("a", "b") for shown in itertools.permutations(keys, 2)),
        *(("a", (key,)) for key in keys),
        ("a", NONE),
    ]
    paths = [cache.PromptsBeside(tmp_path, base).path(one) for base in ("x", "y") for one in several]
    assert len(set(paths)) == len(paths)
    files = {sample.key: crop.path for sample, crop in zip(encodings.samples, crops, strict=True)}
    wanted = prompts_beside(PLAN, encodings, family.schedule)
    assert {path.name for path in tmp_path.glob("beside-*")} == {
        encodings.beside.path(one).name for one in wanted
    }
    assert any(caption == "" for caption, _ in wanted) and all(shown for _, shown in wanted)
    family.load("encoders")
    for caption, shown in sorted(wanted):
        pictures = [Image.open(files[key]).convert("RGB") for key in shown]
        own, read = family.encode_prompts_beside([caption], pictures), encodings.beside.read((caption, shown))
        assert torch.equal(own.embeds_BLD, read.embeds_BLD)
        assert read.mask_BL is not None and read.mask_BL.all()
    family.load("none")
    monkeypatch.setattr(family, "load", lambda _: pytest.fail("nothing is missing"))
    encoded(family, crops, tmp_path, PLAN)
    monkeypatch.undo()
    damaged, gone, *_ = sorted(wanted)
    before = encodings.beside.path(damaged).read_bytes()
    encodings.beside.path(damaged).write_bytes(before[:-8])
    encodings.beside.path(gone).unlink()
    for one in (damaged, gone):
        with pytest.raises(ArtifactError, match="an encoded prompt cannot be read"):
            encodings.beside.read(one)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edit_plus, "VAE_IMAGE_SIZE", 64 * 64)
        patch.setattr(edit_plus, "CONDITION_IMAGE_SIZE", 64 * 64)
        encoded(family, crops, tmp_path, PLAN)
    assert encodings.beside.path(damaged).read_bytes() == before
    assert encodings.beside.read(gone).embeds_BLD.isfinite().all()


def test_without_references_nothing_is_read_beside_photos_and_old_entries_keep_their_names(
    family: Any, crops: list[CaptionedCrop], tmp_path: Path  # noqa: F811
) -> None:  # fmt: skip
    encodings = encoded(family, crops, tmp_path, replace(PLAN, references=0.0))
    assert encodings.beside is None and encodings.photos == ()
    kinds = {path.name.partition("-")[0] for path in tmp_path.iterdir()}
    assert kinds == {"latents", "prompt"}
    assert cache._entry("prompt", "b", "a") == "prompt-da661a3f2e7a09cb85cd1a76c4a9a5de.safetensors"
    assert cache._entry("latents", "b", "a") == "latents-97691bf3170956afd1e412bbcf2a4619.safetensors"
    assert cache._entry("reference", "b", "a") == "reference-9314196df1f20b2d30adc839bc206fe1.safetensors"


def test_a_killed_run_a_streamed_one_and_one_in_company_end_the_same(
    family: Any, crops: list[CaptionedCrop], kept: Path, tmp_path: Path  # noqa: F811
) -> None:  # fmt: skip
    """Killed to the bit; in company but for the rounding of larger batches, from files for that of sums."""

    def trained(out: str, plan: Any = PLAN, **more: Any) -> TrainResult:
        return train(family, crops, tmp_path / out, plan, checkpoint_steps=(2,), cache_dir=kept, **more)

    def die(adapter: object) -> None:
        raise RuntimeError("killed")

    straight = trained("straight").checkpoints[-1].path
    with pytest.raises(RuntimeError, match="killed"):
        trained("killed", on_checkpoint=die)
    again = trained("killed")
    assert again.resumed_from == 2 and again.checkpoints[-1].path.read_bytes() == straight.read_bytes()
    family.streamed = True
    try:
        trained("streamed", gradient_checkpointing=1.0)
    finally:
        family.streamed = False
    torch.testing.assert_close(
        losses(tmp_path / "streamed"), losses(tmp_path / "straight"), rtol=1e-6, atol=0
    )
    plans = [PLAN, replace(PLAN, seed=6), replace(PLAN, seed=7, references=0.0)]
    group = [Member(crops=crops, out_dir=tmp_path / str(p.seed), recipe=p, cache_dir=kept) for p in plans]
    results = train_together(family, group, seats=3)
    for one, result in zip(group, results, strict=True):
        assert isinstance(result, TrainResult)
        if one.recipe != PLAN:
            trained(f"alone-{one.recipe.seed}", one.recipe)
        alone = tmp_path / ("straight" if one.recipe == PLAN else f"alone-{one.recipe.seed}")
        torch.testing.assert_close(losses(one.out_dir), losses(alone), rtol=1e-5, atol=1e-6)
