"""The error correction of the watermark, and what a payload may hold."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from portrait_lora.errors import InputError
from portrait_lora.rights.watermark import Payload, code, payload_of

PAYLOADS = [Payload(0, 0), Payload(255, 2**32 - 1), Payload(0x11, 0xDEADBEEF), payload_of("a recipe")]


def soft(payload: Payload) -> np.ndarray:
    return 2.0 * code.encode(payload) - 1.0


@pytest.mark.parametrize("payload", PAYLOADS)
def test_what_was_encoded_is_decoded(payload: Payload) -> None:
    decoded = code.decode(soft(payload))
    assert decoded is not None
    assert decoded[0] == payload
    assert (decoded[1] == code.encode(payload)).all()


def test_twenty_wrong_bits_of_192_are_mended() -> None:
    rng = np.random.default_rng(0)
    for payload in PAYLOADS * 3:
        bits = soft(payload)
        bits[rng.choice(code.CODED_BITS, 20, replace=False)] *= -1
        decoded = code.decode(bits)
        assert decoded is not None
        assert decoded[0] == payload


def test_noise_of_the_signals_own_size_is_mended() -> None:
    rng = np.random.default_rng(1)
    decoded = [code.decode(soft(one) + 0.9 * rng.standard_normal(code.CODED_BITS)) for one in PAYLOADS * 4]
    assert sum(one is not None for one in decoded) >= 14


def test_noise_alone_is_no_word() -> None:
    rng = np.random.default_rng(2)
    assert not any(code.decode(rng.standard_normal(code.CODED_BITS)) for _ in range(60))
    assert code.decode(np.zeros(code.CODED_BITS)) is None


def test_a_word_with_another_checksum_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    bits = soft(PAYLOADS[2])
    monkeypatch.setattr(code, "_checksum", lambda value: 1)
    assert code.decode(bits) is None


def test_the_code_never_changes() -> None:
    """Pictures that are marked already are read with it."""
    bits = code.encode(Payload(0x11, 123_456_789))
    assert hashlib.sha256(bits.tobytes()).hexdigest()[:16] == "9912cec30402f5f5"


@pytest.mark.parametrize(("tool", "picture"), [(-1, 0), (256, 0), (0, -1), (0, 2**32)])
def test_numbers_that_do_not_fit_are_refused(tool: int, picture: int) -> None:
    with pytest.raises(InputError, match="does not fit"):
        Payload(tool, picture)


def test_the_payload_names_tool_and_scheme_and_tells_pictures_apart() -> None:
    first, second = payload_of("recipe 1"), payload_of("recipe 2")
    assert first == payload_of(b"recipe 1")
    assert first.picture != second.picture
    assert (first.scheme, first.is_ours) == (1, True)
    assert not Payload(0x12, 0).is_ours
