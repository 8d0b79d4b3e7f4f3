"""The step `relight`: what it changes, what it leaves, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from portrait_lora import manifest, vocabulary
from portrait_lora.errors import ConfigError, InputError
from portrait_lora.finishing import colour, relight
from portrait_lora.finishing.canvas import Canvas
from portrait_lora.finishing.look import planned
from portrait_lora.finishing.steps.cutout import Cutout, CutoutSettings
from portrait_lora.finishing.steps.relight import Relight, RelightSettings
from portrait_lora.finishing.tools import PictureTools
from portrait_lora.synthetic.backdrop import paint_backdrop
from portrait_lora.synthetic.identity import sample_people
from portrait_lora.synthetic.scene import sample_scenes
from portrait_lora.synthetic.sitting import Sitting
from tests.finishing import studio
from tests.finishing.made_up import NoTools, canvas

STEP = Relight()


def tools() -> PictureTools:
    """Of the studio, where the embedded network is allowed."""
    return PictureTools(studio.analyzer(), Path(), 0, Path, studio=True)


@cache
def portrait() -> Canvas:
    """Loop light from the left, before grey paper."""
    return studio.sitter(3, lighting="loop lighting", rig_flip=False).canvas


@cache
def relit(**settings: object) -> Canvas:
    """That portrait by these settings."""
    return STEP.apply(portrait(), RelightSettings.model_validate(settings), tools())


def alpha_of(one: Canvas) -> np.ndarray:
    cut = Cutout().apply(one, CutoutSettings(), tools())
    assert cut.alpha_HW is not None
    return cut.alpha_HW


def test_it_comes_nearer_to_the_studios_own_picture_in_that_light() -> None:
    truth = studio.sitter(3, lighting="split lighting", rig_flip=False).canvas.rgb_HW3
    person = alpha_of(portrait()) > 0.99
    before, after = (
        float(((one.rgb_HW3 - truth)[person] ** 2).mean()) for one in (portrait(), relit(rig="split"))
    )
    assert after < before / 4 and after < 0.012


def test_the_pack_reads_the_rig_that_was_asked_for() -> None:
    assert tools().face(relit(rig="split")).lighting == "split lighting"
    assert tools().face(relit(rig="golden hour", side="right")).lighting == "golden hour lighting"


def test_what_is_behind_stays_to_the_bit_and_the_person_does_not() -> None:
    clear = alpha_of(portrait()) <= 0
    after = relit(rig="split")
    assert clear.mean() > 0.2 and np.array_equal(after.rgb_HW3[clear], portrait().rgb_HW3[clear])
    assert not np.array_equal(after.rgb_HW3[~clear], portrait().rgb_HW3[~clear])


def test_no_strength_changes_nothing_and_half_lies_between() -> None:
    assert np.array_equal(relit(rig="split", strength=0.0).rgb_HW3, portrait().rgb_HW3)
    none, half, whole = (
        colour.to_linear(one.rgb_HW3)
        for one in (portrait(), relit(rig="split", strength=0.5), relit(rig="split"))
    )
    whole_is_in_range = (whole > 0) & (whole < 1)
    assert whole_is_in_range.mean() > 0.9
    assert np.abs(half - (none + whole) / 2)[whole_is_in_range].max() < 0.001


def test_the_key_stands_on_the_side_that_is_asked_for_or_stays() -> None:
    def sideways(one: Canvas) -> float:
        direction = tools().face(one).light_direction
        assert direction is not None
        return direction[0]

    assert sideways(portrait()) < 0
    assert sideways(relit(rig="split", side="right")) > 0.3
    assert sideways(relit(rig="split", side="left")) < -0.3 and sideways(relit(rig="split")) < -0.3
    assert np.array_equal(relit(rig="split").rgb_HW3, relit(rig="split", side="left").rgb_HW3)


def test_the_light_that_a_picture_has_is_read_from_it() -> None:
    people, scenes = sample_people([11]), sample_scenes([12], edition=2, max_yaw_deg=20.0, head_fraction=0.6)
    one, net = Sitting(people.rows()[0], scenes.rows()[0], (128, 128)), relight.Relighter()
    cover, right = one.cover_HW.numpy(), 0
    for number, rig in enumerate(vocabulary.ALL_LIGHTINGS):
        lit = (one.under(rig, flip=bool(number % 2))[0].permute(1, 2, 0).numpy() / 255).astype(np.float32)
        was = net.light_of(lit, cover, 80.0)
        key = relight.Rig(rig, bool(number % 2)).lamps.direction_33[0, 0]
        right += was.name == rig and (abs(float(key)) < 1e-6 or was.flip == bool(number % 2))
        other = net.light_of(lit[:, ::-1], cover[:, ::-1], 80.0)
        assert other.name == was.name, "a picture and its mirror image have the same rig"
    assert right >= 7  # of a chance of one in 24 each


def test_white_lamps_leave_no_colour_of_the_rig() -> None:
    person = alpha_of(portrait()) > 0.99
    golden, white = (relit(rig="golden hour", tint=t).rgb_HW3[person].mean(0) for t in (1.0, 0.0))
    assert golden[0] / golden[2] > 1.1 * white[0] / white[2]


def test_a_cut_out_keeps_its_alpha_and_its_empty_places() -> None:
    cut = Cutout().apply(portrait(), CutoutSettings(), tools())
    after = STEP.apply(cut, RelightSettings(rig="split"), tools())
    assert cut.alpha_HW is not None and after.alpha_HW is not None
    assert np.array_equal(after.alpha_HW, cut.alpha_HW)
    empty = cut.alpha_HW <= 0
    assert np.array_equal(after.rgb_HW3[empty], cut.rgb_HW3[empty])
    assert np.abs(after.rgb_HW3 - cut.rgb_HW3)[cut.alpha_HW > 0.99].mean() > 0.02


def test_a_backdrop_may_get_the_rigs_light_too() -> None:
    clear = alpha_of(portrait()) <= 0
    kept, paper, place = (
        relit(rig="low-key", backdrop=b).rgb_HW3[clear].mean() for b in ("keep", "paper", "place")
    )
    assert kept > paper > 1.5 * place


def test_backdrops_get_the_light_that_the_studio_gives_them() -> None:
    for rig in ("window light", "neon lighting", "low-key lighting", "golden hour lighting"):
        for setting, place in (("grey seamless backdrop", False), ("marble wall", True)):
            plain, lit = (
                colour.to_coded(paint_backdrop(scene, 64, 64, relight.torch.device("cpu")).numpy())
                for scene in (
                    sample_scenes([5], setting=setting, lighting=name, rig_flip=True).rows()[0]
                    for name in ("three-point lighting", rig)
                )
            )
            factor = relight.backdrop_factor(rig, True, place=place, width=64).T[:, None]
            inside = plain * factor < 0.97
            assert np.abs(plain * factor - lit)[inside].max() < 0.01


def test_a_larger_picture_keeps_its_own_structure() -> None:
    rng = np.random.default_rng(0)
    across = np.linspace(0.3, 0.6, 96, dtype=np.float32)[:, None, None].repeat(96, 1).repeat(3, 2)
    large = across * (1 + 0.05 * rng.standard_normal((96, 96, 1)).astype(np.float32))
    small = large.reshape(24, 4, 24, 4, 3).mean(axis=(1, 3))
    same = relight._with_own_structure(colour.to_linear(small), small, large)
    assert np.abs(colour.to_coded(same) - large).mean() < 0.005
    darker = relight._with_own_structure(colour.to_linear(small) / 4, small, large)
    assert np.corrcoef(colour.to_coded(darker)[50].ravel(), large[50].ravel())[0, 1] > 0.99


def test_the_same_picture_comes_out_whatever_the_threads() -> None:
    before = relight.torch.get_num_threads()
    try:
        relight.torch.set_num_threads(2)
        again = STEP.apply(portrait(), RelightSettings(rig="split"), tools())
        assert relight.torch.get_num_threads() == 2
    finally:
        relight.torch.set_num_threads(before)
    assert np.array_equal(again.rgb_HW3, relit(rig="split").rgb_HW3)


@pytest.mark.parametrize("word", ["Rembrandt", "rembrandt lighting", "REMBRANDT  light"])
def test_rigs_are_known_by_their_short_names_too(word: str) -> None:
    assert RelightSettings(rig=word).rig == "rembrandt lighting"


def test_every_rig_of_the_vocabulary_is_one() -> None:
    short = ("high key", "low_key", "golden-hour", "Three Point", "window light", "neon", "loop")
    names = {RelightSettings(rig=word).rig for word in (*vocabulary.ALL_LIGHTINGS, *short)}
    assert names == set(vocabulary.ALL_LIGHTINGS)


def test_an_unknown_rig_is_named_with_the_next_one() -> None:
    with pytest.raises(ConfigError, match="rembrandt"):
        planned([{"relight": {"rig": "rembrant"}}], "a look")


def test_photographs_are_refused_with_the_reason() -> None:
    with pytest.raises(InputError, match="synthetic studio"):
        STEP.apply(canvas(), RelightSettings(), NoTools())


def test_no_face_and_a_face_of_few_pixels_are_refused() -> None:
    with pytest.raises(InputError, match="no face"):
        STEP.apply(canvas(64), RelightSettings(), tools())

    class Small(NoTools):
        def face(self, canvas: Canvas):
            return replace(tools().face(portrait()), box_xyxy_px=(4.0, 4.0, 20.0, 20.0))

    with pytest.raises(InputError, match="too small to relight"):
        STEP.apply(portrait(), RelightSettings(), Small(studio=True))


def test_the_shipped_weights_are_small_and_the_card_names_them() -> None:
    assert relight.STUDIO.stat().st_size < 2_500_000
    card = (relight.STUDIO.parent / "CARD.md").read_text(encoding="utf-8")
    assert manifest.sha256_file(relight.STUDIO) in card
