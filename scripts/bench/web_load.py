"""The API under load, over HTTP on loopback: latency of reads while a training runs, and jobs under kills.

python -m scripts.bench.web_load --quick     50 clients for 15 s; 60 jobs, 3 kills
python -m scripts.bench.web_load --full      200 clients for 60 s; 500 jobs, 20 kills, the figures of record

Reads: every client holds a connection open and asks one of eight kinds of read about once a second, as a page
that follows a job does, while the server's runner trains a made-up person.  Jobs: every submission is sent
with a key until it is answered, often twice, while the server is killed by `kill -9` and started again; one
in six is cancelled at a random moment.  They are done by a thread of the server that signs once for each:
child processes under kills are what `jobs_kill` measures.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portrait_lora.web.client import ApiError, Client
from scripts.rows import Row, arguments, finish

TOKEN = "a token of this measurement, 0123456789"
THIS = (sys.executable, "-m", "scripts.bench.web_load")
PACE_S = (0.5, 1.5)
SETTINGS = ["training.exposures_per_photo=400"]
"""Long enough to last as long as the reads do."""


def serve(home: Path, port: int, *, signs: bool) -> None:
    """The studio in `home`; with `signs` its jobs are done by a thread that writes one line for each."""
    from portrait_lora.web import serve as server
    from portrait_lora.web.web_settings import WebSettings

    if not signs:
        server.serve(home, server.Listen(port=port), WebSettings(token=TOKEN))
        return
    threading.Thread(target=_sign_all, args=[home], daemon=True).start()
    server.serve(home, server.Listen(port=port), WebSettings(token=TOKEN, runs_jobs=False))


def _sign_all(home: Path) -> None:
    from portrait_lora.jobs.job import JobState
    from portrait_lora.jobs.queue import Queue

    queue = Queue(home)
    queue.recover("cpu")
    queue.queue_interrupted("cpu")
    while True:
        job = queue.claim("cpu", on_device=False)
        if job is None:
            time.sleep(0.01)
            continue
        time.sleep(0.02)
        signed = home / "signed"
        lines = signed.read_text().split() if signed.exists() else []
        if job.id not in lines:
            descriptor = os.open(signed, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.write(descriptor, f"{job.id}\n".encode())
            os.close(descriptor)
        queue.finish(job, JobState.SUCCEEDED, exit_code=0, result={})


def _port() -> int:
    """A free one below those that the system gives to clients: one that keeps knocking at a port of its own
    range is connected with itself at last, and the server finds the port in use."""
    dice = random.Random()
    while True:
        port = dice.randrange(10_000, 30_000)
        with socket.socket() as free:
            try:
                free.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Studio:
    """A server in a process of its own, that can be killed and started again at the same address."""

    def __init__(self, home: Path, *, signs: bool):
        self.port = _port()
        self.home, self._signs = home, signs
        self.process = self._start()

    @property
    def address(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def _start(self) -> subprocess.Popen[bytes]:
        words = [*THIS, "serve", str(self.home), str(self.port), "signs" if self._signs else "trains"]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 120
        while time.monotonic() < end:
            try:
                with Client(self.address, TOKEN) as client:
                    client.get_me()
                return process
            except OSError:
                time.sleep(0.05)
        raise TimeoutError("the server did not start")

    def kill(self) -> None:
        """`kill -9`, and a new start."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = self._start()

    def stop(self) -> None:
        """Its end in order."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()


@dataclass
class Reads:
    """Seconds of every read by kind, and answers that were not 200."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    failed: Counter[str] = field(default_factory=Counter)

    @property
    def all(self) -> list[float]:
        """Of every kind, sorted."""
        return sorted(one for rows in self.seconds.values() for one in rows)


async def _client(port: int, paths: Sequence[str], until: float, dice: random.Random, out: Reads) -> None:
    await asyncio.sleep(dice.uniform(0, PACE_S[1]))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.monotonic() < until:
        path = dice.choice(paths)
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        begun = time.monotonic()
        writer.write(head.encode())
        await writer.drain()
        answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = next(x for x in answer.lower().splitlines() if x.startswith("content-length:"))
        await reader.readexactly(int(length.split(":")[1]))
        out.seconds.setdefault(path.split("?")[0].rsplit("/", 1)[-1], []).append(time.monotonic() - begun)
        if " 200 " not in answer.splitlines()[0]:
            out.failed[answer.splitlines()[0]] += 1
        await asyncio.sleep(dice.uniform(*PACE_S))
    writer.close()


async def _read_all(port: int, paths: Sequence[str], clients: int, seconds: float, seed: int) -> Reads:
    out, until = Reads(), time.monotonic() + seconds
    each = (_client(port, paths, until, random.Random(seed * 1000 + n), out) for n in range(clients))
    await asyncio.gather(*each)
    return out


def reads(root: Path, clients: int, seconds: float, seed: int) -> list[Row]:
    """Latency of reads while a made-up person is trained."""
    studio = Studio(root / "reads", signs=False)
    try:
        with Client(studio.address, TOKEN, timeout=900) as client:
            person = client.open_demo(person_seed=7)["id"]
            job = client.train(person, settings=SETTINGS)["id"]
            while not _trains(client.get_job(job)):
                time.sleep(0.5)
            place = f"/v1/likenesses/{person}"
            paths = [
                "/v1/me", "/v1/likenesses", place, f"{place}/photos?limit=50", f"{place}/portraits?limit=20",
                f"{place}/captions?limit=50", "/v1/jobs?limit=20", f"/v1/jobs/{job}",
            ]  # fmt: skip
            before = _step(client.get_job(job))
            load = os.getloadavg()[0]
            out = asyncio.run(_read_all(studio.port, paths, clients, seconds, seed))
            after = client.get_job(job)
            trained = _step(after) - before
            client.cancel_job(job)
            client.wait(job, 120)
    finally:
        studio.stop()
    every = out.all
    n = len(every)
    return [
        Row("reads answered otherwise than 200", sum(out.failed.values()), "", n, 0.0, at_most=True),
        Row("reads, median", every[n // 2] * 1000, "ms", n),
        Row("reads, 99th percentile", every[int(n * 0.99)] * 1000, "ms", n, 250.0, at_most=True),
        Row("reads, slowest", every[-1] * 1000, "ms", n),
        Row("reads in a second", n / seconds, "", n),
        Row("clients at once", clients, "", clients),
        Row("training steps meanwhile", trained, "steps", 1, 1.0),
        Row("load average when it began", load, "", 1),
        *(
            Row(f"99th percentile of {name}", sorted(rows)[int(len(rows) * 0.99)] * 1000, "ms", len(rows))
            for name, rows in sorted(out.seconds.items())
        ),
    ]


def _trains(job: Any) -> bool:
    """Whether it takes steps; an end before that is an error."""
    if job["state"] not in ("queued", "running"):
        raise RuntimeError(f"the training ended: {job['error']}")
    return _step(job) > 0


def _step(job: Any) -> float:
    progress = job["progress"] or {}
    return float(progress.get("done") or 0) if str(progress.get("label", "")).startswith("train") else 0.0


def jobs(root: Path, count: int, kills: int, seed: int) -> list[Row]:
    """Jobs through HTTP, none lost and none done twice, while the server is killed."""
    studio = Studio(root / "jobs", signs=True)
    begun: dict[int, set[str]] = {n: set() for n in range(count)}
    cancelled: set[str] = set()
    with Client(studio.address, TOKEN) as client:
        person = client.create_likeness("Anna")["id"]
    done = threading.Event()

    def submit(number: int) -> None:
        dice, job = random.Random(seed * 100_000 + number), dict[str, Any]()
        for _ in range(dice.randint(1, 2)):
            job = _until_answered(
                studio, lambda c: c.check(person, settings=[f"seed={number}"], idempotency_key=f"k{number}")
            )
            begun[number].add(job["id"])
        if dice.random() < 1 / 6:
            time.sleep(dice.uniform(0, 0.3))
            _until_answered(studio, lambda c: c.cancel_job(job["id"]))
            cancelled.add(job["id"])

    def kill_now_and_then() -> None:
        dice = random.Random(seed)
        for _ in range(kills):
            done.wait(dice.uniform(0.2, 1.5))
            studio.kill()

    killer = threading.Thread(target=kill_now_and_then)
    killer.start()
    try:
        with ThreadPoolExecutor(12) as pool:
            list(pool.map(submit, range(count)))
        killer.join()
        with Client(studio.address, TOKEN) as client:
            states = _settled(client)
    finally:
        done.set()
        studio.stop()
    signed = Counter((studio.home / "signed").read_text().split())
    ids = set().union(*begun.values())
    wanted = {job: "cancelled or succeeded" if job in cancelled else "succeeded" for job in ids}
    lost = sum(states.get(job, "gone") not in words for job, words in wanted.items())
    lost += sum(states.get(job) == "succeeded" and not signed[job] for job in ids)
    twice = sum(len(some) - 1 for some in begun.values() if len(some) > 1) + len(set(states) - ids)
    twice += sum(times > 1 for times in signed.values())
    return [
        Row("jobs lost", lost, "jobs", count, 0.0, at_most=True),
        Row("jobs begun or done twice", twice, "jobs", count, 0.0, at_most=True),
        Row("kills of the server", kills, "", kills),
        Row("jobs cancelled at a random moment", len(cancelled), "jobs", count),
    ]


def _until_answered(studio: Studio, call: Any) -> Any:
    """As a patient program does: again, with the same key, until the server answers."""
    while True:
        try:
            with Client(studio.address, TOKEN, timeout=20) as client:
                return call(client)
        except ApiError as error:
            if error.status != http.HTTPStatus.CONFLICT:
                raise
            time.sleep(0.5)  # the first request died with the server: its key is free after a minute
        except (OSError, http.client.HTTPException):
            time.sleep(0.1)


def _settled(client: Client) -> dict[str, str]:
    """Job → its state, once nothing waits or runs."""
    end = time.monotonic() + 600
    while time.monotonic() < end:
        states: dict[str, str] = {}
        cursor: str | None = ""
        while cursor is not None:
            page = client.list_jobs(limit=200, cursor=cursor)
            states |= {one["id"]: one["state"] for one in page["items"]}
            cursor = page["next"]
        if not {"queued", "running", "interrupted"} & set(states.values()):
            return states
        time.sleep(0.2)
    raise TimeoutError("jobs are still waiting")


def main(argv: Sequence[str] | None = None) -> None:
    """The script, or its server (`serve HOME PORT signs|trains`)."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["serve"]:
        serve(Path(words[1]), int(words[2]), signs=words[3] == "signs")
        return
    parser = arguments((__doc__ or "").split("\n\n")[0])
    parser.add_argument("--only", choices=("reads", "jobs"), default=None)
    args = parser.parse_args(words)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        root = Path(temporary)
        if args.only != "reads":
            rows += jobs(root, *((500, 20) if args.full else (60, 3)), args.seed)
        if args.only != "jobs":
            rows += reads(root, *((200, 60.0) if args.full else (50, 15.0)), args.seed)
    sys.exit(finish(rows, args.json))


if __name__ == "__main__":
    main()
