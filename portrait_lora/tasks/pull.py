"""Models onto this machine before they are needed: bases, face packs, what steps of finishing name.

A branch is resolved to a commit once; the lock of the likeness folder then names the bytes for ever.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from portrait_lora.config import FILE_NAME, load
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.faces.catalog import KNOWN
from portrait_lora.faces.install import install, installed
from portrait_lora.faces.packs import EMBEDDED, refuse_former_name
from portrait_lora.families import catalog, layout
from portrait_lora.finishing import sources
from portrait_lora.hub import lock as locks
from portrait_lora.hub.hub import Hub, Snapshot, as_locked
from portrait_lora.hub.lock import Lock, LockedFile, LockedModel
from portrait_lora.rights import guard_models
from portrait_lora.rights.guard_models import CATALOGUE as GUARD_MODELS
from portrait_lora.tasks import pull_guard, pull_trustmark

MEGABYTES_PER_SECOND: Final = 25.0
"""A line of 200 Mbit/s: what the time shown before a download assumes."""


@dataclass(frozen=True, slots=True)
class Need:
    """One model that is not here: its size (announced, or the catalogue's estimate) and its terms."""

    name: str
    gigabytes: float
    licence: str
    gated: bool
    page: str

    @property
    def minutes(self) -> float:
        """At `MEGABYTES_PER_SECOND`."""
        return self.gigabytes * 1000 / MEGABYTES_PER_SECOND / 60


_CAPTIONERS: Final = {"florence2": (0.5, "MIT"), "blip": (1.0, "BSD-3-Clause")}
"""GB and licence of what writes captions when no other model is named; as reported, not verified."""


def names_of(folder: Path, overrides: Sequence[str] = ()) -> tuple[str, str]:
    """The base and the face pack that a likeness folder asks for."""
    file = folder / FILE_NAME
    config = load(file if file.is_file() else None, overrides)
    return config.base, config.face_pack


def needs(names: Sequence[str], folder: Path, hub: Hub) -> list[Need]:
    """Which of these models are not on this machine yet; nothing is asked of the network."""
    lock, missing = locks.read(folder), []
    for name in dict.fromkeys(names):
        known, base = KNOWN.get(name), _catalogued(name)
        if known and installed(known) is None:
            page = known.report.network.source.where
            missing.append(Need(name, known.size / 1e9, known.licence, False, page))
        elif name == pull_trustmark.NAME and pull_trustmark.installed() is None:
            size, page = pull_trustmark.SIZE / 1e9, pull_trustmark.PAGE
            missing.append(Need(name, size, pull_trustmark.LICENCE, False, page))
        elif (judge := GUARD_MODELS.get(name)) and guard_models.installed(judge) is None:
            missing.append(Need(name, judge.size / 1e9, judge.licence, False, judge.page))
        elif finishing := [s for s in sources.pulled_as(name) if not _is_here(lock, s.repo, hub)]:
            size, page = sum(s.gigabytes for s in finishing), f"{hub.endpoint}/{finishing[0].repo}"
            missing.append(Need(name, size, f"{finishing[0].licence} (as reported)", False, page))
        elif base and not all(_is_here(lock, repo, hub) for repo in base.repos):
            missing.append(Need(name, base.download_gb, base.licence, base.gated, base.licence_url))
    return missing


def captioner_need(captioner: str, model: str, hub: Hub) -> list[Need]:
    """The captioning model, when one is asked for by name and is not in the cache yet.

    Nothing is asked of the network.  Size and licence of a model of the user's choice are not known.
    """
    from portrait_lora.dataset.caption_models import MODELS

    if captioner not in _CAPTIONERS or (model and Path(model).expanduser().is_dir()):
        return []
    repo = model or MODELS[captioner]
    there = hub.cache / f"models--{repo.replace('/', '--')}" / "snapshots"
    if any(there.glob("*/config.json")):
        return []
    size, licence = (math.nan, "licence not known here") if model else _CAPTIONERS[captioner]
    return [Need(repo, size, licence, False, f"{hub.endpoint}/{repo}")]


def pull(name: str, folder: Path, hub: Hub, *, archive: Path | None = None) -> list[LockedModel]:
    """Fetch one model, verify every byte, and lock it in `folder`; what was locked.

    A name that needs no download (the embedded models, a folder) is checked only.
    """
    lock = locks.read(folder)
    if name in KNOWN:
        models = install(KNOWN[name], hub, archive)
    elif base := _catalogued(name):
        models = [_pull_repo(repo, lock, hub, base.name, text=repo == base.text_repo) for repo in base.repos]
    elif name == pull_trustmark.NAME:
        models = pull_trustmark.install(hub)
    elif name in GUARD_MODELS:
        models = pull_guard.install(GUARD_MODELS[name], hub)
    elif finishing := sources.pulled_as(name):
        models = [_pull_repo(one.repo, lock, hub, one.repo, one.pipelines) for one in finishing]
    elif Path(name).is_file():
        raise InputError(
            "a checkpoint in one file is on this machine already",
            where=name,
            needed="a folder in diffusers layout",
            remedy=f"Make it one: portrait-lora convert {name} --out FOLDER",
        )
    elif Path(name).is_dir() or name == EMBEDDED:
        return []
    else:
        refuse_former_name(name)
        catalog.resolve_base(name)  # raises with the nearest name
        raise InputError("nothing to fetch under this name", where=name)
    for model in models:
        lock = lock.with_model(model)
    locks.write(folder, lock)
    return models


def _catalogued(name: str) -> catalog.BaseModel | None:
    return next((b for b in catalog.bases() if b.name == name and b.folder is None), None)


def _is_here(lock: Lock, repo: str, hub: Hub) -> bool:
    model = lock.models.get(repo)
    return model is not None and not hub.missing(as_locked(model))


def _pull_repo(
    repo: str, lock: Lock, hub: Hub, label: str, pipelines: Sequence[str] = (), *, text: bool = False
) -> LockedModel:
    """One repository: as locked, or for the first time; a base, of `pipelines`, or a `text` encoder."""

    def parts_of(folder: Path) -> Mapping[str, str]:
        return layout.read_parts(folder, pipelines) if pipelines else layout.published_parts(folder)

    def inspect(folder: Path) -> None:
        layout.inspect_text(folder) if text else layout.inspect_parts(folder, parts_of(folder))

    def wanted(whole: Snapshot) -> tuple[str, ...]:
        names = [f.path for f in whole.files]
        if text:
            return layout.text_files(names)
        folder, _ = hub.fetch(whole.only([layout.INDEX]), label=label)
        return layout.wanted_files(parts_of(folder), names)

    if locked := lock.models.get(repo):
        folder, digests = hub.fetch(as_locked(locked), label=label)
        wrong = [p for p, f in locked.files.items() if digests[p] != f.sha256]
        if wrong:  # fetch has compared the same bytes: only a lock edited meanwhile comes here
            raise ArtifactError("a file is not the locked one", where=folder / wrong[0])
        inspect(folder)
        return locked
    whole = hub.resolve(repo)
    snapshot = whole.only(wanted(whole))
    folder, digests = hub.fetch(snapshot, label=label)
    inspect(folder)
    files = {f.path: LockedFile(digests[f.path], f.size) for f in snapshot.files}
    return LockedModel(repo, whole.revision, whole.commit, files)
