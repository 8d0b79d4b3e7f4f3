import numpy as np
import pytest

from portrait_lora.evaluation.adherence import asked, attribute_adherence
from portrait_lora.records import Face


def face(yaw, expression):
    pose = None if yaw is None else (0.0, yaw, 0.0)
    return Face((0, 0, 9, 9), 1.0, np.zeros((5, 2)), np.ones(2), "b", 1.0, 1.0, pose, expression)


def test_what_a_prompt_asks_for():
    prompt = "three-quarter headshot of ohwx man, facing left, smiling, navy suit"
    assert asked(prompt) == ("three-quarter", "facing left", "smiling")
    assert asked("photo of ohwx man") == (None, None, None)
    assert asked("frontal or profile, unsmiling") == (None, None, None)


@pytest.mark.parametrize(
    ("seen", "met"),
    [(face(0, "smiling"), 1.0), (face(30, "smiling"), 0.5), (face(60, "neutral"), 0.0), (None, 0.0),
     (face(None, None), None), (face(None, "smiling"), 1.0)],
)  # fmt: skip
def test_share_of_what_was_asked(seen, met):
    assert attribute_adherence("frontal headshot of ohwx man, smiling", seen) == met


def test_a_prompt_that_asks_for_nothing_cannot_be_judged():
    assert attribute_adherence("ohwx man by the sea", None) is None
