"""Series: the embedded base knows every word, and mistakes are named with file and key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from portrait_lora import vocabulary
from portrait_lora.errors import ConfigError
from portrait_lora.generation import prompts
from portrait_lora.generation.edits import changed
from portrait_lora.records import Shot

PACKAGED = ("headshots", "drift")


def _load(name: str | Path, **more: int) -> list[prompts.Shot]:
    return prompts.load_series(
        name, trigger="ohwx", subject="woman", resolution_px=128, form="clauses", **more
    )


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_series_use_only_words_of_the_vocabulary(name: str) -> None:
    known = set(vocabulary.words())
    shots = _load(name)
    assert len(shots) >= 8
    for shot in shots:
        assert set(shot.prompt.replace(",", "").split()) <= known, shot.prompt
        assert shot.prompt.startswith(
            tuple(f"{v} {s} of ohwx woman, " for v in vocabulary.VIEWS for s in vocabulary.SHOTS)
        )
        layers = dict(shot.layers)
        assert layers["expression"] in vocabulary.EXPRESSIONS
        assert layers["lighting"] in vocabulary.LIGHTINGS
        garment = re.fullmatch(r"(\S+) (.+)", layers["wardrobe"])
        assert garment and garment[1] in vocabulary.GARMENT_COLOURS and garment[2] in vocabulary.GARMENTS
        backdrop = re.fullmatch(r"(\S+) (.+)", layers["setting"])
        assert backdrop and backdrop[1] in vocabulary.BACKDROP_COLOURS and backdrop[2] in vocabulary.BACKDROPS


def test_probes_share_no_prompt_and_no_seed_with_any_series() -> None:
    probes = prompts.probe_shots("ohwx", "woman", 16, resolution_px=128)
    known = set(vocabulary.words())
    assert all(set(p.prompt.replace(",", "").split()) <= known for p in probes)
    assert len({p.prompt for p in probes}) == 16
    series = [s for name in PACKAGED for s in _load(name, per_shot=8)]
    assert not {p.prompt for p in probes} & {s.prompt for s in series}
    assert not {p.seed for p in probes} & {s.seed for s in series}
    assert len({s.seed for s in series}) == len(series)
    headshots, drift = ({s.prompt for s in _load(n)} for n in PACKAGED)
    assert not headshots & drift


def test_seeds_follow_from_series_shot_and_picture() -> None:
    one, two = _load("headshots"), _load("headshots", per_shot=2)
    assert [s.seed for s in one] == [s.seed for s in two[::2]]
    assert [s.name for s in two[:2]] == ["01-classic-1", "01-classic-2"]
    assert two[0].prompt == two[1].prompt and two[0].seed != two[1].seed


def test_the_bare_base_and_described_people() -> None:
    bare = prompts.load_series("headshots", trigger="", subject="man", resolution_px=128, form="clauses")[0]
    assert bare.prompt.startswith("frontal headshot of a man, neutral, navy suit")
    traits = {"hair": "black short hair", "glasses": "no glasses"}
    shot = prompts.load_series(
        "headshots", trigger="ohwx", subject="man", resolution_px=128, form="clauses", traits=traits
    )[0]
    assert shot.prompt.startswith("frontal headshot of ohwx man, black short hair, neutral, navy suit")


def test_grid_locked_layers_camera_and_aspect(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        'series: mine\nseed: 4\naspect: "3:4"\nnegative_prompt: blurry\n'
        "locked: {setting: grey seamless backdrop, camera: 85 mm lens}\n"
        "grid: {lighting: [rim lighting, split lighting], wardrobe: [navy suit, white shirt, red suit]}\n",
    )
    shots = prompts.load_series(path, trigger="ohwx", subject="man", resolution_px=512, form="clauses")
    assert len(shots) == 6 and len({s.name for s in shots}) == 6
    assert all(s.prompt.endswith("85 mm lens") and "grey seamless backdrop" in s.prompt for s in shots)
    assert (
        shots[0].prompt == "portrait of ohwx man, navy suit, grey seamless backdrop, rim lighting, 85 mm lens"
    )
    assert shots[0].size_px == (448, 576) and shots[0].negative_prompt == "blurry"
    assert prompts.size_for((1, 1), 128) == (128, 128)
    assert prompts.size_for((3, 4), 128) == (112, 144)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seriess: x\nshots: [{view: frontal}]", "unknown key 'seriess'.*Did you mean 'series'"),
        (
            "shots: [{lightning: rim lighting}]",
            r"shots\[1\]: unknown key 'lightning'.*Did you mean 'lighting'",
        ),
        ("shots: [{lighting: 3}]", r"shots\[1\]\.lighting: not text"),
        ("shots: []", "no shots"),
        ("shots: [{name: a}, {name: A}]", "the same name"),
        ("locked: {view: frontal}\nshots: [{view: profile}]", "locked layer is set again"),
        ("aspect: wide\nshots: [{view: frontal}]", "aspect ratio"),
        ("aspect: '3:0'\nshots: [{view: frontal}]", "aspect ratio"),
        ("seed: one\nshots: [{view: frontal}]", "seed: not a whole number"),
        ("- a\n- b", "not a mapping"),
        ("shots: {", "not valid YAML"),
    ],
)
def test_mistakes_are_named_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        _load(_write(tmp_path, text))
    assert "mine.yaml" in str(caught.value)


def test_an_unknown_series_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'headshots'"):
        _load("headshot")


def test_prompts_of_a_closed_base_state_the_facing_and_the_light_side(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        "series: mine\nshots:\n"
        "  - {name: a, view: three-quarter, lighting: rim lighting}\n"
        "  - {name: b, view: profile, lighting: butterfly lighting}\n"
        "  - {name: c, view: three-quarter, facing: facing left, light_side: lit from the right,"
        " lighting: rim lighting}\n"
        "  - {name: d, view: frontal, lighting: split lighting}\n",
    )
    sentences = [
        {k: v for k, v in shot.layers if k in ("facing", "light_side")}
        for shot in prompts.load_series(
            path, trigger="ohwx", subject="man", resolution_px=64, form="clauses", closed=True
        )
    ]
    assert sentences == [
        {"facing": "facing right", "light_side": "lit from the right"},
        {"facing": "facing left"},
        {"facing": "facing left", "light_side": "lit from the right"},
        {"light_side": "lit from the left"},
    ]
    free = prompts.load_series(path, trigger="ohwx", subject="man", resolution_px=64, form="clauses")
    assert free[0].prompt == "three-quarter portrait of ohwx man, rim lighting"


def test_a_change_of_view_or_light_says_its_side_anew() -> None:
    layers = {"view": "three-quarter", "facing": "facing left", "lighting": "rim lighting"}
    shot = Shot("a", "", "", (64, 64), 1, tuple({**layers, "light_side": "lit from the right"}.items()))
    frontal = dict(changed(shot, {"view": "frontal"}, "ohwx man", "clauses", closed=True).layers)
    assert "facing" not in frontal and frontal["light_side"] == "lit from the right"
    butterfly = dict(
        changed(shot, {"lighting": "butterfly lighting"}, "ohwx man", "clauses", closed=True).layers
    )
    assert "light_side" not in butterfly and butterfly["facing"] == "facing left"
    free = changed(shot, {"view": "profile"}, "ohwx man", "clauses")
    assert free.prompt == "profile portrait of ohwx man, lit from the right, rim lighting"
