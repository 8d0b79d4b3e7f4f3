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
    )
    assert vocabulary.sentence(look) == (
        "frontal headshot of a woman, black bob hair, tan skin, round glasses, smiling, navy suit, "
        "grey seamless backdrop, rembrandt lighting"
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
