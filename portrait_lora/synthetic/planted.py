"""Photos that the check must reject: one for each code, spoilt on purpose."""

from __future__ import annotations

from typing import Final

from PIL import Image, ImageFilter

from portrait_lora.synthetic.identity import People, distance, sample_people
from portrait_lora.synthetic.render import render
from portrait_lora.synthetic.taking import (
    GOOD_PLANS,
    Taken,
    Truth,
    encode,
    picture_of,
    plain_photo,
    planned_scene,
    scene_of,
    truth_of,
)


def _no_face(person: People, person_seed: int) -> Taken:
    rendered = plain_photo(person, person_seed, 100, centre=(8.0, 0.0))
    return Taken(encode(picture_of(rendered)), Truth("", "no_face", None, None, None))


def _stranger(person: People, person_seed: int) -> tuple[People, int]:
    """A person of another seed, the least similar of a few."""
    seeds = [700_000 + person_seed * 16 + i for i in range(16)]
    others = sample_people(seeds)
    far = int(distance(person, others).flatten().argmax())
    return others.take([far]), seeds[far]


def _other_person(person: People, person_seed: int) -> Taken:
    other, seed = _stranger(person, person_seed)
    rendered = plain_photo(other, person_seed, 101)
    return Taken(encode(picture_of(rendered)), truth_of(rendered, "other_person", seed))


def _several_faces(person: People, person_seed: int) -> Taken:
    other, _ = _stranger(person, person_seed)
    size = (1000, 640)
    left = render(
        person,
        scene_of(
            person_seed,
            102,
            yaw_deg=12.0,
            expression="smiling",
            head_fraction=0.46,
            lighting="three-point lighting",
            centre=(-0.18, 0.0),
        ),
        size,
        supersample=2,
    )
    right = render(
        other,
        scene_of(
            person_seed,
            103,
            yaw_deg=-12.0,
            expression="smiling",
            head_fraction=0.46,
            lighting="three-point lighting",
            centre=(0.18, 0.0),
        ),
        size,
        supersample=2,
    )
    mask = Image.fromarray(right.mask_BHW[0].cpu().numpy(), "L")
    picture = Image.composite(picture_of(right), picture_of(left), mask)
    return Taken(encode(picture), truth_of(left, "several_faces", person_seed))


def _blurred(person: People, person_seed: int) -> Taken:
    rendered = plain_photo(person, person_seed, 104)
    face_px = float(rendered.face_box_xyxy_px[0, 3] - rendered.face_box_xyxy_px[0, 1])
    picture = picture_of(rendered).filter(ImageFilter.GaussianBlur(face_px * 0.035))
    return Taken(encode(picture), truth_of(rendered, "blurred", person_seed))


def _under_exposed(person: People, person_seed: int) -> Taken:
    rendered = plain_photo(person, person_seed, 105)
    darker = [round(255 * (v / 255) ** 1.3 * 0.14) for v in range(256)]
    picture = picture_of(rendered).point(darker * 3)
    return Taken(encode(picture), truth_of(rendered, "under_exposed", person_seed))


def _cut_off(person: People, person_seed: int) -> Taken:
    rendered = plain_photo(person, person_seed, 106, expression="smiling")
    x0, y0, x1, y1 = (float(v) for v in rendered.face_box_xyxy_px[0])
    picture = picture_of(rendered)
    kept = (0, 0, round(x0 + 0.72 * (x1 - x0)), min(picture.height, round(y1 + 0.6 * (y1 - y0))))
    return Taken(encode(picture.crop(kept)), truth_of(rendered, "cut_off", person_seed))


def _near_duplicate(person: People, person_seed: int) -> Taken:
    """The second good photo again, smaller and a little softer: a re-encoded copy."""
    plan = GOOD_PLANS[1]
    rendered = render(person, planned_scene(person_seed, 1, plan), plan.size_px, supersample=2)
    picture = picture_of(rendered)
    small = picture.resize((picture.width * 9 // 10, picture.height * 9 // 10), Image.Resampling.BILINEAR)
    softer = small.filter(ImageFilter.GaussianBlur(0.7))
    return Taken(encode(softer, quality=82), truth_of(rendered, "near_duplicate", person_seed))


def _unreadable(person: People, person_seed: int) -> Taken:
    data = encode(picture_of(plain_photo(person, person_seed, 107)), kept=1 / 3)
    return Taken(data, Truth("", "unreadable", person_seed, None, None))


SPOILT: Final = {
    "no_face": _no_face,
    "other_person": _other_person,
    "several_faces": _several_faces,
    "blurred": _blurred,
    "under_exposed": _under_exposed,
    "cut_off": _cut_off,
    "near_duplicate": _near_duplicate,
    "unreadable": _unreadable,
}
