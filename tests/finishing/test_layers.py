"""Layered files: the stack is the picture to the bit, edits come back, and wrong files are refused."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait_lora import provenance
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.finishing import layered, openraster, photoshop
from portrait_lora.finishing.canvas import Canvas
from portrait_lora.finishing.layered import PART, STEP, Layer, Stack
from portrait_lora.generation import save
from portrait_lora.records import Face, Parts, readonly
from portrait_lora.rights import marks
from portrait_lora.stages import finish_again, finish_files
from portrait_lora.tasks import finish as finishing
from portrait_lora.tasks import relayered
from tests.finishing.made_up import canvas
from tests.finishing.test_finish import portrait  # noqa: F401  (a fixture)

LOOK = """
name: mine
steps:
  - grade: {contrast: 0.3, saturation: 0.8, vignette: 0.3}
  - layers: {files: [ora, psd]}
"""


def _face() -> Face:
    points = readonly(np.array([[12, 14], [20, 14], [16, 18], [13, 22], [19, 22]]))
    return Face((8, 8, 24, 26), 1.0, points, readonly(np.ones(2)), "e", 9.0, 99.0)


def _parts(side: int = 32) -> Parts:
    names = ("backdrop", "clothes", "skin", "hair", "eyes", "glasses", "thing")
    labels = np.zeros((side, side), np.uint8)
    labels[4:28, 6:26], labels[8:26, 8:24], labels[26:, :] = 3, 2, 1
    return Parts(names, labels)


def _stack(parts: Parts | None = None) -> tuple[Stack, Canvas]:
    source = canvas()
    step = source.with_rgb(source.rgb_HW3 * np.linspace(1, 0.5, 32, dtype=np.float32)[:, None, None])
    return layered.build([("", source), ("grade", step)], _face(), parts), step


@pytest.mark.parametrize("parts", [None, _parts()])
def test_the_stack_is_the_picture_to_the_bit(parts: Parts | None) -> None:
    stack, step = _stack(parts)
    assert np.array_equal(stack.flat()[..., :3], step.flat())
    assert np.array_equal(stack.only(PART).flat()[..., :3], canvas().flat())
    names = [layer.name for layer in stack.layers]
    assert names == (["picture", "face"] if parts is None else ["backdrop", "body", "hair", "face"]) + [
        "1 grade"
    ]
    covered = np.sum([layer.pixels[..., 3] > 0 for layer in stack.only(PART).layers], axis=0)
    assert (covered == 1).all()


def test_coverage_and_size_begin_the_stack_anew() -> None:
    source = canvas()
    cut = Canvas(source.rgb_HW3, readonly(np.full((32, 32), 0.5)))
    graded = cut.with_rgb(cut.rgb_HW3 * 0.5)
    assert layered.base_of([("", source), ("cutout", cut), ("grade", graded)]) == 2
    stack = layered.build([("", source), ("cutout", cut), ("grade", graded)], _face(), None)
    assert not stack.only(STEP).layers
    assert np.array_equal(stack.flat()[..., 3], np.full((32, 32), 128))
    larger = canvas(64)
    trail = [("", source), ("grade", graded), ("upscale", larger), ("grade", larger)]
    assert layered.base_of(trail) == 2


def test_source_over_of_half_transparent_layers() -> None:
    below = np.full((2, 2, 4), (100, 0, 0, 255), np.uint8)
    above = np.full((2, 2, 4), (0, 200, 0, 128), np.uint8)
    flat = Stack((2, 2), (Layer("a", below), Layer("b", above, opacity=0.5))).flat()
    share = 128 / 255 * 0.5
    assert np.allclose(flat[0, 0], [100 * (1 - share), 200 * share, 0, 255], atol=1)


def test_openraster_keeps_everything(tmp_path: Path) -> None:
    stack, _ = _stack(_parts())
    path = tmp_path / "p.ora"
    path.write_bytes(openraster.encoded(stack, {"layers": layered.digests_of(stack)}))
    again, record = openraster.read(path)
    assert [(a.name, a.digest, a.kind) for a in again.layers] == [
        (a.name, a.digest, a.kind) for a in stack.layers
    ]
    assert record["layers"] == layered.digests_of(stack)
    assert path.read_bytes() == openraster.encoded(stack, record)
    with zipfile.ZipFile(path) as archive:
        assert archive.infolist()[0].filename == "mimetype"
        assert archive.infolist()[0].compress_type == zipfile.ZIP_STORED
        merged = Image.open(io.BytesIO(archive.read("mergedimage.png")))
        assert np.array_equal(np.asarray(merged), stack.flat())


def test_photoshop_keeps_everything(tmp_path: Path) -> None:
    stack, _ = _stack(_parts())
    path = tmp_path / "p.psd"
    path.write_bytes(photoshop.encoded(stack))
    again = photoshop.read(path)
    assert [(a.name, a.kind) for a in again.layers] == [(a.name, a.kind) for a in stack.layers]
    assert np.array_equal(again.flat(), stack.flat())
    from psd_tools import PSDImage
    from psd_tools.constants import BlendMode

    document = PSDImage.open(path)
    assert [group.name for group in document] == ["picture", "finishing"]
    document[0][0].blend_mode = BlendMode.MULTIPLY
    document.save(path)
    with pytest.raises(InputError, match="backdrop: pixel, multiply"):
        photoshop.read(path)


def test_edits_are_noticed() -> None:
    stack, _ = _stack(_parts())
    digests = [(name, digest) for name, digest in layered.digests_of(stack)]
    assert layered.edited(stack, digests) == ()
    first, *rest = stack.layers
    spot = first.pixels.copy()
    spot[0, 0] = (1, 2, 3, 255)
    assert layered.edited(Stack(stack.size_px, (Layer(first.name, spot), *rest)), digests) == (first.name,)
    assert layered.edited(Stack(stack.size_px, tuple(rest)), digests) == (f"{first.name} (removed)",)
    assert layered.edited(Stack(stack.size_px, (*rest, first)), digests) == ("the order",)
    hidden = Layer(first.name, first.pixels, PART, visible=False)
    assert layered.edited(Stack(stack.size_px, (hidden, *rest)), digests) == (first.name,)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("mimetype", b"application/zip", "another mimetype"),
        ("stack.xml", b"<!DOCTYPE x [<!ENTITY a 'b'>]><image w='2' h='2'/>", "document type"),
        ("stack.xml", b"<image w='9000' h='9000'><stack/></image>", "9000 x 9000 px"),
        ("stack.xml", b"<image w='2' h='2'><stack/></image>", "0 layers"),
        ("stack.xml", b"<image w='2' h='2'><layer src='../x.png'/></image>", "not an OpenRaster file"),
        ("stack.xml", b"<image w='2' h='2'><layer src='a' composite-op='svg:multiply'/></image>", "blended"),
    ],
)
def test_wrong_openraster_files_are_errors(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    path = tmp_path / "p.ora"
    content = {"mimetype": openraster.MIMETYPE, "stack.xml": b"<image w='2' h='2'/>"} | {name: data}
    with zipfile.ZipFile(path, "w") as archive:
        for entry, text in content.items():
            archive.writestr(entry, text)
    with pytest.raises(InputError, match=message):
        openraster.read(path)


def test_other_programs_layers_lie_where_they_say(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (4, 4), (9, 8, 7, 255)).save(buffer, "PNG")
    path = tmp_path / "p.ora"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", openraster.MIMETYPE)
        xml = "<image w='6' h='6'><stack><layer name='a' src='data/a.png' x='-2' y='3'/></stack></image>"
        archive.writestr("stack.xml", xml)
        archive.writestr("data/a.png", buffer.getvalue())
    pixels = openraster.read(path)[0].flat()
    assert (pixels[3:, :2] == (9, 8, 7, 255)).all()
    assert not pixels[:3].any() and not pixels[:, 2:].any()


def test_a_file_that_is_none_is_an_error(tmp_path: Path) -> None:
    for name, reader in (("p.ora", openraster.read), ("p.psd", photoshop.read)):
        path = tmp_path / name
        path.write_bytes(b"nothing of the kind")
        with pytest.raises(InputError, match=r"not an OpenRaster|not a Photoshop"):
            reader(path)


@pytest.fixture(scope="module")
def standing(portrait: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    folder = tmp_path_factory.mktemp("finished")
    look = folder / "mine.yaml"
    look.write_text(LOOK)
    return Path(str(finishing.finish(portrait, str(look), None, folder, []).pictures[0].file))


@pytest.fixture
def file(standing: Path, tmp_path: Path) -> Path:
    shutil.copytree(standing.parent, tmp_path, dirs_exist_ok=True)
    return tmp_path / standing.name


def _pixels(*files: str | Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(one)).astype(int) for one in files]


def test_nothing_edited_is_the_finished_picture(portrait: Path, file: Path, tmp_path: Path) -> None:  # noqa: F811
    for suffix in (".ora", ".psd"):
        result = relayered.from_layers(file.with_suffix(suffix), None, tmp_path / suffix[1:], [])
        assert np.array_equal(*_pixels(result.file, file))
    assert result.before_a == pytest.approx(result.after_a, abs=0.01), "the picture has the watermark over it"
    again = finishing.reproduce(file, None, portrait, [])
    assert again.same and all(one.same for one in again.products)


def _with_a_red_corner(ora: Path) -> None:
    stack, record = openraster.read(ora)
    backdrop = stack.layers[0]
    red = backdrop.pixels.copy()
    red[:40, :40] = (200, 30, 30, 255)
    edited = Stack(stack.size_px, (Layer(backdrop.name, red, PART), *stack.layers[1:]))
    ora.write_bytes(openraster.encoded(edited, record))


def test_an_edited_part_goes_through_the_steps_above(file: Path) -> None:
    ora = file.with_suffix(".ora")
    _with_a_red_corner(ora)
    result = relayered.from_layers(ora, None, None, [])
    assert result.edited == ("backdrop",) and result.chain_again
    before, after = _pixels(file, result.file)
    changed = (before != after).any(axis=-1)
    assert changed[:40, :40].all() and not changed[40:].any() and not changed[:, 40:].any(), "to the bit"
    assert (after[:40, :40] != (200, 30, 30)).any(axis=-1).all()  # the grade is on it
    flat = after[:30, :30] - after[:30, :30].mean(axis=(0, 1))
    assert flat.std() > 0.5, "and the watermark"
    readings = [marks.watermark().detect(one.astype(np.uint8)) for one in (before, after)]
    assert readings[0] and readings[1] and readings[1].whole
    assert readings[1].payload == readings[0].payload


def test_a_layer_on_top_stays_as_it_was_painted(file: Path) -> None:
    ora = file.with_suffix(".ora")
    stack, record = openraster.read(ora)
    paint = np.zeros_like(stack.layers[0].pixels)
    paint[10:12, 10:12] = (1, 2, 3, 255)
    ora.write_bytes(openraster.encoded(Stack(stack.size_px, (*stack.layers, Layer("mine", paint))), record))
    result = relayered.from_layers(ora, None, None, [])
    before, after = _pixels(file, result.file)
    assert result.edited == ("mine",) and not result.chain_again
    assert np.abs(after[10:12, 10:12] - (1, 2, 3)).max() <= 2, "but for the watermark"
    after[10:12, 10:12] = before[10:12, 10:12]
    assert np.array_equal(before, after)


def test_a_picture_of_an_earlier_version_is_marked_anew(file: Path) -> None:
    sidecar, ora = file.with_suffix(".json"), file.with_suffix(".ora")
    content = json.loads(sidecar.read_text())
    settled = content["recipe"].pop(save.SETTLED)
    sidecar.write_text(json.dumps(content))
    _with_a_red_corner(ora)
    result = relayered.from_layers(ora, None, None, [])
    before, after = _pixels(file, result.file)
    assert (before != after)[100:].any()
    content["recipe"][save.SETTLED] = settled[:-8]
    sidecar.write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match="how a watermark was laid is damaged"):
        relayered.from_layers(ora, None, None, [])


def _edited(canvas: Canvas, before: Canvas, path: Path, **parent: object) -> np.ndarray:
    """The pixels of an edit of the picture at `path`, in which the canvas `before` lies."""
    own = finish_again.record_of({save.PARENT: parent}, canvas, path, before)
    return np.asarray(Image.open(io.BytesIO(finish_again.encoded(canvas, own, path, before))))


def test_a_kept_watermark_is_laid_only_where_something_was_edited(tmp_path: Path) -> None:
    pixels = marks.watermarked(canvas(96).flat(), "first")
    path, edited = tmp_path / "p.png", pixels.copy()
    edited[:30, :30] = 90
    Image.fromarray(pixels).save(path, pnginfo=provenance.png_info(None))
    before, kept = Canvas.of(pixels), {finish_files.MARK: finish_files.KEPT}
    after = _edited(Canvas.of(edited), before, path, **kept)
    changed = (after != edited).any(axis=-1)
    assert changed[:30, :30].any() and not changed[30:].any() and not changed[:, 30:].any()
    larger = Canvas.of(edited[:80])
    assert _edited(larger, before, path, **kept).shape == (80, 96, 3), "nothing to compare with"


def test_colours_that_an_editor_drops_stay(tmp_path: Path) -> None:
    picture = canvas(96)
    alpha = np.full((96, 96), 255, np.uint8)
    alpha[:50] = 0
    plain = picture.flat()
    settled = marks.settled(Image.fromarray(plain), save.first_recipe({}))
    pixels = marks.repeated(plain, save.first_recipe({}), settled)
    path = tmp_path / "p.png"
    Image.fromarray(pixels).save(path, pnginfo=provenance.png_info(None))
    dropped = np.where(alpha[..., None] == 0, 0, plain)
    assert finish_files.with_mark({}, picture, path) == {}, "only beside a layered file"
    assert save.first_recipe({save.SETTLED: settled}) == save.first_recipe({}), "the mark's number stays"
    after = _edited(Canvas.of(dropped, alpha), Canvas.of(pixels, alpha), path, **{save.SETTLED: settled})
    assert np.array_equal(after[..., :3], pixels) and np.array_equal(after[..., 3], alpha)


def test_parts_and_steps_at_once_are_refused(file: Path) -> None:
    ora = file.with_suffix(".ora")
    stack, record = openraster.read(ora)
    layers = [Layer(one.name, one.pixels // 2 + 90, one.kind) for one in stack.layers]
    ora.write_bytes(openraster.encoded(Stack(stack.size_px, tuple(layers)), record))
    with pytest.raises(InputError, match="both edited"):
        relayered.from_layers(ora, None, None, [])
