"""The signer of a picture: a certificate chain and its private key, checked before anything is signed.

Content credentials (C2PA 2.2, section 14.5) need an end-entity certificate whose key may make digital
signatures and whose extended key usage is one of `KEY_USAGES`.  The key stays in memory and is never shown.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portrait_lora.errors import InputError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from cryptography.x509 import Certificate

KEY_USAGES: Final = {
    "1.3.6.1.4.1.62558.2.1": "C2PA claim signing",
    "1.3.6.1.5.5.7.3.4": "emailProtection",
    "1.3.6.1.5.5.7.3.36": "documentSigning",
}
_CURVES: Final = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_MIN_RSA_BITS: Final = 2048


@dataclass(frozen=True, slots=True)
class Signer:
    """Certificate chain and key.  `chain_pem` begins with the signer's certificate, `key_pem` is PKCS #8."""

    chain_pem: bytes
    key_pem: bytes = field(repr=False)
    algorithm: str
    subject: str


def load_signer(certificate: Path, key: Path) -> Signer:
    """The signer of two PEM files; the signature algorithm follows from the key.

    Raises `InputError` for files that are not PEM, a key with a password, a key of
    another certificate, an unsuitable algorithm, and a certificate that is expired, not valid yet,
    self-signed, an authority's, or meant for something else.
    """
    from cryptography.hazmat.primitives import serialization as pem

    chain, private = _chain(certificate), _private(key)
    mine = private.public_key()
    if mine != chain[0].public_key():
        place = next((i for i, c in enumerate(chain) if c.public_key() == mine), None)
        got = "a key of another certificate" if place is None else f"the key of certificate {place + 1}"
        needed = f"the private key of the first certificate in {certificate}"
        raise InputError("the key does not belong to the certificate", where=key, got=got, needed=needed)
    algorithm = _algorithm(private, key)
    _judge(chain[0], certificate)
    return Signer(
        chain_pem=b"".join(c.public_bytes(pem.Encoding.PEM) for c in chain),
        key_pem=private.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption()),
        algorithm=algorithm,
        subject=chain[0].subject.rfc4514_string(),
    )


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{what} cannot be read", where=path, got=error.strerror or error) from error


def _chain(path: Path) -> list[Certificate]:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(_read(path, "the certificate"))
    except ValueError as error:
        needed = "PEM certificates, the signer's first, then its issuers'"
        raise InputError("no certificates in this file", where=path, needed=needed) from error


def _private(path: Path) -> PrivateKeyTypes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(_read(path, "the key"), None)
    except TypeError as error:
        remedy = "Write an unencrypted copy: openssl pkey -in KEY.pem -out OPEN.pem; remove it after signing."
        raise InputError("the key is protected by a password", where=path, remedy=remedy) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError("no private key in this file", where=path, needed="one key in PEM") from error


def _algorithm(private: PrivateKeyTypes, path: Path) -> str:
    """The COSE algorithm of a key (C2PA 2.2, section 13.2)."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in _CURVES:
        return _CURVES[private.curve.name]
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size >= _MIN_RSA_BITS:
        return "ps256"
    needed = f"EC on P-256, P-384 or P-521, Ed25519, or RSA of {_MIN_RSA_BITS} bits and more"
    raise InputError("content credentials cannot be signed with this kind of key", where=path, needed=needed)


def _judge(certificate: Certificate, path: Path) -> None:
    """Check dates and purpose; any other fault shows when the signature is made."""
    from cryptography import x509

    now = dt.datetime.now(dt.UTC)
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begins <= now <= ends:
        what = "the certificate has expired" if now > ends else "the certificate is not valid yet"
        got = f"valid from {begins:%Y-%m-%d %H:%M} to {ends:%Y-%m-%d %H:%M} UTC"
        raise InputError(what, where=path, got=got, remedy="Use one that is valid now.")
    if certificate.subject == certificate.issuer:
        needed = "an end-entity certificate signed by an authority"
        raise InputError("the certificate is self-signed", where=path, needed=needed)
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        usage_ids = {usage.dotted_string for usage in usages}
    except (x509.ExtensionNotFound, ValueError):
        usage_ids = set[str]()
    if not usage_ids & KEY_USAGES.keys():
        raise InputError(
            "the certificate is not meant for signing pictures",
            where=path,
            got=f"extended key usage {', '.join(sorted(usage_ids)) or 'none'}",
            needed=" or ".join(f"{name} ({oid})" for oid, name in KEY_USAGES.items()),
        )
