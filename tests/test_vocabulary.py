import dataclasses
import hashlib

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


def test_only_a_light_with_a_side_is_described_with_it():
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
    first, second, third = vocabulary.editions()
    assert all(sorted(edition) == list(edition) for edition in (first, second, third))
    assert set(second) == {w for style in vocabulary.STYLES for w in style.split()}
    assert {"neon", "brick", "sunglasses", "beanie", "lipstick"} <= set(third)
    assert len(set(vocabulary.words())) == len(first) + len(second) + len(third)


def test_words_of_earlier_editions_keep_their_places():
    before = " ".join(vocabulary.words()[:99]).encode()
    assert hashlib.sha256(before).hexdigest().startswith("8cdab4d8109402ac")


def test_what_is_worn_on_the_head_and_face_is_described():
    look = Look(
        subject="woman", skin="fair skin", glasses="sunglasses", hat="navy beanie", makeup="eye shadow"
    )
    sentence = "portrait of a woman, fair skin, eye shadow, sunglasses, navy beanie"
    assert vocabulary.sentence(look) == sentence
    bare = Look(subject="woman", hat=vocabulary.HATS[0], makeup=vocabulary.MAKEUP[0])
    assert vocabulary.sentence(bare) == "portrait of a woman"


def test_a_place_has_no_colour_word():
    assert vocabulary.setting("brick wall", "pink") == "brick wall"
    assert vocabulary.setting("bokeh backdrop", "pink") == "pink bokeh backdrop"
