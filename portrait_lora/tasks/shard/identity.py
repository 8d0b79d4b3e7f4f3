"""Whether a worker is one of the fleet's, and what decides the result for one person, as a digest."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from portrait_lora import __version__, config, likeness, manifest, summaries
from portrait_lora.config import LikenessConfig
from portrait_lora.errors import InputError
from portrait_lora.faces.packs import resolve_pack
from portrait_lora.families import catalog, pinned
from portrait_lora.hub import lock as locks
from portrait_lora.hub.hub import Hub
from portrait_lora.tasks import pull
from portrait_lora.tasks.shard import files
from portrait_lora.tasks.shard.plan import FleetPlan

_NOT_COMPARED: Final = {"python"}
_NO_MATTER: Final = {"device": True, "training": {"together"}, "generate": {"together"}}
"""Settings that change nothing in the result: where it is computed, and beside whom."""
_CLOCK_S: Final = 24 * 3600.0
"""How far a worker's clock may be before the fleet's beginning: consents end by the day."""


def require_worker(plan: FleetPlan) -> None:
    """`InputError` unless this machine runs the same versions, and its clock is not before the fleet's.

    Of a package the part that names the build (`2.13.0+cpu`) may differ.
    """
    here = summaries.versions()
    other = [
        f"{name} {here.get(name, 'not installed')}"
        for name, version in plan.versions.items()
        if name not in _NOT_COMPARED and _public(here.get(name, "")) != _public(version)
    ]
    if other:
        needed = [f"{name} {plan.versions[name]}" for name in (one.split(" ")[0] for one in other)]
        raise InputError(
            "this worker has other versions than the fleet",
            where="worker",
            got=", ".join(other),
            needed=", ".join(needed),
            remedy="Install the same on every worker; those of the fleet are the ones where `fleet run` is.",
        )
    if (now := time.time()) < plan.begun_at - _CLOCK_S:
        raise InputError(
            "the clock of this worker is wrong",
            where="worker",
            got=_day(now),
            needed=f"not before the fleet was made, {_day(plan.begun_at)}",
            remedy="Set it: whether a consent has ended goes by it.",
        )


def require_models(home: Path, plan: FleetPlan, person: str) -> None:
    """`InputError` unless base and face pack of a person are on this machine and are those of the fleet."""
    folder = files.folder(home, person)
    chosen = _config(folder, plan, person)
    if missing := pull.needs((chosen.base, chosen.face_pack), folder, Hub.from_environment()):
        need = missing[0]
        raise InputError(
            "this worker lacks a model",
            where=need.name,
            got=f"{need.gigabytes:.1f} GB to be downloaded, {need.licence}",
            remedy=f"Download it there first: portrait-lora pull {need.name}",
        )
    pack = resolve_pack(chosen.face_pack, quiet=True)
    for what, name, got, known in (
        ("face pack", chosen.face_pack, pack.digest, plan.packs),
        ("base", chosen.base, catalog.resolve_base(chosen.base).digest, plan.bases),
    ):
        if known.get(name, got) != got:
            raise InputError(
                f"this worker has another {what} of this name",
                where=name,
                got=got[:12],
                needed=known[name][:12],
                remedy="Copy the one that the fleet was begun with to every worker.",
            )


def digest_of(home: Path, plan: FleetPlan, person: str) -> str:
    """The digest of photos, settings, base, face pack and version: of what decides the result."""
    folder = files.folder(home, person)
    likeness.require_photos(folder)
    chosen = _config(folder, plan, person)
    photos = likeness.photo_files(folder / "photos")
    base = pinned.pinned(catalog.resolve_base(chosen.base), locks.read(folder))
    return manifest.digest(
        {
            "photos": {photo.name: manifest.sha256_file(photo) for photo in photos},
            "settings": chosen.model_dump(mode="json", exclude=_NO_MATTER),
            "base": base.digest,
            "pack": resolve_pack(chosen.face_pack, quiet=True).digest,
            "version": __version__,
            **_sheets(plan),
        }
    )


def glance_of(home: Path, plan: FleetPlan, person: str) -> str:
    """Of names and sizes of the photos, of settings and rule: without reading a photo.

    Where it differs from that of the record, somebody has to look whether there is work to do.
    """
    folder = files.folder(home, person)
    file = folder / config.FILE_NAME
    try:
        photos = {photo.name: photo.stat().st_size for photo in likeness.photo_files(folder / "photos")}
        own = file.read_bytes().decode(errors="replace") if file.is_file() else ""
    except OSError:
        return ""
    seen: Mapping[str, object] = {
        "photos": photos,
        "settings": [own, *plan.overrides(person)],
        "rule": plan.acceptance.model_dump(mode="json"),
        "models": [plan.packs, plan.bases],
        "version": __version__,
        **_sheets(plan),
    }
    return manifest.digest(seen)


def _sheets(plan: FleetPlan) -> dict[str, object]:
    """What series and brand files hold, where the fleet has any."""
    return {"sheets": {name: sheet.files for name, sheet in plan.sheets.items()}} if plan.sheets else {}


def _config(folder: Path, plan: FleetPlan, person: str) -> LikenessConfig:
    file = folder / config.FILE_NAME
    return config.load(file if file.is_file() else None, plan.overrides(person))


def _public(version: str) -> str:
    return version.split("+")[0]


def _day(when: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(when))
