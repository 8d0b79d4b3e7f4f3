"""`jobs` as a person meets it, in one queue from add to work."""

import functools
import json
import time
from pathlib import Path

import pytest

from portrait_lora import cli, strict_json
from portrait_lora.jobs import slots, words
from portrait_lora.jobs.job import Event, Job, JobState
from portrait_lora.jobs.queue import Queue
from tests.jobs.test_runner import CHILD

Captured = pytest.CaptureFixture[str]


def run(*words: object) -> int:
    return cli._run(functools.partial(cli.app, ["jobs", *map(str, words)]))


def test_a_queue_from_the_first_job_to_the_last(
    folder: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(slots, "CHILD", CHILD)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))

    def add(*more: object) -> str:
        assert run("add", "trivial", folder, *more, "--json") == 0
        return str(strict_json.parse_object(capsys.readouterr().out, "", "job")["id"])

    first = add("steps=2")
    bad = add("ends=badly", "steps=0", "--priority", 5)
    third = add("steps=1", "-s", "training.rank=8")
    assert run("move", third, "--before", bad) == 0
    order = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert order == [third, bad, first]
    assert run("cancel", third) == 0 and "cancelled" in capsys.readouterr().out
    assert run("resume", third) == 0
    assert f"Next: portrait-lora jobs watch {third}" in capsys.readouterr().out
    assert run("move", third, "--priority", -2) == 0 and "priority -2" in capsys.readouterr().out
    assert run("work", "--until-idle", "--device", "cpu", "--json") == 0
    counts = json.loads(capsys.readouterr().out)["counts"]
    assert (counts["succeeded"], counts["failed"], counts["queued"]) == (2, 1, 0)
    queue = Queue("studio")
    assert queue.get(bad).started < queue.get(first).started < queue.get(third).started  # type: ignore[operator]
    assert queue.get(third).arguments == {"steps": 1, "settings": ["training.rank=8"]}
    assert run("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80 and any(bad in line and "a bad end" in line for line in lines)
    assert run("list", "--state", "failed", "--json") == 0
    assert [job["id"] for job in json.loads(capsys.readouterr().out)["jobs"]] == [bad]
    assert run("show", first) == 0
    shown = capsys.readouterr().out
    assert "counted to 2" in shown and "exit code  0" in shown and "steps=2" in shown
    assert run("watch", first) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if "trivial 2/2" in line]
    assert run("watch", bad) == 2
    assert "a bad end: got 1; needed 2. Try another." in capsys.readouterr().err
    assert run("watch", first, "--json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[-1]["kind"] == "result" and events[-1]["data"]["result"]["steps"] == 2
    waiting = add()
    assert run("cancel", waiting) == 0 and run("watch", waiting) == 130
    assert run("cancel", first) == 0 and run("resume", first) == 2
    assert "cannot be resumed: got succeeded" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "code", "parts"),
    [
        ("list", 2, ("no jobs here", "jobs add")),
        ("show j1", 2, ("no jobs here",)),
        ("add trivail .", 2, ("unknown kind of job", "'trivial'")),
        ("add trivial . stepps=1", 2, ("unknown argument", "'steps'")),
        ("add trivial . steps", 2, ("not an argument", "ARG=VALUE")),
        ("add trivial . steps=many", 2, ("trivial: steps", "'many'")),
        ("add train .", 2, ("not a likeness folder", "portrait-lora init")),
        ("add trivial . --priority 1000", 2, ("not a priority",)),
        ("work --device ../x", 2, ("not a device",)),
    ],
)
def test_wrong_use(
    line: str,
    code: int,
    parts: tuple[str, ...],
    tmp_path: Path,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*line.split()) == code
    text = capsys.readouterr().err
    assert "Traceback" not in text and all(part in text for part in parts), text
    if line.startswith(("list", "show")):
        assert not (tmp_path / "studio").exists()


def test_whoever_stops_watching_does_not_stop_the_job(
    queue: Queue, folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queue.submit("trivial", folder)

    def stopped(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", stopped)
    assert run("watch", "--home", queue.home) == 130
    text = capsys.readouterr().err
    assert f"jobs cancel {job.id} --home" in text and queue.get(job.id).state == "queued"


def test_arguments_that_come_again_make_a_list() -> None:
    from portrait_lora.commands.jobs import _arguments

    values = _arguments(["prompts=as a pilot", "prompts=as a baker", "force=true", "best_of=3"])
    assert values == {"prompts": ["as a pilot", "as a baker"], "force": True, "best_of": 3}


def test_words_of_every_state_fit_80_columns() -> None:
    base = Job(
        "j" + "a" * 16, "generate", "/x/" + "a-very-long-name-" * 4, {}, JobState.QUEUED, priority=-100
    )
    progress = {"label": "portraits of the series", "done": 123.0, "total": 4567, "left_s": 86400.0}
    error = {"what": "the process of this job was ended from outside, most likely", "message": "m"}
    jobs = [
        base,
        *(
            Job(
                **{name: getattr(base, name) for name in ("id", "kind", "folder", "arguments")},
                state=state,
                progress=progress,
                error=error,
                started=1.0,
                ended=100.0,
                exit_code=1,
            )
            for state in JobState
        ),
    ]
    lines = words.table(jobs)
    assert max(map(len, lines)) == 80 and all("\n" not in line for line in lines)
    assert words.table([]) == ["No jobs."]
    assert words.bar({"stage": "train"}) == "train"
    assert words.bar(progress).startswith("portraits of the series 123/4567, 86400 s left")
    event = Event("j", 1, time.time(), "metric", {"name": "probe", "step": 4, "similarity": 0.123456})
    assert words.line(event) == "probe: step 4, similarity 0.1235"
