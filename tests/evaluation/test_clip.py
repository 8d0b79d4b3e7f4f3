"""Prompts judged by a CLIP model: a tiny random one, in the format of the real ones."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

from portrait_lora.errors import InputError
from portrait_lora.evaluation import clip
from tests.evaluation.drawn import drawn_scene
from tests.tiny_models import write_tokenizer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("clip")
    tokenizer = write_tokenizer(place / "tokenizer", length=16)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = small | {
        "vocab_size": len(tokenizer), "max_position_embeddings": 16,
        "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
    }  # fmt: skip
    vision = small | {"image_size": 32, "patch_size": 8}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(place)
    pictures = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(pictures, tokenizer).save_pretrained(place)
    return place


@pytest.fixture
def shown(tmp_path: Path) -> list[tuple[Path, str]]:
    pairs: list[tuple[Path, str]] = []
    for i, prompt in enumerate(("ohwx man, navy suit", "ohwx man, red t-shirt", "ohwx man, navy suit")):
        Image.fromarray(drawn_scene(i)).save(tmp_path / f"{i}.png")
        pairs.append((tmp_path / f"{i}.png", prompt))
    return pairs


def test_figures_by_hand(model: Path, shown: list[tuple[Path, str]], monkeypatch: pytest.MonkeyPatch):
    texts = {"man, navy suit": [1.0, 0.0], "man, red t-shirt": [0.0, 1.0]}

    class Seer:
        def pictures(self, images: list[Image.Image]) -> np.ndarray:
            return np.float32([[0.6, 0.8], [0.6, 0.8]][: len(images)])

        def texts(self, prompts: list[str]) -> np.ndarray:
            return np.float32([texts[p] for p in prompts])

    monkeypatch.setattr(clip, "_open", lambda name: Seer())
    shown[2][0].write_bytes(b"no picture")
    adherence = clip.clip_adherence(shown, "any", trigger="ohwx")
    assert adherence.mean_cosine == pytest.approx((0.6 + 0.8 + 0.0) / 3)
    assert adherence.nearest_rate == pytest.approx(1 / 3)  # only the second; the last cannot be read
    assert (adherence.chance, adherence.portraits) == (0.5, 3)


def test_a_model_of_a_folder_judges(model: Path, shown: list[tuple[Path, str]]):
    adherence = clip.clip_adherence(shown, str(model))
    assert -1 <= adherence.mean_cosine <= 1 and adherence.nearest_rate * 3 in (0, 1, 2, 3)
    assert clip.clip_adherence(shown, str(model)) == adherence


def test_a_model_that_cannot_be_had_and_nothing_to_judge(tmp_path: Path, shown: list[tuple[Path, str]]):
    with pytest.raises(InputError, match="cannot be loaded"):
        clip.clip_adherence(shown, str(tmp_path / "absent"))
    with pytest.raises(InputError, match="no portrait"):
        clip.clip_adherence([], "any")


def test_the_trigger_is_left_out():
    assert clip.plain("frontal headshot of ohwx man, smiling", "ohwx") == "frontal headshot of man, smiling"
    assert clip.plain("ohwx, ohwx. man", "ohwx") == "man"
    assert clip.plain("a man", "") == "a man"
