"""Rows for bases whose weights lie on the hub, and the terms that several of them have.  Torch-free.

Billions of weights are counts on the configurations of the models; downloads are what users of other trainers
report.  `unverified` names the fields of a row that nobody has checked.
"""

from __future__ import annotations

from typing import Final

from portrait_lora.families.base_model import BaseModel, Commercial
from portrait_lora.records import FamilyName

_ESTIMATES: Final = ("download_gb", "generate_memory_gb")
LICENCE: Final = ("licence", "gated")
"""The fields that say under which terms a base can be had."""
OPENRAIL: Final = "May be sold; the licence lists uses that are forbidden, and they bind whoever gets it."
STABILITY: Final = (
    "Free, also to sell with, below 1 million dollars of yearly revenue; above, a paid licence."
)
FLUX_NC: Final = (
    "The weights and every adapter made from them are non-commercial; a licence can be bought from the maker."
)
FREE: Final = "May be sold."


def on_hub(
    name: str,
    family: FamilyName,
    repo: str,
    *,
    licence: str,
    commercial: Commercial,
    terms: str,
    gated: bool = False,
    generate_repo: str = "",
    text_repo: str = "",
    resolution_px: int = 1024,
    download_gb: float,
    parameters_b: float,
    encoders_b: float,
    steps: int,
    guidance_scale: float,
    unverified: tuple[str, ...] = (),
    architecture: str = "",
    preference: int | None = None,
) -> BaseModel:
    """A row for weights on the hub."""
    return BaseModel(
        name=name,
        family=family,
        repo=repo,
        revision="main",
        generate_repo=generate_repo or repo,
        text_repo=text_repo,
        licence=licence,
        commercial=commercial,
        gated=gated,
        resolution_px=resolution_px,
        download_gb=download_gb,
        terms=terms,
        licence_url=f"https://huggingface.co/{repo}",
        parameters_b=parameters_b,
        encoders_b=encoders_b,
        steps=steps,
        guidance_scale=guidance_scale,
        unverified=(*_ESTIMATES, *unverified),
        architecture=architecture,
        preference=preference,
    )
