"""Certificates and keys are judged before anything is signed, and the message says what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from portrait_lora.errors import InputError
from portrait_lora.rights.signer import load_signer
from tests.certificates import Papers, write_papers

from cryptography.hazmat.primitives import serialization as pem  # isort: skip  (after the skip above)
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa  # isort: skip
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier  # isort: skip


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return write_papers(tmp_path_factory.mktemp("papers"))


def test_the_algorithm_follows_from_the_key(tmp_path: Path) -> None:
    keys = {
        "es256": ec.generate_private_key(ec.SECP256R1()),
        "es384": ec.generate_private_key(ec.SECP384R1()),
        "es512": ec.generate_private_key(ec.SECP521R1()),
        "ps256": rsa.generate_private_key(65537, 2048),
        "ed25519": ed25519.Ed25519PrivateKey.generate(),
    }
    for algorithm, key in keys.items():
        papers = write_papers(tmp_path / algorithm, key)
        signer = load_signer(papers.chain, papers.key)
        assert signer.algorithm == algorithm
        assert signer.subject == "O=Example studio,CN=Anna's studio"
        assert "PRIVATE" not in repr(signer)


def test_a_key_in_an_older_envelope_is_read(papers: Papers, tmp_path: Path) -> None:
    key = pem.load_pem_private_key(papers.key.read_bytes(), None)
    old = key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.TraditionalOpenSSL, pem.NoEncryption())
    (tmp_path / "old.pem").write_bytes(old)
    assert b"EC PRIVATE KEY" in old
    assert load_signer(papers.chain, tmp_path / "old.pem").key_pem == papers.key.read_bytes()


def test_the_wrong_key(papers: Papers, tmp_path: Path) -> None:
    other = write_papers(tmp_path)
    with pytest.raises(InputError, match=r"does not belong to the certificate.*of another certificate"):
        load_signer(papers.chain, other.key)
    leaf, top = papers.chain.read_bytes().split(b"-----END CERTIFICATE-----\n")[:2]
    end = b"-----END CERTIFICATE-----\n"
    (tmp_path / "turned.pem").write_bytes(top + end + leaf + end)
    with pytest.raises(InputError, match="the key of certificate 2"):
        load_signer(tmp_path / "turned.pem", papers.key)


def test_a_certificate_that_is_not_valid_now(tmp_path: Path) -> None:
    expired, early = write_papers(tmp_path / "a", days=(-9, -1)), write_papers(tmp_path / "b", days=(1, 9))
    with pytest.raises(InputError, match="has expired"):
        load_signer(expired.chain, expired.key)
    with pytest.raises(InputError, match="not valid yet"):
        load_signer(early.chain, early.key)


def test_a_certificate_for_something_else(tmp_path: Path) -> None:
    for i, usage in enumerate((None, ExtendedKeyUsageOID.SERVER_AUTH)):
        papers = write_papers(tmp_path / str(i), usage=usage)
        with pytest.raises(InputError, match=r"not meant for signing pictures.*emailProtection"):
            load_signer(papers.chain, papers.key)
    for usage in ("1.3.6.1.4.1.62558.2.1", "1.3.6.1.5.5.7.3.36"):
        papers = write_papers(tmp_path / usage, usage=ObjectIdentifier(usage))
        assert load_signer(papers.chain, papers.key).algorithm == "es256"


def test_a_self_signed_certificate(tmp_path: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    papers = write_papers(tmp_path)
    key = pem.load_pem_private_key(papers.key.read_bytes(), None)
    leaf = x509.load_pem_x509_certificates(papers.chain.read_bytes())[0]
    alone = x509.CertificateBuilder(leaf.subject, leaf.subject, leaf.public_key(), leaf.serial_number)
    alone = alone.not_valid_before(leaf.not_valid_before_utc).not_valid_after(leaf.not_valid_after_utc)
    papers.chain.write_bytes(alone.sign(key, hashes.SHA256()).public_bytes(pem.Encoding.PEM))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="self-signed"):
        load_signer(papers.chain, papers.key)


def test_files_that_are_something_else(papers: Papers, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_signer(tmp_path / "nothing.pem", papers.key)
    with pytest.raises(InputError, match="no certificates"):
        load_signer(papers.key, papers.key)
    with pytest.raises(InputError, match="no private key"):
        load_signer(papers.chain, papers.chain)
    key = pem.load_pem_private_key(papers.key.read_bytes(), None)
    locked = key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.BestAvailableEncryption(b"x"))
    (tmp_path / "locked.pem").write_bytes(locked)
    with pytest.raises(InputError, match=r"protected by a password.*openssl"):
        load_signer(papers.chain, tmp_path / "locked.pem")
    weak = write_papers(tmp_path / "weak", rsa.generate_private_key(65537, 1024))
    with pytest.raises(InputError, match=r"this kind of key.*2048"):
        load_signer(weak.chain, weak.key)
