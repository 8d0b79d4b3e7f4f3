"""The consent of a person, recorded and shown."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from portrait_lora import config
from portrait_lora.errors import InputError, PortraitError
from portrait_lora.rights import consent
from portrait_lora.web.services import jobs as job_service


def shown(folder: Path) -> dict[str, Any]:
    """What is recorded as plain values; `problem` says what it does not cover today."""
    there = consent.read(folder)
    problem = ""
    try:
        file = folder / config.FILE_NAME
        commercial = config.load(file if file.is_file() else None, ()).commercial
        consent.require(folder, folder / "photos", commercial=commercial)
    except PortraitError as error:
        place = job_service.relative_to(str(folder))
        problem = str(place(error.what)) + (f": {place(error.got)}" if error.got else "")
    return {
        "recorded": there is not None,
        "who": there.who if there else "",
        "purposes": list(there.purposes) if there else [],
        "until": there.until if there else "",
        "recorded_on": there.given if there else "",
        "by": there.by if there else "",
        "photos": len(there.photos) if there else 0,
        "covers": not problem,
        "problem": problem,
        "statement": consent.STATEMENT,
    }


def record(
    folder: Path, name: str, *, subject: bool, who: str = "", purposes: Sequence[str] = (), until: str = "",
    statement: str = "",
) -> consent.Consent:  # fmt: skip
    """Write `consent.json` for the photos that are there now.

    Raises `InputError` for both kinds at once or neither, and for one that is incomplete or over already.
    """
    today = dt.date.today()
    of_other = bool(who or purposes or until or statement)
    if subject == of_other:
        raise InputError(
            "a consent is either the subject's own or another person's", where="consent",
            needed="i_am_the_subject, or who, purposes, until and statement",
        )  # fmt: skip
    if subject:
        agreed = consent.of_subject(name, today)
    else:
        agreed = _of_other(who, purposes, until, statement, today)
    consent.write(folder, agreed)
    return agreed


def _of_other(
    who: str, purposes: Sequence[str], until: str, statement: str, today: dt.date
) -> consent.Consent:
    missing = [k for k, v in (("who", who), ("statement", statement), ("until", until)) if not v.strip()]
    unknown = [one for one in purposes if one not in consent.PURPOSES]
    if missing or unknown or not purposes:
        needed = f"who, statement, until, and purposes among {', '.join(consent.PURPOSES)}"
        raise InputError("the consent is incomplete", where="consent", got=unknown or "", needed=needed)
    try:
        ends = dt.date.fromisoformat(until)
    except ValueError as error:
        raise InputError("not a date", where="until", got=until, needed="YYYY-MM-DD") from error
    if ends < today:
        raise InputError("the consent is over already", where="until", got=until, needed="a day to come")
    digest = hashlib.sha256(statement.encode(errors="replace")).hexdigest()
    return consent.Consent(who.strip(), tuple(purposes), until, digest, "file", today.isoformat())
