import base64
import csv
import json
import logging
import os
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from portrait_lora import manifest, provenance
from portrait_lora.dataset.build import build_dataset, dataset_inputs, load_dataset_folder
from portrait_lora.dataset.caption import read_captions, write_captions
from portrait_lora.dataset.coverage import coverage
from portrait_lora.dataset.curate import curate
from portrait_lora.dataset.photos import load_photo
from portrait_lora.dataset.report import write_check_html
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.records import CuratedSet, PhotoReport

from . import pictured
from .made_up import SAME, FixedFinder, draw, embedding, made_up_face, report, save

BIG = (420, 530)
OPTIONS = {"size_px": 64, "trigger": "ohwx", "subject": "woman"}
NAMES = ("plain", "with space & ünï 🙂", "<script>alert('x')\"", "=cmd", "e", "f")


@pytest.fixture(scope="module")
def curated(tmp_path_factory):
    """Five photos kept for training or held out under hostile names, one of somebody else."""
    folder = tmp_path_factory.mktemp("photos")
    reports = []
    for i, name in enumerate(NAMES):
        checked = report(folder, i, pixels=draw(i, BIG), yaw=(i - 2) * 20.0, embedding=embedding(1, i))
        path = checked.photo.path.rename(folder / f"{name}.png")
        reports.append(PhotoReport(replace(checked.photo, path=path), checked.face))
    reports.append(report(folder, 9, pixels=draw(9, BIG), person=2))
    return curate(reports, SAME)


@pytest.fixture(scope="module")
def built(curated, tmp_path_factory):
    folder = tmp_path_factory.mktemp("likeness") / "dataset"
    return folder, build_dataset(curated, folder, captions_csv=folder.parent / "captions.csv", **OPTIONS)


def test_crops_masks_and_captions_of_the_kept_photos_only(built, curated):
    folder, crops = built
    assert len(crops) == 2 * len(curated.kept) == 8
    assert {c.source_sha256 for c in crops} == {r.photo.sha256 for r in curated.kept}
    for crop in crops:
        with Image.open(crop.path) as image, Image.open(crop.mask_path) as mask:
            assert (image.size, image.mode, mask.size, mask.mode) == ((64, 64), "RGB", (64, 64), "L")
            assert image.info == {}
        assert "ohwx woman" in crop.caption
        assert crop.bucket == (64, 64)
    assert len(list((folder / "train").glob("*.png"))) == 8


def test_the_holdout_holds_whole_photos(built, curated):
    folder, _ = built
    held = load_dataset_folder(folder)[1]
    assert len(held) == len(curated.holdout) == 2
    for path in held:
        with Image.open(path) as image:
            assert image.size == BIG


def test_large_held_out_photos_are_reduced_and_lose_their_metadata(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "camera maker"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 0.0)
    reports = []
    for i in range(5):
        path = tmp_path / f"{i}.jpg"
        Image.fromarray(draw(i, (840, 1100))).save(path, exif=exif)
        checked = report(tmp_path, i, suffix="png", pixels=draw(i, (840, 1100)))
        photo = replace(checked.photo, path=path, sha256=manifest.sha256_file(path))
        reports.append(PhotoReport(photo, made_up_face((840, 1100), embedding=embedding(1, i))))
    curated = curate(reports, SAME)
    crops = build_dataset(curated, tmp_path / "dataset", **OPTIONS)
    for path in [*load_dataset_folder(tmp_path / "dataset")[1], *(c.path for c in crops)]:
        with Image.open(path) as image:
            assert max(image.size) <= 1024
            assert len(image.getexif()) == 0
        assert b"camera maker" not in path.read_bytes()


def test_the_folder_reads_back_as_it_was_written(built):
    folder, crops = built
    assert load_dataset_folder(folder)[0] == crops
    rows = [json.loads(x) for x in (folder / "train/metadata.jsonl").read_text("utf-8").splitlines()]
    assert {r["source"] for r in rows} <= {f"{n}.png" for n in NAMES}
    assert all(r["file_name"].isascii() and " " not in r["file_name"] for r in rows)


def test_hugging_face_reads_both_parts(built, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    folder, crops = built
    train = datasets.load_dataset(
        "imagefolder", data_dir=str(folder / "train"), split="train", cache_dir=tmp_path
    )
    assert len(train) == len(crops)
    by_caption = {c.caption for c in crops}
    assert set(train["text"]) == by_caption
    assert train[0]["image"].size == (64, 64)
    held = datasets.load_dataset(
        "imagefolder", data_dir=str(folder / "holdout"), split="train", cache_dir=tmp_path
    )
    assert len(held) == 2


def test_buckets_of_several_shapes_are_filled(curated, tmp_path):
    sizes = [(64, 64), (56, 72)]
    crops = build_dataset(curated, tmp_path / "dataset", **(OPTIONS | {"size_px": sizes}))
    assert {c.bucket for c in crops} == set(sizes)
    for crop in crops:
        with Image.open(crop.path) as image, Image.open(crop.mask_path) as mask:
            assert image.size == mask.size == crop.bucket


def test_a_photo_that_changed_or_went_away_after_the_check_is_refused(tmp_path):
    reports = [report(tmp_path, i, pixels=draw(i, BIG), embedding=embedding(1, i)) for i in range(6)]
    curated = curate(reports, SAME)
    path = curated.kept[0].photo.path
    bytes_before = path.read_bytes()
    Image.fromarray(draw(99, BIG)).save(path)
    with pytest.raises(InputError, match="changed since the check"):
        build_dataset(curated, tmp_path / "dataset", **OPTIONS)
    path.unlink()
    with pytest.raises(InputError, match="was removed"):
        build_dataset(curated, tmp_path / "dataset", **OPTIONS)
    path.write_bytes(bytes_before)
    assert build_dataset(curated, tmp_path / "dataset", **OPTIONS)


def test_position_and_camera_reach_no_file_and_no_page(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "camera maker"
    exif[0x9286] = "private comment"
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 1.0)})
    photos = tmp_path / "photos"
    photos.mkdir()
    reports = []
    for i in range(5):
        path = photos / f"{i}.jpg"
        Image.fromarray(draw(i, BIG)).save(path, exif=exif, comment=b"secret comment", xmp=b"<secret xmp/>")
        reports.append(PhotoReport(load_photo(path)[0], made_up_face(BIG, embedding=embedding(1, i))))
    curated = curate(reports, SAME)
    build_dataset(curated, tmp_path / "dataset", captions_csv=tmp_path / "captions.csv", **OPTIONS)
    write_check_html(tmp_path / "check.html", curated, reports)
    page = (tmp_path / "check.html").read_text("utf-8")
    thumbs = [base64.b64decode(t) for t in re.findall(r"base64,([A-Za-z0-9+/=]+)", page)]
    written = [p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and photos not in p.parents]
    assert len(thumbs) == 5 and len(written) > 12
    for data in (*thumbs, *written):
        for secret in (b"camera maker", b"private comment", b"secret", b"Exif\0", b"<x:xmpmeta"):
            assert secret not in data


def test_the_same_photos_give_the_same_bytes(built, curated, tmp_path):
    folder, _ = built
    build_dataset(curated, tmp_path / "again", **OPTIONS)
    assert manifest.read(tmp_path / "again").files == manifest.read(folder).files


def test_edited_captions_win_and_missing_ones_are_added(curated, tmp_path):
    table = tmp_path / "captions.csv"
    first = build_dataset(curated, tmp_path / "dataset", captions_csv=table, **OPTIONS)
    rows = list(csv.reader(table.open(encoding="utf-8")))
    assert len(rows) == 9
    edited, other = first[0].path.name, first[1].path.name
    table.write_text(f'file,caption\n{edited},"ohwx, in my own words"\n', encoding="utf-8")
    second = {
        c.path.name: c.caption
        for c in build_dataset(curated, tmp_path / "dataset", captions_csv=table, **OPTIONS)
    }
    assert second[edited] == "ohwx, in my own words"
    assert second[other] == first[1].caption
    rows = dict(csv.reader(table.open(encoding="utf-8")))
    assert rows[edited] == "ohwx, in my own words"
    assert len(rows) == 9


def test_no_edit_is_lost_when_photos_are_renamed_removed_or_saved_again(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("portrait_lora"), "propagate", True)
    photos, table = tmp_path / "photos", tmp_path / "captions.csv"
    photos.mkdir()
    reports = [report(photos, i, pixels=draw(i, BIG), embedding=embedding(1, i)) for i in range(7)]
    first = build_dataset(curate(reports, SAME), tmp_path / "dataset", captions_csv=table, **OPTIONS)
    sources = list(dict.fromkeys(crop.source for crop in first))
    mine = {crop.path.name: f"ohwx, my words on {crop.path.name}" for crop in first}
    write_captions(table, mine)
    renamed, removed, resaved = (photos / name for name in sources[:3])
    renamed.rename(photos / "zz holiday.png")
    removed.unlink()
    Image.fromarray(draw(77, BIG)).save(resaved)
    again = [
        PhotoReport(load_photo(path)[0], made_up_face(BIG, embedding=embedding(1, i)))
        for i, path in enumerate(sorted(photos.iterdir()))
    ]
    crops = build_dataset(curate(again, SAME), tmp_path / "dataset", captions_csv=table, **OPTIONS)
    kept, texts = read_captions(table), {crop.path.name: crop.caption for crop in crops}
    old = {source: [c.path.name for c in first if c.source == source] for source in sources}
    for name in old[removed.name] + old[resaved.name]:
        assert kept[name] == mine[name]  # nothing of the person's is thrown away
    for source in sources[3:]:
        for name in old[source]:
            assert kept[name] == mine[name] and texts.get(name, mine[name]) == mine[name]
    for name in old[renamed.name]:
        now = "zz_holiday" + name[len(renamed.stem) :]
        assert kept[now] == mine[name] and name not in kept and texts.get(now, mine[name]) == mine[name]
    assert "4 lines match no photo" in caplog.text and "saved again" in caplog.text


def test_words_written_while_the_crops_are_cut_are_kept(curated, tmp_path):
    table = tmp_path / "captions.csv"

    class Slow:
        """A captioner during whose work somebody edits the file."""

        def caption(self, image, face, crop):
            table.write_text(f"file,caption\n{names[0]},in the meantime\n", encoding="utf-8")
            return "ohwx woman"

    names = [c.path.name for c in build_dataset(curated, tmp_path / "before", **OPTIONS)]
    crops = build_dataset(curated, tmp_path / "dataset", captions_csv=table, captioner=Slow(), **OPTIONS)
    written = [c.path.name for c in crops if c.caption == "in the meantime"]
    assert len(written) == 1 and read_captions(table)[written[0]] == "in the meantime"
    assert len(read_captions(table)) == len(crops)


def test_the_inputs_show_whether_anything_changed(curated, tmp_path):
    table, folder = tmp_path / "captions.csv", tmp_path / "dataset"
    build_dataset(curated, folder, captions_csv=table, **OPTIONS)
    same = {"size_px": 64, "crops": 2, "trigger": "ohwx", "subject": "woman"}
    assert manifest.is_current(folder, dataset_inputs(curated, table, **same))
    assert not manifest.is_current(folder, dataset_inputs(curated, table, **(same | {"crops": 3})))
    table.write_text(table.read_text("utf-8").replace("ohwx", "zwx"), encoding="utf-8")
    assert not manifest.is_current(folder, dataset_inputs(curated, table, **same))


def test_broken_captions_leave_the_old_folder_alone(curated, tmp_path):
    table, folder = tmp_path / "captions.csv", tmp_path / "dataset"
    build_dataset(curated, folder, **OPTIONS)
    before = manifest.verify(folder).digest
    table.write_text("file,caption\nnobody.png\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"captions\.csv:2"):
        build_dataset(curated, folder, captions_csv=table, **OPTIONS)
    assert manifest.verify(folder).digest == before


def test_originals_are_untouched(curated, tmp_path):
    every = [r.photo.path for r in (*curated.kept, *curated.holdout, *curated.rejected)]
    before = [(p.read_bytes(), p.stat().st_mtime_ns) for p in every]
    build_dataset(curated, tmp_path / "dataset", **OPTIONS)
    assert [(p.read_bytes(), p.stat().st_mtime_ns) for p in every] == before


def test_damage_is_noticed(curated, tmp_path):
    folder = tmp_path / "dataset"
    with pytest.raises(ArtifactError, match="no complete dataset"):
        load_dataset_folder(folder)
    crops = build_dataset(curated, folder, size_px=(48, 64), trigger="ohwx", subject="man", crops_per_photo=1)
    assert np.array(Image.open(crops[0].path)).shape == (64, 48, 3)
    crops[0].path.write_bytes(b"x")
    with pytest.raises(ArtifactError, match="changed"):
        load_dataset_folder(folder)


def test_a_file_name_that_is_no_utf8_goes_all_the_way(tmp_path):
    reports = []
    for i in range(5):
        checked = report(tmp_path, i, pixels=draw(i, BIG), yaw=(i - 2) * 20.0, embedding=embedding(1, i))
        name = os.fsdecode(b"Andr\xe9_%d.png" % i)
        path = checked.photo.path.rename(tmp_path / name)
        reports.append(PhotoReport(replace(checked.photo, path=path), checked.face))
    kept = curate(reports, SAME)
    folder = tmp_path / "likeness" / "dataset"
    crops = build_dataset(kept, folder, captions_csv=folder.parent / "captions.csv", **OPTIONS)
    write_check_html(folder.parent / "check.html", kept, reports, title="x")
    rows = (folder / "train" / "metadata.jsonl").read_text("utf-8")
    assert "Andr?_" in rows and {json.loads(r)["source_sha256"] for r in rows.splitlines()}
    assert (
        load_dataset_folder(folder)[0][0].source_sha256
        == sorted(crops, key=lambda c: c.path.name)[0].source_sha256
    )
    assert "Andr" in (folder.parent / "check.html").read_text("utf-8")


def test_crops_and_held_out_photos_of_the_studio_stay_the_studios_and_no_others(tmp_path):
    reports = []
    for i in range(6):
        checked = report(tmp_path, i, pixels=draw(i, BIG), yaw=(i - 2) * 20.0, embedding=embedding(1, i))
        if i < 5:
            checked.photo.path.write_bytes(provenance.studio_marked(checked.photo.path.read_bytes()))
        reports.append(PhotoReport(load_photo(checked.photo.path)[0], checked.face))
    kept = curate(reports, SAME)
    build_dataset(kept, tmp_path / "dataset", **OPTIONS)
    for part in ("train", "holdout"):
        rows = map(json.loads, (tmp_path / "dataset" / part / "metadata.jsonl").read_text().splitlines())
        for row in rows:
            file = tmp_path / "dataset" / part / row["file_name"]
            assert provenance.is_unmarked_picture(file) == (row["source"] == "photo_05.png")
    assert {r.photo.path.name for r in (*kept.kept, *kept.holdout)} > {"photo_05.png"}


def test_photographs_get_crops_with_all_hair_and_masks_that_follow_it(tmp_path):
    photo = tmp_path / "photos" / "a.png"
    photo.parent.mkdir()
    save(photo, pictured.photograph((150, 150, 150), (26, 36, 78), hair_px=40))
    shot = PhotoReport(load_photo(photo)[0], pictured.face())
    curated = CuratedSet((shot,), (), (), coverage([shot]), embedding(1), "made_up")
    finder = FixedFinder(pictured.face(), size_px=pictured.SIZE)
    names = {"size_px": 256, "trigger": "ohwx", "subject": "man"}
    studio = build_dataset(curated, tmp_path / "studio", **names)
    photographs = build_dataset(curated, tmp_path / "photographs", find_faces=finder.find, **names)
    assert finder.calls == 1
    assert len(studio) == len(photographs) == 2
    for one, other in zip(studio, photographs, strict=True):
        assert one.crop_xyxy_px[1] > 130 > other.crop_xyxy_px[1]  # the top-knot begins at row 120
        assert one.mask_path and other.mask_path
        assert one.mask_path.read_bytes() != other.mask_path.read_bytes()
