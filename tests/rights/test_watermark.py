"""The watermark of the package: it is read again, nobody sees it, and nothing else is read as one."""

from __future__ import annotations

import hashlib
import json

import cv2
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from threadpoolctl import threadpool_info, threadpool_limits

from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.records import RGBImage
from portrait_lora.rights.watermark import (
    Payload,
    Reading,
    code,
    embedded,
    extractor,
    informed,
    lattice,
    payload_of,
    tiled,
)
from portrait_lora.rights.watermark.one_thread import one_thread
from portrait_lora.rights.watermark.settled import MAX_TEXT, Settled, Waves
from scripts.train.watermark import pictures, spoiling
from scripts.train.watermark.net import Extractor
from scripts.train.watermark.table import table

PAYLOAD = payload_of("a picture of the tests")


def portrait(side: int, seed: int = 3) -> RGBImage:
    """Clouds on a plain ground: half of it is flat, as backdrops are."""
    rng = np.random.default_rng(seed)
    rough = pictures.clouds(side, 1.6, rng)[..., None] * 40 + 120
    y, x = np.mgrid[:side, :side] / side - 0.5
    inside = np.clip((0.35 - np.hypot(y, x)) * side / 6, 0, 1)[..., None]
    ground = np.array([96.0, 104.0, 120.0]) + 20 * y[..., None]
    return np.clip(np.rint(ground + (rough - ground) * inside), 0, 255).astype(np.uint8)


def psnr(first: RGBImage, second: RGBImage) -> float:
    return float(10 * np.log10(255**2 / np.mean((first.astype(float) - second) ** 2)))


@pytest.fixture(scope="module")
def marked() -> RGBImage:
    return embedded().embed(portrait(320), PAYLOAD)


def read(rgb: RGBImage) -> Reading:
    reading = embedded().detect(rgb)
    assert reading is not None
    assert reading.payload == PAYLOAD
    return reading


@pytest.mark.parametrize(("height", "width"), [(128, 128), (200, 320), (700, 560)])
def test_a_marked_picture_is_read_and_looks_the_same(height: int, width: int) -> None:
    rgb = np.ascontiguousarray(portrait(max(height, width))[:height, :width])
    kept = rgb.copy()
    out = embedded().embed(rgb, PAYLOAD)
    assert out.shape == rgb.shape
    assert out.dtype == np.uint8
    assert (rgb == kept).all()
    assert psnr(rgb, out) >= 40
    reading = read(out)
    assert reading.whole
    assert 0.5 < reading.confidence <= 1


def test_the_same_picture_and_payload_give_the_same_bytes(marked: RGBImage) -> None:
    assert (embedded().embed(portrait(320), PAYLOAD) == marked).all()
    assert not (embedded().embed(portrait(320), payload_of("another")) == marked).all()


@pytest.mark.parametrize("kind", sorted(set(spoiling.MEASURED) - {"WebP 60"}))
def test_it_is_read_after(kind: str, marked: RGBImage) -> None:
    read(spoiling.MEASURED[kind](marked, np.random.default_rng(5)))


@pytest.mark.parametrize("turn", ["mirrored", "upside down", "a quarter", "three quarters", "transposed"])
def test_it_is_read_in_every_orientation(turn: str, marked: RGBImage) -> None:
    turned = {
        "mirrored": marked[:, ::-1],
        "upside down": marked[::-1],
        "a quarter": np.rot90(marked),
        "three quarters": np.rot90(marked, 3),
        "transposed": marked.transpose(1, 0, 2),
    }[turn]
    assert read(np.ascontiguousarray(turned)).whole


def test_a_scale_that_nobody_names_is_found(marked: RGBImage) -> None:
    read(spoiling.resampled(marked, 0.83))
    read(spoiling.cropped(spoiling.resampled(marked, 1.37), 0.8, np.random.default_rng(1)))


def test_a_large_picture_is_read_at_the_size_of_a_page() -> None:
    large = cv2.resize(portrait(400), (2200, 1700), interpolation=cv2.INTER_CUBIC)
    out = embedded().embed(large, PAYLOAD)
    read(out)
    read(cv2.resize(out, (880, 680), interpolation=cv2.INTER_AREA))


def test_what_was_pasted_in_is_not_whole(marked: RGBImage) -> None:
    composite = marked.copy()
    composite[:, :150] = portrait(320, seed=9)[:, :150]
    assert not read(composite).whole
    assert read(np.ascontiguousarray(marked[:, 100:])).whole


@pytest.mark.parametrize(("seed", "mended"), [(3_101_288, 24), (3_101_298, 14)])
def test_a_small_picture_of_noise_is_read(seed: int, mended: int) -> None:
    """Its noise drowns a mark that was made without looking at it: without steps 28 and 29 bits are wrong,
    with the corner of the tile in the picture's 37 and 19."""
    rgb = pictures.noise(seed, 128)
    out = embedded().embed(rgb, PAYLOAD)
    assert psnr(rgb, out) >= 40
    assert read(out).corrected_bits <= mended
    read(spoiling.compressed(out, "JPEG", 75))
    weights = load_file(str(tiled.FILE))
    plain = tiled.added(rgb, _scheme(weights, 1.0), 40.0, tiled.strength_of(rgb, 40.0, 128))
    assert embedded().detect(plain) is None


def test_noise_that_the_first_corner_loses_to_is_marked_at_another(monkeypatch: pytest.MonkeyPatch) -> None:
    payload, rgb = payload_of("evaluation 2860676"), pictures.noise(2_860_676, 128)
    reading = embedded().detect(embedded().embed(rgb, payload))
    assert reading is not None and reading.payload == payload
    monkeypatch.setattr(informed, "_TRIED", 1)
    assert embedded().detect(embedded().embed(rgb, payload)) is None


def test_what_hides_nothing_or_everything_is_marked_more_strongly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gradient through WebP, and noise of 20 grey levels: neither is read at the ordinary strength."""
    gradient, noise = pictures.texture(7_700_001, 512), pictures.noise(2_860_478, 512)
    web = spoiling.compressed(embedded().embed(gradient, PAYLOAD), "WEBP", 60)
    assert psnr(gradient, embedded().embed(gradient, PAYLOAD)) >= 44.5 and read(web).whole
    loud = payload_of("evaluation 2860478")
    marked = embedded().embed(noise, loud)
    assert psnr(noise, marked) >= 40 and (seen := embedded().detect(marked)) and seen.payload == loud
    monkeypatch.setattr(tiled, "_WEAKEST", (60.0,) * 4)
    monkeypatch.setattr(tiled, "_BUSY", 100.0)
    assert embedded().detect(spoiling.compressed(embedded().embed(gradient, PAYLOAD), "WEBP", 60)) is None
    assert embedded().detect(embedded().embed(noise, loud)) is None


def test_a_bit_that_the_picture_drowns_does_not_outweigh_the_others() -> None:
    """This one is read only because evidence counts up to a limit."""
    payload = payload_of("128-noise-6")
    reading = embedded().detect(embedded().embed(pictures.noise(3_101_286, 128), payload))
    assert reading is not None
    assert reading.payload == payload


def test_marks_that_were_made_without_looking_at_the_picture_are_read() -> None:
    """As all were, before small pictures were marked in steps."""
    rgb, weights = portrait(192), load_file(str(tiled.FILE))
    strength = tiled.strength_of(rgb, 40.0, 192)
    assert read(tiled.added(rgb, _scheme(weights, 0.77), 40.0, strength)).whole


def _scheme(weights: dict[str, np.ndarray], tilt: float) -> lattice.Complex:
    table_of = tiled.lattice_of(weights)
    return table_of.tilted(table_of.spectrum(code.encode(PAYLOAD)), tilt)


def test_a_part_that_is_drawn_anew_is_marked_as_the_rest_is() -> None:
    """The corner of the tile goes where the mark of the rest has it."""
    rgb = portrait(256)
    first = embedded().embed(rgb, PAYLOAD)
    drawn = first.copy()
    drawn[70:180, 60:190] = rgb[70:180, 60:190]
    again = embedded().embed(drawn, PAYLOAD)
    marks = [(out.astype(float) - rgb)[70:180, 60:190, 1].ravel() for out in (first, again)]
    assert np.corrcoef(marks)[0, 1] > 0.6


def test_grey_stays_grey_and_colour_shares_the_mark() -> None:
    busy = pictures.noise(3_101_288, 128)
    grey = np.repeat(busy[..., 1:2], 3, axis=2)
    for rgb, is_even in ((grey, True), (busy, False)):
        moved = embedded().embed(rgb, PAYLOAD).astype(int) - rgb
        assert (moved[..., 0] == moved[..., 2]).all() == is_even


def test_algebra_runs_on_one_thread_until_the_last_is_out() -> None:
    def threads() -> set[int]:
        return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}

    with threadpool_limits(3, user_api="blas"):
        first, second = one_thread(), one_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert threads() == {1}
        second.__exit__(None, None, None)
        assert threads() == {3}


@pytest.mark.parametrize("kind", pictures.KINDS[1:])
def test_no_mark_is_read_in_a_picture_without(kind: str) -> None:
    for seed in range(3):
        assert embedded().detect(getattr(pictures, kind)(seed, 160)) is None


@pytest.mark.parametrize("grey", [0, 40, 128, 255])
def test_a_flat_picture_has_no_mark_and_hides_one(grey: int) -> None:
    flat = np.full((192, 192, 3), grey, np.uint8)
    assert embedded().detect(flat) is None
    out = embedded().embed(flat, PAYLOAD)
    moved = out.astype(int) - flat
    assert np.abs(moved).max() <= 5
    assert moved.std() <= 1.2
    assert (moved[..., 0] == moved[..., 2]).all()
    if 20 < grey < 235:
        read(out)


def test_too_small_is_refused_in_marking_and_no_mark_in_reading() -> None:
    small = portrait(64)[:16, :16]
    with pytest.raises(InputError, match="too small"):
        embedded().embed(small, PAYLOAD)
    assert embedded().detect(small) is None


@pytest.mark.parametrize("shape", [(90, 90), (90, 90, 1), (90, 90, 4)])
def test_arrays_that_are_no_colours_are_refused(shape: tuple[int, ...]) -> None:
    for call in (lambda a: embedded().embed(a, PAYLOAD), embedded().detect):
        with pytest.raises(InputError, match="colours"):
            call(np.zeros(shape, np.uint8))
    with pytest.raises(InputError, match="colours"):
        embedded().detect(np.zeros((90, 90, 3), np.float32))  # type: ignore[arg-type]


def test_few_words_are_tried_in_one_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """On their number the rate of false positives rests."""
    tried = []
    monkeypatch.setattr(code, "decode", lambda soft: tried.append(1))
    assert embedded().detect(portrait(160)) is None
    assert 0 < len(tried) <= 16
    assert embedded().false_positive_rate == pytest.approx(16 / 2**24)
    assert embedded().false_positive_rate <= 1e-6


def test_the_reading_network_is_the_one_that_was_trained() -> None:
    weights = load_file(str(tiled.FILE))
    net = Extractor()
    own = {k.removeprefix("extractor."): v for k, v in weights.items() if k.startswith("extractor.")}
    net.load_state_dict({k: torch.from_numpy(v) for k, v in own.items()})
    luma = tiled.luma_of(portrait(320))
    with torch.no_grad():
        expected = net(torch.from_numpy(luma)[None, None])[0, 0].numpy()
    seen = extractor.extract(luma, own)
    assert np.abs(seen - expected).max() < 2e-3 * np.abs(expected).max()


def test_the_table_of_the_scheme_never_changes() -> None:
    """Pictures that are marked already are read with it."""
    weights, drawn = load_file(str(tiled.FILE)), table(code.CODED_BITS)
    assert all(np.array_equal(weights[name], values) for name, values in drawn.items())
    parts = ("lattice.data", "lattice.pilot", "lattice.order", "lattice.signs")
    total = hashlib.sha256(b"".join(weights[name].tobytes() for name in parts))
    assert total.hexdigest()[:16] == "cec19772422928f4"


@pytest.mark.parametrize(("side", "tile"), [(64, 40), (192, 40), (512, 65), (1024, 92), (4000, 183)])
def test_the_tile_grows_with_the_picture(side: int, tile: int) -> None:
    assert lattice.tile_px(side, side + 100) == tile


def test_the_record_beside_the_weights_names_them() -> None:
    record = json.loads(tiled.FILE.with_suffix(".json").read_text(encoding="utf-8"))
    assert record["sha256"] == hashlib.sha256(tiled.FILE.read_bytes()).hexdigest()
    assert record["licence"] == "Apache-2.0"


def test_other_payloads_are_other_marks() -> None:
    rgb = portrait(256)
    for payload in (Payload(0x11, 0), Payload(0x11, 2**32 - 1)):
        reading = embedded().detect(embedded().embed(rgb, payload))
        assert reading is not None
        assert reading.payload == payload


@pytest.mark.parametrize(
    "rgb", [portrait(128), pictures.noise(3_101_288, 128), portrait(416)], ids=["small", "in colour", "large"]
)
def test_an_edited_picture_is_marked_alike(rgb: RGBImage) -> None:
    delivered, text = embedded().settle(rgb, PAYLOAD)
    assert len(text) < MAX_TEXT and (embedded().repeat(rgb, PAYLOAD, text) == delivered).all()
    side = len(rgb)
    cut, rest = np.s_[: side // 3, : side // 2], np.ones((side, side), bool)
    rest[cut] = False
    for value in (rgb[cut] // 2 + np.uint8(9), np.random.default_rng(1).integers(0, 256, rgb[cut].shape)):
        edited = rgb.copy()
        edited[cut] = value
        near = embedded().repeat(edited, PAYLOAD, text)
        after = embedded().repeat(edited, PAYLOAD, text, delivered)
        assert (after == delivered)[rest].all(), "to the bit"
        assert (after == near)[cut].mean() > 0.999, "the edit is there"
    assert (near != delivered)[rest].any(), "strength follows what lies around"
    read(after)


def test_a_change_by_a_few_grey_levels_is_an_edit() -> None:
    rgb = portrait(128)
    delivered, text = embedded().settle(rgb, PAYLOAD)
    after = embedded().repeat(rgb + np.uint8(3), PAYLOAD, text, delivered).astype(int)
    assert np.abs(after - delivered - 3).max() <= 1


def test_what_was_settled_is_untrusted() -> None:
    text = embedded().settle(portrait(96), PAYLOAD)[1]
    count = 2 * len(embedded().lattice.data)
    good = Settled.read(text, count, len(embedded().lattice.pilot), 2.0)
    assert good.waves and good.text(count) == text
    loud = Settled(0.5, waves=Waves(good.waves.amplitude * 2, (0, 0)))
    unknown = Settled(0.5, waves=Waves(good.waves.amplitude * np.nan, (0, 0)))
    texts = [one.text(count) for one in (loud, unknown, Settled(2.1), Settled(float("nan")))]
    for bad in (*texts, "?", "", text[:-4], text + "AAAA"):
        with pytest.raises(ArtifactError, match="laid is damaged"):
            embedded().repeat(portrait(96), PAYLOAD, bad)
    with pytest.raises(InputError, match="too small"):
        embedded().repeat(portrait(96)[:40], PAYLOAD, text)
