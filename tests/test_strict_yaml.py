"""The one YAML reader: YAML 1.2's core schema, errors with a line, and limits that nothing gets around."""

from __future__ import annotations

import contextlib
import re
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portrait_lora import config, strict_yaml
from portrait_lora.errors import ConfigError, PortraitError
from portrait_lora.generation import reading
from portrait_lora.rights import consent

BOMB = "a: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"b{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)
CHAIN = "- &a0 [x]\n" + "".join(f"- &a{i} [*a{i - 1}]\n" for i in range(1, 100))


def parse(text: str) -> object:
    return strict_yaml.parse(text, "mine.yaml", "series")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((word, word) for word in ("yes", "no", "No", "on", "OFF", "y", "3:4", "1:30:00", "007", "1_000")),
        *((word, word) for word in ("2027-06-31", "2027-06-30", "2024-02-30T10:00:00Z", "=", "0b11", "+.5e")),
        *(("true", True), ("FALSE", False), ("~", None), ("null", None), ("", None)),
        *(("16", 16), ("-3", -3), ("0x10", 16), ("0o10", 8), ("0", 0), ("-0", 0)),
        *(("1e-4", 1e-4), (".5", 0.5), ("1.", 1.0), ("-1.5E3", -1500.0), ("0.0", 0.0)),
        *(("'yes'", "yes"), ("!!str 7", "7"), ('"\\u00e9"', "é"), ("[3:4, 1:1]", ["3:4", "1:1"])),
        *(("{a: 1, b: [x]}", {"a": 1, "b": ["x"]}), ("&x [1]", [1]), ("%YAML 1.1\n---\nyes", "yes")),
        *(
            ("7: a", {"7": "a"}),
            ("no: a", {"no": "a"}),
            ("\ufeffa: b", {"a": "b"}),
            ("a: b\u00a0c", {"a": "b\u00a0c"}),
        ),
    ],
)
def test_what_a_text_means(text: str, value: object) -> None:
    parsed = parse(text)
    assert parsed == value and isinstance(parsed, bool) == isinstance(value, bool)


@pytest.mark.parametrize("text", ["007", "2024", "1.10", "0x10", "1e3", "-0"])
def test_a_number_is_shown_as_it_was_written(text: str) -> None:
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    ("text", "words"),
    {
        "a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n": r"mine.yaml:5: the key 'c' stands twice: got lines 3 and 5",
        'a: 1\n"a": 2\n': r"mine.yaml:2: .* got lines 1 and 2",
        "{a: 1, a: 1}": "'a' stands twice",
        "a: 1\nrate: .inf\n": r"mine.yaml:2: not a finite number: got .inf",
        "rate: -.INF": "not a finite",
        "rate: .nan": "not a finite",
        "rate: 1e999": "too large",
        "n: " + "9" * 5000: "too many digits",
        "a: 1\n<<: {b: 1}\n": "mine.yaml:2: merge keys",
        "? [a]\n: 1": "a key is not a word",
        "a: !!timestamp 2020-01-01": "a tag that is not read",
        "!!python/object/apply:os.system [ls]": "a tag that is not read",
        "a: !!int x": "not a number",
        "a:\n\u00a0\u00a0rank: 8\n": r"mine.yaml:2: a no-break space .* got U\+00A0",
        "a:\n  - x\n \u00a0- y\n": r"mine.yaml:3: a no-break space",
        "rank:\u00a08": "a no-break space",
        "a: 1\nrank:\u00a08": r"mine.yaml:2: a no-break space",
        "a:\u20031": "an odd space",
        "a: [1\n": r"mine.yaml:2: the series is not valid YAML",
        "a: *b": "undefined alias",
        "a: &x [*x]": "contains itself",
        "--- 1\n--- 2": "another document",
        "a\x07b": "not valid YAML",
        "[" * 5000: "nested deeper than 32",
        "- " * 3000: "nested deeper than 32",
        "[" + "1," * 12_000 + "]": "more than 10000 values",
        "x" * 200_000: "too large",
        BOMB: "beyond all measure by its aliases",
        CHAIN: "beyond all measure by its aliases: got nested 102 deep",
    }.items(),
)
def test_what_is_refused_and_where(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse(text)


def _consent(file: Path) -> object:
    import datetime as dt

    return consent.of_file(file, dt.date(2027, 1, 1))


DOORS: dict[str, Callable[[Path], object]] = {
    "configuration": config.load,
    "override": lambda file: config.load(None, [f"training={file.read_text()}"]),
    "consent": _consent,
    "series and brand": lambda file: reading.tree(file, "series"),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("text", [BOMB, CHAIN, "a: &x {b: *x}"])
def test_no_door_is_held_open_by_aliases(door: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "bomb.yaml").write_text(text)
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.process_time()
    with pytest.raises(ConfigError):
        DOORS[door](tmp_path / "bomb.yaml")
    assert time.process_time() - started < 1.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before.ru_maxrss < 300 * 1024


@pytest.mark.parametrize("door", ["configuration", "consent", "series and brand"])
@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"a: 1\n" * 100_000, None])
def test_no_door_takes_what_is_no_text(door: str, data: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ConfigError, match=re.escape(str(path))):
        DOORS[door](path)


@given(st.text(alphabet=st.sampled_from("abc&*!:-?[]{}|>'\"#%,\n \t\u00a00123.eE<~"), max_size=60))
def test_any_text_ends_in_a_value_or_a_typed_error(text: str) -> None:
    with contextlib.suppress(PortraitError):
        parse(text)
