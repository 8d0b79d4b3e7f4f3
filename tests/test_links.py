"""Every relative link and anchor of the written pages leads somewhere; nothing is asked of the network."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def prose(page: Path) -> str:
    """The page without its blocks and spans of code."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    return re.sub(r"`[^`\n]*`", "", text)


def links(page: Path) -> list[str]:
    """The relative targets of links and pictures, anchors included."""
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return [target for target in targets if not re.match(r"[a-z][a-z+.-]*:", target)]


def anchors(page: Path) -> set[str]:
    """The names that headings have on GitHub and on the site."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    titles = re.findall(r"^#+ +(.+?) *$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken(page: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    missing: list[str] = []
    for target in links(page):
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            missing.append(target)
    return missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_the_pages_are_found_and_link_to_each_other() -> None:
    assert {"README.md", "CONTRIBUTING.md", "guide.md", "architecture.md"} <= {page.name for page in PAGES}
    assert sum(len(links(page)) for page in PAGES) > 20


def test_a_link_that_leads_nowhere_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# One two: three\n[x](b.md) [y](#one-two-three) `[z](no.md)`\n")
    (tmp_path / "b.md").write_text("[x](a.md#two) [y](c.md) [z](https://example.invalid/no) ![p](no.jpg)\n")
    assert broken(tmp_path / "a.md") == []
    assert broken(tmp_path / "b.md") == ["a.md#two", "c.md", "no.jpg"]


def test_the_site_shows_every_page_and_loads_nothing_from_elsewhere() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    shown = [file for entry in site["nav"] for file in entry.values()]
    assert sorted(shown) == sorted(page.name for page in (ROOT / "docs").glob("*.md"))
    assert site["theme"]["font"] is False and "extra_javascript" not in site and "extra_css" not in site
