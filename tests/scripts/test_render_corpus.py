"""Corpora of both editions, as they are rendered and read."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import typer

from portrait_lora import vocabulary
from scripts.train import render_corpus
from scripts.train.base.configs import TEXT_LENGTH
from scripts.train.base.tokenizer import write_tokenizer
from scripts.train.corpus import Corpus
from scripts.train.render_corpus import FIRST_TRAINING_SEED, LATER_FIELDS, plan, render_shard


def rendered(folder: Path, edition: int) -> Corpus:
    folder.mkdir()
    seeds = range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + 8)
    (job,) = plan(seeds, 2, 32, 1, 4, folder, edition)
    assert render_shard(job)[:2] == (0, 16)
    assert plan(seeds, 2, 32, 1, 4, folder, edition) == []
    return Corpus(folder)


def test_the_first_edition_keeps_its_words(tmp_path: Path) -> None:
    corpus = rendered(tmp_path / "one", 1)
    looks = json.loads((tmp_path / "one" / "shard-00000.json").read_text())["looks"]
    assert all(not set(LATER_FIELDS) & set(look) for look in looks)
    assert [asdict(look) for look in corpus.looks] == [look | dict.fromkeys(LATER_FIELDS) for look in looks]
    later = set(vocabulary.editions()[2])
    assert not any(set(c.replace(",", "").split()) & later for c in corpus.captions())


def test_the_second_edition_uses_its_words_and_stands_beside_the_first(tmp_path: Path) -> None:
    first, second = rendered(tmp_path / "one", 1), rendered(tmp_path / "two", 2)
    later = set(vocabulary.editions()[2])
    using = [bool(set(c.replace(",", "").split()) & later) for c in second.captions()]
    assert sum(using) / len(using) > 0.5
    assert any(look.setting in vocabulary.PLACES for look in second.looks)
    assert any(look.hat for look in second.looks)
    both = Corpus(first.folder, None, second.folder)
    assert len(both) == 32 and both.looks[16:] == second.looks
    assert both.column("person").tolist()[::2] == [*range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + 8)] * 2


def test_one_folder_holds_one_edition(tmp_path: Path) -> None:
    settings = {"people": 8, "views": 2}
    render_corpus._check_settings(tmp_path, settings)
    render_corpus._check_settings(tmp_path, settings | {"people": 9})
    with pytest.raises(typer.BadParameter, match="edition"):
        render_corpus._check_settings(tmp_path, settings | {"edition": 2})


def test_people_who_are_too_near_are_named_and_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from portrait_lora import synthetic

    people = synthetic.sample_people
    monkeypatch.setattr(synthetic, "sample_people", lambda seeds: people([min(s, 1_000_003) for s in seeds]))
    monkeypatch.setattr(
        synthetic,
        "spacing",
        lambda p, real=synthetic.spacing: real(synthetic.People(tuple(range(6)), p.values)),
    )
    assert render_corpus.people_apart(FIRST_TRAINING_SEED, 6) == [0, 1, 2, 3]
    output = capsys.readouterr().out
    assert "smallest distance of 6 people: 0.000 (3, 4)" in output
    assert "left out: 5, 0.000 from 3" in output and "4 people at least 0.5 apart" in output


@pytest.mark.parametrize("worn", [{"beard": "full beard"}, {"makeup": vocabulary.MAKEUP[-1]}])
def test_the_longest_caption_with_later_words_fits(tmp_path: Path, worn: dict[str, str]) -> None:
    tokenizer = write_tokenizer(tmp_path / "tokenizer")

    def longest(phrases: tuple[str, ...]) -> str:
        return max(phrases, key=lambda p: len(tokenizer.tokenize(p)))

    look = vocabulary.Look(
        subject="woman",
        style=longest(vocabulary.STYLES),
        shot=longest(vocabulary.SHOTS),
        view=longest(vocabulary.VIEWS),
        facing=vocabulary.FACINGS[0],
        hair=f"light brown {longest(vocabulary.HAIR_STYLES)}",
        skin=longest(vocabulary.SKIN_TONES),
        glasses=longest(vocabulary.ALL_GLASSES[1:]),
        expression=longest(vocabulary.EXPRESSIONS),
        wardrobe=f"navy {longest(vocabulary.GARMENTS)}",
        setting=longest(vocabulary.PLACES),
        lighting=longest(vocabulary.ALL_LIGHTINGS),
        light_side=vocabulary.LIGHT_SIDES[0],
        hat=f"navy {longest(vocabulary.HATS[1:])}",
        **worn,
    )
    assert len(tokenizer(vocabulary.sentence(look)).input_ids) <= TEXT_LENGTH
