"""Prompts in the user's own words, written down as a series so that they can be drawn and scored again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import yaml

from portrait_lora import manifest
from portrait_lora.errors import InputError
from portrait_lora.generation import reading
from portrait_lora.generation.series import prompt_name

MOST_LETTERS: Final = 5_000


def write_series(root: Path, prompts: Sequence[str], file: Path | None = None, aspect: str = "") -> Path:
    """`portraits/NAME.yaml` in the likeness folder `root`, with a shot for every prompt; its path.

    The name comes from the first prompt and a digest of all, so the same prompts are the same series.
    Raises `InputError` for no prompt, an empty one, or one that is too long.
    """
    lines = [" ".join(one.split()) for one in prompts]
    lines += [line for _, line in reading.prompt_lines(file)] if file else []
    lines = list(dict.fromkeys(lines))
    if not lines or not all(lines):
        where = str(file) if file else "--prompt"
        raise InputError("an empty prompt", where=where, needed='words, such as "as an astronaut"')
    long = next((line for line in lines if len(line) > MOST_LETTERS), None)
    if long:
        raise InputError(
            "the prompt is too long", where=f"{long[:40]}…", got=len(long), needed=f"at most {MOST_LETTERS}"
        )
    top: dict[str, object] = {}
    if aspect:
        reading.aspect(aspect, Path("--aspect"))
        top["aspect"] = aspect
    name = prompt_name(lines[0]).rpartition("-")[0]
    name = f"{name}-{manifest.digest([lines, aspect])[:6]}"
    top |= {"shots": [{"prompt": line} for line in lines]}
    text = yaml.safe_dump({"series": name, **top}, sort_keys=False, allow_unicode=True, width=1000)
    path = manifest.make_folder(root / "portraits") / f"{name}.yaml"
    manifest.write_text_atomic(path, text)
    return path
