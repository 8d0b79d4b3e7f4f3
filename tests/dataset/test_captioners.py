import json

import pytest

from portrait_lora.dataset.caption import AttributesCaptioner
from portrait_lora.dataset.captioners import SidecarCaptioner, choose_captioner
from portrait_lora.dataset.crop import frame
from portrait_lora.dataset.sidecars import read_metadata
from portrait_lora.errors import InputError

from .made_up import draw, made_up_face

SIZE = (600, 760)
NAMES = {"trigger": "ohwx", "subject": "man"}


def caption(writer, folder):
    face = made_up_face(SIZE)
    return writer.caption(draw(0, SIZE), face, frame(folder / "a.jpg", SIZE, face, 128)[0])


def test_a_sidecar_wins_over_metadata_and_both_over_the_automatic_caption(tmp_path):
    writer = SidecarCaptioner(AttributesCaptioner("ohwx", "man"))
    assert "of ohwx man" in caption(writer, tmp_path)
    rows = [{"file_name": "a.jpg", "text": "ohwx man\non a hill"}, {"file_name": "b.jpg"}]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    assert caption(writer, tmp_path) == "ohwx man on a hill"
    (tmp_path / "a.txt").write_text("  ohwx man,\n at sea\n", encoding="utf-8")
    assert caption(writer, tmp_path) == "ohwx man, at sea"
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(InputError, match="UTF-8"):
        caption(writer, tmp_path)


@pytest.mark.parametrize(
    ("line", "words"), [('{"file_name": ', "not valid JSON"), ("[1, 2]", "a JSON object")]
)
def test_broken_metadata_names_the_line(tmp_path, line, words):
    path = tmp_path / "metadata.jsonl"
    path.write_text('{"file_name": "a.jpg", "caption": "x"}\n' + line, encoding="utf-8")
    with pytest.raises(InputError, match=words) as error:
        read_metadata(path)
    assert "metadata.jsonl:2" in str(error.value)


def test_metadata_that_changed_is_read_again(tmp_path):
    import os

    path = tmp_path / "metadata.jsonl"
    assert read_metadata(path) == {}
    for number in (1, 2):
        path.write_text(json.dumps({"file_name": "a", "prompt": f"x{number}"}), encoding="utf-8")
        os.utime(path, ns=(number, number))
        assert read_metadata(path) == {"a": f"x{number}"}


def test_the_users_own_words_come_at_the_end_once(tmp_path):
    writer = choose_captioner("sidecar", words=" red  beard, ", **NAMES)
    assert caption(writer, tmp_path).endswith(", red beard")
    (tmp_path / "a.txt").write_text("ohwx man with a Red Beard", encoding="utf-8")
    assert caption(writer, tmp_path) == "ohwx man with a Red Beard"


def test_the_captioner_of_the_configuration():
    assert choose_captioner("attributes", **NAMES) == AttributesCaptioner("ohwx", "man")
    assert choose_captioner("blip", **NAMES).subject == "man"  # nothing is loaded by choosing
    with pytest.raises(InputError, match="unknown captioner"):
        choose_captioner("parrot", **NAMES)
