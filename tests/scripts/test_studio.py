"""The measurement of prompt obedience and the contact sheets, on sizes that take seconds."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from portrait_lora import provenance, synthetic, vocabulary
from portrait_lora.evaluation.similarity import ReferenceSet
from portrait_lora.records import Face
from portrait_lora.vocabulary import Look
from scripts.evaluate.studio import adapters, attainable, classifiers, network, obedience, pages, sheets
from scripts.evaluate.studio.attributes import ATTRIBUTES, PLAIN, UNLABELLED, labels, mirrored, prompted
from scripts.evaluate.studio.merging import apart, group_of, merge, pooled
from scripts.evaluate.studio.wanted import Wanted, draw_wanted
from scripts.train.base.configs import PREVIEW_LOOKS
from scripts.train.corpus import Corpus
from tests.scripts.test_base_training import write_shard

NAMES = [a.name for a in ATTRIBUTES]
FULL = Look(
    "man", "headshot", "profile", "facing left", "light brown side-parted hair", "tan skin", "goatee",
    "no glasses", "smiling", "navy t-shirt", "grey bokeh backdrop", "rim lighting", "lit from the right",
)  # fmt: skip


def words_of(look: Look) -> dict[str, str | None]:
    return {a.name: a.of(look) for a in ATTRIBUTES}


def sure(wanted: Tensor) -> list[Tensor]:
    """Answers of classifiers that are certain of these labels."""
    return [
        torch.nn.functional.one_hot(column.clamp(min=0), len(a.words)).float()
        for column, a in zip(wanted.unbind(1), ATTRIBUTES, strict=True)
    ]


@pytest.fixture(scope="module")
def wanted() -> Wanted:
    return draw_wanted(8, seed=3)


def test_every_field_of_a_look_is_read() -> None:
    words = words_of(FULL)
    assert words["hair colour"] == "light brown"
    assert words["hair style"] == "side-parted hair"
    assert (words["garment colour"], words["garment"]) == ("navy", "t-shirt")
    assert (words["backdrop colour"], words["backdrop"]) == ("grey", "bokeh backdrop")
    assert None not in words.values()
    empty = Look(**{f.name: None for f in fields(Look)} | {"subject": "woman"})
    bare = {"subject": "woman", "hat": vocabulary.HATS[0], "style": PLAIN}
    assert {k: v for k, v in words_of(empty).items() if v} == bare
    bald = Look("man", hair="bald head", beard="stubble")
    assert words_of(bald)["hair colour"] is None
    assert words_of(Look("woman", beard="clean-shaven"))["beard"] is None
    film = words_of(replace(FULL, style="monochrome film", hat="navy beanie", setting="brick wall"))
    assert (film["style"], film["hat"], film["backdrop"]) == ("monochrome film", "beanie", "brick wall")
    assert {k for k, v in film.items() if v is None} == {
        "hair colour", "skin", "garment colour", "backdrop colour",
    }  # fmt: skip


def test_nobody_is_held_to_what_the_prompt_leaves_out() -> None:
    prompt = prompted(FULL)
    assert (prompt.glasses, prompt.beard) == (None, "goatee")
    assert labels([prompt])[0, NAMES.index("glasses")] == UNLABELLED
    assert labels([prompt])[0, NAMES.index("hat")] == UNLABELLED != labels([FULL])[0, NAMES.index("hat")]


def test_a_mirror_swaps_left_and_right_alone() -> None:
    once = mirrored(labels([FULL, PREVIEW_LOOKS[0]]))
    assert torch.equal(mirrored(once), labels([FULL, PREVIEW_LOOKS[0]]))
    changed = (once != labels([FULL, PREVIEW_LOOKS[0]])).any(0).nonzero()[:, 0].tolist()
    assert [NAMES[i] for i in changed] == ["facing", "light side"]


def test_mirrored_pictures_have_mirrored_labels() -> None:
    picture = torch.zeros(32, 3, 128, 128)
    picture[..., :64] = 255.0
    seen, truth = network.disturb(picture, labels([FULL] * 32), torch.Generator().manual_seed(0))
    left = seen[..., :48].mean((1, 2, 3)) > seen[..., 80:].mean((1, 2, 3))
    facing = truth[:, NAMES.index("facing")]
    assert torch.equal(left, facing == vocabulary.FACINGS.index("facing left"))
    assert 4 < int(left.sum()) < 28
    assert 0 <= float(seen.min()) <= float(seen.max()) <= 255


def test_words_are_joined_only_where_they_are_confused() -> None:
    truth = torch.arange(4).repeat(50)
    chances = torch.nn.functional.one_hot(truth, 4).float()
    assert merge(chances, truth) == apart(4)
    mixed = chances.clone()
    mixed[truth == 1] = torch.tensor([0.0, 0.4, 0.0, 0.6])
    groups = merge(mixed, truth)
    assert groups == ((0,), (1, 3), (2,))
    assert group_of(4, groups) == [0, 1, 2, 1]
    assert torch.allclose(pooled(mixed, groups).sum(1), torch.ones(len(truth)))
    assert len(merge(torch.rand(200, 4, generator=torch.Generator().manual_seed(0)), truth)) == 2


def test_prompts_describe_their_renders(wanted: Wanted) -> None:
    assert wanted.renders.shape == (8, 3, 128, 128)
    assert wanted.prompts == tuple(vocabulary.sentence(look) for look in wanted.looks)
    colours = {c for look in wanted.looks if (c := words_of(look)["hair colour"])}
    assert len(colours) >= 6
    assert sorted({look.expression for look in wanted.looks}) == sorted(vocabulary.EXPRESSIONS)
    assert all(look.beard == vocabulary.BEARDS[0] for look in wanted.looks if look.subject == "woman")
    again = draw_wanted(8, seed=3)
    assert again.looks == wanted.looks
    assert torch.equal(again.renders, wanted.renders)
    assert draw_wanted(2, seed=4).prompts != wanted.prompts[:2]


def test_the_second_edition_asks_for_the_later_words() -> None:
    later = draw_wanted(12, seed=3, edition=2)
    words = [words_of(look) for look in later.looks]
    assert {t["rig"] for t in words} == set(vocabulary.ALL_LIGHTINGS)
    assert sum(t["backdrop"] in vocabulary.PLACES for t in words) == 6
    assert Counter(t["style"] for t in words) == {PLAIN: 6} | dict.fromkeys(vocabulary.STYLES, 2)
    assert any(t["hat"] != vocabulary.HATS[0] for t in words)
    assert later.prompts == tuple(vocabulary.sentence(look) for look in later.looks)
    grey = [bool((p.float().std(0) < 12).all()) for p in later.renders]
    assert [t["style"] == "monochrome film" for t in words] == grey


def test_the_ratio_is_what_is_obeyed_of_what_can_be_seen(wanted: Wanted) -> None:
    every = labels(wanted.looks)
    drawn = every.clone()
    expression, view = NAMES.index("expression"), NAMES.index("view")
    drawn[:4, expression] = (drawn[:4, expression] + 1) % 6
    reader = classifiers.Reader(torch.nn.Identity(), tuple(apart(len(a.words)) for a in ATTRIBUTES))
    seen = obedience.Seen(sure(drawn), sure(every), sure(every))
    rows = {r.name: r for r in obedience.attribute_rows(seen, wanted, reader, judge=True)}
    assert rows["obeyed: expression"].value == rows["obedience ratio: expression"].value == 0.5
    assert rows["obedience ratio: expression"].met is False
    assert rows["obedience ratio: view"].met is True
    assert rows["classifier: expression"].met is True
    assert rows["obedience ratio: skin"].met is None
    blind = every.clone()
    blind[4:, view] = (blind[4:, view] + 1) % 3
    seen = obedience.Seen(sure(blind), sure(blind), sure(every))
    rows = {r.name: r for r in obedience.attribute_rows(seen, wanted, reader, judge=True)}
    assert rows["classifier: view"].met is False
    assert rows["obedience ratio: view"].value == 1


def test_joined_words_are_named_and_shown_apart_too(
    wanted: Wanted, capsys: pytest.CaptureFixture[str]
) -> None:
    every = labels(wanted.looks)
    rig = NAMES.index("rig")
    groups = [apart(len(a.words)) for a in ATTRIBUTES]
    groups[rig] = ((0, 1), *((i,) for i in range(2, len(ATTRIBUTES[rig].words))))
    drawn = every.clone()
    drawn[every[:, rig] == 0, rig] = 1
    reader = classifiers.Reader(torch.nn.Identity(), tuple(groups))
    seen = obedience.Seen(sure(drawn), sure(every), sure(every))
    rows = {r.name: r for r in obedience.attribute_rows(seen, wanted, reader, judge=False)}
    assert rows["obedience ratio: rig (11 of 12 words)"].value == 1
    assert rows["obedience ratio: rig, every word apart"].value == pytest.approx(7 / 8)
    assert "three-point lighting = rembrandt lighting" in capsys.readouterr().out


def test_what_an_adapter_costs_is_averaged_over_all_people(tmp_path: Path) -> None:
    layers = {"subject": "ohwx man", "view": "frontal", "wardrobe": "navy suit", "lighting": "rim lighting"}
    assert adapters.look_of(layers) == prompted(
        Look("man", view="frontal", wardrobe="navy suit", lighting="rim lighting")
    )
    for series, shade in (("headshots", 0), ("headshots-base", 255)):
        folder = tmp_path / "portraits" / series
        folder.mkdir(parents=True)
        Image.new("RGB", (96, 160), (shade,) * 3).save(folder / "01.png")
        (folder / "01.json").write_text(json.dumps({"recipe": {"layers": layers}}))
    Image.new("RGB", (96, 160)).save(tmp_path / "portraits" / "headshots" / "02.png")

    class Light(torch.nn.Module):
        """Sees what was prompted in white pictures, and the last word of every list in black ones."""

        def forward(self, x: Tensor) -> Tensor:
            right = sure(labels([adapters.look_of(layers)]))
            wrong = [torch.arange(len(a.words)).float()[None] for a in ATTRIBUTES]
            both = zip(right, wrong, strict=True)
            return torch.cat([r * 9 if float(x.mean()) > 0 else w for r, w in both], 1)

    groups = tuple(apart(len(a.words)) for a in ATTRIBUTES)
    rows = adapters.adapter_rows([tmp_path], classifiers.Reader(Light(), groups))
    assert [r.n for r in rows] == [4, 4, 4]
    assert (rows[0].value, rows[1].value) == (0.0, 1.0)
    assert rows[2].met is False
    assert adapters.adapter_rows([tmp_path / "none"], classifiers.Reader(Light(), groups)) == []


def test_unprompted_glasses_are_counted(wanted: Wanted) -> None:
    drawn = labels(wanted.looks)
    glasses = NAMES.index("glasses")
    silent = drawn[:, glasses] == 0
    drawn[silent.nonzero()[0, 0], glasses] = 2
    rows = {r.name: r for r in obedience.unasked_rows(obedience.Seen(sure(drawn), [], []), wanted)}
    assert rows["glasses drawn unasked"].value == pytest.approx(1 / int(silent.sum()))


def test_the_cascade_finds_faces_and_not_noise() -> None:
    frontal = synthetic.sample_scenes([1, 2, 3], view="frontal", lighting="three-point lighting")
    faces = synthetic.render(synthetic.sample_people([1, 2, 3]), frontal, 128).image_BCHW
    noise = torch.randint(0, 256, (2, 3, 128, 128), generator=torch.Generator().manual_seed(0)).byte()
    detected = obedience.cascade_detects(torch.cat([faces, noise]))
    assert sum(detected[:3]) >= 2
    assert not any(detected[3:])


def test_training_ends_in_classifiers_that_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    write_shard(folder, 0, PREVIEW_LOOKS)
    corpus = Corpus(folder)
    monkeypatch.setattr(classifiers, "HELD_OUT", 2)
    one, two = tmp_path / "one", tmp_path / "two"
    file = classifiers.finish(classifiers.fit(corpus, one, 2, batch=4, through=2), corpus, one, 2)
    again = classifiers.fit(corpus, two, 2, batch=4, through=2)
    reader = classifiers.load(file)
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in reader.net.state_dict().items())
    answers = reader.read(corpus.rows("image", [0, 1, 2]))
    assert [tuple(a.shape) for a in answers] == [(3, len(a.words)) for a in ATTRIBUTES]
    assert torch.allclose(answers[0].sum(1), torch.ones(3))
    assert len(reader.groups) == len(ATTRIBUTES)
    with pytest.raises(FileNotFoundError, match=r"scripts\.evaluate\.studio\.classifiers"):
        classifiers.load(tmp_path / "none.safetensors")


def test_sheets_say_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets, "TILE_PX", 32)
    shown = sheets.choice(sheets._MAN, "beard", vocabulary.BEARDS[:2], vocabulary.BEARDS)
    assert [w for _, w in shown] == list(vocabulary.BEARDS[:2])
    rows = pages.rows_of("Beards", "", shown * 2, columns=3)
    assert [(r.title, len(r.tiles)) for r in rows] == [("Beards", 3), ("", 1)]
    pages.write_page(tmp_path / "a.jpg", "t", rows, drawn=False)
    pages.write_page(tmp_path / "b.jpg", "t", rows, drawn=True)
    assert provenance.is_studio_picture(tmp_path / "a.jpg")
    assert provenance.source_type(tmp_path / "b.jpg") == provenance.TRAINED
    data = (tmp_path / "a.jpg").read_bytes()
    pages.write_page(tmp_path / "a.jpg", "t", rows, drawn=False)
    assert (tmp_path / "a.jpg").read_bytes() == data


def test_overviews_of_people_are_stacked(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "reports").mkdir(parents=True)
        Image.new("RGB", (20, 10), "red").save(tmp_path / name / "reports" / "likeness.jpg")
    assert sheets.likeness_page([tmp_path / "a", tmp_path / "b"]).size == (20, 20)
    with pytest.raises(FileNotFoundError, match="portrait-lora run"):
        sheets.likeness_page([tmp_path / "c"])


def test_a_render_without_a_face_reaches_nothing() -> None:
    holdout = ReferenceSet(np.eye(3, dtype=np.float32)[:1], ("photo",), "b")
    faces = {1: np.eye(3, dtype=np.float32)[0], 2: np.float32([0.6, 0.8, 0.0])}

    class Finder:
        def find(self, image: np.ndarray) -> list[Face]:
            seen = faces.get(int(image[0, 0, 0]))
            return [] if seen is None else [Face((0, 0, 8, 8), 1.0, np.zeros((5, 2)), seen, "b", 1.0, 1.0)]

    pictures = [np.full((8, 8, 3), grey, np.uint8) for grey in (1, 2, 3)]
    report = {"ceiling": 0.9, "impostor": 0.1}
    share = attainable.share_of_ceiling(Finder(), pictures, holdout, report)  # type: ignore[arg-type]
    assert share == pytest.approx(((1 + 0.6 + 0) / 3 - 0.1) / 0.8)


def test_the_loss_is_the_mean_over_the_labelled() -> None:
    generator = torch.Generator().manual_seed(0)
    wanted = torch.stack([torch.randint(-1, len(a.words), (12,), generator=generator) for a in ATTRIBUTES], 1)
    wanted[:, 3] = UNLABELLED
    logits = [torch.randn(12, len(a.words), generator=generator, requires_grad=True) for a in ATTRIBUTES]
    weights = [0.5 + torch.rand(len(a.words), generator=generator) for a in ATTRIBUTES]
    total = network.loss(logits, wanted, weights)
    total.backward()
    assert [bool((guess.grad != 0).any()) for guess in logits] == [i != 3 for i in range(len(ATTRIBUTES))]
    expected = 0.0
    for i, attribute in enumerate(ATTRIBUTES):
        labelled = wanted[:, i] != UNLABELLED
        if labelled.any():
            off = torch.nn.functional.cross_entropy(
                logits[i][labelled], wanted[labelled, i], weights[i], label_smoothing=network._SMOOTHING
            )
            expected += off.item() * (1.0 if attribute.judged else network._BESIDE)
    assert total.item() == pytest.approx(expected, rel=1e-5)
