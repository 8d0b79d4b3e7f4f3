"""The gallery of other people in a face pack, and the thresholds derived from it.

Embeddings are biometric data: they are stored only on this explicit request, in the pack's own folder,
without names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from portrait_lora.errors import InputError
from portrait_lora.evaluation.thresholds import SCORES_PER_FALSE_MATCH, mean_of_k, threshold_at
from portrait_lora.faces.backends import open_analyzer
from portrait_lora.faces.impostors import write_gallery
from portrait_lora.faces.pack import Derived, FacePack, Role
from portrait_lora.faces.people import ROLES, LeftOut, People, look_at_people, without_mistakes
from portrait_lora.records import FloatArray

MIN_PEOPLE: Final = 5
MIN_PICTURES: Final = 2
REFERENCES: Final = 3
"""Photos that a picture is compared with, as in `calibrate`; fewer where the people have fewer."""


@dataclass(frozen=True, slots=True)
class GalleryResult:
    """The gallery's size, the thresholds by role (or why there is none), and who fell out."""

    people: int
    pictures_each: int
    derived: dict[Role, Derived]
    not_derived: str
    left_out: tuple[LeftOut, ...]

    def json_value(self) -> dict[str, object]:
        return dict(asdict(self))


def make_gallery(pack: FacePack, people: Path) -> GalleryResult:
    """Embed the people below a folder with both embedders, derive both thresholds, store all in the pack.

    Raises `InputError` with fewer than five people with two usable pictures each.
    """
    looked = without_mistakes(look_at_people(people, lambda role: open_analyzer(pack, role)))
    counts = [len(rows) for rows in looked.by_person("select")] if looked.seen else []
    if len(counts) < MIN_PEOPLE:
        raise InputError(
            "too few other people for an impostor gallery",
            where=people,
            got=f"{len(counts)} people with {MIN_PICTURES} usable pictures; " + _first(looked.left_out),
            needed=f"{MIN_PEOPLE} at least; 56 with 4 pictures each for thresholds",
        )
    each = pictures_each(counts)
    tables: dict[Role, FloatArray] = {
        role: np.stack([rows[:each] for rows in looked.by_person(role, each)]) for role in ROLES
    }
    derived, reason = derive(pack, looked)
    ids = {pack.embedder_ids[role]: asdict(one) for role, one in derived.items()}
    write_gallery(pack, tables, ids)
    return GalleryResult(len(tables["select"]), each, derived, reason, looked.left_out)


def pictures_each(counts: Sequence[int]) -> int:
    """The number of pictures per person that keeps the most pictures in a table of people × pictures.

    People with fewer are not in the table; of two numbers that keep as many, the smaller keeps more people.
    """
    kept = {k: k * sum(count >= k for count in counts) for k in range(MIN_PICTURES, max(counts) + 1)}
    enough = {k: n for k, n in kept.items() if n // k >= MIN_PEOPLE}
    return max(enough, key=lambda k: (enough[k], -k))


def derive(pack: FacePack, people: People) -> tuple[dict[Role, Derived], str]:
    """(thresholds by role, "") or ({}, why none): for as many references as keep enough pairs of people.

    Trials that share a person depend on each other, so pairs of people are counted, not comparisons.
    """
    rate = pack.false_match_rate
    needed = SCORES_PER_FALSE_MATCH / rate
    for references in range(REFERENCES, 0, -1):
        groups: dict[Role, list[FloatArray]] = {
            role: people.by_person(role, references + 1) for role in ROLES
        }
        count = len(groups["select"])
        if count * (count - 1) >= needed:
            derived: dict[Role, Derived] = {
                role: _derived(rows, references, rate) for role, rows in groups.items()
            }
            return derived, ""
    count = len(people.by_person("select", 2)) if people.seen else 0
    least = next(n for n in range(2, 10_000_000) if n * (n - 1) >= needed)
    return {}, (
        f"{count} people make {count * (count - 1)} pairs; a false-match rate of {rate:g} takes {needed:.0f} "
        f"by the rule of three, {least} people with 2 pictures each, better {REFERENCES + 1}"
    )


def _derived(people: Sequence[FloatArray], references: int, rate: float) -> Derived:
    trials = mean_of_k(people, references)
    limit = threshold_at(rate, trials.impostor)
    return Derived(
        round(limit, 4),
        rate,
        references,
        len(people),
        len(trials.impostor),
        len(trials.genuine),
        float((trials.genuine >= limit).mean()),
    )


def _first(left_out: Sequence[LeftOut], most: int = 3) -> str:
    more = f" and {len(left_out) - most} more" if len(left_out) > most else ""
    return "left out: " + ("; ".join(one.sentence for one in left_out[:most]) or "nobody") + more


def lines_of(result: GalleryResult) -> list[str]:
    """For people."""
    lines = [
        f"{result.people} people, {result.pictures_each} pictures each; the embeddings stay on this machine"
    ]
    for role, one in result.derived.items():
        lines.append(
            f"threshold of the {role} embedder {one.similarity:.4f} at a false-match rate of "
            f"{one.false_match_rate:g}, from {one.people} people and {one.impostor_comparisons} comparisons "
            f"of one picture with {one.references}; {one.genuine_accepted:.1%} of their own pictures reach it"
        )
    if result.not_derived:
        lines.append(f"no threshold derived: {result.not_derived}")
    if result.left_out:
        lines.append(f"{len(result.left_out)} left out:")
        lines += [f"  {one.sentence}" for one in result.left_out]
    return lines
