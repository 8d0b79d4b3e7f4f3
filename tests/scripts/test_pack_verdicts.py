"""The rows of verdicts: shares of the same person and of others, with limits that a gallery derived."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from portrait_lora.faces.people import look_at_people
from scripts.evaluate import pack_verdicts
from tests.faces.made_up_people import open_made_up, write_people


@pytest.mark.parametrize(("limit", "same", "others"), [(0.5, 1.0, 0.0), (-1.0, 1.0, 1.0), (1.0, 0.0, 0.0)])
def test_the_shares_follow_the_threshold(
    limit: float, same: float, others: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = SimpleNamespace(embedder_ids={"select": "a", "report": "b"}, threshold=lambda role: limit)
    monkeypatch.setattr(pack_verdicts, "resolve_pack", lambda name, quiet: pack)
    people = write_people(tmp_path / "people", {str(i): [(i, k) for k in range(5)] for i in range(6)})
    assert len(pack_verdicts.people_of(people, 5)) == 6 and pack_verdicts.people_of(people, 6) == []
    looked = look_at_people(
        pack_verdicts.linked(pack_verdicts.people_of(people, 5), tmp_path / "l"), open_made_up
    )
    rows = pack_verdicts.rows_of(looked, tmp_path)
    assert [(r.value, r.n) for r in rows] == [(same, 12), (others, 60)] * 2
    assert [r.at_most for r in rows] == [False, True] * 2
