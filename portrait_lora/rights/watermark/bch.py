"""The binary BCH code of TrustMark's longest correction: 40 bits of data, 56 of parity, 8 errors mended.

A primitive code over GF(128) with the polynomial x^7 + x^3 + 1, shortened; systematic, data first, most
significant bit first (Lin and Costello, Error Control Coding, chapter 6).  Roots are the first 16 powers.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

DATA_BITS: Final = 40
PARITY_BITS: Final = 56
CODE_BITS: Final = DATA_BITS + PARITY_BITS
CORRECTS: Final = 8
_ORDER: Final = 127
_POLYNOMIAL: Final = 0b1000_1001


@lru_cache(maxsize=1)
def _field() -> tuple[list[int], dict[int, int]]:
    """Powers of the primitive element, and their logarithms."""
    powers, value = [], 1
    for _ in range(_ORDER):
        powers.append(value)
        value <<= 1
        if value & 0x80:
            value ^= _POLYNOMIAL
    return powers, {power: i for i, power in enumerate(powers)}


def _product(a: int, b: int) -> int:
    powers, logs = _field()
    return powers[(logs[a] + logs[b]) % _ORDER] if a and b else 0


@lru_cache(maxsize=1)
def _generator() -> int:
    """The generator polynomial, its bits as those of a number: the product of the minimal polynomials."""
    powers, _ = _field()
    roots = {odd * 2**k % _ORDER for odd in range(1, 2 * CORRECTS, 2) for k in range(7)}
    coefficients = [1]
    for root in sorted(roots):
        shifted = [0, *coefficients]
        for i, one in enumerate(coefficients):
            shifted[i] ^= _product(one, powers[root])
        coefficients = shifted
    return sum(one << i for i, one in enumerate(coefficients))


def encode(data: int) -> int:
    """The word of 96 bits of 40 bits of data."""
    return data << PARITY_BITS | _rest(data << PARITY_BITS)


def _rest(value: int) -> int:
    generator = _generator()
    while (shift := value.bit_length() - PARITY_BITS - 1) >= 0:
        value ^= generator << shift
    return value


def decode(word: int) -> tuple[int, int] | None:
    """The data of 96 bits and how many were wrong; None where more than eight are."""
    if _rest(word) == 0:
        return word >> PARITY_BITS, 0
    locator = _locator(_syndromes(word))
    wrong = [i for i in range(CODE_BITS) if _value(locator, -i) == 0]
    if len(locator) - 1 > CORRECTS or len(wrong) != len(locator) - 1:
        return None
    for i in wrong:
        word ^= 1 << i
    return (word >> PARITY_BITS, len(wrong)) if _rest(word) == 0 else None


def _syndromes(word: int) -> list[int]:
    powers, _ = _field()
    ones = [i for i in range(CODE_BITS) if word >> i & 1]
    values = []
    for root in range(1, 2 * CORRECTS + 1):
        value = 0
        for i in ones:
            value ^= powers[root * i % _ORDER]
        values.append(value)
    return values


def _value(polynomial: list[int], power: int) -> int:
    """At a power of the primitive element."""
    powers, _ = _field()
    total = 0
    for degree, one in enumerate(polynomial):
        total ^= _product(one, powers[degree * power % _ORDER])
    return total


def _locator(syndromes: list[int]) -> list[int]:
    """The error locator polynomial, by Berlekamp and Massey."""
    powers, logs = _field()
    current, before, length, since, last = [1], [1], 0, 1, 1
    for i in range(len(syndromes)):
        gap = syndromes[i]
        for j in range(1, length + 1):
            gap ^= _product(current[j] if j < len(current) else 0, syndromes[i - j])
        if gap == 0:
            since += 1
            continue
        factor = powers[(logs[gap] - logs[last]) % _ORDER]
        moved = [0] * since + [_product(factor, one) for one in before]
        size = max(len(current), len(moved))
        longer = [
            (current[k] if k < len(current) else 0) ^ (moved[k] if k < len(moved) else 0) for k in range(size)
        ]
        if 2 * length <= i:
            before, length, last, since = current, i + 1 - length, gap, 1
        else:
            since += 1
        current = longer
    while len(current) > 1 and current[-1] == 0:
        current = current[:-1]
    return current
