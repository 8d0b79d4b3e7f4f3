"""Where a request comes from: its `Host` is one of ours, and a write comes from our own page.

Decided on the scope as the server parsed it, never on an address that was put together from headers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from starlette.datastructures import Headers

from portrait_lora.web.problems import Forbidden, Refused

SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
METHODS: Final = SAFE_METHODS | {"POST", "PUT", "PATCH", "DELETE"}
_PATH: Final = re.compile(r"/[A-Za-z0-9_.~!$&'()*+,;=:@/-]*")
_ENCODED: Final = re.compile(rb"%(?:2f|5c|2e|00|0a|0d)", re.IGNORECASE)


def refuse_odd_request(scope: Mapping[str, object], url_bytes: int) -> None:
    """Raise `Refused` for a method, a path or a length that no page of ours asks for.

    Paths are ids and words: no dots that climb, no second slash, nothing encoded that would read as one.
    """
    path, raw = str(scope["path"]), bytes(scope.get("raw_path") or b"")  # pyright: ignore[reportArgumentType]
    query = bytes(scope.get("query_string") or b"")  # pyright: ignore[reportArgumentType]
    if len(raw) + len(query) > url_bytes or len(path) > url_bytes:
        error = Refused("the address is too long", needed=f"at most {url_bytes} bytes")
        error.status = 414
        raise error
    if scope["method"] not in METHODS:
        error = Refused("a method that is not answered")
        error.status = 405
        raise error
    parts = path.split("/")
    if (
        not _PATH.fullmatch(path)
        or _ENCODED.search(raw)
        or ".." in parts
        or "." in parts
        or "" in parts[1:-1]
    ):
        raise Refused("not an address of the studio", remedy="Begin at the first page.")


def refuse_foreign_host(headers: Headers, hosts: frozenset[str]) -> str:
    """The `Host` header.  Raises `Refused` unless there is exactly one and its name is among `hosts`.

    A page elsewhere can make its own name point here (DNS rebinding), but then this header carries that name.
    """
    values = headers.getlist("host")
    if len(values) != 1 or name_of(headers) not in hosts:
        raise Refused(
            "not a name of this studio",
            where="Host",
            needed=", ".join(sorted(hosts)),
            remedy="Open it by the address that the server printed, or start it with --name.",
        )
    return values[0]


def name_of(headers: Headers) -> str:
    """The first `Host` without its port; empty where there is none."""
    return re.sub(r":\d{1,5}\Z", "", headers.get("host", "")).lower()


def refuse_foreign_write(headers: Headers, scheme: str, host: str) -> None:
    """Raise `Forbidden` unless the browser says that our own page sends this.

    `Origin` and `Sec-Fetch-Site` both have to be there: a sandboxed frame sends `null`, and what sends
    neither is no browser, and should use a token.
    """
    origins, sites = headers.getlist("origin"), headers.getlist("sec-fetch-site")
    if [one.lower() for one in origins] != [f"{scheme}://{host}".lower()]:
        raise Forbidden("a write from another page", where="Origin", remedy=_REMEDY)
    if sites != ["same-origin"]:
        raise Forbidden("a write from another page", where="Sec-Fetch-Site", remedy=_REMEDY)


def refuse_foreign_read(headers: Headers) -> None:
    """Raise `Forbidden` when another page embeds or fetches what a session may see; links are fine."""
    sites, mode = headers.getlist("sec-fetch-site"), headers.get("sec-fetch-mode", "")
    foreign = any(site not in ("same-origin", "none") for site in sites)
    document = mode == "navigate" and headers.get("sec-fetch-dest", "document") == "document"
    if foreign and not document:
        raise Forbidden("asked for by another page", where="Sec-Fetch-Site")


_REMEDY: Final = "Use the page itself; programs use a token instead of a cookie."
