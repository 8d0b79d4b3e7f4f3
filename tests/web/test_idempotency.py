"""Idempotency-Key, pages of lists, and numbers of open streams."""

from __future__ import annotations

from pathlib import Path

import pytest

from portrait_lora.errors import InputError
from portrait_lora.web import paging
from portrait_lora.web.idempotency import Answer, KeyReused, Keys, StillWorking, fingerprint
from portrait_lora.web.problems import TooMany
from portrait_lora.web.store import Store
from portrait_lora.web.streams import Held

ANSWER = Answer(202, (("location", "/v1/jobs/j1"),), b"{}")


def test_the_first_answer_comes_again_for_the_same_request_alone(tmp_path: Path) -> None:
    keys = Keys(Store(tmp_path))
    same, other = fingerprint("POST", "/x", b"a"), fingerprint("POST", "/x", b"b")
    assert keys.begin("anna", "k", same) is None
    with pytest.raises(StillWorking):
        keys.begin("anna", "k", same)
    keys.finish("anna", "k", ANSWER)
    assert keys.begin("anna", "k", same) == ANSWER
    with pytest.raises(KeyReused):
        keys.begin("anna", "k", other)
    assert keys.begin("ben", "k", other) is None


def test_a_failed_request_frees_its_key_and_a_dead_one_after_a_minute(tmp_path: Path) -> None:
    keys = Keys(Store(tmp_path))
    assert keys.begin("anna", "k", "1") is None
    keys.release("anna", "k")
    assert keys.begin("anna", "k", "2") is None
    with keys._store.writing() as db:
        db.execute("UPDATE idempotency SET created = created - 61")
    assert keys.begin("anna", "k", "2") is None
    with keys._store.writing() as db:
        db.execute("UPDATE idempotency SET created = created - 90000")
    assert keys.begin("anna", "k", "3") is None


def test_parts_of_a_request_do_not_run_together() -> None:
    assert fingerprint("POST", "/ab", b"c") != fingerprint("POST", "/a", b"bc")


def test_pages_hold_every_row_once_also_when_rows_come_and_go() -> None:
    rows = [f"{n:03d}" for n in range(25)]
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        some, cursor = paging.page(rows, str, cursor, 10)
        seen += some
        rows = [row for row in rows if row != "001"] + ["0000"]  # before the cursor: shifts nothing
    assert seen == [f"{n:03d}" for n in range(25)]
    for wrong in ("%", "a", "\u00e4", "____"):
        with pytest.raises(InputError, match="not a cursor"):
            paging.decode(wrong)


def test_streams_are_counted_by_user() -> None:
    held = Held(2, "streams")
    held.open("anna")
    with held.one("anna"):
        with pytest.raises(TooMany):
            held.open("anna")
        held.open("ben")
    held.open("anna")
