"""Photos in the studio: what is added, decided, edited, removed and brought back, and what is shown of it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image

from portrait_lora import config, likeness
from portrait_lora.errors import InputError
from portrait_lora.pictures.reader import UnreadablePhoto
from portrait_lora.results import CheckResult, PhotoCounts, PhotoFinding, PhotoVerdict
from portrait_lora.vocabulary import Severity
from portrait_lora.web.services import photo_changes, photos
from portrait_lora.web.studio import Person
from portrait_lora.web.users import OWNER


@pytest.fixture
def person(app: FastAPI) -> Person:
    """Somebody new."""
    return app.state.studio.create(OWNER, "Anna")


def picture(shade: int = 0, size: tuple[int, int] = (80, 100), kind: str = "JPEG") -> bytes:
    """A small picture with a bright corner at the top left."""
    pixels = np.full((size[1], size[0], 3), shade, np.uint8)
    pixels[: size[1] // 2, : size[0] // 2] = 250
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def add(person: Person, name: str, data: bytes) -> photo_changes.Received:
    """Through a file of an upload."""
    part = person.folder.parent / "upload.part"
    part.write_bytes(data)
    try:
        return photo_changes.add(person, name, part)
    finally:
        assert not part.exists()


def checked(person: Person, *verdicts: PhotoVerdict, held: tuple[str, ...] = ()) -> None:
    """Leave what a check would leave."""
    used = sum(v.accepted for v in verdicts)
    counts = PhotoCounts(given=len(verdicts), accepted=used, rejected=(), held_out=len(held))
    result = CheckResult(
        photos=counts, held_out=held, findings=verdicts, missing=(), advice=("More light.",), enough=True,
        report="check.html",
    )  # fmt: skip
    likeness.Journal.open(person.folder / "reports").record({}, 1.0, result)


def verdict(name: str, *codes: str, severity: Severity = "reject", **more: Any) -> PhotoVerdict:
    """A face in the middle, and these findings."""
    findings = tuple(
        PhotoFinding(
            code=c, severity=severity, measured=1.0, threshold=2.0, advice="Is it? Add it to dataset.x."
        )
        for c in codes
    )
    values: dict[str, Any] = {
        "size_px": (80, 100),
        "box_px": (20.0, 20.0, 60.0, 70.0),
        "view": "frontal",
        "expression": "smiling",
    }
    return PhotoVerdict(
        file=name, accepted=not codes or severity == "warn", findings=findings, **(values | more)
    )


def curate(person: Person) -> config.CurateConfig:
    return photos.settings_of(person.folder).dataset.curate


def test_names_bytes_and_endings_are_cleaned_and_the_same_photo_comes_once(person: Person) -> None:
    first = add(person, "../..\\.IMG:1.PNG", picture(10))
    again = add(person, "other name.jpg", picture(10))
    third = add(person, "_IMG_1.jpg", picture(20))
    assert (first.state, again.state, third.state) == ("added", "already", "added")
    assert again.id == first.id and again.name == first.name
    names = [p.name for p in photos.files_of(person.folder)]
    assert names == sorted(names) and all(n.endswith(".jpg") for n in names) and len(names) == 2
    assert not any("/" in n or n.startswith(".") for n in names)
    assert (person.folder / "photos" / first.name).stat().st_mode & 0o77 == 0


@pytest.mark.parametrize(
    "data",
    [b"PK\x03\x04" + bytes(500), b"", picture(1)[:400], b"<svg onload='x'/>"],
    ids=["zip", "empty", "torn", "svg"],
)
def test_what_is_no_picture_is_refused_and_leaves_nothing(person: Person, data: bytes) -> None:
    with pytest.raises(UnreadablePhoto):
        add(person, "a.jpg", data)
    assert photos.files_of(person.folder) == []


def test_more_photos_than_a_person_can_have_are_refused(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photo_changes, "MOST_PHOTOS", 1)
    add(person, "a.jpg", picture(1))
    with pytest.raises(InputError, match="enough photos"):
        add(person, "b.jpg", picture(2))
    assert add(person, "c.jpg", picture(1)).state == "already"


def test_a_turn_and_a_crop_are_read_by_the_training_and_change_no_byte(person: Person) -> None:
    from portrait_lora.pictures.reader import load_photo
    from portrait_lora.stages.configured import edits_of

    got = add(person, "a.png", picture(0, kind="PNG"))
    path, before = photos.photo_of(person, got.id), picture(0, kind="PNG")
    photo_changes.turn(person, got.id, 90)
    photo_changes.crop(person, got.id, [0.5, 0.0, 1.0, 0.5])
    edit = edits_of(photos.settings_of(person.folder).dataset)["a.png"]
    photo, pixels = load_photo(path, edit=edit)
    assert photo.size_px == (50, 40) == pixels.shape[1::-1] and int(pixels.min()) == 250
    small, reduced = load_photo(path, 25, edit=edit)
    assert small.size_px == (50, 40) and reduced.shape[:2] == (20, 25)
    photo_changes.turn(person, got.id, 270)  # the crop goes with it: again the bright corner at the top left
    assert photos.edit_of(person.folder, "a.png").crop == (0.0, 0.0, 0.5, 0.5)  # type: ignore[union-attr]
    photo_changes.crop(person, got.id, None)
    assert photos.edit_of(person.folder, "a.png") is None
    assert path.read_bytes() == before


@pytest.mark.parametrize("box", [[0.1, 0.1, 0.12, 0.9], [0.9, 0.1, 0.1, 0.9], [0, 0, 2, 1], [0.0]])
def test_a_crop_that_leaves_nothing_is_refused(person: Person, box: list[float]) -> None:
    got = add(person, "a.jpg", picture())
    with pytest.raises((InputError, config.ConfigError)):
        photo_changes.crop(person, got.id, box)
    assert photos.edit_of(person.folder, "a.jpg") is None


def test_a_removed_photo_comes_back_with_what_was_decided(person: Person) -> None:
    got, other = add(person, "a.jpg", picture(1)), add(person, "b.jpg", picture(2))
    photo_changes.use_anyway(person, got.id, True)
    photo_changes.use_anyway(person, other.id, True)
    photo_changes.say_who(person, got.id, "same")
    photo_changes.turn(person, got.id, 180)
    kept = photo_changes.remove(person, got.id)
    assert [p.name for p in photos.files_of(person.folder)] == ["b.jpg"]
    assert curate(person).use_anyway == ("b.jpg",) and curate(person).same_person == ()
    add(person, "a.jpg", picture(3))  # the name is taken meanwhile
    back = photo_changes.restore(person, kept)
    assert photos.photo_of(person, back).name == "a-2.jpg"
    assert curate(person).use_anyway == ("a-2.jpg", "b.jpg") and curate(person).same_person == ("a-2.jpg",)
    assert photos.edit_of(person.folder, "a-2.jpg").turn_deg == 180  # type: ignore[union-attr]
    assert photo_changes.removed(person) == []
    with pytest.raises(InputError, match="no such removed photo"):
        photo_changes.restore(person, "../likeness.yaml")


def test_who_it_is_has_one_answer(person: Person) -> None:
    got = add(person, "a.jpg", picture())
    photo_changes.say_who(person, got.id, "same")
    photo_changes.say_who(person, got.id, "other")
    assert (curate(person).same_person, curate(person).other_person) == ((), ("a.jpg",))
    photo_changes.say_who(person, got.id, "")
    assert (curate(person).same_person, curate(person).other_person) == ((), ())


def test_verdicts_are_shown_as_long_as_they_speak_of_the_photo(person: Person) -> None:
    for shade, name in enumerate(("a.jpg", "b.jpg", "c.jpg", "d.jpg")):
        add(person, name, picture(shade))
    blurred = verdict("b.jpg", "blurred")
    doubted = verdict("c.jpg", "doubtful_person", severity="question")
    checked(person, verdict("a.jpg"), blurred, doubted, verdict("gone.jpg"), held=("a.jpg",))
    seen = photos.overview(person)
    rows = photos.by_name(seen.photos)
    assert {n: p.tone for n, p in rows.items()} == {
        "a.jpg": "held",
        "b.jpg": "bad",
        "c.jpg": "ask",
        "d.jpg": "new",
    }
    assert rows["b.jpg"].may_use and not rows["c.jpg"].may_use and rows["c.jpg"].asks
    assert rows["c.jpg"].remarks[0].advice == "Is it?"  # the setting has a button here
    assert rows["b.jpg"].remarks[0].title == "Blurred" and rows["b.jpg"].box == (20.0, 20.0, 40.0, 50.0)
    assert seen.stale and seen.grid is not None and seen.grid.most == 1
    photo_changes.use_anyway(person, rows["b.jpg"].id, True)
    photo_changes.turn(person, rows["a.jpg"].id, 90)
    rows = photos.by_name(photos.overview(person).photos)
    assert rows["b.jpg"].anyway and rows["b.jpg"].pending and rows["b.jpg"].tone == "bad"
    assert rows["a.jpg"].tone == "new" and rows["a.jpg"].box is None


def test_a_verdict_on_other_bytes_is_none(person: Person) -> None:
    add(person, "a.jpg", picture())
    add(person, "b.jpg", picture(1))
    own = photos.sha256_of(person.folder / "photos" / "b.jpg")
    checked(person, verdict("a.jpg", "blurred", sha256="0" * 64), verdict("b.jpg", "blurred", sha256=own))
    tones = {p.name: (p.tone, p.box is None) for p in photos.overview(person).photos}
    assert tones == {"a.jpg": ("new", True), "b.jpg": ("bad", False)}


def test_a_face_that_nobody_can_cut_out_is_never_taken(person: Person) -> None:
    add(person, "a.jpg", picture())
    checked(person, verdict("a.jpg", "no_face", box_px=None))
    assert not photos.overview(person).photos[0].may_use


def test_decisions_arrive_in_the_check_without_losing_the_finding(tmp_path: Path) -> None:
    from dataclasses import replace

    from portrait_lora.dataset.curate import curate as curate_photos
    from portrait_lora.records import Finding
    from tests.dataset.made_up import SAME, report

    reports = [report(tmp_path, i, yaw=-40.0 + 16 * i) for i in range(6)]
    blurred = Finding("blurred", "reject", 3.0, 1.0, "It is blurred.")
    reports[2] = replace(reports[2], findings=(blurred,))
    name = reports[2].photo.path.name
    left = curate_photos(reports, SAME)
    taken = curate_photos(reports, replace(SAME, use_anyway=(name,)))
    assert [r.photo.path.name for r in left.rejected] == [name]
    kept = {r.photo.path.name: r for r in taken.kept}
    assert kept[name].accepted and kept[name].findings[0].severity == "warn" and not taken.rejected
    no_face = [replace(r, face=None) if r is reports[2] else r for r in reports]
    assert name not in {
        r.photo.path.name for r in curate_photos(no_face, replace(SAME, use_anyway=(name,))).kept
    }
    with pytest.raises(InputError, match="no photo of this name"):
        curate_photos(reports, replace(SAME, use_anyway=("nobody.png",)))
    for one in reports[:5]:  # never to measure by, whichever it is
        forced = replace(SAME, use_anyway=(one.photo.path.name,))
        assert one.photo.path.name not in {r.photo.path.name for r in curate_photos(reports, forced).holdout}
