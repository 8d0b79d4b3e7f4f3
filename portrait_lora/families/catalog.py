"""The base models that can be asked for by name.  Torch-free: `portrait-lora models` answers at once.

A row holds facts about the model.  How to train and sample it (rank, learning rate, steps, guidance)
stands in `configs/<name>.yaml`, where people can read and change it.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal

from portrait_lora import manifest
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.records import FamilyName

ASSETS: Final = Path(__file__).resolve().parents[1] / "assets"
SD_PARTS: Final = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")


@dataclass(frozen=True, slots=True)
class BaseModel:
    """One base model.

    `repo` is trained on and `generate_repo` sampled with (a distilled sibling may be faster); both are
    hub names.  `folder` is set when the weights lie on this machine in diffusers layout.
    """

    name: str
    family: FamilyName
    repo: str
    revision: str
    generate_repo: str
    licence: str
    commercial: Literal["yes", "conditional", "no"]
    gated: bool
    resolution_px: int
    download_gb: float
    synthetic: bool = False
    folder: Path | None = None

    @property
    def source(self) -> str:
        """What `from_pretrained` is given."""
        return str(self.folder) if self.folder else self.repo

    @property
    def label(self) -> str:
        """Names the exact weights for people and records: a catalogue name or a folder, with revision."""
        return self.name if self.folder else f"{self.repo}@{self.revision}"

    @property
    def digest(self) -> str:
        """Identifies the weights: content for a folder, repository and revision for the hub."""
        if self.folder is None:
            return manifest.digest({"repo": self.repo, "revision": self.revision})
        return _folder_digest(self.folder, _fingerprint(self.folder))


EMBEDDED: Final = BaseModel(
    name="embedded",
    family="sd15",
    repo="embedded",
    revision="packaged",
    generate_repo="embedded",
    licence="Apache-2.0",
    commercial="yes",
    gated=False,
    resolution_px=128,
    download_gb=0.0,
    synthetic=True,
    folder=ASSETS / "base",
)

BASES: Final = (
    EMBEDDED,
    BaseModel(
        name="sd15",
        family="sd15",
        repo="stable-diffusion-v1-5/stable-diffusion-v1-5",
        revision="main",
        generate_repo="stable-diffusion-v1-5/stable-diffusion-v1-5",
        licence="creativeml-openrail-m",
        commercial="conditional",
        gated=False,
        resolution_px=512,
        download_gb=4.3,
    ),
)


def table() -> list[dict[str, str | int | float | bool]]:
    """The catalogue as plain values, for people and programs."""
    return [
        {
            "name": base.name,
            "family": base.family,
            "repo": base.repo,
            "licence": base.licence,
            "commercial": base.commercial,
            "gated": base.gated,
            "resolution_px": base.resolution_px,
            "download_gb": base.download_gb,
            "synthetic": base.synthetic,
        }
        for base in BASES
    ]


def resolve_base(name_or_folder: str | Path) -> BaseModel:
    """The base model of a catalogue name or of a local folder in Stable Diffusion layout.

    Raises `InputError` for an unknown name (with the nearest known one), or for a folder that lacks
    a part of the layout.
    """
    text = str(name_or_folder)
    for base in BASES:
        if base.name == text:
            return _present(base)
    folder = Path(text).expanduser()
    if folder.is_dir():
        return _present(_from_folder(folder.resolve()))
    known = [base.name for base in BASES]
    close = difflib.get_close_matches(text, known, 1, cutoff=0.5)
    hint = f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(known)}."
    raise InputError(
        "unknown base model",
        where="base",
        got=repr(text),
        needed="a name of the catalogue or a folder in diffusers layout",
        remedy=hint,
    )


def _present(base: BaseModel) -> BaseModel:
    """The base itself, once its folder (if it has one) is known to be complete."""
    folder = base.folder
    missing = [p for p in SD_PARTS if not (folder / p).is_dir()] if folder else []
    if missing:
        raise InputError(
            f"base model {base.name!r} is incomplete",
            where=folder,
            got=f"no {', '.join(missing)}",
            needed=f"the folders {', '.join(SD_PARTS)}",
            remedy="Install the package again." if base.name == "embedded" else "",
        )
    return base


def _from_folder(folder: Path) -> BaseModel:
    """A row for a user's folder; the resolution follows from the denoiser's and the VAE's configuration."""
    unet, vae = _config(folder, "unet"), _config(folder, "vae")
    channels = vae.get("block_out_channels")
    down = 2 ** (len(channels) - 1) if isinstance(channels, list) else 8  # pyright: ignore[reportUnknownArgumentType]
    sample = unet.get("sample_size")
    latent = sample if isinstance(sample, int) else 64
    # Weights of unknown origin: nothing is claimed about their licence.
    return replace(
        BASES[1],
        name=folder.name,
        repo=str(folder),
        generate_repo=str(folder),
        revision="local",
        licence="unknown",
        commercial="conditional",
        resolution_px=latent * down,
        download_gb=0.0,
        synthetic=_is_packaged(folder),
        folder=folder,
    )


def _is_packaged(folder: Path) -> bool:
    return EMBEDDED.folder is not None and folder == EMBEDDED.folder.resolve()


def _config(folder: Path, part: str) -> dict[str, object]:
    path = folder / part / "config.json"
    if not (folder / part).is_dir():
        return {}
    try:
        value: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ArtifactError("the model's configuration cannot be read", where=path, got=error) from error
    return value if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def _fingerprint(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times: cheap to compare, so that the content is hashed once per process."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return tuple((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files)


@lru_cache(maxsize=16)
def _folder_digest(folder: Path, fingerprint: tuple[tuple[str, int, int], ...]) -> str:
    del fingerprint  # part of the cache key only
    files = sorted(p for part in SD_PARTS for p in (folder / part).rglob("*") if p.is_file())
    return manifest.digest({p.relative_to(folder).as_posix(): manifest.sha256_file(p) for p in files})
