import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from portrait_lora.dataset.checks import CODES
from portrait_lora.dataset.curate import curate
from portrait_lora.dataset.report import TITLES, write_check_html
from portrait_lora.records import Finding, Photo, PhotoReport
from tests.browser import Window, widths
from tests.sampling import sampled

from .made_up import SAME, draw, report

HOSTILE = "<script>alert('x')</script> \"quoted\" & 🙂.png".replace("/", "_")


class Reader(HTMLParser):
    """Collects tags and the text outside of style and script."""

    def __init__(self):
        super().__init__()
        self.tags, self.texts, self.attributes = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.texts.append(data.strip())


def read(path):
    reader = Reader()
    reader.feed(path.read_text("utf-8"))
    return reader


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    reports = [report(folder, i, yaw=(i % 3 - 1) * 30.0) for i in range(6)]
    blurred = Finding("blurred", "reject", 1.62, 1.15, "The face is out of focus.")
    untold = Finding("sunglasses", "not_checked", None, None, "Look.")
    hostile = report(folder, 7)
    path = hostile.photo.path.rename(folder / HOSTILE)
    reports.append(PhotoReport(replace(hostile.photo, path=path), hostile.face, (blurred, untold)))
    (folder / "empty.jpg").write_bytes(b"")
    empty = Finding("unreadable", "reject", None, None, "The file is empty.")
    reports.append(PhotoReport(Photo(folder / "empty.jpg", "", (0, 0)), None, (empty,)))
    reports.append(report(folder, 30, person=2))
    curated = curate(reports, SAME)
    path = folder.parent / "reports" / "check.html"
    write_check_html(path, curated, reports, title="Check of <Ann>")
    return path, reports, curated


def test_every_photo_and_every_reason_is_on_the_page(page):
    path, reports, curated = page
    reader = read(path)
    names = [r.photo.path.name for r in reports]
    assert all(name in reader.texts for name in names)
    codes = [value for key, value in reader.attributes if key == "data-code"]
    assert sorted(codes) == ["blurred", "other_person", "unreadable"]
    text = " ".join(reader.texts)
    for words in (
        "1.62 px of edge width in the aligned face; below 1.15 needed",
        "The face is out of focus.",
        "The file is empty.",
    ):
        assert words in text
    assert ", ".join(r.photo.path.name for r in curated.holdout) in text
    assert reader.texts.count("Held out") == 2
    assert reader.texts.count("Rejected") == 3
    assert reader.texts.count("Used") == 4
    assert "sunglasses" in text


def test_the_page_is_complete_in_itself_and_hostile_names_are_harmless(page):
    path, reports, _ = page
    html = path.read_text("utf-8")
    reader = read(path)
    assert "script" not in reader.tags
    assert reader.tags.count("image") == len(reports) - 1
    assert not re.search(r"(?:src|href)=\"(?!data:image/jpeg)", html)
    assert "http" not in re.sub(r"http-equiv", "", html)
    assert "Check of &lt;Ann&gt;" in html


def test_the_grids_and_the_groups_are_on_the_page(page):
    text = " ".join(read(page[0]).texts)
    assert "Photos by view and expression" in text
    assert "Photos by view and tilt of the head" in text
    assert "looking up" in text
    assert re.search(r"\d plain backdrops?, the most frequent in \d of \d photos", text)


PHONE = Window(390, 844)


@pytest.mark.parametrize(
    "browser_page", sampled([Window(), PHONE], kept=lambda window: window == PHONE, name=str), indirect=True
)
def test_a_browser_shows_every_photo_and_reason_without_scrolling_sideways(page, browser_page):
    path, reports, _ = page
    browser_page.goto(path.as_uri())
    reader = Reader()
    reader.feed(browser_page.content())
    assert all(r.photo.path.name in reader.texts for r in reports)
    assert [v for k, v in reader.attributes if k == "data-code"]
    content, window = widths(browser_page)
    assert content <= window
    shot = Image.open(io.BytesIO(browser_page.screenshot())).convert("L")
    assert len(np.unique(np.asarray(shot))) > 40


def test_face_box_and_keypoints_are_drawn(page):
    reader = read(page[0])
    assert reader.tags.count("rect") == 8
    assert reader.tags.count("circle") == 5 * 8


def test_the_page_is_written_without_a_curated_set_too(tmp_path):
    reports = [report(tmp_path, 0, pixels=draw(0))]
    write_check_html(tmp_path / "check.html", None, reports, note="not enough usable photos")
    text = " ".join(read(tmp_path / "check.html").texts)
    assert "photo_00.png" in text
    assert "not enough usable photos" in text
    write_check_html(tmp_path / "none.html", None, [])
    assert "More usable photos first." not in text


def test_every_code_has_a_title():
    assert set(TITLES) == set(CODES)


def test_a_question_has_its_own_verdict_and_count(tmp_path):
    photos = [report(tmp_path, i) for i in range(6)]
    question = Finding("doubtful_person", "question", 0.4, 0.5, "Is this the person of photo_00.png?")
    photos.append(replace(report(tmp_path, 9), findings=(question,)))
    page = tmp_path / "check.html"
    write_check_html(page, None, photos)
    text = page.read_text(encoding="utf-8")
    assert "A question to you; left out until then" in text
    assert 'class="card ask"' in text and 'class="question" data-code="doubtful_person"' in text
    assert "left out until you answer" in text
    assert text.count('class="card bad"') == 0


def test_what_a_pack_does_not_measure_is_no_table(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    reports = [report(photos, i, yaw=(i % 3 - 1) * 30.0, expression=None) for i in range(6)]
    plain = [replace(r, face=replace(r.face, pose_from_points=True)) for r in reports]
    path = tmp_path / "check.html"
    write_check_html(path, curate(plain, SAME), plain, title="Ann")
    text = " ".join(read(path).texts)
    assert "Photos by view " in text and "Photos by view and" not in text
    assert "unknown" not in text
