"""Several people in one pass: each adapter is that of training alone, and nobody depends on the others."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny_families import make_tiny
from tiny_models import make_crops

from portrait_lora.errors import InputError, Interrupted, PortraitError
from portrait_lora.families import open_family
from portrait_lora.families.catalog import resolve_base
from portrait_lora.families.family import Family, PromptCondition
from portrait_lora.families.sd15 import SD15
from portrait_lora.records import Adapter, TrainResult
from portrait_lora.training import cache
from portrait_lora.training import member as members_of
from portrait_lora.training.member import Member
from portrait_lora.training.run import train
from portrait_lora.training.together import Outcome, train_together, why_alone
from portrait_lora.training.update import Updater
from tests.recipes import recipe

MIXED = ((64, 64), (64, 64), (48, 80))
TOLERANCE = 1e-5
Make = Callable[..., Member]


@pytest.fixture
def person(tmp_path: Path) -> Make:
    """A person with photos of their own, by number; settings of the recipe may be changed."""

    def make(i: int, out: str, sizes: tuple[tuple[int, int], ...] = MIXED, **changes: Any) -> Member:
        settings = {
            "rank": 4, "alpha": 2.0, "targets": "attention_and_conv", "learning_rate": 5e-3, "batch_size": 2,
            "steps": 4, "seed": 5 + i, "caption_dropout": 0.3, "weight_decay": 0.01, "ema_decay": 0.9,
        } | changes  # fmt: skip
        return Member(
            crops=make_crops(tmp_path / f"crops{i}-{len(sizes)}", sizes, seed=i),
            out_dir=tmp_path / out / str(i),
            recipe=recipe(**settings),
            checkpoint_steps=(2,),
            cache_dir=tmp_path / f"cache{i}",
            dataset_digest="d",
        )

    return make


def alone(family: Family, one: Member) -> TrainResult:
    """The same person trained alone, beside the folder of the group."""
    return train(
        family, one.crops, one.out_dir.parent.with_name("alone") / one.out_dir.name, one.recipe,
        checkpoint_steps=one.checkpoint_steps, cache_dir=one.cache_dir, dataset_digest=one.dataset_digest,
    )  # fmt: skip


def trained(outcome: Outcome) -> TrainResult:
    assert isinstance(outcome, TrainResult), outcome
    return outcome


def difference(a: TrainResult, b: TrainResult) -> float:
    """|a - b| / |b| of the last adapters, over all of their numbers."""
    first, second = (load_file(r.checkpoints[-1].path) for r in (a, b))
    assert first.keys() == second.keys() and len(first) > 8
    off = sum(float((first[k] - second[k]).square().sum()) for k in first)
    return (off / sum(float(t.square().sum()) for t in second.values())) ** 0.5


def files(result: TrainResult) -> dict[str, bytes]:
    """Everything that a run leaves behind and that others read."""
    folder = result.checkpoints[-1].path.parents[2]
    paths = [*sorted(folder.glob("checkpoints/*/*")), folder / "metrics.jsonl"]
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths if p.name != "manifest.json"}


def test_with_one_person_per_pass_every_file_is_that_of_training_alone(tiny_sd15: SD15, person: Make) -> None:
    """Names, order, first values, draws, losses, clipping, optimizer, average: bit for bit.

    Two seats for three people of unequal length: one enters when another has left.
    """
    sizes = ((64, 64), (64, 64))
    group = [person(i, "group", sizes, steps=steps) for i, steps in enumerate((2, 4, 3))]
    together = train_together(tiny_sd15, group, seats=2, room=2)
    for one, result in zip(group, together, strict=True):
        solo = alone(tiny_sd15, one)
        assert replace(trained(result), checkpoints=()) == replace(solo, checkpoints=())
        assert files(trained(result)) == files(solo)
        assert len(files(solo)) == 2 * 3 + 1 if one.recipe.steps > 2 else 4


def test_in_one_pass_every_adapter_is_that_of_training_alone_but_for_rounding(
    tiny_sd15: SD15, person: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of other lengths, batches, pictures of several sizes, and empty prompts."""
    encode = cache.encode

    def own_empty(family: Family, crops: Any, *more: Any, **named: Any) -> cache.Encodings:
        torch.manual_seed(int(crops[0].path.parent.name[5]))
        encodings = encode(family, crops, *more, **named)
        empty = torch.randn_like(encodings.empty.embeds_BLD)
        return replace(encodings, empty=PromptCondition(empty))

    monkeypatch.setattr(cache, "encode", own_empty)
    group = [person(0, "group"), person(1, "group", batch_size=1), person(2, "group", steps=3)]
    rows = Rows(tiny_sd15)
    with rows.watched():
        together = train_together(tiny_sd15, group, seats=3)
    assert max(rows.seen) > 2
    for one, result in zip(group, together, strict=True):
        assert difference(trained(result), alone(tiny_sd15, one)) < TOLERANCE
    assert difference(trained(together[0]), trained(together[2])) > 0.1


class Rows:
    """How many rows the denoiser was asked for at a time; above `most` there is no memory."""

    def __init__(self, family: Family, most: int = 1000):
        self.family, self.most, self.seen = family, most, list[int]()

    @contextmanager
    def watched(self) -> Iterator[None]:
        ask = self.family.predict

        def predict(noisy: torch.Tensor, *more: Any) -> torch.Tensor:
            self.seen.append(noisy.shape[0])
            if noisy.shape[0] > self.most:
                raise torch.OutOfMemoryError("no room")
            return ask(noisy, *more)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.family, "predict", predict)
            yield


@pytest.mark.parametrize("family", ["z_image", "sd35"])
def test_a_flow_transformer(family: Any, tmp_path: Path, person: Make) -> None:
    base = open_family(resolve_base(make_tiny(family, tmp_path / "base")))
    sizes = ((64, 64), (64, 64))
    group = [person(i, "group", sizes, steps=2, batch_size=1 + i) for i in range(2)]
    for one, result in zip(group, train_together(base, group, seats=3), strict=True):
        assert difference(trained(result), alone(base, one)) < TOLERANCE


def test_only_the_person_is_learnt_in_one_pass_too(tiny_sd15: SD15, person: Make, tmp_path: Path) -> None:
    """The bare base answers without anybody's adapter; class pictures come beside one's own."""
    mask = tmp_path / "mask.png"
    Image.linear_gradient("L").save(mask)

    def masked(one: Member) -> Member:
        prior = [replace(c, caption="woman") for c in make_crops(tmp_path / "class", seed=9)]
        return replace(one, crops=[replace(c, mask_path=mask) for c in one.crops], prior=prior)

    others: list[dict[str, Any]] = [{"learn_region": "person"}] * 2 + [{}, {"background_weight": 0.2}]
    group = [masked(person(i, "group", MIXED[:2], steps=2, **own)) for i, own in enumerate(others)]
    for one, result in zip(group, train_together(tiny_sd15, group, seats=4), strict=True):
        solo = train(
            tiny_sd15, one.crops, tmp_path / "alone" / one.out_dir.name, one.recipe, prior=one.prior,
            cache_dir=one.cache_dir,
        )  # fmt: skip
        assert difference(trained(result), solo) < TOLERANCE


def test_an_interrupted_group_goes_on_to_the_same_bits_together_and_close_to_them_alone(
    tiny_sd15: SD15, person: Make
) -> None:
    straight = [
        trained(o) for o in train_together(tiny_sd15, [person(i, "straight") for i in (0, 1)], seats=2)
    ]

    def ask(adapter: Adapter) -> None:
        signal.raise_signal(signal.SIGTERM)

    for out in ("resumed", "apart"):
        first, second = person(0, out, steps=4), person(1, out)
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(Interrupted, match="2 of 4, 2 of 4 steps saved"):
            train_together(tiny_sd15, [replace(first, on_checkpoint=ask), second], seats=2)
        assert signal.getsignal(signal.SIGTERM) is before
    group = [person(i, "resumed") for i in (0, 1)]
    resumed = [trained(o) for o in train_together(tiny_sd15, group, seats=2)]
    assert [r.resumed_from for r in resumed] == [2, 2]
    assert [files(r) for r in resumed] == [files(r) for r in straight]
    one = person(1, "apart")
    solo = train(
        tiny_sd15, one.crops, one.out_dir, one.recipe, checkpoint_steps=(2,), cache_dir=one.cache_dir,
        dataset_digest="d",
    )  # fmt: skip
    assert solo.resumed_from == 2 and difference(solo, straight[1]) < TOLERANCE


def test_a_keyboard_interrupt_within_an_update_saves_all_but_the_half_updated(
    tiny_sd15: SD15, person: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, real = [0], Updater.__call__

    def interrupted(self: Updater, step: int) -> Any:
        calls[0] += 1
        if calls[0] == 6:  # of three people the last, in the second step
            raise KeyboardInterrupt
        return real(self, step)

    group = [replace(person(i, "cut", steps=3), checkpoint_steps=()) for i in range(3)]
    with monkeypatch.context() as patch:
        patch.setattr(Updater, "__call__", interrupted)
        with pytest.raises(Interrupted, match="2 of 3, 2 of 3, 0 of 3 steps saved"):
            train_together(tiny_sd15, group, seats=3)
    outcomes = [trained(o) for o in train_together(tiny_sd15, group, seats=3)]
    assert [o.resumed_from for o in outcomes] == [2, 2, None]
    assert difference(outcomes[2], alone(tiny_sd15, group[2])) < TOLERANCE


def test_what_one_trained_alone_goes_on_in_a_group(tiny_sd15: SD15, person: Make) -> None:
    group = [person(i, "group") for i in range(2)]

    def die(adapter: Adapter) -> None:
        raise RuntimeError("killed")

    one = group[0]
    with pytest.raises(RuntimeError, match="killed"):
        train(
            tiny_sd15, one.crops, one.out_dir, one.recipe, checkpoint_steps=(2,), cache_dir=one.cache_dir,
            dataset_digest="d", micro_batch=1, on_checkpoint=die,
        )  # fmt: skip
    seen: list[int] = []
    group[0] = replace(one, on_checkpoint=lambda adapter: seen.append(adapter.step))
    outcomes = train_together(tiny_sd15, group, seats=2)
    assert seen == [2, 4]  # the kill may have interrupted the first call
    assert [trained(o).resumed_from for o in outcomes] == [2, None]
    assert difference(trained(outcomes[0]), alone(tiny_sd15, one)) < TOLERANCE
    again = train_together(tiny_sd15, group, seats=2)
    assert [trained(o).resumed_from for o in again] == [4, 4]
    assert [files(trained(o)) for o in again] == [files(trained(o)) for o in outcomes]


def test_a_failure_is_one_persons_alone(
    tiny_sd15: SD15, person: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(adapter: Adapter) -> None:
        raise PortraitError("probes failed")

    def spoilt(self: members_of.Person) -> Any:
        drawn = draws(self)
        return (
            [replace(d, noise_CHW=d.noise_CHW * float("nan")) for d in drawn]
            if self.step >= 1 and (self.recipe.seed == 77)
            else drawn
        )

    draws = members_of.Person.draws
    monkeypatch.setattr(members_of.Person, "draws", spoilt)
    lacking = person(3, "group")
    group = [
        person(0, "group", steps=5),
        replace(person(1, "group"), on_checkpoint=refuse),
        person(2, "group", seed=77),
        replace(lacking, crops=[replace(c, path=c.path.with_name("gone.png")) for c in lacking.crops]),
        replace(person(4, "group"), on_checkpoint=lambda adapter: True),
        person(5, "group", sizes=()),
    ]
    well, probed, diverged, gone, enough, empty = train_together(tiny_sd15, group, seats=4)
    assert difference(trained(well), alone(tiny_sd15, group[0])) < TOLERANCE
    assert [c.step for c in trained(enough).checkpoints] == [2] and trained(enough).steps == 2
    wrong = {str(o.what): o for o in (probed, diverged, gone, empty) if isinstance(o, PortraitError)}
    assert list(wrong) == [
        "probes failed", "training has diverged", "the crop cannot be read", "no pictures to train on",
    ]  # fmt: skip
    lines = (group[2].out_dir / "metrics.jsonl").read_text().splitlines()
    assert [("skipped" in line) for line in lines] == [False, True, True]


def test_settings_of_another_run_are_refused_to_one_alone(tiny_sd15: SD15, person: Make) -> None:
    trained(train_together(tiny_sd15, [person(0, "group", steps=2)], seats=1)[0])
    changed, other = train_together(
        tiny_sd15, [person(0, "group", learning_rate=1e-3, steps=3), person(1, "group", steps=2)], seats=2
    )
    assert isinstance(changed, InputError) and "learning_rate" in changed.got
    assert trained(other).steps == 2


def test_without_memory_for_all_at_once_the_parts_get_smaller(tiny_sd15: SD15, person: Make) -> None:
    group = [person(i, "group", ((64, 64), (64, 64)), steps=2) for i in range(3)]
    rows = Rows(tiny_sd15, most=3)
    with rows.watched():
        outcomes = train_together(tiny_sd15, group, seats=3)
    assert rows.seen[:2] == [6, 2] and max(rows.seen[1:]) <= 3  # whole people: two at a time each
    for one, result in zip(group, outcomes, strict=True):
        assert files(trained(result)) == files(alone(tiny_sd15, one))
    with Rows(tiny_sd15, most=0).watched(), pytest.raises(PortraitError, match="one sample at a time"):
        train_together(tiny_sd15, [person(7, "group")], seats=1)


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"dora": True}, "dora"), ({"adapter_kind": "lokr"}, "lokr"), ({"text_encoder": 0.5}, "text_encoder")],
)
def test_what_cannot_be_stacked_is_named(
    tiny_sd15: SD15, person: Make, changes: dict[str, Any], word: str
) -> None:
    one = person(0, "group", **changes)
    assert word in why_alone(one.recipe) and not why_alone(recipe())
    with pytest.raises(InputError, match=word):
        train_together(tiny_sd15, [one], seats=1)


def test_another_shape_of_the_stack_is_refused(tiny_sd15: SD15, person: Make) -> None:
    with pytest.raises(InputError, match="rank: 4 and 8"):
        train_together(tiny_sd15, [person(0, "group"), person(1, "group", rank=8)], seats=2)


def test_checkpointing_computes_the_same(tiny_sd15: SD15, person: Make) -> None:
    group = [person(i, "group", steps=2) for i in range(2)]
    again = [person(i, "again", steps=2) for i in range(2)]
    kept = train_together(tiny_sd15, group, seats=2)
    computed = train_together(tiny_sd15, again, seats=2, gradient_checkpointing=True)
    for a, b in zip(kept, computed, strict=True):
        assert difference(trained(a), trained(b)) < TOLERANCE
