"""The linter against 200 prompts with remarks written by hand, and what each remark offers instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from portrait_lora import vocabulary
from portrait_lora.generation import lint as linter
from portrait_lora.generation.lint import lint

UNLABELLED = {"unknown_words", "falls_off", "a1111_syntax"}
HERE = Path(__file__).parent


def _rows(name: str) -> list[tuple[set[str], tuple[int, int], str]]:
    rows = []
    for line in (HERE / name).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            codes, aspect, prompt = line.split("\t")
            w, h = (int(v) * 64 for v in aspect.split(":"))
            rows.append((set() if codes == "-" else set(codes.split(",")), (w, h), prompt))
    return rows


@pytest.mark.parametrize(("name", "n"), [("labelled_prompts.tsv", 150), ("held_out_prompts.tsv", 50)])
def test_precision_and_recall_on_labelled_prompts(name: str, n: int) -> None:
    rows = _rows(name)
    assert len(rows) == n
    assert {c for codes, _, _ in rows for c in codes} == set(linter.CODES) - UNLABELLED
    right = flagged = wanted = 0
    for codes, size, prompt in rows:
        got = {r.code for r in lint(prompt, size_px=size)}
        right, flagged, wanted = right + len(got & codes), flagged + len(got), wanted + len(codes)
    assert right / flagged >= 0.95
    assert right / wanted >= 0.95


@pytest.mark.parametrize(
    ("prompt", "code", "instead"),
    [
        ("ohwx man, good lighting, skin", "vague_light", "key from camera left"),
        ("ohwx man, skin", "no_light", "three-point"),
        ("watercolour, octane render", "style_conflict", "one medium"),
        ("ohwx man, nice background", "generic_background", "seamless grey"),
        ("ohwx man, rim light", "no_surface_detail", "visible pores"),
        ("masterpiece", "vague_intensifier", "lens, light"),
        ("close-up of ohwx man", "no_eyes_cue", "catchlights"),
        ("white shirt, white backdrop", "white_on_white", "navy jacket"),
        ("key from the left, key from the right", "light_contradiction", "fill or rim"),
        ("headshot, 16:9", "landscape_headshot", "3:4"),
    ],
)
def test_every_remark_says_what_to_write_instead(prompt: str, code: str, instead: str) -> None:
    remark = next(r for r in lint(prompt) if r.code == code)
    assert remark.problem and instead in remark.instead
    assert remark.sentence.startswith(f"{code}: ")


def test_a_closed_base_is_prompted_only_with_words_it_knows() -> None:
    known = set(vocabulary.words())
    clean = "frontal close-up of ohwx man, neutral, navy suit, grey seamless backdrop, three-point lighting"
    assert lint(clean, known=known | {"ohwx", "man"}) == ()
    (remark,) = lint(clean.replace("navy suit", "velvet suit"), known=known)
    assert remark.code == "unknown_words" and "velvet" in remark.problem and "navy" not in remark.problem


def test_what_falls_off_is_named() -> None:
    (remark,) = lint("ohwx man, rim light, skin", lost=("Kodak Portra 400",))
    assert remark.code == "falls_off" and "Kodak Portra 400" in remark.problem


@pytest.mark.parametrize("text", ["", " ", ",", "ohwx", "🙂" * 500, "(" * 300, "a" * 20_000])
def test_odd_text_is_survived(text: str) -> None:
    assert all(remark.instead for remark in lint(text, size_px=(1, 1), known=set()))
