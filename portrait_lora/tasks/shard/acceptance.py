"""The rule of acceptance of a fleet: which figures a likeness needs before it is delivered."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from portrait_lora.results import LikenessFigures, Value
from portrait_lora.tasks.shard.records import Figures

Share = Annotated[float, Field(ge=0.0, le=1.0)]
MORE_PHOTOS: Final = (
    "Send five or more other photos: sharp, from different days, in different light.",
    "Among them some from the front and some turned to each side, with different expressions.",
)
"""What is asked of a person whose photos are all usable and whose likeness did not pass."""


class Rule(Value):
    """What a likeness has to reach; None asks for nothing.

    The defaults keep back what people do not recognise, not what is merely below average.  Of 30 unseen
    people on the embedded base the lowest share of the ceiling was 0.75 and 93.8 % of the portraits were
    verified (docs/figures.json): half of the ceiling, and four of five portraits verified, are well below
    that.  Copies of training photos are counted beyond the 99th percentile of real pairs, so one in a
    hundred is by chance; more than one in ten is not.
    """

    share_of_ceiling: Share | None = 0.5
    verified_rate: Share | None = 0.8
    copy_score: Share | None = 0.1
    tries: Annotated[int, Field(ge=1, le=10)] = 2
    """Trainings, each with a seed of its own, before other photos are asked for."""


class Verdict(Value):
    """What the rule says: the figures in `failed` do not reach it, those in `unmeasured` are not there."""

    failed: tuple[str, ...] = ()
    unmeasured: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        return not self.failed

    @property
    def reason(self) -> str:
        """In a line; empty where everything was measured and passes."""
        without = [f"not measured: {', '.join(self.unmeasured)}"] if self.unmeasured else []
        return "; ".join([*self.failed, *without])


def judge(figures: Figures, rule: Rule) -> Verdict:
    """Hold figures against a rule.

    What was not measured fails nobody, but is named: a pack without the network, or too few photos for a
    ceiling, is not the fault of the person, and another training would not change it.
    """
    failed, unmeasured = list[str](), list[str]()
    rows = (
        ("share of the ceiling", figures.share_of_ceiling, rule.share_of_ceiling, True),
        ("verified rate", figures.verified_rate, rule.verified_rate, True),
        ("copy score", figures.copy_score, rule.copy_score, False),
    )
    for name, value, limit, is_least in rows:
        if limit is None:
            continue
        if value is None:
            unmeasured.append(name)
        elif value < limit if is_least else value > limit:
            failed.append(
                f"{name} {value:.2f}, {'at least' if is_least else 'at most'} {limit:.2f} is needed"
            )
    return Verdict(failed=tuple(failed), unmeasured=tuple(unmeasured))


def figures_of(likeness: LikenessFigures, portraits: int) -> Figures:
    """What a fleet keeps of the figures of run.json."""
    return Figures(
        similarity=likeness.adapter_mean,
        ci95=likeness.ci95,
        ceiling=likeness.ceiling,
        share_of_ceiling=likeness.share_of_ceiling,
        verified_rate=likeness.verified_rate,
        face_found_rate=likeness.face_found_rate,
        copy_score=likeness.copy_score,
        portraits=portraits,
    )
