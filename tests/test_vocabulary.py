import dataclasses

from portrait_lora import vocabulary
from portrait_lora.vocabulary import Look


def test_sentence_keeps_the_order_of_the_prompt_book():
    look = Look(
        subject="woman",
        shot="headshot",
        view="frontal",
        hair="black bob hair",
        skin="tan skin",
        beard="clean-shaven",
        glasses="round glasses",
        expression="smiling",
        wardrobe="navy suit",
        setting="grey seamless backdrop",
        lighting="rembrandt lighting",
        light_side="lit from the left",
    )
    assert vocabulary.sentence(look) == (
        "frontal headshot of a woman, lit from the left, black bob hair, tan skin, round glasses, smiling, "
        "navy suit, grey seamless backdrop, rembrandt lighting"
    )


def test_a_trigger_has_no_article():
    assert vocabulary.sentence(Look(subject="ohwx man")) == "portrait of ohwx man"


def test_words_cover_every_phrase_and_the_trigger():
    words = set(vocabulary.words())
    assert vocabulary.TRIGGER in words
    for phrase in (
        *vocabulary.LIGHTINGS,
        *vocabulary.GARMENTS,
        *vocabulary.EXPRESSIONS,
        *vocabulary.SKIN_TONES,
    ):
        assert set(phrase.split()) <= words


def test_no_phrase_has_a_comma():
    assert not [w for w in vocabulary.words() if "," in w]


def test_views():
    assert [vocabulary.view_of(y) for y in (0, -15, 16, -50, 51)] == [
        "frontal",
        "frontal",
        "three-quarter",
        "three-quarter",
        "profile",
    ]


def test_look_fields_are_listed():
    assert tuple(f.name for f in dataclasses.fields(Look)) == vocabulary.LOOK_FIELDS


def test_a_turned_head_faces_the_way_of_its_yaw():
    assert [vocabulary.facing_of(y) for y in (0, 15, -16, 16, 80)] == [
        None,
        None,
        "facing left",
        "facing right",
        "facing right",
    ]
    look = Look(subject="woman", view="profile", facing="facing left", hair="red bun hair")
    assert vocabulary.sentence(look) == "profile portrait of a woman, facing left, red bun hair"


def test_only_a_light_that_has_a_side_is_told_with_it():
    side = vocabulary.light_side_of
    assert side("rembrandt lighting", -0.5) == "lit from the left"
    assert side("rim lighting", 0.5) == "lit from the right"
    assert side("butterfly lighting", 0.5) is None
    assert side("split lighting", 0.0) is None
    assert side(None, 1.0) is None


def test_a_style_stands_in_front_and_a_plain_picture_says_nothing_of_it():
    look = Look(subject="woman", shot="headshot", view="frontal", lighting="rim lighting")
    plain = vocabulary.sentence(look)
    assert plain == "frontal headshot of a woman, rim lighting"
    for style in vocabulary.STYLES:
        styled = dataclasses.replace(look, style=style)
        assert vocabulary.sentence(styled) == f"{style} {plain}"
    assert vocabulary.sentence(Look(subject="ohwx man", style="cartoon")) == "cartoon portrait of ohwx man"


def test_editions_hold_every_word_once_and_styles_came_second():
    first, second = vocabulary.editions()
    assert sorted(first) == list(first) and sorted(second) == list(second)
    assert set(second) == {w for style in vocabulary.STYLES for w in style.split()}
    assert len(set(vocabulary.words())) == len(first) + len(second)
