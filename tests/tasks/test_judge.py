"""Pictures from any tool: judged with a real pack of random networks, and every bad input reported."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait_lora.errors import InputError, PhotosError
from portrait_lora.evaluation import measure
from portrait_lora.evaluation.clip import ClipAdherence
from portrait_lora.evaluation.thresholds import Threshold, write_threshold
from portrait_lora.faces.packs import resolve_pack
from portrait_lora.tasks import judge
from tests.evaluation.drawn import drawn_scene
from tests.faces.tiny_pack import write_tiny_pack


def folder(place: Path, name: str, seeds: range) -> Path:
    (place / name).mkdir()
    for seed in seeds:
        Image.fromarray(drawn_scene(seed)).save(place / name / f"{seed:03d}.png")
    return place / name


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_pack(tmp_path_factory.mktemp("pack"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return folder(tmp_path, "photos", range(3))


@pytest.fixture
def portraits(tmp_path: Path) -> Path:
    return folder(tmp_path, "portraits", range(10, 14))


def test_a_folder_of_pictures_is_judged(tmp_path: Path, pack: Path, monkeypatch: pytest.MonkeyPatch):
    seen: list[str] = []

    def judged(shown: list[tuple[Path, str]], model: str, *, trigger: str) -> ClipAdherence:
        seen.extend(prompt for _, prompt in shown)
        return ClipAdherence(model, 0.25, 0.5, 0.5, len(shown))

    monkeypatch.setattr(measure, "clip_adherence", judged)
    photos, portraits = folder(tmp_path, "photos", range(2)), folder(tmp_path, "portraits", range(10, 12))
    Image.new("RGB", (6, 6)).save(portraits / "tiny.png")  # too small to hold a face
    (portraits / "broken.png").write_bytes(b"not a picture")
    Image.fromarray(drawn_scene(10)).save(portraits / "zz-again.png")
    (photos / "damaged.jpg").write_bytes(b"\xff\xd8\xff")
    training = folder(tmp_path, "training", range(20, 21))
    table = tmp_path / "prompts.csv"
    names = sorted(p.name for p in portraits.iterdir())
    rows = [f"{name},prompt {i % 2},same" for i, name in enumerate(names)]
    table.write_text("\ufeffFile,Prompt,Meaning\n" + "\n".join(rows), encoding="utf-8")
    face_pack = resolve_pack(str(pack))
    own = Threshold(0.1, 1e-2, face_pack.embedder_ids["report"], face_pack.digest, 3, 9, 900, "test")
    write_threshold(tmp_path / "threshold.json", own)
    result = judge.score_folders(
        photos,
        portraits,
        tmp_path / "out",
        training=training,
        prompts_csv=table,
        face_pack=str(pack),
        threshold_file=tmp_path / "threshold.json",
        allow_synthetic=True,
        clip="mine",
    )
    assert sorted(seen) == ["prompt 0", "prompt 0", "prompt 1", "prompt 1"]
    assert result.clip == judge.ClipFigures(
        model="mine", mean_cosine=0.25, nearest_rate=0.5, chance=0.5, portraits=4
    )
    assert "own prompt is nearest in 50% (chance 50%)" in " ".join(judge.lines_of(result))
    assert result.unreadable == ("broken.png",)
    assert result.photos_unreadable == ("damaged.jpg",)
    assert "1 photos that cannot be read, left out: damaged.jpg" in " ".join(judge.lines_of(result))
    assert result.repeated == (("zz-again.png", "010.png"),)
    assert result.portraits == 4
    likeness = result.likeness
    assert likeness.threshold == 0.1
    assert likeness.face_found_rate < 1
    assert likeness.base_mean is None
    for name in ("drift.html", "drift.json", "drift.csv", "drift.parquet"):
        assert (tmp_path / "out" / name).is_file()
    assert "broken.png" in " ".join(judge.lines_of(result))


def test_the_embedded_pack_is_refused_on_photographs(
    photos: Path, portraits: Path, pack: Path, tmp_path: Path
):
    with pytest.raises(InputError, match="real photographs"):
        judge.score_folders(photos, portraits, tmp_path / "out", face_pack=str(pack))


def test_fewer_than_two_photos_are_too_few(tmp_path: Path, portraits: Path):
    one = folder(tmp_path, "one", range(1))
    Image.fromarray(drawn_scene(0)).save(one / "same.png")  # the same file again adds nothing
    (one / "broken.png").write_bytes(b"no")
    with pytest.raises(PhotosError, match="got 1 readable and different; needed 2"):
        judge.plan(one, portraits)


def test_missing_folders_and_empty_ones(tmp_path: Path, photos: Path):
    with pytest.raises(InputError, match="no folder of portraits"):
        judge.plan(photos, tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no portraits in this folder"):
        judge.plan(photos, tmp_path / "empty")


def test_a_photo_in_both_folders_is_refused(tmp_path: Path, photos: Path, portraits: Path):
    training = folder(tmp_path, "training", range(2, 5))
    with pytest.raises(InputError, match="both held out and given"):
        judge.plan(photos, portraits, training)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,prompt\n010.png,a\n011.png,b\n012.png,c\n", r"without a row: got 013\.png"),
        (
            "file,prompt\n010.png,a\n011.png,b\n012.png,c\n013.png,d\nx.png,e\n",
            r"without a portrait: got x\.png",
        ),
        ("file,prompt\n010.png,a\n011.png,b\n012.png,c\n013.png,d\n013.png,e\n", "two rows"),
        ("file,prompt\n010.png,a\n011.png,b\n012.png,c\n013.png,\n", "without a prompt"),
        ("name,words\n010.png,a\n", "not a table of prompts"),
        ("", "not a table of prompts"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(
    tmp_path: Path, photos: Path, portraits: Path, text: str, message: str
):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        judge.plan(photos, portraits, prompts_csv=tmp_path / "p.csv")


def test_a_table_that_is_no_text(tmp_path: Path, photos: Path, portraits: Path):
    (tmp_path / "p.csv").write_bytes(np.arange(255, dtype=np.uint8).tobytes())
    with pytest.raises(InputError, match="cannot be read"):
        judge.plan(photos, portraits, prompts_csv=tmp_path / "p.csv")


def test_the_sheets_beside_the_portraits_of_a_series_are_no_portraits(photos: Path, portraits: Path):
    names = sorted(p.name for p in portraits.iterdir())
    for sheet in ("contact_sheet.jpg", "worst_first.jpg"):
        Image.fromarray(drawn_scene(99)).save(portraits / sheet)
    wanted, paths = judge.plan(photos, portraits)
    assert sorted(paths) == sorted(item.path.name for item in wanted.portraits) == names


def test_clip_needs_prompts(photos: Path, portraits: Path, pack: Path, tmp_path: Path):
    with pytest.raises(InputError, match="--clip"):
        judge.score_folders(
            photos, portraits, tmp_path / "out", face_pack=str(pack), allow_synthetic=True, clip="any"
        )
