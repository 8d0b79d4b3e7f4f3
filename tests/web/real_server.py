"""A real server for tests, whose jobs count: `python -m tests.web.real_server HOME`."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

from portrait_lora.jobs.runner import Runner
from portrait_lora.web import app, protocol
from portrait_lora.web.serve import Listen, serve
from portrait_lora.web.web_settings import WebSettings
from tests.jobs import trivial

RUNNER = functools.partial(Runner, command=(sys.executable, "-m", "tests.jobs.trivial"))

if __name__ == "__main__":
    trivial.register()
    app.Runner = RUNNER  # type: ignore[assignment, misc]
    protocol.HEADERS_S = 0.5  # type: ignore[misc]
    serve(Path(sys.argv[1]), Listen(port=0), WebSettings(devices=("cpu",)))
