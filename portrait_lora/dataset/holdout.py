"""The holdout: photos for measuring that training never sees, spread over views and expressions.

Photos that are nearly alike would carry what was trained into the measurement, so they stay together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from portrait_lora.dataset.coverage import cell
from portrait_lora.records import PhotoReport


def holdout_count(accepted: int) -> int:
    """2 of 5–9 accepted photos, 3 of 10–14, 4 of 15–20, 5 above; 1 below 5, 0 of fewer than 2."""
    for limit, count in ((2, 0), (5, 1), (10, 2), (15, 3), (21, 4)):
        if accepted < limit:
            return count
    return 5


def choose_holdout(
    accepted: Sequence[PhotoReport],
    count: int,
    together: Sequence[Sequence[int]] = (),
    never: Collection[int] = (),
) -> list[int]:
    """Indices of the photos to hold out, spread over yaw bins and expressions.

    The next photo comes from the view with the most photos relative to those already held out; the last photo
    of a view is left for training if possible.  A group of `together` is held out whole or not at all, and
    only when single photos do not suffice: fewer than `count` may be held out then, or, without any single
    photo, a group of more, but never more than half.  None of `never` is held out.  Independent of
    order and names.
    """
    group_of = {i: tuple(group) for group in together if len(group) > 1 for i in group}
    left, held = set(range(len(accepted))), list[int]()
    while len(held) < min(count, len(accepted)):
        free = {i for i in left if i not in group_of and i not in never}
        if not free:
            break
        held.append(_best(accepted, free, left, held))
        left.remove(held[-1])
    for group in sorted(
        set(group_of.values()), key=lambda g: (len(g), min(accepted[i].photo.sha256 for i in g))
    ):
        room = count - len(held) if held else min(count, 1) * (len(accepted) // 2)
        if len(group) <= room and not set(group) & set(never):
            held += group
    return sorted(held)


def _best(accepted: Sequence[PhotoReport], free: set[int], left: set[int], held: Sequence[int]) -> int:
    """The photo of `free` to hold out next; `left` are all that are not held out."""
    cells = {i: cell(accepted[i].face) for i in range(len(accepted))}
    yaws, both = Counter(cells[i][0] for i in left), Counter(cells[i] for i in left)
    held_yaws = Counter(cells[i][0] for i in held)
    held_expressions = Counter(cells[i][1] for i in held)

    def rank(i: int) -> tuple[bool, float, int, int, str, int]:
        yaw, expression = cells[i]
        plenty = yaws[yaw] / (1 + 2 * held_yaws[yaw])
        rare = yaws[yaw] < 2
        return rare, -plenty, held_expressions[expression], -both[cells[i]], accepted[i].photo.sha256, i

    return min(free, key=rank)
