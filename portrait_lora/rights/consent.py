"""Who agreed to be portrayed, to what, until when: `consent.json`, needed before photographs are trained on.

The record holds a name, purposes, a date, the sha256 of the statement that was agreed to, and those of the
photos it was given for: photos that are added later are not covered.  It is a record, not a proof, and it
never leaves the folder.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from portrait_lora import manifest, provenance, strict_json, strict_yaml
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.pictures.reader import list_photos
from portrait_lora.written import WrittenFloat, WrittenInt

NAME: Final = "consent.json"
PURPOSES: Final = ("training", "portraits", "commercial")
STATEMENT: Final = (
    "I am the person in these photos. I agree that an image model is trained on them and that portraits of "
    "me are generated with it, for the purposes and until the date given here. I may withdraw this at any "
    "time; then photos, model and portraits are deleted."
)
_DAYS: Final = 365
ADULT_YEARS: Final = 18
_HOW: Final = (
    "Add --i-am-the-subject if the photos show you, or --consent FILE with a YAML of: who, purposes "
    "(training, portraits, commercial), until (YYYY-MM-DD), statement; for a minor also guardian; "
    "of whoever looks young, born (YYYY-MM-DD)."
)


@dataclass(frozen=True, slots=True)
class Consent:
    """`until` and `given` are ISO dates; `by` says whether the subject answered or a file was given.

    `photos` are the sha256 of the photographs it was given for.
    """

    who: str
    purposes: tuple[str, ...]
    until: str
    statement_sha256: str
    by: str
    given: str
    photos: tuple[str, ...] = ()
    guardian: str = ""
    """Who consents for a minor; empty for an adult."""
    born: str = ""
    """The stated date of birth, needed of whoever looks young; else empty."""


def of_subject(who: str, today: dt.date) -> Consent:
    """The consent of the user to portraits of themselves, for a year and every purpose."""
    until = (today + dt.timedelta(days=_DAYS)).isoformat()
    return Consent(who or "the subject", PURPOSES, until, _sha256(STATEMENT), "subject", today.isoformat())


def of_file(path: Path, today: dt.date) -> Consent:
    """The consent in a YAML or JSON file.  Raises `InputError` for missing or unknown keys."""
    return of_values(strict_yaml.load(path, "consent"), today, path)


def of_values(raw: Any, today: dt.date, path: Path | str = "consent", by: str = "file") -> Consent:
    """The consent in a mapping: who, purposes, until, statement.  Raises `InputError` as `of_file` does."""
    keys, more = {"who", "purposes", "until", "statement"}, ("guardian", "born")
    if not isinstance(raw, dict) or set(raw) - set(more) != keys:
        got = ", ".join(map(str, raw)) if isinstance(raw, dict) else type(raw).__name__
        raise InputError(
            "not a consent",
            where=path,
            got=got,
            needed=", ".join(sorted(keys)) + "; guardian for a minor, born",
        )
    for key in ("who", "until", "statement", *(key for key in more if key in raw)):
        if not isinstance(raw[key], str | WrittenInt | WrittenFloat):
            raise InputError(f"the consent's {key!r} is not text", where=path, got=repr(raw[key]))
    purposes = tuple(map(str, raw["purposes"])) if isinstance(raw["purposes"], list) else ()
    unknown = [p for p in purposes if p not in PURPOSES]
    if not purposes or unknown or not str(raw["who"]).strip() or not str(raw["statement"]).strip():
        needed = f"a name, a statement, and purposes among {', '.join(PURPOSES)}"
        raise InputError("the consent is incomplete", where=path, got=unknown or "", needed=needed)
    until = _date(str(raw["until"]), path)
    return Consent(
        str(raw["who"]),
        purposes,
        until.isoformat(),
        _sha256(str(raw["statement"])),
        by,
        today.isoformat(),
        guardian=" ".join(str(raw.get("guardian", "")).split()),
        born=_date(str(raw["born"]), path).isoformat() if raw.get("born") else "",
    )


def stated(subject: bool, file: Path | None, name: str) -> Consent | None:
    """The consent of the subject `name`, or that of a file; None for neither.  Nothing is written.

    Raises `InputError` for both, and for a file that is no consent.
    """
    if subject and file:
        raise InputError("two consents", where="--consent", needed="--i-am-the-subject or --consent FILE")
    today = dt.date.today()
    if subject:
        return of_subject(name, today)
    return of_file(file, today) if file else None


def write(folder: Path, consent: Consent, photos: Path | None = None) -> Path:
    """Write `consent.json` into a likeness folder, for the photographs there (or in `photos`)."""
    digests = sorted({manifest.sha256_file(p) for p in photographs(photos or folder / "photos")})
    manifest.write_json_atomic(folder / NAME, {**asdict(consent), "photos": digests})
    return folder / NAME


def photographs(photos: Path) -> list[Path]:
    """The files that count as photographs of a person: all possible photos except the studio's."""
    if not photos.is_dir():
        return []
    return [p for p in list_photos(photos) if provenance.is_unmarked_picture(p)]


def read(folder: Path) -> Consent | None:
    """The consent of a likeness folder; None when there is none.  Raises `ArtifactError` when damaged."""
    path = folder / NAME
    if not path.is_file():
        return None
    raw: dict[str, Any] = strict_json.load_object(path, "consent record", remedy=_HOW)
    try:
        photos = tuple(raw.get("photos", ()))
        consent = Consent(**{**raw, "purposes": tuple(raw["purposes"]), "photos": photos})
        if not all(
            isinstance(one, str)
            for one in (
                *(consent.who, consent.until, consent.guardian, consent.born),
                *consent.purposes,
                *photos,
            )
        ):
            raise TypeError("a value that is not text")
    except (TypeError, KeyError) as error:
        raise ArtifactError("the consent record is damaged", where=path, got=error, remedy=_HOW) from error
    return consent


def require(folder: Path, photos: Path, *, commercial: bool, today: dt.date | None = None) -> None:
    """`InputError` unless every picture is the studio's or a consent covers photos and use today."""
    files = photographs(photos)
    if not files:
        return
    consent = read(folder)
    if consent is None:
        raise InputError(
            "these are photographs of a person, and no consent is recorded",
            where=folder,
            needed=NAME,
            remedy=_HOW,
        )
    _refuse_expired(consent, folder, today)
    lacking = [p for p in ("training", "portraits") if p not in consent.purposes]
    lacking += ["commercial"] if commercial and "commercial" not in consent.purposes else []
    if lacking:
        got, needed = ", ".join(consent.purposes), ", ".join(lacking)
        raise InputError(
            "the consent does not cover this",
            where=folder / NAME,
            got=got,
            needed=needed,
            remedy=_anew(folder),
        )
    covered = set(consent.photos)
    later = [p.name for p in files if manifest.sha256_file(p) not in covered]
    if later:
        raise InputError(
            "the consent does not cover these photos" if covered else "the consent lists no photos",
            where=folder / NAME,
            got=f"{len(later)} of {len(files)} photos, such as {later[0]}",
            needed="a consent recorded after the last photo was added",
            remedy=_HOW,
        )


def require_purposes(folder: Path, *purposes: str, today: dt.date | None = None) -> None:
    """`InputError` unless the consent of a likeness folder covers all these purposes today.

    What trains, draws, changes, exports or hands over asks this with what it is for.  A folder without
    photographs and without a consent (the studio's people) passes.
    """
    require_valid(folder, today=today)
    consent = read(folder)
    lacking = [p for p in dict.fromkeys(purposes) if consent is not None and p not in consent.purposes]
    if consent is not None and lacking:
        raise InputError(
            "the consent does not cover this purpose",
            where=folder / NAME,
            got=", ".join(consent.purposes),
            needed=", ".join(lacking),
            remedy=_anew(folder),
        )


def require_age(folder: Path, seen: str, *, today: dt.date | None = None) -> None:
    """`InputError` unless the consent names a guardian, or a date of birth at least 18 years ago.

    `seen` is what made somebody ask, such as a count of photos.  A folder without consent passes: `require`
    has asked for one where there are photographs.
    """
    consent = read(folder)
    if consent is None or consent.guardian or _is_adult(consent, folder, today):
        return
    raise InputError(
        "the person may be a minor, and nobody has said otherwise",
        where=folder / NAME,
        got=f"{seen} look younger than an adult surely does"
        + (f"; born {consent.born}" if consent.born else ""),
        needed="guardian, or born (YYYY-MM-DD) at least 18 years ago",
        remedy=_anew(folder),
    )


def _is_adult(consent: Consent, folder: Path, today: dt.date | None) -> bool:
    if not consent.born:
        return False
    born, now = _date(consent.born, folder / NAME), today or dt.date.today()
    return now.year - born.year - ((now.month, now.day) < (born.month, born.day)) >= ADULT_YEARS


def of_a_minor(folder: Path) -> bool:
    """Whether a guardian has consented for the person of a likeness folder."""
    consent = read(folder)
    return consent is not None and bool(consent.guardian)


def require_valid(folder: Path, *, today: dt.date | None = None) -> None:
    """`InputError` when the folder's consent has expired, or it has photographs without one.

    A folder without photographs has no consent, and passes.
    """
    consent = read(folder)
    if consent is not None:
        _refuse_expired(consent, folder, today)
    elif photographs(folder / "photos"):
        raise InputError(
            "these derive from photographs of a person, and no consent is recorded",
            where=folder,
            needed=NAME,
            remedy=_HOW,
        )


def _anew(folder: Path) -> str:
    """The command that records a consent to more, once the person has agreed to it."""
    command = f"portrait-lora check {shlex.quote(str(folder))} --consent FILE"
    return f"Ask the person, then record what they agreed to: {command}. {_HOW}"


def _refuse_expired(consent: Consent, folder: Path, today: dt.date | None) -> None:
    if _date(consent.until, folder / NAME) < (today or dt.date.today()):
        raise InputError("the consent has expired", where=folder / NAME, got=consent.until, remedy=_HOW)


def _date(text: str, where: Path | str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise InputError("not a date", where=where, got=text, needed="YYYY-MM-DD") from error


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
