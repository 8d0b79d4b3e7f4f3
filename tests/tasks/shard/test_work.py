import datetime as dt
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from portrait_lora import recipe
from portrait_lora.errors import InputError, Interrupted
from portrait_lora.fleet.home import FleetHome
from portrait_lora.rights import consent
from portrait_lora.tasks.shard import files, identity, plan, work
from portrait_lora.tasks.shard.acceptance import Rule
from portrait_lora.tasks.shard.records import PersonRecord
from tests.fleet.made_up import adapter_of, make_home, run_together

Make = Callable[..., FleetHome]


@pytest.fixture(autouse=True)
def _quick_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "run_together", run_together)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def one(behaviour: Any = None, people: tuple[str, ...] = ("anna",), **of_plan: Any) -> FleetHome:
        return make_home(tmp_path / "home", people, {"anna": behaviour or {}}, **of_plan)

    return one


def do(home: FleetHome, *people: str) -> PersonRecord:
    """Work on them; the record of the first."""
    return work.work(home.path, people or ("anna",), worker="w", device="cpu")[0]


def starts(home: FleetHome) -> int:
    return len((home.folder("anna") / "starts").read_text())


def test_what_is_done_is_not_done_again(make: Make) -> None:
    home, seen = make(), list[PersonRecord]()
    done = work.work(home.path, ["anna"], worker="w", device="cpu", on_change=seen.append)[0]
    assert (done.state, done.tries, done.reason) == ("succeeded", 1, "")
    assert done.adapter_sha256 == hashlib.sha256(adapter_of(home.folder("anna"))).hexdigest()
    start = done.starts[0]
    assert (start.ended, start.worker, start.device, start.steps) == ("succeeded", "w", "cpu", 20)
    assert start.stages == ("check", "prepare", "train", "select", "generate", "score")
    assert [r.state for r in seen] == ["waiting", *["running"] * 7, "succeeded"]
    assert done.figures is not None and done.figures.share_of_ceiling == 0.9
    assert files.read(home.path, "anna") == done == do(home) and starts(home) == 1


def test_other_photos_or_settings_are_other_work_and_what_was_paid_for_stays(make: Make) -> None:
    home = make()
    first = do(home)
    (home.folder("anna") / "photos" / "b.txt").write_text("another")
    second = do(home)
    assert second.digest != first.digest and second.adapter_sha256 != first.adapter_sha256
    assert len(second.starts) == 2 and len(second.present) == 1 and second.device_s >= first.device_s
    plan.write(home.path, home.plan.model_copy(update={"people": {"anna": ("seed=3",)}}))
    third = do(home)
    assert third.adapter_sha256 not in (first.adapter_sha256, second.adapter_sha256) and starts(home) == 3


def test_an_adapter_that_is_gone_is_made_again(make: Make) -> None:
    home = make()
    first = do(home)
    (home.folder("anna") / "adapters" / "main" / "adapter.safetensors").write_bytes(b"another")
    again = do(home)
    assert (again.state, again.adapter_sha256, starts(home)) == ("succeeded", first.adapter_sha256, 2)


def test_a_second_try_has_another_seed_and_then_photos_are_asked_for(make: Make) -> None:
    home = make({"share": 0.2})
    first = do(home)
    assert (first.state, first.tries, first.starts[-1].ended) == ("waiting", 2, "refused")
    assert first.settings and first.settings[0].startswith("seed=") and "share of the ceiling" in first.reason
    second = do(home)
    assert (second.state, second.adapter_sha256 == first.adapter_sha256) == ("needs_photos", False)
    assert second.advice and second.failures == 0
    assert do(home) == second and starts(home) == 2
    (home.folder("anna") / "photos" / "b.txt").write_text("another")
    third = do(home)
    assert (third.state, third.tries, third.settings and third.settings[0]) == (
        "waiting",
        2,
        first.settings[0],
    )


def test_another_rule_judges_anew_without_training(make: Make) -> None:
    home = make({"share": 0.4}, acceptance=Rule(tries=1))
    assert do(home).state == "needs_photos"
    plan.write(home.path, home.plan.model_copy(update={"acceptance": Rule(share_of_ceiling=0.3)}))
    assert do(home).state == "succeeded" and starts(home) == 1
    plan.write(home.path, home.plan.model_copy(update={"acceptance": Rule(verified_rate=1.0, tries=1)}))
    assert do(home).state == "needs_photos" and starts(home) == 1


def test_failed_twice_is_set_aside_with_the_reason(make: Make) -> None:
    home = make({"ends": {"1": "badly", "2": "oddly"}})
    first = do(home)
    assert (first.state, first.failures) == ("waiting", 1) and "a bad end" in first.reason
    second = do(home)
    assert (second.state, second.failures) == ("set_aside", 2) and "nobody expected this" in second.reason
    assert second.starts[-1].error is not None and do(home) == second and starts(home) == 2


def test_one_failure_is_followed_by_success(make: Make) -> None:
    home = make({"ends": {"1": "oddly"}})
    assert [do(home).state, do(home).state] == ["waiting", "succeeded"]


def test_a_stop_is_no_failure(make: Make) -> None:
    home = make({"ends": {str(n): "stopped" for n in range(1, 6)}})
    for _ in range(5):
        with pytest.raises(Interrupted):
            do(home)
        record = files.read(home.path, "anna")
        assert record is not None and (record.state, record.failures) == ("waiting", 0)
        assert record.starts[-1].ended == "interrupted"
    assert do(home).state == "succeeded"


def test_a_full_disk_is_the_workers_fault(make: Make) -> None:
    home = make({"ends": {str(n): "full" for n in range(1, 4)}})
    for _ in range(3):
        record = do(home)
        assert (record.state, record.failures, record.starts[-1].is_fault_of_worker) == ("waiting", 0, True)
        assert "the disk is full" in record.reason
    assert do(home).state == "succeeded"


def test_too_few_photos_are_asked_for_at_once(make: Make) -> None:
    home = make({"ends": {"1": "photos"}})
    record = do(home)
    assert record.state == "needs_photos" and "too few photos" in record.reason


def test_no_photos_at_all_and_settings_that_cannot_be_read(make: Make) -> None:
    home = make(people=("anna", "bob"))
    (home.folder("anna") / "photos" / "a.txt").unlink()
    (home.folder("anna") / "photos").rmdir()
    (home.folder("bob") / "likeness.yaml").write_text("training:\n  rnk: 3\n")
    anna, bob = work.work(home.path, ["anna", "bob"], worker="w")
    assert anna.state == "needs_photos" and "not a likeness folder" in anna.reason
    assert bob.state == "set_aside" and "rnk" in bob.reason
    (home.folder("bob") / "likeness.yaml").unlink()
    assert do(home, "bob").state == "succeeded"


def test_whoever_is_held_by_another_is_left_alone(make: Make) -> None:
    home = make(people=("anna", "bob"))
    held = files.hold(home.path, "anna")
    assert held is not None
    anna, bob = work.work(home.path, ["anna", "bob"], worker="w")
    assert (anna.state, anna.starts, bob.state) == ("running", (), "succeeded")
    held.release()
    assert do(home).state == "succeeded"


def test_a_record_whose_worker_is_gone(make: Make) -> None:
    home = make()
    done = do(home)
    running = done.starts[0].model_copy(
        update={"ended": None, "ended_at": None, "device_s": 40.0, "stages": ()}
    )
    lost = done.model_copy(update={"state": "running", "starts": (running,), "figures": None})
    files.write(home.path, PersonRecord.read(lost.model_dump(mode="json", warnings=False)))
    again = do(home)
    assert [s.ended for s in again.starts] == ["lost", "succeeded"] and again.failures == 0
    assert again.starts[0].ended_at == pytest.approx(running.began + 40.0) and again.device_s > 40.0
    assert again.starts[1].resumed_from == 20


def test_the_consent_is_asked_for_at_the_start_and_before_generating(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = make()
    Image.effect_noise((64, 64), 40).convert("RGB").save(home.folder("anna") / "photos" / "real.jpg")
    without = do(home)
    assert without.state == "needs_consent" and "no consent" in without.reason and not without.starts
    today = dt.date.today()
    agreed = consent.of_values(
        {"who": "Anna", "purposes": ["training", "portraits"], "until": str(today), "statement": "yes"}, today
    )
    consent.write(home.folder("anna"), agreed)
    ask, stages = work._require_consent, list[str]()

    def ends_while_it_trains(*arguments: Any) -> None:
        if (home.folder("anna") / "steps").exists():
            stages.append("asked")
            raise InputError("the consent has expired", where="consent.json")
        ask(*arguments)

    monkeypatch.setattr(work, "_require_consent", ends_while_it_trains)
    ended = do(home)
    assert ended.state == "needs_consent" and "expired" in ended.reason and stages
    assert ended.starts[-1].stages[-1] == "select" and ended.failures == 0
    monkeypatch.setattr(work, "_require_consent", ask)
    assert do(home).state == "succeeded"


def test_a_worker_of_another_version_or_another_clock_is_refused(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = make(versions={"portrait_lora": "9.9", "python": "2.7"})
    with pytest.raises(InputError, match=r"portrait_lora 9\.9"):
        do(home)
    plan.write(home.path, home.plan.model_copy(update={"versions": {"torch": "0.0+cu1"}}))
    with pytest.raises(InputError, match="other versions"):
        do(home)
    late = identity.time.time() + 2 * 86400
    plan.write(home.path, home.plan.model_copy(update={"versions": {}, "begun_at": late}))
    with pytest.raises(InputError, match="clock of this worker"):
        do(home)
    assert not files.records(home.path)


def test_another_build_of_the_same_version_is_none(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity.summaries, "versions", lambda: {"torch": "2.0+cpu"})
    home = make(versions={"torch": "2.0+cu128", "python": "2"})
    assert do(home).state == "succeeded"


def test_another_face_pack_or_base_of_the_same_name(make: Make) -> None:
    home = make()
    for key, what in (("packs", "another face pack"), ("bases", "another base")):
        plan.write(home.path, home.plan.model_copy(update={key: {"embedded": "0" * 64}}))
        with pytest.raises(InputError, match=what):
            do(home)


def test_everybodys_work_uses_the_threads_of_the_fleet(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    home, seen = make(threads=3), list[str]()

    def watched(*folders: Any, **rest: Any) -> Any:
        seen.append(os.environ["OMP_NUM_THREADS"])
        return run_together(*folders, **rest)

    monkeypatch.setattr(recipe, "run_together", watched)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    do(home)
    assert seen == ["3"] and os.environ["OMP_NUM_THREADS"] == "7"


def test_somebody_who_is_not_in_the_fleet(make: Make) -> None:
    home = make()
    with pytest.raises(InputError, match="Did you mean 'anna'"):
        do(home, "ana")
    with pytest.raises(InputError, match="not the home of a fleet"):
        work.work(home.path / "people", ["anna"], worker="w")


def test_several_together_share_the_device_and_fail_alone(make: Make) -> None:
    home = make({"ends": {"1": "badly"}}, people=("anna", "bob", "cem"))
    anna, bob, cem = work.work(home.path, ["anna", "bob", "cem"], worker="w")
    assert [r.state for r in (anna, bob, cem)] == ["waiting", "succeeded", "succeeded"]
    assert bob.together == ("anna", "bob", "cem") and bob.starts[0].steps == 20
    assert do(home).together == () and do(home).state == "succeeded"


def test_a_damaged_record_is_written_anew(make: Make) -> None:
    home = make()
    files.record_file(home.path, "anna").parent.mkdir()
    files.record_file(home.path, "anna").write_text(json.dumps({"person": "anna", "digest": 3}))
    assert not files.records(home.path)
    assert do(home).state == "succeeded"
