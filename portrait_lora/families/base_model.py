"""One base model, as catalogue rows and user folders describe it.  Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from portrait_lora import manifest
from portrait_lora.records import FamilyName

ASSETS: Final = Path(__file__).resolve().parents[1] / "assets"
Commercial = Literal["yes", "conditional", "no"]


@dataclass(frozen=True, slots=True)
class BaseModel:
    """One base model.

    `repo` is trained on and `generate_repo` sampled with (a distilled sibling may be faster); both are
    hub names, at `revision` and `generate_revision`; so is `text_repo`, where a text encoder is published by
    others than the rest.  `folder` is set when the weights lie on this
    machine in diffusers layout.  `terms` says in one sentence what `commercial` means here.
    `parameters_b` and `encoders_b` are billions of weights in the denoiser and in all text encoders, the
    latter None when nobody has counted them; `steps` and `guidance_scale` suit `generate_repo`.  `unverified`
    names fields that rest on reports.  `architecture` is ModelSpec's name of it where that says more than the
    family's.  `preference`: its place among the bases that `init` proposes, best likeness first, by what
    users of other trainers report; None: never proposed.
    """

    name: str
    family: FamilyName
    repo: str
    revision: str
    generate_repo: str
    licence: str
    commercial: Commercial
    gated: bool
    resolution_px: int
    download_gb: float
    synthetic: bool = False
    folder: Path | None = None
    terms: str = ""
    licence_url: str = ""
    generate_revision: str = "main"
    text_repo: str = ""
    text_revision: str = "main"
    parameters_b: float = 0.0
    encoders_b: float | None = None
    steps: int = 28
    guidance_scale: float = 4.0
    unverified: tuple[str, ...] = ()
    architecture: str = ""
    preference: int | None = None

    @property
    def source(self) -> str:
        """What `from_pretrained` is given."""
        return str(self.folder) if self.folder else self.repo

    @property
    def label(self) -> str:
        """Names the exact weights for people and records: a catalogue name or a folder, with revision."""
        return self.name if self.folder else f"{self.repo}@{self.revision}"

    @property
    def repos(self) -> tuple[str, ...]:
        """The hub repositories that have to be fetched; none for a folder."""
        named = (self.repo, self.generate_repo, self.text_repo)
        return () if self.folder else tuple(dict.fromkeys(repo for repo in named if repo))

    @property
    def recipe(self) -> str:
        """The packaged configuration file that says how to train and sample this base."""
        return f"{self.name}.yaml"

    @property
    def digest(self) -> str:
        """Identifies the weights: content for a folder, repositories and revisions for the hub."""
        if self.folder is not None:
            from portrait_lora.families.layout import folder_digest

            return folder_digest(self.folder)
        identity = {"repo": self.repo, "revision": self.revision}
        if self.generate_repo != self.repo:
            identity |= {"generate_repo": self.generate_repo, "generate_revision": self.generate_revision}
        if self.text_repo:
            identity |= {"text_repo": self.text_repo, "text_revision": self.text_revision}
        return manifest.digest(identity)
