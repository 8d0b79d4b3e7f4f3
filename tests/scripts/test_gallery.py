"""The gallery page accounts for every look, and what is shown on it has eyes and hair."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait_lora import provenance, synthetic
from portrait_lora.faces.backends import Analyzer, open_analyzer
from portrait_lora.faces.eyes import BLANK, CLEAR, eye_contrast
from portrait_lora.faces.packs import resolve_pack
from portrait_lora.generation.templates import TEMPLATES
from portrait_lora.records import Portrait, RGBImage, Shot
from scripts import gallery
from scripts.gallery import Candidate

LOOKS = gallery.with_words()[:2]


@pytest.fixture(scope="module")
def finder() -> Analyzer:
    return open_analyzer(resolve_pack("embedded"), "select")


@pytest.fixture(scope="module")
def photo() -> RGBImage:
    scenes = synthetic.sample_scenes(
        [7],
        view="frontal",
        pitch_deg=0.0,
        roll_deg=0.0,
        expression="neutral",
        lighting="three-point lighting",
        setting="grey seamless backdrop",
        shot="headshot",
        head_fraction=0.6,
        centre=(0.0, 0.0),
        gaze=(0.0, 0.0),
    )
    people = synthetic.sample_people([4031])
    picture = synthetic.render(people, scenes, 128, supersample=2).image_BCHW[0]
    return np.ascontiguousarray(picture.permute(1, 2, 0).numpy())


def candidate(**changed: object) -> Candidate:
    portrait = Portrait(Path("a.png"), Shot("a", "", "", (128, 128), 1, ()), 20, 3.0, 1.0, None)
    return replace(Candidate(portrait, False, False, (), 0.8, CLEAR), **changed)  # pyright: ignore[reportArgumentType]


def test_the_page_is_that_of_the_book_and_its_sheets_are_there() -> None:
    text = (gallery.DOCS / "gallery.md").read_text(encoding="utf-8")
    assert text == gallery.page(gallery.grouped())
    for look in TEMPLATES:
        assert f"| {look.name} | {look.group} | {gallery.status(look)} |" in text
    shown = {look.group for look in TEMPLATES if gallery.status(look) == gallery.SHOWN}
    assert {p.stem for p in gallery.DOCS.glob("gallery-*.jpg")} == {f"gallery-{g}" for g in shown}


def test_every_list_of_looks_names_looks_that_the_base_has_words_for() -> None:
    known = {look.name for look in gallery.with_words()}
    assert known >= gallery.BADLY_DRAWN
    assert known - gallery.BADLY_DRAWN >= {look for _, look in gallery.PREFERRED}


def test_the_sheets_are_small_and_say_that_they_were_generated() -> None:
    sheets = sorted(gallery.DOCS.glob("gallery-*.jpg"))
    assert sum(p.stat().st_size for p in sheets) < 2_500_000
    assert {provenance.source_type(p) for p in sheets} == {provenance.TRAINED}
    for path in sheets:
        with Image.open(path) as page:
            assert 900 < page.width <= 1280  # three or four people


def test_eyes_painted_over_are_blank(photo: RGBImage, finder: Analyzer) -> None:
    face = finder.find(photo)[0]
    seen = eye_contrast(photo, face)
    assert seen is not None and seen > BLANK
    assert face.landmarks_px is not None
    painted = photo.copy()
    for eye in (slice(36, 42), slice(42, 48)):
        x0, y0 = np.floor(face.landmarks_px[eye].min(0)).astype(int) - 1
        x1, y1 = np.ceil(face.landmarks_px[eye].max(0)).astype(int) + 2
        painted[y0:y1, x0:x1] = 235
        one_blank = eye_contrast(painted, face)
        assert one_blank is not None and one_blank < BLANK
    assert eye_contrast(photo, replace(face, landmarks_px=None)) is None


def test_a_far_eye_does_not_count(photo: RGBImage, finder: Analyzer) -> None:
    face = finder.find(photo)[0]
    assert face.landmarks_px is not None
    turned = face.landmarks_px.copy()
    middle = turned[36:42].mean(0)
    turned[36:42] = middle + (turned[36:42] - middle) * np.float32(0.55)  # 0.30 of its area
    flat = photo.copy()
    x, y = np.round(middle).astype(int)
    flat[y - 6 : y + 7, x - 9 : x + 10] = 235
    seen = eye_contrast(flat, replace(face, landmarks_px=turned))
    assert seen is not None and seen > BLANK


def test_hair_at_the_border_is_cut(photo: RGBImage, finder: Analyzer) -> None:
    face = finder.find(photo)[0]
    assert not gallery.hair_cut(photo, face, finder)
    parts = finder.parts(photo, face)
    assert parts is not None
    crown = int(np.argmax(parts.where("hair").any(axis=1)))
    below = np.ascontiguousarray(photo[crown + 6 :])
    assert gallery.hair_cut(below, finder.find(below)[0], finder)


def test_faults_come_before_likeness_and_likeness_counts_as_far_as_the_eyes_are_clear() -> None:
    good = candidate()
    assert good.rank > candidate(likeness=0.99, blank=True).rank
    assert good.rank > candidate(likeness=0.99, hair_cut=True).rank
    assert good.rank > candidate(likeness=0.99, faults=("framing",)).rank
    assert good.rank > candidate(likeness=0.99, contrast=CLEAR * 0.7).rank
    assert good.rank == candidate(contrast=2 * CLEAR).rank


def test_the_best_is_chosen_unless_another_is_preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = [candidate(likeness=k / 100) for k in range(2 * gallery.CANDIDATES)]
    monkeypatch.setattr(gallery, "PREFERRED", {("Ada", LOOKS[0].name): 3, ("Bea", LOOKS[1].name): 0})
    kept = gallery.chosen("Ada", LOOKS, candidates)
    assert kept == {LOOKS[0].name: candidates[3], LOOKS[1].name: candidates[-1]}


@pytest.mark.parametrize("fault", ["blank", "hair_cut"])
def test_a_look_without_a_picture_to_show_is_refused(fault: str) -> None:
    candidates = [candidate() for _ in range(gallery.CANDIDATES)]
    candidates += [candidate(**{fault: True}) for _ in range(gallery.CANDIDATES)]
    with pytest.raises(SystemExit, match=f"Ada: nothing to show of {LOOKS[1].name};"):
        gallery.chosen("Ada", LOOKS, candidates)
