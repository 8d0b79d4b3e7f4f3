"""One person of a fleet forgotten: nothing of them is left anywhere, and everything of the others is."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Final

import pytest

from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.fleet import deliver, enrolment, forgotten, mails, page, same_person, standing
from portrait_lora.fleet import forget as forgetting
from portrait_lora.fleet.enrol import enrol
from portrait_lora.fleet.home import FleetHome
from portrait_lora.fleet.roster import Roster
from portrait_lora.fleet.same_person import Answers, Comparison, Pair
from portrait_lora.fleet.standing import PersonCheck, Question, RosterCheck, Standing
from portrait_lora.jobs.queue import Queue
from portrait_lora.likeness import photo_files
from portrait_lora.tasks.shard import files, plan
from portrait_lora.tasks.shard.records import PersonState
from portrait_lora.web.audit import Audit
from portrait_lora.web.services import favourites
from portrait_lora.web.store import Store
from portrait_lora.web.studio import Studio
from portrait_lora.web.users import OWNER
from tests.fleet.delivered import accepted, copied
from tests.fleet.folders import SETTINGS, listed, picture, pictures

NAMES: Final = ("Zsófia Kőrösi", "Zsófia Kőrösi-Bálint", "Quirin Vox")
"""The first name is part of the second."""


@pytest.fixture
def roster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Roster:
    """Three people in every place where a fleet and a studio keep something of people; in `home`."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    rows = []
    for number, name in enumerate(NAMES):
        pictures(tmp_path / f"p{number}", 3, 100 * number)
        rows.append(f"{name},p{number},,{SETTINGS}")
    (tmp_path / "rosters").mkdir()
    read = listed(tmp_path / "rosters", [row.replace(",p", ",../p") for row in rows])
    home = tmp_path / "home"
    monkeypatch.setattr("portrait_lora.rights.consent.photographs", lambda photos: [])
    accepted(read, home, monkeypatch, make=lambda path, seed: picture(path, 1000 + seed))
    monkeypatch.setattr("portrait_lora.generation.publish.publish", copied)
    people = {entry.person: entry.settings for entry in read.entries}
    plan.write(home, plan.FleetPlan(roster=str(read.path), roster_sha256=read.sha256, people=people))
    fleet, queue, audit = FleetHome(home), Queue(home), Audit(home / "audit.jsonl")
    for entry in read.entries:
        _fill(fleet, queue, audit, entry.person)
    queue.close()
    _reports(read, home)
    deliver.publish(read, home, tmp_path / "out")
    deliver.publish(read, home, tmp_path / "zips", archives=True)
    return read


def _fill(fleet: FleetHome, queue: Queue, audit: Audit, person: str) -> None:
    home, folder = fleet.path, fleet.folder(person)
    fleet.note(person, "started", state=PersonState.RUNNING, worker="w", reason=f"for {person}")
    job = queue.submit("shard", folder, {"people": [str(folder.resolve())], "worker": "w", "device": "cpu"})
    queue.cancel(job.id)
    audit.note(
        user="owner", client="", method="GET", route="/people/{person}", ids={"person": person}, status=200
    )
    favourites.mark(home, person, "portraits/headshots/00.png", True)
    adapter = folder / "adapters" / "default" / "adapter.safetensors"
    adapter.parent.mkdir(parents=True)
    adapter.write_bytes(hashlib.sha512(person.encode()).digest() * 40)
    for name in ("kept", "judged", "sync"):
        place = home / name / person
        place.mkdir(parents=True)
        (place / "x.json").write_text(json.dumps({"person": person}))
    with Store(home).writing() as db:
        body = json.dumps({"id": person}).encode()
        db.execute("INSERT INTO idempotency VALUES (?, ?, ?, 0, 200, '{}', ?)", ("owner", person, "f", body))


def _reports(read: Roster, home: Path) -> None:
    people = [
        PersonCheck(person=e.person, name=e.name, line=e.line, standing=Standing.NEEDS_PHOTOS)
        for e in read.entries
    ]
    first, second = sorted(e.person for e in read.entries)[-2:]
    names = {e.person: e.name for e in read.entries}
    question = Question(
        people=(first, second), names=(names[first], names[second]), similarity=0.7, threshold=0.6
    )
    rows = tuple(mails.written(home, row, read) for row in people)
    check = RosterCheck(roster=str(read.path), home=str(home), on="", people=rows, questions=(question,))
    standing.write(home, check)
    page.write(home, check)
    for name in ("people.csv", "fleet.html", "team/sheet.txt"):
        path = home / "reports" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(NAMES))
    pair = Pair(people=(first, second), similarity=0.7)
    digests = dict.fromkeys(names, "d")
    compared = Comparison(pack="p", threshold=0.6, people=digests, pairs=(pair,))
    (home / same_person.COMPARED).write_text(json.dumps(compared.model_dump(mode="json")))
    answers = Answers(same_person=((first, second),))
    (home / same_person.ANSWERS).write_text(json.dumps(answers.model_dump(mode="json")))


def traces(place: Path, person: str, name: str, digests: list[str]) -> list[str]:
    """Files whose path or bytes know a person, in any spelling; the longer name of a colleague aside."""
    longer = [other.encode() for other in NAMES if name in other and other != name]
    longer += [json.dumps(other)[1:-1].encode() for other in NAMES if name in other and other != name]
    longer += [b"zsofia-korosi-balint"]
    words = [name.encode(), json.dumps(name)[1:-1].encode(), person.encode(), *(d.encode() for d in digests)]
    known: list[str] = []
    for path in sorted(p for p in place.rglob("*") if p.is_file()):
        data = path.read_bytes() + str(path.relative_to(place)).encode()
        for other in longer if person.encode() not in longer else []:
            data = data.replace(other, b"")
        known += [str(path.relative_to(place)) for word in words if word in data]
    return known


def digests_of(home: Path, person: str) -> list[str]:
    return [
        hashlib.sha256(p.read_bytes()).hexdigest() for p in photo_files(files.folder(home, person) / "photos")
    ]


def test_no_byte_of_a_person_is_left(roster: Roster, tmp_path: Path) -> None:
    home = tmp_path / "home"
    gone, colleague, other = (entry.person for entry in roster.entries)
    digests = digests_of(home, gone)
    before = {
        p: p.read_bytes()
        for place in (colleague, other)
        for p in (home / "people" / place).rglob("*")
        if p.is_file()
    }
    places = (home, tmp_path / "out", tmp_path / "zips", tmp_path / "state")
    assert all(traces(place, gone, NAMES[0], digests) for place in places[:3])  # the search itself works
    receipt = forgetting.forget(roster, home, NAMES[0])
    assert [traces(place, gone, NAMES[0], digests) for place in places] == [[], [], [], []]
    assert (receipt.jobs, receipt.delivered, receipt.roster_line) == (1, 3, 2)
    assert receipt.files["photos"] == 3
    assert receipt.bytes["photos"] > 0
    # and the others have everything
    assert all(path.read_bytes() == data for path, data in before.items())
    fleet = FleetHome(home)
    assert set(fleet.plan.people) == {colleague, other}
    assert set(files.records(home)) == {colleague, other}
    assert [event.person for event in fleet.events() if event.person] == [colleague, other]
    assert [one.id for one in Studio(home).people(OWNER)] == [other, colleague]
    checked = standing.read(home)
    assert checked is not None
    assert [one.person for one in checked.people] == [colleague, other]
    assert NAMES[1] in (home / page.FILE).read_text()
    assert mails.file_of(home, other).is_file()
    assert favourites.read(home, other)
    with Store(home).reading() as db:
        assert [row[0] for row in db.execute("SELECT key FROM idempotency ORDER BY key")] == sorted(
            [other, colleague]
        )
    assert len((home / "audit.jsonl").read_text().splitlines()) == 3  # that something was done stays
    queue = Queue(home)
    assert len(queue.list(limit=10)) == 2
    queue.close()
    assert [one.is_forgotten for one in enrol(roster, home)] == [True, False, False]
    assert not files.folder(home, gone).exists()


def test_the_colleague_of_the_longer_name_too(roster: Roster, tmp_path: Path) -> None:
    home, person = tmp_path / "home", roster.entries[1].person
    digests = digests_of(home, person)
    forgetting.forget(roster, home, person)
    assert traces(home, person, NAMES[1], digests) == []
    assert files.read(home, roster.entries[0].person) is not None


@pytest.mark.parametrize("place", ["deliver.forget", "same_person.forget", "page.write", "enrolment.file_of"])
def test_stopped_anywhere_it_goes_on(
    roster: Roster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    home, gone = tmp_path / "home", roster.entries[0].person
    digests = digests_of(home, gone)

    class Killed(BaseException):
        pass

    def kill(*_: object) -> Path:
        raise Killed

    owner, name = place.split(".")
    modules = {"deliver": deliver, "same_person": same_person, "page": page, "enrolment": enrolment}
    with monkeypatch.context() as patch:
        if place == "enrolment.file_of":
            real = enrolment.file_of
            patch.setattr(
                forgetting.enrolment,
                name,
                lambda h, p: kill() if not files.folder(h, p).exists() else real(h, p),
            )
        else:
            patch.setattr(modules[owner], name, kill)
        with pytest.raises(Killed):
            forgetting.forget(roster, home, gone)
    forgetting.forget(roster, home, gone)
    assert traces(home, gone, NAMES[0], digests) == []
    assert traces(tmp_path / "out", gone, NAMES[0], digests) == []


def test_who_left_the_roster_can_be_forgotten_by_name(roster: Roster, tmp_path: Path) -> None:
    shorter = listed(tmp_path / "rosters", [f"Quirin Vox,../p2,,{SETTINGS}"])
    receipt = forgetting.forget(shorter, tmp_path / "home", NAMES[0])
    assert receipt.roster_line is None
    with pytest.raises(InputError, match="nobody of that name"):
        forgetting.forget(shorter, tmp_path / "home", NAMES[0])


def test_not_while_somebody_is_at_work(roster: Roster, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with FleetHome(home).lead(), pytest.raises(InputError, match="at work already"):
        forgetting.forget(roster, home, NAMES[0])
    held = files.hold(home, roster.entries[0].person)
    assert held is not None
    with held, pytest.raises(InputError, match="somebody is working on this person"):
        forgetting.forget(roster, home, NAMES[0])
    assert files.folder(home, roster.entries[0].person).is_dir()
    assert forgotten.those_of(home, roster) == set()


def test_other_places_are_asked_first_and_their_refusal_ends_nothing_silently(
    roster: Roster, tmp_path: Path
) -> None:
    home, gone = tmp_path / "home", roster.entries[0].person

    def refuse(person: str) -> tuple[int, int]:
        raise InputError("the store refuses", where=person)

    with pytest.raises(InputError, match=f"{gone}: the store refuses"):
        forgetting.forget(roster, home, NAMES[0], elsewhere=refuse)
    assert len(photo_files(files.folder(home, gone) / "photos")) == 3
    receipt = forgetting.forget(roster, home, NAMES[0], elsewhere=lambda person: (len(person), 2))
    assert (receipt.objects, receipt.nodes) == (len(gone), 2)


def test_words_of_others_are_no_trace_and_those_of_a_log_are(tmp_path: Path) -> None:
    from portrait_lora.fleet import traces as marks

    word = tmp_path / "people/bo/captions.csv"
    word.parent.mkdir(parents=True)
    word.write_text("a.jpg,under a rose, smiling")
    assert marks.left(tmp_path, "rose", ["ab" * 32]) == []
    word.write_text(f"a.jpg,{'ab' * 32}")
    assert marks.left(tmp_path, "rose", ["ab" * 32]) == [word]
    word.unlink()
    log = tmp_path / "log"
    for line in ("rose: lost", "see 'rose'", "(rose)", "people/rose/photos", "[rose]"):
        log.write_text(line)
        assert marks.left(tmp_path, "rose", []) == [log], line
        marks.blank_lines(log, marks.pattern("rose", []))
        assert marks.left(tmp_path, "rose", []) == [], line
    log.write_text("rose-lee, tuberose, rosemary, old_rose")
    assert marks.left(tmp_path, "rose", []) == []


def test_what_is_left_is_an_error_that_names_it(roster: Roster, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "mine.txt").write_text(f"see people/{roster.entries[0].person}/photos")
    with pytest.raises(ArtifactError, match=r"mine\.txt: something of the person is left"):
        forgetting.forget(roster, home, NAMES[0])


@pytest.mark.parametrize(
    "file", [standing.FILE, "answers.json", "compared.json", "studio.json", "fleet.json"]
)
def test_a_damaged_file_does_not_keep_anybody(roster: Roster, tmp_path: Path, file: str) -> None:
    home, gone = tmp_path / "home", roster.entries[0].person
    digests = digests_of(home, gone)
    path = home / file
    path.write_bytes(path.read_bytes().rstrip()[:-1] + b', "later": 1')
    forgetting.forget(roster, home, gone)
    known = [name for name in traces(home, gone, gone, digests) if not name.startswith("reports/")]
    assert known == []
    assert files.read(home, roster.entries[1].person) is not None


def test_a_photo_that_two_have_is_no_trace_of_one(tmp_path: Path) -> None:
    pictures(tmp_path / "a")
    read = listed(tmp_path, [f"Anna Lee,a,,{SETTINGS}", f"Bo,a,,{SETTINGS}"])
    enrol(read, tmp_path / "home")
    forgetting.forget(read, tmp_path / "home", "bo")
    assert len(photo_files(files.folder(tmp_path / "home", "anna-lee") / "photos")) == 3


def test_rows_of_any_database_are_found(tmp_path: Path) -> None:
    from portrait_lora.fleet import traces as marks

    path = tmp_path / "x.sqlite"
    with sqlite3.connect(path) as db:
        db.execute('CREATE TABLE "odd ""name" (a TEXT, "b c" BLOB, n REAL)')
        rows = [("bo", b"1", 0.5), ("x", b'{"id": "bo"}', None), ("bonn", b'"bo-2"', 1.0), (None, None, None)]
        db.executemany('INSERT INTO "odd ""name" VALUES (?, ?, ?)', rows)
    assert marks.clean_database(path, marks.pattern("bo", [])) == 2
    with sqlite3.connect(path) as db:
        assert [row[0] for row in db.execute('SELECT a FROM "odd ""name"')] == ["bonn", None]
