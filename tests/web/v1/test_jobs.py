"""Jobs over the API: begun once, waited for, streamed, cancelled, moved; and webhooks that hear of them."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from portrait_lora.jobs.job import Job, JobState
from portrait_lora.jobs.queue import Queue
from portrait_lora.web.programs import MOST_HELD
from portrait_lora.web.services import jobs as job_service
from portrait_lora.web.v1 import events
from tests.web.v1.test_people import jpeg, person_of, problem, send


@pytest.fixture
def anna(api: TestClient) -> str:
    person = person_of(api)
    send(api, person, ("a.jpg", jpeg()))
    return person


def begin(api: TestClient, person: str, kind: str = "check", key: str = "", **body: Any) -> Any:
    headers = {"idempotency-key": key} if key else {}
    return api.post(f"/v1/likenesses/{person}/{kind}", json=body, headers=headers)


def finish(queue: Queue, state: JobState = JobState.SUCCEEDED, **more: Any) -> Job:
    """The next job starts, and ends."""
    job = queue.claim("cpu", on_device=False) or queue.claim("cpu")
    assert job is not None
    queue.record(job, [("progress", {"label": "photos", "done": 1, "total": 2})], {"done": 1, "total": 2})
    return queue.finish(job, state, exit_code=0, **more)


def stream(api: TestClient, job: str, **headers: str) -> list[tuple[str, str, Any]]:
    """(id, event, data) of every message until the stream ends."""
    rows: list[tuple[str, str, Any]] = []
    answer = api.get(f"/v1/jobs/{job}/events", headers=headers)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
    for block in answer.text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in fields:
            rows.append((fields.get("id", ""), fields["event"], json.loads(fields["data"])))
    return rows


def test_work_begins_a_job_that_is_answered_at_once(api: TestClient, anna: str) -> None:
    answer = begin(api, anna, settings=["dataset.crops_per_photo=1"])
    job = answer.json()
    assert answer.status_code == 202 and answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["kind"], job["likeness"], job["state"]) == ("check", anna, "queued")
    assert job["arguments"] == {"settings": ["dataset.crops_per_photo=1"]}
    assert api.get(f"/v1/jobs/{job['id']}").json() == job


def test_a_key_begins_one_job_however_often_it_is_sent(app: FastAPI, api: TestClient, anna: str) -> None:
    first, again = (begin(api, anna, key="k1") for _ in range(2))
    assert again.json() == first.json() and again.status_code == 202
    assert again.headers["idempotent-replayed"] == "true" and "idempotent-replayed" not in first.headers
    assert again.headers["location"] == first.headers["location"]
    other = problem(begin(api, anna, key="k1", settings=["dataset.crops_per_photo=1"]), 422)
    assert other["where"] == "Idempotency-Key"
    app.state.keys.release("owner", "k1")
    with app.state.keys._store.writing() as db:  # the answer was never written: the server died
        db.execute("UPDATE idempotency SET status = NULL, created = created - 61")
    assert begin(api, anna, key="k1").json()["id"] == first.json()["id"]
    assert len(app.state.queue.list()) == 1
    problem(api.post("/v1/tokens", json={"name": "a"}, headers={"idempotency-key": "k2"}), 400)
    for wrong in ("", "a b", "x" * 201):
        refused = api.post(f"/v1/likenesses/{anna}/check", headers={"idempotency-key": wrong})
        assert refused.status_code in (400, 422)
    problem(begin(api, anna, key="k3", settings=["no.such=1"]), 422)
    assert begin(api, anna, key="k3").status_code == 202  # what failed may be tried again with its key


def test_waiting_ends_with_the_job_and_is_bounded(app: FastAPI, api: TestClient, anna: str) -> None:
    job = begin(api, anna).json()["id"]
    timer = threading.Timer(0.2, finish, [app.state.queue], {"result": {"report": "x"}})
    timer.start()
    waited = api.get(f"/v1/jobs/{job}?wait=20").json()
    timer.join()
    assert waited["state"] == "succeeded" and waited["result"] == {"report": "x"}
    second = begin(api, anna).json()["id"]
    assert api.get(f"/v1/jobs/{second}?wait=0.1").json()["state"] == "queued"
    problem(api.get(f"/v1/jobs/{second}?wait=61"), 422)
    for _ in range(MOST_HELD):
        app.state.held.open("owner")
    problem(api.get(f"/v1/jobs/{second}?wait=1"), 429)
    problem(api.get(f"/v1/jobs/{second}/events"), 429)
    assert api.get(f"/v1/jobs/{second}").status_code == 200


def test_paths_of_the_machine_are_not_in_answers(app: FastAPI, api: TestClient, anna: str) -> None:
    folder = app.state.studio.home / "people" / anna
    job = begin(api, anna).json()["id"]
    finish(app.state.queue, result={"report": f"{folder}/reports/check.html", "rows": [{"at": str(folder)}]})
    value = api.get(f"/v1/jobs/{job}").json()
    assert value["result"] == {"report": "reports/check.html", "rows": [{"at": "."}]}
    for address in (f"/v1/jobs/{job}", f"/v1/jobs/{job}/history", f"/v1/jobs/{job}/events", "/v1/jobs"):
        assert str(app.state.studio.home) not in api.get(address).text
    place = job_service.relative_to(str(folder))
    assert place(f"{folder.parent}/ben-1/a.png") == "ben-1/a.png" and place("bad \udcff name") == "bad ? name"


def test_events_come_from_the_last_known_one_to_the_end(
    app: FastAPI, api: TestClient, anna: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.0)
    job = begin(api, anna).json()["id"]
    timer = threading.Timer(0.2, finish, [app.state.queue])
    timer.start()
    rows = stream(api, job)
    timer.join()
    kinds = [(kind, data.get("data", data).get("state")) for _, kind, data in rows]
    assert kinds == [
        ("state", "queued"), ("state", "running"), ("progress", None), ("state", "succeeded"),
        ("result", "succeeded"), ("end", "succeeded"),
    ]  # fmt: skip
    numbers = [int(number) for number, kind, _ in rows if kind != "end"]
    assert numbers == sorted(set(numbers))
    rest = stream(api, job, **{"last-event-id": str(numbers[2])})
    assert [number for number, _, _ in rest][:-1] == [str(n) for n in numbers[3:]]
    known = {"last-event-id": str(numbers[-1])}
    assert api.get(f"/v1/jobs/{job}/events", headers=known).status_code == 204  # EventSource stays away
    assert api.get(f"/v1/jobs/{job}/events?after={numbers[-1]}").status_code == 204
    problem(api.get(f"/v1/jobs/{job}/events", headers={"last-event-id": "x"}), 422)
    assert not app.state.held._open
    history = api.get(f"/v1/jobs/{job}/history", params={"after": numbers[1], "limit": 2}).json()
    assert [one["number"] for one in history["items"]] == numbers[2:4] and history["last"] == numbers[3]


def test_a_stream_that_has_nothing_to_say_still_gives_signs_of_life(
    app: FastAPI, api: TestClient, anna: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.05)
    job = begin(api, anna).json()["id"]
    timer = threading.Timer(0.4, app.state.stopping.set)
    timer.start()
    assert api.get(f"/v1/jobs/{job}/events").text.count(": still here") >= 2  # and the server's end ends it
    timer.join()


def test_jobs_are_listed_in_pages_by_state_and_person(app: FastAPI, api: TestClient, anna: str) -> None:
    ids = [begin(api, anna).json()["id"] for _ in range(5)]
    begin(api, person_of(api, "Ben"))
    api.post(f"/v1/jobs/{ids[0]}/cancel")
    seen, cursor = list[str](), ""
    while cursor is not None:
        page = api.get("/v1/jobs", params={"likeness": anna, "limit": 2, "cursor": cursor}).json()
        seen, cursor = seen + [one["id"] for one in page["items"]], page["next"]
    assert seen == ids[::-1]
    cancelled = api.get("/v1/jobs?state=cancelled&state=failed").json()["items"]
    assert [one["id"] for one in cancelled] == ids[:1]
    problem(api.get("/v1/jobs?state=lost"), 422)
    problem(api.get("/v1/jobs?cursor=bm90aGluZw"), 422)


def test_a_job_is_cancelled_resumed_and_moved(app: FastAPI, api: TestClient, anna: str) -> None:
    a, b, c = (begin(api, anna).json()["id"] for _ in range(3))
    assert api.post(f"/v1/jobs/{a}/cancel").json()["state"] == "cancelled"
    assert api.post(f"/v1/jobs/{a}/cancel").json()["state"] == "cancelled"
    assert api.post(f"/v1/jobs/{a}/resume").json()["state"] == "queued"
    api.post(f"/v1/jobs/{c}/move", json={"before": b})
    assert [job.id for job in app.state.queue.waiting()] == [c, b, a]
    api.post(f"/v1/jobs/{c}/move", json={"before": None})
    assert [job.id for job in app.state.queue.waiting()] == [b, a, c]
    assert finish(app.state.queue).id == b
    problem(api.post(f"/v1/jobs/{b}/move", json={"before": c}), 422)
    problem(api.post(f"/v1/jobs/{b}/resume"), 422)
    problem(api.post(f"/v1/jobs/{c}/move", json={"before": "jnothing"}), 404)
    problem(api.post(f"/v1/jobs/{c}/move", json={}), 422)


def test_a_job_whose_folder_was_moved_tells_so(app: FastAPI, api: TestClient, anna: str) -> None:
    job = begin(api, anna).json()["id"]
    api.post(f"/v1/jobs/{job}/cancel")
    folder = app.state.studio.home / "people" / anna
    folder.rename(folder.parent / "elsewhere")
    refused = problem(api.post(f"/v1/jobs/{job}/resume"), 422)
    assert str(app.state.studio.home) not in json.dumps(refused)
    assert api.get(f"/v1/jobs/{job}").json()["state"] == "cancelled"


def test_webhooks_hear_of_the_jobs_that_they_want(app: FastAPI, api: TestClient, anna: str) -> None:
    before = begin(api, anna).json()["id"]
    api.post(f"/v1/jobs/{before}/cancel")
    answer = api.post("/v1/webhooks", json={"url": "https://hooks.example.org/a"})
    hook = answer.json()
    assert answer.status_code == 201 and hook["secret"].startswith("whsec_")
    ends = ["job.succeeded", "job.failed"]
    quiet = api.post(
        "/v1/webhooks", json={"url": "https://hooks.example.org/b", "events": ends, "likeness": anna}
    ).json()
    assert "whsec" not in api.get("/v1/webhooks").text + api.get(f"/v1/webhooks/{hook['id']}").text
    job = begin(api, anna).json()["id"]
    other = begin(api, person_of(api, "Ben")).json()["id"]
    api.post(f"/v1/jobs/{other}/cancel")
    listen = app.state.dispatcher._listen
    listen()
    finish(app.state.queue, result={"n": 1})
    while listen():
        pass

    def kinds(one: dict[str, Any]) -> list[tuple[str, str]]:
        rows = api.get(f"/v1/webhooks/{one['id']}/deliveries").json()["items"]
        return sorted((row["kind"], row["job"]) for row in rows)

    assert kinds(quiet) == [("job.succeeded", job)]
    own = [(f"job.{state}", job) for state in ("queued", "running", "progress", "succeeded")]
    assert kinds(hook) == sorted([*own, ("job.queued", other), ("job.cancelled", other)])
    body = json.loads(app.state.hooks.deliveries(quiet["id"])[0].body)
    assert body["type"] == "job.succeeded" and body["data"]["job"]["result"] == {"n": 1}
    assert str(app.state.studio.home) not in json.dumps(body)
    listen()
    assert len(kinds(hook)) == 6  # nothing twice
    assert api.post(f"/v1/webhooks/{hook['id']}/ping").status_code == 202
    assert api.delete(f"/v1/webhooks/{hook['id']}").status_code == 204
    problem(api.get(f"/v1/webhooks/{hook['id']}"), 404)


def test_webhooks_into_the_own_network_are_refused(api: TestClient) -> None:
    for url in (
        "https://127.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "http://hooks.example.org/",
    ):
        problem(api.post("/v1/webhooks", json={"url": url}), 422)
    problem(api.post("/v1/webhooks", json={"url": "https://x.org/", "events": ["job.lost"]}), 422)


def test_the_sender_of_webhooks_outlives_an_error(app: FastAPI, api: TestClient) -> None:
    """The sender of webhooks goes on after an error, such as a disk that was full for a while."""
    from portrait_lora.web.hooks.dispatcher import Dispatcher

    calls: list[float] = []

    def listen() -> int:
        calls.append(time.monotonic())
        raise OSError(28, "No space left on device")

    dispatcher = Dispatcher(app.state.hooks, listen)
    dispatcher.start()
    while len(calls) < 2:
        time.sleep(0.01)
    dispatcher.stop()


def test_the_home_keeps_the_store_private(app: FastAPI) -> None:
    home: Path = app.state.studio.home
    assert oct((home / "studio.sqlite").stat().st_mode & 0o777) == "0o600"
