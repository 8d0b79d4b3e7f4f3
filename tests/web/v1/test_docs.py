"""`docs/api.md` is followed from top to bottom, curl and Python, against a server that does the jobs."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import socket
import subprocess
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from PIL import Image

from portrait_lora import provenance
from portrait_lora.errors import PortraitError
from portrait_lora.jobs import kinds
from portrait_lora.jobs.job import JobState, error_value
from portrait_lora.jobs.queue import Queue
from portrait_lora.web.app import create_app
from portrait_lora.web.web_settings import WebSettings
from tests.conftest import Journey
from tests.web.conftest import TOKEN
from tests.web.v1.test_people import jpeg

PAGE = (Path(__file__).parents[3] / "docs" / "api.md").read_text(encoding="utf-8")


def blocks(kind: str) -> str:
    """All lines of one language."""
    return "\n".join(re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.M | re.S))


@contextlib.contextmanager
def worker(queue: Queue) -> Iterator[None]:
    """Does the jobs in a thread of this process, whose models are loaded; the runner has tests of its own."""
    stopping = threading.Event()

    def work() -> None:
        while not stopping.wait(0.02):
            job = queue.claim("cpu", on_device=False) or queue.claim("cpu")
            if job is None:
                continue
            try:
                arguments = kinds.validated(job.kind, Path(job.folder), job.arguments)
                result = kinds.KINDS[job.kind].run(Path(job.folder), arguments)
            except PortraitError as error:
                queue.finish(job, JobState.FAILED, exit_code=error.exit_code, error=error_value(error))
            else:
                queue.finish(job, JobState.SUCCEEDED, exit_code=0, result=result)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield
    stopping.set()
    thread.join()


@contextlib.contextmanager
def server(app: FastAPI) -> Iterator[str]:
    """Its address, while it runs in a thread."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="warning", ws="none", lifespan="on", http="h11")
        running = uvicorn.Server(config)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not running.started and thread.is_alive():
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        app.state.stopping.set()
        running.should_exit = True
        thread.join()


@pytest.mark.journey
def test_every_line_of_the_page_runs(
    journey: Journey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(journey.folder, tmp_path / "demo"))
    app = create_app(tmp_path / "studio", WebSettings(token=TOKEN, likenesses=(folder,), runs_jobs=False))
    person = app.state.studio.open_folder(folder).id
    (tmp_path / "anna.jpg").write_bytes(jpeg())
    monkeypatch.chdir(tmp_path)
    with server(app) as address, worker(app.state.queue):
        env = {"STUDIO": address, "TOKEN": TOKEN, "PERSON": person, "PHOTO": str(tmp_path / "anna.jpg")}
        script = "set -euo pipefail\n" + blocks("bash")
        done = subprocess.run(
            ["bash", "-c", script],
            env=os.environ | env,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        assert script.count("curl") >= 6 and '"state":"succeeded"' in done.stdout
        assert "event: end" in done.stdout and '"state":"already"' in done.stdout
        with zipfile.ZipFile(tmp_path / "portraits.zip") as archive:
            names = archive.namelist()
            assert names and all(name.endswith(".jpg") for name in names) and archive.testzip() is None
            archive.extract(names[0], tmp_path)
        assert provenance.source_type(tmp_path / names[0]) == provenance.TRAINED
        assert not any(word in (tmp_path / names[0]).read_bytes() for word in (b"ohwx", b"headshot"))
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(blocks("python"), "docs/api.md", "exec"), {})
        text = printed.getvalue()
        assert "added" in text and "succeeded 1" in text and "422" in text and "consent" in text, text
        _pictures(address, person, tmp_path)


def _pictures(address: str, person: str, place: Path) -> None:
    """What the page does not show: one picture's file and details, formats, and what is not there."""
    from portrait_lora.web.client import ApiError, Client

    studio = Client(address, TOKEN)
    pages: list[Any] = []
    cursor: str | None = ""
    while cursor is not None:
        page = studio.list_portraits(person, kind="portrait", limit=5, cursor=cursor)
        pages, cursor = pages + page["items"], page["next"]
    assert (
        len({one["id"] for one in pages})
        == len(pages)
        == sum(one["portraits"] for one in studio.list_series(person)["items"])
    )
    scored = [one for one in pages if one["similarity"] is not None]
    assert len(scored) == 8 and all(one["digital_source_type"] == "trainedAlgorithmicMedia" for one in pages)
    one = studio.get_portrait(person, scored[0]["id"])
    assert one["history"][0]["action"] == "generate" and one["size_px"] == [128, 128]
    for wanted, kind in (("original", "PNG"), ("webp", "WEBP"), ("jpeg", "JPEG")):
        data = studio.get_portrait_file(person, one["id"], format=wanted)  # type: ignore[arg-type]
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.format == kind and picture.size == (128, 128)
    target = studio.save(f"/v1/likenesses/{person}/download", place / "two.zip", picture=one["id"])
    with zipfile.ZipFile(target) as archive:
        assert archive.namelist() == [f"{one['series']}/{one['name']}"]
    for picture, status in (("nothere", 404), ("x" * 50, 422)):
        with pytest.raises(ApiError) as refused:
            studio.get_portrait(person, picture)
        assert refused.value.status == status
    assert studio.get_report(person)["report"]["mean"] and studio.get_summary(person)["report"]["portraits"]
    assert studio.get_verdicts(person)["report"]["enough"] is True
