"""The script that kills every command: it kills, it goes on, and no byte that differs escapes it."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
from PIL import Image

from portrait_lora.dataset import kohya  # noqa: F401  (before forking: every child would load it)
from portrait_lora.tasks import exchange  # noqa: F401
from scripts.kill_anywhere.children import Kill, Work, in_child
from scripts.kill_anywhere.compare import contents, different
from scripts.kill_anywhere.journey import command
from scripts.kill_anywhere.trials import Tally, kill_command, plans, undisturbed

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")


def killed(work: Work, root: Path, kills: int) -> Tally:
    expected = undisturbed(work, root / "before", root / "world")
    assert expected.events > 4 and expected.code == 0
    return kill_command(work, root / "before", root / "world", expected, kills, random.Random(0))


def test_an_import_killed_at_its_start_its_end_and_between(tmp_path: Path) -> None:
    folder = tmp_path / "before" / "set" / "10_sks woman"
    folder.mkdir(parents=True)
    for name in ("a", "b"):
        Image.new("RGB", (64, 64)).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text("sks woman")
    world = tmp_path / "world"
    tally = killed(command("dataset", "import", str(world / "set"), str(world / "me")), tmp_path, 4)
    assert tally.kills == 4 and tally.ends == tally.same and tally.differences == []


def test_a_command_that_does_not_go_on_is_found(tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    world = tmp_path / "world"

    def careless() -> int:
        number = len(list(world.iterdir()))
        for i in range(5):
            (world / f"{number + i}").write_text("made")
        return 0

    tally = killed(careless, tmp_path, 6)
    assert tally.kills == 6 and tally.same < tally.ends == tally.same + len(tally.differences)


def test_a_child_dies_before_the_change_that_was_chosen_and_at_its_end(tmp_path: Path) -> None:
    def work() -> int:
        for name in "abc":
            (tmp_path / name).write_text(name)
        return 3

    assert in_child(work, tmp_path) == (3, 3)
    for event, left in ((1, []), (3, ["a", "b"]), (4, ["a", "b", "c"])):
        for path in tmp_path.iterdir():
            path.unlink()
        assert in_child(work, tmp_path, Kill(event=event))[0] is None
        assert sorted(p.name for p in tmp_path.iterdir()) == left
    assert in_child(work, tmp_path / "elsewhere") == (3, 0)


def test_kills_are_spread_over_the_whole_command(tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    expected = undisturbed(lambda: 0, tmp_path / "before", tmp_path / "world")
    expected = type(expected)(0, {}, 100, 2.0)
    planned = plans(expected, 32, random.Random(1))
    first, last, *rest = [next(planned) for _ in range(32)]
    assert (first.event, last.event) == (1, 101)
    events = [kill.event for kill in rest if kill.event is not None]
    moments = [kill.after_s for kill in rest if kill.after_s is not None]
    assert len(events) == 20 and min(events) < 25 and max(events) > 75
    assert len(moments) == 10 and max(moments) < 2.0


def test_no_difference_escapes_but_time(tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    stages, picture = tmp_path / "reports" / "stages.json", tmp_path / "a.png"
    row = {"inputs": {"x": "1"}, "seconds": 1.0, "outputs": {"reports/series-a.html": "1", "b": "2"}}
    stages.write_text(json.dumps({"check": row}))
    picture.write_bytes(b"12345")
    (tmp_path / "link").symlink_to("a.png")
    before = contents(tmp_path)

    def odd() -> list[str]:
        return different(contents(tmp_path), before)

    stages.write_text(json.dumps({"check": row | {"seconds": 2.0, "outputs": {**row["outputs"]}}}))  # type: ignore[dict-item]
    assert odd() == []
    stages.write_text(json.dumps({"check": row | {"inputs": {"x": "2"}}}))
    picture.write_bytes(b"12346")
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("b.png")
    (tmp_path / ".a.png.12345678.part").touch()
    (tmp_path / "empty").mkdir()
    assert odd() == [".a.png.12345678.part", "a.png", "empty", "link", "reports/stages.json"]
    picture.write_bytes(b"12345")
    picture.chmod(0o400)
    assert "a.png" in odd()
