"""Models that steps of finishing name and `pull` fetches: their repositories, classes and licences.

Sizes and licences are as others report them; none of these weights was ever run by this project.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from portrait_lora.finishing import licences
from portrait_lora.finishing.step import Tools

MARIGOLD: Final = "marigold"
MARIGOLD_PARTS: Final = ("normals", "intrinsics")


@dataclass(frozen=True, slots=True)
class Source:
    """One repository: `pull` fetches it by that name; its index names one of the `pipelines` of diffusers.

    `licence` is an SPDX name where there is one, `gigabytes` an estimate.
    """

    pull: str
    repo: str
    pipelines: tuple[str, ...]
    licence: str
    gigabytes: float


SOURCES: Final[Mapping[str, Source]] = {
    f"{MARIGOLD}/normals": Source(
        MARIGOLD, "prs-eth/marigold-normals-v1-1", ("MarigoldNormalsPipeline",),
        "CreativeML Open RAIL++-M", 5.0,
    ),
    f"{MARIGOLD}/intrinsics": Source(
        MARIGOLD, "prs-eth/marigold-iid-lighting-v1-1", ("MarigoldIntrinsicsPipeline",),
        "CreativeML Open RAIL++-M", 5.0,
    ),
    "wan": Source(
        "wan", "Wan-AI/Wan2.2-TI2V-5B-Diffusers", ("WanPipeline", "WanImageToVideoPipeline"),
        "Apache-2.0", 34.0,
    ),
    "ltx": Source(
        "ltx", "Lightricks/LTX-Video", ("LTXPipeline", "LTXImageToVideoPipeline"),
        "LTX-Video Open Weights License", 28.0,
    ),
}  # fmt: skip
"""Name of the model in a step -> its repository."""


def pulled_as(name: str) -> Sequence[Source]:
    """The repositories that `pull` fetches under this name; none for another name."""
    return [one for one in SOURCES.values() if one.pull == name]


def pull_names() -> Sequence[str]:
    """The names that `pull` knows, in order."""
    return list(dict.fromkeys(one.pull for one in SOURCES.values()))


def folders_of(model: str, names: Sequence[str], licence: str, tools: Tools) -> Sequence[Path]:
    """The folders of the models `names` (of `SOURCES`), which `model` names together or holds as a folder.

    A folder of one's own has one part per name, after its slash, or is the one model itself; `licence` is
    that of the folder.  Raises `InputError` for what is not here, and without a licence for commercial use.
    """
    if SOURCES[names[0]].pull == model:
        for name in names:
            licences.require(tools, name, SOURCES[name].licence)
        return [tools.model(name) for name in names]
    folder = tools.folder_of(model, "folder of a model")
    licences.require(tools, folder, licence)
    return [folder / part for part in (name.partition("/")[2] for name in names)]
