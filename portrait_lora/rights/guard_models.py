"""Classifiers that the guard can use besides its lists: where they come from, and where they lie.

Licences are those that their makers' pages state.  None of the published weights was run here: the code was
tested with small random networks of the same architecture, and how well they judge is unverified.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

WEIGHTS: Final = "model.safetensors"
DIGESTS: Final = "digests.json"
"""File name -> sha256 of what was fetched, as the hub states it for the pinned commit."""
Kind = Literal["text", "pictures"]


@dataclass(frozen=True, slots=True)
class GuardModel:
    """One published classifier at one commit; `refused` are those of its labels that mean: do not draw."""

    name: str
    kind: Kind
    repo: str
    commit: str
    licence: str
    size: int
    files: tuple[str, ...]
    refused: tuple[str, ...]
    about: str

    @property
    def page(self) -> str:
        """Where its makers describe it."""
        return f"https://huggingface.co/{self.repo}"


CATALOGUE: Final = {
    model.name: model
    for model in (
        GuardModel(
            name="nsfw-text",
            kind="text",
            repo="eliasalbouzidi/distilbert-nsfw-text-classifier",
            commit="5239d30a64ac026607b910571dd0a28c562e1834",
            licence="Apache-2.0",
            size=268_000_000,
            files=("config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json"),
            refused=("nsfw",),
            about="DistilBERT, English only; two labels, safe and nsfw",
        ),
        GuardModel(
            name="nsfw-pictures",
            kind="pictures",
            repo="Falconsai/nsfw_image_detection",
            commit="00184bf26c51ad2c11a816aa4b1c4e1989d63603",
            licence="Apache-2.0",
            size=343_000_000,
            files=("config.json", WEIGHTS, "preprocessor_config.json"),
            refused=("nsfw",),
            about="ViT at 224 px; two labels, normal and nsfw",
        ),
    )
}
"""By name, as `pull` and the policy know them."""


def home() -> Path:
    """Folder of the fetched classifiers: under HF_HOME, beside the hub's cache."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    root = os.environ.get("HF_HOME", f"{cache}/huggingface")
    return Path(root).expanduser() / "portrait_lora" / "guard"


def installed(model: GuardModel) -> Path | None:
    """Its folder; None where something of it is not here."""
    folder = home() / model.name
    return folder if all((folder / name).is_file() for name in (*model.files, DIGESTS)) else None
