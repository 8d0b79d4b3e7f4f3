"""The second edition of the studio: later lights, places, hats, sunglasses and make-up."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest
import torch

from portrait_lora import vocabulary as v
from portrait_lora.synthetic import People, Render, dressed, render, restyle, sample_people, sample_scenes
from portrait_lora.synthetic.parts import CLOTHES, EYES, GLASSES, HAIR, part_labels
from portrait_lora.synthetic.scene import FIELDS

PLAIN = {"view": "frontal", "expression": "neutral", "pitch_deg": 0.0, "roll_deg": 0.0, "rig_flip": False}
WOMAN = next(s for s in range(50) if sample_people([s]).values["female"][0] > 0.5)


def worn(seed: int, style: str = "long hair", **items: str) -> People:
    """One person with this hair, bare but for the items."""
    person = sample_people([seed])
    hair = torch.tensor([v.HAIR_STYLES.index(style)])
    person = replace(person, values=MappingProxyType({**person.values, "style": hair}))
    return dressed(
        person, [1], **({"hat": "no hat", "glasses": "no glasses", "makeup": "no make-up"} | items)
    )


def shown(person: People, size_px: int = 64, **scene: object) -> Render:
    return render(person, sample_scenes([5], **(PLAIN | scene)), size_px)  # pyright: ignore[reportArgumentType]


def test_edition_two_changes_only_rigs_and_backdrops() -> None:
    one, two = sample_scenes(range(400)), sample_scenes(range(400), edition=2)
    for name in set(FIELDS) - {"rig", "backdrop"}:
        assert torch.equal(getattr(one, name), getattr(two, name)), name
    for name, first, words in (
        ("rig", v.LIGHTINGS, v.ALL_LIGHTINGS),
        ("backdrop", v.BACKDROPS, v.ALL_BACKDROPS),
    ):
        later = getattr(two, name) >= len(first)
        assert 0.4 < later.float().mean() < 0.6
        assert torch.equal(getattr(one, name)[~later], getattr(two, name)[~later])
        assert set(getattr(two, name).tolist()) == set(range(len(words)))
    fixed = sample_scenes(range(9), edition=2, lighting="rim lighting", setting="marble wall")
    assert (fixed.rig == v.LIGHTINGS.index("rim lighting")).all()
    assert (fixed.backdrop == v.ALL_BACKDROPS.index("marble wall")).all()
    with pytest.raises(ValueError, match="edition=3"):
        sample_scenes([1], edition=3)


def test_half_of_the_people_wear_something_new_and_keep_the_rest() -> None:
    people = restyle(sample_people(range(400)), range(400))
    other = dressed(people, range(400))
    for name in set(people.values) - {"glasses"}:
        assert torch.equal(people.values[name], other.values[name]), name
    dark = other.values["glasses"] == v.ALL_GLASSES.index("sunglasses")
    assert torch.equal(people.values["glasses"][~dark], other.values["glasses"][~dark])
    assert 0.4 < ((other.values["hat"] > 0) | dark).float().mean() < 0.6
    assert (other.values["makeup"][other.values["female"] < 0.5] == 0).all()
    assert set(other.values["hat"].tolist()) == {0, 1, 2}
    assert torch.equal(dressed(people.take([7]), [7]).values["hat"], other.values["hat"][7:8])


def test_unknown_items_are_refused() -> None:
    people = sample_people([1, 2])
    for item in ({"hat": "navy crown"}, {"hat": "beanie"}, {"glasses": "monocle"}, {"makeup": "rouge"}):
        with pytest.raises(ValueError, match="is not one of"):
            dressed(people, [1, 2], **item)
    with pytest.raises(ValueError, match="2 people but 1 seeds"):
        dressed(people, [1])


@pytest.mark.parametrize("hat", ["beanie", "brimmed hat"])
def test_a_hat_covers_hair_and_forehead_and_is_recorded(hat: str) -> None:
    bare, hatted = worn(WOMAN), worn(WOMAN, hat=f"teal {hat}")
    scene = sample_scenes([5], **PLAIN, head_fraction=0.6)  # pyright: ignore[reportArgumentType]
    before, after = (part_labels(p, scene, 96)[0] for p in (bare, hatted))
    brow = int(render(bare, scene, 96).landmarks_px[0, 17:27, 1].mean())
    assert (after[:brow] == CLOTHES).sum() > 400 > (before[:brow] == CLOTHES).sum()
    assert 0 < (after == HAIR).sum() < (before == HAIR).sum()
    look = render(hatted, scene, 32).looks[0]
    assert look.hat == f"teal {hat}" and str(look.hair).endswith("long hair")
    assert f", teal {hat}, neutral," in v.sentence(look)
    assert str(shown(worn(WOMAN, "afro", hat=f"teal {hat}"), 32).looks[0].hair).endswith("curly hair")


def test_a_hat_covers_every_style() -> None:
    for style in v.HAIR_STYLES:
        labels = part_labels(worn(3, style, hat="red beanie"), sample_scenes([5], **PLAIN), 64)[0]  # pyright: ignore
        first = [labels[:, column] for column in range(24, 40)]
        tops = [int(c[(c > 0).nonzero()[0, 0]]) for c in first]
        assert set(tops) == {CLOTHES}, style


def test_sunglasses_hide_the_eyes_and_what_happens_there() -> None:
    clear, dark = worn(WOMAN), worn(WOMAN, glasses="sunglasses", makeup="red lipstick and eye shadow")
    open_eyes, hidden = shown(clear, 96).visible_B68[0, 36:48], shown(dark, 96).visible_B68[0, 36:48]
    assert open_eyes.all() and not hidden.any()
    labels = part_labels(dark, sample_scenes([5], **PLAIN), 96)[0]  # pyright: ignore[reportArgumentType]
    assert (labels == GLASSES).sum() > 150 and not (labels == EYES).any()
    look = shown(dark, 32, expression="eyes closed").looks[0]
    assert (look.glasses, look.makeup, look.expression) == ("sunglasses", "red lipstick", "neutral")


def test_make_up_colours_lips_and_lids_only() -> None:
    plain = shown(worn(WOMAN), 96)
    lips, lids = shown(worn(WOMAN, makeup="red lipstick"), 96), shown(worn(WOMAN, makeup="eye shadow"), 96)
    mouth, brow = (plain.landmarks_px[0, i, 1].mean() for i in (slice(48, 68), slice(17, 27)))
    for painted, row in ((lips, mouth), (lids, brow)):
        moved = (painted.image_BCHW.int() - plain.image_BCHW.int()).abs().sum(1)[0]
        rows = (moved > 40).nonzero()[:, 0].float()
        assert len(rows) > 15 and (rows - row).abs().max() < 16
    assert lids.looks[0].makeup == "eye shadow" and plain.looks[0].makeup is None


def test_a_window_is_on_one_side_and_neon_has_two_colours() -> None:
    person = worn(WOMAN)
    faces = {}
    for light in ("window light", "neon lighting", "loop lighting", "clamshell lighting"):
        render = shown(person, 96, lighting=light, setting="grey seamless backdrop", yaw_deg=0.0)
        jaw, nose = render.landmarks_px[0, [2, 14], 0].tolist(), render.landmarks_px[0, 30]
        face = render.image_BCHW[0, :, int(nose[1]) - 4 : int(nose[1]) + 6].float()
        left, right = (
            face[..., int(jaw[0]) + 3 : int(nose[0]) - 3],
            face[..., int(nose[0]) + 3 : int(jaw[1]) - 3],
        )
        faces[light] = (left.mean((1, 2)), right.mean((1, 2)))
        assert (render.looks[0].light_side is None) == (light in ("neon lighting", "clamshell lighting"))
    left, right = faces["window light"]
    assert left.mean() > 1.5 * right.mean()
    left, right = faces["clamshell lighting"]
    assert 0.85 < left.mean() / right.mean() < 1.18
    left, right = faces["neon lighting"]
    assert left[0] > 1.5 * left[1] and right[2] > right[0]


def test_places_are_seeded_and_look_alike_at_any_size() -> None:
    small: dict[str, torch.Tensor] = {}
    for place in v.PLACES:
        places = [
            render(sample_people([1]), sample_scenes([s], setting=place, centre=(9.0, 0.0)), px)
            .image_BCHW[0]
            .float()
            for s, px in ((3, 48), (3, 48), (4, 48), (3, (60, 96)))
        ]
        assert torch.equal(places[0], places[1]) and (places[0] - places[2]).abs().mean() > 1
        assert places[0].std() > 3 and places[3].shape == (3, 96, 60)
        assert (places[0].mean((1, 2)) - places[3].mean((1, 2))).abs().max() < 25
        small[place] = places[0].mean((1, 2))
    assert small["brick wall"][0] > 1.3 * small["brick wall"][2]
    assert small["blurred city at night"].mean() < 60 < 120 < small["marble wall"].mean()


def test_looks_of_places_have_no_colour_word() -> None:
    look = shown(worn(3), 32, setting="blurred office").looks[0]
    assert look.setting == "blurred office"
