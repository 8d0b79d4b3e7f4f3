from pathlib import Path

import pytest
from PIL import Image, ImageOps

from portrait_lora import provenance
from portrait_lora.synthetic import photos, taking

GOOD = 2
CODES = ("no_face", "cut_off", "unreadable")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, photos.ReferenceSet]:
    folder = tmp_path_factory.mktemp("set") / "photos"
    return folder, photos.make_reference_set(5, folder, good=GOOD, bad=CODES)


def test_names_and_codes(made: tuple[Path, photos.ReferenceSet]):
    folder, told = made
    assert sorted(p.name for p in folder.iterdir()) == [t.file for t in told.truths]
    assert sorted(told.planted.values()) == sorted(CODES)
    assert sum(t.code is None for t in told.truths) == GOOD
    assert told.subject in ("man", "woman")


def test_the_same_seed_gives_the_same_bytes(made: tuple[Path, photos.ReferenceSet], tmp_path: Path):
    _, told = made
    assert photos.make_reference_set(5, tmp_path, good=GOOD, bad=CODES) == told


def test_pictures_carry_the_studio_mark(made: tuple[Path, photos.ReferenceSet]):
    folder, told = made
    assert all(provenance.is_studio_picture(folder / t.file) for t in told.truths)


def test_the_truncated_file_cannot_be_read(made: tuple[Path, photos.ReferenceSet]):
    folder, told = made
    broken = next(f for f, code in told.planted.items() if code == "unreadable")
    with pytest.raises(OSError, match="truncated"), Image.open(folder / broken) as picture:
        picture.load()


def test_truth_reads_back_and_notices_changes(made: tuple[Path, photos.ReferenceSet], tmp_path: Path):
    folder, told = made
    photos.write_truth(told, tmp_path / "studio.json")
    assert photos.read_truth(tmp_path / "studio.json") == told
    assert photos.is_whole(told, folder) and not photos.is_whole(told, tmp_path)
    begun = photos.ReferenceSet(1, "", (), {})  # told before the first photo is there
    (tmp_path / "empty").mkdir()
    assert not photos.is_whole(begun, tmp_path / "empty")
    (tmp_path / "broken.json").write_text("{")
    assert photos.read_truth(tmp_path / "broken.json") is None


@pytest.mark.parametrize("orientation", sorted(taking.SIDEWAYS))
def test_sideways_storage_is_undone_by_the_tag(orientation: int, tmp_path: Path):
    upright = Image.new("RGB", (48, 64), "white")
    upright.paste("red", (0, 0, 48, 16))
    (tmp_path / "p.jpg").write_bytes(taking.encode(upright, orientation))
    with Image.open(tmp_path / "p.jpg") as stored:
        turned = ImageOps.exif_transpose(stored)
    assert turned.size == (48, 64)
    assert turned.getpixel((24, 4))[0] > 200 and turned.getpixel((24, 4))[1] < 60
    assert min(turned.getpixel((24, 60))) > 200


def test_the_plans_cover_what_a_check_wants():
    plans = taking.GOOD_PLANS
    assert len(plans) == 16
    assert sum(max(p.size_px) >= 1500 for p in plans) >= 3
    assert {p.orientation for p in plans} == {1, *taking.SIDEWAYS}
    assert len({p.expression for p in plans}) >= 4 and len({p.lighting for p in plans}) >= 4
    assert min(p.yaw_deg for p in plans) < -45 and max(p.yaw_deg for p in plans) > 45
