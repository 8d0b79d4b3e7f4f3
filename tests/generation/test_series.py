"""Series files: templates, brands, locks, counts and sizes; what contradicts itself is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from portrait_lora import vocabulary
from portrait_lora.config import configs_dir
from portrait_lora.errors import ConfigError
from portrait_lora.families.catalog import EMBEDDED
from portrait_lora.generation import prompts
from portrait_lora.generation.brand import load_brand
from portrait_lora.generation.series import read_series, series_path
from portrait_lora.records import Shot

CLOSED = ("cinematic", "headshots", "drift", "grid", "professions", "cinematic-studio", "avatars")


def _load(series: str | Path, **more: object) -> list[Shot]:
    settings: dict[str, object] = {
        "trigger": "ohwx",
        "subject": "man",
        "resolution_px": 512,
        "form": "clauses",
    } | more
    return prompts.load_series(series, **settings)  # type: ignore[arg-type]


def _file(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", sorted((configs_dir() / "series").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_packaged_series_loads(path: Path) -> None:
    shots = _load(path.stem)
    assert len({s.name for s in shots}) == len(shots) and len({s.seed for s in shots}) == len(shots)
    known = prompts.known_words(EMBEDDED)
    assert known is not None
    if path.stem in CLOSED:
        for shot in _load(path.stem, closed=True, known=known, resolution_px=128):
            assert set(shot.prompt.replace(",", "").split()) <= known, shot.prompt
    else:
        with pytest.raises(ConfigError, match="beyond the vocabulary"):
            _load(path.stem, closed=True, known=known)


def test_a_template_gives_layers_and_aspect_and_a_shot_may_change_them(tmp_path: Path) -> None:
    path = _file(
        tmp_path,
        "shots:\n  - {template: noir}\n"
        "  - {name: own, template: noir, wardrobe: red coat, aspect: '1:1', count: 3}\n",
    )
    shots = _load(path, per_shot=2)
    assert [s.name for s in shots] == ["01-noir-1", "01-noir-2", "02-own-1", "02-own-2", "02-own-3"]
    assert shots[0].size_px == (448, 640) and shots[2].size_px == (512, 512)
    assert "dark trench coat" in shots[0].prompt and "red coat" in shots[2].prompt
    assert "plastic skin" in shots[0].negative_prompt


def test_a_brand_lies_over_every_shot(tmp_path: Path) -> None:
    sheet = _file(
        tmp_path,
        "brand: B\nsetting: white seamless backdrop\nwardrobe: teal shirt\naspect: '2:3'\n"
        "framing: {shot: close-up, eye_line: 0.42}\nnegative_prompt: hat\n",
        "brand.yaml",
    )
    shots = _load("headshots", brand=sheet)
    assert len(shots) == 8
    for shot in shots:
        layers = dict(shot.layers)
        assert layers["setting"] == "white seamless backdrop" and layers["shot"] == "close-up"
        assert "teal shirt" in shot.prompt and shot.negative_prompt == "hat"
        assert shot.size_px == (448, 640)
    assert len({dict(s.layers)["lighting"] for s in shots}) > 3
    assert load_brand(sheet).eye_line == 0.42 and load_brand(sheet).head_height is None


@pytest.mark.parametrize(
    ("series", "brand", "message"),
    [
        (
            "locked: {setting: red wall}\nshots: [{view: frontal}]",
            "setting: grey wall",
            "contradictory locks",
        ),
        ("grid: {setting: [red wall, blue wall]}", "setting: grey wall", "contradictory locks"),
        ("shots: [{view: frontal}]", "colour: red", "unknown key 'colour'"),
        ("shots: [{view: frontal}]", "framing: {eye_line: 3}", "not a fraction of the height"),
        ("shots: [{view: frontal}]", "brand: nothing", "sets nothing"),
        ("shots: [{view: frontal, count: 0}]", "setting: grey wall", "not a whole number"),
        ("shots: [{template: nor}]", "setting: grey wall", "Did you mean 'noir'"),
    ],
)
def test_contradictions_are_named(tmp_path: Path, series: str, brand: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _load(_file(tmp_path, series), brand=_file(tmp_path, brand, "brand.yaml"))


def test_the_same_lock_in_series_and_brand_is_no_contradiction(tmp_path: Path) -> None:
    series = _file(tmp_path, "locked: {setting: grey wall}\nshots: [{view: frontal}]")
    assert _load(series, brand=_file(tmp_path, "setting: grey wall", "brand.yaml"))


def test_the_packaged_brand_and_an_unknown_one() -> None:
    assert {dict(s.layers)["wardrobe"] for s in _load("headshots", brand="example")} == {"navy suit"}
    with pytest.raises(ConfigError, match="Did you mean 'example'"):
        load_brand("exampel")


def test_candidates_have_seeds_of_their_own() -> None:
    seeds = [prompts.candidate_seed(s.seed, k) for s in _load("headshots", per_shot=4) for k in range(4)]
    assert len(set(seeds)) == len(seeds)
    assert prompts.candidate_seed(17, 0) == 17


def test_reading_a_template_only_series(tmp_path: Path) -> None:
    path = _file(tmp_path, "template: corporate\n")
    assert [e.name for e in read_series(path).entries] == ["corporate"]
    assert series_path(path) == path


def test_a_base_declares_its_words(tmp_path: Path) -> None:
    from dataclasses import replace

    assert prompts.known_words(replace(EMBEDDED, folder=None, synthetic=False)) is None
    (tmp_path / "vocabulary.json").write_text('["ohwx", "man"]')
    assert prompts.known_words(replace(EMBEDDED, folder=tmp_path)) == {"ohwx", "man"}


def test_a_base_of_the_studio_knows_the_words_that_its_tokenizer_learnt(tmp_path: Path) -> None:
    from dataclasses import replace

    first, *_ = vocabulary.editions()
    known = prompts.known_words(EMBEDDED)
    assert known is not None and known >= set(first)
    (tmp_path / "tokenizer").mkdir()
    tokens = ("navy</w>", "t</w>", "-</w>", "shirt</w>", "oil", "film</w>")
    (tmp_path / "tokenizer" / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    base = replace(EMBEDDED, folder=tmp_path)
    assert prompts.known_words(base) == {"navy", "t-shirt", "shirt", "film"}
    path = _file(tmp_path, "template: oil\n")
    assert _load(path, closed=True, known=vocabulary.words())[0].prompt.startswith("oil painting three-q")
    with pytest.raises(ConfigError, match="oil, painting"):
        _load(path, closed=True, known=first)
