"""A throw-away authority and certificates below it, made on the spot."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

EMAIL: Final = ExtendedKeyUsageOID.EMAIL_PROTECTION


@dataclass(frozen=True)
class Papers:
    """The files a signer has, and the authority's own certificate."""

    chain: Path
    key: Path
    authority: Path

    @property
    def options(self) -> list[str]:
        return ["--certificate", str(self.chain), "--key", str(self.key)]


def _name(common: str, organisation: str) -> x509.Name:
    parts = ((NameOID.COMMON_NAME, common), (NameOID.ORGANIZATION_NAME, organisation))
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(not authority, False, False, False, False, authority, authority, False, False)


def write_papers(
    folder: Path,
    key: CertificateIssuerPrivateKeyTypes | None = None,
    *,
    usage: x509.ObjectIdentifier | None = EMAIL,
    days: tuple[float, float] = (-1, 30),
) -> Papers:
    """A chain of two (signer, authority) and the signer's key in `folder`; valid from and to, in days."""
    folder.mkdir(parents=True, exist_ok=True)
    mine, root = key or ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    above = _name("Throw-away authority", "Authority of tests")
    now = dt.datetime.now(dt.UTC)

    def begin(subject: x509.Name, public: object) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder(above, subject, public, x509.random_serial_number())  # type: ignore[arg-type]
        start, end = (now + dt.timedelta(days=d) for d in days)
        return builder.not_valid_before(start).not_valid_after(end)

    authority = (
        begin(above, root.public_key())
        .add_extension(x509.BasicConstraints(True, None), True)
        .add_extension(_usage(authority=True), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(root.public_key()), False)
        .sign(root, hashes.SHA256())
    )
    leaf = (
        begin(_name("Anna's studio", "Example studio"), mine.public_key())
        .add_extension(x509.BasicConstraints(False, None), True)
        .add_extension(_usage(authority=False), True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), False)
    )
    if usage is not None:
        leaf = leaf.add_extension(x509.ExtendedKeyUsage([usage]), False)
    papers = Papers(folder / "chain.pem", folder / "key.pem", folder / "authority.pem")
    top = authority.public_bytes(pem.Encoding.PEM)
    papers.authority.write_bytes(top)
    papers.chain.write_bytes(leaf.sign(root, hashes.SHA256()).public_bytes(pem.Encoding.PEM) + top)
    papers.key.write_bytes(mine.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption()))
    return papers
