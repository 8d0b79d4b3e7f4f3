"""The page in a real browser: nothing runs over the edge on a phone or a desktop, and it prints to PDF."""

import re
import shutil
import subprocess

import pytest

from portrait_lora.evaluation.report import write_drift_html
from tests.evaluation.test_protocol import EXTRAS, REPORT

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine: layout is not verified")


def browse(page, *arguments):
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", *arguments, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.fixture
def page(tmp_path):
    write_drift_html(tmp_path / "drift.html", REPORT, portraits={}, holdout={}, extras=EXTRAS)
    return tmp_path / "drift.html"


@pytest.mark.parametrize("width", [500, 1280])
def test_nothing_runs_over_the_edge(page, tmp_path, width):
    html = page.read_text(encoding="utf-8")
    html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)  # the probe is a script
    script = (
        "<script>document.title = document.documentElement.scrollWidth + '/' + innerWidth</script></body>"
    )
    probe = tmp_path / "probe.html"
    probe.write_text(html.replace("</body>", script), encoding="utf-8")
    dom = browse(probe, "--dump-dom", f"--window-size={width},900")
    content, window = map(int, re.search(r"<title>(\d+)/(\d+)</title>", dom).groups())
    assert content <= window


def test_it_prints(page, tmp_path):
    browse(page, f"--print-to-pdf={tmp_path / 'drift.pdf'}")
    assert (tmp_path / "drift.pdf").read_bytes().startswith(b"%PDF")
