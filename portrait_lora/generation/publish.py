"""Copies of portraits for others: the mark that they are generated stays, everything else is left out.

No recipe, prompt, trigger, file name or path goes into a copy unless it is asked for.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Literal

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from portrait_lora import beside, manifest, provenance
from portrait_lora.config import FILE_NAME
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.generation.save import a1111_parameters
from portrait_lora.rights import consent

Format = Literal["jpeg", "webp", "png"]
SUFFIXES: Final[Mapping[Format, str]] = {"jpeg": ".jpg", "webp": ".webp", "png": ".png"}
_USER_COMMENT: Final = 0x9286
_EXIF: Final = 0x8769
_UTF16: Final = b"UNICODE\0"
"""Character code of an EXIF user comment (Exif 2.3, section 4.6.5)."""


def publish(
    files: Sequence[Path],
    out: Path,
    kind: Format = "jpeg",
    *,
    quality: int = 92,
    keep_names: bool = False,
    with_recipe: bool = False,
) -> list[Path]:
    """Copies in `out`, numbered unless `keep_names`; an existing file is never replaced.

    A copy that is there already, byte for byte, is taken as it is: stopped anywhere, the same call goes on.
    `with_recipe` puts the prompt and the settings into the copy, as A1111 writes them.  All files are judged
    before the first is written: `InputError` for one that is missing or not marked as generated, whose name
    is taken, or whose person's consent has ended; `ArtifactError` where a recipe was asked for and there is
    none; `PortraitError` for a full disk, and then no copy is left.
    """
    for root in dict.fromkeys(root for file in files if (root := _likeness_of(file))):
        consent.require_valid(root)
    marks: list[provenance.SourceType] = [_mark(file) for file in files]
    all_parameters = [_parameters(file) if with_recipe else "" for file in files]
    suffix = SUFFIXES[kind]
    each = [
        partial(_bytes, file, kind, quality, mark, parameters)
        for file, mark, parameters in zip(files, marks, all_parameters, strict=True)
    ]
    if keep_names:
        _refuse_taken(files, out, suffix, each)
    numbers, numbered = _numbers(out), sorted(out.glob(f"portrait-*{suffix}"))
    manifest.make_folder(out, shared=True)
    copies: list[Path] = []
    made: list[Path] = []
    try:
        for file, bytes_of in zip(files, each, strict=True):
            data = bytes_of()
            known = [out / f"{file.stem}{suffix}"] if keep_names else numbered
            copy = next((p for p in known if p not in copies and _holds(p, data)), None)
            if copy is not None:
                beside.sweep(copy)  # it may have been stopped before its part was gone
            else:
                copy = _write(data, out, suffix, iter([file.stem]) if keep_names else numbers)
                made.append(copy)
            copies.append(copy)
    except BaseException:  # all of them or none
        for copy in made:
            copy.unlink(missing_ok=True)  # our own, of a moment ago
        raise
    return copies


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except OSError:
        return False


def _write(data: bytes, out: Path, suffix: str, names: Iterator[str]) -> Path:
    """Under the next of the names that is free, even when others publish here at the same time."""
    for name in names:
        target = out / f"{name}{suffix}"
        if manifest.write_bytes_new(target, data, shared=True):
            return target
    raise _taken(out)


def _likeness_of(file: Path) -> Path | None:
    """The likeness folder that a picture lies in; None for one that was taken elsewhere."""
    return next((p for p in file.resolve().parents if (p / FILE_NAME).is_file()), None)


def _mark(file: Path) -> provenance.SourceType:
    if not file.is_file():
        raise InputError("no such picture", where=file)
    mark = provenance.source_type(file)
    if mark in (provenance.TRAINED, provenance.ALGORITHMIC):
        return mark
    raise InputError(
        "the picture is not marked as generated", where=file, needed="a portrait made by this program"
    )


def _parameters(file: Path) -> str:
    try:
        return a1111_parameters(provenance.read_recipe(file))
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError("the recipe of the picture is damaged", where=file, got=repr(error)) from error


def _refuse_taken(files: Sequence[Path], out: Path, suffix: str, each: Sequence[Callable[[], bytes]]) -> None:
    """Raise `InputError` unless the files' own names are free, or those of the same copies."""
    stems = [file.stem for file in files]
    for stem, bytes_of in zip(stems, each, strict=True):
        target = out / f"{stem}{suffix}"
        if stems.count(stem) > 1 or (target.exists() and not _holds(target, bytes_of())):
            raise _taken(target)


def _numbers(out: Path) -> Iterator[str]:
    """`portrait-001` and on, without the numbers that are there in any format."""
    taken = {path.stem for path in out.glob("portrait-*")}
    return (name for n in itertools.count(1) if (name := f"portrait-{n:03d}") not in taken)


def _taken(where: Path) -> InputError:
    return InputError("the name is taken", where=where, remedy="Choose another folder with --out.")


def bare_copy(file: Path) -> bytes:
    """A PNG of the portrait with its mark, and without recipe, prompt or trigger.

    Raises `InputError` for a picture that is not marked as generated.
    """
    return _bytes(file, "png", 0, _mark(file), "")


def _bytes(file: Path, kind: Format, quality: int, mark: provenance.SourceType, parameters: str) -> bytes:
    with Image.open(file) as opened:
        picture = Image.fromarray(np.asarray(opened.convert("RGB")))  # pixels alone, without chunks
    buffer = io.BytesIO()
    if kind == "png":
        info: PngInfo = provenance.png_info(None, mark)
        if parameters:
            info.add_itxt("parameters", parameters)
        picture.save(buffer, "PNG", pnginfo=info)
        return buffer.getvalue()
    exif = Image.Exif()
    if parameters:
        exif.get_ifd(_EXIF)[_USER_COMMENT] = _UTF16 + parameters.encode("utf-16-be")
    more: dict[str, object] = {"exif": exif.tobytes()} if parameters else {}
    more |= {"subsampling": 0} if kind == "jpeg" else {}
    picture.save(buffer, kind.upper(), quality=quality, xmp=provenance.xmp_bytes(mark), **more)
    return buffer.getvalue()
