"""Pictures and truth of the renderer."""

import dataclasses

import pytest
import torch

from portrait_lora import vocabulary
from portrait_lora.synthetic import render, restyle, sample_people, sample_scenes

LISTS = {
    "subject": vocabulary.SUBJECTS,
    "shot": vocabulary.SHOTS,
    "view": vocabulary.VIEWS,
    "skin": vocabulary.SKIN_TONES,
    "beard": vocabulary.BEARDS,
    "glasses": vocabulary.GLASSES,
    "expression": vocabulary.EXPRESSIONS,
    "lighting": vocabulary.LIGHTINGS,
}


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def batch():
    return render(sample_people(range(16)), sample_scenes(range(16)), 96)


def test_a_batch_has_the_bytes_of_its_pictures_alone(batch):
    for i in (0, 3, 6, 13):
        alone = render(sample_people([i]), sample_scenes([i]), 96)
        assert torch.equal(alone.image_BCHW[0], batch.image_BCHW[i])
        assert torch.equal(alone.landmarks_px[0], batch.landmarks_px[i])
        assert alone.looks[0] == batch.looks[i]


def test_shapes_types_and_words(batch):
    assert batch.image_BCHW.shape == (16, 3, 96, 96)
    assert batch.image_BCHW.dtype == batch.mask_BHW.dtype == torch.uint8
    assert batch.visible_B68.dtype == torch.bool
    for look in batch.looks:
        fields = dataclasses.asdict(look)
        assert (fields.pop("facing") is None) == (look.view == "frontal")
        assert (fields.pop("light_side") is None) == (look.lighting not in vocabulary.SIDED_LIGHTINGS)
        assert [fields.pop(later) for later in ("style", "hat", "makeup")] == [None, None, None]
        assert None not in fields.values()
        for name, words in LISTS.items():
            assert getattr(look, name) in words
        colour, style = look.hair.split(" ", 1) if look.hair != "bald head" else ("", look.hair)
        assert style in vocabulary.HAIR_STYLES or look.hair.startswith("light brown ")
        colour, garment = look.wardrobe.split(" ", 1)
        assert colour in vocabulary.GARMENT_COLOURS
        assert garment in vocabulary.GARMENTS
        colour, kind = look.setting.split(" ", 1)
        assert colour in vocabulary.BACKDROP_COLOURS
        assert kind in vocabulary.BACKDROPS


def test_truth_is_finite_and_the_face_is_in_the_mask(batch):
    for values in (batch.face_box_xyxy_px, batch.landmarks_px, batch.keypoints_px, batch.pose_deg):
        assert torch.isfinite(values).all()
    torch.testing.assert_close(batch.light_direction.norm(dim=-1), torch.ones(16))
    for i in range(16):
        for j in batch.visible_B68[i, 17:].nonzero()[:, 0].tolist():
            x, y = batch.landmarks_px[i, 17 + j].long().tolist()
            assert batch.mask_BHW[i, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].max() > 0


def test_positive_yaw_points_to_the_right_of_the_picture():
    turned = render(
        sample_people([4, 4]), sample_scenes([1, 1], yaw_deg=[40.0, -40.0], roll_deg=0.0, pitch_deg=0.0), 64
    )
    eyes_x = turned.keypoints_px[:, :2, 0].mean(1)
    nose_x = turned.keypoints_px[:, 2, 0]
    assert nose_x[0] > eyes_x[0]
    assert nose_x[1] < eyes_x[1]
    assert turned.pose_deg[0].tolist() == [0.0, 40.0, 0.0]


def test_the_far_eye_is_hidden_in_profile():
    people = restyle(sample_people([4]), [2], glasses="no glasses")
    scene = {"roll_deg": 0.0, "pitch_deg": 0.0, "shot": "headshot", "expression": "neutral"}
    side = render(people, sample_scenes([1], yaw_deg=75.0, **scene), 128).visible_B68[0]
    front = render(people, sample_scenes([1], yaw_deg=0.0, **scene), 128).visible_B68[0]
    assert side[36:42].sum() >= 4
    assert side[42:48].sum() <= 2
    assert front[36:48].sum() >= 10


def test_closed_eyes_close_the_lid_landmarks():
    scenes = sample_scenes([1, 1], yaw_deg=0.0, expression=["neutral", "eyes closed"])
    points = render(sample_people([5, 5]), scenes, 128).landmarks_px
    gap = (points[:, [40, 41, 46, 47]] - points[:, [38, 37, 44, 43]]).norm(dim=-1).mean(-1)
    assert gap[1] < 0.3 * gap[0]


def test_not_square_and_supersampled():
    people, scenes = sample_people([8]), sample_scenes([8], shot="close-up", yaw_deg=0.0)
    tall = render(people, scenes, (64, 96), supersample=2)
    assert tall.image_BCHW.shape == (1, 3, 96, 64)
    assert tall.mask_BHW.shape == (1, 96, 64)
    plain = render(people, scenes, (64, 96))
    torch.testing.assert_close(tall.landmarks_px, plain.landmarks_px, atol=1e-3, rtol=0)
    box = tall.face_box_xyxy_px[0]
    assert (box[3] - box[1]) / 96 > 0.45


def test_the_backdrop_can_be_left_out():
    people, scenes = sample_people([8]), sample_scenes([8], setting="white seamless backdrop")
    alone = render(people, scenes, 64, transparent=True)
    assert (alone.image_BCHW[0, :, alone.mask_BHW[0] == 0] == 0).all()
    full = render(people, scenes, 64)
    inside = alone.mask_BHW[0] == 255
    assert torch.equal(alone.image_BCHW[0, :, inside], full.image_BCHW[0, :, inside])


@pytest.mark.parametrize("lighting", vocabulary.LIGHTINGS)
def test_white_stays_light_and_charcoal_dark(lighting):
    settings = ["white textured backdrop", "charcoal bokeh backdrop"]
    seen = render(sample_people([1, 1]), sample_scenes([2, 2], lighting=lighting, setting=settings), 64)
    background = (seen.mask_BHW == 0)[:, None]
    means = (seen.image_BCHW * background).float().sum((1, 2, 3)) / (3 * background.sum((1, 2, 3)))
    assert means[0] > 175
    assert means[1] < 90


def test_words_for_sides_are_those_of_the_picture(batch):
    for pose, light, look in zip(batch.pose_deg, batch.light_direction, batch.looks, strict=True):
        assert look.facing == vocabulary.facing_of(float(pose[1]))
        assert look.light_side == vocabulary.light_side_of(look.lighting, float(light[0]))
    nose = batch.keypoints_px[:, 2, 0] - batch.keypoints_px[:, :2, 0].mean(1)
    turned = [i for i, look in enumerate(batch.looks) if look.facing]
    assert turned
    assert all((nose[i] > 0) == (batch.looks[i].facing == "facing right") for i in turned)
