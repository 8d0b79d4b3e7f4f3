"""One reader for every JSON file and text: within limits, no NaN, no key twice, always a typed error.

Files of this program's own come from other people too (a demo folder that was sent, a picture off the net),
so none of them is trusted with memory, depth or time.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NoReturn, cast

from portrait_lora.errors import ArtifactError, PortraitError

MAX_BYTES: Final = 8 * 1024 * 1024
MAX_DEPTH: Final = 64
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


def load(
    path: Path,
    what: str,
    *,
    error: type[PortraitError] = ArtifactError,
    max_bytes: int = MAX_BYTES,
    remedy: str = "",
    file_names: bool = False,
    infinities: bool = False,
) -> object:
    """The value of a file.  Raises `error` naming the file and `what` it should be.

    `file_names` allows names of files that are not UTF-8, as `os.fsdecode` writes them; `infinities` allows
    those, as diffusers writes them into the configurations of its solvers.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(max_bytes + 1)
    except (OSError, ValueError) as cause:
        raise error(f"the {what} cannot be read", where=path, got=cause, remedy=remedy) from cause
    return parse(
        data, path, what, error=error, max_bytes=max_bytes, remedy=remedy, file_names=file_names,
        infinities=infinities,
    )  # fmt: skip


def load_object(
    path: Path,
    what: str,
    *,
    error: type[PortraitError] = ArtifactError,
    max_bytes: int = MAX_BYTES,
    remedy: str = "",
    file_names: bool = False,
) -> dict[str, object]:
    """`load` of a file that holds one object."""
    value = load(path, what, error=error, max_bytes=max_bytes, remedy=remedy, file_names=file_names)
    return _object(value, path, what, error, remedy)


def parse_object(
    data: bytes | str,
    where: object,
    what: str,
    *,
    error: type[PortraitError] = ArtifactError,
    max_bytes: int = MAX_BYTES,
    remedy: str = "",
    file_names: bool = False,
) -> dict[str, object]:
    """`parse` of a text that holds one object."""
    value = parse(data, where, what, error=error, max_bytes=max_bytes, remedy=remedy, file_names=file_names)
    return _object(value, where, what, error, remedy)


def parse(
    data: bytes | str,
    where: object,
    what: str,
    *,
    error: type[PortraitError] = ArtifactError,
    max_bytes: int = MAX_BYTES,
    remedy: str = "",
    file_names: bool = False,
    infinities: bool = False,
) -> object:
    """The value of a UTF-8 text.  Raises `error` for all that is not plain JSON within the limits."""
    if len(data) > max_bytes:
        needed = f"at most {max_bytes} bytes"
        raise error(f"the {what} is too large", where=where, got="more", needed=needed, remedy=remedy)
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        constant = _infinity if infinities else _refuse_constant
        value: object = json.loads(
            text, parse_constant=constant, parse_float=_finite, object_pairs_hook=_unique
        )
        if _is_deeper(value, MAX_DEPTH):
            raise RecursionError
        if _SURROGATE.search(text):
            # half a character cannot be written anywhere, a byte of a file name only into such a name
            halves = "surrogateescape" if file_names else "strict"
            json.dumps(value, ensure_ascii=False).encode(errors=halves)
    except (ValueError, RecursionError) as cause:
        got = f"nested deeper than {MAX_DEPTH}" if isinstance(cause, RecursionError) else str(cause)[:200]
        raise error(f"the {what} is damaged: not valid JSON", where=where, got=got, remedy=remedy) from cause
    return value


def _object(
    value: object, where: object, what: str, error: type[PortraitError], remedy: str
) -> dict[str, object]:
    if not isinstance(value, dict):
        got = "null" if value is None else type(value).__name__
        raise error(f"the {what} is damaged", where=where, got=got, needed="a JSON object", remedy=remedy)
    return cast(dict[str, object], value)


def _is_deeper(value: object, most: int) -> bool:
    """Whether lists and objects stand in each other more than `most` deep."""
    level: list[object] = [value]
    for _ in range(most):
        level = [one for outer in level for one in _inside(outer) if isinstance(one, dict | list)]
        if not level:
            return False
    return True


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return cast(dict[str, object], value).values()
    return cast(list[object], value) if isinstance(value, list) else ()


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a number of JSON")


def _infinity(word: str) -> float:
    return _refuse_constant(word) if word == "NaN" else float(word)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is too large a number")
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"the key {twice[:80]!r} stands twice")
    return unique
