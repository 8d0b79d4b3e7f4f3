"""Content credentials (C2PA) in a picture: a signed statement that it was generated, and the signer.

The statement holds the action `c2pa.created`, IPTC's digital source type and the name and version of this
program; no path, no prompt, no name but the signer's.  Every byte outside it is bound by a hash, so a later
change is detected.  No network is used, except for a time-stamp authority that the user names.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from portrait_lora import __version__, provenance, strict_json
from portrait_lora.errors import ArtifactError, InputError, PortraitError, require_extra
from portrait_lora.rights.signer import EXTRA, KEY_USAGES, Signer

if TYPE_CHECKING:
    from c2pa import Context

Format = Literal["PNG", "JPEG", "WEBP"]
State = Literal["trusted", "valid", "invalid"]
FORMATS: Final[tuple[Format, ...]] = ("PNG", "JPEG", "WEBP")
_STORE: Final = b"jumdc2pa"
"""Start of a manifest store (C2PA 2.2, section 11.1.4: a JUMBF superbox whose type starts with 'c2pa')."""
_CREATED: Final = "c2pa.created"


@dataclass(frozen=True, slots=True)
class Credentials:
    """The content of a picture's credentials, and whether they are valid.

    `valid`: signature and bytes agree; `trusted`: and so is the signer's authority.  `altered`
    means that bytes of the picture or of the statement are not those that were signed.  `signed_at` is known
    only from a time-stamp authority.
    """

    state: State
    altered: bool
    signer: str
    algorithm: str
    generator: str
    digital_source_type: str | None
    signed_at: str | None
    problems: tuple[str, ...]


def format_of(name: str | None) -> Format | None:
    """The name of a picture's format (as in Pillow) if it can hold credentials, else None."""
    return next((known for known in FORMATS if known == name), None)


def carries(data: bytes) -> bool:
    """Whether the bytes of a picture hold credentials, valid or not.  Needs no extra."""
    return _STORE in data


def sign(
    data: bytes,
    kind: Format,
    signer: Signer,
    source: provenance.SourceType = provenance.TRAINED,
    *,
    title: str | None = None,
    timestamp_authority: str | None = None,
) -> bytes:
    """The bytes of a picture with credentials added; its pixels and other metadata stay bit-identical.

    `title`, if any, is written into the statement.  Raises `InputError` for a picture that is signed
    already, a certificate that C2PA does not accept and a missing extra, `PortraitError` when the
    time-stamp authority does not respond.
    """
    require_extra("c2pa", EXTRA)
    import c2pa

    if carries(data):
        raise InputError("the picture is signed already", remedy="Sign the original instead.")
    info = c2pa.C2paSignerInfo(signer.algorithm, signer.chain_pem, signer.key_pem, timestamp_authority)
    signed = io.BytesIO()
    try:
        with (
            c2pa.Signer.from_info(info) as by,
            _context() as context,
            c2pa.Builder(_statement(source, title), context=context) as builder,
        ):
            builder.sign(by, _mime(kind), io.BytesIO(data), signed)
    except c2pa.C2paError as error:
        raise _refused(error, signer, timestamp_authority) from error
    return signed.getvalue()


def read(data: bytes, kind: Format, authorities: bytes | None = None) -> Credentials | None:
    """The credentials of a picture, checked against its bytes; None when it has none.

    `authorities` are trusted PEM certificates; without them no signer is trusted.  Raises `InputError` for
    a missing extra.
    """
    if not carries(data):
        return None
    require_extra("c2pa", EXTRA)
    import c2pa

    try:
        with (
            _context(authorities) as context,
            c2pa.Reader(_mime(kind), io.BytesIO(data), context=context) as r,
        ):
            store = strict_json.parse_object(r.json(), "", "report of the credentials")
        return _summary(store)
    except (c2pa.C2paError, ArtifactError, ValueError, KeyError, TypeError, AttributeError) as error:
        return Credentials("invalid", True, "", "", "", None, None, (str(error),))


def _summary(store: Mapping[str, Any]) -> Credentials:
    """`Credentials` from the library's report (its manifest store as JSON)."""
    claim = store["manifests"][store["active_manifest"]]
    by = claim.get("signature_info", {})
    generators = [g for g in claim.get("claim_generator_info", []) if g.get("name")]
    codes = [str(s["code"]) for s in store.get("validation_status", [])]
    states: dict[str, State] = {"Trusted": "trusted", "Valid": "valid"}
    names = (by.get("common_name"), by.get("issuer"))
    return Credentials(
        state=states.get(store.get("validation_state", ""), "invalid"),
        altered=any(code.endswith(".mismatch") for code in codes),
        signer=", ".join(dict.fromkeys(str(n) for n in names if n)),
        algorithm=str(by.get("alg", "")).lower(),
        generator=f"{generators[0]['name']} {generators[0].get('version', '')}".strip() if generators else "",
        digital_source_type=_source(claim),
        signed_at=by.get("time"),
        problems=tuple(codes),
    )


def _source(claim: Mapping[str, Any]) -> str | None:
    """The last part of the digital source type's address in the action that made the picture."""
    for assertion in claim.get("assertions", []):
        for action in assertion.get("data", {}).get("actions", []):
            if action.get("action") == _CREATED and action.get("digitalSourceType"):
                return str(action["digitalSourceType"]).rsplit("/", 1)[-1]
    return None


def _statement(source: provenance.SourceType, title: str | None) -> dict[str, object]:
    action = {"action": _CREATED, "digitalSourceType": f"{provenance.VOCABULARY}{source}"}
    statement: dict[str, object] = {
        "claim_generator_info": [{"name": provenance.CREATOR, "version": __version__}],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
    }
    return statement | ({"title": title} if title else {})


def _context(authorities: bytes | None = None) -> Context:
    """Settings: no network, no thumbnail, the key usages of `signer`."""
    import c2pa

    trust = {"trust_config": "\n".join(KEY_USAGES)}
    if authorities is not None:
        trust["trust_anchors"] = authorities.decode(errors="replace")
    settings: dict[str, object] = {
        "verify": {
            "verify_after_sign": True,
            "verify_trust": authorities is not None,
            "remote_manifest_fetch": False,
            "ocsp_fetch": False,
        },
        "builder": {"thumbnail": {"enabled": False}},
        "trust": trust,
    }
    return c2pa.Context.from_dict(settings)


def _mime(kind: Format) -> str:
    return f"image/{kind.lower()}"


def _refused(error: Exception, signer: Signer, timestamp_authority: str | None) -> PortraitError:
    message = " ".join(str(error).split())
    if timestamp_authority and "http" in message:
        remedy = "Check its URL and the connection, or sign without it."
        return PortraitError(
            "the time-stamp authority returned no time stamp", where=timestamp_authority, remedy=remedy
        )
    return InputError(
        "the certificate cannot sign content credentials",
        where=signer.subject,
        got=message,
        needed="an end-entity certificate with key usage digitalSignature, and the rest of its chain",
    )
