from pathlib import Path

import numpy as np
import pytest

from portrait_lora.dataset.caption_models import ModelCaptioner, name_subject, transformers_describer
from portrait_lora.dataset.crop import frame
from portrait_lora.errors import InputError

from .made_up import draw, made_up_face

SIZE = (600, 760)


@pytest.mark.parametrize(
    ("description", "caption"),
    [
        ("a woman in a red shirt smiling.", "ohwx woman in a red shirt smiling"),
        ("The image shows a young woman sitting on a bench", "ohwx woman sitting on a bench"),
        (
            "a close up of a man with a beard and a man behind",
            "a close up of ohwx woman with a beard and a man behind",
        ),
        ("a beach\n at sunset", "ohwx woman, a beach at sunset"),
        ("", "ohwx woman"),
    ],
)
def test_the_person_in_a_description_gets_the_trigger(description, caption):
    assert name_subject(description, "ohwx woman") == caption


def test_the_model_sees_the_crop():
    face = made_up_face(SIZE)
    seen = []
    writer = ModelCaptioner("ohwx", "man", lambda pixels: seen.append(pixels.shape) or "a man outdoors")
    assert writer.caption(draw(0, SIZE), face, frame(Path("a.jpg"), SIZE, face, 96)[0]) == "ohwx man outdoors"
    assert seen == [(96, 96, 3)]


@pytest.fixture(scope="module")
def tiny_blip(tmp_path_factory):
    """A random captioning model of a few thousand weights in the layout of the hub."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("blip")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[DEC]", "a", "man", "woman", "wall"]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    tokenizer = transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt"))
    text = {
        "vocab_size": len(words), "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "encoder_hidden_size": 16, "projection_dim": 8, "bos_token_id": 4,
        "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0, "max_position_embeddings": 96,
    }  # fmt: skip
    vision = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "image_size": 32, "patch_size": 16, "projection_dim": 8,
    }  # fmt: skip
    config = transformers.BlipConfig(text_config=text, vision_config=vision, projection_dim=8)
    transformers.BlipForConditionalGeneration(config).save_pretrained(folder)
    pixels = transformers.BlipImageProcessor(size={"height": 32, "width": 32})
    transformers.BlipProcessor(pixels, tokenizer).save_pretrained(folder)
    return folder


def test_a_model_in_a_folder_is_opened_and_describes_the_same_picture_alike(tiny_blip):
    describe = transformers_describer("blip", str(tiny_blip))
    picture = draw(0, (96, 96))
    first = describe(picture)
    assert isinstance(first, str)
    assert describe(picture) == first


def test_a_model_that_is_not_there_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match=r"dataset\.captions\.model"):
        transformers_describer("blip", str(tmp_path / "nothing"))(np.zeros((8, 8, 3), np.uint8))
