"""The face packs that can be downloaded by name: files, checksums, licences, and their pairs of embedders.

Checksums, commits and sizes are those that several unrelated public projects state alike; they were not
compared with the makers' own pages, and no weights were fetched when this was written, so nothing here has
been run on photographs.  Thresholds are published ones (cosine between two photos), not calibrated on this
program's statistic: a `verified` rate made with them is indicative.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Kind = Literal["arcface", "sface"]
Backend = Literal["insightface", "opencv"]
RESEARCH: Final = "non-commercial research only"


@dataclass(frozen=True, slots=True)
class Source:
    """A hub repository at a commit, or a zip archive at a URL (then `commit` is its sha256)."""

    where: str
    commit: str
    size: int = 0

    @property
    def is_archive(self) -> bool:
        """Whether this is a zip archive."""
        return self.where.startswith("https://")


@dataclass(frozen=True, slots=True)
class Network:
    """One ONNX file: its source, checksum and licence."""

    source: Source
    path: str
    sha256: str
    size: int
    licence: str
    commercial: Literal["yes", "no"]


@dataclass(frozen=True, slots=True)
class Strangers:
    """Published statistics of an embedder's similarities between different people, used without a gallery.

    `mean` is their centre (cosine); `false_match_rate` the share of pairs at or above the threshold.
    """

    mean: float
    false_match_rate: float
    source: str


@dataclass(frozen=True, slots=True)
class Embedder:
    """A recogniser, its id in reports, and a published threshold with its provenance."""

    network: Network
    id: str
    kind: Kind
    threshold: float
    note: str
    strangers: Strangers | None = None


@dataclass(frozen=True, slots=True)
class KnownPack:
    """`report` is the pack's own embedder, `select` the other one, for curation and checkpoint selection."""

    name: str
    backend: Backend
    detector: Network
    landmarks: Network | None
    select: Embedder
    report: Embedder
    age: Network | None = None

    @property
    def networks(self) -> tuple[Network, ...]:
        """Every network of the pack."""
        parts = (self.detector, self.landmarks, self.select.network, self.report.network, self.age)
        return tuple(n for n in parts if n is not None)

    @property
    def commercial(self) -> Literal["yes", "no"]:
        """`yes` if every network of the pack may be used commercially."""
        return "yes" if all(n.commercial == "yes" for n in self.networks) else "no"

    @property
    def licence(self) -> str:
        """The licences of its networks."""
        return ", ".join(dict.fromkeys(n.licence for n in self.networks))

    @property
    def size(self) -> int:
        """Bytes to download."""
        sources = {n.source for n in self.networks if n.source.is_archive}
        return sum(s.size for s in sources) + sum(n.size for n in self.networks if not n.source.is_archive)


_CENTRE: Final = "centre taken as 0, where embedders trained with an angular margin have it"
_PAIRS: Final = "over 87 million pairs of LFW (github.com/archledger/irlume, August 2026)"
_RELEASE: Final = "https://github.com/deepinsight/insightface/releases/download/v0.7"
_BUFFALO: Final = Source(
    f"{_RELEASE}/buffalo_l.zip",
    "80ffe37d8a5940d59a7384c201a2a38d4741f2f3c51eef46ebb28218a7b0ca2f",
    288_621_354,
)
_ANTELOPE: Final = Source(
    f"{_RELEASE}/antelopev2.zip",
    "8e182f14fc6e80b3bfa375b33eb6cff7ee05d8ef7633e738d1c89021dcf0c5c5",
    360_662_982,
)
_SCRFD: Final = Network(
    _BUFFALO,
    "det_10g.onnx",
    "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91",
    16_923_827,
    RESEARCH,
    "no",
)
_LANDMARKS: Final = Network(
    _BUFFALO,
    "1k3d68.onnx",
    "df5c06b8a0c12e422b2ed8947b8869faa4105387f199c477af038aa01f9a45cc",
    143_607_619,
    RESEARCH,
    "no",
)
_AGE: Final = Network(
    _BUFFALO,
    "genderage.onnx",
    "4fde69b1c810857b88c64a335084f1c3fe8f01246c9a191b48c7bb756d6652fb",
    1_322_532,
    RESEARCH,
    "no",
)
_YUNET: Final = Network(
    Source("opencv/face_detection_yunet", "3cc26e7f1014a5ee5d74a42acee58bafc9d0a310"),
    "face_detection_yunet_2023mar.onnx",
    "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    232_589,
    "MIT",
    "yes",
)
BUFFALO_R50: Final = Embedder(
    Network(
        _BUFFALO,
        "w600k_r50.onnx",
        "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43",
        174_383_860,
        RESEARCH,
        "no",
    ),
    "buffalo_l-w600k_r50",
    "arcface",
    0.55,
    "false matches 4e-5 on LFW, 1e-4 to 4e-4 within groups of FairFace",
    Strangers(
        0.0, 4e-5, f"{_CENTRE}; false matches at 0.55 over 87 million pairs of LFW (irlume project, 2026)"
    ),
)
ANTELOPE_R100: Final = Embedder(
    Network(
        _ANTELOPE,
        "antelopev2/glintr100.onnx",
        "4ab1d6435d639628a6f3e5008dd4f929edf4c4124b1a7169e1048f9fef534cdf",
        260_665_334,
        RESEARCH,
        "no",
    ),
    "antelopev2-glintr100",
    "arcface",
    0.55,
    "no published figure: buffalo_l's stands in",
)
AURAFACE: Final = Embedder(
    Network(
        Source("fal/AuraFace-v1", "af6d057c9b0ec4071d4c49c80e3539258798b609"),
        "glintr100.onnx",
        "a7933ea5330113b01c9b60351d8f4c33003f145d8470ac5f0e52ee2effe25c60",
        260_694_151,
        "Apache-2.0",
        "yes",
    ),
    "auraface-v1",
    "arcface",
    0.50,
    "false matches 3e-5 on LFW, up to 1e-3 within groups",
    Strangers(
        0.0, 3e-5, f"{_CENTRE}; false matches at 0.50 over 87 million pairs of LFW (irlume project, 2026)"
    ),
)
SFACE: Final = Embedder(
    Network(
        Source("opencv/face_recognition_sface", "3d7082438a6e4551e840c9b2bb60b71e8da4b524"),
        "face_recognition_sface_2021dec.onnx",
        "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
        38_696_353,
        "Apache-2.0",
        "yes",
    ),
    "sface-2021dec",
    "sface",
    0.363,
    "OpenCV's own recommendation; its false-match rate is not stated",
)

KNOWN: Final[Mapping[str, KnownPack]] = {
    pack.name: pack
    for pack in (
        KnownPack("auraface", "opencv", _YUNET, None, select=SFACE, report=AURAFACE),
        KnownPack("sface", "opencv", _YUNET, None, select=AURAFACE, report=SFACE),
        KnownPack(
            "buffalo_l", "insightface", _SCRFD, _LANDMARKS, select=ANTELOPE_R100, report=BUFFALO_R50, age=_AGE
        ),
        KnownPack(
            "antelopev2",
            "insightface",
            _SCRFD,
            _LANDMARKS,
            select=BUFFALO_R50,
            report=ANTELOPE_R100,
            age=_AGE,
        ),
    )
}


def packs_home() -> Path:
    """Folder of the installed packs: under HF_HOME, beside the hub's cache."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("HF_HOME", f"{cache}/huggingface")
    return Path(home).expanduser() / "portrait_lora" / "packs"
