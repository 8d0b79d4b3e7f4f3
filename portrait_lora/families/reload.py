"""An exported file read again by the loader it was written for, without a single weight of the base.

The networks are built from the base's configuration on the meta device: names and shapes, no numbers.
diffusers' own loader then puts the file in, and refuses, drops or misses here what it would with the weights.
"""

# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

from pathlib import Path
from typing import Any

from accelerate import init_empty_weights  # pyright: ignore[reportMissingTypeStubs]

from portrait_lora.families import open_family
from portrait_lora.families.adapter_file import read_header
from portrait_lora.families.base_model import BaseModel
from portrait_lora.families.diffusers_family import DiffusersFamily
from portrait_lora.families.family import ADAPTER_NAME
from portrait_lora.families.lora_loading import load_lora


def layers_taken(base: BaseModel, path: Path) -> int:
    """How many layers of the base's networks carry the file then.

    Raises `InputError` when the base's configuration is not on this machine, and as `load_lora` does unless
    every layer of the file has found its own.
    """
    family = open_family(base)
    assert isinstance(family, DiffusersFamily)
    parts = {name.partition(".")[0] for name in read_header(path)}
    pipe = _skeleton(family, parts)
    return load_lora(pipe, path, ADAPTER_NAME)


def _skeleton(family: DiffusersFamily, parts: set[str]) -> Any:
    """The pipeline with those of its networks that the file speaks of, empty; the others are left out."""
    store, kind = family.store, family.chosen_pipeline()
    index = store.config(kind, None)
    with init_empty_weights():
        denoiser = family.denoiser_type.from_config(dict(family.denoiser_config))
    networks: dict[str, Any] = {family.denoiser_name: denoiser, "vae": None}
    for name, entry in index.items():
        if name.startswith("text_encoder"):
            networks[name] = _text_encoder(family, name, entry) if name in parts else None
    options: dict[str, Any] = {**family.pipeline_options, **networks}
    return store.open(kind, None, **options)


def _text_encoder(family: DiffusersFamily, name: str, entry: Any) -> Any:
    import transformers

    kind: Any = getattr(transformers, entry[1])
    config = family.store.text_config(kind, name)
    with init_empty_weights():
        return kind(config)
