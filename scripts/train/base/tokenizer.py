"""Stage `tokenizer`: a byte-level CLIP tokenizer in which every word of the vocabulary is one token.

CLIP splits at punctuation before it merges, so `t-shirt` is the three tokens `t`, `-`, `shirt`; every such
piece is one token.  Other text falls back to smaller pieces, at worst to single bytes.

Words that came to the vocabulary later get numbers behind all others, the two marks included, so a text of
earlier words keeps its numbers for ever.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from transformers import CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from portrait_lora import vocabulary

from .configs import TEXT_LENGTH

BOS: Final = "<|startoftext|>"
EOS: Final = "<|endoftext|>"
END: Final = "</w>"
_PIECES: Final = re.compile(r"[^\W\d_]+|\d|[^\w\s]+")


def pieces(words: tuple[str, ...]) -> tuple[str, ...]:
    """What CLIP's pre-tokenizer makes of the words, sorted, each once."""
    distinct = {p for word in words for p in _PIECES.findall(word.lower())}
    return tuple(sorted(distinct | {","}))


def merges_for(units: tuple[str, ...], begun: Sequence[tuple[str, str]] = ()) -> list[tuple[str, str]]:
    """Byte-pair merges beyond `begun`, most frequent pair first, until every unit is a single symbol."""
    spelled = [[*unit[:-1], unit[-1] + END] for unit in units]
    for pair in begun:
        spelled = [_merge(symbols, pair) for symbols in spelled]
    merges: list[tuple[str, str]] = []
    while True:
        pairs = Counter(pair for symbols in spelled for pair in itertools.pairwise(symbols))
        if not pairs:
            return merges
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        spelled = [_merge(symbols, best) for symbols in spelled]


def _merge(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    out: list[str] = []
    for symbol in symbols:
        if out and (out[-1], symbol) == pair:
            out[-1] += symbol
        else:
            out.append(symbol)
    return out


def write_tokenizer(folder: Path) -> CLIPTokenizer:
    """Write `vocab.json`, `merges.txt` and the tokenizer's configuration; returns the loaded tokenizer."""
    alphabet = list(bytes_to_unicode().values())
    first, *later = vocabulary.editions()
    merges = merges_for(pieces(first))
    tokens = [*alphabet, *(c + END for c in alphabet), *(a + b for a, b in merges), BOS, EOS]
    for edition in later:
        more = merges_for(pieces(edition), merges)
        merges += more
        tokens += [a + b for a, b in more]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    ids = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    (folder / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": TEXT_LENGTH,
        "bos_token": BOS,
        "eos_token": EOS,
        "unk_token": EOS,
        "pad_token": EOS,
        "do_lower_case": True,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
    tokenizer = load_tokenizer(folder)
    check(tokenizer)
    return tokenizer


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """The tokenizer of a folder, as diffusers would load it."""
    return CLIPTokenizer.from_pretrained(str(folder))


def check(tokenizer: CLIPTokenizer) -> None:
    """Every piece of the vocabulary is exactly one token, and unknown text survives the round trip."""
    for unit in pieces(vocabulary.words()):
        ids = tokenizer(unit, add_special_tokens=False).input_ids
        if len(ids) != 1 or ids[0] == tokenizer.eos_token_id:
            raise ValueError(f"tokenizer: {unit!r} is {ids}, not one token")
    for text in ("zyx qux 42", "café ß"):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        if tokenizer.eos_token_id in ids:
            raise ValueError(f"tokenizer: {text!r} has unknown bytes: {ids}")
