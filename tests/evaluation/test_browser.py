"""The page in a real browser: nothing runs over the edge on a phone or a desktop, and it prints to PDF."""

import pytest

from portrait_lora.evaluation.drift_page import write_drift_html
from tests.browser import browse, needs_browser, widths
from tests.evaluation.test_protocol import EXTRAS, REPORT

pytestmark = needs_browser


@pytest.fixture
def page(tmp_path):
    write_drift_html(tmp_path / "drift.html", REPORT, portraits={}, holdout={}, extras=EXTRAS)
    return tmp_path / "drift.html"


@pytest.mark.parametrize("width", [345, 390, 1280])
def test_nothing_runs_over_the_edge(page, tmp_path, width):
    content, window = widths(page, tmp_path, width)
    assert window == width
    assert content <= window


def test_it_prints(page, tmp_path):
    browse(page, f"--print-to-pdf={tmp_path / 'drift.pdf'}")
    assert (tmp_path / "drift.pdf").read_bytes().startswith(b"%PDF")
