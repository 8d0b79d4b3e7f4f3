"""Pages in a headless Chromium, where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None
)
_TELL = "const e = document.documentElement; parent.postMessage(e.scrollWidth + '/' + e.clientWidth, '*')"
_HEAR = "onmessage = told => document.title = told.data"


def browse(page: Path, *arguments: str) -> str:
    """What Chromium prints about a page."""
    assert BROWSER is not None
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *arguments]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def widths(page: Path, folder: Path, width_px: int) -> tuple[int, int]:
    """How wide the content of a page is, and the window, when the window is `width_px` wide.

    The page lies in a frame, as Chromium makes no window as narrow as a phone.
    """
    html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    framed, host = folder / "framed.html", folder / "host.html"
    framed.write_text(html.replace("</body>", f"<script>{_TELL}</script></body>"), encoding="utf-8")
    frame = f'<iframe src="framed.html" width="{width_px}" height="800" style="border:0"></iframe>'
    host.write_text(f"<body><script>{_HEAR}</script>{frame}</body>", encoding="utf-8")
    dom = browse(host, "--dump-dom", f"--window-size={width_px + 100},900", "--virtual-time-budget=3000")
    title = re.search(r"<title>(\d+)/(\d+)</title>", dom)
    assert title is not None
    return int(title[1]), int(title[2])
