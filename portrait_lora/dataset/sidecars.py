"""Sidecar captions: the text file, or the row of a `metadata.jsonl`, of a picture.

Trainers use many naming schemes: `a.txt`, `a.TXT`, `a.jpg.txt`, `./a.jpg`, `train/a.jpg`, `C:\\data\\a.jpg`;
and one system writes é as one character where another writes two.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

from portrait_lora import log, strict_json
from portrait_lora.errors import InputError

METADATA: Final = "metadata.jsonl"
SUFFIXES: Final = (".txt", ".caption")
_TEXT_KEYS: Final = ("text", "caption", "prompt")
_ENCODING: Final = "utf-8-sig"
_MAX_BYTES: Final = 1_000_000
_MAX_TABLE_BYTES: Final = 64_000_000
_log = log.get(__name__)


def caption_of(photo: Path, rows: Mapping[str, str]) -> str:
    """The caption file's text, else that of its row; empty without either.  Raises InputError."""
    file = caption_file(photo)
    text = " ".join(read_text(file).split()) if file else ""
    return text or row_of(photo, rows)


def caption_file(photo: Path) -> Path | None:
    """`a.txt`, `a.caption` or `a.jpg.txt` of `a.jpg`, case-insensitive; symbolic links are not followed."""
    exact = [photo.with_suffix(suffix) for suffix in SUFFIXES]
    # os.path: a name too long to exist is no file, where Path raises
    if exact_match := next((p for p in exact if os.path.isfile(p) and not os.path.islink(p)), None):
        return exact_match
    wanted = [_plain(photo.stem + suffix) for suffix in SUFFIXES]
    wanted += [_plain(photo.name + suffix) for suffix in SUFFIXES]
    beside = _texts(photo.parent, photo.parent.stat().st_mtime_ns)
    return next((beside[name] for name in wanted if name in beside), None)


def row_of(photo: Path, rows: Mapping[str, str]) -> str:
    """The caption of the row of this photo; empty without one, or with several that differ."""
    fitting = _fitting(photo, rows)
    captions = {rows[name] for name in fitting}
    return captions.pop() if len(captions) == 1 else ""


def _fitting(photo: Path, rows: Mapping[str, str]) -> list[str]:
    """The rows whose path ends like the photo's; of several those with the longest common suffix."""
    parts = _parts(str(photo))
    agreeing = {name: _agree(parts, _parts(name)) for name in _by_name(rows).get(parts[-1], ())}
    most = max(agreeing.values(), default=0)
    best = [name for name, count in agreeing.items() if count == most]
    same_case = [name for name in best if _composed(name).endswith(_composed(photo.name))]
    return same_case or best


def warn_of_strangers(table: Path, rows: Mapping[str, str], photos: Iterable[Path]) -> int:
    """The number of rows that match none of these photos; logged as a warning."""
    met = {name for photo in photos for name in _fitting(photo, rows)}
    strange = [name for name in rows if name not in met]
    if strange:
        text = "%s: %d of %d rows match no picture, such as %r; `file_name` must be the picture's path"
        _log.warning(text, table, len(strange), len(rows), strange[0][:100])
    return len(strange)


def read_text(path: Path) -> str:
    """The content of a UTF-8 text file, without its byte order mark.  Raises InputError."""
    return _text(path, _MAX_BYTES)


def _text(path: Path, most: int) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(most + 1)
        if len(data) > most:
            raise InputError("too large for a text file", where=path, needed=f"at most {most} bytes")
        return data.decode(_ENCODING).replace("\r\n", "\n").replace("\r", "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("not UTF-8 text", where=path, remedy="Save it as UTF-8.") from error


def read_metadata(path: Path) -> Mapping[str, str]:
    """File name → caption of a Hugging Face `metadata.jsonl`; empty without one.

    The caption is the value of `text`, `caption` or `prompt`.  Raises InputError with the line that is not
    a JSON object.
    """
    if not path.is_file() or path.is_symlink():
        return {}
    return _parsed(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _parsed(path: Path, _changed_ns: int) -> Mapping[str, str]:
    by_name: dict[str, str] = {}
    for number, line in enumerate(_text(path, _MAX_TABLE_BYTES).split("\n"), start=1):
        if line.strip():
            row = strict_json.parse_object(line, f"{path}:{number}", "row", error=InputError)
            texts = (row.get(key) for key in _TEXT_KEYS)
            text = next((one for one in texts if isinstance(one, str) and one.strip()), "")
            if isinstance(name := row.get("file_name"), str) and text:
                by_name[name] = " ".join(text.split())
    return by_name


@lru_cache(maxsize=4)
def _texts(folder: Path, _changed_ns: int) -> Mapping[str, Path]:
    """The caption files of a folder by normalised name; of two that differ in case the first one."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.is_symlink():
            files.setdefault(_plain(path.name), path)
    return files


def _by_name(rows: Mapping[str, str]) -> Mapping[str, Sequence[str]]:
    names: dict[str, list[str]] = {}
    for name in rows:
        if parts := _parts(name):
            names.setdefault(parts[-1], []).append(name)
    return names


def _agree(one: Sequence[str], two: Sequence[str]) -> int:
    """The number of equal path components, from the end."""
    count = 0
    for a, b in zip(reversed(one), reversed(two), strict=False):
        if a != b:
            break
        count += 1
    return count


def _parts(name: str) -> tuple[str, ...]:
    return tuple(p for p in _plain(name).replace("\\", "/").split("/") if p not in ("", "."))


def _plain(name: str) -> str:
    """Normalised for Unicode composition and case."""
    return _composed(name).casefold()


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
