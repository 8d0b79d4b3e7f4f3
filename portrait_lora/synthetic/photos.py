"""A reference set: the photos one person might hand in, good and bad, with the truth about each.

Sixteen good photos of varied angle, expression, light, outfit, backdrop and framing; some large with the
head a part of the picture, some stored sideways with an EXIF orientation; and, planted among them, one
photo for each thing a check must catch.  Everything is a function of the person seed.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageFilter

from portrait_lora import manifest, provenance, vocabulary
from portrait_lora.synthetic.identity import People, distance, sample_people
from portrait_lora.synthetic.render import Render, render
from portrait_lora.synthetic.scene import Scenes, sample_scenes

ImageArray = npt.NDArray[np.uint8]

JPEG_QUALITY: Final = 93
ORIENTATION_TAG: Final = 0x0112
SIDEWAYS: Final = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
"""EXIF orientation → how an upright picture is stored so that the tag turns it upright again."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How one good photo is taken; `size_px` is (W, H)."""

    yaw_deg: float
    expression: str
    lighting: str
    size_px: tuple[int, int]
    head_fraction: float
    orientation: int = 1


SMALL: Final = (512, 640)
SQUARE: Final = (576, 576)
TALL: Final = (1125, 1500)
WIDE: Final = (1500, 1000)

GOOD_PLANS: Final = (
    Plan(0, "neutral", "three-point lighting", SMALL, 0.50),
    Plan(24, "smiling", "butterfly lighting", SQUARE, 0.56),
    Plan(-26, "neutral", "rembrandt lighting", SMALL, 0.48),
    Plan(8, "smiling", "high-key lighting", TALL, 0.30),
    Plan(-8, "laughing", "three-point lighting", SMALL, 0.54, 6),
    Plan(38, "neutral", "golden hour lighting", WIDE, 0.42),
    Plan(-40, "smiling", "high-key lighting", SQUARE, 0.52),
    Plan(3, "frowning", "three-point lighting", SMALL, 0.58),
    Plan(-4, "surprised", "butterfly lighting", SQUARE, 0.50),
    Plan(52, "neutral", "three-point lighting", SMALL, 0.46),
    Plan(-54, "neutral", "butterfly lighting", SQUARE, 0.50, 8),
    Plan(16, "laughing", "high-key lighting", TALL, 0.34),
    Plan(-18, "smiling", "golden hour lighting", SMALL, 0.50, 3),
    Plan(30, "surprised", "rembrandt lighting", SQUARE, 0.52),
    Plan(-33, "laughing", "three-point lighting", WIDE, 0.46),
    Plan(0, "smiling", "golden hour lighting", SQUARE, 0.55),
)

BAD_CODES: Final = (
    "no_face",
    "other_person",
    "several_faces",
    "blurred",
    "under_exposed",
    "cut_off",
    "near_duplicate",
    "unreadable",
)


@dataclass(frozen=True, slots=True)
class Truth:
    """What is in one file; `code` is None for a good photo, otherwise what a check must say."""

    file: str
    code: str | None
    person_seed: int | None
    look: vocabulary.Look | None
    pose_deg: tuple[float, float, float] | None  # pitch, yaw, roll


@dataclass(frozen=True, slots=True)
class ReferenceSet:
    """The files of one person, in the order of their names."""

    person_seed: int
    subject: str  # man or woman
    truths: tuple[Truth, ...]
    digests: Mapping[str, str]  # file name → sha256

    @property
    def planted(self) -> Mapping[str, str]:
        """File name → the code it must be rejected with."""
        return {t.file: t.code for t in self.truths if t.code}


@dataclass(frozen=True, slots=True)
class _Shot:
    """One encoded file before it has a name."""

    data: bytes
    truth: Truth


def make_reference_set(
    person_seed: int, folder: Path, good: int = len(GOOD_PLANS), bad: Sequence[str] = BAD_CODES
) -> ReferenceSet:
    """Write the photos of one person into `folder` and return the truth about them.

    `good` may exceed the sixteen plans: they are then repeated with new scenes.  Same seed, same bytes.
    """
    manifest.make_folder(folder)
    person = sample_people([person_seed])
    with _one_thread():
        shots = [_good(person, person_seed, i) for i in range(good)]
        shots += [_BAD[code](person, person_seed) for code in bad]
    order = np.random.default_rng(_seed(person_seed, 990)).permutation(len(shots))
    truths: list[Truth] = []
    digests: dict[str, str] = {}
    for place, index in enumerate(order):
        shot = shots[int(index)]
        name = f"photo_{place + 1:02d}.jpg"
        manifest.write_bytes_atomic(folder / name, shot.data)
        digests[name] = hashlib.sha256(shot.data).hexdigest()
        t = shot.truth
        truths.append(Truth(name, t.code, t.person_seed, t.look, t.pose_deg))
    subject = vocabulary.SUBJECTS[int(float(person.values["female"][0]) > 0.5)]
    return ReferenceSet(person_seed, subject, tuple(truths), digests)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Many small operations are faster on one thread, and bytes then do not depend on the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def write_truth(made: ReferenceSet, path: Path) -> None:
    """The truth as JSON beside the photos; no stage of the journey reads it."""
    manifest.write_json_atomic(path, asdict(made))


def read_truth(path: Path) -> ReferenceSet | None:
    """What `write_truth` wrote; None when there is nothing that can be read."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        truths = tuple(
            Truth(
                t["file"],
                t["code"],
                t["person_seed"],
                None if t["look"] is None else vocabulary.Look(**t["look"]),
                None if t["pose_deg"] is None else tuple(t["pose_deg"]),
            )
            for t in raw["truths"]
        )
        return ReferenceSet(raw["person_seed"], raw["subject"], truths, dict(raw["digests"]))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError):
        return None


def is_whole(made: ReferenceSet, folder: Path) -> bool:
    """Whether exactly these files, with these bytes, lie in the folder; never before all were taken."""
    there = {p.name for p in folder.iterdir()} if folder.is_dir() else set()
    return (
        bool(there)
        and there == set(made.digests)
        and all(manifest.sha256_file(folder / name) == digest for name, digest in made.digests.items())
    )


def _seed(person_seed: int, index: int) -> int:
    """Seeds of one person's pictures: apart from those of every other person."""
    return (person_seed * 1_009 + index) * 7 + 3


def _scene(person_seed: int, index: int, **fixed: object) -> Scenes:
    return sample_scenes([_seed(person_seed, index)], **fixed)  # pyright: ignore[reportArgumentType]


def _plan_scene(person_seed: int, index: int, plan: Plan, **fixed: object) -> Scenes:
    jitter = np.random.default_rng(_seed(person_seed, index)).uniform(-4, 4)
    settings: dict[str, object] = {
        "yaw_deg": plan.yaw_deg + float(jitter),
        "expression": plan.expression,
        "lighting": plan.lighting,
        "head_fraction": plan.head_fraction,
    }
    return _scene(person_seed, index, **(settings | fixed))


def _picture(made: Render) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(made.image_BCHW[0].permute(1, 2, 0).cpu().numpy()))


def _encode(picture: Image.Image, orientation: int = 1, quality: int = JPEG_QUALITY) -> bytes:
    """JPEG bytes with the studio's XMP mark and, when asked, stored sideways under an EXIF tag."""
    exif = Image.Exif()
    if orientation != 1:
        picture = picture.transpose(SIDEWAYS[orientation])
        exif[ORIENTATION_TAG] = orientation
    out = io.BytesIO()
    picture.save(
        out,
        "JPEG",
        quality=quality,
        exif=exif,
        xmp=provenance.xmp_bytes(provenance.ALGORITHMIC, creator_tool=provenance.STUDIO),
    )
    return out.getvalue()


def _truth(made: Render, code: str | None, person_seed: int | None) -> Truth:
    pitch, yaw, roll = (float(v) for v in made.pose_deg[0])
    return Truth("", code, person_seed, made.looks[0], (pitch, yaw, roll))


def _good(person: People, person_seed: int, index: int) -> _Shot:
    plan = GOOD_PLANS[index % len(GOOD_PLANS)]
    made = render(person, _plan_scene(person_seed, index, plan), plan.size_px, supersample=2)
    return _Shot(_encode(_picture(made), plan.orientation), _truth(made, None, person_seed))


def _taken(person: People, person_seed: int, index: int, **fixed: object) -> Render:
    """A plain photo to be spoiled: frontal, evenly lit."""
    plan = Plan(6.0, "neutral", "three-point lighting", SMALL, 0.5)
    return render(person, _plan_scene(person_seed, index, plan, **fixed), plan.size_px, supersample=2)


def _no_face(person: People, person_seed: int) -> _Shot:
    made = _taken(person, person_seed, 100, centre=(8.0, 0.0))
    return _Shot(_encode(_picture(made)), Truth("", "no_face", None, None, None))


def _stranger(person: People, person_seed: int) -> tuple[People, int]:
    """Somebody of another seed, the most unlike of a few."""
    seeds = [700_000 + person_seed * 16 + i for i in range(16)]
    others = sample_people(seeds)
    far = int(distance(person, others).flatten().argmax())
    return others.take([far]), seeds[far]


def _other_person(person: People, person_seed: int) -> _Shot:
    other, seed = _stranger(person, person_seed)
    made = _taken(other, person_seed, 101)
    return _Shot(_encode(_picture(made)), _truth(made, "other_person", seed))


def _several_faces(person: People, person_seed: int) -> _Shot:
    other, _ = _stranger(person, person_seed)
    size = (1000, 640)
    left = render(
        person,
        _scene(
            person_seed,
            102,
            yaw_deg=12.0,
            expression="smiling",
            head_fraction=0.46,
            lighting="three-point lighting",
            centre=(-0.27, 0.0),
        ),
        size,
        supersample=2,
    )
    right = render(
        other,
        _scene(
            person_seed,
            103,
            yaw_deg=-12.0,
            expression="smiling",
            head_fraction=0.46,
            lighting="three-point lighting",
            centre=(0.27, 0.0),
        ),
        size,
        supersample=2,
    )
    mask = Image.fromarray(right.mask_BHW[0].cpu().numpy(), "L")
    picture = Image.composite(_picture(right), _picture(left), mask)
    return _Shot(_encode(picture), _truth(left, "several_faces", person_seed))


def _blurred(person: People, person_seed: int) -> _Shot:
    made = _taken(person, person_seed, 104)
    face_px = float(made.face_box_xyxy_px[0, 3] - made.face_box_xyxy_px[0, 1])
    picture = _picture(made).filter(ImageFilter.GaussianBlur(face_px * 0.035))
    return _Shot(_encode(picture), _truth(made, "blurred", person_seed))


def _under_exposed(person: People, person_seed: int) -> _Shot:
    made = _taken(person, person_seed, 105)
    darker = [round(255 * (v / 255) ** 1.3 * 0.14) for v in range(256)]
    picture = _picture(made).point(darker * 3)
    return _Shot(_encode(picture), _truth(made, "under_exposed", person_seed))


def _cut_off(person: People, person_seed: int) -> _Shot:
    made = _taken(person, person_seed, 106, expression="smiling")
    x0, y0, x1, y1 = (float(v) for v in made.face_box_xyxy_px[0])
    picture = _picture(made)
    kept = (0, 0, round(x0 + 0.72 * (x1 - x0)), min(picture.height, round(y1 + 0.6 * (y1 - y0))))
    return _Shot(_encode(picture.crop(kept)), _truth(made, "cut_off", person_seed))


def _near_duplicate(person: People, person_seed: int) -> _Shot:
    """The second good photo again, smaller and a little softer: a re-encoded copy."""
    plan = GOOD_PLANS[1]
    made = render(person, _plan_scene(person_seed, 1, plan), plan.size_px, supersample=2)
    picture = _picture(made)
    small = picture.resize((picture.width * 9 // 10, picture.height * 9 // 10), Image.Resampling.BILINEAR)
    softer = small.filter(ImageFilter.GaussianBlur(0.7))
    return _Shot(_encode(softer, quality=82), _truth(made, "near_duplicate", person_seed))


def _unreadable(person: People, person_seed: int) -> _Shot:
    data = _encode(_picture(_taken(person, person_seed, 107)))
    return _Shot(data[: len(data) // 3], Truth("", "unreadable", person_seed, None, None))


_BAD: Final = {
    "no_face": _no_face,
    "other_person": _other_person,
    "several_faces": _several_faces,
    "blurred": _blurred,
    "under_exposed": _under_exposed,
    "cut_off": _cut_off,
    "near_duplicate": _near_duplicate,
    "unreadable": _unreadable,
}
