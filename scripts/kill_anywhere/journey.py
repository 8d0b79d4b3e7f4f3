"""The commands that are killed, each beginning where the one before has ended, with little work in each."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import yaml

from portrait_lora import cli
from scripts.kill_anywhere.children import Work

FEW: Final = (
    "base=embedded", "face_pack=embedded", "training.rank=2", "training.targets=attention",
    "training.exposures_per_photo=1", "training.identity_lessons=4", "training.checkpoints=2",
    "select.probes=1", "generate.per_shot=1", "generate.num_inference_steps=1", "generate.batch_size=4",
)  # fmt: skip
GOOD_PHOTOS: Final = 6
SERIES: Final = "headshots"
SHOTS: Final = ("classic", "rembrandt", "golden")
_ADAPTER: Final = ("-s", "training.learning_rate=0.001", "-s", "select.probes=2")


def commands(world: Path, address: str) -> dict[str, Work]:
    """The commands by name, in their order; `address` is that of `hub`.

    What they record outside the likeness folder goes into `world` too.
    """
    os.environ["XDG_STATE_HOME"] = str(world / "state")
    me, portrait = str(world / "me"), str(world / "me/portraits/headshots/01-classic.png")
    few = [word for setting in (*FEW, f"generate.series={world / SERIES}.yaml") for word in ("-s", setting)]
    return {
        "init": command("init", me, "--photos", str(world / "originals"), "--i-am-the-subject", *few),
        "check": command("check", me),
        "prepare": command("prepare", me),
        "train": command("train", me),
        "retrain": command("train", me, "-s", "training.learning_rate=0.001"),
        "select": command("train", me, *_ADAPTER),
        "generate": command("generate", me, *_ADAPTER),
        "score": command("score", me, *_ADAPTER),
        "fix": command("fix", portrait, "--region", "eyes", "--tries", "1", "--keep", *_ADAPTER),
        "publish": command("publish", portrait, "--out", str(world / "published")),
        "export": command("export", me, "--for", "diffusers", "--out", str(world / "exports")),
        "dataset export": command("dataset", "export", me, "--out", str(world / "kohya")),
        "dataset import": command("dataset", "import", str(world / "kohya"), str(world / "imported")),
        "pull": _pull(world, address),
        "forget": command("forget", me, "--yes"),
        "forget photos": command("forget", me, "--photos", "--yes"),
    }


def command(*argv: str) -> Work:
    """A command line of the program."""

    def work() -> int:
        sys.argv = ["portrait-lora", *argv]
        return cli._run(cli.app)

    return work


def _pull(world: Path, address: str) -> Work:
    """Fetch a small base from a hub on this machine."""

    def work() -> int:
        from portrait_lora.families.rows import ROWS
        from portrait_lora.hub.hub import Hub
        from portrait_lora.tasks import pull

        family = ROWS["sd15"]
        sd15 = next(b for b in family.bases if b.name == "sd15")
        row = replace(sd15, name="tiny", repo="maker/tiny", generate_repo="maker/tiny", download_gb=0.001)
        ROWS["sd15"] = replace(family, bases=(*family.bases, row))
        pull.pull("tiny", world / "me", Hub(address, world / "cache", wait_s=0.0))
        return 0

    return work


@contextmanager
def hub(work: Path) -> Iterator[str]:
    """A hub with a tiny base, in a process of its own; its address."""
    from tests.local_hub import LocalHub, serving
    from tests.tiny_models import make_tiny_sd

    folder = make_tiny_sd(work / "tiny")
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        with serving(LocalHub({"maker/tiny": files})) as running:
            os.write(write, running.address.encode())
            os.close(write)
            while os.getppid() != 1:
                time.sleep(0.5)
        os._exit(0)
    os.close(write)
    try:
        with os.fdopen(read, "rb") as pipe:
            address = pipe.read().decode()
        yield address
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def make_start(root: Path, seed: int) -> None:
    """What there is before the first command: a few photos of a made-up person, and a short series."""
    series = yaml.safe_load(
        (Path(__file__).parents[2] / "configs/series" / f"{SERIES}.yaml").read_text("utf-8")
    )
    series["shots"] = [shot for shot in series["shots"] if shot["name"] in SHOTS]
    (root / f"{SERIES}.yaml").write_text(yaml.safe_dump(series), "utf-8")
    _make_originals(root / "originals", seed)


def _make_originals(folder: Path, seed: int) -> None:
    """Photos, one of which is refused."""
    from portrait_lora.synthetic.photos import make_reference_set

    planted = make_reference_set(seed, folder).planted
    good = sorted(p.name for p in folder.iterdir() if p.name not in planted)
    wanted = {*good[:GOOD_PHOTOS], *sorted(planted)[-1:]}
    for path in folder.iterdir():
        if path.name not in wanted:
            path.unlink()


def load_libraries() -> None:
    """Load before forking what every child would load."""
    import diffusers  # noqa: F401
    import peft  # noqa: F401
    import transformers  # noqa: F401

    from portrait_lora import recipe, summaries  # noqa: F401
    from portrait_lora.tasks import edit, exchange, export, forget, pull  # noqa: F401
    from portrait_lora.training import run  # noqa: F401
