"""The application in process: the way in and out, headers, problems."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.testclient import TestClient

from tests.web.conftest import PAGE, TOKEN, anonymous


def test_the_link_of_the_start_opens_a_session_and_leaves_the_address(app: FastAPI) -> None:
    client = anonymous(app)
    assert client.get("/", headers=PAGE).headers["location"] == "/sign-in"
    opened = client.get(f"/sign-in?token={TOKEN}", headers=PAGE)
    assert opened.status_code == 303 and opened.headers["location"] == "/sign-in?opened=1"
    assert TOKEN not in str(opened.headers) and opened.headers["referrer-policy"] == "no-referrer"
    cookie = opened.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Secure" not in cookie
    assert client.get("/sign-in", headers=PAGE).headers["location"] == "/"


def test_a_wrong_token_opens_nothing(app: FastAPI) -> None:
    refused = anonymous(app).get("/sign-in?token=wrong", headers=PAGE)
    assert refused.status_code == 401 and "set-cookie" not in refused.headers
    assert "does not hold" in refused.text


def test_after_signing_out_the_cookie_holds_no_more(page: TestClient) -> None:
    cookies = dict(page.cookies)
    assert page.post("/sign-out").status_code == 303
    page.cookies.update(cookies)
    assert page.get("/v1/anything").status_code == 401


def test_every_answer_has_the_headers(app: FastAPI, page: TestClient) -> None:
    for answer in (page.get("/sign-in"), page.get("/no/such"), anonymous(app).get("/v1/x"), page.post("/x")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        policy = answer.headers["content-security-policy"]
        assert (
            "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        )
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["referrer-policy"] in ("same-origin", "no-referrer")


def test_an_unknown_address_is_a_problem_for_programs_and_a_page_for_people(page: TestClient) -> None:
    problem = page.get("/v1/nothing")
    assert problem.status_code == 404 and problem.headers["content-type"] == "application/problem+json"
    assert problem.json()["status"] == 404
    shown = page.get("/nothing", headers=PAGE)
    assert shown.status_code == 404 and "text/html" in shown.headers["content-type"]
