"""Clips: no hole, a loop that closes, a face that is only moved and scaled, the same bytes, limits, marks."""

from __future__ import annotations

import importlib.util
import io
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from portrait_lora import provenance
from portrait_lora.errors import ConfigError, InputError
from portrait_lora.finishing import animated, colour, look, motion, steps
from portrait_lora.finishing.canvas import Canvas, to_bytes
from portrait_lora.finishing.steps.clip import Clip, ClipSettings, chest_of, scene_of, size_of
from portrait_lora.finishing.steps.cutout import Cutout, CutoutSettings
from portrait_lora.finishing.steps.layers import Layers, LayersSettings
from portrait_lora.records import readonly
from portrait_lora.tasks import finish as finishing
from tests.finishing import studio
from tests.finishing.made_up import canvas as made_up_canvas
from tests.finishing.test_finish import portrait  # noqa: F401  (a fixture)

PATHS = ("push-in", "drift-left", "drift-right", "orbit")
SIDE = 64
SHORT = {"seconds": 2, "fps": 8}


def _ramps() -> np.ndarray:
    """(S, S, 3) red grows to the right, green downwards."""
    ramp = np.linspace(0.05, 0.95, SIDE, dtype=np.float32)
    return np.stack(
        [np.tile(ramp, (SIDE, 1)), np.tile(ramp[:, None], (1, SIDE)), np.full((SIDE, SIDE), 0.3)], 2
    ).astype(np.float32)


def _disc(soft_px: float = 2.0) -> np.ndarray:
    """(S, S) the coverage of a disc in the middle with a soft edge."""
    rows, columns = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    return np.clip((16 - np.hypot(rows, columns)) / soft_px + 0.5, 0, 1).astype(np.float32)


def _scene(alpha: np.ndarray, person: np.ndarray, behind: np.ndarray, chest: float = 1.0) -> motion.Scene:
    share = alpha[..., None]
    mixed = colour.to_coded(colour.to_linear(person) * share + colour.to_linear(behind) * (1 - share))
    return motion.scene(mixed, person, alpha, 20.0, (0.5, 0.5), chest)


def _frames(
    layers: motion.Scene, size: tuple[int, int], moves: motion.Motion, count: int
) -> list[np.ndarray]:
    return [motion.frame(layers, size, moves, number / count) for number in range(count)]


def _flat(*rgb: float) -> np.ndarray:
    return np.broadcast_to(np.array(rgb, np.float32), (SIDE, SIDE, 3)).astype(np.float32)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("of_person", [True, False])
def test_nothing_beyond_the_picture_is_shown(path: motion.Path, of_person: bool) -> None:
    alpha = np.full((SIDE, SIDE), float(of_person), np.float32)
    layers = _scene(alpha, _ramps(), _ramps())
    for phase in np.arange(16) / 16:
        shown = motion.frame(layers, (SIDE, SIDE), motion.Motion(path, 1, 1), float(phase)).astype(int)
        assert (np.diff(shown[..., 0], axis=1) > 0).all(), phase  # a border shown twice would stand still
        assert (np.diff(shown[..., 1], axis=0) > 0).all(), phase


def test_what_was_hidden_is_backdrop() -> None:
    behind = _flat(0.1, 0.6, 0.3) + _ramps() * np.float32(0.1)
    layers = _scene(_disc(), _flat(0.9, 0.1, 0.1), behind)
    away = np.abs(colour.to_coded(layers.behind_HW3) - behind)
    assert away.max() < 0.02
    known = ~motion.hidden(_disc(), 20.0)
    assert known.any() and away[known].max() < 1e-5


@pytest.mark.parametrize("path", PATHS)
def test_the_old_outline_is_never_seen(path: motion.Path) -> None:
    layers = _scene(_disc(), _flat(0.9, 0.1, 0.1), _flat(0.1, 0.6, 0.3))
    for phase in np.arange(8) / 8:
        shown = motion.frame(layers, (SIDE, SIDE), motion.Motion(path, 1, 0), float(phase)) / 255.0
        linear = colour.to_linear(shown)
        ends = colour.to_linear(np.array([[0.1, 0.6, 0.3], [0.9, 0.1, 0.1]], np.float32))
        share = (linear - ends[0]) @ (ends[1] - ends[0]) / ((ends[1] - ends[0]) ** 2).sum()
        off = np.abs(linear - (ends[0] + share[..., None] * (ends[1] - ends[0]))).max()
        assert off < 0.02, phase  # a mix of the two everywhere, up to the ringing of the interpolation
        person = cv2.connectedComponents((share > 0.03).astype(np.uint8))[0]
        rim = (share > 0.03) & (share < 0.97)
        radius = np.hypot(*(np.argwhere(rim) - np.argwhere(share > 0.5).mean(0)).T)
        assert person == 2 and np.ptp(radius) < 4.5, phase  # one disc, whose edge is as narrow as it was


def test_texture_goes_on_behind_the_person() -> None:
    noise = np.random.default_rng(0).normal(0, 0.04, (SIDE, SIDE, 3)).astype(np.float32)
    hidden = motion.hidden(_disc(), 20.0)
    filled = motion.filled(np.clip(_flat(0.4, 0.5, 0.6) + noise, 0, 1), hidden)
    inner, outer = filled[hidden].std(0), filled[~hidden].std(0)
    assert (inner > 0.6 * outer).all() and (inner < 1.3 * outer).all()
    assert np.array_equal(motion.filled(filled, np.ones((SIDE, SIDE), bool)), _flat(0.5, 0.5, 0.5))


@pytest.mark.parametrize("path", PATHS)
def test_a_loop_closes_and_begins_gently(path: motion.Path) -> None:
    layers = _scene(_disc(), _ramps()[::-1], _ramps(), 0.6)
    moves = motion.Motion(path, 1, 1)
    shown = [one.astype(float) for one in _frames(layers, (SIDE, SIDE), moves, 24)]
    again = motion.frame(layers, (SIDE, SIDE), moves, 1.0)
    assert np.array_equal(again, shown[0])
    still = motion.Motion(path, 1, 0)
    shown = [one.astype(float) for one in _frames(layers, (SIDE, SIDE), still, 24)]
    steps_of = [np.abs(b - a).mean() for a, b in zip(shown, [*shown[1:], shown[0]], strict=True)]
    assert steps_of[-1] <= 1.05 * max(steps_of[:-1])
    if path != "orbit":  # which goes round without a halt
        assert steps_of[0] < 0.4 * max(steps_of)


def test_paths_differ_and_strength_counts() -> None:
    layers = _scene(_disc(), _ramps()[::-1], _ramps())
    left, right = (
        motion.frame(layers, (SIDE, SIDE), motion.Motion(path, 1, 0), 0.0).astype(int)
        for path in ("drift-left", "drift-right")
    )
    assert left[..., 0].mean() > right[..., 0].mean()  # what lies further right comes into view
    weak, none = (motion.frame(layers, (SIDE, SIDE), motion.Motion("push-in", s, 0), 0.5) for s in (0.3, 0.0))
    full = motion.frame(layers, (SIDE, SIDE), motion.Motion("push-in", 1, 0), 0.5)
    start = motion.frame(layers, (SIDE, SIDE), motion.Motion("push-in", 1, 0), 0.0)
    assert np.array_equal(none, start)
    assert np.abs(full.astype(int) - start).mean() > 2 * np.abs(weak.astype(int) - start).mean() > 0


def test_breathing_moves_the_chest_and_nothing_above() -> None:
    rows = np.sin(np.arange(SIDE, dtype=np.float32) * 0.8)[:, None, None] * 0.3 + 0.5
    person = np.broadcast_to(rows, (SIDE, SIDE, 3)).astype(np.float32)
    layers = _scene(np.ones((SIDE, SIDE), np.float32), person, person, 0.5)
    size = (SIDE, SIDE)
    out, held = (motion.frame(layers, size, motion.Motion("push-in", 0, b), 0.5) for b in (1.0, 0.0))
    differ = (out != held).any(axis=(1, 2))
    assert not differ[: SIDE // 2].any() and not differ[-1]
    assert differ[SIDE * 5 // 8 : SIDE * 7 // 8].mean() > 0.9
    breathed_out = motion.frame(layers, size, motion.Motion("push-in", 0, 1.0), 0.0)
    assert np.array_equal(breathed_out, held)


@pytest.mark.parametrize("path", PATHS)
def test_the_face_is_only_moved_and_scaled(path: motion.Path) -> None:
    layers = _scene(np.ones((SIDE, SIDE), np.float32), _ramps(), _ramps(), 0.7)  # colours say where they were
    for phase in (0.0, 0.2, 0.5, 0.8):
        shown = motion.frame(layers, (SIDE, SIDE), motion.Motion(path, 1, 1), phase).astype(float)
        face = shown[4 : SIDE // 2, 4:-4]
        places = np.concatenate([np.argwhere(np.ones(face.shape[:2])), np.ones((face[..., 0].size, 1))], 1)
        fitted, *_ = np.linalg.lstsq(places, face[..., :2].reshape(-1, 2), rcond=None)
        assert np.abs(places @ fitted - face[..., :2].reshape(-1, 2)).max() < 1.0  # affine
        (down_red, down_green), (right_red, right_green) = fitted[0], fitted[1]
        assert abs(down_red) < 0.003 and abs(right_green) < 0.003  # neither turned nor sheared
        assert down_green == pytest.approx(right_red, rel=0.005)  # nor stretched


@pytest.mark.parametrize("path", PATHS)
def test_the_embedder_knows_the_person_in_every_frame(path: motion.Path) -> None:
    canvas = studio.sitter().canvas
    one = ClipSettings()
    layers = scene_of(canvas, one, size_of(canvas, one), studio.tools())
    still = studio.analyzer().find(canvas.flat())[0].embedding
    for moved in _frames(layers, canvas.size_px, motion.Motion(path, 0.6, 0.4), 4):
        assert float(studio.analyzer().find(moved)[0].embedding @ still) > 0.95


def test_the_first_frame_of_a_push_is_the_still_picture() -> None:
    canvas = studio.sitter().canvas
    one = ClipSettings()
    layers = scene_of(canvas, one, size_of(canvas, one), studio.tools())
    first = motion.frame(layers, canvas.size_px, motion.Motion("push-in", 1, 1), 0.0)
    off = np.abs(first.astype(int) - canvas.flat())
    assert np.quantile(off, 0.95) <= 1 and off.mean() < 0.5
    deep = cv2.erode((studio.sitter().alpha > 0.999).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    assert off[deep].max() <= 1


@pytest.mark.parametrize("kind", ["webp", "avif"])
def test_files_are_whole_marked_and_the_same_again(kind: animated.Kind) -> None:
    drawn: list[int] = []

    def draw(number: int) -> np.ndarray:
        drawn.append(number)
        return np.full((32, 48, 3), 40 + 8 * number, np.uint8)

    mark = provenance.xmp_bytes("trainedAlgorithmicMedia")
    data = animated.encoded(kind, (48, 32), 12, 15, 80, draw, mark)
    assert drawn[:12] == list(range(12)) and len(drawn) <= 13
    assert data == animated.encoded(kind, (48, 32), 12, 15, 80, draw, mark)
    with Image.open(io.BytesIO(data)) as clip:
        assert getattr(clip, "n_frames", 1) == 12 and clip.size == (48, 32)
        assert clip.info["xmp"] == mark
        lasts = []
        for number in range(12):
            clip.seek(number)
            clip.load()
            lasts.append(clip.info["duration"])
            assert abs(int(np.asarray(clip.convert("RGB"))[16, 24, 1]) - (40 + 8 * number)) <= 3
        assert sum(lasts) == pytest.approx(800, abs=1)
    with Image.open(io.BytesIO(animated.encoded(kind, (48, 32), 12, 15, 80, draw, b""))) as plain:
        assert "xmp" not in plain.info
    if kind == "avif":
        for box in (b"mvhd", b"tkhd", b"mdhd"):
            at = data.index(box)
            assert data[at + 4] == 1 and data[at + 8 : at + 24] == bytes(16)


def test_mp4_is_an_extra() -> None:
    def draw(number: int) -> np.ndarray:
        return np.full((32, 48, 3), 40 + 8 * number, np.uint8)

    if importlib.util.find_spec("imageio_ffmpeg") is None:
        with pytest.raises(InputError, match="the extra 'mp4'"):
            animated.encoded("mp4", (48, 32), 12, 15, 80, draw, b"")
        return
    mark = provenance.xmp_bytes("trainedAlgorithmicMedia")
    data = animated.encoded("mp4", (48, 32), 12, 15, 80, draw, mark)
    assert data == animated.encoded("mp4", (48, 32), 12, 15, 80, draw, mark)
    assert data[4:8] == b"ftyp" and data.endswith(mark)


def test_the_step_leaves_the_picture_and_adds_a_clip() -> None:
    canvas, step = studio.sitter().canvas, Clip()
    settings = ClipSettings.model_validate(SHORT | {"files": ["webp", "avif", "webp"]})
    done = step.apply(canvas, settings, studio.tools())
    assert done.rgb_HW3 is canvas.rgb_HW3 and done.alpha_HW is None
    assert [one.name for one in done.products] == ["-clip.webp", "-clip.avif"]
    assert step.neutral(canvas, settings, studio.tools()) is None
    with Image.open(io.BytesIO(done.products[0].data)) as clip:
        assert getattr(clip, "n_frames", 1) == 16 and clip.size == canvas.size_px
    assert steps.by_name()["clip"].settings is ClipSettings


def test_frames_are_even_and_never_larger_than_the_picture() -> None:
    one = ClipSettings()
    assert size_of(made_up_canvas(33), one) == (32, 32)
    tall = Canvas(readonly(np.zeros((1000, 801, 3), np.float32)))
    assert size_of(tall, one) == (512, 640)


def test_limits_are_errors() -> None:
    large = Canvas(readonly(np.zeros((1920, 1920, 3), np.float32)))
    with pytest.raises(InputError, match=r"75 frames of 1920 x 1920 px.*160 million"):
        Clip().apply(large, ClipSettings(size_px=1920, seconds=5), studio.tools())
    cut = Canvas(made_up_canvas().rgb_HW3, readonly(np.full((32, 32), 0.5)))
    with pytest.raises(InputError, match=r"no backdrop.*before `clip`"):
        Clip().apply(cut, ClipSettings(), studio.tools())
    for wrong in (
        {"path": "spin"},
        {"seconds": 9},
        {"fps": 60},
        {"strength": 2},
        {"files": []},
        {"speed": 1},
    ):
        with pytest.raises(ConfigError, match="wrong setting of clip"):
            look.planned([{"clip": wrong}], "here")


def test_a_close_up_does_not_breathe() -> None:
    face = studio.tools().face(studio.sitter().canvas)
    height = studio.SIZE_PX[1]
    assert face.box_xyxy_px[3] / height < chest_of(face, height) < 1
    assert chest_of(face, round(face.box_xyxy_px[3])) == 1


def test_the_look_writes_a_marked_clip_beside_the_picture(portrait: Path, tmp_path: Path) -> None:  # noqa: F811
    own = tmp_path / "own.yaml"
    own.write_text("name: own\nsteps:\n  - clip: {seconds: 2, fps: 8, size_px: 96, path: orbit}\n")
    (one,) = finishing.finish(portrait, str(own), None, tmp_path, []).pictures
    assert one.file is not None, one.refused
    finished, begun = (np.asarray(Image.open(path).convert("RGB")) for path in (one.file, portrait))
    mean_squared = np.mean((finished.astype(float) - begun) ** 2)
    assert 0 < mean_squared <= 255**2 / 10**4, "nothing but the watermark: 40 dB at least"
    clip = tmp_path / "p-own-clip.webp"
    assert provenance.source_type(clip) == provenance.TRAINED
    assert one.before_a == pytest.approx(one.after_a, abs=0.01)
    assert finishing.reproduce(Path(one.file), None, portrait, []).same
    plain = tmp_path / "plain.png"
    Image.open(portrait).save(plain)
    finishing.finish(plain, str(own), None, tmp_path, ["allow_synthetic_models=true"])
    assert provenance.source_type(tmp_path / "plain-own-clip.webp") is None


def test_other_products_carry_the_mark_too(tmp_path: Path) -> None:
    canvas, tools = studio.sitter().canvas, studio.tools()
    tools.mark = provenance.xmp_bytes("trainedAlgorithmicMedia")
    tools.begin(0, "", canvas)
    done = Cutout().apply(canvas, CutoutSettings(premultiplied=True), tools)
    done = Layers().apply(done, LayersSettings(files=("ora", "psd")), tools)
    tiff, ora, psd = (one.data for one in done.products)
    (tmp_path / "p.tif").write_bytes(tiff)
    assert provenance.source_type(tmp_path / "p.tif") == provenance.TRAINED
    with zipfile.ZipFile(io.BytesIO(ora)) as archive:
        (tmp_path / "merged.png").write_bytes(archive.read("mergedimage.png"))
    assert provenance.source_type(tmp_path / "merged.png") == provenance.TRAINED
    from psd_tools import PSDImage
    from psd_tools.constants import Resource

    document = PSDImage.open(io.BytesIO(psd))
    assert document.image_resources.get_data(Resource.XMP_METADATA) == tools.mark


def test_bytes_of_coded_light_are_those_of_the_formula() -> None:
    ramp = np.broadcast_to(np.linspace(0, 1, SIDE, dtype=np.float32)[:, None], (SIDE, SIDE))
    picture = np.repeat(ramp[..., None], 3, 2)
    layers = _scene(np.zeros((SIDE, SIDE), np.float32), picture, picture)
    shown = motion.frame(layers, (SIDE, SIDE), motion.Motion("push-in", 0, 0), 0.0)
    assert np.abs(shown.astype(int) - to_bytes(picture)).max() <= 1
