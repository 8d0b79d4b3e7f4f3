"""The prompt book: one meaning per word, and templates that its own linter has nothing to say to."""

from __future__ import annotations

import typing
from pathlib import Path

import pytest

from portrait_lora import vocabulary
from portrait_lora.errors import ConfigError
from portrait_lora.generation import book, template_studio, templates
from portrait_lora.generation.compose import LAYERS, compose, counter_of, estimate_tokens, fit
from portrait_lora.generation.lint import lint
from portrait_lora.generation.reading import aspect


def test_every_word_of_the_closed_vocabulary_has_a_meaning() -> None:
    for lighting in vocabulary.LIGHTINGS:
        light = book.light_of(lighting)
        assert light is not None and light.phrase == lighting and light.azimuth_deg is not None
    for lighting in vocabulary.MORE_LIGHTINGS:
        light = book.light_of(lighting)
        assert light is not None and light.phrase == lighting
    assert all(book.shot_of(shot) is not None for shot in vocabulary.SHOTS)
    assert {*vocabulary.GARMENT_COLOURS, *vocabulary.BACKDROP_COLOURS} <= {s.word for s in book.SHADES}


def test_phrases_are_unique_and_no_name_has_two_meanings() -> None:
    for table in (book.LIGHTS, book.SHOTS, book.LENSES, book.STYLES):
        phrases = [entry.phrase for entry in table]
        assert len(set(phrases)) == len(phrases)
    names = [name for light in book.LIGHTS for name in light.names]
    assert len(set(names)) == len(names)
    assert set(book.NEGATIVE) == {style.medium for style in book.STYLES}


def test_there_is_a_template_for_every_group() -> None:
    assert {t.group for t in templates.TEMPLATES} == set(typing.get_args(template_studio.Group))
    names = {t.name for t in templates.TEMPLATES}
    wanted = {"corporate", "startup", "academic", "actor", "real-estate", "noir", "neon", "golden-hour"}
    wanted |= {"high-key", "low-key", "render", "oil", "watercolour", "anime", "illustration", "avatar"}
    assert wanted <= names and len(names) == len(templates.TEMPLATES)


@pytest.mark.parametrize("template", templates.TEMPLATES, ids=lambda t: t.name)
def test_templates_pass_the_linter_and_fit_into_clip(template: template_studio.Template) -> None:
    assert set(template.layers) <= set(LAYERS)
    prompt = compose(template.layers, "ohwx woman", "clauses")
    assert lint(prompt, size_px=(300, 400)) == ()
    assert fit(prompt, 77, estimate_tokens)[1] == ()
    w, h = aspect(template.aspect, Path("x"))
    assert w <= h
    for form in filter(None, (template.closed, template.wider)):
        closed = compose(form, "ohwx woman", "clauses")
        assert lint(closed, known=set(vocabulary.words()), size_px=(1, 1)) == ()


def test_a_template_beyond_the_base_is_refused_with_its_words() -> None:
    assert templates.layers_for("corporate", closed=True)["wardrobe"] == "charcoal suit"
    first, second, _ = vocabulary.editions()
    with pytest.raises(ConfigError, match="blurred, city, at, night, neon") as caught:
        templates.layers_for("neon", closed=True, known=first + second)
    assert "corporate" in caught.value.remedy and "neon" not in caught.value.remedy
    with pytest.raises(ConfigError, match="oil, painting") as caught:
        templates.layers_for("oil", closed=True, known=first)
    assert "corporate" in caught.value.remedy and "illustration" not in caught.value.remedy
    assert templates.layers_for("oil", closed=True)["style"] == "oil painting"
    with pytest.raises(ConfigError, match="Did you mean 'corporate'"):
        templates.template("corporat")


def test_later_words_are_used_where_a_base_knows_them() -> None:
    first, second, _ = vocabulary.editions()
    assert templates.layers_for("neon", closed=True)["lighting"] == "neon lighting"
    assert templates.layers_for("startup", closed=True)["setting"] == "blurred office"
    before = templates.layers_for("startup", closed=True, known=first + second)
    assert before["setting"] == "beige bokeh backdrop"
    assert {t.name for t in templates.drawable(vocabulary.words())} == {
        *(t.name for t in templates.drawable(first + second)),
        "neon",
    }


def test_composition_follows_the_family() -> None:
    layers = {"view": "frontal", "shot": "headshot", "wardrobe": "navy suit", "lighting": "rim lighting"}
    more = {**layers, "texture": "visible brush strokes", "grade": "oil painting"}
    assert compose(layers, "ohwx man", "clauses") == "frontal headshot of ohwx man, navy suit, rim lighting"
    styled = {"style": "cartoon", **layers}
    assert compose(styled, "ohwx man", "clauses") == f"cartoon {compose(layers, 'ohwx man', 'clauses')}"
    assert compose(styled, "ohwx man", "sentences").startswith("Cartoon frontal headshot of ohwx man.")
    assert compose(more, "ohwx man", "clauses").startswith(
        "frontal headshot of ohwx man, oil painting, navy suit"
    )
    prompt = compose(more, "ohwx man", "sentences")
    assert prompt.startswith("Frontal headshot of ohwx man. Wearing navy suit. Light: rim lighting.")
    assert prompt.endswith("Look: oil painting.")


def test_what_stands_behind_the_limit_is_named() -> None:
    def words(text: str) -> int:
        return len(text.replace(",", " ,").split())

    kept, lost = fit("a b c, d e, f g h", 7, words)
    assert (kept, lost) == ("a b c, d e,", ("f g h",))
    assert fit("a b, c", 100, words) == ("a b, c", ())
    assert fit("a b, c", 1, words) == ("", ("a b", "c"))


def test_tokens_are_counted_by_the_base_itself() -> None:
    from portrait_lora.families.catalog import EMBEDDED
    from portrait_lora.families.rows import row_of

    count, limit = counter_of(EMBEDDED.folder, row_of("sd15").text)
    assert limit == 64
    assert count("frontal headshot of ohwx man") > 2
    assert counter_of(None, row_of("flux1").text) == (estimate_tokens, 512)
