"""The server: what it refuses to start with, and a real one that is killed while a job runs."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from portrait_lora.errors import ConfigError, InputError, PortraitError
from portrait_lora.jobs.job import Job, JobState
from portrait_lora.jobs.kinds import KINDS
from portrait_lora.jobs.queue import Queue
from portrait_lora.web import app as application
from portrait_lora.web import serve as server
from portrait_lora.web.app import create_app
from portrait_lora.web.serve import LINK, Listen, is_loopback, serve
from portrait_lora.web.web_settings import LOOPBACK, WebSettings
from tests.certificates import write_papers
from tests.jobs import trivial
from tests.web.conftest import PAGE, TOKEN
from tests.web.real_server import RUNNER
from tests.web.team import USERS

ROOT = Path(__file__).parents[2]
ENDLESS = {"steps": 100_000, "step_s": 0.02}


def until(what: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def users(tmp_path: Path) -> Path:
    (tmp_path / "users.yaml").write_text(USERS)
    return tmp_path / "users.yaml"


def never(*_: object, **__: object) -> None:
    raise AssertionError("the server began")


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that begins is a failure."""
    monkeypatch.setattr(server, "_run", never)


@pytest.mark.parametrize(
    ("host", "here"),
    [
        *(("127.0.0.1", True), ("127.0.0.2", True), ("::1", True), ("localhost", True)),
        *(
            ("0.0.0.0", False),
            ("::", False),
            ("192.168.1.2", False),
            ("", False),
            ("localhost.evil.example", False),
        ),
    ],
)
def test_which_addresses_are_this_machine(host: str, here: bool) -> None:
    assert is_loopback(host) is here


@pytest.mark.usefixtures("refused")
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "", "example.invalid"])
def test_an_open_address_needs_users_and_tls(tmp_path: Path, users: Path, host: str) -> None:
    papers = write_papers(tmp_path / "papers")
    home = tmp_path / "home"
    for listen, settings, lacking in (
        (Listen(host), WebSettings(), "--users FILE and --tls-cert"),
        (Listen(host), WebSettings(users=users), "--tls-cert"),
        (Listen(host, certificate=papers.chain, key=papers.key), WebSettings(), "--users FILE"),
        (Listen(host, certificate=papers.chain), WebSettings(users=users), "half a certificate"),
    ):
        with pytest.raises(InputError, match=lacking):
            serve(home, listen, settings)
    assert not home.exists()


@pytest.mark.usefixtures("refused")
def test_what_keeps_it_from_starting_is_named(tmp_path: Path, users: Path) -> None:
    home = tmp_path / "home"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"127.0.0.1:{port}: this port cannot be used.*--port"):
            serve(home, Listen(port=port), WebSettings())
    with pytest.raises(InputError, match="not a port"):
        serve(home, Listen(port=70_000), WebSettings())
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="not a folder"):
        serve(tmp_path / "file", Listen(port=0), WebSettings())
    users.write_text("users: {ann: {role: admin, password: hunter2hunter2}}")
    with pytest.raises(ConfigError, match="--hash-password") as shown:
        serve(home, Listen(port=0), WebSettings(users=users))
    assert "hunter2" not in str(shown.value)
    (tmp_path / "cert.pem").write_text("no certificate")
    damaged = Listen(port=0, certificate=tmp_path / "cert.pem", key=tmp_path / "cert.pem")
    with pytest.raises(InputError, match="this certificate cannot be used"):
        serve(home, damaged, WebSettings())
    (home / "studio.json").write_text(json.dumps({"version": 99, "people": {}}))
    with pytest.raises(InputError, match="later version"):
        serve(home, Listen(port=0), WebSettings())
    assert not (home / LINK).exists()


def test_a_full_disk_is_said_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(PortraitError, match="the disk is full"):
        create_app(tmp_path / "home", WebSettings(runs_jobs=False))


def test_what_is_printed_and_written_leads_to_the_studio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], users: Path
) -> None:
    home, pages = tmp_path / "home", list[str]()

    def look(*_: object) -> None:
        assert (home / LINK).stat().st_mode & 0o777 == 0o600
        pages.append((home / LINK).read_text())
        with pytest.raises(InputError, match="a server runs for this home already"):
            serve(home, Listen(port=0), WebSettings())

    monkeypatch.setattr(server, "_run", look)
    serve(home, Listen(port=0), WebSettings(token=TOKEN))
    (link,) = re.findall(r"http://127\.0\.0\.1:\d+/sign-in\?token=\S+", capsys.readouterr().out)
    assert link.endswith(TOKEN) and link in pages[0] and not (home / LINK).exists()
    papers = write_papers(tmp_path / "papers")
    listen = Listen("127.0.0.1", 0, papers.chain, papers.key, ("studio.example.org",))
    serve(home, listen, WebSettings(users=users))
    shown = capsys.readouterr().out
    assert "https://studio.example.org:" in shown and "token" not in shown


def test_over_tls_cookies_are_for_tls_alone(tmp_path: Path) -> None:
    names = LOOPBACK | {"studio.example.org"}
    app = create_app(tmp_path / "home", WebSettings(token=TOKEN, secure=True, runs_jobs=False, hosts=names))
    client = TestClient(app, base_url="https://studio.example.org:8000", follow_redirects=False)
    opened = client.get(f"/sign-in?token={TOKEN}", headers=PAGE)
    assert opened.headers["set-cookie"].startswith("__Host-") and "; Secure" in opened.headers["set-cookie"]
    assert opened.headers["strict-transport-security"] == "max-age=31536000"
    assert client.get("/v1/x").status_code == 404
    near = client.get("https://localhost:8000/health")
    assert near.status_code == 200 and "strict-transport-security" not in near.headers


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Jobs that count, in this process too."""
    trivial.register()
    monkeypatch.setattr(application, "Runner", RUNNER)
    yield
    KINDS.pop("trivial", None)
    KINDS.pop("aside", None)


def last_state(queue: Queue, job: Job) -> JobState:
    return queue.get(job.id).state


def step(folder: Path) -> int:
    return int((folder / "step").read_text() or 0) if (folder / "step").exists() else 0


@pytest.mark.usefixtures("counting")
def test_a_job_outlives_its_server_killed_or_stopped(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "person"
    folder.mkdir()
    command = [sys.executable, "-m", "tests.web.real_server", str(home)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline())[1])  # type: ignore[index]
        until(lambda: not socket.socket().connect_ex(("127.0.0.1", port)))
        queue = Queue(home)
        job = queue.submit("trivial", folder, ENDLESS, owner="owner")
        with socket.create_connection(("127.0.0.1", port), timeout=30) as slow:
            slow.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
            assert slow.recv(100) == b"", "headers that do not end"
        with socket.create_connection(("127.0.0.1", port), timeout=30) as odd:
            odd.sendall(b"GET http://evil.example/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert odd.recv(100).startswith(b"HTTP/1.1 400")
        until(lambda: step(folder) > 2)
        process.send_signal(signal.SIGKILL)
    before = step(folder)
    with TestClient(create_app(home, WebSettings(devices=("cpu",)))):
        until(lambda: step(folder) > before + 2)
        running = queue.get(job.id)
        assert running.state is JobState.RUNNING and running.attempts == 2
    assert last_state(queue, job) in (JobState.INTERRUPTED, JobState.QUEUED)
    after = step(folder)
    time.sleep(0.2)
    assert step(folder) == after, "nothing goes on without a server"
    queue.close()
