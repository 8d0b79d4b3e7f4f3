"""Offline means no socket at all, whatever the command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from PIL import Image

from portrait_lora.families.rows import bases
from portrait_lora.hub.hub import Hub
from portrait_lora.tasks import pull as pulling
from tests.local_hub import LocalHub, serving
from tests.tiny_models import make_tiny_sd

OFFLINE = """
import functools, sys
import urllib3.util.connection  # asks the machine once, when imported, whether it has IPv6; sends nothing
events = []
network = ("socket.", "http.", "urllib.", "ftplib.")
sys.addaudithook(lambda event, arguments: events.append(event) if event.startswith(network) else None)
from pathlib import Path
from portrait_lora import cli, starting
starting.quickly()
me = sys.argv[1]
for arguments, code in (
    (["doctor", "--offline", "--quick"], 0),
    (["models", "sd15"], 0),
    (["pull", "sd15", "--into", me, "--offline"], 0),
    (["pull", "sdxl", "--into", me, "--offline"], 2),
    (["pull", "auraface", "--into", me, "--offline"], 2),
    (["pull", "buffalo_l", "--into", me, "--offline"], 2),
    (["run", me, "--offline", "--yes", "--i-am-the-subject", "-s", "face_pack=auraface"], 2),
    (["run", me, "--offline", "--yes", "-s", "dataset.captions.captioner=blip"], 2),
):
    assert cli._run(functools.partial(cli.app, arguments)) == code, arguments
from portrait_lora.families import catalog, open_family
from portrait_lora.families.pinned import locked
family = open_family(locked(catalog.resolve_base("sd15"), Path(me)))
family.load("encoders")
family.encode_prompts(["a"])
family.load("denoiser")
family.pipeline(None)
print("sockets", len(events), sorted(set(events)))
"""


def test_offline_no_command_opens_a_socket(tmp_path: Path) -> None:
    folder = make_tiny_sd(tmp_path / "tiny")
    contents = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    files = {name: data for name, data in contents.items() if not name.startswith("source_tokenizer")}
    repo = next(b for b in bases() if b.name == "sd15").repo
    cache, me = tmp_path / "home" / "hub", tmp_path / "me"
    (me / "photos").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(me / "photos" / "a.png")
    (me / "likeness.yaml").write_text("base: sd15\n")
    with serving(LocalHub({repo: files})) as running:
        pulling.pull("sd15", me, Hub(running.address, cache, wait_s=0.0))
        requests = len(running.log)
        env = {"HF_ENDPOINT": running.address, "HF_HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]}
        command = [sys.executable, "-c", OFFLINE, str(me)]
        done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "sockets 0 []", done.stdout
        assert len(running.log) == requests
