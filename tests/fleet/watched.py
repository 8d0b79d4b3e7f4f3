"""A fleet in the middle of its work, from records alone."""

from __future__ import annotations

from pathlib import Path

from portrait_lora.fleet.home import FleetHome
from portrait_lora.tasks.shard import files
from portrait_lora.tasks.shard.records import Ended, Figures, PersonRecord, PersonState, Start
from tests.fleet.made_up import make_home


def record(
    person: str, state: PersonState = PersonState.SUCCEEDED, *, device_s: float = 100.0,
    share: float | None = None, starts: int = 1, worker: str = "cpu:0", **more: object,
) -> PersonRecord:  # fmt: skip
    """Where somebody stands after so many starts; `share` is that of the ceiling."""
    figures = None
    if share is not None:
        low, high = round(0.8 * share - 0.05, 3), round(0.8 * share + 0.05, 3)
        figures = Figures(
            similarity=round(0.8 * share, 3), ci95=(low, high), ceiling=0.8, share_of_ceiling=share,
            verified_rate=0.9, face_found_rate=1.0, copy_score=0.0, portraits=8,
        )  # fmt: skip
    ended = None if state is PersonState.RUNNING else Ended.SUCCEEDED
    each = tuple(
        Start(
            number=i + 1, worker=worker, device="cpu", began=1000.0 * i, ended_at=None, steps=50, digest="d",
            device_s=device_s / starts, ended=ended if i == starts - 1 else Ended.LOST,
        )
        for i in range(starts)
    )  # fmt: skip
    began = state is not PersonState.WAITING
    values: dict[str, object] = {"person": person, "digest": "d", "state": state, "figures": figures}
    values |= {"starts": each if began else (), "stage_seconds": {"train": 50.0} if ended and began else {}}
    return PersonRecord.model_validate(values | more)


def eight(tmp_path: Path) -> FleetHome:
    """Eight people in `fleet`, of whom one is far less alike, one has to send photos and one runs."""
    people = ("ann", "bea", "cem", "dan", "eva", "finn", "gus", "ida")
    home = make_home(tmp_path / "fleet", people, price_per_hour=2.0, roster=str(tmp_path / "people.csv"))
    rows = [f"{name.title()},{home.folder(name) / 'photos'},{'sales' if i % 2 else 'staff; board'}"
            for i, name in enumerate(people)]  # fmt: skip
    (tmp_path / "people.csv").write_text("name,photos,group\n" + "\n".join(rows) + "\n")
    for i, name in enumerate(people[:5]):
        files.write(home.path, record(name, share=0.90 + 0.01 * i))
    files.write(home.path, record("finn", share=0.55))
    reason = "verified rate 0.50, at least 0.80 is needed"
    files.write(home.path, record("gus", PersonState.NEEDS_PHOTOS, share=0.6, tries=2, reason=reason,
                                  advice=("Send <b>five</b> other photos.",)))  # fmt: skip
    files.write(home.path, record("ida", PersonState.RUNNING, device_s=30.0, worker="cuda:1"))
    return home
