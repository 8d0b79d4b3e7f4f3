"""The one JSON reader: plain JSON within limits, or a typed error that names the file."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from portrait_lora import strict_json
from portrait_lora.errors import ArtifactError, InputError


@pytest.mark.parametrize(
    ("text", "words"),
    {
        "[" * 200_000: "nested deeper than 64",
        "[" * 65 + "]" * 65: "nested deeper than 64",
        '{"a": ' * 65 + "1" + "}" * 65: "nested deeper than 64",
        "NaN": "NaN is not a number",
        '{"a": [Infinity]}': "Infinity is not",
        "[-Infinity]": "not valid JSON",
        "1e999": "too large a number",
        "9" * 5000: "digits",
        '{"a": 1, "b": {"c": 1, "c": 2}}': "'c' stands twice",
        '["\\ud83d"]': "surrogates",
        '"' + '\\"' * 60_000: "Unterminated",
        "": "not valid JSON",
        "{} x": "Extra data",
    }.items(),
)
def test_what_is_refused(text: str, words: str) -> None:
    started = time.process_time()
    for document in (text, text.encode()):
        with pytest.raises(ArtifactError, match=words) as caught:
            strict_json.parse(document, "mine.json", "record")
        assert "mine.json" in str(caught.value)
    assert time.process_time() - started < 1.0


def test_what_is_read() -> None:
    value = {"a": [1, 2.5, None, True, "é 😀", {}], "b": {"[": '"[{'}}
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False).encode(), b"\xef\xbb\xbf1"):
        assert strict_json.parse(text, "f", "record") in (value, 1)
    deep = "[" * 64 + "]" * 64
    assert json.dumps(strict_json.parse(deep, "f", "record")) == deep


def test_bytes_of_a_file_name_are_read_where_file_names_stand() -> None:
    name, half = os.fsdecode(b"photo_\xff1.jpg"), "\ud800"
    assert strict_json.parse(json.dumps([name]), "f", "journal", file_names=True) == [name]
    for text, allowed in ((json.dumps([name]), False), (json.dumps([half]), True)):
        with pytest.raises(ArtifactError, match="surrogates not allowed"):
            strict_json.parse(text, "f", "journal", file_names=allowed)


def test_a_file_names_itself_and_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    for data, words in ((None, "cannot be read"), (b"\xff", "not valid JSON"), (b"x" * 11, "too large")):
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(InputError, match=words) as caught:
            strict_json.load(path, "record", error=InputError, max_bytes=10, remedy="Do this.")
        assert str(path) in str(caught.value) and "Do this." in str(caught.value)
    for data in (b"null", b"[]", b"7"):
        path.write_bytes(data)
        with pytest.raises(ArtifactError, match=r"the record is damaged.*needed a JSON object"):
            strict_json.load_object(path, "record")
