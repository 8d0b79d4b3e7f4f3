"""People, photos, uploads and consent over the API; and every kind of bad input that a client can send."""

from __future__ import annotations

import hashlib
import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from PIL import Image
from starlette.testclient import TestClient

from portrait_lora.web.app import create_app
from portrait_lora.web.web_settings import Limits, WebSettings
from tests.web.conftest import TOKEN, program
from tests.web.team import team as team_of


def jpeg(shade: int = 90, size: tuple[int, int] = (64, 48)) -> bytes:
    """A small picture."""
    stream = io.BytesIO()
    Image.new("RGB", size, (8 * shade % 256, shade, 70)).save(stream, "JPEG")
    return stream.getvalue()


def problem(answer: Any, status: int) -> dict[str, Any]:
    """The problem document of an answer."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    value = answer.json()
    assert value["status"] == status and value["what"] and value["detail"]
    return value


def person_of(api: TestClient, name: str = "Anna Lee") -> str:
    """A new person's id."""
    answer = api.post("/v1/likenesses", json={"name": name, "kind": "woman"})
    assert answer.status_code == 201 and answer.headers["location"] == f"/v1/likenesses/{answer.json()['id']}"
    return answer.json()["id"]


@pytest.fixture
def anna(api: TestClient) -> str:
    return person_of(api)


def send(api: TestClient, person: str, *files: tuple[str, bytes]) -> Any:
    return api.post(f"/v1/likenesses/{person}/photos", files=[("files", pair) for pair in files])


def test_a_person_is_added_listed_in_pages_and_shown(app: FastAPI, api: TestClient) -> None:
    ids = {person_of(api, name) for name in ("Zoë", "Anna Lee", "anna lee")}
    page = api.get("/v1/likenesses?limit=2").json()
    rest = api.get("/v1/likenesses", params={"cursor": page["next"]}).json()
    assert {one["id"] for one in page["items"] + rest["items"]} == ids and rest["next"] is None
    one = api.get(f"/v1/likenesses/{page['items'][0]['id']}").json()
    assert one["photos"] == 0 and one["trained"] is False and one["series"] == []
    assert "kind: woman" in (app.state.studio.home / "people" / one["id"] / "likeness.yaml").read_text()


def test_photos_are_kept_as_they_came_under_plain_names(app: FastAPI, api: TestClient, anna: str) -> None:
    data = jpeg()
    answer = send(api, anna, ("../../etc/passwd.png", data), ("b.jpg", jpeg(91)))
    assert answer.status_code == 201
    photos = app.state.studio.home / "people" / anna / "photos"
    names = sorted(p.name for p in photos.iterdir() if not p.name.startswith("."))
    assert names == ["b.jpg", "passwd.jpg"] and (photos / "passwd.jpg").read_bytes() == data
    assert oct((photos / "b.jpg").stat().st_mode & 0o777) == "0o600"
    rows = api.get(f"/v1/likenesses/{anna}/photos").json()["items"]
    assert [row["name"] for row in rows] == names and rows[0]["verdict"] == "Not checked yet"
    assert rows[0]["accepted"] is None and rows[1]["sha256"] == hashlib.sha256(data).hexdigest()
    shown = api.get(rows[0]["picture"], params={"w": 96})
    assert shown.headers["content-type"] == "image/jpeg"


def test_the_same_photo_twice_is_one_photo(api: TestClient, anna: str) -> None:
    first = send(api, anna, ("a.jpg", jpeg())).json()["items"][0]
    again = send(api, anna, ("another name.jpg", jpeg()))
    assert again.status_code == 200
    assert again.json()["items"] == [{**first, "state": "already"}]
    assert api.get(f"/v1/likenesses/{anna}").json()["photos"] == 1
    other = send(api, anna, ("a.jpg", jpeg(99))).json()["items"][0]
    assert other["state"] == "added" and other["name"] == "a-2.jpg"  # nothing is ever replaced


def test_what_is_no_photo_is_refused_by_name_and_the_others_are_kept(api: TestClient, anna: str) -> None:
    svg = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    mixed = send(api, anna, ("a.svg", svg), ("b.jpg", jpeg()), ("c.jpg", jpeg()[:60]))
    states = [(one["name"], one["state"]) for one in mixed.json()["items"]]
    assert mixed.status_code == 201
    assert states == [("a.svg", "refused"), ("b.jpg", "added"), ("c.jpg", "refused")]
    assert mixed.json()["items"][0]["problem"]["where"] == "a.svg"
    alone = problem(send(api, anna, ("a.zip", b"PK\x03\x04" + bytes(100))), 422)
    assert alone["where"] == "a.zip"


def test_500_photos_are_taken_and_more_in_one_request_are_refused(
    app: FastAPI, api: TestClient, anna: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from portrait_lora.web.services import photo_changes

    monkeypatch.setattr(photo_changes, "MOST_PHOTOS", 3)
    many = send(api, anna, *((f"{n}.jpg", jpeg(n)) for n in range(5)))
    assert [one["state"] for one in many.json()["items"]] == ["added"] * 3 + ["refused"] * 2
    assert "enough photos" in many.json()["items"][-1]["problem"]["what"]
    too_many = send(api, anna, *((f"{n}.jpg", b"x") for n in range(501)))
    problem(too_many, 413)


def test_two_gigabytes_are_refused_before_they_are_sent(api: TestClient, anna: str) -> None:
    read = 0

    def body() -> Any:
        nonlocal read
        for _ in range(2048):
            read += 1 << 20
            yield bytes(1 << 20)

    headers = {"content-type": "multipart/form-data; boundary=x", "content-length": str(2 << 30)}
    refused = api.post(f"/v1/likenesses/{anna}/photos", content=b"", headers=headers)
    problem(refused, 413)
    answer = api.post(
        f"/v1/likenesses/{anna}/uploads", json={"name": "a.jpg", "size": 2 << 30, "sha256": "0" * 64}
    )
    assert problem(answer, 413)["where"] == "size"


def test_a_body_without_a_length_is_read_up_to_the_limit_only(tmp_path: Path) -> None:
    settings = WebSettings(token=TOKEN, runs_jobs=False, limits=Limits(upload_bytes=1 << 20))
    api = program(create_app(tmp_path / "small", settings))
    anna = person_of(api)
    sent = 0

    def parts() -> Any:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
        for _ in range(64):
            sent += 1
            yield bytes(1 << 18)

    refused = api.post(
        f"/v1/likenesses/{anna}/photos",
        content=parts(),
        headers={"content-type": "multipart/form-data; boundary=x"},
    )
    problem(refused, 413)


def test_an_upload_is_gone_on_with_where_it_was_closed(api: TestClient, anna: str) -> None:
    data = jpeg(size=(400, 300))
    place = f"/v1/likenesses/{anna}/uploads"
    begun = {"name": "a.jpg", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    one = api.post(place, json=begun)
    here = one.headers["location"]
    assert here == f"{place}/{one.json()['id']}" and one.json()["offset"] == 0

    def piece(offset: int, part: bytes, kind: str = "application/offset+octet-stream") -> Any:
        return api.patch(here, content=part, headers={"upload-offset": str(offset), "content-type": kind})

    assert piece(0, data[:500]).json()["offset"] == 500
    assert api.get(here).json()["offset"] == 500  # the page was closed, and asks again
    assert problem(piece(400, data[400:]), 409)["needed"] == "500"
    problem(piece(500, data[500:], "application/json"), 415)
    problem(api.post(f"{here}/complete"), 409)
    assert piece(500, data[500:]).json()["offset"] == len(data)
    assert api.post(f"{here}/complete").json()["state"] == "added"
    problem(api.get(here), 404)
    again = api.post(place, json=begun).json()
    assert [row["id"] for row in api.get(place).json()["items"]] == [again["id"]]
    assert api.delete(f"{place}/{again['id']}").status_code == 204


def test_a_photo_that_is_taken_out_is_kept_beside(app: FastAPI, api: TestClient, anna: str) -> None:
    one = send(api, anna, ("a.jpg", jpeg())).json()["items"][0]
    address = f"/v1/likenesses/{anna}/photos/{one['id']}"
    assert api.get(address).json()["name"] == "a.jpg"
    assert api.delete(address).status_code == 204
    problem(api.get(address), 404)
    problem(api.delete(address), 404)
    folder = app.state.studio.home / "people" / anna
    assert (folder / "removed" / "a.jpg").read_bytes() == jpeg()


def test_training_photographs_needs_a_consent_that_covers_all_of_them(api: TestClient, anna: str) -> None:
    send(api, anna, ("a.jpg", jpeg()))
    train = f"/v1/likenesses/{anna}/train"
    assert "consent" in problem(api.post(train), 422)["what"]
    assert api.get(f"/v1/likenesses/{anna}/consent").json()["covers"] is False
    consent = api.put(f"/v1/likenesses/{anna}/consent", json={"i_am_the_subject": True}).json()
    assert consent["covers"] and consent["who"] == "Anna Lee" and consent["photos"] == 1
    send(api, anna, ("b.jpg", jpeg(1)))
    later = api.get(f"/v1/likenesses/{anna}/consent").json()
    assert not later["covers"] and later["missing"] == 1 and "added after" in later["problem"]
    for wrong in (
        {}, {"i_am_the_subject": True, "statement": "yes"}, {"who": "Ben", "purposes": ["training"]},
        {"who": "Ben", "until": "2001-01-01", "statement": "yes"}, {"statement": "yes", "purposes": []},
        {"who": "Ben", "until": "2099-13-01", "statement": "yes"}, {"statement": "yes", "until": "soon"},
    ):  # fmt: skip
        problem(api.put(f"/v1/likenesses/{anna}/consent", json=wrong), 422)
    other = {"who": "Ben", "statement": "I agree.", "purposes": ["training"]}
    answer = api.put(f"/v1/likenesses/{anna}/consent", json=other).json()
    assert answer["recorded"] and not answer["covers"]  # portraits are not among the purposes
    child = {"who": "Ann", "statement": "I agree for her.", "guardian": "Eve Lee", "born": "2020-02-29"}
    answer = api.put(f"/v1/likenesses/{anna}/consent", json=child).json()
    assert answer["covers"] and (answer["guardian"], answer["born"]) == ("Eve Lee", "2020-02-29")
    assert api.get(f"/v1/likenesses/{anna}/consent").json()["guardian"] == "Eve Lee"
    alone = {"i_am_the_subject": True, "guardian": "Eve Lee"}
    problem(api.put(f"/v1/likenesses/{anna}/consent", json=alone), 422)


def test_a_photo_is_turned_cropped_and_taken_anyway_and_its_file_stays(
    app: FastAPI, api: TestClient, anna: str
) -> None:
    one = send(api, anna, ("a.jpg", jpeg())).json()["items"][0]
    address = f"/v1/likenesses/{anna}/photos/{one['id']}"
    assert api.post(f"{address}/rotate", json={"degrees": 90}).json()["turn_deg"] == 90
    cropped = api.post(f"{address}/crop", json={"box": [0.1, 0, 0.9, 1]}).json()
    assert cropped["crop"] == [0.1, 0, 0.9, 1] and cropped["turn_deg"] == 90
    assert api.post(f"{address}/accept", json={"accept": True}).json()["accepted_anyway"] is True
    assert api.post(f"{address}/shows", json={"who": "same"}).json()["shows"] == "same"
    assert api.post(f"{address}/crop", json={"box": None}).json()["crop"] == [0, 0, 1, 1]
    folder = app.state.studio.home / "people" / anna
    assert (folder / "photos" / "a.jpg").read_bytes() == jpeg()
    assert '"turn_deg": 90' in (folder / "likeness.yaml").read_text()
    for place, body in (
        ("rotate", {"degrees": 45}), ("crop", {"box": [0, 0, 2, 1]}), ("crop", {"box": [0.5, 0, 0.51, 1]}),
        ("crop", {}), ("accept", {}), ("shows", {"who": "me"}),
    ):  # fmt: skip
        problem(api.post(f"{address}/{place}", json=body), 422)
    problem(api.post(f"/v1/likenesses/{anna}/photos/nothere/rotate", json={"degrees": 90}), 404)


def test_a_caption_changed_in_two_places_is_a_conflict_that_overwrites_nothing(
    app: FastAPI, api: TestClient, anna: str
) -> None:
    from portrait_lora.dataset.caption import write_captions

    place = f"/v1/likenesses/{anna}/captions"
    assert api.get(place).json()["items"] == []
    file = app.state.studio.home / "people" / anna / "captions.csv"
    write_captions(file, {"a-0a1b2c-1.png": "ohwx woman, a red hat", "b-0a1b2c-1.png": "ohwx woman"})
    one = api.get(place).json()["items"][0]
    version = {"if-match": one["version"]}
    changed = api.put(f"{place}/{one['id']}", json={"text": "ohwx woman, a blue hat"}, headers=version)
    assert changed.json()["text"] == "ohwx woman, a blue hat"
    late = api.put(f"{place}/{one['id']}", json={"text": "mine"}, headers=version)
    assert problem(late, 409)["got"] == "ohwx woman, a blue hat"
    problem(api.put(f"{place}/{one['id']}", json={"text": "x"}), 422)
    problem(api.put(f"{place}/nothere", json={"text": "x"}, headers=version), 404)
    replace = {"find": "woman", "by": "person"}
    assert api.post(f"{place}/replace", json=replace | {"try_out": True}).json() == {"count": 2}
    assert api.post(f"{place}/replace", json=replace).json() == {"count": 2}
    assert "ohwx person" in api.get(place).text
    assert api.post(f"{place}/undo").json()["count"] == 2
    assert "ohwx person" not in api.get(place).text


def test_forgetting_needs_the_id_once_more_and_leaves_nothing(
    app: FastAPI, api: TestClient, anna: str
) -> None:
    send(api, anna, ("a.jpg", jpeg()), ("b.jpg", jpeg(3)))
    photo = api.get(f"/v1/likenesses/{anna}/photos").json()["items"][0]
    api.get(photo["picture"], params={"w": 96})
    api.delete(f"/v1/likenesses/{anna}/photos/{photo['id']}")
    place = f"/v1/likenesses/{anna}"
    assert problem(api.delete(place, params={"confirm": "anna"}), 400)["needed"] == anna
    problem(api.delete(place), 422)
    receipt = api.delete(place, params={"confirm": anna}).json()["receipt"]
    assert receipt["photos_removed"] is True and receipt["left"] == []
    home = app.state.studio.home
    assert not (home / "people" / anna).exists() and not list((home / "cache").iterdir())
    problem(api.get(place), 404)


def test_unknown_keys_and_wrong_values_are_problems(api: TestClient, anna: str) -> None:
    for body in (
        {"name": "A", "color": "red"},
        {"name": 7},
        {"name": ""},
        {"name": "x" * 200},
        [],
        "x",
        None,
    ):
        problem(api.post("/v1/likenesses", json=body), 422)
    problem(api.post("/v1/likenesses", json={"name": "A", "settings": ["training.rnak=3"]}), 422)
    problem(api.post("/v1/likenesses", content=b"{", headers={"content-type": "application/json"}), 422)
    assert problem(api.get("/v1/likenesses?colour=red"), 400)["got"] == "colour"
    for limit in ("0", "201", "x", "1&limit=2"):
        assert api.get(f"/v1/likenesses?limit={limit}").status_code in (400, 422)
    problem(api.get("/v1/likenesses?cursor=%25"), 422)
    for unknown in ("/v1/likenesses/nobody-1", "/v1/jobs/jnothing", "/v1/webhooks/w1", "/v1/nothing"):
        problem(api.get(unknown), 404)
    problem(api.get("/v1/likenesses/..%2f..%2fetc"), 400)
    problem(api.put("/v1/likenesses"), 405)


def test_a_folder_that_was_moved_away_is_a_problem_and_can_be_taken_off_the_list(
    app: FastAPI, api: TestClient, anna: str
) -> None:
    folder = app.state.studio.home / "people" / anna
    folder.rename(folder.parent / "elsewhere")
    assert api.get(f"/v1/likenesses/{anna}").json()["photos"] == 0
    problem(api.post(f"/v1/likenesses/{anna}/check"), 422)
    assert api.get(f"/v1/likenesses/{anna}/portraits").json()["items"] == []
    problem(api.get(f"/v1/likenesses/{anna}/report"), 404)
    assert api.delete(f"/v1/likenesses/{anna}", params={"confirm": anna}).status_code == 200


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    return team_of(tmp_path_factory.mktemp("team"))


def member(team: FastAPI, name: str, **more: Any) -> TestClient:
    """The program of a member of the team."""
    return program(team, team.state.accounts.tokens.create(name, "test", **more)[1])


def test_anothers_person_job_and_webhook_are_not_found(team: FastAPI) -> None:
    anna, ben = member(team, "cleo"), member(team, "ben")
    person = person_of(anna)
    send(anna, person, ("a.jpg", jpeg()))
    job = anna.post(f"/v1/likenesses/{person}/check").json()
    hook = anna.post("/v1/webhooks", json={"url": "https://hooks.example.org/"}).json()
    for address in (
        f"/v1/likenesses/{person}", f"/v1/likenesses/{person}/photos", f"/v1/likenesses/{person}/portraits",
        f"/v1/likenesses/{person}/consent", f"/v1/likenesses/{person}/download", f"/v1/jobs/{job['id']}",
        f"/v1/jobs/{job['id']}/events", f"/v1/jobs/{job['id']}/history", f"/v1/webhooks/{hook['id']}",
        f"/v1/jobs?likeness={person}",
    ):  # fmt: skip
        problem(ben.get(address), 404)
    for address in (
        f"/v1/likenesses/{person}/check", f"/v1/jobs/{job['id']}/cancel", f"/v1/webhooks/{hook['id']}/ping",
    ):  # fmt: skip
        problem(ben.post(address), 404)
    problem(ben.post("/v1/webhooks", json={"url": "https://x.org/", "likeness": person}), 404)
    problem(ben.delete(f"/v1/likenesses/{person}", params={"confirm": person}), 404)
    bens = ben.post(f"/v1/likenesses/{person_of(ben, 'Bo')}/check").json()
    problem(ben.post(f"/v1/jobs/{bens['id']}/move", json={"before": job["id"]}), 404)
    assert [one["id"] for one in ben.get("/v1/jobs").json()["items"]] == [bens["id"]]
    assert {one["id"] for one in member(team, "ann").get("/v1/jobs").json()["items"]} == {
        bens["id"],
        job["id"],
    }


def test_members_may_not_name_files_of_the_machine(team: FastAPI) -> None:
    anna = member(team, "cleo")
    person = person_of(anna)
    for kind, body in (
        ("generate", {"series": "/etc/passwd"}), ("generate", {"series": "own.yaml"}),
        ("generate", {"brand": "../other/brand"}), ("check", {"settings": ["base=/models/x"]}),
        ("check", {"settings": ["generate.style_adapter = ../../ben/x.safetensors"]}),
        ("score", {"clip": "~/clip"}),
    ):  # fmt: skip
        assert "admin" in problem(anna.post(f"/v1/likenesses/{person}/{kind}", json=body), 403)["what"]
    problem(anna.post("/v1/prompts/lint", json={"text": "x", "base": "/etc"}), 403)


def test_tokens_are_shown_once_scoped_revoked_and_expire(team: FastAPI) -> None:
    anna = member(team, "cleo")
    answer = anna.post("/v1/tokens", json={"name": "script", "scopes": ["read"], "days": 1}).json()
    assert "secret" not in json.dumps(anna.get("/v1/tokens").json())
    stored = (team.state.studio.home / "tokens.json").read_text()
    assert answer["secret"] not in stored and answer["id"] in stored
    reader = program(team, answer["secret"])
    assert reader.get("/v1/me").json() == {"name": "cleo", "role": "member", "scopes": ["read"]}
    assert problem(reader.post("/v1/likenesses", json={"name": "A"}), 403)["needed"] == "the scope write"
    problem(reader.post("/v1/tokens", json={"name": "more"}), 403)
    problem(member(team, "ben").delete(f"/v1/tokens/{answer['id']}"), 404)
    assert anna.delete(f"/v1/tokens/{answer['id']}").status_code == 204
    gone = problem(reader.get("/v1/me"), 401)
    assert "expired" in gone["what"]
    brief = member(team, "cleo")
    team.state.accounts.tokens._clock = lambda: time.time() + 91 * 86_400
    try:
        problem(brief.get("/v1/me"), 401)
    finally:
        team.state.accounts.tokens._clock = time.time


def test_a_viewer_looks_and_changes_nothing(team: FastAPI) -> None:
    eve = member(team, "eve")
    assert eve.get("/v1/likenesses").status_code == 200
    problem(eve.post("/v1/likenesses", json={"name": "A"}), 403)
