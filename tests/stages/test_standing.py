"""What an earlier run left is neither replaced by another series nor spoken of once it is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from portrait_lora import manifest
from portrait_lora.errors import InputError
from portrait_lora.likeness import open_likeness
from portrait_lora.stages import standing
from portrait_lora.stages.context import Context, folder_digest
from tests.sample_results import SCORED


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "me" / "photos").mkdir(parents=True)
    return tmp_path / "me"


def context(root: Path, series: str, brand: str = "") -> Context:
    return Context(open_likeness(root, [f"generate.series={series}", f'generate.brand="{brand}"']))


def draw(ctx: Context, text: str = "picture") -> Path:
    folder = ctx.likeness.portraits(ctx.series)
    standing.refuse_another_series(ctx, folder)
    manifest.write_text_atomic(folder / "01.png", text)
    extra = {"origin": standing.origin(ctx)}
    manifest.finish(folder, kind="portraits", inputs={}, extra=extra, names=["01.png"])
    standing.withdraw_report(ctx, folder)
    return folder


def test_every_pair_of_series_and_brand_has_a_folder_of_its_own(root: Path) -> None:
    pairs = [("headshots", ""), ("headshots", "example"), ("headshots", "framed"), ("avatars", "")]
    folders = [draw(context(root, *pair)) for pair in pairs]
    assert [f.name for f in folders] == ["headshots", "headshots--example", "headshots--framed", "avatars"]


def test_another_file_of_the_same_name_is_refused_and_a_moved_one_is_not(root: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "mine.yaml", tmp_path / "b" / "mine.yaml"
    for file in (first, second):
        file.parent.mkdir()
        file.write_text("series: mine\n")
    folder = draw(context(root, str(first)), "first")
    with pytest.raises(InputError, match="another series of the same name"):
        draw(context(root, str(second)), "second")
    assert (folder / "01.png").read_text() == "first"
    draw(context(root, str(first)), "first again")
    first.unlink()  # moved to where the second is
    draw(context(root, str(second)), "second")
    own = tmp_path / "headshots.yaml"
    own.write_text("series: mine\n")
    draw(context(root, "headshots"))
    with pytest.raises(InputError, match="got headshots"):
        draw(context(root, str(own)))


def test_a_moved_series_under_another_brand_of_the_same_name_is_refused(root: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        for name in ("mine.yaml", "look.yaml"):
            manifest.write_text_atomic(tmp_path / folder / name, "x")
    draw(context(root, str(tmp_path / "a/mine.yaml"), str(tmp_path / "a/look.yaml")))
    (tmp_path / "a/mine.yaml").unlink()
    with pytest.raises(InputError, match="another series of the same name"):
        draw(context(root, str(tmp_path / "b/mine.yaml"), str(tmp_path / "b/look.yaml")))


def test_a_report_of_pictures_that_are_gone_is_withdrawn_and_no_other(root: Path) -> None:
    ctx = context(root, "headshots")
    folder, page = draw(ctx), ctx.likeness.reports / "drift.html"
    for name in ("drift.html", "drift.json", "run.json", "check.html"):
        manifest.write_text_atomic(ctx.likeness.reports / name, "x")
    outputs = {f"reports/{n}": manifest.sha256_file(page) for n in ("drift.html", "drift.json")}
    ctx.journal.record({"portraits": folder_digest(folder)}, 1.0, SCORED, outputs)
    draw(context(root, "avatars"), "others")
    draw(context(root, "headshots"))  # the same again
    assert page.is_file()
    (ctx.likeness.reports / "drift.json").write_text("a person's own notes")
    draw(context(root, "headshots"), "anew")
    assert sorted(p.name for p in ctx.likeness.reports.iterdir() if p.suffix != ".lock") == [
        "check.html",
        "drift.json",
        "stages.json",
    ]
    assert "score" not in context(root, "headshots").journal.stages
