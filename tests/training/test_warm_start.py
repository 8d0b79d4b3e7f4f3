"""A warm start: an adapter begins where the embedding of the person says, and trains on from there."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import make_crops
from torch import Tensor

from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.families.family import Geometry
from portrait_lora.families.sd15 import SD15
from portrait_lora.training import warm_start
from portrait_lora.training.adapter import add_adapters
from portrait_lora.training.member import Member
from portrait_lora.training.recipe import Recipe
from portrait_lora.training.run import train
from portrait_lora.training.together import train_together
from portrait_lora.training.warm_start import Start
from scripts.train.warm_start import conditioned
from tests.recipes import recipe

RANK, COORDINATES, WIDTH = 2, 3, 5
ABOUT = {"base": "b", "embedder": "e", "people": 9}
ADA = np.array([0.9, -0.2, 0.1, 0.3, 0.2], dtype=np.float32)
BO = np.array([-0.2, 0.8, 0.3, -0.3, 0.1], dtype=np.float32)


def answers(family: SD15) -> Tensor:
    """What the denoiser says to three noisy pictures."""
    draw = torch.Generator().manual_seed(3)
    noisy = torch.randn(3, 4, 16, 16, generator=draw)
    with torch.no_grad():
        condition = family.encode_prompts(["ohwx person", "", "portrait"])
        place = Geometry((64, 64), (0, 0), (64, 64))
        return family.predict(noisy, torch.tensor([10, 400, 900]), condition, [place] * 3)


@pytest.fixture(scope="module")
def learned(tiny_sd15: SD15, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tensor]]:
    """A file as the script writes it, and what the conditioned network itself says for two people."""
    tiny_sd15.load("none")
    tiny_sd15.load("denoiser_and_text")
    modules, person = conditioned.add(
        tiny_sd15, recipe(rank=RANK, targets="attention_and_conv", seed=4), COORDINATES
    )
    draw = torch.Generator().manual_seed(1)
    for parameter in modules.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=draw) * 0.1)
    middle, along = torch.randn(WIDTH, generator=draw) * 0.1, torch.randn(COORDINATES, WIDTH, generator=draw)
    expected: dict[str, Tensor] = {}
    for name, embedding in (("ada", ADA), ("bo", BO)):
        z = along @ (torch.from_numpy(embedding) - middle)
        assert float(z.abs().max()) < 3
        person.coordinates_BK = z.expand(3, -1)
        expected[name] = answers(tiny_sd15)
    file = tmp_path_factory.mktemp("warm") / "warm.safetensors"
    tensors = conditioned.tensors(modules) | {warm_start.MIDDLE: middle, warm_start.DIRECTIONS: along}
    save_file(tensors, file, {"warm_start": json.dumps(ABOUT)})
    tiny_sd15.load("none")
    return file, expected


Train = Callable[..., Path]


def of(recipe_: Recipe, folder: Path, family: SD15, steps: int | None = None) -> Path:
    """Train a recipe and return the file of the last checkpoint."""
    wanted = recipe_ if steps is None else replace(recipe_, steps=steps)
    done = train(family, make_crops(folder / "crops"), folder / "run", wanted, cache_dir=folder / "cache")
    return done.checkpoints[-1].path


@pytest.mark.parametrize(("rank", "alpha"), [(RANK, 2.0), (5, 1.0)])
def test_the_first_values_are_those_of_the_person_at_any_scale(
    tiny_sd15: SD15, learned: tuple[Path, dict[str, Tensor]], rank: int, alpha: float
) -> None:
    """Of the network that saw everybody's gates, and of nobody else; further ranks add nothing at first."""
    file, expected = learned
    for name, embedding, other in (("ada", ADA, "bo"), ("bo", BO, "ada")):
        start = warm_start.read(file).start(embedding)
        tiny_sd15.load("none")
        tiny_sd15.load("denoiser_and_text")
        bare = answers(tiny_sd15)
        add_adapters(tiny_sd15, recipe(rank=rank, alpha=alpha, targets="attention_and_conv", start=start))
        here = answers(tiny_sd15)
        torch.testing.assert_close(here, expected[name], rtol=1e-4, atol=1e-5)
        assert (here - expected[other]).abs().max() > 1e-3 and (here - bare).abs().max() > 1e-3
    tiny_sd15.load("none")


def test_alone_and_with_others_from_a_start(
    tiny_sd15: SD15, learned: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    """The same bytes; another start is another run, which a checkpoint does not go on with."""
    start = warm_start.read(learned[0]).start(ADA)
    settings = recipe(rank=4, alpha=2.0, targets="attention_and_conv", steps=2, batch_size=2, start=start)
    alone = of(settings, tmp_path / "alone", tiny_sd15)
    member = Member(
        crops=make_crops(tmp_path / "alone/crops"), out_dir=tmp_path / "group", recipe=settings,
        cache_dir=tmp_path / "alone/cache",
    )  # fmt: skip
    (with_others,) = train_together(tiny_sd15, [member], seats=1)
    assert not isinstance(with_others, Exception)
    first, second = load_file(alone), load_file(with_others.checkpoints[-1].path)  # type: ignore[union-attr]
    assert all(torch.equal(first[k], second[k]) for k in first)
    cold = load_file(of(replace(settings, start=None), tmp_path / "cold", tiny_sd15))
    assert any((first[k] - cold[k]).abs().max() > 1e-2 for k in first)
    other = replace(settings, start=warm_start.read(learned[0]).start(BO), steps=3)
    for changed in (other, replace(settings, start=None, steps=3)):
        with pytest.raises(InputError, match="trained with other settings"):
            of(changed, tmp_path / "alone", tiny_sd15)
    of(settings, tmp_path / "alone", tiny_sd15, steps=3)


def test_somebody_unlike_all_others_is_not_extrapolated(learned: tuple[Path, dict[str, Tensor]]) -> None:
    """Coordinates are cut at three standard deviations of people."""
    warm = warm_start.read(learned[0])
    far, farther = (warm.start(warm.tensors[warm_start.MIDDLE].numpy() + ADA * s) for s in (40.0, 80.0))
    assert far.digest == farther.digest != warm.start(ADA).digest
    assert all(torch.equal(far.layers[n][1], farther.layers[n][1]) for n in far.layers)


def test_what_does_not_fit_is_refused(
    tiny_sd15: SD15, learned: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    file, _ = learned
    start = warm_start.read(file).start(ADA)
    for changes, what in (
        ({"rank": 1}, "higher rank"),
        (
            {"start": Start({"elsewhere": start.layers[next(iter(start.layers))]}, "d")},
            "none of these layers",
        ),
        ({"start": Start({n: (a[:, :1], b) for n, (a, b) in start.layers.items()}, "d")}, "another network"),
    ):
        settings = recipe(**{"rank": 2, "targets": "attention_and_conv", "start": start} | changes)
        with pytest.raises(InputError, match=what):
            of(settings, tmp_path / what.replace(" ", ""), tiny_sd15)
    for changes in ({"dora": True}, {"adapter_kind": "loha"}):
        with pytest.raises(InputError, match="plain LoRA"):
            recipe(start=start, **changes)
    with pytest.raises(InputError, match="other embeddings"):
        warm_start.read(file).start(ADA[:4])


def test_a_file_that_is_no_warm_start(learned: tuple[Path, dict[str, Tensor]], tmp_path: Path) -> None:
    whole = load_file(learned[0])
    broken = tmp_path / "broken.safetensors"
    about = {"warm_start": json.dumps(ABOUT)}
    gate = next(k for k in whole if k.endswith(".gate.weight"))
    for tensors, facts, what in (
        ({k: v for k, v in whole.items() if k != gate}, about, "damaged"),
        (whole | {gate: whole[gate] * float("nan")}, about, "damaged"),
        ({k: v for k, v in whole.items() if k != warm_start.DIRECTIONS}, about, "damaged"),
        (whole, {}, "not a warm start"),
        (whole, {"warm_start": "{}"}, "not a warm start.*does not name"),
        (whole, {"warm_start": "[]"}, "not a warm start.*does not name"),
    ):
        save_file(tensors, broken, facts)
        with pytest.raises(ArtifactError, match=what):
            warm_start.read(broken)
    broken.write_bytes(learned[0].read_bytes()[:-50])
    with pytest.raises(ArtifactError, match="not a warm start"):
        warm_start.read(broken)
