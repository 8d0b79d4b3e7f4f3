"""Error correction of the payload: a checksum of 24 bits and a tail-biting convolutional code of rate 1/3.

Both are those of LTE's control channels: CRC24A and the code of constraint length 7 with the generators 133,
171 and 165 (octal), 3GPP TS 36.212, 5.1.1 and 5.1.3.1.  40 bits of payload become 64 with the checksum and
192 in the picture.  Decoding is soft: each coded bit comes with how sure it is.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from portrait_lora.rights.watermark.protocol import PICTURE_BITS, TOOL_BITS, Payload

Bits = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

PAYLOAD_BITS: Final = TOOL_BITS + PICTURE_BITS
CHECK_BITS: Final = 24
WORD_BITS: Final = PAYLOAD_BITS + CHECK_BITS
RATE: Final = 3
CODED_BITS: Final = WORD_BITS * RATE
_CRC24A: Final = 0x864CFB
_GENERATORS: Final = (0o133, 0o171, 0o165)
_MEMORY: Final = 6
_STATES: Final = 1 << _MEMORY
_WRAPS: Final = 3
"""Rounds through the ring; paths have merged long before the last, whose decisions count."""


def encode(payload: Payload) -> Bits:
    """(192,) coded bits; the three of one word bit stand 64 apart."""
    value = payload.tool << PICTURE_BITS | payload.picture
    return _convolved(_bits(value << CHECK_BITS | _checksum(value), WORD_BITS))


def decode(soft: npt.NDArray[np.floating]) -> tuple[Payload, Bits] | None:
    """The payload and its coded bits; None where the checksum fails.

    `soft` (192,) is positive where a bit is rather 1, and the larger the surer.
    """
    word = _viterbi(np.asarray(soft, np.float32).reshape(RATE, WORD_BITS))
    number = int("".join(map(str, word.tolist())), 2)
    value, check = number >> CHECK_BITS, number & (1 << CHECK_BITS) - 1
    if _checksum(value) != check:
        return None
    return Payload(value >> PICTURE_BITS, value & (1 << PICTURE_BITS) - 1), _convolved(word)


def _bits(value: int, count: int) -> Bits:
    return np.array([value >> shift & 1 for shift in range(count - 1, -1, -1)], np.uint8)


def _checksum(value: int) -> int:
    """CRC24A of a payload; one is added first, so that the empty payload has a checksum too."""
    rest = (value + 1) << CHECK_BITS
    for shift in range(PAYLOAD_BITS, -1, -1):
        if rest >> shift + CHECK_BITS & 1:
            rest ^= (1 << CHECK_BITS | _CRC24A) << shift
    return rest


def _convolved(word: Bits) -> Bits:
    ring = [np.roll(word, delay) for delay in range(_MEMORY + 1)]
    rows = [
        np.bitwise_xor.reduce([ring[d] for d in range(_MEMORY + 1) if generator >> _MEMORY - d & 1])
        for generator in _GENERATORS
    ]
    return np.concatenate(rows).astype(np.uint8)


@lru_cache(maxsize=1)
def _trellis() -> tuple[npt.NDArray[np.int64], Floats]:
    """Where each state can come from (64, 2), and the signs (64, 2, 3) that the step to it sends.

    A state holds the last six bits, the newest in front.
    """
    origins = np.zeros((_STATES, 2), np.int64)
    signs = np.zeros((_STATES, 2, RATE), np.float32)
    for state in range(_STATES):
        newest = state >> _MEMORY - 1
        for oldest in (0, 1):
            before = (state << 1 & _STATES - 1) | oldest
            register = newest << _MEMORY | before
            origins[state, oldest] = before
            signs[state, oldest] = [2 * ((register & g).bit_count() & 1) - 1 for g in _GENERATORS]
    return origins, signs


def _viterbi(soft_RN: Floats) -> Bits:
    """The word whose coded bits agree best, by running round the ring from all states at once."""
    origins, signs = _trellis()
    steps = soft_RN.shape[1]
    gains = np.einsum("sor,rn->nso", signs, soft_RN)
    metric = np.zeros(_STATES, np.float32)
    choices = np.zeros((steps * _WRAPS, _STATES), np.uint8)
    for at in range(steps * _WRAPS):
        paths = metric[origins] + gains[at % steps]
        second = paths[:, 1] > paths[:, 0]
        choices[at] = second
        metric = np.where(second, paths[:, 1], paths[:, 0])
        metric -= metric.max()
    state = int(metric.argmax())
    word = np.zeros(steps, np.uint8)
    for at in range(steps * _WRAPS - 1, steps - 1, -1):
        # the middle round is free of what the start did not know and the end guessed
        if at < 2 * steps:
            word[at % steps] = state >> _MEMORY - 1
        state = int(origins[state, choices[at, state]])
    return word
