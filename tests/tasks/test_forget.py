"""After `forget` no file below the folder and the caches holds bytes of the person."""

from __future__ import annotations

import base64
import json
import random
import shutil
from pathlib import Path

import pytest

from portrait_lora import removal
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.rights import consent
from portrait_lora.tasks import forget as forgetting
from portrait_lora.tasks.forget import RECEIPT, forget, plan
from tests.conftest import Journey
from tests.tasks.made_up import make_likeness

BIOMETRIC = (".png", ".jpg", ".safetensors")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "portrait_lora").mkdir(parents=True)
    return tmp_path / "home" / "portrait_lora"


def secrets(folder: Path) -> list[bytes]:
    """The middle of everything that shows or knows the person."""
    files = [p for p in folder.rglob("*") if p.suffix in (".png", ".safetensors")]
    return [data[len(data) // 2 :][:40] for data in (p.read_bytes() for p in files)]


def is_text(part: bytes) -> bool:
    return all(32 <= byte < 127 for byte in part)


def remains(roots: list[Path], needles: list[bytes]) -> list[Path]:
    files = [p for root in roots for p in root.rglob("*") if p.is_file()]
    return [p for p in files if any(n in p.read_bytes() for n in needles)]


def test_nothing_is_left_and_the_receipt_names_nobody(tmp_path: Path, home: Path) -> None:
    import datetime as dt

    folder = make_likeness(tmp_path / "anna")
    consent.write(folder, consent.of_subject("Anna", dt.date(2026, 11, 21)))
    needles = secrets(folder)
    # copies that nobody planned: a backup, an embedding beside it, a part in a cache, a moved portrait
    shutil.copytree(folder / "photos", folder / "backup")
    (folder / "notes").mkdir()
    (folder / "notes" / "todo.txt").write_text("buy milk, " * 20)
    (home / "left.bin").write_bytes(b"head" + (folder / "photos" / "anna_1.png").read_bytes() + b"tail")
    shutil.copy(folder / "adapters" / "main" / "adapter.safetensors", folder / "notes" / "a.safetensors")
    shutil.copy(folder / "portraits" / "headshots" / "shot_0.png", folder / "notes" / "p.png")
    (folder / ".writing-portraits-x").mkdir()
    receipt = forget(folder, photos=True, copies=True)
    assert remains([folder, home], needles) == []
    assert receipt["residual_files"] == 0
    assert (folder / "notes" / "todo.txt").is_file(), "what is not the person's stays"
    assert sorted(p.name for p in folder.iterdir() if p.is_file()) == [RECEIPT]
    text = (folder / RECEIPT).read_text()
    assert "anna" not in text.lower()
    contents = json.loads(text)
    assert contents["files"]["photos"] == 3 and contents["files"]["found by the search"] >= 5
    assert len(contents["consent_statement_sha256"]) == 64


def test_without_photos_the_originals_stay(tmp_path: Path) -> None:
    folder = make_likeness(tmp_path / "anna")
    before = {p.name: p.read_bytes() for p in (folder / "photos").iterdir()}
    receipt = forget(folder, photos=False)
    assert {p.name: p.read_bytes() for p in (folder / "photos").iterdir()} == before
    assert (folder / "likeness.yaml").is_file()
    assert not any((folder / name).exists() for name in forgetting.MADE)
    assert receipt["photos_removed"] is False and receipt["residual_files"] == 0


def test_exports_elsewhere_are_searched(tmp_path: Path) -> None:
    folder, elsewhere = make_likeness(tmp_path / "anna"), tmp_path / "ComfyUI"
    elsewhere.mkdir()
    shutil.copy(folder / "adapters" / "main" / "adapter.safetensors", elsewhere / "mine.safetensors")
    (elsewhere / "other.safetensors").write_bytes(bytes(range(256)) * 4)
    forget(folder, photos=True, also=[elsewhere], copies=True)
    assert [p.name for p in elsewhere.iterdir()] == ["other.safetensors"]


def test_records_go_with_the_portraits_and_adapters_they_describe(tmp_path: Path) -> None:
    folder, shared = make_likeness(tmp_path / "anna"), tmp_path / "ComfyUI"
    shared.mkdir()
    shutil.copy(folder / "portraits/headshots/shot_0.png", shared / "p.png")
    (shared / "p.json").write_text(json.dumps({"digital_source_type": "x", "recipe": {"prompt": "ohwx"}}))
    shutil.copy(folder / "adapters/main/adapter.safetensors", shared / "a.safetensors")
    (shared / "a.json").write_text(json.dumps({"activation text": "ohwx"}))
    shutil.copy(folder / "photos/anna_0.png", shared / "q.png")
    (shared / "q.json").write_text(json.dumps({"lens": "50 mm"}))
    (shared / "bert.json").write_text(json.dumps({"activation text": "bert"}))
    forget(folder, photos=True, also=[shared], copies=True)
    assert sorted(p.name for p in shared.iterdir()) == ["bert.json", "q.json"]


def test_other_people_in_a_shared_folder_stay(tmp_path: Path, home: Path) -> None:
    anna, bert = make_likeness(tmp_path / "anna"), make_likeness(tmp_path / "bert", seed=1)
    shared = tmp_path / "ComfyUI"
    shared.mkdir()
    for folder in (anna, bert):
        shutil.copy(folder / "adapters/main/adapter.safetensors", shared / f"{folder.name}.safetensors")
        shutil.copy(folder / "portraits/headshots/shot_0.png", shared / f"{folder.name}.png")
    shutil.copy(bert / "portraits/headshots/shot_0.png", home / "bert.png")
    forget(anna, photos=True, also=[shared], copies=True)
    assert sorted(p.name for p in shared.iterdir()) == ["bert.png", "bert.safetensors"]
    assert (home / "bert.png").is_file()


def test_a_page_that_shows_faces_is_found_below_the_folder_only(tmp_path: Path) -> None:
    folder, shared = make_likeness(tmp_path / "anna"), tmp_path / "shared"
    shared.mkdir()
    style = "".join(f".c{i} {{ margin: {i * 7919 % 977}px; color: #{i:06x} }}\n" for i in range(200))
    thumb = base64.b64encode((folder / "photos" / "anna_0.png").read_bytes()).decode()
    (folder / "reports" / "check.html").write_text(f"<style>{style}</style><img src='data:{thumb}'>")
    shutil.copy(folder / "reports" / "check.html", folder / "kept.html")
    (shared / "bert.html").write_text(f"<style>{style}</style>")
    (folder / "mine.html").write_text("<p>Nobody is shown here: only a list of lenses, prices and dates.</p>")
    forget(folder, photos=False, also=[shared])
    assert not (folder / "kept.html").exists()
    assert (folder / "mine.html").is_file() and (shared / "bert.html").is_file()


@pytest.mark.journey
def test_nothing_of_a_whole_journey_is_left(journey: Journey, tmp_path: Path, home: Path) -> None:
    """Ten stretches of every file that a real run left, looked for in everything afterwards.

    Stretches of plain text are left out: a prompt inside a PNG may stand in any record too.
    """
    folder = Path(shutil.copytree(journey.folder, tmp_path / "demo"))
    draw = random.Random(0)
    needles: set[bytes] = set()
    for path in (p for p in folder.rglob("*") if p.is_file() and p.suffix in BIOMETRIC):
        data = path.read_bytes()
        at = [draw.randrange(max(1, len(data) - 32)) for _ in range(10)]
        needles |= {part for a in at if len(set(part := data[a : a + 32])) >= 16 and not is_text(part)}
    assert len(needles) > 500
    for stray in ("photos", "dataset", "adapters/main", "portraits/headshots"):
        shutil.copytree(folder / stray, folder / "old" / stray)
        shutil.copytree(folder / stray, home / "stray" / stray)
    receipt = forget(folder, photos=True, copies=True)
    assert receipt["residual_files"] == 0
    assert remains([folder, home], sorted(needles)) == []
    files = {p.suffix for root in (folder, home) for p in root.rglob("*") if p.is_file()}
    assert files & set(BIOMETRIC) == set()


def test_links_are_cut_not_followed(tmp_path: Path) -> None:
    folder, outside = make_likeness(tmp_path / "anna"), tmp_path / "outside"
    outside.mkdir()
    (outside / "keep.txt").write_text("keep")
    shutil.rmtree(folder / "reports")
    (folder / "reports").symlink_to(outside)
    forget(folder, photos=True)
    assert (outside / "keep.txt").is_file() and not (folder / "reports").exists()


def test_a_folder_that_is_no_likeness_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "dataset").mkdir()
    with pytest.raises(InputError, match="not a likeness folder"):
        plan(tmp_path / "precious", photos=True)


def test_what_cannot_be_removed_is_reported_and_the_rest_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, real = make_likeness(tmp_path / "anna"), removal.remove_whole

    def refuse(path: Path, *, owner: Path) -> None:
        if path.name == "adapters":
            raise PermissionError(13, "not permitted")
        real(path, owner=owner)

    monkeypatch.setattr(removal, "remove_whole", refuse)
    with pytest.raises(ArtifactError, match="cannot be removed"):
        forget(folder, photos=True)
    assert not (folder / "photos").exists() and not (folder / "portraits").exists()
    assert json.loads((folder / RECEIPT).read_text())["not_removed"] == 1
    monkeypatch.undo()
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    assert forget(folder, photos=True)["resumed"] is True
    assert [p.name for p in folder.iterdir()] == [RECEIPT]
