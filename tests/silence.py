"""Programs that open models, watched for half a minute by `strace`: what they ask of the network.

Started before the first test and waited for by `test_telemetry.py`, so that the half minute costs nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from portrait_lora.faces.packs import embedded_folder

SECONDS = 30
OURS = """
import sys, time
started = time.monotonic()
from portrait_lora.faces.backends import open_analyzer
from portrait_lora.faces.packs import resolve_pack
import numpy as np
open_analyzer(resolve_pack("embedded")).find(np.zeros((128, 128, 3), np.uint8))
time.sleep(max(0.0, float(sys.argv[1]) - time.monotonic() + started))
print("done")
"""
"""A face pack opened and used, then idle until SECONDS have passed."""
TALKING = """
import sys, time, onnxruntime
onnxruntime.InferenceSession(sys.argv[2])
time.sleep(float(sys.argv[1]))
"""
"""onnxruntime as its maker ships it: what it could not send waits in a store in the user's cache."""
STORE = ".cache/Microsoft"
ENDED = "ended"
_BUILD_SERVERS = (
    "TF_BUILD", "GITHUB_ACTIONS", "GITLAB_CI", "CIRCLECI", "TRAVIS", "JENKINS_URL", "CODEBUILD_BUILD_ID",
    "BUILDKITE", "TEAMCITY_VERSION", "APPVEYOR", "BITBUCKET_BUILD_NUMBER", "CI",
)  # fmt: skip
"""Where one of these is set, onnxruntime collects nothing by itself: the watch would prove nothing."""
_ASKS = re.compile(r"\b(?:connect|sendto|sendmsg|sendmmsg)\(.*\b(?:AF_INET6?|MSG_NOSIGNAL)\b|nscd/socket")


class Watch:
    """Three programs at once: with an empty store of usage data, with a full one, and one that does talk.

    Any process may read what another one started in the same `folder`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._conductor: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin to watch, in the background."""
        self._conductor = subprocess.Popen([sys.executable, "-m", "tests.silence", str(self.folder)])

    def requests(self, name: str) -> list[str]:
        """The system calls of one program that look something up or send something."""
        last = time.monotonic() + SECONDS * 6
        while not (self.folder / ENDED).exists():
            assert time.monotonic() < last, "the programs that are watched have not ended"
            time.sleep(0.1)
        assert (self.folder / f"{name}.out").read_text() == ("" if name == "talking" else "done\n")
        log = self.folder / f"{name}.log"
        return [line for line in log.read_text(errors="replace").splitlines() if _ASKS.search(line)]

    def stop(self) -> None:
        """End what this process started."""
        if self._conductor is not None and self._conductor.poll() is None:
            self._conductor.terminate()
            self._conductor.wait()

    def remove(self) -> None:
        """Remove the logs."""
        shutil.rmtree(self.folder, ignore_errors=True)


def can_watch() -> bool:
    """Whether this machine lets us trace a program, and run one that has no network."""
    try:
        command = ["unshare", "-rn", "strace", "-qq", "-o", os.devnull, "true"]
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


def conduct(folder: Path) -> None:
    """Fill a store, then watch the three programs side by side."""
    homes = {name: folder / name for name in ("empty", "full", "talking")}
    for home in homes.values():
        home.mkdir()
    subprocess.run(_command(TALKING, 0.5, cut_off=True), env=_env(homes["full"]), check=True)
    running = []
    for name, home in homes.items():
        talks = name == "talking"
        trace = ["strace", "-f", "-qq", "-s", "80", "-e", "trace=network", "-o", str(folder / f"{name}.log")]
        command = [*trace, *_command(TALKING if talks else OURS, SECONDS, cut_off=False)]
        with (folder / f"{name}.out").open("w") as out:
            # the one that talks has no network to talk to
            isolated = ["unshare", "-rn", *command] if talks else command
            running.append(subprocess.Popen(isolated, env=_env(home), stdout=out))
    for process in running:
        process.wait()
    (folder / ENDED).touch()


def _command(program: str, seconds: float, *, cut_off: bool) -> list[str]:
    model = str(embedded_folder() / "det_synthetic.onnx")
    return [*(["unshare", "-rn"] if cut_off else []), sys.executable, "-c", program, str(seconds), model]


def _env(home: Path) -> dict[str, str]:
    dropped = {"ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", *_BUILD_SERVERS}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}


if __name__ == "__main__":
    conduct(Path(sys.argv[1]))
