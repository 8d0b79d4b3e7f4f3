"""The HTML page of a series: every portrait, worst first, with failed checks, seconds and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment

from portrait_lora import manifest
from portrait_lora.generation.checklist import Check, failures
from portrait_lora.records import Portrait

_TEMPLATE = Path(__file__).with_name("series_page.html.j2")


def worst_first(portraits: Sequence[Portrait], checks: Mapping[str, Sequence[Check]]) -> list[Portrait]:
    """Sorted by the number of failed checks; ties keep their order."""
    return sorted(portraits, key=lambda p: -len(failures(checks.get(p.path.name, ()))))


def write_series_page(
    page: Path,
    portraits: Sequence[Portrait],
    checks: Mapping[str, Sequence[Check]],
    *,
    title: str,
    facts: Sequence[str],
    remarks: Sequence[str] = (),
) -> Path:
    """Write the page; it links the pictures by relative paths."""
    rows = [
        {
            "src": Path("..")
            / portrait.path.parent.parent.name
            / portrait.path.parent.name
            / portrait.path.name,
            "name": portrait.shot.name,
            "look": " · ".join(v for k, v in portrait.shot.layers if k != "subject"),
            "failed": failures(checks.get(portrait.path.name, ())),
        }
        for portrait in worst_first(portraits, checks)
    ]
    template = Environment(autoescape=True).from_string(_TEMPLATE.read_text(encoding="utf-8"))
    text = template.render(title=title, facts=" · ".join(facts), rows=rows, remarks=remarks)
    manifest.write_text_atomic(page, text)
    return page
