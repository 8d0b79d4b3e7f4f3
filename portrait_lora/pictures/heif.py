"""HEIC decoding in a separate program, so that the GPL code in pillow-heif's wheels stays outside.

The worker is optional (extra `heic`; the set-up commands install it) and decodes one file at a time.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, cast

from PIL import Image

from portrait_lora.pictures import heif_worker

_WORKER: Final = Path(heif_worker.__file__)
_SECONDS: Final = 120
_MODES: Final = {"RGB": 3, "RGBA": 4, "L": 1, "LA": 2, "I;16": 2}
_MAX_PROFILE_BYTES: Final = 4_000_000


class NotInstalled(Exception):
    """The extra `heic` is not installed."""


class TooManyPixels(Exception):
    """The picture has more pixels than allowed; nothing was decoded."""


@contextmanager
def decoded(data: bytes, max_pixels: int) -> Iterator[Image.Image]:
    """The picture of a HEIC file, with its EXIF orientation, time of exposure and colour profile.

    Raises NotInstalled, TooManyPixels, or ValueError when the worker cannot decode it.
    """
    command = [sys.executable, "-I", str(_WORKER), str(max_pixels)]
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise ValueError("the HEIC worker timed out") from error
    if done.returncode == heif_worker.EXIT_NOT_INSTALLED:
        raise NotInstalled
    if done.returncode == heif_worker.EXIT_TOO_MANY_PIXELS:
        raise TooManyPixels
    if done.returncode != 0:
        raise ValueError(f"the HEIC worker exited with {done.returncode}")
    line, _, rest = done.stdout.partition(b"\n")
    yield _picture(json.loads(line), rest)


def _picture(head: dict[str, object], rest: bytes) -> Image.Image:
    (width, height), mode, length = head["size"], str(head["mode"]), int(str(head["profile"]))  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    if mode not in _MODES or not 0 <= length <= _MAX_PROFILE_BYTES:
        raise ValueError(f"the HEIC worker returned {mode} pixels and a profile of {length} bytes")
    image = Image.frombytes(mode, (int(width), int(height)), rest[length:])
    if length:
        image.info["icc_profile"] = rest[:length]
    image.getexif()[heif_worker.ORIENTATION_TAG] = int(str(head["orientation"]))
    times = cast(list[str], head["times"])
    block = image.getexif().get_ifd(heif_worker.EXIF_IFD)
    block |= {tag: text for tag, text in zip(heif_worker.TIME_TAGS, times, strict=True) if text}
    return image
