"""Files in pieces: gone on with after a broken line, whole only with the announced bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from portrait_lora.errors import InputError
from portrait_lora.web import resumable as module
from portrait_lora.web.problems import NotFound, TooLarge
from portrait_lora.web.resumable import Uploads, WrongOffset
from portrait_lora.web.store import Store

DATA = bytes(range(256)) * 40
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return Uploads(Store(tmp_path))


def test_pieces_make_the_file_also_when_an_answer_was_lost(uploads: Uploads) -> None:
    one = uploads.begin("anna", "p", "a.jpg", len(DATA), SHA)
    one = uploads.add(one, 0, DATA[:5000])
    again = uploads.add(one, 0, DATA[:5000])  # the answer was lost, and the piece comes again
    assert again.offset == 5000
    with pytest.raises(WrongOffset) as refused:
        uploads.add(again, 4000, b"x" * 2000)
    assert refused.value.offset == 5000
    with pytest.raises(WrongOffset):
        uploads.add(again, 0, b"other bytes")
    with pytest.raises(WrongOffset):
        uploads.whole(again)
    done = uploads.add(again, 5000, DATA[5000:])
    assert uploads.whole(done).read_bytes() == DATA
    uploads.remove(done)
    with pytest.raises(NotFound):
        uploads.get("anna", "p", one.id)


def test_other_bytes_than_announced_are_not_whole(uploads: Uploads) -> None:
    one = uploads.begin("anna", "p", "a.jpg", 4, SHA)
    with pytest.raises(TooLarge):
        uploads.add(one, 0, b"12345")
    with pytest.raises(InputError, match="damaged"):
        uploads.whole(uploads.add(one, 0, b"1234"))


def test_sizes_digests_and_numbers_have_limits(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (0, -1, 2 * 1024**3):
        with pytest.raises(TooLarge):
            uploads.begin("anna", "p", "a.jpg", size, SHA)
    with pytest.raises(InputError):
        uploads.begin("anna", "p", "a.jpg", 1, SHA.upper())
    monkeypatch.setattr(module, "MAX_OPEN", 2)
    for _ in range(2):
        uploads.begin("anna", "p", "a.jpg", 1, SHA)
    with pytest.raises(InputError, match="too many"):
        uploads.begin("anna", "p", "a.jpg", 1, SHA)
    uploads.begin("ben", "p", "a.jpg", 1, SHA)


def test_an_upload_is_its_owners_and_its_persons(uploads: Uploads) -> None:
    one = uploads.begin("anna", "p", "a.jpg", 1, SHA)
    for owner, person in (("ben", "p"), ("anna", "q")):
        with pytest.raises(NotFound):
            uploads.get(owner, person, one.id)


def test_yesterdays_uploads_end_by_themselves_and_a_forgotten_persons_at_once(
    uploads: Uploads, tmp_path: Path
) -> None:
    old = uploads.begin("anna", "p", "a.jpg", 1, SHA)
    with uploads._store.writing() as db:
        db.execute("UPDATE uploads SET created = created - 90000")
    new = uploads.begin("anna", "p", "b.jpg", 1, SHA)
    assert [one.id for one in uploads.list("anna", "p")] == [new.id]
    assert not (tmp_path / "uploads" / old.id).exists()
    uploads.forget("p")
    assert not uploads.list("anna", "p") and not (tmp_path / "uploads" / new.id).exists()
