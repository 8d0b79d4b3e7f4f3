"""One of several processes of a whole command, on CPUs as on GPUs: each has a device of its own number.

The arguments are those of `portrait-lora`; `$FOREIGN_WRITES` lists what any process but the first writes.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Any

from portrait_lora import cli, device

RANK = os.environ["RANK"]
WRITES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"}


class Numbered(str):
    """Plain `cpu` for torch, `cpu:1` where it is written down."""

    def __format__(self, spec: str) -> str:
        return f"cpu:{RANK}"


def note(event: str, arguments: tuple[Any, ...]) -> None:
    """Write down each attempt to change something below the likeness folder."""
    changes = event in WRITES or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    if changes and isinstance(arguments[0], str | os.PathLike) and os.fspath(arguments[0]).startswith(FOLDER):
        with_flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        descriptor = os.open(os.environ["FOREIGN_WRITES"], with_flags)
        os.write(descriptor, f"{event} {arguments[0]}\n".encode())
        os.close(descriptor)


if __name__ == "__main__":
    FOLDER = sys.argv[2]
    plain = device.choose
    device.choose = lambda *a, **k: replace(plain(*a, **k), device=Numbered("cpu"))
    if RANK != "0":
        sys.addaudithook(note)
    sys.argv[0] = "portrait-lora"
    cli.main()
