"""The notebooks run from top to bottom on the shared journey."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PERSON_SEED, Journey

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"

pytestmark = pytest.mark.journey


@pytest.mark.parametrize("name", sorted(p.name for p in NOTEBOOKS.glob("*.ipynb")))
def test_every_cell_runs(name: str, journey: Journey):
    book = json.loads((NOTEBOOKS / name).read_text(encoding="utf-8"))
    space: dict[str, Any] = {"FOLDER": journey.folder, "PERSON_SEED": PERSON_SEED, "SETTINGS": []}
    ran = 0
    for cell in book["cells"]:
        if cell["cell_type"] != "code" or "parameters" in cell["metadata"].get("tags", []):
            continue
        assert cell["outputs"] == [], "outputs are not kept"
        exec("".join(cell["source"]), space)
        ran += 1
    assert ran >= 3
    if "summary" in space:
        assert len(space["summary"].skipped) == 7  # stages and showcase: the settings lie in likeness.yaml
