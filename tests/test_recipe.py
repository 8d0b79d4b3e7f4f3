import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from portrait_lora import recipe
from portrait_lora.cli import app
from portrait_lora.errors import InputError, Interrupted, PhotosError, PortraitError
from portrait_lora.likeness import Journal
from portrait_lora.synthetic import photos
from tests.sample_results import PREPARED


def test_an_interrupted_photo_session_is_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make, calls = photos.make_reference_set, []

    def interrupted(seed: int, folder: Path) -> photos.ReferenceSet:
        calls.append(seed)
        (folder / "photo_01.jpg").write_bytes(b"half")
        if len(calls) == 1:
            raise KeyboardInterrupt
        return make(seed, folder, good=1, bad=("unreadable",))

    monkeypatch.setattr(photos, "make_reference_set", interrupted)
    with pytest.raises(KeyboardInterrupt):
        recipe._studio_photos(tmp_path, 3)
    assert recipe._studio_photos(tmp_path, 3) in ("man", "woman")
    assert sorted(p.name for p in (tmp_path / "photos").iterdir()) == ["photo_01.jpg", "photo_02.jpg"]
    recipe._studio_photos(tmp_path, 3)
    assert calls == [3, 3]  # whole: not taken again


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A demo folder with two studio photos, and what a person did to it."""
    make = photos.make_reference_set
    monkeypatch.setattr(
        photos, "make_reference_set", lambda seed, folder: make(seed, folder, good=1, bad=("unreadable",))
    )
    folder = tmp_path / "demo"
    folder.mkdir()
    recipe._studio_photos(folder, 3)
    (folder / "captions.csv").write_text("file,caption\n")
    (folder / "likeness.yaml").write_text("seed: 5\n")
    (folder / "photos" / "my own.jpg").write_bytes(b"mine")
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_demo_of_somebody_else_is_refused_and_nothing_is_touched(demo: Path):
    before = tree(demo)
    with pytest.raises(InputError, match=r"another studio person.*--person-seed 3"):
        recipe.demo(demo, 4)
    assert tree(demo) == before


def test_a_demo_with_photos_added_changed_or_removed_goes_on_with_them(demo: Path):
    studio = sorted(p for p in (demo / "photos").iterdir() if p.name != "my own.jpg")
    studio[0].unlink()
    studio[1].write_bytes(b"changed")
    before = tree(demo)
    assert recipe._studio_photos(demo, 3) in ("man", "woman")
    assert tree(demo) == before


def test_init_that_was_stopped_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = tmp_path / "source"
    source.mkdir()
    for i in range(4):
        (source / f"{i}.jpg").write_bytes(bytes([i]) * 10)
    copy, count = shutil.copyfile, []

    def stopped(a: Path, b: Path) -> Path:
        count.append(a)
        if len(count) == 3:
            raise KeyboardInterrupt
        return copy(a, b)

    monkeypatch.setattr(shutil, "copyfile", stopped)
    with pytest.raises(KeyboardInterrupt):
        recipe.init(tmp_path / "me", source)
    assert not (tmp_path / "me" / "photos").exists()
    assert recipe.init(tmp_path / "me", source).photos == 4
    (tmp_path / "me" / "likeness.yaml").unlink()  # stopped just before it
    recipe.init(tmp_path / "me", source)
    assert sorted(tree(tmp_path / "me")) == ["likeness.yaml", *(f"photos/{i}.jpg" for i in range(4))]
    before = tree(tmp_path / "me")
    assert recipe.init(tmp_path / "me", source).photos == 4  # stopped at its very end
    assert tree(tmp_path / "me") == before
    with pytest.raises(InputError, match="likeness here already"):
        recipe.init(tmp_path / "me", source, overrides=["seed=4"])
    (tmp_path / "me" / "likeness.yaml").unlink()
    (source / "0.jpg").write_bytes(b"another picture")
    with pytest.raises(InputError, match="likeness here already"):
        recipe.init(tmp_path / "me", source)
    assert tree(tmp_path / "me") == {k: v for k, v in before.items() if k != "likeness.yaml"}


def test_init_killed_at_the_third_photo_is_repeated(tmp_path: Path):
    source = tmp_path / "source"
    source.mkdir()
    for i in range(4):
        (source / f"{i}.jpg").write_bytes(bytes([i]) * 10)
    code = (
        "import os, shutil, sys\nfrom pathlib import Path\nfrom portrait_lora import recipe\n"
        "copy, count = shutil.copyfile, []\n"
        "def killed(a, b):\n    count.append(a)\n"
        "    return os.kill(os.getpid(), 9) if len(count) == 3 else copy(a, b)\n"
        "shutil.copyfile = killed\nrecipe.init(Path(sys.argv[1]), Path(sys.argv[2]))\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "me"), str(source)]
    assert subprocess.run(words, capture_output=True).returncode == -9
    recipe.init(tmp_path / "me", source)
    assert sorted(tree(tmp_path / "me")) == ["likeness.yaml", *(f"photos/{i}.jpg" for i in range(4))]


def test_init_with_an_impossible_consent_leaves_nothing(tmp_path: Path):
    source, file = tmp_path / "source", tmp_path / "consent.yaml"
    source.mkdir()
    Image.new("RGB", (64, 64)).save(source / "a.jpg")
    template = "who: Ann\npurposes: [training, portraits]\nstatement: yes I do\nuntil: '{}'\n"
    file.write_text(template.format("2027-06-31"))
    words = ["init", str(tmp_path / "me"), "--photos", str(source), "--consent", str(file)]
    failed = CliRunner().invoke(app, words)
    assert isinstance(failed.exception, InputError) and "2027-06-31" in str(failed.exception)
    assert not (tmp_path / "me").exists()
    file.write_text(template.format("2099-06-30"))
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0 and (tmp_path / "me" / "consent.json").is_file()


def test_init_refuses_an_empty_folder(tmp_path: Path):
    (tmp_path / "none").mkdir()
    with pytest.raises(PhotosError, match="0 files"):
        recipe.init(tmp_path / "me", tmp_path / "none")
    with pytest.raises(InputError, match="no such folder"):
        recipe.init(tmp_path / "me", tmp_path / "absent")
    assert not (tmp_path / "me").exists()


def test_the_journal_survives_damage(tmp_path: Path):
    journal = Journal.open(tmp_path)
    journal.record({"a": "1"}, 2.0, PREPARED)
    assert Journal.open(tmp_path).is_done("prepare", {"a": "1"})
    assert not Journal.open(tmp_path).is_done("prepare", {"a": "2"})
    (tmp_path / "stages.json").write_text('{"prepare": ')
    assert not Journal.open(tmp_path).is_done("prepare", {"a": "1"})


def test_several_people_in_one_call_and_the_errors_of_one_are_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Those who share passes are prepared first; everybody else goes one after the other."""
    happened: list[str] = []

    def stage(name: str):
        def work(ctx: recipe.Context) -> None:
            who = ctx.likeness.root.name
            if (who, name) == ("bad", "prepare"):
                raise PhotosError("too few photos")
            happened.append(f"{who} {name}")

        return work

    def together(contexts: list[recipe.Context]) -> list[PortraitError | None]:
        happened.append("together " + " ".join(c.likeness.root.name for c in contexts))
        return [InputError("diverged") if c.likeness.root.name == "b" else None for c in contexts]

    def train(ctx: recipe.Context, ended: PortraitError | None = None) -> None:
        if ended:
            raise ended
        stage("train")(ctx)

    def on_stage(folder: Path, name: str) -> None:
        if (folder.name, name) == ("refused", "select"):
            raise InputError("the consent has ended")

    monkeypatch.setattr(recipe, "STAGES", {name: stage(name) for name in recipe.likeness.STAGES})
    monkeypatch.setattr(recipe, "train_together", together)
    monkeypatch.setattr(recipe, "train_stage", train)
    monkeypatch.setattr(recipe, "run_result", lambda ctx: ctx.likeness.root.name)
    folders = [tmp_path / name for name in ("a", "alone", "b", "bad", "refused")]
    for folder in folders:
        (folder / "photos").mkdir(parents=True)
    own = {folders[1]: ["training.together=1"], folders[0]: ["seed=3"]}
    results = recipe.run_together(
        [*folders, tmp_path / "gone"], overrides=["training.together=4"], own=own, on_stage=on_stage
    )
    assert [r if isinstance(r, str) else r.what for r in results] == [
        "a", "alone", "diverged", "too few photos", "the consent has ended", "not a likeness folder",
    ]  # fmt: skip
    assert happened[:6] == ["a check", "b check", "bad check", "refused check", "a prepare", "b prepare"]
    assert happened[7] == "together a b refused"
    assert happened[8:12] == ["a train", "a select", "a generate", "a score"]
    assert happened[12:14] == ["alone check", "alone prepare"] and happened[-1] == "refused select"


def test_several_people_are_drawn_together_once_everybody_is_selected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Whatever ends one of them, the others go through to their reports."""
    happened: list[str] = []
    ends = {("odd", "select"): ValueError("nobody expected this"), ("full", "score"): OSError(28, "full")}

    def stage(name: str):
        def work(ctx: recipe.Context) -> None:
            who = ctx.likeness.root.name
            if error := ends.get((who, name)):
                raise error
            happened.append(f"{who} {name}")

        return work

    def names(contexts: list[recipe.Context]) -> str:
        return " ".join(c.likeness.root.name for c in contexts)

    monkeypatch.setattr(recipe, "STAGES", {name: stage(name) for name in recipe.likeness.STAGES})
    monkeypatch.setattr(recipe, "train_stage", lambda ctx, ended=None: stage("train")(ctx))
    monkeypatch.setattr(
        recipe, "train_together", lambda cs: [None] * (happened.append(f"train {names(cs)}") or len(cs))
    )
    monkeypatch.setattr(recipe, "draw_together", lambda cs: happened.append(f"draw {names(cs)}"))
    monkeypatch.setattr(recipe, "run_result", lambda ctx: ctx.likeness.root.name)
    folders = [tmp_path / name for name in ("a", "odd", "alone", "full", "trains")]
    for folder in folders:
        (folder / "photos").mkdir(parents=True)
    own = {folders[2]: ["training.together=1", "generate.together=1"], folders[0]: ["training.together=1"]}
    own |= {folders[4]: ["generate.together=1"]}
    both = ["training.together=4", "generate.together=4"]
    results = recipe.run_together(folders, overrides=both, own=own)
    assert [r if isinstance(r, str) else f"{r.what}: {r.where}" for r in results] == [
        "a", f"unexpected error (ValueError: nobody expected this): {folders[1]}", "alone",
        f"the disk is full: {folders[3]}", "trains",
    ]  # fmt: skip
    assert isinstance(results[3], PortraitError) and results[3].__cause__ is ends["full", "score"]
    train, draw = happened.index("train odd full trains"), happened.index("draw a full")
    assert happened[:train] == [
        f"{who} {s}" for s in ("check", "prepare") for who in ("odd", "full", "trains")
    ]
    assert happened[train + 1 : draw] == [
        *(f"a {s}" for s in recipe.likeness.STAGES[:4]), "odd train", "full train", "full select",
    ]  # fmt: skip
    after = ["a generate", "a score", *(f"alone {s}" for s in recipe.likeness.STAGES), "full generate"]
    assert happened[draw + 1 :] == [*after, *(f"trains {s}" for s in recipe.likeness.STAGES[2:])]


def test_an_interruption_ends_the_call_for_everybody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def stop(ctx: recipe.Context) -> None:
        raise Interrupted("stopped")

    (tmp_path / "a" / "photos").mkdir(parents=True)
    monkeypatch.setattr(recipe, "STAGES", dict.fromkeys(recipe.likeness.STAGES, stop))
    for together in (1, 2):
        with pytest.raises(Interrupted):
            recipe.run_together([tmp_path / "a"], overrides=[f"training.together={together}"])
