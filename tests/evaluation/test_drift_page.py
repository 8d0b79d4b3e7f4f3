"""The page shows every prompt and portrait, trusts no text, and needs nothing but itself."""

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from portrait_lora.errors import InputError
from portrait_lora.evaluation import drift_words
from portrait_lora.evaluation.checkpoint_choice import CheckpointScore
from portrait_lora.evaluation.drift import drift_report
from portrait_lora.evaluation.drift_page import PageNotes, thumbnail_uri, write_drift_html, write_drift_json
from portrait_lora.evaluation.drift_words import verdict
from portrait_lora.evaluation.tables import read_report
from portrait_lora.records import IdentityScore

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)> {{ 7 * 7 }} ohwx"
PROMPTS = ("frontal headshot of ohwx man", HOSTILE)
HOLDOUT = ("h1.jpg", "h2.jpg", "h3.jpg")


def scores(shift=0.0):
    measured = [
        IdentityScore(
            f"{p}-{k}.png", prompt, 0.4 + shift + 0.03 * k - 0.1 * p, "h2.jpg", "frontal", "embedder b"
        )
        for p, prompt in enumerate(PROMPTS)
        for k in range(3)
    ]
    return [*measured, IdentityScore("lost.png", PROMPTS[1], None, None, None, "embedder b")]


def report(**changes):
    defaults = {
        "holdout": HOLDOUT,
        "pack_digest": "0123456789abcdef" * 4,
        "threshold": 0.31,
        "false_match_rate": 1e-3,
        "ceiling": 0.61,
        "impostor": 0.05,
        "copy_score": 0.25,
    }
    mine, base = changes.pop("scores", scores()), changes.pop("base", scores(-0.3))
    return drift_report(mine, base, **{**defaults, **changes})


def files(folder, names):
    folder.mkdir(exist_ok=True)
    for i, name in enumerate(names):
        Image.new("RGB", (300, 400), (20 * i, 90, 200)).save(folder / name)
    return {name: folder / name for name in names}


def page(tmp_path, drift=None, notes=None):
    drift = drift or report()
    target = tmp_path / "drift.html"
    write_drift_html(
        target,
        drift,
        portraits=files(tmp_path / "p", [s.portrait for s in drift.scores]),
        holdout=files(tmp_path / "h", drift.holdout),
        base_portraits=files(tmp_path / "b", [s.portrait for s in drift.base_scores]),
        notes=notes,
    )
    return target.read_text(encoding="utf-8")


class Outline(HTMLParser):
    """Tags, attributes and the text of a page."""

    VOID = frozenset({"meta", "img", "line", "circle", "polyline", "link", "br"})

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "title"):
            self.text += data


def test_every_prompt_portrait_and_held_out_photo_is_there(tmp_path):
    outline = Outline(page(tmp_path))
    alts = [attrs["alt"] for tag, attrs in outline.tags if tag == "img"]
    drift = report()
    assert alts.count("portrait lost.png") == 1
    for score in drift.scores:
        assert f"portrait {score.portrait}" in alts
        assert f"base portrait {score.portrait}" in alts
    assert [a for a in alts if a.startswith("photo ")] == [f"photo {name}" for name in HOLDOUT]
    for prompt in PROMPTS:
        assert prompt in outline.text
    assert outline.open == []


def test_numbers_stand_on_the_page(tmp_path):
    text = Outline(page(tmp_path)).text
    drift = report()
    for value in (drift.mean, drift.base_mean, drift.ceiling, drift.impostor, drift.threshold):
        assert f"{value:.3f}" in text
    assert f"{drift.share_of_ceiling * 100:.0f}\u00a0%" in text
    assert "25\u00a0%" in text
    assert "6 of 7 portraits" in text
    for score in drift.scores:
        if score.similarity is not None:
            assert f"{score.similarity:.3f}" in text


def test_a_portrait_without_a_face_is_marked(tmp_path):
    html = page(tmp_path)
    assert html.count('class="none">no face<') == 2  # the adapter's and the base model's
    assert html.count('class="tile missing"') == 2


def test_hostile_text_stays_text(tmp_path):
    outline = Outline(
        page(tmp_path, notes=PageNotes(title=HOSTILE, settings={HOSTILE: HOSTILE}, not_verified=[HOSTILE]))
    )
    assert not [tag for tag, _ in outline.tags if tag == "script"]
    assert not [attrs for _, attrs in outline.tags if "onerror" in attrs or attrs.get("src") == "x"]
    assert outline.text.count(HOSTILE) == 6  # the heat map names the prompt, too


def test_the_page_needs_nothing_from_outside(tmp_path):
    html = page(tmp_path)
    sources = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert sources
    assert all(s.startswith("data:image/jpeg;base64,") for s in sources)
    assert "default-src 'none'" in html
    assert "url(" not in html
    assert str(tmp_path) not in html


def test_indicative_synthetic_and_checkpoints_are_stated(tmp_path):
    table = [CheckpointScore(s, 0.1 + s / 1000, 1.0, 3, (0.1, 0.2, 0.3)) for s in (100, 200)]
    plain = page(tmp_path)
    assert "Indicative." not in plain
    assert "Synthetic models." not in plain
    assert "Which checkpoint" not in plain
    notes = PageNotes(checkpoints=table, selected_step=200, synthetic=True, embedder_select="embedder a")
    full = page(tmp_path, report(holdout=HOLDOUT[:2]), notes)
    for words in ("Indicative.", "Synthetic models.", "Which checkpoint was kept", "Step 200", "embedder a"):
        assert words in full
    assert "The guard refused" not in full
    assert "fell behind" not in full
    behind = [replace(table[0], n=2), *table[1:]]
    words = "fell behind on the first 2 probes were not drawn further"
    assert words in page(tmp_path, report(), replace(notes, checkpoints=behind))
    some = [replace(row, refused=2) for row in table]
    assert "The guard refused 4 of" in page(tmp_path, report(), replace(notes, checkpoints=some))


def test_extreme_reports_still_make_a_page(tmp_path):
    lost = [IdentityScore("a.png", "p", None, None, None, "b")]
    html = page(tmp_path, report(scores=lost, base=[], copy_score=float("nan")))
    assert "No face was found in any portrait" in html
    assert "not measured" in html
    assert drift_words.TOO_FEW in html
    assert "nan" not in Outline(html).text.lower()
    flat = report(ceiling=0.05, impostor=0.05)
    assert "cannot carry a measurement" in verdict(flat)
    assert page(tmp_path, flat).count('<div class="big ">–</div>') == 1
    assert "no more like this person" in verdict(report(impostor=0.5))


def test_a_missing_picture_does_not_hide_its_score(tmp_path):
    target = tmp_path / "drift.html"
    write_drift_html(
        target, report(), portraits={}, holdout={}, base_portraits={"0-0.png": tmp_path / "no.png"}
    )
    text = Outline(target.read_text(encoding="utf-8")).text
    assert text.count("picture not found") == 3 + 7 + 7
    assert text.count("no picture") == 7
    assert "0.430" in text


def over(prompts, values=(0.3, 0.4)):
    """A report over so many prompts, each with a portrait of every value."""
    spread = [
        IdentityScore(f"{p}-{k}.png", f"prompt {p}", v + 0.01 * p, "h2.jpg", "frontal", "embedder b")
        for p in range(prompts)
        for k, v in enumerate(values)
    ]
    return report(scores=spread, base=[])


@pytest.mark.parametrize("prompts", [1, 2, 3, 4, 8])
def test_an_interval_is_shown_from_four_prompts_on(tmp_path, prompts):
    drift = over(prompts)
    shown = prompts >= 4
    html = page(tmp_path, drift)
    text = Outline(html).text
    interval = f"{drift.ci95[0]:.3f} to {drift.ci95[1]:.3f}"
    assert (interval in text) is shown and ("interval" in verdict(drift)) is shown
    assert ('<line class="whisker"' in html) is shown
    assert ("Too few prompts." in text) is not shown and (drift_words.TOO_FEW in text) is not shown


def test_without_prompts_there_is_no_interval_anywhere(tmp_path):
    drift = report(scores=[replace(s, prompt="all portraits") for s in over(8).scores], base=[])
    html = page(tmp_path, drift, PageNotes(prompts_known=False, words=drift_words.OTHER_TOOL))
    text = Outline(html).text
    assert "No interval." in text and drift_words.NO_PROMPTS in text
    assert f"{drift.ci95[0]:.3f} to {drift.ci95[1]:.3f}" not in text and '<i class="span"' not in html


def test_of_pictures_of_another_tool_nothing_is_claimed_that_nobody_knows(tmp_path):
    drift = over(8)
    foreign = Outline(page(tmp_path, drift, PageNotes(words=drift_words.OTHER_TOOL, synthetic=True))).text
    for claim in ("this adapter", "has not seen", "held out before", "a training photo", "that made and"):
        assert claim not in foreign.lower(), claim
    assert "Whether the tool was given some of them is not known." in foreign
    assert "The same prompts and seeds without the adapter" not in foreign
    named = Outline(page(tmp_path, drift, PageNotes(words=drift_words.OTHER_TOOL_TRAINING))).text
    assert "a photo that the tool was given" in named and "is not known" not in named
    own = Outline(page(tmp_path, drift)).text
    assert "this adapter has not seen them" in own and "this person and this adapter" in own


def test_the_verdict_says_whether_they_pass_as_this_person():
    rates = {(0.1,) * 20: "None passes", (0.1,) * 19 + (0.4,): "Only 1 of 20 passes",
             (0.1,) * 17 + (0.4,) * 3: "Only 3 of 20 pass", (0.1,) * 3 + (0.4,) * 17: "Most, 17 of 20 pass",
             (0.1,) + (0.4,) * 19: "Nearly all, 19 of 20 pass", (0.4,) * 20: "All pass"}  # fmt: skip
    for values, words in rates.items():
        drift = report(
            scores=[IdentityScore(f"{k}", "p", v, None, None, "b") for k, v in enumerate(values)], base=[]
        )
        assert f"{words} as this person" in verdict(drift)


def test_verdict_gives_the_share_with_its_interval():
    drift = over(5)
    low, high = ((end - 0.05) / 0.56 for end in drift.ci95)
    assert f"reach {drift.share_of_ceiling * 100:.0f}\u00a0%" in verdict(drift)
    assert f"{low * 100:.0f}\u00a0% to {high * 100:.0f}\u00a0%" in verdict(drift)


def test_thumbnails_are_small_upright_and_bare(tmp_path):
    pixels = np.zeros((400, 800, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a secret"
    Image.fromarray(pixels).save(tmp_path / "big.jpg", exif=exif)
    data = base64.b64decode(thumbnail_uri(tmp_path / "big.jpg").split(",", 1)[1])
    with Image.open(io.BytesIO(data)) as small:
        assert small.size == (128, 256)
        assert not small.getexif()
    assert b"secret" not in data
    assert thumbnail_uri(tmp_path / "none.jpg") is None


def test_json_is_plain_and_complete(tmp_path):
    drift = report(base=[], copy_score=float("nan"))
    write_drift_json(tmp_path / "drift.json", drift, PageNotes(copy_gap=0.02, selected_step=4))
    value = json.loads((tmp_path / "drift.json").read_text(encoding="utf-8"))
    assert value["base_mean"] is None
    assert value["copy_score"] is None
    assert value["gain_over_base"] is None
    assert value["mean"] == pytest.approx(drift.mean)
    assert value["ci95"] == pytest.approx(list(drift.ci95))
    assert value["share_of_ceiling"] == pytest.approx(drift.share_of_ceiling)
    assert [p["prompt"] for p in value["prompts"]] == list(PROMPTS)
    assert value["scores"][-1]["similarity"] is None
    assert value["holdout"] == list(HOLDOUT)
    assert value["copy_gap"] == 0.02
    assert "embedding" not in json.dumps(value)


def test_a_report_is_read_again_as_it_was_written(tmp_path):
    drift = report(base=[], copy_score=float("nan"), impostor=float("nan"))
    write_drift_json(tmp_path / "drift.json", drift, PageNotes(copy_gap=0.02))
    again = read_report(tmp_path / "drift.json")
    assert repr(again) == repr(drift)  # NaN is not equal to itself
    raw = json.loads((tmp_path / "drift.json").read_text(encoding="utf-8"))
    raw["prompts"][0]["median"] = 0.5
    (tmp_path / "drift.json").write_text(json.dumps(raw))
    with pytest.raises(InputError, match="another version"):
        read_report(tmp_path / "drift.json")


def test_json_has_no_share_without_a_gap_and_records_the_gain(tmp_path):
    write_drift_json(tmp_path / "drift.json", report(ceiling=0.05, impostor=0.05))
    value = json.loads((tmp_path / "drift.json").read_text(encoding="utf-8"))
    assert value["share_of_ceiling"] is None
    assert value["gain_over_base"]["clusters"] == 2
