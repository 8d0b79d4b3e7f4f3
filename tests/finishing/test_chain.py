"""The gate: what costs likeness is weakened as far as it must be, or refused with the figure."""

from __future__ import annotations

import numpy as np
import pytest

from portrait_lora.errors import InputError
from portrait_lora.finishing import chain
from portrait_lora.finishing.canvas import Canvas, Delivery, mixed
from portrait_lora.finishing.step import BehindOnly
from portrait_lora.finishing.steps.grade import Grade
from tests.finishing.made_up import Brighter, Larger, LightJudge, NoTools, Relit, canvas, planned


def test_a_step_within_the_limit_is_carried_out_as_asked() -> None:
    before = canvas()
    done = chain.run(before, [planned(Brighter(), amount=0.015)], NoTools(), LightJudge(), limit=0.02)
    assert done.passed[0].strength == 1.0
    assert np.allclose(done.canvas.rgb_HW3, np.clip(before.rgb_HW3 + 0.015, 0, 1))


def test_a_step_that_costs_too_much_is_weakened_to_just_the_limit() -> None:
    before = canvas()
    done = chain.run(before, [planned(Brighter(), amount=0.1)], NoTools(), LightJudge(), limit=0.02)
    one = done.passed[0]
    assert one.strength == pytest.approx(6 / 32)
    assert one.before is not None and one.after is not None
    assert one.before - one.after <= 0.02 < 0.1 * 7 / 32
    assert done.after[0] == one.after


def test_every_step_has_its_own_allowance() -> None:
    steps = [planned(Brighter(), amount=0.018), planned(Brighter(), amount=0.018)]
    done = chain.run(canvas(), steps, NoTools(), LightJudge(), limit=0.02)
    assert [one.strength for one in done.passed] == [1.0, 1.0]


def test_what_cannot_be_weakened_is_refused_with_the_figure() -> None:
    with pytest.raises(chain.StepRefused, match=r"step 1: the step larger .* likeness 0\.50\d -> 0\.40"):
        chain.run(canvas(), [planned(Larger(), amount=0.1)], NoTools(), LightJudge(), limit=0.02)


class Behind(BehindOnly):
    """A step that the judge takes for a loss, though it changes only what is behind the person."""

    name, settings, of_colour = "behind", Brighter.settings, True
    apply = Brighter.apply


def test_what_is_only_behind_the_person_is_reported_and_not_gated() -> None:
    done = chain.run(canvas(), [planned(Behind(), amount=0.1)], NoTools(), LightJudge(), limit=0.02)
    (one,) = done.passed
    assert one.strength == 1.0 and one.before is not None and one.after is not None
    assert one.before - one.after > 0.02
    with pytest.raises(chain.StepRefused, match="no longer found"):
        chain.run(canvas(), [planned(Behind(), amount=1.0)], NoTools(), LightJudge())


def test_another_light_is_gated_against_photos_of_the_person_and_else_reported() -> None:
    steps = [planned(Relit(), amount=0.1)]
    gated = chain.run(canvas(), steps, NoTools(), LightJudge(has_photos=True), limit=0.02)
    free = chain.run(canvas(), steps, NoTools(), LightJudge(has_photos=False), limit=0.02)
    assert gated.passed[0].strength == pytest.approx(6 / 32) and free.passed[0].strength == 1.0
    assert free.passed[0].before is not None and free.passed[0].after is not None
    assert free.passed[0].before - free.passed[0].after > 0.05
    white = chain.run(canvas(), [planned(Relit(), amount=1.0)], NoTools(), LightJudge(has_photos=False))
    assert 0.5 < white.passed[0].strength < 1 and white.after[0] is not None


def test_a_face_that_is_no_longer_found_is_refused() -> None:
    with pytest.raises(chain.StepRefused, match="no longer found"):
        chain.run(canvas(), [planned(Larger(), amount=1.0)], NoTools(), LightJudge())


def test_colours_go_to_the_judge_from_their_step_on() -> None:
    judge = LightJudge()
    light = planned(Brighter(), amount=0.01)
    chain.run(canvas(), [light, planned(Grade(), saturation=0.5), light], NoTools(), judge)
    assert judge.colours == [0, 0, 1, 1, 0, 1]


def test_recorded_strengths_are_repeated_without_a_gate() -> None:
    steps, judge = [planned(Brighter(), amount=0.1)], LightJudge()
    first = chain.run(canvas(), steps, NoTools(), judge, limit=0.02)
    strengths = [first.passed[0].strength]
    again = chain.run(canvas(), steps, NoTools(), judge, limit=0.0, strengths=strengths)
    assert np.array_equal(first.canvas.rgb_HW3, again.canvas.rgb_HW3)


def test_a_weakened_step_keeps_what_it_says_of_delivery() -> None:
    before = canvas()
    after = Canvas(before.rgb_HW3, delivery=Delivery("jpeg", 300))
    assert mixed(before, after, 0.5).delivery.dpi == 300


@pytest.mark.parametrize("size", [(8, 40), (10_000, 6_100)])
def test_a_picture_out_of_limits_is_an_error(size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="cannot be finished"):
        Canvas.of(np.broadcast_to(np.zeros(1, np.uint8), (*size, 3)))
