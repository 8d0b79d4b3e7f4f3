"""The classes of advisories that web interfaces of image models had in 2024-2026, tried on this one.

ComfyUI (null origin, SVG, sniffing, names that climb, line ends in a configuration), InvokeAI (pickles, paths
in names, scans without a sign-in, names without end), Gradio (null origin, paths by other spellings, files
through links), Starlette (Host that shifts the path, forms without end, many ranges), default passwords of
templates.  Bodies are in test_bodies.py, pictures in test_pictures.py, names of files in test_uploads.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from portrait_lora.web.users import OWNER
from portrait_lora.web.web_settings import Limits, WebSettings
from tests.web.conftest import ORIGIN, PAGE, TOKEN, anonymous, browser, program
from tests.web.raw import HOST, as_browser, send
from tests.web.team import person_of_ben, team

SCRIPT = "<script>alert(1)</script>"
FORM = ("content-type", "application/x-www-form-urlencoded")


# --- where a request comes from


@pytest.mark.parametrize("path", ["/", "/sign-in", "/health", "/static/app.css", "/v1/jobs", "/nothing"])
def test_a_name_that_was_made_to_point_here_opens_nothing(app: FastAPI, path: str) -> None:
    """DNS rebinding: the page of another name, even with the right token and cookie."""
    own = as_browser(browser(app))
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", None):
        answer = send(app, "GET", path, host=host, headers=own, query=f"token={TOKEN}".encode())
        assert answer.status == 400 and "set-cookie" not in answer.headers


def test_headers_of_proxies_and_a_path_in_the_host_change_nothing(app: FastAPI) -> None:
    """CVE-2026-48710: what is public is decided on the path that was asked for."""
    assert send(app, "GET", "/v1/jobs", host=f"{HOST}/sign-in?x=").status == 400
    for name in ("x-forwarded-host", "x-original-url", "x-rewrite-url", "x-forwarded-prefix", "forwarded"):
        assert send(app, "GET", "/v1/jobs", headers=[(name, "/sign-in")]).status == 401
    link = send(app, "GET", "/", headers=[("accept", "text/html"), ("x-forwarded-host", "evil.example")])
    assert link.headers["location"] == "/sign-in"


@pytest.mark.parametrize(
    "path", ["/STATIC/app.css", "/Sign-In", "/sign-in/", "/static", "/health;/v1", "/HEALTH"]
)
def test_what_is_public_is_not_reached_by_other_spellings(app: FastAPI, path: str) -> None:
    assert send(app, "GET", path).status == 401


@pytest.mark.parametrize(
    "source", ["null", "", None, "http://evil.example", "http://127.0.0.1:8188", "file://"]
)
def test_a_write_from_another_page_does_nothing(routes: FastAPI, source: str | None) -> None:
    """ComfyUI#13245, Gradio CVE-2024-47165: a sandboxed frame sends `null`, another port is same-site."""
    fields = dict(as_browser(browser(routes)))
    own = send(routes, "POST", "/form", headers=[*fields.items(), FORM], body=[b"name=x"])
    assert own.status == 200
    sent = (
        {**fields, "origin": source}
        if source is not None
        else {k: v for k, v in fields.items() if k != "origin"}
    )
    assert send(routes, "POST", "/form", headers=[*sent.items(), FORM], body=[b"name=x"]).status == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none", None])
def test_a_write_that_the_browser_calls_foreign_does_nothing(routes: FastAPI, site: str | None) -> None:
    fields = {k: v for k, v in as_browser(browser(routes)) if k != "sec-fetch-site"}
    more = [("sec-fetch-site", site)] if site else []
    assert (
        send(routes, "POST", "/form", headers=[*fields.items(), *more, FORM], body=[b"name=x"]).status == 403
    )


def test_nothing_is_shared_with_other_origins(app: FastAPI, page: TestClient) -> None:
    preflight = {"origin": "http://evil.example", "access-control-request-method": "POST"}
    for answer in (page.options("/v1/jobs", headers=preflight), page.get("/health", headers=preflight)):
        assert not [name for name in answer.headers if name.startswith("access-control")]
    embedded = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}
    assert page.get("/pictures/a/b", headers=embedded).status_code == 403
    assert send(app, "GET", "/", kind="websocket").status == 1008


# --- cookies, tokens, passwords


def test_a_cookie_that_was_brought_along_is_never_taken_over(app: FastAPI) -> None:
    """Session fixation."""
    client, name = anonymous(app), app.state.accounts.cookie
    client.cookies.set(name, "a-cookie-of-the-attacker", domain="127.0.0.1", path="/")
    client.get(f"/sign-in?token={TOKEN}", headers=PAGE)
    fresh = [value for value in client.cookies.jar if value.value != "a-cookie-of-the-attacker"]
    assert (
        fresh
        and send(app, "GET", "/v1/x", headers=[("cookie", f"{name}=a-cookie-of-the-attacker")]).status == 401
    )
    cookie = f"{name}={fresh[0].value}"
    assert send(app, "GET", "/v1/x", headers=[("cookie", cookie)]).status == 404
    send(app, "GET", "/sign-in", headers=[("cookie", cookie)], query=f"token={TOKEN}".encode())
    assert send(app, "GET", "/v1/x", headers=[("cookie", cookie)]).status == 401, "a new one each time"


def test_a_token_in_an_address_or_twice_is_none(app: FastAPI) -> None:
    assert program(app).get("/v1/nothing").status_code == 404
    for query in (b"token=", b"access_token=", b"api_key="):
        assert send(app, "GET", "/v1/nothing", query=query + TOKEN.encode()).status == 401
    bearer = ("authorization", f"Bearer {TOKEN}")
    assert send(app, "GET", "/v1/nothing", headers=[bearer, bearer]).status == 401
    for value in ("", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, "Bearer é", "Bearer owner"):
        assert send(app, "GET", "/v1/nothing", headers=[("authorization", value)]).status == 401


def test_there_is_no_password_from_the_start(app: FastAPI) -> None:
    own = {"origin": ORIGIN, "sec-fetch-site": "same-origin"}
    for name, password in (
        ("admin", "admin"),
        ("owner", ""),
        ("", ""),
        ("admin", "password"),
        ("owner", TOKEN),
    ):
        answer = anonymous(app).post("/sign-in", data={"name": name, "password": password}, headers=own)
        assert answer.status_code in (401, 429) and "set-cookie" not in answer.headers
    first, second = WebSettings(), WebSettings()
    assert first.token != second.token and len(first.token) >= 43


def test_guessing_is_slowed_down_and_does_not_lock_the_owner_out(app: FastAPI) -> None:
    client = anonymous(app)
    wrong = [client.get("/sign-in?token=x", headers=PAGE) for _ in range(12)]
    assert wrong[0].status_code == 401 and wrong[-1].status_code == 429
    assert int(wrong[-1].headers["retry-after"]) >= 20
    assert client.get(f"/sign-in?token={TOKEN}", headers=PAGE).status_code == 303
    wrong_tokens = [program(app, "pl_wrong").get("/v1/x").status_code for _ in range(12)]
    assert wrong_tokens[0] == 401 and wrong_tokens[-1] == 429
    assert program(app).get("/v1/x").status_code == 404


def test_passwords_cannot_be_guessed_in_a_row(tmp_path: Path) -> None:
    app = team(tmp_path, Limits(sign_ins_at_once=2))
    own = {"origin": ORIGIN, "sec-fetch-site": "same-origin"}
    sign_in = {"name": "ann", "password": "wrong password"}
    wrong = [anonymous(app).post("/sign-in", data=sign_in, headers=own).status_code for _ in range(3)]
    assert wrong == [401, 401, 429]
    assert anonymous(app).post("/sign-in", data=sign_in).status_code == 403, "a form of another page"
    assert anonymous(app).get(f"/sign-in?token={app.state.settings.token}").status_code in (401, 429)


def test_a_user_who_was_taken_out_is_out(tmp_path: Path) -> None:
    app = team(tmp_path)
    client = browser(app, "cleo")
    _, secret = app.state.accounts.tokens.create("cleo", "script")
    assert client.get("/v1/x").status_code == program(app, secret).get("/v1/x").status_code == 404
    file = tmp_path / "users.yaml"
    lines = [line for line in file.read_text().splitlines() if "cleo" not in line]
    file.write_text("\n".join(lines) + "\n")
    assert client.get("/v1/x").status_code == program(app, secret).get("/v1/x").status_code == 401


@pytest.mark.parametrize("kind", ["urlencoded", "multipart", "header"])
def test_a_form_needs_the_token_of_its_session(routes: FastAPI, kind: str) -> None:
    client, other = browser(routes), browser(routes)
    right, stale = client.headers.pop("x-csrf-token"), other.headers["x-csrf-token"]

    def post(token: str | None) -> int:
        if kind == "header":
            return client.post("/form", headers={} if token is None else {"x-csrf-token": token}).status_code
        fields = {} if token is None else {"csrf": token}
        if kind == "urlencoded":
            return client.post("/form", data={"name": "a", **fields}).status_code
        files = [(name, (None, value)) for name, value in fields.items()] + [
            ("photo", ("a.jpg", b"1" * 9000))
        ]
        return client.post("/form-with-files", files=files).status_code

    assert post(right) == 200
    for wrong in (stale, "", None, right[:-1], "x" * 99):
        assert post(wrong) == 403


def test_the_whole_body_arrives_after_its_token_was_looked_at(routes: FastAPI) -> None:
    client = browser(routes)
    token = client.headers.pop("x-csrf-token")
    assert client.post("/form", data={"csrf": token, "name": "ü" * 4000}).json() == {"name": "ü" * 4000}
    files = [("csrf", (None, token)), ("photo", ("a.jpg", b"1" * 50_000))]
    assert client.post("/form-with-files", files=files).json()["bytes"] > 50_000
    later = [("photo", ("a.jpg", b"1")), ("csrf", (None, token))]
    assert client.post("/form-with-files", files=later).status_code == 403, "not the first field"


# --- addresses and names

CLIMBS = (
    *("/static/../web/app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static/%2e%2e%2fapp.py"),
    *(
        "/static/..\\app.py",
        "/static/..%5capp.py",
        "/static//etc/passwd",
        "/static/%00",
        "/static/..;/app.py",
    ),
    *(
        "/pictures/../../etc/passwd",
        "/pictures/a/..%2f..%2fstudio.json",
        "/pictures/a/%2e%2e%2fb",
        "/..%2f..",
    ),
)


@pytest.mark.parametrize("raw", CLIMBS)
def test_addresses_do_not_climb(app: FastAPI, raw: str) -> None:
    """ComfyUI CVE-2026-56670, InvokeAI CVE-2025-6237, Gradio CVE-2024-1561, ai-toolkit#852."""
    from urllib.parse import unquote

    answer = send(app, "GET", unquote(raw), raw_path=raw.encode(), headers=as_browser(browser(app)))
    assert answer.status in (400, 404) and b"import" not in answer.body and b"root:" not in answer.body


def test_names_and_addresses_without_end_are_refused(routes: FastAPI) -> None:
    """InvokeAI CVE-2024-11043."""
    own = as_browser(browser(routes))
    assert send(routes, "GET", "/" + "a" * 5000, headers=own).status == 414
    assert send(routes, "GET", "/", query=b"q=" + b"a" * 10_000, headers=own).status == 414
    with pytest.raises(Exception, match="not a name"):
        routes.state.studio.create(OWNER, "a" * 10_000_000)


def test_what_a_stranger_typed_is_text_on_every_page(tmp_path: Path) -> None:
    app = team(tmp_path)
    person = person_of_ben(app)
    app.state.studio.rename(person, f"\"'>{SCRIPT}")
    own = {"origin": ORIGIN, "sec-fetch-site": "same-origin", "accept": "text/html"}
    typed = anonymous(app).post("/sign-in", data={"name": f'">{SCRIPT}', "password": "x"}, headers=own)
    assert typed.status_code == 401 and "alert" in typed.text
    pages = [
        typed,
        browser(app, "ben").get("/", headers=PAGE),
        browser(app, "ben").get("/people/x", headers=PAGE),
    ]
    for page in pages:
        assert SCRIPT not in page.text and "text/html" in page.headers["content-type"]
        assert "unsafe" not in page.headers["content-security-policy"]


def test_the_audit_log_takes_no_lines_from_outside_and_no_secrets(app: FastAPI) -> None:
    line = '\r\n{"user": "forged"}'
    own = {"origin": ORIGIN, "sec-fetch-site": "same-origin"}
    anonymous(app).post("/sign-in", data={"name": f"a{line}", "password": f"hunter{line}"}, headers=own)
    anonymous(app).get(f"/sign-in?token={TOKEN}", headers=PAGE)
    send(app, "DELETE", "/pictures/a/b", headers=[("x", "1"), *as_browser(browser(app))])
    text = (app.state.studio.home / "audit.jsonl").read_text()
    rows = [json.loads(row) for row in text.splitlines()]
    assert len(rows) == 3 and "forged" not in text and "hunter" not in text and TOKEN not in text
    assert [(row["user"], row["status"]) for row in rows] == [("", 401), ("owner", 303), ("owner", 405)]
    assert (app.state.studio.home / "audit.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_mistake_of_ours_tells_nothing(routes: FastAPI) -> None:
    answer = program(routes).post("/v1/broken")
    assert answer.status_code == 500 and "secret" not in answer.text and "tests/" not in answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
