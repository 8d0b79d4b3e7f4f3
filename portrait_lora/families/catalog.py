"""The base models that can be asked for by name.  Torch-free: `portrait-lora models` answers at once.

A row (`rows/`) holds facts about the model.  How to train and sample it (rank, learning rate, steps,
guidance) stands in `configs/<name>.yaml`, where people can read and change it.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from portrait_lora.errors import InputError
from portrait_lora.families import layout
from portrait_lora.families.base_model import ASSETS, BaseModel, Commercial
from portrait_lora.families.footprint import footprint
from portrait_lora.families.layout import SD_PARTS
from portrait_lora.families.rows import EMBEDDED, bases, row_of

__all__ = ["ASSETS", "EMBEDDED", "SD_PARTS", "BaseModel", "Commercial", "bases", "resolve_base", "table"]


def table() -> list[dict[str, str | int | float | bool | list[str] | None]]:
    """The catalogue as plain values, for people and programs."""
    return [
        {
            "name": base.name,
            "family": base.family,
            "repo": base.repo,
            "generate_repo": base.generate_repo,
            "text_repo": base.text_repo,
            "licence": base.licence,
            "licence_url": base.licence_url,
            "commercial": base.commercial,
            "terms": base.terms,
            "gated": base.gated,
            "resolution_px": base.resolution_px,
            "parameters_b": base.parameters_b,
            "download_gb": base.download_gb,
            "encoders_b": base.encoders_b,
            "generate_memory_gb": _resident_gb(base),
            "steps": base.steps,
            "guidance_scale": base.guidance_scale,
            "recipe": base.recipe,
            "unverified": list(base.unverified),
            "synthetic": base.synthetic,
        }
        for base in bases()
    ]


def _resident_gb(base: BaseModel) -> float | None:
    needs = footprint(base)
    return None if needs is None else round(needs.resident_gb, 1)


def resolve_base(name_or_folder: str | Path) -> BaseModel:
    """The base model of a catalogue name or of a local folder in diffusers layout.

    Raises `InputError` for an unknown name (with the nearest known one), for a folder that lacks a
    part, or for one that would run code (`layout.inspect`); `ArtifactError` when its files are damaged.
    """
    text = str(name_or_folder)
    for base in bases():
        if base.name == text:
            return _present(base)
    folder = Path(text).expanduser()
    if folder.is_dir():
        return _from_folder(folder.resolve())
    if folder.is_file():
        raise InputError(
            "a single-file checkpoint cannot be used as it is",
            where=folder,
            needed="a folder in diffusers layout",
            remedy=f"Convert it once: portrait-lora convert {folder} --out FOLDER",
        )
    known = [base.name for base in bases()]
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
            remedy="Install the package again.",
        )
    return base


def _from_folder(folder: Path) -> BaseModel:
    """A row for a user's folder; its resolution follows from the configurations of denoiser and VAE.

    Nothing is claimed about the licence of weights of unknown origin.
    """
    read = layout.inspect(folder)
    denoiser = "unet" if "unet" in read.parts else "transformer"
    sample = layout.config_of(folder, denoiser).get("sample_size")
    channels = layout.config_of(folder, "vae").get("block_out_channels")
    down = 2 ** (len(channels) - 1) if isinstance(channels, list) else 8  # pyright: ignore[reportUnknownArgumentType]
    return BaseModel(
        name=folder.name,
        family=read.family,
        repo=str(folder),
        revision="local",
        generate_repo=str(folder),
        generate_revision="local",
        licence="unknown",
        commercial="conditional",
        terms="A folder of yours: its licence is not known here.",
        gated=False,
        resolution_px=sample * down if isinstance(sample, int) else row_of(read.family).resolution_px,
        download_gb=0.0,
        parameters_b=layout.parameters_b(folder / denoiser),
        encoders_b=sum(layout.parameters_b(folder / p) for p in read.parts if p.startswith("text_encoder")),
        synthetic=EMBEDDED.folder is not None and folder == EMBEDDED.folder.resolve(),
        folder=folder,
    )
