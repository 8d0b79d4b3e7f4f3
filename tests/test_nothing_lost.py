"""No command removes or changes a file that it does not own, whatever its names, words and paths.

Every case begins with a small world on disk (two likeness folders with files of others between their own, a
folder with equal copies, a forged lock and note), lets a command work on it with hostile words, and compares
the hash of every file before and after.  `PORTRAIT_LORA_CASES=5000` runs as many cases.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portrait_lora import manifest, removal, replacing
from portrait_lora.errors import PortraitError
from portrait_lora.families.catalog import resolve_base
from portrait_lora.generation.publish import publish
from portrait_lora.hub import lock
from portrait_lora.hub.hub import Hub, as_locked
from portrait_lora.likeness import open_likeness, series_name
from portrait_lora.recipe import init
from portrait_lora.stages.successor import RUN_FILES
from portrait_lora.tasks import outside
from portrait_lora.tasks.export import export
from portrait_lora.tasks.forget import GIVEN, MADE, PLAN, RECEIPT, forget
from tests.tasks.made_up import make_likeness

CASES = int(os.environ.get("PORTRAIT_LORA_CASES", "60"))
FOREIGN = "somebody's own "
WORDS = (
    ".", "..", "...", "", "/", "~", "main", "old", "headshots", "photos", "dataset", "../precious",
    "link", "link/x",
    "../../bert", "a/../..", "adapters/../photos", ".writing-novel", "manifest.json",
    "exports.json", "precious",
    "con", "a\0b", "a\nb", "\udcff", "x" * 260, "bert", "bert/photos", "anna/photos",
    "anna/portraits/headshots",
    "portrait-001", "anna_0", "shot_0", "likeness", "/precious", "/bert/adapters/main", "..." + ".yaml",
)  # fmt: skip
words = st.one_of(
    st.sampled_from(WORDS),
    st.text(max_size=12),
    st.lists(st.sampled_from(WORDS), min_size=2, max_size=3).map("/".join),
)


def build(world: Path) -> None:
    """Files of this program's own, and files of others wherever somebody might lay one."""
    anna, bert = make_likeness(world / "anna"), make_likeness(world / "bert", seed=1)
    shutil.copytree(anna / "photos", world / "precious")
    shutil.copy(anna / "adapters/main/adapter.safetensors", world / "precious")
    shutil.copytree(anna / "adapters/main", anna / "adapters/old")
    places = [".", ".writing-novel", "precious/sub", "cache/blobs", "home/portrait_lora"]
    for person in ("anna", "bert"):
        own = ("", "dataset", "dataset/train", "adapters", "adapters/main", "adapters/mine", "portraits")
        places += [
            f"{person}/{p}" for p in (*own, "portraits/headshots", "portraits/other", "reports", "exports")
        ]
    for i, place in enumerate(places):
        (world / place).mkdir(parents=True, exist_ok=True)
        for name in (f"notes{i}.txt", "mine.png"):
            (world / place / name).write_text(FOREIGN + str(i))
    (anna / "adapters/mine/adapter.safetensors").write_text(FOREIGN)
    (anna / "portraits/headshots/shot_1.png").write_text(FOREIGN + "retouched")
    (anna / "link").symlink_to("../precious")
    (anna / "adapters/link").symlink_to("../../precious")
    for run in (anna / "adapters/main", bert / "adapters/main"):
        assert manifest.verify(run)


def photograph(world: Path) -> dict[str, str]:
    """Every file and link with what it holds."""
    contents: dict[str, str] = {}
    for path in removal.files_below(world):
        what = os.readlink(path) if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
        contents[path.relative_to(world).as_posix()] = what
    return contents


Act = Callable[[Path, str, str, bool], None]


def place(world: Path, word: str) -> Path:
    """A path of the user's, kept inside the world so that the test itself harms nobody."""
    path = Path(os.path.normpath(f"{world}/{word}"))
    return path if path.is_relative_to(world) else world / "precious"


def begin_run(world: Path, word: str, other: str, flag: bool) -> None:
    opened = open_likeness(world / "anna", [f"run={word}"])
    removal.remove_recorded(opened.adapters, owner=opened.root / "adapters", names=RUN_FILES)


def make_series(world: Path, word: str, other: str, flag: bool) -> None:
    opened = open_likeness(world / "anna")
    folder = opened.portraits(series_name(f"{word}.yaml" if flag else word, other if flag else ""))
    pages = ("contact_sheet.jpg", "checklist.json", "manifest.json")
    removal.remove_recorded(folder, owner=opened.root / "portraits", names=pages, keep={"shot_0.png"})


def export_it(world: Path, word: str, other: str, flag: bool) -> None:
    out = place(world, word)
    export(
        open_likeness(world / "anna"), resolve_base("embedded"), "diffusers", out, name=other, portraits=flag
    )


def publish_it(world: Path, word: str, other: str, flag: bool) -> None:
    picture = world / "anna/portraits/headshots/shot_0.png"
    publish([picture], place(world, word), "png", keep_names=flag)


def forget_it(world: Path, word: str, other: str, flag: bool) -> None:
    anna = world / "anna"
    note = {"id": "0" * 32, "folders": [str(place(world, word)), other]}
    (anna / outside.NOTED).write_text(json.dumps(note))
    forget(anna, photos=flag, also=[world / "precious", world / "bert"])


def rewrite(world: Path, word: str, other: str, flag: bool) -> None:
    folder = world / "anna" / ("dataset" if flag else "adapters/old")
    with manifest.writing(folder, kind="dataset", inputs={}) as part:
        for name in (word, "mine.png", "train"):
            if name and removal.is_inner(name) and "/" not in name:
                manifest.write_text_atomic(part / name, "new")


def remove_below(world: Path, word: str, other: str, flag: bool) -> None:
    owner = world / "anna" / "reports"
    (removal.remove_whole if flag else removal.remove_file)(owner / word, owner=owner)


def clean(world: Path, word: str, other: str, flag: bool) -> None:
    for folder in (world, world / "anna", world / "anna/adapters"):
        replacing.clean_leftovers(folder)


def pull_offline(world: Path, word: str, other: str, flag: bool) -> None:
    names = [word, str(world / "precious/mine.png"), f"../../../{other}"]
    one = {"sha256": "0" * 64, "size": len(FOREIGN) + 1}
    model = {"asked": "main", "commit": "0" * 40, "files": dict.fromkeys(names[: 1 + 2 * flag], one)}
    path = world / "anna" / lock.NAME
    path.write_text(json.dumps({"format": 1, "models": {other or "a/b": model}}))
    hub = Hub("http://localhost:9", world / "cache", offline=True)
    for locked in lock.read(world / "anna").models.values():
        hub.fetch(as_locked(locked))


def begin(world: Path, word: str, other: str, flag: bool) -> None:
    init(place(world, word), world / "anna" / "photos")


def below_anna(*names: str) -> Callable[[str], bool]:
    return lambda path: any(path == f"anna/{n}" or path.startswith(f"anna/{n}/") for n in names)


def own_files(*names: str) -> Callable[[str], bool]:
    inside = below_anna(*names)
    return lambda path: inside(path) and path.rsplit("/", 1)[-1] not in ("mine.png", "shot_1.png")


Owns = Callable[[str], bool]
NOTHING: Owns = lambda path: False  # noqa: E731
ACTS: dict[str, tuple[Act, Owns, Owns]] = {
    "run": (begin_run, own_files("adapters"), NOTHING),
    "series": (make_series, own_files("portraits/headshots"), NOTHING),
    "export": (export_it, below_anna("exports.json"), NOTHING),
    "publish": (publish_it, NOTHING, NOTHING),
    "forget": (
        forget_it,
        below_anna(*MADE, RECEIPT, PLAN, "link"),
        below_anna(*MADE, *GIVEN, RECEIPT, PLAN, lock.NAME, "link"),
    ),
    "rewrite": (rewrite, own_files("dataset", "adapters/old"), NOTHING),
    "remove": (remove_below, below_anna("reports"), NOTHING),
    "clean": (clean, NOTHING, NOTHING),
    "pull": (pull_offline, below_anna(lock.NAME), NOTHING),
    "init": (begin, NOTHING, NOTHING),
}


Template = tuple[Path, dict[str, str]]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    world = tmp_path_factory.mktemp("template") / "world"
    build(world)
    return world, photograph(world)


@settings(
    max_examples=CASES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(act=st.sampled_from(sorted(ACTS)), word=words, other=words, flag=st.booleans())
def test_no_command_removes_or_changes_what_it_does_not_own(
    template: Template,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    act: str,
    word: str,
    other: str,
    flag: bool,
) -> None:
    world, before = tmp_path / "world", template[1]
    if not world.exists():
        shutil.copytree(template[0], world, symlinks=True)
    monkeypatch.setenv("HF_HOME", str(world / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    work, owns, owns_more = ACTS[act]
    with contextlib.suppress(PortraitError, OSError, ValueError):  # refused: then too nothing may be lost
        work(world, word, other, flag)
    after = photograph(world)
    if after != before:
        shutil.rmtree(world)
        shutil.rmtree(tmp_path / "state", ignore_errors=True)
    mine = owns_more if act == "forget" and flag else owns
    lost = [p for p, what in before.items() if after.get(p) != what and not mine(p)]
    assert not lost, (act, word, other, flag)


def test_the_world_holds_what_can_be_lost(template: Template, tmp_path: Path) -> None:
    """Acts do change files of their own: a test of commands that refuse all would prove nothing."""
    acts = {"run": "old", "series": "headshots", "forget": "", "rewrite": "a", "remove": "check.html"}
    for act, word in acts.items():
        world = tmp_path / act / "world"
        shutil.copytree(template[0], world, symlinks=True)
        ACTS[act][0](world, word, "", False)
        after = photograph(world)
        assert any(after.get(p) != what for p, what in template[1].items()), act
