"""Content credentials (C2PA) in a picture: a signed statement of how it came to be, and the signer.

The statement holds what was done (`c2pa.created`, or `c2pa.opened` and what followed), IPTC's digital source
type, the name and version of this program, and the credentials of the picture it was made from; no path, no
prompt, no name but the signer's.  Every byte outside it is bound by a hash, so a later change is detected.
No network is used, except for a time-stamp authority that the user names.
"""

from __future__ import annotations

import hashlib
import io
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from portrait_lora import __version__, manifest, provenance, strict_json
from portrait_lora.errors import ArtifactError, InputError, PortraitError
from portrait_lora.rights.repeatable import repeatable
from portrait_lora.rights.signer import KEY_USAGES, Signer

if TYPE_CHECKING:
    from c2pa import Context

Format = Literal["PNG", "JPEG", "WEBP", "TIFF", "AVIF", "MP4"]
State = Literal["trusted", "valid", "invalid"]
FORMATS: Final[tuple[Format, ...]] = ("PNG", "JPEG", "WEBP", "TIFF", "AVIF", "MP4")
_STORE: Final = b"jumdc2pa"
"""Start of a manifest store (C2PA 2.2, section 11.1.4: a JUMBF superbox whose type starts with 'c2pa')."""
_CREATED: Final = "c2pa.created"
_OPENED: Final = "c2pa.opened"
_PARENT: Final = "source"
_MOST_LINKS: Final = 64


class TimeStampMissing(PortraitError):
    """The time-stamp authority gave no answer; the picture can be signed without it."""


@dataclass(frozen=True, slots=True)
class Parent:
    """The bytes of the picture that another was made from, with the credentials in them, if any."""

    data: bytes
    kind: Format


@dataclass(frozen=True, slots=True)
class Credentials:
    """The content of a picture's credentials, and whether they are valid.

    `valid`: signature and bytes agree; `trusted`: and the signer's authority is trusted.  `altered`
    means that bytes of the picture or of the statement are not those that were signed.  `signed_at` is known
    only from a time-stamp authority.  `actions` are all that is stated, oldest first, those of the pictures
    it was made from included; `before` says who made those, newest first.
    """

    state: State
    altered: bool
    signer: str
    algorithm: str
    generator: str
    digital_source_type: str | None
    signed_at: str | None
    problems: tuple[str, ...]
    actions: tuple[str, ...] = ()
    before: tuple[str, ...] = ()


def format_of(name: str | None) -> Format | None:
    """The name of a picture's format (as in Pillow) if it can hold credentials, else None."""
    return next((known for known in FORMATS if known == name), None)


def sniffed(data: bytes) -> Format | None:
    """The format by the first bytes of a file; None for one that cannot hold credentials."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:4] in (b"II*\0", b"MM\0*"):
        return "TIFF"
    if data[4:8] == b"ftyp":
        return "AVIF" if data[8:12] in (b"avif", b"avis") else "MP4"
    return None


def carries(data: bytes) -> bool:
    """Whether the bytes of a picture hold credentials, valid or not."""
    return _STORE in data


def sign(
    data: bytes,
    kind: Format,
    signer: Signer,
    source: provenance.SourceType | None = provenance.TRAINED,
    *,
    title: str | None = None,
    timestamp_authority: str | None = None,
    edits: Sequence[str] = (),
    parent: Parent | None = None,
) -> bytes:
    """The bytes of a picture with credentials added; its pixels and other metadata stay bit-identical.

    `edits` are actions (`c2pa.edited`, …) after the first, which is `c2pa.opened` with a `parent` and
    `c2pa.created` without one; a word after a colon describes it.  The parent's own credentials, whoever made
    them, are kept inside.  `source` None states nothing about how the pixels came to be.  `title`, if any, is
    written into the statement.  The same arguments give the same bytes for Ed25519 and ECDSA keys without a
    time stamp.

    Raises `InputError` for a picture that is signed already (pass it as its own `parent`) and a certificate
    that C2PA does not accept, `TimeStampMissing` when the time-stamp authority does not respond.
    """
    import c2pa

    if carries(data) and (parent is None or parent.data is not data):
        raise InputError("the picture is signed already", remedy="Sign the original instead.")
    info = c2pa.C2paSignerInfo(signer.algorithm, signer.chain_pem, signer.key_pem, timestamp_authority)
    statement = _statement(source, title, edits, parent)
    seed = manifest.digest([statement, hashlib.sha256(data).hexdigest(), signer.subject, _digest_of(parent)])
    name = str(uuid.UUID(bytes=bytes.fromhex(seed)[:16], version=4))
    statement |= {"instance_id": f"xmp:iid:{name}", "label": f"urn:c2pa:{name}"}
    try:
        try:
            signed, store = _signed(data, kind, info, statement, parent)
        except c2pa.C2paError:
            if parent is None or not carries(parent.data) or parent.data is data:
                raise
            # A store so broken that it cannot be read: the parent is named, without it.
            statement |= {"ingredients": [_row(parent) | {"format": _mime(parent.kind)}]}
            signed, store = _signed(data, kind, info, statement, None)
    except c2pa.C2paError as error:
        raise _refused(error, signer, timestamp_authority) from error
    same = signed if timestamp_authority else repeatable(signed, store, signer, seed)
    # A later library with another layout still signs, only not the same bytes each time.
    problems: tuple[str, ...] = ()
    for candidate in dict.fromkeys((same, signed)):
        checked = read(candidate, kind)
        if checked is not None and checked.state != "invalid":
            return candidate
        problems = checked.problems if checked else ("no credentials",)
    raise _refused(RuntimeError(", ".join(problems)), signer, None)


def _digest_of(parent: Parent | None) -> str:
    return "" if parent is None else hashlib.sha256(parent.data).hexdigest()


def _signed(
    data: bytes, kind: Format, info: Any, statement: Mapping[str, object], parent: Parent | None
) -> tuple[bytes, bytes]:
    """The picture with its manifest store, and the store; the parent is an ingredient."""
    import c2pa

    out = io.BytesIO()
    with (
        c2pa.Signer.from_info(info) as by,
        _context() as context,
        c2pa.Builder(dict(statement), context=context) as builder,
    ):
        if parent is not None:
            builder.add_ingredient(_row(parent), _mime(parent.kind), io.BytesIO(parent.data))
        store = builder.sign(by, _mime(kind), io.BytesIO(data), out)
    return out.getvalue(), store


def _row(parent: Parent) -> dict[str, str]:
    """The ingredient: its name says nothing."""
    name = uuid.UUID(hex=_digest_of(parent)[:32], version=4)
    return {
        "title": _PARENT,
        "relationship": "parentOf",
        "label": _PARENT,
        "instance_id": f"xmp:iid:{name}",
    }


def read(data: bytes, kind: Format, authorities: bytes | None = None) -> Credentials | None:
    """The credentials of a picture, checked against its bytes; None when it has none.

    `authorities` are trusted PEM certificates; without them no signer is trusted.
    """
    if not carries(data):
        return None
    import c2pa

    try:
        with (
            _context(authorities or None) as context,
            c2pa.Reader(_mime(kind), io.BytesIO(data), context=context) as r,
        ):
            store = strict_json.parse_object(r.json(), "", "report of the credentials")
        return _summary(store)
    except (c2pa.C2paError, ArtifactError, ValueError, KeyError, TypeError, AttributeError) as error:
        return Credentials("invalid", True, "", "", "", None, None, (str(error),))


def _summary(store: Mapping[str, Any]) -> Credentials:
    """`Credentials` from the library's report (its manifest store as JSON)."""
    claims = list(_lineage(store))
    claim = claims[0]
    codes = [str(s["code"]) for s in store.get("validation_status", [])]
    holds = store.get("validation_state") in ("Trusted", "Valid")
    codes_of = store.get("validation_results", {}).get("activeManifest", {}).get("success", [])
    # The library calls the whole no better than the least of the pictures that it was made from.
    trusted = any(one.get("code") == "signingCredential.trusted" for one in codes_of)
    actions = [a for one in reversed(claims) for a in _actions(one)]
    by = claim.get("signature_info", {})
    return Credentials(
        state=("trusted" if trusted else "valid") if holds else "invalid",
        altered=any(code.endswith(".mismatch") for code in codes),
        signer=_signer(claim),
        algorithm=str(by.get("alg", "")).lower(),
        generator=_generator(claim),
        digital_source_type=next((s for one in claims if (s := _source(one))), None),
        signed_at=by.get("time"),
        problems=tuple(codes),
        actions=tuple(str(a.get("action", "")) for a in actions),
        before=tuple(f"{_generator(one)}, signed by {_signer(one)}" for one in claims[1:]),
    )


def _lineage(store: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The active claim, then those of the pictures it was made from, newest first."""
    claims, label = store["manifests"], store["active_manifest"]
    for _ in range(_MOST_LINKS):
        if label not in claims:
            return
        yield claims[label]
        parents = [i for i in claims[label].get("ingredients", []) if i.get("relationship") == "parentOf"]
        label = parents[0].get("active_manifest") if parents else None


def _signer(claim: Mapping[str, Any]) -> str:
    by = claim.get("signature_info", {})
    return ", ".join(dict.fromkeys(str(n) for n in (by.get("common_name"), by.get("issuer")) if n))


def _generator(claim: Mapping[str, Any]) -> str:
    named = [g for g in claim.get("claim_generator_info", []) if g.get("name")]
    return f"{named[0]['name']} {named[0].get('version', '')}".strip() if named else ""


def _actions(claim: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [a for one in claim.get("assertions", []) for a in one.get("data", {}).get("actions", [])]


def _source(claim: Mapping[str, Any]) -> str | None:
    """The last part of the digital source type's address in the first action that names one."""
    types = (a.get("digitalSourceType") for a in _actions(claim))
    return next((str(one).rsplit("/", 1)[-1] for one in types if one), None)


def _statement(
    source: provenance.SourceType | None, title: str | None, edits: Sequence[str], parent: Parent | None
) -> dict[str, object]:
    first: dict[str, object] = {"action": _CREATED if parent is None else _OPENED}
    if parent is not None:
        first["parameters"] = {"ingredientIds": [_PARENT]}
    actions: list[dict[str, object]] = [first]
    for edit in edits:
        action, _, words = edit.partition(":")
        row: dict[str, object] = {"action": action}
        actions.append(row | ({"description": words.strip()} if words else {}))
    if source is not None:  # where a picture was opened, what was done to it last says what it is
        actions[0 if parent is None else -1]["digitalSourceType"] = f"{provenance.VOCABULARY}{source}"
    statement: dict[str, object] = {
        "claim_generator_info": [{"name": provenance.CREATOR, "version": __version__}],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": actions}}],
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
            "verify_after_sign": False,
            "verify_trust": authorities is not None,
            "remote_manifest_fetch": False,
            "ocsp_fetch": False,
        },
        "builder": {"thumbnail": {"enabled": False}},
        "trust": trust,
    }
    return c2pa.Context.from_dict(settings)


def _mime(kind: Format) -> str:
    return "video/mp4" if kind == "MP4" else f"image/{kind.lower()}"


def _refused(error: Exception, signer: Signer, timestamp_authority: str | None) -> PortraitError:
    message = " ".join(str(error).split())
    if timestamp_authority and "http" in message:
        remedy = "Check its URL and the connection, or sign without it."
        return TimeStampMissing(
            "the time-stamp authority returned no time stamp", where=timestamp_authority, remedy=remedy
        )
    return InputError(
        "the certificate cannot sign content credentials",
        where=signer.subject,
        got=message,
        needed="an end-entity certificate with key usage digitalSignature, and the rest of its chain",
    )
