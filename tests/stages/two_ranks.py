"""One of several processes of a whole command, on CPUs as on GPUs: each has a device of its own number.

`$FOREIGN_WRITES` lists what any process but the first writes.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from portrait_lora import cli, device

WRITES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"}


class Numbered(str):
    """Plain `cpu` for torch, `cpu:1` where it is written down."""

    def __format__(self, spec: str) -> str:
        return f"cpu:{os.environ['RANK']}"


def noting(folder: str) -> Any:
    """An audit hook that writes down each attempt to change something below a folder."""

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        opens = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if not (opens or event in WRITES) or not isinstance(arguments[0], str | os.PathLike):
            return
        if os.fspath(arguments[0]).startswith(folder):
            with_flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            descriptor = os.open(os.environ["FOREIGN_WRITES"], with_flags)
            os.write(descriptor, f"{event} {arguments[0]}\n".encode())
            os.close(descriptor)

    return note


def command(folder: Path, words: tuple[str, ...]) -> None:
    """`portrait-lora` with these words, on a folder, as one of several processes; ends the process."""
    plain = device.choose
    device.choose = lambda *a, **k: replace(plain(*a, **k), device=Numbered("cpu"))
    if os.environ["RANK"] != "0":
        sys.addaudithook(noting(str(folder)))
    sys.argv = ["portrait-lora", *words]
    cli.main()
