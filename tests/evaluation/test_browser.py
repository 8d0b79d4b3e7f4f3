"""The page in a real browser: nothing runs over the edge on a phone or a desktop, and it prints to PDF."""

import pytest

from portrait_lora.evaluation.drift_page import write_drift_html
from tests.browser import Window, widths
from tests.evaluation.test_protocol import EXTRAS, REPORT
from tests.sampling import sampled

WIDTHS = sampled([Window(345), Window(390), Window()], kept=lambda window: window != Window(390), name=str)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "drift.html"
    write_drift_html(file, REPORT, portraits={}, holdout={}, extras=EXTRAS)
    return file


@pytest.mark.parametrize("browser_page", WIDTHS, indirect=True)
def test_nothing_runs_over_the_edge(page, browser_page):
    browser_page.goto(page.as_uri())
    content, window = widths(browser_page)
    assert content <= window


def test_it_prints(page, browser_page):
    browser_page.goto(page.as_uri())
    assert browser_page.pdf().startswith(b"%PDF")
