"""Who signs the pictures of this machine: a local certificate, made at first use, or one of the policy.

The local certificate says only that pictures were signed on this machine by this program: nobody has checked
who that is, and validators of others call it valid, but untrusted.  Its authority's key is thrown away at
once, so it can never vouch for anybody else.  Both files lie in `$XDG_DATA_HOME/portrait_lora/signing`, for
their owner alone; a key that others may read is refused.
"""

from __future__ import annotations

import datetime as dt
import os
import stat
import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portrait_lora import manifest, removal
from portrait_lora.errors import InputError
from portrait_lora.rights import policy
from portrait_lora.rights.signer import Signer, load_signer

if TYPE_CHECKING:
    from cryptography import x509

CERTIFICATE: Final = "certificate.pem"
KEY: Final = "key.pem"
RETIRED: Final = "retired"
LOCAL: Final = "portrait_lora, local certificate"
RENEW: Final = "portrait-lora sign --new-certificate"
_YEARS: Final = 10
_DAY: Final = dt.timedelta(days=1)
_lock = threading.Lock()


def folder() -> Path:
    """Where the local certificate and its key lie."""
    home = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(home).expanduser() / "portrait_lora" / "signing"


def current() -> Signer:
    """The signer of this machine; the local certificate is made when there is none.

    Raises `InputError` for a key that others may read, for half a certificate, and for one that is expired
    or not valid yet: no picture is ever written without its signature.
    """
    settings = policy.current().signing
    if settings.certificate is not None and settings.key is not None:
        return _loaded(settings.certificate.expanduser(), settings.key.expanduser())
    certificate, key = folder() / CERTIFICATE, folder() / KEY
    if not certificate.exists() and not key.exists():
        make()
    for path, other in ((certificate, key), (key, certificate)):
        if not path.exists():
            raise InputError(
                "half of the local certificate is lost",
                where=path,
                got=f"only {other.name}",
                remedy=f"Bring it back, or make a new certificate: {RENEW}",
            )
    return _loaded(certificate, key)


def _loaded(certificate: Path, key: Path) -> Signer:
    _refuse_readable(key)
    try:
        states = tuple((s.st_mtime_ns, s.st_size) for s in (certificate.stat(), key.stat()))
    except OSError as error:
        raise InputError("the certificate cannot be read", where=certificate, got=error.strerror) from error
    signer, begins, ends = _read(certificate, key, states)
    now = clock()
    if not begins <= now <= ends:
        raise _out_of_date(certificate, begins, ends, now)
    return signer


@lru_cache(maxsize=8)
def _read(
    certificate: Path, key: Path, states: tuple[tuple[int, int], ...]
) -> tuple[Signer, dt.datetime, dt.datetime]:
    """Cached: every picture of a series is signed.  `states` tells one pair of files from the next."""
    from cryptography import x509

    del states
    data = certificate.read_bytes()
    try:
        first = x509.load_pem_x509_certificates(data)[0]
    except ValueError as error:
        raise InputError(
            "no certificates in this file", where=certificate, remedy=f"Make a new one: {RENEW}"
        ) from error
    begins, ends = first.not_valid_before_utc, first.not_valid_after_utc
    now = clock()
    if not begins <= now <= ends:
        raise _out_of_date(certificate, begins, ends, now)
    return load_signer(certificate, key), begins, ends


def _out_of_date(path: Path, begins: dt.datetime, ends: dt.datetime, now: dt.datetime) -> InputError:
    what = "the certificate has expired" if now > ends else "the certificate is not valid yet"
    local = path.parent == folder()
    renew = f"renew it: {RENEW}" if local else "name a valid one in the policy."
    return InputError(
        what,
        where=path,
        got=f"valid from {begins:%Y-%m-%d} to {ends:%Y-%m-%d}; the clock here says {now:%Y-%m-%d}",
        remedy=f"Pictures are not written unsigned. If the clock is right, {renew}",
    )


def clock() -> dt.datetime:
    """What this machine takes for the time."""
    return dt.datetime.now(dt.UTC)


def _refuse_readable(key: Path) -> None:
    """`InputError` for a private key that anybody but its owner may read (POSIX modes)."""
    try:
        state = key.stat()
    except OSError as error:
        raise InputError("the private key cannot be read", where=key, got=error.strerror) from error
    if os.name == "posix" and state.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InputError(
            "others may read the private key",
            where=key,
            got=f"mode {stat.S_IMODE(state.st_mode):04o}",
            needed="0600",
            remedy=f"Who read it can sign in your name: make a new one ({RENEW}), or, if nobody did, "
            f"chmod 600 {key}",
        )


def make(*, anew: bool = False) -> Path:
    """Make the local certificate; the folder.  `anew` puts the one that is there aside, without its key.

    Whoever comes second while it is made uses the first one's.
    """
    place = folder()
    with _lock, manifest.locked(place / CERTIFICATE):
        _private(place)
        if anew:
            _retire(place)
        elif (place / CERTIFICATE).exists() or (place / KEY).exists():
            return place
        chain, key = _papers()
        manifest.write_bytes_atomic(place / KEY, key)
        (place / KEY).chmod(0o600)
        manifest.write_bytes_atomic(place / CERTIFICATE, chain)
    return place


def known() -> bytes:
    """The local certificates of this machine as PEM, those put aside too: what it has signed itself."""
    place = folder()
    files = [place / CERTIFICATE, *sorted((place / RETIRED).glob("*.pem"))]
    return b"".join(one.read_bytes() for one in files if one.is_file())


def _private(place: Path) -> None:
    manifest.make_folder(place)
    place.chmod(0o700)


def _retire(place: Path) -> None:
    old = place / CERTIFICATE
    if old.is_file():
        aside = place / RETIRED / f"{manifest.sha256_file(old)[:16]}.pem"
        manifest.write_bytes_atomic(aside, old.read_bytes())
    for path in (old, place / KEY):
        if path.exists():
            removal.remove_file(path, owner=place)


def _papers() -> tuple[bytes, bytes]:
    """Certificate chain and private key, PEM.  Ed25519 signs the same bytes with the same signature."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization as pem
    from cryptography.hazmat.primitives.asymmetric import ed25519
    from cryptography.x509.oid import ExtendedKeyUsageOID

    root, mine = ed25519.Ed25519PrivateKey.generate(), ed25519.Ed25519PrivateKey.generate()
    authority = (
        _begun("authority of one certificate", root.public_key())
        .add_extension(x509.BasicConstraints(True, 0), True)
        .add_extension(_usage(authority=True), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(root.public_key()), False)
        .sign(root, None)
    )
    leaf = (
        _begun(LOCAL, mine.public_key())
        .add_extension(x509.BasicConstraints(False, None), True)
        .add_extension(_usage(authority=False), True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
        .sign(root, None)
    )
    chain = b"".join(one.public_bytes(pem.Encoding.PEM) for one in (leaf, authority))
    return chain, mine.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption())


def _begun(common: str, public: object) -> x509.CertificateBuilder:
    """Valid from yesterday, for clocks that differ a little; nothing in it is about the person."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    def name(text: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, text),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "not verified"),
            ]
        )

    now = clock()
    issuer = name("authority of one certificate")
    number = x509.random_serial_number()
    builder = x509.CertificateBuilder(issuer, name(common), public, number)  # pyright: ignore[reportArgumentType]
    return builder.not_valid_before(now - _DAY).not_valid_after(now + dt.timedelta(days=365 * _YEARS))


def _usage(*, authority: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(not authority, False, False, False, False, authority, authority, False, False)
