"""A measured figure beside its target: what checks and evaluations print and write."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One figure; `at_most` is the direction of the target; `met` is None without a target."""

    name: str
    value: float
    unit: str
    n: int
    target: float | None = None
    at_most: bool = False
    ci95: tuple[float, float] | None = None

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return self.value <= self.target if self.at_most else self.value >= self.target

    def line(self, width: int) -> str:
        """One line of a table whose first column is `width` wide."""
        target = "" if self.target is None else f"{'<=' if self.at_most else '>='} {self.target:g}"
        spread = "" if self.ci95 is None else f"  [{self.ci95[0]:.3f}, {self.ci95[1]:.3f}]"
        verdict = {True: "met", False: "MISSED", None: ""}[self.met]
        return (
            f"{self.name:<{width}} {self.value:>9.4g} {self.unit:<9} n={self.n:<6} {target:<9} "
            f"{verdict}{spread}"
        )
