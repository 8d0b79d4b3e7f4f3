"""Limits on a generation record, so that an untrusted picture cannot exhaust memory, threads or time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final, NoReturn, cast

from portrait_lora.errors import ArtifactError

MAX_PIXELS: Final = 1 << 28
"""Of all pictures of a batch together."""
_MAX_WORDS: Final = 20_000
_MAX_MASK: Final = 4_000_000
_MAX_EDITS: Final = 64
_MAX_ENTRIES: Final = 64
_MAX_REFERENCES: Final = 8
_Check = Callable[[object], bool]


def _whole(least: int, most: int) -> _Check:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _number(least: float, most: float) -> _Check:
    return lambda value: (
        isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
    )


def _text(most: int) -> _Check:
    return lambda value: isinstance(value, str) and len(value) <= most


def _optional(check: _Check) -> _Check:
    return lambda value: value is None or check(value)


def _list_of(check: _Check, count: int) -> _Check:
    return lambda value: (
        isinstance(value, list)
        and len(cast(list[object], value)) == count
        and all(check(one) for one in cast(list[object], value))
    )


def _some_of(check: _Check, most: int) -> _Check:
    return lambda value: (
        isinstance(value, list)
        and 0 < len(cast(list[object], value)) <= most
        and all(check(one) for one in cast(list[object], value))
    )


def _table_of(check: _Check) -> _Check:
    return lambda value: (
        isinstance(value, dict)
        and len(cast(dict[str, object], value)) <= _MAX_ENTRIES
        and all(check(one) for one in cast(dict[str, object], value).values())
    )


def _plain(value: object) -> bool:
    finite = not isinstance(value, float) or math.isfinite(value)
    return finite and (value is None or isinstance(value, bool | int | float) or _text(200)(value))


_SCALE: Final = _number(0, 10)
_WEIGHTS: Final = ("float32", "bfloat16", "float16", "int8", "nf4")
_LIMITS: Final[Mapping[str, tuple[_Check, str]]] = {
    "size_px": (_list_of(_whole(8, 8192), 2), "two sides of 8 to 8192 px"),
    "seed": (_whole(0, (1 << 63) - 1), "a whole number from 0"),
    "num_inference_steps": (_whole(1, 1000), "1 to 1000"),
    "guidance_scale": (_number(0, 1000), "0 to 1000"),
    "identity_scale": (_optional(_number(0, 1000)), "0 to 1000, or null"),
    "identity_start": (_number(0, 1), "0 to 1"),
    "identity_late": (_number(0, 1), "0 to 1"),
    "identity_late_scale": (_optional(_number(0, 1000)), "0 to 1000, or null"),
    "strength": (_number(0, 1), "0 to 1"),
    **dict.fromkeys(
        ("adapter_scale", "style_scale", "accelerator_scale", "style_reference_scale"), (_SCALE, "0 to 10")
    ),
    **dict.fromkeys(("prompt", "negative_prompt"), (_text(_MAX_WORDS), f"at most {_MAX_WORDS} characters")),
    "layers": (_table_of(_text(_MAX_WORDS)), "texts by layer"),
    "weights": (lambda value: value in _WEIGHTS, f"one of {', '.join(_WEIGHTS)}"),
    "scheduler_arguments": (_table_of(_plain), "plain values by name"),
    "reference_sha256": (_some_of(_text(64), _MAX_REFERENCES), f"1 to {_MAX_REFERENCES} digests"),
    "references_until": (_number(0, 1), "0 to 1"),
    "box_px": (_list_of(_number(-8192, 8192), 4), "four numbers within the picture"),
    "mask_png": (_text(_MAX_MASK), f"at most {_MAX_MASK} characters"),
    "watermark_settled": (_text(4000), "at most 4000 characters"),
    "action": (_text(40), "the name of an edit"),
    "made": (lambda value: isinstance(value, dict), "the conditions of the drawing"),
}
_CONDITIONS: Final[Mapping[str, tuple[_Check, str]]] = {
    "threads": (_whole(0, 1024), "0 to 1024"),
    "batch_size": (_whole(1, 256), "1 to 256"),
    "batch_index": (_whole(0, 255), "below the batch size"),
    "together": (_whole(1, 64), "1 to 64 people"),
    "versions": (_table_of(_text(200)), "versions by name"),
}


def refuse(record: Mapping[str, object], where: object = "") -> None:
    """`ArtifactError` for a value that no picture of this program has, in the record or in its parents'.

    Missing keys are accepted: an older version may not have written them.
    """
    edits = 0
    current: object = record
    while current is not None:
        if not isinstance(current, Mapping) or (edits := edits + 1) > _MAX_EDITS:
            _damaged(where, "parent", current, f"at most {_MAX_EDITS} edits")
        one = cast(Mapping[str, object], current)
        conditions = one.get("made", {})
        _within(one, _LIMITS, where)
        _within(cast(Mapping[str, object], conditions), _CONDITIONS, where)
        _fits(one, cast(Mapping[str, object], conditions), where)
        current = one.get("parent")


def _within(values: Mapping[str, object], limits: Mapping[str, tuple[_Check, str]], where: object) -> None:
    for key, (check, needed) in limits.items():
        if key in values and not check(values[key]):
            _damaged(where, key, values[key], needed)


def _fits(record: Mapping[str, object], conditions: Mapping[str, object], where: object) -> None:
    """The batch in memory, and the picture in the batch."""
    size, index = cast(int, conditions.get("batch_size", 1)), cast(int, conditions.get("batch_index", 0))
    if index >= size:
        _damaged(where, "batch_index", index, f"below the batch size of {size}")
    pixels = size * math.prod(cast(list[int], record.get("size_px", [])))
    if pixels > MAX_PIXELS:
        _damaged(where, "batch_size", f"{pixels} pixels in a batch", f"at most {MAX_PIXELS}")


def _damaged(where: object, key: str, got: object, needed: str) -> NoReturn:
    shown = repr(got)[:80]
    what = f"the generation record of the picture is damaged: {key}"
    raise ArtifactError(what, where=where, got=shown, needed=needed)
