"""Credentials that are the same bytes for the same picture, statement and key.

The C2PA library salts every assertion with 16 random bytes (ISO 19566-5, the `c2sh` box), which hide what a
redacted assertion said.  Nothing is redacted here, so the salts are derived from the statement instead, and
hashes and signature are computed again: sha256 of an assertion's box without its header, and COSE_Sign1
(RFC 9052, 4.4) over the claim.  Only keys with deterministic signatures can do it (Ed25519; ECDSA by RFC
6979); with others, and with time stamps, credentials differ from call to call.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from portrait_lora.rights.signer import Signer

_SALT: Final = b"\x00\x00\x00\x18c2sh"
_SALT_BYTES: Final = 16
_SIGNATURE_BYTES: Final = {"ed25519": 64, "es256": 64, "es384": 96, "es512": 132}
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_STORE_CHUNK: Final = b"caBX"
Box = tuple[bytes, int, int, int]
"""Type, start, start of the content, end."""


def repeatable(signed: bytes, store: bytes, signer: Signer, seed: str) -> bytes:
    """The signed picture with salts derived from `seed`; as it came where the key or the layout forbid it.

    `store` is the manifest store as the library returned it.  The caller verifies what comes out.
    """
    length = _SIGNATURE_BYTES.get(signer.algorithm)
    swaps = _swaps(store, signer, seed, length) if length and signed.count(store) == 1 else None
    if not swaps:
        return signed
    anew = store
    for old, new in swaps:
        anew = anew.replace(old, new)
    whole = signed.replace(store, anew)
    return _checked_png(whole) if whole.startswith(_PNG) else whole


def _swaps(store: bytes, signer: Signer, seed: str, length: int) -> list[tuple[bytes, bytes]] | None:
    """Pairs of equal length, in the order in which they have to be carried out; None for another layout."""
    top = next(_boxes(store, 0, len(store)), None)
    active = [b for b in _boxes(store, top[2], top[3]) if b[0] == b"jumb"][-1:] if top else []
    if not active:
        return None
    parts = {_label(store, b): b for b in _boxes(store, active[0][2], active[0][3]) if b[0] == b"jumb"}
    held, claim, signature = (
        parts.get(name) for name in (b"c2pa.assertions", b"c2pa.claim.v2", b"c2pa.signature")
    )
    if held is None or claim is None or signature is None:
        return None
    swaps: list[tuple[bytes, bytes]] = []
    assertions = [b for b in _boxes(store, held[2], held[3]) if b[0] == b"jumb"]
    # Actions refer to ingredients by their hash, so what is referred to comes first.
    assertions.sort(key=lambda b: _label(store, b).startswith(b"c2pa.actions"))
    for number, box in enumerate(assertions):
        content = store[box[2] : box[3]]
        at = content.find(_SALT)
        if at < 0:
            continue
        salt = content[at + len(_SALT) : at + len(_SALT) + _SALT_BYTES]
        fresh = hashlib.sha256(f"{seed} {number}".encode()).digest()[:_SALT_BYTES]
        before = hashlib.sha256(content).digest()
        for old, new in (*swaps, (salt, fresh)):
            content = content.replace(old, new)
        swaps += [(salt, fresh), (before, hashlib.sha256(content).digest())]
    payload = _cbor(store, claim)
    for old, new in swaps:
        payload = payload.replace(old, new)
    envelope = _cbor(store, signature)
    protected = _protected(envelope)
    if protected is None or len(envelope) < length:
        return None
    body = b"\x84\x6aSignature1" + _bytes(protected) + b"\x40" + _bytes(payload)
    return [*swaps, (envelope[-length:], _sign(body, signer))]


def _boxes(data: bytes, at: int, end: int) -> Iterator[Box]:
    """The JUMBF boxes one after the other (ISO 19566-5, A.1)."""
    while at + 8 <= end:
        length, name = struct.unpack_from(">I4s", data, at)
        stop = end if length == 0 else at + length
        if length == 1 or stop > end or stop <= at:
            return
        yield name, at, at + 8, stop
        at = stop


def _label(data: bytes, box: Box) -> bytes:
    """The label in a superbox's description: after 16 bytes of type and one of toggles, to a zero."""
    inner = next(_boxes(data, box[2], box[3]), None)
    if inner is None or inner[0] != b"jumd":
        return b""
    return data[inner[2] + 17 : inner[3]].split(b"\0", 1)[0]


def _cbor(data: bytes, box: Box) -> bytes:
    return next((data[b[2] : b[3]] for b in _boxes(data, box[2], box[3]) if b[0] == b"cbor"), b"")


def _protected(envelope: bytes) -> bytes | None:
    """The protected header of a tagged COSE_Sign1 array, as the bytes that were signed."""
    at = 1 if envelope[:1] == b"\xd2" else 0
    if envelope[at : at + 1] != b"\x84" or len(envelope) < at + 6:
        return None
    head, at = envelope[at + 1], at + 2
    kind, short = head >> 5, head & 31
    sizes = {24: 1, 25: 2, 26: 4}
    if kind != 2 or (short > 23 and short not in sizes):
        return None
    wide = sizes.get(short, 0)
    length = int.from_bytes(envelope[at : at + wide], "big") if wide else short
    return envelope[at + wide : at + wide + length]


def _bytes(value: bytes) -> bytes:
    """A byte string in CBOR (RFC 8949, 3.1)."""
    n = len(value)
    if n < 24:
        return bytes([0x40 | n]) + value
    for code, fmt, limit in ((0x58, ">B", 1 << 8), (0x59, ">H", 1 << 16), (0x5A, ">I", 1 << 32)):
        if n < limit:
            return bytes([code]) + struct.pack(fmt, n) + value
    raise ValueError("too long")


def _sign(body: bytes, signer: Signer) -> bytes:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    key = _key(signer.key_pem)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(body)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    half = _SIGNATURE_BYTES[signer.algorithm] // 2
    algorithm = {"es256": hashes.SHA256(), "es384": hashes.SHA384(), "es512": hashes.SHA512()}
    der = key.sign(body, ec.ECDSA(algorithm[signer.algorithm], deterministic_signing=True))
    return b"".join(number.to_bytes(half, "big") for number in decode_dss_signature(der))


@lru_cache(maxsize=4)
def _key(key_pem: bytes) -> object:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    return load_pem_private_key(key_pem, None)


def _checked_png(data: bytes) -> bytes:
    """The PNG with the checksum of its manifest store computed again."""
    out, at = bytearray(data), len(_PNG)
    while at + 12 <= len(out):
        length = struct.unpack_from(">I", out, at)[0]
        if bytes(out[at + 4 : at + 8]) == _STORE_CHUNK:
            end = at + 8 + length
            struct.pack_into(">I", out, end, zlib.crc32(out[at + 4 : end]))
        at += 12 + length
    return bytes(out)
