"""Which captioner writes: the built-in one, files that came with the photos, or a vision-language model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from portrait_lora.dataset.caption import AttributesCaptioner, Captioner
from portrait_lora.dataset.caption_models import ModelCaptioner, transformers_describer
from portrait_lora.dataset.crop import Framing
from portrait_lora.dataset.photos import ImageArray
from portrait_lora.errors import InputError
from portrait_lora.records import Face

METADATA: Final = "metadata.jsonl"
_TEXT_KEYS: Final = ("text", "caption", "prompt")
_ENCODING: Final = "utf-8-sig"


def choose_captioner(kind: str, *, trigger: str, subject: str, words: str = "", model: str = "") -> Captioner:
    """The captioner of a configuration: `attributes`, `sidecar`, `florence2` or `blip`.

    `words` are added to every caption.  Models are loaded at the first caption.  Raises InputError for an
    unknown kind.
    """
    built_in = AttributesCaptioner(trigger, subject)
    if kind == "attributes":
        chosen: Captioner = built_in
    elif kind == "sidecar":
        chosen = SidecarCaptioner(built_in)
    elif kind in ("florence2", "blip"):
        chosen = ModelCaptioner(trigger, subject, transformers_describer(kind, model))
    else:
        raise InputError("unknown captioner", got=kind, needed="attributes, sidecar, florence2 or blip")
    extra = " ".join(words.split()).strip(",. ")
    return WordsCaptioner(chosen, extra) if extra else chosen


@dataclass(frozen=True, slots=True)
class WordsCaptioner:
    """Another captioner's text with the user's own words at its end."""

    first: Captioner
    words: str

    def caption(self, image_rgb: ImageArray, face: Face, crop: Framing) -> str:
        """`…, red beard`; nothing is said twice."""
        text = self.first.caption(image_rgb, face, crop)
        return text if self.words.lower() in text.lower() else f"{text}, {self.words}"


@dataclass(frozen=True, slots=True)
class SidecarCaptioner:
    """The text file beside the photo (`IMG_1.jpg` → `IMG_1.txt`), else its line in the `metadata.jsonl`
    of the folder, else another captioner."""

    otherwise: Captioner

    def caption(self, image_rgb: ImageArray, face: Face, crop: Framing) -> str:
        """The sidecar's text on one line.  Raises InputError when a file cannot be understood."""
        path = crop.source.with_suffix(".txt")
        text = ""
        if path.is_file() and not path.is_symlink():
            text = " ".join(read_text(path).split())
        text = text or read_metadata(crop.source.parent / METADATA).get(crop.source.name, "")
        return text or self.otherwise.caption(image_rgb, face, crop)


def read_text(path: Path) -> str:
    """A UTF-8 text file, its mark left out.  Raises InputError."""
    try:
        return path.read_text(encoding=_ENCODING)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("not UTF-8 text", where=path, remedy="Save it as UTF-8.") from error


def read_metadata(path: Path) -> Mapping[str, str]:
    """File name → caption of a Hugging Face `metadata.jsonl`; empty without one.

    The caption is the value of `text`, `caption` or `prompt`.  Raises InputError with the line that is no
    JSON object.
    """
    if not path.is_file() or path.is_symlink():
        return {}
    return _parsed(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _parsed(path: Path, _changed_ns: int) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError("not JSON", where=f"{path}:{number}", got=error.msg) from error
        if not isinstance(row, dict):
            got = type(row).__name__
            raise InputError("not a JSON object", where=f"{path}:{number}", got=got)
        text = next((row[k] for k in _TEXT_KEYS if isinstance(row.get(k), str) and row[k].strip()), "")
        if isinstance(row.get("file_name"), str) and text:
            found[row["file_name"]] = " ".join(text.split())
    return found
