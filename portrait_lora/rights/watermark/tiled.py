"""The watermark of the package: a repeated pattern, as strong as the picture hides, read by a small network.

Marking adds the pattern to the luma (equally to red, green and blue); it is weak on flat ground and stronger
in what is busy.  Reading filters the picture, looks for the pattern's size, orientation and corner, and
decodes what its waves carry.  See `lattice`, `masking`, `extractor`, `search`, `code`.

False positives: at most `_ATTEMPTS` words are decoded in one picture, and in a picture without a mark each
passes the checksum of 24 bits with a chance of 2 ** -24: 16 / 2 ** 24 = 9.5e-7.  The least agreement comes on
top.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from safetensors.numpy import load_file

from portrait_lora.errors import InputError
from portrait_lora.records import RGBImage
from portrait_lora.rights.watermark import code, lattice, masking, search
from portrait_lora.rights.watermark.carried import unedited
from portrait_lora.rights.watermark.extractor import extract
from portrait_lora.rights.watermark.informed import MOST_PX, POWER, informed, waves_of
from portrait_lora.rights.watermark.lattice import Floats, Lattice
from portrait_lora.rights.watermark.one_thread import one_thread
from portrait_lora.rights.watermark.protocol import Payload, Reading
from portrait_lora.rights.watermark.settled import MOST_RAISED, Settled
from portrait_lora.rights.watermark.whole import is_whole

FILE: Final = Path(__file__).resolve().parents[2] / "assets" / "watermark" / "tiled.safetensors"
NAME: Final = "portrait_lora tiled 1"
MIN_SIDE_PX: Final = 64
_READ_SIDE_PX: Final = 32
_ATTEMPTS: Final = 16
_LEAST_AGREEMENT: Final = 0.5
_LIMIT: Final = 1.5
"""Of the mean evidence for a bit: more counts as this much."""
_ANALYSED_PX: Final = 768
"""Of the shorter side; larger pictures are read at this size."""
_LEVELS: Final = 3
_LEAST_LEVEL_PX: Final = 48
_SMALL_PX: Final = 200
"""Of the longer side: all sizes of the tile are looked at."""
_BY_SPECTRUM: Final = 10
_FIRST_ATTEMPTS: Final = 6
_STRIP: Final = 512
_EVERY: Final = range(search.ORIENTATIONS)
_NET: Final = "extractor."
_LUMA: Final = np.array([0.299, 0.587, 0.114], np.float32)
_EQUAL: Final = np.ones(3, np.float32)
_COLOURS: Final = (_LUMA / np.sqrt((_LUMA**2).mean())).astype(np.float32)
"""Shares of red, green and blue where changes are equal, and where they are shared as brightness is."""
_BUSY: Final = 2.5
"""Times the strength on flat ground that nine tenths of a busy picture would take."""
_COLOURED: Final = 2.0
_SIDES: Final = np.log2([128, 256, 512, 1024])
_BASE: Final = (1.1, 0.95, 0.8, 0.7)
_SLOPE: Final = (0.3, 0.3, 0.3, 0.3)
_PSNR: Final = (40.3, 41.0, 42.0, 43.0)
"""Root mean square of the mark on flat ground in grey levels, its growth with what is busy, and the least
peak signal to noise ratio over the whole picture, for these shorter sides."""
_WEAKEST: Final = (60.0, 42.5, 45.0, 47.0)
"""Where nearly nothing hides the mark, in gradients, it would be so weak that WebP leaves nothing of it; it
is raised towards these ratios.  At 128 px that does not help."""
_MOST: Final = 6.0
_TILT: Final = (1.0, 0.6, 0.2, 0.0)


def luma_of(rgb: RGBImage) -> Floats:
    """(H, W) grey levels 0..255 (ITU-R BT.601), not rounded."""
    return np.asarray(cv2.transform(rgb.astype(np.float32), _LUMA[None]), np.float32)


class TiledWatermark:
    """`Watermark` with weights from a safetensors file of this package's layout."""

    name = NAME
    min_side_px = MIN_SIDE_PX
    false_positive_rate = _ATTEMPTS / 2**code.CHECK_BITS

    def __init__(self, weights: Mapping[str, np.ndarray]):
        self.lattice = lattice_of(weights)
        prefix = "extractor."
        self._net = {
            k[len(prefix) :]: v.astype(np.float32) for k, v in weights.items() if k.startswith(prefix)
        }
        self._points = np.concatenate([self.lattice.data, self.lattice.pilot])

    def embed(self, rgb: RGBImage, payload: Payload) -> RGBImage:
        """See `Watermark.embed`; `settle` without what was settled on."""
        return self.settle(rgb, payload)[0]

    @one_thread()
    def settle(self, rgb: RGBImage, payload: Payload) -> tuple[RGBImage, str]:
        """A marked copy, and for a record what was settled on for all of it.  Raises as `embed` does."""
        spectrum, tile = self._plain(rgb, payload)
        strength, settled = _held(rgb, tile)
        shares = _COLOURS if settled.in_colour else _EQUAL
        if not _is_small(rgb):
            return added(rgb, spectrum, tile, strength, shares), settled.text(0)
        out, waves = informed(
            spectrum,
            self.lattice,
            rgb,
            lambda one: added(rgb, one, tile, strength, shares),
            lambda one: extract(luma_of(one), self._net),
            tile,
        )
        return out, replace(settled, waves=waves).text(2 * len(self.lattice.data))

    @one_thread()
    def repeat(
        self, rgb: RGBImage, payload: Payload, text: str, delivered: RGBImage | None = None
    ) -> RGBImage:
        """A copy marked by what was settled on for a picture of this size: for that picture the same bytes.

        With `delivered`, that picture as it was marked, whatever of `rgb` was not edited since keeps its
        bytes.  Raises as `embed` does, and `ArtifactError` for a text that `settle` did not give.
        """
        spectrum, tile = self._plain(rgb, payload)
        settled = Settled.read(text, 2 * len(self.lattice.data), len(self.lattice.pilot), POWER)
        if settled.waves:
            spectrum = waves_of(spectrum, self.lattice, settled.waves)
        shares = _COLOURS if settled.in_colour else _EQUAL

        def strength(one: RGBImage) -> Floats:
            return _unlimited(one, tile, min(one.shape[:2])) * settled.scale

        out = added(rgb, spectrum, tile, strength(rgb), shares)
        if delivered is None:
            return out

        def pattern(top: int, bottom: int) -> Floats:
            return lattice.pattern(spectrum, (top, bottom), rgb.shape[1], tile)

        kept = unedited(rgb, delivered, strength, pattern, shares)
        return np.where(kept[..., None], delivered, out)

    def _plain(self, rgb: RGBImage, payload: Payload) -> tuple[lattice.Complex, float]:
        """The spectrum of the payload for a picture of this size, and the side of the tile."""
        _refuse_no_picture(rgb)
        height, width = rgb.shape[:2]
        if min(height, width) < MIN_SIDE_PX:
            raise InputError(
                "the picture is too small for a watermark",
                got=f"{width} x {height} px",
                needed=f"{MIN_SIDE_PX} px on the shorter side",
                remedy="Save it larger, or turn the watermark off.",
            )
        tilt = float(np.interp(np.log2(min(height, width)), _SIDES, _TILT))
        spectrum = self.lattice.tilted(self.lattice.spectrum(code.encode(payload)), tilt)
        return spectrum, lattice.tile_px(height, width)

    @one_thread()
    def detect(self, rgb: RGBImage) -> Reading | None:
        """See `Watermark.detect`; the picture may be scaled, cropped, mirrored or turned by quarters."""
        _refuse_no_picture(rgb)
        if min(rgb.shape[:2]) < _READ_SIDE_PX:
            return None
        attempts = 0
        for signal, candidates in self._guesses(rgb):
            for place in candidates:
                if attempts == _ATTEMPTS:
                    return None
                attempts += 1
                if (reading := self._decoded(signal, place)) is not None:
                    return reading
        return None

    def _guesses(self, rgb: RGBImage) -> Iterator[tuple[Floats, list[search.Place]]]:
        """Signals and the places of a mark in them to try: first where a picture that kept its scale has it,
        then what the spectra of the picture at several sizes show, the clearest pilots of all first."""
        levels = [(shrunk, extract(luma, self._net)) for shrunk, luma in _levels(luma_of(rgb))]
        tried: list[tuple[float, Floats, search.Place]] = []
        for tile in search.likely_tiles(*rgb.shape[:2]):
            for shrunk, signal in levels:
                if search.LEAST_TILE_PX <= tile * shrunk <= search.MOST_TILE_PX:
                    spots = search.places(signal, tile * shrunk, self.lattice, _EVERY)
                    tried += [(place.clearness, signal, place) for place in spots]
        yield from _best(tried, _FIRST_ATTEMPTS)
        tried = []
        for _, signal in levels:
            shown = search.tiles_by_spectrum(signal, self._points, _BY_SPECTRUM)
            spots = [one for tile in shown for one in search.places(signal, tile, self.lattice, _EVERY)]
            if max(signal.shape) <= _SMALL_PX:  # whose spectra show little: all sides, upright
                sides = search.tried_tiles(signal.shape)
                spots += [one for tile in sides for one in search.places(signal, tile, self.lattice, (0,))]
            tried += [(place.clearness, signal, place) for place in spots]
        yield from _best(tried, _ATTEMPTS)

    def _decoded(self, signal: Floats, place: search.Place) -> Reading | None:
        soft = self.lattice.soft(search.aligned(place), np.float32(1) / place.noise)
        soft = soft / (np.abs(soft).mean() + 1e-12)
        # a picture adds to many a bit far more than the mark does: of those, only the sign tells
        soft = np.clip(soft, -_LIMIT, _LIMIT)
        size = float(np.sqrt((soft**2).sum()))
        word = code.decode(soft)
        if word is None:
            return None
        payload, coded = word
        signs = 2.0 * coded - 1.0
        agreement = float(signs @ soft) / (size * np.sqrt(len(coded)) + 1e-12)
        if agreement < _LEAST_AGREEMENT:
            return None
        wrong = int(((soft > 0) != (coded > 0)).sum())
        return Reading(payload, agreement, wrong, is_whole(signal, self.lattice.spectrum(coded), place))


def _refuse_no_picture(rgb: RGBImage) -> None:
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise InputError(
            "a watermark lies in colours",
            got=f"an array of {rgb.shape} {rgb.dtype}",
            needed="(height, width, 3) uint8",
            remedy="Convert the picture to RGB; keep its alpha aside.",
        )


def _best(
    tried: list[tuple[float, Floats, search.Place]], count: int
) -> Iterator[tuple[Floats, list[search.Place]]]:
    for _, signal, place in sorted(tried, key=lambda one: -one[0])[:count]:
        yield signal, [place]


def _levels(luma: Floats) -> Iterator[tuple[float, Floats]]:
    """(scale, luma) of the picture at most 768 px on its shorter side, then at half and a quarter of that."""
    side = min(luma.shape)
    scale = min(1.0, _ANALYSED_PX / side)
    for level in range(_LEVELS):
        share = scale / 2**level
        if level and side * share < _LEAST_LEVEL_PX:
            return
        size = max(1, round(luma.shape[1] * share)), max(1, round(luma.shape[0] * share))
        shrunk = luma if share == 1.0 else cv2.resize(luma, size, interpolation=cv2.INTER_AREA)
        yield share, np.asarray(shrunk, np.float32)


def strength_of(rgb: RGBImage, tile: float, side_px: int) -> Floats:
    """(H, W) root mean square of the mark in grey levels; `side_px` is the whole picture's shorter side."""
    strength = _unlimited(rgb, tile, side_px)
    return strength * _scale(strength, _of_side(_PSNR, side_px), _of_side(_WEAKEST, side_px))


def _is_small(rgb: RGBImage) -> bool:
    return rgb.shape[0] * rgb.shape[1] <= MOST_PX


def _held(rgb: RGBImage, tile: float) -> tuple[Floats, Settled]:
    """Strength (H, W), and what it was held back by for the whole picture.

    In a picture in colour that is busy everywhere, the changes are shared as brightness is: green most,
    which gives a sixth more of it at the same PSNR.  Elsewhere they are equal, and a grey picture stays grey.
    """
    side = min(rgb.shape[:2])
    strength = _unlimited(rgb, tile, side)
    in_colour = (
        float(np.percentile(strength, 10)) >= _BUSY * _of_side(_BASE, side)
        and float(np.mean(cv2.absdiff(rgb[..., 0], rgb[..., 2]))) >= _COLOURED
    )
    least = _PSNR[0] if in_colour else _of_side(_PSNR, side)
    scale = _scale(strength, least, _of_side(_WEAKEST, side))
    return strength * scale, Settled(scale, in_colour)


def _unlimited(rgb: RGBImage, tile: float, side_px: int) -> Floats:
    grey = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
    return masking.strength(grey, tile, _of_side(_BASE, side_px), _of_side(_SLOPE, side_px), _MOST)


def _scale(strength: Floats, psnr: float, weakest: float) -> float:
    """By how much all of it is weakened where the whole would fall below this PSNR, or raised where it would
    be above `weakest`."""
    size = float(cv2.norm(strength)) / strength.size**0.5
    most, least = (255 / 10 ** (ratio / 20) / size for ratio in (psnr, weakest))
    return min(most, max(1.0, min(least, MOST_RAISED)))


def _of_side(row: tuple[float, ...], side_px: int) -> float:
    return float(np.interp(np.log2(side_px), _SIDES, row))


def added(
    rgb: RGBImage,
    spectrum: lattice.Complex,
    tile: float,
    strength: Floats,
    shares: Floats = _EQUAL,
) -> RGBImage:
    """The picture with the pattern in it, strip by strip; `shares` (3,) of red, green and blue."""
    height, width = rgb.shape[:2]
    out = np.empty_like(rgb)
    for top in range(0, height, _STRIP):
        bottom = min(top + _STRIP, height)
        mark = lattice.pattern(spectrum, (top, bottom), width, tile) * strength[top:bottom]
        steps = cv2.merge([np.rint(mark * share).astype(np.int16) for share in shares])
        out[top:bottom] = cv2.add(rgb[top:bottom], steps, dtype=cv2.CV_8U)  # saturates
    return out


def lattice_of(weights: Mapping[str, np.ndarray]) -> Lattice:
    """The table in a weights file."""
    phase = weights["lattice.phase"]
    return Lattice(
        data=weights["lattice.data"].astype(np.int64),
        pilot=weights["lattice.pilot"].astype(np.int64),
        phase=(phase[:, 0] + 1j * phase[:, 1]).astype(np.complex64),
        order=weights["lattice.order"].astype(np.int64),
        signs=weights["lattice.signs"].astype(np.float32),
        strength=weights["lattice.strength"].astype(np.float32),
        pilot_strength=float(weights["lattice.pilot_strength"][0]),
    )


@lru_cache(maxsize=1)
def load(file: Path = FILE) -> TiledWatermark:
    """The watermark of a weights file; the one of the package by default."""
    return TiledWatermark(load_file(str(file)))
