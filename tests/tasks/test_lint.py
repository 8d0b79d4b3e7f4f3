"""Free prompts: the trigger comes in, foreign syntax is named, and the same words give the same series."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from portrait_lora import provenance
from portrait_lora.errors import ConfigError, InputError
from portrait_lora.generation import a1111, prompts
from portrait_lora.generation.compose import free, with_person
from portrait_lora.generation.edits import changed
from portrait_lora.generation.lint import lint
from portrait_lora.stages.own_words import write_series
from portrait_lora.tasks import lint as linting
from tests.conftest import Journey
from tests.test_help import run


@pytest.mark.parametrize(
    ("written", "words", "pieces"),
    [
        ("a (red:1.3) coat", "a red coat", ["(red:1.3)"]),
        ("a (red :-0.5) coat", "a red coat", ["(red :-0.5)"]),
        ("a ((red)) coat", "a red coat", ["((red))"]),
        ("(a ((red:1.2)) coat:0.8)", "a red coat", ["((red:1.2))", "(a red coat:0.8)"]),
        ("a [blurred] wall", "a blurred wall", ["[blurred]"]),
        ("[cat:dog:0.5] beside", "dog beside", ["[cat:dog:0.5]"]),
        ("[cat|dog] beside", "cat beside", ["[cat|dog]"]),
        ("coat BREAK hat AND scarf", "coat, hat, scarf", ["BREAK", "AND"]),
        ("coat, <lora:film_look:0.8>, hat", "coat, hat", ["<lora:film_look:0.8>"]),
        ("<LyCO:x:1> hat", "hat", ["<LyCO:x:1>"]),
        (r"smile \(friendly\), 85 mm (wide open)", "smile (friendly), 85 mm (wide open)", []),
        ("a break and a hat at 3:4, f/2.8 <3", "a break and a hat at 3:4, f/2.8 <3", []),
        ("", "", []),
    ],
)
def test_foreign_syntax_becomes_words_and_is_named(written: str, words: str, pieces: list[str]) -> None:
    got = a1111.plain(written)
    assert got.text == words
    assert sorted(got.unsupported) == sorted(pieces)
    codes = [r for r in lint(written) if r.code == "a1111_syntax"]
    assert bool(codes) == bool(pieces) and all(piece in codes[0].problem for piece in pieces)


@pytest.mark.parametrize("text", ["(" * 20_000, "[" * 20_000, "(a:" * 9_000, "<lora:" * 4_000, "((a" * 9_000])
def test_much_foreign_syntax_is_read_in_no_time(text: str) -> None:
    import time

    started = time.process_time()
    a1111.plain(text)
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("as an astronaut", "ohwx woman as an astronaut"),
        ("wearing a helmet", "ohwx woman wearing a helmet"),
        ("astronaut, soft light", "ohwx woman, astronaut, soft light"),
        ("photo of a woman in rain, a woman behind", "photo of ohwx woman in rain, a woman behind"),
        ("portrait of OHWX woman", "portrait of OHWX woman"),
        ("ohwx in rain", "ohwx in rain"),
        ("no ohwxes here", "ohwx woman, no ohwxes here"),
        ("womanly grace", "ohwx woman, womanly grace"),
        ("", "ohwx woman"),
    ],
)
def test_the_person_is_in_every_prompt_exactly_once_more_than_written(text: str, prompt: str) -> None:
    assert with_person(text, "ohwx woman") == prompt
    assert with_person(text, "woman") == text, "the bare base gets no trigger"


def test_layers_follow_the_words_in_the_form_of_the_family() -> None:
    layers = {"lighting": "rim light", "wardrobe": "navy suit"}
    assert free("as a pilot", layers, "ohwx man", "clauses") == "ohwx man as a pilot, navy suit, rim light"
    sentences = free("as a pilot.", layers, "ohwx man", "sentences")
    assert sentences == "ohwx man as a pilot. Wearing navy suit. Light: rim light."


def load(path: Path, **more: object) -> list[prompts.Shot]:
    return prompts.load_series(
        path, trigger="ohwx", subject="woman", resolution_px=1024, **({"form": "clauses"} | more)
    )  # type: ignore[arg-type]


def test_a_series_may_mix_free_words_and_layers(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "locked: {lighting: rim light}\ntemplate: corporate\nshots:\n"
        "  - {prompt: 'as a (pilot:1.2)', setting: hangar}\n  - {name: plain, view: frontal}\n"
    )
    own, plain = load(file)
    assert own.prompt == "ohwx woman as a pilot, hangar, rim light"
    assert dict(own.layers)["prompt"] == "as a (pilot:1.2)", "the recipe keeps what was written"
    assert own.size_px[0] < own.size_px[1] and own.name.startswith("01-as-a-pilot-1-2-")
    assert "prompt" not in dict(plain.layers)
    again = changed(own, {"lighting": "window light"}, "ohwx woman", "clauses")
    assert again.prompt == "ohwx woman as a pilot, hangar, window light"
    assert dict(again.layers)["prompt"] == "as a (pilot:1.2)"
    file.write_text("shots: [{prompt: as a pilot, template: corporate}]\n")
    with pytest.raises(ConfigError, match="a template or a prompt"):
        load(file)


def test_the_same_words_are_the_same_series_and_others_another(tmp_path: Path) -> None:
    first = write_series(tmp_path, ["as  an astronaut", "as a diver"])
    bytes_ = first.read_bytes()
    assert first == write_series(tmp_path, ["as an astronaut", "as a diver", "as a diver"])
    assert first.read_bytes() == bytes_ and first.parent == tmp_path / "portraits"
    other = write_series(tmp_path, ["as an astronaut"])
    square = write_series(tmp_path, ["as an astronaut"], aspect="1:1")
    assert len({first, other, square}) == 3
    assert [s.prompt for s in load(first)] == ["ohwx woman as an astronaut", "ohwx woman as a diver"]
    assert {s.size_px for s in load(square)} == {(1024, 1024)} and load(other)[0].size_px != (1024, 1024)
    lines = tmp_path / "lines.txt"
    lines.write_text("# mine\nas an astronaut\n\n  as a diver  \n", encoding="utf-8-sig")
    assert write_series(tmp_path, [], lines) == first
    odd = write_series(tmp_path, ["../../x: {a: [b", "😀 & 'quotes' \"here\""])
    assert odd.parent == tmp_path / "portraits" and len(load(odd)) == 2


@pytest.mark.parametrize(
    ("written", "aspect", "error"),
    [
        ([" "], "", "empty prompt"),
        ([], "", "empty prompt"),
        (["a" * 5_001], "", "too long"),
        (["a"], "9", "aspect"),
    ],
)
def test_words_that_cannot_be_used_leave_nothing_behind(
    written: list[str], aspect: str, error: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=error):
        write_series(tmp_path, written, aspect=aspect)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InputError, match="cannot be read"):
        write_series(tmp_path, [], tmp_path / "bad.txt")


def test_the_linter_command_reads_the_words_and_names_the_syntax() -> None:
    (row,) = linting.lint_text("ohwx woman, (rim light:1.4), skin texture BREAK", "embedded")
    remarks = {r.code: r.said for r in row.remarks}
    assert "(rim light:1.4)" in remarks["a1111_syntax"] and "BREAK" in remarks["a1111_syntax"]
    assert "(" not in remarks["unknown_words"] and "no_light" not in remarks
    with pytest.raises(InputError, match="no such file"):
        linting.lint_text("absent.txt")


@pytest.mark.journey
def test_a_free_prompt_is_drawn_noticed_and_scored(
    journey: Journey, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "demo"
    shutil.copytree(journey.folder, folder)
    quick = [v for s in journey_settings(folder) for v in ("-s", s)]
    assert run("generate", folder, "--prompt", "as an (astronaut:1.3)", "--json", *quick) == 0
    summary = json.loads(capsys.readouterr().out)
    text = " ".join(summary["remarks"])
    assert "(astronaut:1.3)" in text and "the base does not know" in text
    name = Path(summary["folder"]).name
    assert summary["portraits"] == 1 and (folder / "portraits" / f"{name}.yaml").is_file()
    recipe = provenance.read_record(next(Path(summary["folder"]).glob("01-*.png")))
    assert str(recipe["prompt"]).endswith(" as an astronaut") and "ohwx" in str(recipe["prompt"])
    assert (folder / "portraits" / "headshots" / "contact_sheet.jpg").is_file(), "other series stay"
    assert run("generate", folder, "--prompt", "x", "--series", "drift") == 2
    assert run("generate", folder, "--aspect", "3:4") == 2


def journey_settings(folder: Path) -> list[str]:
    import yaml

    value = yaml.safe_load((folder / "likeness.yaml").read_text())
    steps = value.get("generate", {}).get("num_inference_steps", 8)
    return ["generate.per_shot=1", f"generate.num_inference_steps={min(int(steps), 8)}"]
