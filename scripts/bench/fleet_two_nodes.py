"""Two nodes of a Ray cluster for real: two network namespaces of this machine, one cut off in the middle.

python -m scripts.bench.fleet_two_nodes --quick       4 made-up people, whole journeys, shortened; one cut
python -m scripts.bench.fleet_two_nodes --full        6 people

The head, its Ray, and an S3 server are in one namespace, the second node in another; a pair of virtual
network cards joins them.  Files go through the store alone.  Once the second node has delivered a checkpoint,
its card is taken down: its person has to be lost, followed by the other node from that checkpoint, and end in
the very adapter that it has when trained alone; the worker that was cut off has to stop by itself and deliver
nothing.  Skipped, with the reason, where namespaces are not allowed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from portrait_lora import manifest, recipe, summaries
from portrait_lora.fleet.home import FleetEvent, open_home
from portrait_lora.fleet.objects import Numbered, Objects
from portrait_lora.fleet.ray import RayBackend
from portrait_lora.fleet.ray_cluster import RayPlace
from portrait_lora.fleet.run import Head
from portrait_lora.tasks.shard import files, plan
from portrait_lora.tasks.shard.acceptance import Rule
from portrait_lora.tasks.shard.records import Ended
from scripts.rows import Row, arguments, finish

HEAD, NODE, PORT = "10.77.0.1", "10.77.0.2", 6379
SETTINGS: Final = (
    "training.exposures_per_photo=6",
    "training.identity_weight=0",
    "training.checkpoints=6",
    "select.probes=1",
    "generate.per_shot=1",
    "generate.num_inference_steps=4",
)
"""Long enough to be cut off in training, and no longer."""
_CHILD = b"portrait_lora.fleet.child"
LEASE_S, SILENT_S = 16.0, 20.0
QUIET: Final = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_memory_monitor_refresh_ms": "0", "OMP_NUM_THREADS": "1"}


def why_not() -> str:
    """Why there can be no second network here; empty when there can."""
    for tool in ("unshare", "nsenter", "ip"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    words = ["unshare", "-rn", "ip", "link", "add", "a0", "type", "veth", "peer", "name", "b0"]
    done = subprocess.run(words, capture_output=True, text=True)
    return f"namespaces are not allowed here: {done.stderr.strip()}" if done.returncode else ""


class Node:
    """The second namespace, held by a process that does nothing, and the cable to it."""

    def __init__(self) -> None:
        self._keeper = subprocess.Popen(["unshare", "-n", "sleep", "infinity"])
        own = os.readlink("/proc/self/ns/net")
        while _namespace(self._keeper.pid) in ("", own):
            time.sleep(0.05)
        self.pid = self._keeper.pid
        self.enter = ("nsenter", "-t", str(self._keeper.pid), "-n")
        pid = str(self._keeper.pid)
        _do("ip", "link", "set", "lo", "up")
        _do("ip", "link", "add", "head0", "type", "veth", "peer", "name", "node0", "netns", pid)
        _do("ip", "addr", "add", f"{HEAD}/24", "dev", "head0")
        _do("ip", "link", "set", "head0", "up")
        _do("ip", "route", "add", "default", "dev", "head0")
        for words in (
            ("link", "set", "lo", "up"),
            ("addr", "add", f"{NODE}/24", "dev", "node0"),
            ("link", "set", "node0", "up"),
            ("route", "add", "default", "dev", "node0"),
        ):
            _do(*self.enter, "ip", *words)

    def cut(self) -> None:
        """Pull the cable."""
        _do("ip", "link", "set", "head0", "down")

    def close(self) -> None:
        """End the namespace."""
        self._keeper.kill()
        self._keeper.wait()


def _namespace(pid: int) -> str:
    with suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/net")
    return ""


def _do(*words: str) -> None:
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def _ray(*words: str, cache: Path, enter: Sequence[str] = ()) -> None:
    """Start Ray; its workers keep copies in `cache`, as on a disk of their own."""
    program = str(Path(sys.executable).parent / "ray")
    subprocess.run(
        [*enter, program, "start", *words, "--num-cpus=1", "--num-gpus=0", "--disable-usage-stats",
         "--object-store-memory=80000000"],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=os.environ | {"XDG_CACHE_HOME": str(cache)},
    )  # fmt: skip


def _processes(mark: str) -> list[int]:
    """Processes whose environment bears this mark."""
    pids: list[int] = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit() and int(place.name) != os.getpid():
            with suppress(OSError):
                if mark.encode() in (place / "environ").read_bytes():
                    pids.append(int(place.name))
    return pids


@contextmanager
def _cluster(folder: Path, node: Node, mark: str) -> Iterator[str]:
    """A store and two nodes; the address of the store."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address=HEAD, port=0, verbose=False)
    server.start()
    os.environ |= QUIET | {
        "FLEET_MARK": mark,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": mark,
        "AWS_ENDPOINT_URL": f"http://{HEAD}:{server.get_host_and_port()[1]}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    import s3fs

    s3fs.S3FileSystem().mkdir("fleet")
    try:
        _ray("--head", f"--node-ip-address={HEAD}", f"--port={PORT}", "--include-dashboard=false",
             f"--temp-dir={folder / 'ray'}", cache=folder / "one")  # fmt: skip
        _ray(f"--address={HEAD}:{PORT}", f"--node-ip-address={NODE}", cache=folder / "two", enter=node.enter)
        yield "s3://fleet/home"
    finally:
        for pid in _processes(mark):  # Ray's own, and what they have left
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        server.stop()


def _prepare(home: Path, people: Sequence[str], seed: int) -> None:
    for number, person in enumerate(people):
        folder = manifest.make_folder(files.folder(home, person))
        recipe.open_demo(folder, 7100 + 100 * seed + number)
    everybody = Rule(
        share_of_ceiling=None, verified_rate=None, copy_score=None
    )  # the likeness is not measured
    whole = plan.FleetPlan(
        roster="made up", roster_sha256="", people=dict.fromkeys(people, ()), settings=SETTINGS, threads=1,
        versions=summaries.versions(), acceptance=everybody,
    )  # fmt: skip
    plan.write(home, whole)


def _alone(home: Path, person: str, scratch: Path) -> str:
    """sha256 of the adapter of the same person trained by `run`."""
    folder = scratch / person
    shutil.copytree(files.folder(home, person), folder, ignore=_made)
    script = "import sys; from pathlib import Path; from portrait_lora import recipe; " \
             "recipe.train(Path(sys.argv[1]), overrides=sys.argv[2:])"  # fmt: skip
    subprocess.run([sys.executable, "-c", script, str(folder), *SETTINGS], check=True,
                   stderr=subprocess.DEVNULL)  # fmt: skip
    return manifest.sha256_file(folder / "adapters/main/adapter.safetensors")


def _made(folder: str, names: list[str]) -> list[str]:
    outputs = ("adapters", "dataset", "portraits", "reports")
    return [name for name in names if name in outputs] if Path(folder).parent.name == files.PEOPLE else []


def _cut_after_a_checkpoint(
    objects: Objects, node: Node, events: list[tuple[float, FleetEvent]], cut_at: list[float]
) -> None:
    """Wait until the store has a checkpoint of whom the second node trains, and pull the cable."""
    while True:
        time.sleep(0.2)
        theirs = [event.person for _, event in list(events) if event.worker.startswith(f"{NODE}/")]
        for person in theirs:
            latest = Numbered(objects, f"people/{person}/listings").latest()
            if latest is not None and any("/checkpoints/step-" in name for name in latest[1]["files"]):
                node.cut()
                cut_at[0] = time.monotonic()
                print(f"cut off while it trained {person}", file=sys.stderr, flush=True)
                return


def _stops(node: Node, seconds: float = 180.0) -> bool:
    """Whether the worker that was cut off ends by itself."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not _children_in(_namespace(node.pid)):
            return True
        time.sleep(0.5)
    return False


def _children_in(namespace: str) -> list[int]:
    pids: list[int] = []
    for place in Path("/proc").iterdir():
        with suppress(OSError):
            if place.name.isdigit() and _CHILD in (place / "cmdline").read_bytes():
                pids += [int(place.name)] if _namespace(int(place.name)) == namespace else []
    return pids


def measure(options: Namespace) -> list[Row]:
    """Run the fleet, cut, and look at what became of everybody."""
    people = [f"person-{n}" for n in range(6 if options.full else 4)]
    events: list[tuple[float, FleetEvent]] = []
    cut_at = [0.0]
    with tempfile.TemporaryDirectory(prefix="two-") as name:
        folder = Path(name)
        home, mark = folder / "home", hashlib.sha256(name.encode()).hexdigest()
        _prepare(home, people, options.seed)
        node = Node()
        try:
            with _cluster(folder, node, mark) as store:
                place = RayPlace(f"{HEAD}:{PORT}", gpus=0, store=store, lease_s=LEASE_S)
                backend = RayBackend(home, place, silent_s=SILENT_S)
                watched = (Objects(store), node, events, cut_at)
                threading.Thread(target=_cut_after_a_checkpoint, args=watched, daemon=True).start()
                began = time.monotonic()
                head = Head(open_home(home), backend, on_event=lambda e: events.append((time.monotonic(), e)))
                outcome = head.run()
                seconds = time.monotonic() - began
                stopped = _stops(node)
        finally:
            node.close()
        records = open_home(home).records()
        lost = [at for at, event in events if event.kind == "lost"]
        again = [r for r in records.values() if any(start.resumed_from for start in r.starts)]
        same = sum(r.adapter_sha256 == _alone(home, p, folder / "alone") for p, r in records.items())
    starts = [start for record in records.values() for start in record.starts]
    return [
        Row("people finished", outcome.states.get("succeeded", 0), "people", len(people), len(people)),
        Row("adapters equal to those trained alone", same, "people", len(people), len(people)),
        Row("people followed from a checkpoint", len(again), "people", 1, 1),
        Row(
            "seconds from the cut until it was noticed", round(lost[0] - cut_at[0], 1) if lost else -1, "s", 1
        ),
        Row("the worker that was cut off stopped by itself", float(stopped), "", 1, 1),
        Row("starts in all", len(starts), "starts", len(people)),
        Row(
            "starts that failed",
            sum(s.ended is Ended.FAILED for s in starts),
            "starts",
            len(starts),
            0,
            at_most=True,
        ),
        Row("seconds in all", round(seconds, 1), "s", 1),
    ]


def main() -> int:
    """Measure inside a network namespace of its own; skip, and say why, where there can be none."""
    options = arguments(__doc__ or "").parse_args()
    if reason := why_not():
        print(f"skipped: {reason}")
        return 0
    if "FLEET_INSIDE" not in os.environ:
        words = ["unshare", "-rn", sys.executable, "-m", "scripts.bench.fleet_two_nodes", *sys.argv[1:]]
        return subprocess.run(words, env=os.environ | {"FLEET_INSIDE": "1"}).returncode
    return finish(measure(options), options.json)


if __name__ == "__main__":
    sys.exit(main())
