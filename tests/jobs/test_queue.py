import functools
import json
import os
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from portrait_lora import cli
from portrait_lora.errors import ArtifactError, InputError, PortraitError
from portrait_lora.jobs import events, homes, slots, store
from portrait_lora.jobs.job import Job, JobState, reason
from portrait_lora.jobs.queue import Queue
from portrait_lora.jobs.starts import MOST_CRASHES


def ids(jobs: object) -> list[str]:
    return [job.id for job in jobs]  # pyright: ignore[reportGeneralTypeIssues]


def started(queue: Queue, device: str = "cpu") -> Job:
    job = queue.claim(device)
    assert job is not None
    return job


def test_a_job_is_what_was_put_in(queue: Queue, folder: Path) -> None:
    job = queue.submit("trivial", folder, {"steps": 5}, priority=3, owner="ann")
    assert job == queue.get(job.id)
    assert (job.kind, job.folder, job.arguments, job.state) == (
        "trivial",
        str(folder),
        {"steps": 5},
        "queued",
    )
    assert json.loads(json.dumps(job.json_value()))["owner"] == "ann" and len(job.id) == 17
    assert oct((queue.home / "jobs.sqlite").stat().st_mode & 0o777) == "0o600"
    assert oct((queue.home / "jobs.sqlite-wal").stat().st_mode & 0o777) == "0o600"


@pytest.mark.parametrize(
    ("kind", "arguments", "parts"),
    [
        ("trivail", {}, ("unknown kind of job", "Did you mean 'trivial'?")),
        ("trivial", {"stepps": 1}, ("unknown argument 'stepps'", "Did you mean 'steps'?")),
        ("trivial", {"steps": "1"}, ("trivial: steps", "'1'", "integer")),
        ("trivial", {"steps": -1}, ("trivial: steps", "-1", "greater than or equal to 0")),
        ("trivial", {"settings": ["trainning.rank=3"]}, ("trainning",)),
        ("trivial", {"settings": ["nonsense"]}, ("settings.0", "pattern")),
        ("finish", {"file": "x", "look": "a"}, ("likeness folder", "photos/")),
        ("finish", {"file": "x"}, ("finish: look", "an argument is missing")),
        ("fix", {"file": "a.png"}, ("either a region or a mask",)),
        ("fix", {"file": "a.png", "region": "eyes", "mask_png": "iVBO"}, ("either a region or a mask",)),
        ("fix", {"file": "a.png", "mask_png": "<svg>"}, ("mask_png", "pattern")),
        ("vary", {}, ("an argument is missing", "file")),
        ("vary", {"file": "/etc/passwd"}, ("vary: file", "inside the likeness folder")),
        ("vary", {"file": "portraits/../../x.png"}, ("vary: file", "inside the likeness folder")),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused(
    queue: Queue, folder: Path, kind: str, arguments: dict[str, object], parts: tuple[str, ...]
) -> None:
    with pytest.raises(InputError) as caught:
        queue.submit(kind, folder, arguments)
    assert all(part in str(caught.value) for part in parts), caught.value
    assert queue.counts()["queued"] == 0


def test_unknown_ids_devices_priorities_and_folders(queue: Queue, folder: Path) -> None:
    for call in (queue.get, queue.cancel, queue.resume, queue.move, queue.events):
        with pytest.raises(InputError, match="no such job"):
            call("j0")
    with pytest.raises(InputError, match="not a device"):
        queue.submit("trivial", folder, device="../gpu")
    with pytest.raises(InputError, match="-100 to 100"):
        queue.submit("trivial", folder, priority=101)
    with pytest.raises(InputError, match="no such folder"):
        queue.submit("trivial", folder / "gone")
    with pytest.raises(InputError, match="not a likeness folder"):
        queue.submit("train", folder)


def test_a_key_gives_the_same_job_and_never_another(queue: Queue, folder: Path) -> None:
    first = queue.submit("trivial", folder, {"steps": 1}, key="k", owner="ann")
    assert queue.submit("trivial", folder, {"steps": 1}, key="k", owner="ann") == first
    with pytest.raises(InputError, match="another job"):
        queue.submit("trivial", folder, {"steps": 2}, key="k", owner="ann")
    assert queue.submit("trivial", folder, {"steps": 2}, key="k", owner="bob").id != first.id
    assert queue.submit("trivial", folder).id != queue.submit("trivial", folder).id
    folder.rmdir()
    assert queue.submit("trivial", folder, {"steps": 1}, key="k", owner="ann").id == first.id


def test_many_threads_and_one_key(queue: Queue, folder: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        jobs = list(pool.map(lambda _: queue.submit("trivial", folder, key="k").id, range(24)))
    assert len(set(jobs)) == 1


def test_many_open_a_new_home_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: Queue(tmp_path / "home"), range(8)))
    assert {sum(queue.counts().values()) for queue in opened} == {0}


def test_order_priority_and_moving(queue: Queue, folder: Path) -> None:
    a, b, c, d = (queue.submit("trivial", folder, priority=p).id for p in (0, 0, 0, 5))
    assert ids(queue.waiting()) == [d, a, b, c]
    queue.move(c, before=a)
    assert ids(queue.waiting()) == [d, c, a, b]
    queue.move(a)
    assert ids(queue.waiting()) == [d, c, b, a]
    queue.move(b, before=d)
    assert ids(queue.waiting()) == [b, d, c, a] and queue.get(b).priority == 5
    queue.set_priority(b, -1)
    assert ids(queue.waiting()) == [d, c, a, b]
    queue.move(a, before=a)
    assert ids(queue.waiting()) == [d, c, a, b]
    assert started(queue).id == d
    with pytest.raises(InputError, match="not waiting"):
        queue.move(d)
    with pytest.raises(InputError, match="not waiting"):
        queue.move(a, before=d)


def test_one_job_of_a_folder_at_a_time_and_only_on_its_device(queue: Queue, tmp_path: Path) -> None:
    places = [tmp_path / name for name in "ab"]
    for place in places:
        place.mkdir()
    first = queue.submit("trivial", places[0]).id
    second = queue.submit("trivial", places[0]).id
    third = queue.submit("trivial", places[1], device="cuda:1").id
    beside = queue.submit("aside", places[0]).id
    queue.submit("aside", places[0])
    assert started(queue, "cuda:0").id == first
    assert queue.claim("cuda:0") is None
    assert started(queue, "cuda:1").id == third
    taken = queue.claim("aside", on_device=False)
    assert taken is not None and taken.id == beside
    assert queue.claim("aside", on_device=False) is None
    queue.finish(queue.get(first), JobState.SUCCEEDED, exit_code=0, result={"a": 1})
    assert started(queue, "cuda:0").id == second
    assert queue.get(first).result == {"a": 1} and queue.get(first).exit_code == 0


def test_no_job_is_started_twice(queue: Queue, tmp_path: Path) -> None:
    for i in range(40):
        (tmp_path / f"{i}").mkdir()
        queue.submit("trivial", tmp_path / f"{i}")
    taken: list[str] = []

    def take(device: int) -> None:
        other = Queue(queue.home)
        while job := other.claim(f"cuda:{device}"):
            taken.append(job.id)
        other.close()

    threads = [threading.Thread(target=take, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 40


def test_cancelling_and_resuming(queue: Queue, folder: Path) -> None:
    waiting = queue.submit("trivial", folder).id
    assert queue.cancel(waiting).state == "cancelled"
    assert queue.resume(waiting).state == "queued"
    job = started(queue)
    assert queue.cancel(job.id).cancel_requested and queue.get(job.id).state == "running"
    with pytest.raises(InputError, match="being cancelled"):
        queue.resume(job.id)
    over = queue.finish(job, JobState.INTERRUPTED, exit_code=130)
    assert over.state == "cancelled" and over.exit_code == 130
    again = queue.resume(job.id)
    assert again.state == "queued" and not again.cancel_requested and again.exit_code is None
    job = started(queue)
    assert queue.finish(job, JobState.SUCCEEDED, exit_code=0).state == "succeeded"
    assert queue.cancel(job.id).state == "succeeded"
    with pytest.raises(InputError, match="cannot be resumed"):
        queue.resume(job.id)


def test_only_the_latest_start_writes_the_outcome(queue: Queue, folder: Path) -> None:
    queue.submit("trivial", folder)
    old = started(queue)
    assert queue.recover("other") == [] and ids(queue.recover("cpu")) == [old.id]
    assert queue.get(old.id).state == "interrupted"
    assert not queue.record(old, [("log", {"text": "late"})], {})
    assert ids(queue.queue_interrupted("cpu")) == [old.id]
    new = started(queue)
    assert queue.finish(old, JobState.SUCCEEDED, exit_code=0).state == "running"
    assert queue.finish(new, JobState.FAILED, exit_code=1, error=reason("no")).state == "failed"
    assert queue.finish(new, JobState.SUCCEEDED, exit_code=0).state == "failed"


def test_what_was_to_be_cancelled_does_not_start_again(queue: Queue, folder: Path) -> None:
    job_id = queue.submit("trivial", folder).id
    started(queue)
    queue.cancel(job_id)
    queue.recover("cpu")
    assert queue.get(job_id).state == "cancelled" and queue.queue_interrupted("cpu") == []


def test_a_job_that_brings_the_machine_down_is_given_up(queue: Queue, folder: Path) -> None:
    job_id = queue.submit("trivial", folder).id
    for _ in range(MOST_CRASHES):
        started(queue)
        queue.recover("cpu")
        queue.queue_interrupted("cpu")
    job = queue.get(job_id)
    assert job.state == "failed" and "too often" in str((job.error or {})["message"])
    assert queue.resume(job_id).crashes == 0


def test_pages_of_jobs(queue: Queue, folder: Path, tmp_path: Path) -> None:
    mine = [queue.submit("trivial", folder, owner="ann").id for _ in range(5)]
    other = queue.submit("trivial", tmp_path, owner="bob").id
    page = ids(queue.list(owner="ann", limit=2))
    assert page == mine[:2:-1]
    assert ids(queue.list(owner="ann", after=page[-1])) == mine[2::-1]
    assert ids(queue.list(folder=tmp_path)) == [other]
    started(queue)
    assert ids(queue.list(states=["running"])) == [mine[0]]
    counts = queue.counts()
    assert (counts["queued"], counts["running"], sum(counts.values()), len(counts)) == (5, 1, 6, 6)


def test_a_clock_that_goes_backwards(tmp_path: Path, folder: Path) -> None:
    clock = [1000.0]
    queue = Queue(tmp_path / "home", now=lambda: clock[0])
    first = queue.submit("trivial", folder).id
    clock[0] = 500.0
    second = queue.submit("trivial", folder).id
    assert ids(queue.waiting()) == [first, second]
    job = started(queue)
    clock[0] = 1.0
    over = queue.finish(job, JobState.SUCCEEDED, exit_code=0)
    assert over.seconds == 0.0 and over.created <= (over.started or 0) <= (over.ended or 0)
    numbers = [e.number for e in queue.events(first)]
    assert numbers == sorted(numbers)


def test_events_are_bounded_and_keep_their_numbers(queue: Queue, folder: Path) -> None:
    queue.submit("trivial", folder)
    job = started(queue)
    for i in range(60):
        rows = [("progress", {"done": 60 * i + k}) for k in range(60)]
        assert queue.record(job, [*rows, ("log", {"text": f"line {i}"})], {"done": i})  # type: ignore[list-item]
    seen = queue.events(job.id, limit=10_000)
    kept = [e for e in seen if e.kind == "progress"]
    assert len(kept) <= events.MOST["progress"] + 60 and kept[-1].data == {"done": 3599}
    assert len([e for e in seen if e.kind == "log"]) == 60
    assert kept[0].data["done"] < 60 and [e.number for e in seen] == sorted({e.number for e in seen})  # type: ignore[operator]
    assert [e.number for e in queue.events(job.id, after=seen[-2].number)] == [seen[-1].number]
    queue.finish(job, JobState.SUCCEEDED, exit_code=0, result={})
    last = queue.events(job.id, limit=10_000)
    assert len(last) < 250 and last[-1].kind == "result" and last[-1].number > seen[-1].number
    assert queue.get(job.id).progress == {"done": 59}
    queue.prune(keep=1)
    assert len(queue.events(job.id, limit=10_000)) == len(last)
    queue.prune(keep=0)
    assert {e.kind for e in queue.events(job.id)} == {"state", "result"}


def test_waiting_for_a_job(queue: Queue, folder: Path) -> None:
    job_id = queue.submit("trivial", folder).id
    assert queue.wait(job_id, 0.05).state == "queued"
    threading.Timer(0.05, lambda: queue.cancel(job_id)).start()
    assert queue.wait(job_id, 30).state == "cancelled"


def test_forgetting_leaves_no_byte_of_a_name(queue: Queue, tmp_path: Path) -> None:
    anna, bert = tmp_path / "anna-secret", tmp_path / "bert"
    for place in (anna, bert):
        place.mkdir()
    queue.submit("trivial", anna, {"ends": "well"}, owner="x")
    job = started(queue)
    queue.record(job, [("log", {"text": f"reading {anna}/photos"})], {})
    with pytest.raises(InputError, match="is running"):
        queue.forget(anna)
    queue.finish(job, JobState.SUCCEEDED, exit_code=0, result={"folder": str(anna)})
    queue.submit("compare", bert, {"other": str(anna)})
    kept = queue.submit("trivial", bert).id
    assert queue.forget(anna) == 2
    assert ids(queue.list()) == [kept]
    for file in queue.home.iterdir():
        assert b"anna-secret" not in file.read_bytes(), file
    with queue.store.reading() as db:  # until that is done, pages that were let go of are overwritten
        assert next(iter(db.execute("PRAGMA secure_delete")))[0] == 1


def test_forgetting_takes_nothing_of_one_whose_name_begins_alike(queue: Queue, tmp_path: Path) -> None:
    names = ("bo", "bo-ray", "bo_2", "bo.old", "boris")
    for name in (*names, "anna"):
        (tmp_path / name / "photos").mkdir(parents=True)

    def shard(*people: str) -> str:
        folders = [str((tmp_path / name).resolve()) for name in people]
        arguments = {"people": folders, "worker": "w", "device": "cpu"}
        return queue.submit("shard", folders[0], arguments).id

    jobs = {name: shard(name) for name in names}
    shared = shard("anna", "bo")
    assert queue.forget(tmp_path / "bo") == 2
    left = {job.id for job in queue.waiting()}
    assert left == {jobs[name] for name in names if name != "bo"}
    assert shared not in left


def test_forgetting_that_was_stopped_before_its_end_is_gone_on_with(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = tmp_path / "anna-secret"
    anna.mkdir()
    queue.submit("trivial", anna)
    with monkeypatch.context() as patch:
        patch.setattr(queue.store, "clean", lambda: None)
        assert queue.forget(anna) == 1
    assert any(b"anna-secret" in file.read_bytes() for file in queue.home.iterdir())
    assert queue.forget(anna) == 0
    assert not any(b"anna-secret" in file.read_bytes() for file in queue.home.iterdir())


def test_a_damaged_queue_and_one_of_later_or_other_programs(tmp_path: Path, folder: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    file = home / "jobs.sqlite"
    file.write_bytes(b"this is no database " * 100)
    with pytest.raises(ArtifactError, match=r"the queue is damaged.*likeness folders"):
        Queue(home)
    assert file.read_bytes().startswith(b"this is no database")
    file.unlink()
    Queue(home).close()
    db = sqlite3.connect(file)
    db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(ArtifactError, match=r"later version.*version 99"):
        Queue(home)
    file.unlink()
    db = sqlite3.connect(file)
    db.execute("CREATE TABLE theirs (x)")
    db.close()
    with pytest.raises(InputError, match="another program"):
        Queue(home)


def test_a_page_of_the_file_overwritten(queue: Queue, folder: Path) -> None:
    for _ in range(50):
        queue.submit("trivial", folder)
    queue.store.clean()
    queue.close()
    file = queue.home / "jobs.sqlite"
    with file.open("r+b") as stream:
        stream.seek(4096)
        stream.write(os.urandom(file.stat().st_size - 4096))
    with pytest.raises(ArtifactError, match="damaged"):
        ids(Queue(queue.home).list())


def test_a_full_disk_is_a_clear_error_and_nothing_is_half_there(queue: Queue, folder: Path) -> None:
    with queue.store.reading() as db:
        pages = next(iter(db.execute("PRAGMA page_count")))[0]
        db.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(PortraitError, match="the disk is full"):
        for _ in range(500):
            queue.submit("trivial", folder)
    with queue.store.reading() as db:
        db.execute("PRAGMA max_page_count=100000")
    before = queue.counts()["queued"]
    queue.submit("trivial", folder)
    assert queue.counts()["queued"] == before + 1


def test_a_home_that_cannot_be_written_and_one_that_goes_away(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError):
        Queue(tmp_path / "file")
    queue = Queue(tmp_path / "home")
    for file in queue.home.iterdir():
        file.unlink()
    with pytest.raises(ArtifactError, match="removed"):
        queue.submit("trivial", folder)


def test_a_fork_opens_its_own_connection(queue: Queue, folder: Path) -> None:
    job_id = queue.submit("trivial", folder).id
    child = os.fork()
    if not child:
        os._exit(0 if queue.get(job_id).id == job_id and queue.submit("trivial", folder).id else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert queue.counts()["queued"] == 2


def test_a_second_queue_of_a_process_takes_no_locks_away_from_the_first(queue: Queue) -> None:
    """Closing a file lets go of all locks of the process on it; others then work beside SQLite's back."""
    code = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+b'), 6, 512, 1 << 30)  # EX and NB"

    def is_locked() -> bool:
        command = [sys.executable, "-c", code, str(queue.store.path)]
        return subprocess.run(command, stderr=subprocess.DEVNULL).returncode != 0

    queue.list()
    assert is_locked()
    Queue(queue.home).list()
    assert is_locked()


def test_forget_takes_the_jobs_of_the_person_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "studio"
    person = home / "people" / "anna-secret"
    (person / "photos").mkdir(parents=True)
    (person / "photos" / "a.jpg").write_bytes(b"no picture")
    queue = Queue(home)
    queue.submit("trivial", person)
    kept = queue.submit("trivial", tmp_path).id
    words = ["forget", str(person), "--photos", "--yes"]
    job = started(queue)
    assert cli._run(functools.partial(cli.app, words)) == 2
    assert f"jobs cancel {job.id}" in capsys.readouterr().err and (person / "photos" / "a.jpg").exists()
    queue.finish(job, JobState.CANCELLED, exit_code=130)
    assert cli._run(functools.partial(cli.app, words)) == 0
    assert "removed from the queue: 1" in capsys.readouterr().err
    assert ids(queue.list()) == [kept]
    assert not any(b"anna-secret" in file.read_bytes() for file in home.iterdir() if file.is_file())
    (tmp_path / "jobs.sqlite").write_bytes(b"of something else" * 99)
    assert homes.forget_jobs(person) == 0  # names the damaged one, and goes on


def test_changes_of_a_batch_under_one_cursor(queue: Queue, folder: Path) -> None:
    first = queue.submit("trivial", folder, batch="b", threads=2)
    other = queue.submit("trivial", folder, batch="c")
    second = queue.submit("trivial", folder, batch="b")
    assert [(j.id, j.threads) for j in queue.changes(0, batch="b")] == [(first.id, 2), (second.id, 0)]
    cursor = queue.changes(0, batch="b")[-1].changed
    assert not queue.changes(cursor, batch="b")
    job = started(queue)
    assert job.id == first.id
    assert [j.state for j in queue.changes(cursor, batch="b")] == ["running"]
    queue.record(job, [("progress", {"stage": "train"})], {"stage": "train"})
    changed = queue.changes(cursor, batch="b")
    assert [j.progress for j in changed] == [{"stage": "train"}]
    queue.cancel(second.id)
    assert [j.id for j in queue.changes(changed[-1].changed, batch="b")] == [second.id]
    assert [j.id for j in queue.list(batch="c")] == [other.id]


def test_a_cursor_stays_good_when_jobs_are_forgotten(queue: Queue, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        queue.submit("trivial", tmp_path / name, batch="b")
    cursor = queue.changes(0, batch="b")[-1].changed
    queue.forget(tmp_path / "b")
    queue.cancel(queue.list(batch="b")[0].id)
    assert [j.state for j in queue.changes(cursor, batch="b")] == ["cancelled"]


def test_seconds_on_the_device_add_up_over_starts(tmp_path: Path, folder: Path) -> None:
    clock = [100.0]
    queue = Queue(tmp_path / "clocked", now=lambda: clock[0])
    job = queue.submit("trivial", folder)
    for seconds in (5.0, 7.0):
        begun = started(queue)
        clock[0] += seconds
        queue.finish(begun, JobState.FAILED, exit_code=1)
        clock[0] += 1000.0
        queue.resume(job.id)
    assert queue.cancel(job.id).device_seconds == 12.0


def test_a_queue_of_the_first_version_is_brought_up(tmp_path: Path, folder: Path) -> None:
    home = tmp_path / "old"
    home.mkdir()
    with sqlite3.connect(home / "jobs.sqlite") as db:
        db.executescript(store._SCHEMA + "PRAGMA application_id=1347177041; PRAGMA user_version=1;")
        db.execute(
            "INSERT INTO jobs (id, kind, folder, arguments, state, priority, place, device, on_device, "
            "owner, body, created) VALUES ('jold', 'trivial', ?, '{}', 'queued', 0, 1, '', 1, '', '', 1.0)",
            [str(folder)],
        )
    queue = Queue(home)
    assert (queue.get("jold").batch, queue.get("jold").device_seconds) == ("", 0.0)
    assert started(queue).id == "jold" and queue.changes(0)[0].id == "jold"
    assert Queue(home).submit("trivial", folder, batch="b").batch == "b"


def test_the_environment_of_a_device_and_of_so_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert slots.environment("auto") is None
    limited = slots.environment("auto", 2) or {}
    assert (limited["OMP_NUM_THREADS"], limited["CUDA_VISIBLE_DEVICES"]) == ("2", "4,6")
    assert (slots.environment("cpu:1", 3) or {})["CUDA_VISIBLE_DEVICES"] == ""
    assert (slots.environment("cuda:1") or {})["CUDA_VISIBLE_DEVICES"] == "6"
