from pathlib import Path

import pytest
from PIL import Image, ImageOps

from portrait_lora import provenance
from portrait_lora.synthetic import photos, taking

GOOD = 2
CODES = ("no_face", "cut_off", "unreadable")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, photos.ReferenceSet]:
    folder = tmp_path_factory.mktemp("set") / "photos"
    return folder, photos.make_reference_set(5, folder, good=GOOD, bad=CODES)


def test_names_and_codes(written: tuple[Path, photos.ReferenceSet]):
    folder, reference = written
    assert sorted(p.name for p in folder.iterdir()) == [t.file for t in reference.truths]
    assert sorted(reference.planted.values()) == sorted(CODES)
    assert sum(t.code is None for t in reference.truths) == GOOD
    assert reference.subject in ("man", "woman")


def test_the_same_seed_gives_the_same_bytes(written: tuple[Path, photos.ReferenceSet], tmp_path: Path):
    _, reference = written
    assert photos.make_reference_set(5, tmp_path, good=GOOD, bad=CODES) == reference


def test_pictures_carry_the_studio_mark(written: tuple[Path, photos.ReferenceSet]):
    folder, reference = written
    assert all(provenance.is_studio_picture(folder / t.file) for t in reference.truths)


def test_the_truncated_file_cannot_be_read(written: tuple[Path, photos.ReferenceSet]):
    folder, reference = written
    broken = next(f for f, code in reference.planted.items() if code == "unreadable")
    with pytest.raises(OSError, match="truncated"), Image.open(folder / broken) as picture:
        picture.load()


def test_truth_reads_back_and_notices_changes(written: tuple[Path, photos.ReferenceSet], tmp_path: Path):
    folder, reference = written
    photos.write_truth(reference, tmp_path / "studio.json")
    assert photos.read_truth(tmp_path / "studio.json") == reference
    assert photos.is_whole(reference, folder) and not photos.is_whole(reference, tmp_path)
    begun = photos.ReferenceSet(1, "", (), {})  # recorded before the first photo is there
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
