"""Files beside a finished picture: recorded by digest, made again, and compared one by one."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from portrait_lora import manifest, provenance
from portrait_lora.generation import save
from portrait_lora.synthetic.identity import sample_people
from portrait_lora.synthetic.taking import picture_of, plain_photo
from portrait_lora.tasks import finish as finishing

ALWAYS = {"ora", "clip.webp", "clip.avif", "premultiplied.tif"}
EXTRAS = {"psd": "psd_tools", "clip.mp4": "imageio_ffmpeg"}
SMALL = "seconds: 2, fps: 8, size_px: 64"


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("portrait") / "p.png"
    picture = picture_of(plain_photo(sample_people([3]), 3, 0)).resize((144, 180))
    picture.save(path, pnginfo=provenance.png_info(None))
    return path


@pytest.fixture(scope="module")
def finished(portrait: Path) -> Path:
    """A picture with one product of each kind that can be written here."""
    here = {name for name, module in EXTRAS.items() if importlib.util.find_spec(module)}
    clips = ["webp", "avif", *(["mp4"] if "clip.mp4" in here else [])]
    layers = ["ora", *(["psd"] if "psd" in here else [])]
    look = portrait.parent / "all.yaml"
    look.write_text(
        f"steps: [cutout: {{premultiplied: true}}, backdrop: {{colour: '#8899aa'}}, grade: {{contrast: 0.1}},"
        f" layers: {{files: {layers}}}, clip: {{files: {clips}, {SMALL}}}]"
    )
    (one,) = finishing.finish(portrait, str(look), None, portrait.parent / "out", []).pictures
    assert one.file is not None, one.refused
    sidecar = json.loads(save.sidecar_of(Path(one.file)).read_text())
    assert {name.removeprefix("p-all").lstrip(".-") for name in sidecar["products"]} == ALWAYS | here
    for name, digest in sidecar["products"].items():
        assert manifest.sha256_file(Path(one.file).with_name(name)) == digest
    return Path(one.file)


def test_every_product_is_made_again_to_the_byte(finished: Path, portrait: Path) -> None:
    """Also where one is gone, one was edited since, and one is recorded with other bytes, which are told."""
    layers, clip, other = (
        finished.with_name(f"p-all{end}") for end in (".ora", "-clip.webp", "-premultiplied.tif")
    )
    kept = layers.read_bytes(), clip.read_bytes(), (sidecar := save.sidecar_of(finished)).read_text()
    layers.write_bytes(b"edited")
    clip.unlink()
    content = json.loads(kept[2])
    content["products"][other.name] = "0" * 64
    content["versions"]["pillow"] = "1.0"
    sidecar.write_text(json.dumps(content))
    again = finishing.reproduce(finished, None, portrait, [])
    layers.write_bytes(kept[0])
    clip.write_bytes(kept[1])
    sidecar.write_text(kept[2])
    states = {one.file: (one.same, one.state) for one in again.products}
    assert states.pop(layers.name) == (True, "changed since")
    assert states.pop(clip.name) == (True, "missing")
    assert states.pop(other.name) == (False, "changed since")
    assert set(states.values()) == {(True, "")}
    assert len(again.products) == len(json.loads(kept[2])["products"])
    assert {one.file[-5:] for one in again.products if one.by_encoder} >= {".webp", ".avif"}
    assert again.same and not again.whole
    assert again.model_copy(update={"products": again.products[:1]}).whole == again.products[0].same
    assert any("pillow 1.0 then" in line for line in again.differences)


def test_the_record_of_an_earlier_version_has_no_products(finished: Path) -> None:
    sidecar = save.sidecar_of(finished)
    content = json.loads(sidecar.read_text())
    del content["products"]
    old = finished.parent / "old.json"
    old.write_text(json.dumps(content))
    assert finishing.finish_files.products_of(old) == {}
    assert {"numpy", "opencv", "pillow"} <= set(content["versions"])
    assert {"numpy", "opencv"} <= set(save.versions())


def test_what_stands_is_not_made_again(
    finished: Path, portrait: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the chain was carried out again")

    monkeypatch.setattr(finishing.chain, "run", refuse)
    look, folder = str(portrait.parent / "all.yaml"), finished.parent
    (one,) = finishing.finish(portrait, look, None, folder, []).pictures
    assert one.stood and one.file == str(finished) and one.before_b is not None
    assert [step.step for step in one.steps] == ["cutout", "backdrop", "grade", "layers", "clip"]
    with pytest.raises(AssertionError):  # another seed, another picture
        finishing.finish(portrait, look, None, folder, [], seed=3)
    layers = finished.with_suffix(".ora")
    kept = layers.read_bytes()
    layers.write_bytes(kept + b"x")
    with pytest.raises(AssertionError):  # one of its files is another one now
        finishing.finish(portrait, look, None, folder, [])
    layers.write_bytes(kept)
