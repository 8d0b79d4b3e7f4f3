"""Seeds, restyling and distances of synthetic people."""

import torch

from portrait_lora import vocabulary
from portrait_lora.synthetic import distance, restyle, sample_people
from portrait_lora.synthetic.identity import FACE_SHAPE


def test_a_row_depends_only_on_its_seed():
    alone, together = sample_people([7]), sample_people([3, 7, 11])
    for name, values in alone.values.items():
        assert torch.equal(values[0], together.values[name][1]), name


def test_take_repeats_and_reorders():
    people = sample_people([1, 2, 3]).take([2, 0, 2])
    assert people.seeds == (3, 1, 3)
    assert people.values["eye_x"][0] == people.values["eye_x"][2]


def test_restyle_keeps_the_face_and_changes_the_rest():
    people = sample_people(range(200))
    other = restyle(people, range(1000, 1200))
    assert torch.equal(distance(people, other), torch.zeros(200))
    for name in (*FACE_SHAPE, "melanin", "age", "eye_mel", "female"):
        assert torch.equal(people.values[name], other.values[name])
    changed = (people.values["style"] != other.values["style"]).float().mean()
    assert changed > 0.6
    women = other.values["female"] > 0.5
    assert (other.values["beard"][women] == 0).all()
    assert (other.values["style"][women] != vocabulary.HAIR_STYLES.index("bald head")).all()


def test_restyle_can_fix_the_glasses():
    people = restyle(sample_people(range(9)), range(9), glasses="round glasses")
    assert (people.values["glasses"] == vocabulary.GLASSES.index("round glasses")).all()


def test_strangers_are_about_one_apart():
    apart = distance(sample_people(range(300)), sample_people(range(300, 600)))
    assert 0.8 < apart.mean() < 1.2
    assert apart.min() > 0.4
