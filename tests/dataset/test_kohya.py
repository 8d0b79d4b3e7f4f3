import json
import os
from pathlib import Path

import pytest

from portrait_lora import manifest
from portrait_lora.dataset.kohya import export_kohya, import_dataset
from portrait_lora.errors import InputError
from portrait_lora.records import CaptionedCrop

from .made_up import draw, save


def crops(folder: Path, count=3):
    folder.mkdir(exist_ok=True)
    written = []
    for i in range(count):
        path = save(folder / f"a-{i}.png", draw(i, (64, 64)))
        mask = save(folder / f"m-{i}.png", draw(i, (64, 64)))
        box = (0, 0, 64, 64)
        written.append(
            CaptionedCrop(path, "a.jpg", "0", box, (64, 64), f"ohwx man, number {i}", "ohwx", mask)
        )
    return written


def test_out_and_in_again(tmp_path):
    exported = crops(tmp_path / "crops")
    out = export_kohya(exported, tmp_path / "out", trigger="ohwx", subject="man", repeats=7)
    assert out == tmp_path / "out/img/7_ohwx man"
    assert (out / "a-1.txt").read_text() == "ohwx man, number 1\n"
    assert len(list((tmp_path / "out/masks").iterdir())) == 3
    manifest.verify(tmp_path / "out")
    for source in (tmp_path / "out", out):
        photos = tmp_path / f"photos_{source.name}"
        imported = import_dataset(source, photos)
        assert (imported.photos, imported.captions, imported.trigger, imported.subject) == (
            3,
            3,
            "ohwx",
            "man",
        )
        assert (photos / "a-2.png").read_bytes() == exported[2].path.read_bytes()
        assert (photos / "a-2.txt").read_text() == "ohwx man, number 2\n"


def test_an_export_replaces_an_export_but_nothing_else(tmp_path):
    exported = crops(tmp_path / "crops")
    for repeats in (5, 6):
        export_kohya(exported, tmp_path / "out", trigger="o/w", subject="man", repeats=repeats)
    assert [p.name for p in (tmp_path / "out/img").iterdir()] == ["6_o_w man"]
    with pytest.raises(InputError, match="other files"):
        export_kohya(exported, tmp_path / "crops", trigger="ohwx", subject="man")
    assert len(list((tmp_path / "crops").iterdir())) == 6
    with pytest.raises(InputError, match="nothing to export"):
        export_kohya([], tmp_path / "none", trigger="ohwx", subject="man")


def test_several_folders_of_one_subject_are_joined_and_names_stay_apart(tmp_path):
    for number, colour in ((10, 0), (3, 1)):
        folder = tmp_path / "in" / f"{number}_sks person"
        folder.mkdir(parents=True)
        save(folder / "same name 🙂.png", draw(colour, (64, 64)))
        (folder / "same name 🙂.caption").write_text(f"sks person {number}", encoding="utf-8")
    os.symlink(tmp_path / "in/10_sks person/same name 🙂.png", tmp_path / "in/3_sks person/link.png")
    imported = import_dataset(tmp_path / "in", tmp_path / "photos")
    assert (imported.photos, imported.passed_over) == (2, ("link.png",))
    names = {p.name: p for p in (tmp_path / "photos").iterdir()}
    assert set(names) == {f"same name 🙂{n}{s}" for n in ("", "_2") for s in (".png", ".txt")}
    assert {p.read_text("utf-8") for n, p in names.items() if n.endswith("txt")} == {
        "sks person 10\n",
        "sks person 3\n",
    }


def test_an_imagefolder_is_read_with_its_captions(tmp_path):
    save(tmp_path / "in.png", draw(0, (64, 64)))
    folder = tmp_path / "set" / "train"
    folder.mkdir(parents=True)
    save(folder / "a.png", draw(0, (64, 64)))
    row = {"file_name": "a.png", "text": "ohwx man by the sea"}
    (folder / "metadata.jsonl").write_text(json.dumps(row), encoding="utf-8")
    imported = import_dataset(tmp_path / "set", tmp_path / "photos")
    assert (imported.photos, imported.captions, imported.trigger) == (1, 1, "")
    assert (tmp_path / "photos/a.txt").read_text() == "ohwx man by the sea\n"


def test_what_is_no_dataset_says_so(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        import_dataset(tmp_path / "none", tmp_path / "photos")
    with pytest.raises(InputError, match="portrait-lora init"):
        import_dataset(tmp_path, tmp_path / "photos")
    for name in ("10_sks man", "10_abc man"):
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match="several subjects"):
        import_dataset(tmp_path, tmp_path / "photos")
    with pytest.raises(InputError, match="no pictures"):
        import_dataset(tmp_path / "10_sks man", tmp_path / "photos")
    (tmp_path / "full").mkdir()
    save(tmp_path / "full/a.png", draw(0))
    with pytest.raises(InputError, match="photos already"):
        import_dataset(tmp_path / "10_sks man", tmp_path / "full")
