from portrait_lora.tasks.shard.acceptance import Rule, judge
from portrait_lora.tasks.shard.endings import MOST_LOST, lost
from portrait_lora.tasks.shard.records import Ended, Figures, PersonRecord, PersonState, Start


def figures(**changes: object) -> Figures:
    usual: dict[str, object] = {
        "similarity": 0.7, "ci95": (0.6, 0.8), "ceiling": 0.8, "share_of_ceiling": 0.9,
        "verified_rate": 1.0, "face_found_rate": 1.0, "copy_score": 0.0, "portraits": 8,
    }  # fmt: skip
    return Figures.model_validate(usual | changes)


def test_the_rule_holds_each_figure_against_its_limit() -> None:
    rule = Rule(share_of_ceiling=0.5, verified_rate=0.8, copy_score=0.1)
    assert judge(figures(share_of_ceiling=0.5, verified_rate=0.8, copy_score=0.1), rule).accepted
    for changes, words in (
        ({"share_of_ceiling": 0.49}, "share of the ceiling 0.49, at least 0.50"),
        ({"verified_rate": 0.79}, "verified rate 0.79, at least 0.80"),
        ({"copy_score": 0.11}, "copy score 0.11, at most 0.10"),
    ):
        verdict = judge(figures(**changes), rule)
        assert not verdict.accepted and words in verdict.reason


def test_what_was_not_measured_fails_nobody_but_is_named() -> None:
    verdict = judge(figures(share_of_ceiling=None, copy_score=None), Rule())
    assert verdict.accepted and verdict.reason == "not measured: share of the ceiling, copy score"
    assert not judge(figures(share_of_ceiling=None), Rule(copy_score=None)).failed
    nothing = Rule(share_of_ceiling=None, verified_rate=None, copy_score=None)
    assert judge(figures(share_of_ceiling=0, verified_rate=0, copy_score=1), nothing).reason == ""


def running(*starts: Start) -> PersonRecord:
    return PersonRecord(person="a", digest="d", state=PersonState.RUNNING, starts=starts)


def start(number: int, resumed: int | None = None, stages: tuple[str, ...] = (), **changes: object) -> Start:
    ended = changes.get("ended", Ended.LOST)
    return Start(
        number=number, worker="w", device="cpu", began=1.0, digest=str(changes.get("digest", "d")),
        ended=Ended(str(ended)) if ended else None, resumed_from=resumed, stages=stages,
    )  # fmt: skip


def test_workers_lost_again_and_again_without_headway_set_a_person_aside() -> None:
    before = [start(n) for n in range(1, MOST_LOST)]
    assert lost(running(*before)).state == "waiting"
    ended = lost(running(*before, start(MOST_LOST, ended=None)))
    assert (ended.state, ended.starts[-1].ended, ended.failures) == ("set_aside", "lost", 0)
    assert "5 times without headway" in ended.reason


def test_a_checkpoint_or_a_stage_between_two_losses_is_headway() -> None:
    several = [start(n) for n in range(1, MOST_LOST)]
    assert lost(running(*several, start(9, resumed=100, ended=None))).state == "waiting"
    assert lost(running(*several, start(9, stages=("check",), ended=None))).state == "waiting"
    assert lost(running(start(0, ended="interrupted"), *several)).state == "waiting"
    others = [start(n, digest="other") for n in range(9)]
    assert lost(running(*others, start(10, ended=None))).state == "waiting"
    stuck = [start(n, resumed=100) for n in range(1, MOST_LOST + 1)]
    assert lost(running(*stuck)).state == "set_aside"


def test_only_a_record_that_says_it_runs_is_lost() -> None:
    record = PersonRecord(person="a", digest="d", state=PersonState.SUCCEEDED, starts=(start(1),))
    assert lost(record) == record
