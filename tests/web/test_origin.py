"""Where requests come from: host, origin, the site that a browser names, and odd addresses."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from portrait_lora.web import origin
from portrait_lora.web.problems import Forbidden, Refused
from portrait_lora.web.web_settings import LOOPBACK

HOST = "127.0.0.1:8000"
OWN = f"http://{HOST}"


def fields(*pairs: tuple[str, str]) -> Headers:
    return Headers(raw=[(name.encode(), value.encode()) for name, value in pairs])


@pytest.mark.parametrize("host", [HOST, "127.0.0.1", "localhost:1", "LOCALHOST:8000", "[::1]:8000", "[::1]"])
def test_this_machines_names(host: str) -> None:
    assert origin.refuse_foreign_host(fields(("host", host)), LOOPBACK) == host


@pytest.mark.parametrize(
    "hosts",
    [
        *((), ("",), ("evil.example",), ("127.0.0.1.evil.example:8000",), ("localhost:8000@evil.example",)),
        *(("evil.example:127.0.0.1",), ("127.0.0.1:",), ("127.0.0.1:99999999",), (HOST, "evil.example")),
        *(
            (HOST, HOST),
            ("0.0.0.0:8000",),
            ("127.0.0.1/x",),
            ("127.0.0.1:8000/v1",),
            ("127.1",),
            ("localhost.",),
        ),
    ],
)
def test_other_names_are_refused(hosts: tuple[str, ...]) -> None:
    with pytest.raises(Refused, match="Host"):
        origin.refuse_foreign_host(fields(*(("host", one) for one in hosts)), LOOPBACK)


def test_a_write_from_our_own_page() -> None:
    origin.refuse_foreign_write(fields(("origin", OWN), ("sec-fetch-site", "same-origin")), "http", HOST)


@pytest.mark.parametrize("site", ["same-origin", "none", "same-site", "cross-site", "", None])
@pytest.mark.parametrize(
    "source",
    [
        *(OWN, None, "", "null", "NULL", "http://evil.example", "http://127.0.0.1:8001", "http://127.0.0.1"),
        *(f"https://{HOST}", f"{OWN}.evil.example", f"{OWN}/", "http://localhost:8000", f"{OWN}, {OWN}"),
    ],
)
def test_any_other_write_is_refused(source: str | None, site: str | None) -> None:
    pairs = [(k, v) for k, v in (("origin", source), ("sec-fetch-site", site)) if v is not None]
    if (source, site) == (OWN, "same-origin"):
        return
    with pytest.raises(Forbidden):
        origin.refuse_foreign_write(fields(*pairs), "http", HOST)


def test_headers_that_come_twice_are_refused() -> None:
    twice = (("origin", OWN), ("origin", OWN), ("sec-fetch-site", "same-origin"))
    with pytest.raises(Forbidden, match="Origin"):
        origin.refuse_foreign_write(fields(*twice), "http", HOST)
    twice = (("origin", OWN), ("sec-fetch-site", "same-origin"), ("sec-fetch-site", "same-origin"))
    with pytest.raises(Forbidden, match="Sec-Fetch-Site"):
        origin.refuse_foreign_write(fields(*twice), "http", HOST)


@pytest.mark.parametrize(
    ("site", "mode", "dest", "passes"),
    [
        ("same-origin", "cors", "empty", True),
        ("none", "navigate", "document", True),
        ("cross-site", "navigate", "document", True),
        ("cross-site", "no-cors", "image", False),
        ("same-site", "cors", "empty", False),
        ("cross-site", "navigate", "iframe", False),
        ("cross-site", "navigate", "object", False),
        (None, None, None, True),
    ],
)
def test_other_pages_may_link_here_but_embed_nothing(
    site: str | None, mode: str | None, dest: str | None, passes: bool
) -> None:
    names = zip(("sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest"), (site, mode, dest), strict=True)
    sent = fields(*((name, value) for name, value in names if value is not None))
    if passes:
        origin.refuse_foreign_read(sent)
    else:
        with pytest.raises(Forbidden):
            origin.refuse_foreign_read(sent)


def scope(path: str, raw: bytes | None = None, method: str = "GET", query: bytes = b"") -> dict[str, object]:
    return {
        "path": path,
        "raw_path": path.encode() if raw is None else raw,
        "method": method,
        "query_string": query,
    }


def test_plain_addresses() -> None:
    for path in ("/", "/people/anna-x3k9qd/photos", "/static/fonts/a.woff2", "/v1/likenesses/"):
        origin.refuse_odd_request(scope(path), 4096)


@pytest.mark.parametrize(
    "odd",
    [
        *(scope("/static/../app.py"), scope("/./x"), scope("//evil.example/x"), scope("/a//b"), scope("/..")),
        *(
            scope("/a/b", b"/a%2fb"),
            scope("/a/../b", b"/a/%2e%2e/b"),
            scope("/a\\b", b"/a%5Cb"),
            scope("/a\0"),
        ),
        *(scope("/a\r\nX: 1", b"/a%0d%0aX:%201"), scope("http://evil.example/"), scope("/é"), scope("")),
        *(scope("/a" * 3000), scope("/", query=b"q=" + b"a" * 5000), scope("/", method="TRACE")),
        *(scope("/", method="OPTIONS"), scope("/", method="get"), scope("/<script>")),
    ],
)
def test_odd_requests_are_refused(odd: dict[str, object]) -> None:
    with pytest.raises(Refused):
        origin.refuse_odd_request(odd, 4096)
