"""Photos of the person in context: what the pipelines of FLUX.2 are called with, and what comes of it.

The networks are random and tiny: this shows that the pieces fit together, not that a face is kept.
"""

from __future__ import annotations

import functools
import itertools
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu
from PIL import Image

from portrait_lora import provenance, record_limits
from portrait_lora.errors import ArtifactError, ConfigError, InputError
from portrait_lora.families import open_family
from portrait_lora.families.catalog import resolve_base
from portrait_lora.generation import drawing, edits, in_context, remake, sample
from portrait_lora.records import Portrait, Shot
from tests.recipes import sampler as make_sampler
from tests.tiny_catalogue import write_repository
from tests.tiny_families import heedful, make_tiny

SAMPLER = make_sampler(2, 1.0)
SHOTS = [Shot(f"{i}-shot", f"headshot {i} of a man", "", (64, 64), 40 + i) for i in range(3)]
SHAPES = ((64, 80, 3), (100, 70, 4), (64, 64))
"""Of the photos: colour, with alpha and sides that are no multiples, and grey."""


@pytest.fixture(scope="module", params=["klein", "dev"])
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    if request.param == "klein":
        return request.getfixturevalue("klein")
    folder = tmp_path_factory.mktemp("flux2") / "base"
    return _opened(write_repository("black-forest-labs/FLUX.2-dev", "flux2", folder))


@pytest.fixture(scope="module")
def klein(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return _opened(make_tiny("flux2", tmp_path_factory.mktemp("klein") / "base"))


def _opened(folder: Path) -> Any:
    return open_family(resolve_base(heedful(folder)))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(3)
    paths = [folder / f"{i}.png" for i in range(len(SHAPES))]
    for path, shape in zip(paths, SHAPES, strict=True):
        coarse = random.integers(0, 2, (4, 4, 4), dtype=np.uint8) * 255
        small = np.array(Image.fromarray(coarse).resize((shape[1], shape[0]), Image.Resampling.NEAREST))
        small = small[..., : shape[2]] if len(shape) == 3 else small[..., 0]
        if len(shape) == 3 and shape[2] == 4:
            small[..., 3] = 255
        Image.fromarray(small).save(path)
    return paths


def _pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def _draw(family: Any, folder: Path, shown: Sequence[Sequence[Path]], **more: Any) -> list[Portrait]:
    shots = SHOTS[: len(shown)]
    references = {shot.name: own for shot, own in zip(shots, shown, strict=True)}
    return sample.generate(family, None, shots, folder, SAMPLER, references=references, **more)


def test_the_pipeline_is_called_with_the_photos_in_order_and_whole(
    family: Any, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe, calls = drawing.open_pipeline(family, None, SAMPLER), list[dict[str, Any]]()
    answers: list[np.ndarray] = []
    real = type(pipe).__call__

    @functools.wraps(real)
    def watched(self: Any, **arguments: Any) -> Any:
        calls.append(arguments)
        answer = real(self, **arguments)
        answers.append(answer.images)
        return answer

    monkeypatch.setattr(type(pipe), "__call__", watched)
    shown = replace(SAMPLER, references=tuple(photos[i] for i in (2, 0, 1)))
    drawing.from_text(pipe, SHOTS[:2], shown)
    images = calls[0]["image"]
    assert [(one.mode, one.size) for one in images] == [
        ("RGB", (64, 64)),
        ("RGB", (80, 64)),
        ("RGB", (70, 100)),
    ]
    for image, path in zip(images, shown.references, strict=True):
        assert np.array_equal(np.asarray(image), _pixels(path))
    assert (calls[0]["width"], calls[0]["height"], len(calls[0]["prompt"])) == (64, 64, 2)
    drawing.from_text(pipe, SHOTS[1:2], SAMPLER)
    assert "image" not in calls[1]
    photos_HWC = [_pixels(path) for path in shown.references]
    straight = _straight(pipe, SHOTS[1], photos_HWC)
    others = [answers[1][0], _straight(pipe, SHOTS[1], photos_HWC[::-1])]
    error = np.abs(answers[0][1] - straight).max()
    assert error < 1e-4 and all(np.abs(other - straight).max() > 10 * error for other in others)
    counted: list[int] = []
    drawing.from_text(
        pipe, SHOTS[:2], replace(shown, references_until=0.5), on_step=lambda: counted.append(1)
    )
    early, others = _straight(pipe, SHOTS[1], photos_HWC, shown=1), [straight, answers[1][0]]
    error = np.abs(answers[2][1] - early).max()
    assert error < 1e-4 and all(np.abs(other - early).max() > 10 * error for other in others)
    drawing.from_text(pipe, SHOTS[:2], shown)  # nothing is left of it
    assert np.array_equal(answers[3], answers[0]) and len(counted) == SAMPLER.steps


@torch.no_grad()
def _straight(pipe: Any, shot: Shot, photos: Sequence[np.ndarray], shown: int = 99) -> np.ndarray:
    """One picture by straight lines from noise to 0, with the tokens of the photos behind its own.

    They are `shown` during so many steps.
    """

    def tokens(latents_1CHW: torch.Tensor, time: int) -> tuple[torch.Tensor, torch.Tensor]:
        _, channels, high, wide = latents_1CHW.shape
        rows, columns = torch.meshgrid(torch.arange(high), torch.arange(wide), indexing="ij")
        at = torch.stack([torch.full_like(rows, time), rows, columns, torch.zeros_like(rows)], -1)
        return latents_1CHW.reshape(1, channels, -1).transpose(1, 2), at.reshape(1, -1, 4)

    text, text_at = pipe.encode_prompt([shot.prompt], device="cpu")
    norm = pipe.vae.bn
    spread = torch.sqrt(norm.running_var + pipe.vae.config.batch_norm_eps).view(1, -1, 1, 1)
    middle = norm.running_mean.view(1, -1, 1, 1)
    noise = torch.randn((1, 16, 4, 4), generator=torch.Generator().manual_seed(shot.seed))
    here, at = tokens(noise, 0)
    behind: list[tuple[torch.Tensor, torch.Tensor]] = []
    for number, photo in enumerate(photos, 1):
        high, wide = (side // 16 * 16 for side in photo.shape[:2])
        top, left = (photo.shape[0] - high) // 2, (photo.shape[1] - wide) // 2
        cut = torch.tensor(photo[top : top + high, left : left + wide] / 127.5 - 1, dtype=torch.float32)
        latents = pipe.vae.encode(cut.permute(2, 0, 1)[None]).latent_dist.mode()
        patches = torch.nn.functional.pixel_unshuffle(latents, 2)
        behind.append(tokens((patches - middle) / spread, 10 * number))
    steps = SAMPLER.steps
    schedule = diffusers.FlowMatchEulerDiscreteScheduler.from_config(pipe.scheduler.config)
    sigmas, mu = np.linspace(1.0, 1 / steps, steps), compute_empirical_mu(here.shape[1], steps)
    schedule.set_timesteps(sigmas=sigmas, mu=mu)
    guided = torch.tensor([SAMPLER.guidance_scale]) if pipe.transformer.config.guidance_embeds else None
    for step, (level, after) in enumerate(itertools.pairwise(schedule.sigmas)):
        beside = behind if step < shown else []
        velocity = pipe.transformer(
            hidden_states=torch.cat([here, *(one for one, _ in beside)], 1),
            timestep=level.reshape(1),
            guidance=guided,
            encoder_hidden_states=text,
            txt_ids=text_at,
            img_ids=torch.cat([at, *(one for _, one in beside)], 1),
            return_dict=False,
        )[0][:, : here.shape[1]]
        here = here + (after - level) * velocity
    latents = here.transpose(1, 2).reshape(1, 16, 4, 4) * spread + middle
    drawn = pipe.vae.decode(torch.nn.functional.pixel_shuffle(latents, 2)).sample[0]
    return (drawn / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).numpy()


Drawn = tuple[list[Path], list[list[Path]]]


@pytest.fixture(scope="module")
def drawn(klein: Any, photos: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    """Three pictures in batches of at most four, and what was shown for each."""
    a, b, _ = photos
    shown = [[a, b], [b], [a, b]]
    return [p.path for p in _draw(klein, tmp_path_factory.mktemp("drawn"), shown, batch_size=4)], shown


def test_references_decide_in_their_order_and_a_batch_changes_nothing(
    klein: Any, photos: list[Path], drawn: Drawn, tmp_path: Path
) -> None:
    mixed, shown = drawn
    single = [p.path for p in _draw(klein, tmp_path / "single", shown[:2], batch_size=1)]
    for one, other in zip(mixed, single, strict=False):
        assert np.abs(_pixels(one) - _pixels(other)).max() <= 1
    for name, others, least in (
        ("turned", [photos[1], photos[0]], 1),
        ("one", [photos[1]], 3),
        ("plain", [], 3),
    ):
        other = _draw(klein, tmp_path / name, [others])[0].path
        assert np.abs(_pixels(mixed[0]) - _pixels(other)).max() >= least, name
    conditions = [provenance.read_record(path)["made"] for path in mixed]
    assert [(m["batch_size"], m["batch_index"]) for m in conditions] == [(2, 0), (1, 0), (2, 1)]  # type: ignore[index]


def test_the_record_holds_them_in_order_and_makes_the_picture_again(
    klein: Any, photos: list[Path], drawn: Drawn, tmp_path: Path
) -> None:
    known = {one: path for path in photos for one in in_context.recorded(in_context.digests_of([path]))}
    records = [provenance.read_record(path) for path in drawn[0]]
    assert [[known[d] for d in in_context.recorded(r)] for r in records] == drawn[1]
    record_limits.refuse(records[2])
    again = remake.remake(klein, records[2], None, known.get)
    assert remake.compare(Image.open(drawn[0][2]), again, records[2]).same
    early = replace(SAMPLER, references_until=0.5)
    path = sample.generate(klein, None, SHOTS[:2], tmp_path, early, references={SHOTS[0].name: photos[:1]})[
        0
    ].path
    record, other = provenance.read_record(path), provenance.read_record(tmp_path / f"{SHOTS[1].name}.png")
    assert record[in_context.UNTIL] == 0.5 and in_context.UNTIL not in {*other, *records[0]}
    again = remake.remake(klein, record, None, known.get)
    assert remake.compare(Image.open(path), again, record).same
    whole = remake.remake(klein, {**record, in_context.UNTIL: 1.0}, None, known.get)
    assert not remake.compare(Image.open(path), whole, record).same
    with pytest.raises(ArtifactError, match=in_context.UNTIL):
        record_limits.refuse(record | {in_context.UNTIL: 2.0})
    assert in_context.UNTIL not in edits.edit_record("vary", Image.open(path), record, record, strength=0.5)
    gone = in_context.recorded(records[0])[1]
    with pytest.raises(InputError, match=r"1 of 2 reference photos.*--reference FILE"):
        remake.remake(klein, records[0], None, lambda digest: None if digest == gone else known[digest])
    for value in ("a" * 64, [], ["a" * 65], ["a"] * 9, [3]):
        with pytest.raises(ArtifactError, match=in_context.KEY):
            record_limits.refuse(records[0] | {in_context.KEY: value})
    edited = edits.edit_record("vary", Image.open(drawn[0][0]), records[0], records[0], strength=0.5)
    assert in_context.KEY not in edited and edited["parent"] == records[0]


def test_what_changed_alone_is_drawn_anew(
    klein: Any, photos: list[Path], drawn: Drawn, tmp_path: Path
) -> None:
    a, b, _ = photos
    shutil.copytree(drawn[0][0].parent, tmp_path / "copy")
    for shown, anew in (
        ([[a, b], [b], [a, b]], []),
        ([[a, b], [b], [b, a]], [2]),
        ([[a, b], [b], []], [2]),
    ):
        seen: list[str] = []
        _draw(
            klein, tmp_path / "copy", shown, batch_size=4, on_drawn=lambda p, _, s=seen: s.append(p.shot.name)
        )
        assert seen == [SHOTS[i].name for i in anew]
    assert in_context.KEY not in provenance.read_record(tmp_path / "copy" / f"{SHOTS[2].name}.png")


def test_what_cannot_be_shown_is_refused(
    klein: Any, photos: list[Path], tmp_path: Path, refusing: Callable[[str], Any]
) -> None:
    shown = replace(SAMPLER, references=(photos[0],))
    with pytest.raises(ConfigError, match=r"does not take reference photos: got z_image; needed flux2"):
        drawing.open_pipeline(refusing("z_image"), None, shown)
    with pytest.raises(ConfigError, match="at most 8"):
        drawing.open_pipeline(klein, None, replace(SAMPLER, references=tuple(photos * 3)))
    (tmp_path / "text.png").write_text("no picture")
    Image.new("RGB", (63, 200)).save(tmp_path / "thin.png")
    for name, message in (("text", "cannot be read"), ("thin", "too small")):
        with pytest.raises(InputError, match=message):
            in_context.read_references([tmp_path / f"{name}.png"])


@pytest.fixture
def refusing() -> Callable[[str], Any]:
    """A family of which only the name is asked."""

    class Named:
        def __init__(self, family: str) -> None:
            self.base = self
            self.family = family

    return Named


def test_a_picture_as_a_reference_is_no_image_to_image(family: Any) -> None:
    """diffusers answers with a pipeline that knows no strength: it would draw somebody else's composition."""
    pipe, picture = family.pipeline(None), Image.new("RGB", (64, 64))
    with pytest.raises(InputError, match="no image-to-image"):
        drawing.from_picture(pipe, picture, SHOTS[0], SAMPLER, 0.3)
    with pytest.raises(InputError, match="no inpainting"):
        drawing.inside(pipe, picture, Image.new("L", (64, 64), 255), SHOTS[0], SAMPLER, 0.3)
