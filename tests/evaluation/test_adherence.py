from dataclasses import replace

import numpy as np
import pytest

from portrait_lora.evaluation.adherence import JUDGED, Obeyed, Request, attribute_adherence, obeyed
from portrait_lora.records import Face


def face(yaw, expression):
    pose = None if yaw is None else (0.0, yaw, 0.0)
    return Face((0, 0, 9, 9), 1.0, np.zeros((5, 2)), np.ones(2), "b", 1.0, 1.0, pose, expression)


def wanted_by(prompt, layers=()):
    return tuple(Request(prompt, layers).word(one.layer, one.words) for one in JUDGED)


def test_what_a_prompt_asks_for():
    prompt = "three-quarter headshot of ohwx man, facing left, smiling, navy suit"
    assert wanted_by(prompt) == ("three-quarter", "facing left", "smiling")
    assert wanted_by("photo of ohwx man") == (None, None, None)
    assert wanted_by("frontal or profile, unsmiling") == (None, None, None)


def test_what_the_layers_ask_for_is_not_looked_for_in_the_sentence():
    prompt = "frontal headshot of ohwx man, smiling, t-shirt of a laughing dog, mural of a head facing left"
    layers = (
        ("subject", "ohwx man"), ("view", "frontal"), ("expression", "smiling"),
        ("wardrobe", "t-shirt of a laughing dog"), ("setting", "mural of a head facing left"),
    )  # fmt: skip
    assert wanted_by(prompt) == ("frontal", "facing left", None)  # all that a sentence can tell
    assert wanted_by(prompt, layers) == ("frontal", None, "smiling")
    assert attribute_adherence(Request(prompt, layers), face(0, "smiling")) == 1.0
    assert attribute_adherence(Request(prompt), face(0, "smiling")) == 0.5
    assert [row.attribute for row in obeyed([(Request(prompt, layers), face(0, "smiling"))])] == [
        "view",
        "expression",
    ]


def test_the_users_own_words_ask_for_what_no_layer_says():
    layers = (
        ("subject", "ohwx man"),
        ("prompt", "as an astronaut, smiling, facing left"),
        ("view", "profile"),
    )
    assert wanted_by("ohwx man as an astronaut", layers) == ("profile", "facing left", "smiling")


@pytest.mark.parametrize(
    ("seen", "met"),
    [(face(0, "smiling"), 1.0), (face(30, "smiling"), 0.5), (face(60, "neutral"), 0.0), (None, 0.0),
     (face(None, None), None), (face(None, "smiling"), 1.0)],
)  # fmt: skip
def test_share_of_the_requested_attributes(seen, met):
    assert attribute_adherence(Request("frontal headshot of ohwx man, smiling"), seen) == met


def test_a_prompt_that_asks_for_nothing_cannot_be_judged():
    assert attribute_adherence(Request("ohwx man by the sea"), None) is None


def test_every_attribute_that_is_requested_and_seen():
    prompt = Request("frontal headshot of ohwx man, lit from the left, goatee, smiling, rembrandt lighting")
    one = replace(
        face(0, "smiling"), beard="goatee", lighting="split lighting", light_direction=(-0.8, 0.4, 0.4)
    )
    other = replace(one, expression=None, light_direction=(0.8, 0.4, 0.4))
    rows = {row.attribute: row for row in obeyed([(prompt, one), (prompt, other), (prompt, None)])}
    assert rows["view"] == Obeyed("view", 3, pytest.approx(2 / 3))
    assert rows["expression"] == Obeyed("expression", 2, 0.5)  # once it cannot be determined
    assert rows["beard"].rate == pytest.approx(2 / 3)
    assert rows["lighting"].rate == 0
    assert rows["side of the light"].rate == pytest.approx(1 / 3)
    assert "glasses" not in rows and "side faced" not in rows


def test_a_frontal_head_faces_no_side_and_a_pack_that_sees_nothing_says_nothing():
    (row,) = obeyed([(Request("headshot, facing left"), face(0, None))])
    assert row == Obeyed("side faced", 1, 0.0)
    smiling = Request("headshot, smiling")
    assert obeyed([(smiling, face(None, None)), (smiling, None)]) == ()
