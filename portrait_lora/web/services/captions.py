"""Captions edited in the studio: singly or by find and replace, with undo; `captions.csv` is the truth.

Every change names the version of the text that it was made from, so that two tabs, or the file itself,
cannot overwrite each other unseen.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from portrait_lora import manifest, strict_json
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.web import ids
from portrait_lora.web.problems import Conflict

if TYPE_CHECKING:
    from portrait_lora.web.studio import Person

NAME: Final = "captions.csv"
HISTORY: Final = "captions.history.json"
MOST_TEXT: Final = 2000
MOST_STEPS: Final = 100
_CROP: Final = re.compile(r"(.+)-([0-9a-f]{6})-(\d+)\.png")


class CaptionChanged(Conflict):
    """The caption is another one by now; `now` is its text and `version` the version of that."""

    def __init__(self, file: str, now: str):
        self.now, self.version = now, version_of(now)
        super().__init__(
            "this caption was changed meanwhile, in another tab or in the file", where=file, got=now,
            remedy="Choose one of the two texts. Nothing was overwritten.",
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Caption:
    """The caption of one training crop; `picture` is its file, None while there is none.

    `number` counts the crops of a photo.  `lacks_trigger`: the trained word is not in the text.
    """

    id: str
    file: str
    text: str
    version: str
    picture: Path | None
    photo: str
    number: int
    lacks_trigger: bool


@dataclass(frozen=True, slots=True)
class Step:
    """Something that can be undone; `when` in seconds since the epoch."""

    label: str
    when: float
    captions: int


@dataclass(frozen=True, slots=True)
class Hit:
    """A caption that a replacement would change; `pieces` are (text, removed, added), in order."""

    caption: Caption
    after: str
    pieces: tuple[tuple[str, str, str], ...]


def listed(person: Person) -> list[Caption]:
    """All captions by crop name; none before the dataset is prepared.

    Raises `InputError`, with the line, for a file that cannot be read.
    """
    from portrait_lora.web.services import photos

    trigger = photos.settings_of(person.folder).subject.trigger
    word = re.compile(rf"(?<!\w){re.escape(trigger)}(?!\w)")
    crops = person.folder / "dataset" / "train"
    rows: list[Caption] = []
    for file, text in sorted(_read(person.folder).items()):
        picture = crops / file if Path(file).name == file else None
        there = picture if picture and picture.is_file() and not picture.is_symlink() else None
        match = _CROP.fullmatch(file)
        rows.append(
            Caption(
                ids.digest_id(f"captions/{file}"), file, text, version_of(text), there,
                match[1] if match else Path(file).stem, int(match[3]) if match else 1,
                not word.search(text),
            )
        )  # fmt: skip
    return rows


def change(person: Person, caption_id: str, text: str, version: str) -> Caption:
    """Set one caption.  Raises `CaptionChanged` when it is not the one of `version`, `InputError` for a text
    that is none."""
    new = _plain(text)

    def edit(now: dict[str, str]) -> tuple[str, dict[str, str]]:
        file = _file(now, caption_id)
        if version_of(now[file]) != version:
            raise CaptionChanged(file, now[file])
        return f"a caption of {_photo(file)}", {file: new}

    _change(person.folder, edit)
    return next(c for c in listed(person) if c.id == caption_id)


def matches(person: Person, find: str, by: str, *, words: bool = True, case: bool = False) -> list[Hit]:
    """What replacing `find` by `by` would change: whole words only with `words`, as written with `case`."""
    pattern = _pattern(find, words=words, case=case)
    hits: list[Hit] = []
    for caption in listed(person):
        pieces = tuple(_pieces(caption.text, pattern, by))
        after = _joined("".join(same + added for same, _, added in pieces))
        if after != caption.text:
            hits.append(Hit(caption, after, pieces))
    return hits


def replace(
    person: Person, find: str, by: str, versions: Mapping[str, str], *, words: bool = True, case: bool = False
) -> int:
    """Replace in the captions of `versions` (id → version); how many were changed.

    All or nothing: raises `CaptionChanged` when one of them is another by now, `InputError` when a caption
    would be empty.
    """
    pattern = _pattern(find, words=words, case=case)

    def edit(now: dict[str, str]) -> tuple[str, dict[str, str]]:
        changes: dict[str, str] = {}
        for caption_id, version in versions.items():
            file = _file(now, caption_id)
            if version_of(now[file]) != version:
                raise CaptionChanged(file, now[file])
            after = _plain(pattern.sub(lambda _: by, now[file]), file)
            if after != now[file]:
                changes[file] = after
        return f"“{find}” → “{by}” in {len(changes)} caption{'s' if len(changes) != 1 else ''}", changes

    return _change(person.folder, edit)


def undo(person: Person) -> Step | None:
    """Take back the last step; None when there is none.  Captions changed since stay as they are."""
    folder = person.folder
    with manifest.locked(folder / NAME):
        steps = _history(folder)
        if not steps:
            return None
        step, now = steps.pop(), _read(folder)
        back = {file: was for file, (was, became) in step["changes"].items() if now.get(file) == became}
        _write(folder, now | back)
        manifest.write_json_atomic(folder / HISTORY, {"steps": steps})
    return Step(step["label"], step["when"], len(back))


def last_step(person: Person) -> Step | None:
    """What `undo` would take back."""
    steps = _history(person.folder)
    return Step(steps[-1]["label"], steps[-1]["when"], len(steps[-1]["changes"])) if steps else None


def version_of(text: str) -> str:
    """A short digest of a caption."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def _change(folder: Path, edit: Callable[[dict[str, str]], tuple[str, dict[str, str]]]) -> int:
    """Change captions under the lock of the file, and write down how to take it back."""
    with manifest.locked(folder / NAME):
        now = _read(folder)
        label, wanted = edit(now)
        changes = {file: text for file, text in wanted.items() if now[file] != text}
        if not changes:
            return 0
        step = {
            "label": label,
            "when": round(time.time(), 3),
            "changes": {file: [now[file], text] for file, text in changes.items()},
        }
        steps = [*_history(folder), step][-MOST_STEPS:]
        _write(folder, now | changes)
        manifest.write_json_atomic(folder / HISTORY, {"steps": steps})
        return len(changes)


def _read(folder: Path) -> dict[str, str]:
    from portrait_lora.dataset.caption import read_captions

    return read_captions(folder / NAME) if (folder / NAME).is_file() else {}


def _write(folder: Path, captions: Mapping[str, str]) -> None:
    from portrait_lora.dataset.caption import write_captions

    write_captions(folder / NAME, captions)


def _history(folder: Path) -> list[dict[str, Any]]:
    """The steps, oldest first; a damaged file means that nothing can be undone."""
    try:
        steps = strict_json.load_object(folder / HISTORY, "history of captions", file_names=True)["steps"]
    except (ArtifactError, KeyError):
        return []
    return [step for step in steps if _is_step(step)] if isinstance(steps, list) else []


def _is_step(step: Any) -> bool:
    return (
        isinstance(step, dict)
        and isinstance(step.get("label"), str)
        and isinstance(step.get("when"), int | float)
        and isinstance(step.get("changes"), dict)
        and all(
            isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)
            for pair in step["changes"].values()
        )
    )


def _file(captions: Mapping[str, str], caption_id: str) -> str:
    for file in captions:
        if ids.digest_id(f"captions/{file}") == caption_id:
            return file
    raise InputError("no such caption", where=caption_id, remedy="Load the page again.")


def _photo(file: str) -> str:
    match = _CROP.fullmatch(file)
    return match[1] if match else file


def _plain(text: str, where: str = "caption") -> str:
    """The text on one line.  Raises `InputError` for an empty or a very long one."""
    plain = _joined("".join(c if c.isprintable() or c.isspace() else " " for c in text))
    if not plain:
        raise InputError("a caption cannot be empty", where=where, needed="what the picture shows")
    if len(plain) > MOST_TEXT:
        raise InputError(
            "this caption is too long",
            where=where,
            got=f"{len(plain)} characters",
            needed=f"at most {MOST_TEXT}",
        )
    return plain


def _joined(text: str) -> str:
    """Words with single spaces, and without the commas that a removed word leaves."""
    plain = " ".join(text.split())
    return re.sub(r"\s+,", ",", re.sub(r"(,\s*)+(?=,)|^[,\s]+|[,\s]+$", "", plain))


def _pattern(find: str, *, words: bool, case: bool) -> re.Pattern[str]:
    text = " ".join(find.split())
    if not text:
        raise InputError("nothing to find", where="find", needed="at least one character")
    plain = re.escape(text).replace(r"\ ", r"\s+")
    return re.compile(rf"(?<!\w){plain}(?!\w)" if words else plain, 0 if case else re.IGNORECASE)


def _pieces(text: str, pattern: re.Pattern[str], by: str) -> Sequence[tuple[str, str, str]]:
    pieces: list[tuple[str, str, str]] = []
    end = 0
    for match in pattern.finditer(text):
        pieces.append((text[end : match.start()], match[0], by))
        end = match.end()
    return [*pieces, (text[end:], "", "")]
