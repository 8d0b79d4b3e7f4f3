"""Checks whether this machine is ready; every failed check has a remedy.

`judge_machine` checks facts, `judge_models` and `judge_likeness` check files; `selftest.py` runs the embedded
models for a few seconds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from packaging.requirements import Requirement
from packaging.version import Version

from portrait_lora import manifest
from portrait_lora.config import FILE_NAME, load
from portrait_lora.doctor import distributions
from portrait_lora.doctor.machine import Machine, requirements
from portrait_lora.errors import PortraitError
from portrait_lora.faces import packs
from portrait_lora.faces.catalog import KNOWN
from portrait_lora.faces.install import installed
from portrait_lora.families import base_model, catalog, pinned
from portrait_lora.hub import lock
from portrait_lora.hub.hub import Hub
from portrait_lora.rights import consent
from portrait_lora.tasks import pull

Status = Literal["ok", "warn", "fail"]
PYTHON: Final = (3, 11)
MIN_FREE_GB: Final = 5.0
MIN_MEMORY_GB: Final = 4.0
_OPENCV: Final = "opencv-"
_HEADLESS: Final = "pip uninstall -y opencv-python-headless && pip install --force-reinstall opencv-python"


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check; `remedy` is empty only when there is no problem."""

    name: str
    status: Status
    observed: str
    remedy: str = ""


def judge_machine(
    m: Machine, needed: list[str] | None = None, tested: Mapping[str, str] | None = None
) -> list[Check]:
    """Python, packages, GPU, memory, disk, hub.

    `needed` and `tested` are requirements and versions tested together; by default the program's own.
    """
    declared = requirements() if needed is None else needed
    pinned = distributions.tested() if tested is None else tested
    return [
        _python(m),
        *_packages(m, declared, pinned),
        _opencv(m),
        *_gpu(m),
        _precision(m),
        _memory(m),
        *_disks(m),
        *_folders(m),
        _hub(m),
        *_shadows(m),
    ]


def judge_models(hub: Hub) -> list[Check]:
    """Checksums of the embedded models and of every downloaded face pack."""
    checks = [_attempt("embedded base", _embedded_base), _attempt("face pack embedded", packs.resolve_pack)]
    for known in KNOWN.values():
        if installed(known):
            checks.append(_attempt(f"face pack {known.name}", lambda n=known.name: packs.resolve_pack(n)))
    damaged = sorted(p.name for p in hub.cache.glob("models--*/blobs/*.incomplete"))
    if damaged:
        remedy = f"Remove the *.incomplete files below {hub.cache}."
        checks.append(Check("hub cache", "warn", f"{len(damaged)} incomplete downloads", remedy))
    return checks


def judge_likeness(folder: Path, hub: Hub) -> list[Check]:
    """The configuration, models, lock, consent and unfinished writes of one likeness folder."""
    try:
        config = load(folder / FILE_NAME if (folder / FILE_NAME).is_file() else None)
    except PortraitError as error:
        return [_failed("configuration", error)]
    checks = [Check("configuration", "ok", str(folder / FILE_NAME))]
    checks.append(_attempt("lock", lambda: lock.read(folder)))
    if checks[-1].status == "ok":
        checks.append(_attempt("base model", lambda: _base(config.base, folder, hub)))
    if config.face_pack != packs.EMBEDDED:
        checks.append(_attempt("face pack", lambda: packs.resolve_pack(config.face_pack)))
    photos = folder / "photos"
    if photos.is_dir():
        ask = lambda: consent.require(folder, photos, commercial=config.commercial)  # noqa: E731
        checks.append(_attempt("consent", ask))
    stale = sorted(p.name for p in folder.rglob(".writing-*"))
    if stale:
        remedy = f"If nothing is running, remove {folder / stale[0]}."
        checks.append(Check("unfinished writes", "warn", f"{len(stale)} folders", remedy))
    return checks


def _base(name: str, folder: Path, hub: Hub) -> None:
    pinned.locked(catalog.resolve_base(name), folder, hub)
    missing = pull.needs([name], folder, hub)
    if missing:
        gated = " Its licence must be accepted first." if missing[0].gated and hub.token is None else ""
        raise PortraitError(
            "the base model is not on this machine",
            where=name,
            needed=f"about {missing[0].gigabytes:.0f} GB",
            remedy=f"Download it with: portrait-lora pull {name} --into {folder}.{gated}",
        )


def _embedded_base() -> None:
    folder = base_model.ASSETS / "base"
    digests = json.loads((folder / "digests.json").read_text(encoding="utf-8"))
    wrong = [
        n for n, d in digests.items() if not (folder / n).is_file() or manifest.sha256_file(folder / n) != d
    ]
    if wrong:
        remedy = "Reinstall portrait-lora."
        raise PortraitError("the embedded base is damaged", where=folder / wrong[0], remedy=remedy)


def _attempt(name: str, call: Callable[[], object]) -> Check:
    try:
        call()
    except PortraitError as error:
        return _failed(name, error)
    except (OSError, ValueError) as error:
        return Check(name, "fail", f"{type(error).__name__}: {error}", "Reinstall portrait-lora.")
    return Check(name, "ok", "present and verified")


def _failed(name: str, error: PortraitError) -> Check:
    detail = f"{error.where}: {error.what}" + (f" (got {error.got})" if error.got else "")
    return Check(name, "fail", detail, error.remedy or f"Needed: {error.needed}.")


def _python(m: Machine) -> Check:
    version = ".".join(map(str, m.python))
    good = m.python >= PYTHON
    return Check("python", "ok" if good else "fail", version, "" if good else "Use Python 3.11 or newer.")


def _packages(m: Machine, needed: list[str], tested: Mapping[str, str]) -> list[Check]:
    """Missing, outdated or damaged packages; one warning for versions other than the tested ones."""
    checks: list[Check] = []
    other: list[str] = []
    wanted = [r for r in map(Requirement, needed) if r.marker is None or r.marker.evaluate({"extra": ""})]
    for need in wanted:
        name = distributions.normalised(need.name)
        version, pinned = m.versions.get(name), tested.get(name)
        if version is None or not need.specifier.contains(version, prereleases=True):
            remedy = f"pip install '{need.name}{need.specifier}' -c constraints.txt"
            checks.append(Check(f"package {need.name}", "fail", version or "not installed", remedy))
        elif pinned and Version(version).public != Version(pinned).public:
            other.append(f"{need.name} {version} (tested: {pinned})")
    for name, file in m.damaged.items():
        remedy = f"pip install --force-reinstall --no-deps '{name}=={m.versions.get(name, '')}'"
        checks.append(Check(f"package {name}", "fail", f"{file} is missing or modified", remedy))
    if other:
        remedy = "If something fails: pip install -c constraints.txt portrait-lora"
        checks.append(Check("versions", "warn", ", ".join(other), remedy))
    return checks or [Check("packages", "ok", f"{len(wanted)} requirements met, in tested versions")]


def _opencv(m: Machine) -> Check:
    installed = sorted(n for n in m.versions if n.startswith(_OPENCV))
    if len(installed) > 1:
        return Check("opencv", "fail", f"{', '.join(installed)} overwrite each other", _HEADLESS)
    return Check("opencv", "ok", ", ".join(installed) or "none")


def _gpu(m: Machine) -> list[Check]:
    if m.torch_error:
        remedy = "pip install --force-reinstall torch -c constraints.txt"
        return [Check("torch", "fail", f"cannot be imported: {m.torch_error}", remedy)]
    if m.gpu:
        return [Check("gpu", "ok", f"{m.gpu}, {m.gpu_memory_gb or math.nan:.0f} GB")]
    status, detail, remedy = _no_gpu(m)
    return [Check("gpu", status, detail, remedy)]


def _no_gpu(m: Machine) -> tuple[Status, str, str]:
    if m.driver and not m.cuda_build:
        remedy = "Install the CUDA build: pip install --force-reinstall torch -c constraints.txt"
        return "fail", "NVIDIA driver present, but torch is built without CUDA", remedy
    if m.cuda_build and not m.driver:
        remedy = "Install the NVIDIA driver; start a container with --gpus all."
        return "warn", "torch has CUDA, but there is no NVIDIA driver", remedy
    if m.driver:
        remedy = "Update the driver, and check that nvidia-smi lists the GPU."
        return "fail", "NVIDIA driver present, but torch finds no GPU", remedy
    return "warn", "none", "The embedded models run on a CPU; real base models need a GPU."


def _precision(m: Machine) -> Check:
    if m.gpu and not m.bf16:
        remedy = "Set mixed_precision: fp16 (bf16 needs an Ampere card or newer)."
        return Check("precision", "warn", "no bf16", remedy)
    return Check("precision", "ok", "bf16" if m.bf16 else "float32 on the CPU")


def _memory(m: Machine) -> Check:
    low = m.memory_gb < MIN_MEMORY_GB
    remedy = "Close other programs, or use a machine with more memory." if low else ""
    return Check("memory", "fail" if low else "ok", f"{m.memory_gb:.1f} GB", remedy)


def _disks(m: Machine) -> list[Check]:
    checks: list[Check] = []
    for place, free in m.free_gb.items():
        low = free < MIN_FREE_GB
        remedy = "Free some space, or set HF_HOME to a folder on a larger disk." if low else ""
        checks.append(Check(f"disk ({place})", "fail" if low else "ok", f"{free:.1f} GB free", remedy))
    return checks


def _folders(m: Machine) -> list[Check]:
    bad = [path for path, can in m.writable.items() if not can]
    if not bad:
        return [Check("folders", "ok", "writable")]
    remedy = "Change the permissions, or set HF_HOME to a folder that you can write."
    return [Check("folders", "fail", f"{path} is not writable", remedy) for path in bad]


def _hub(m: Machine) -> Check:
    if m.offline:
        return Check("hub", "ok", "disabled; only local files are used")
    if m.online is False:
        remedy = "Check the connection or HF_ENDPOINT; or work --offline."
        return Check("hub", "warn", "unreachable", remedy)
    if m.login == "refused":
        return Check("hub", "fail", "rejects the token", "Create a new one: hf auth login (or HF_TOKEN).")
    reached = "reachable" if m.online else "not checked"
    if m.login == "none":
        remedy = "Only needed for gated models (* in `portrait-lora models`): hf auth login"
        return Check("hub", "warn", f"{reached}, not logged in", remedy)
    return Check(
        "hub", "ok", f"{reached}, logged in" if m.login == "accepted" else f"{reached}, a token is set"
    )


def _shadows(m: Machine) -> list[Check]:
    shadows = [name for name in KNOWN if (m.working_folder / name).exists()]
    remedy = "Rename it: insightface would mistake it for the face pack of that name."
    return [Check("working folder", "fail", str(m.working_folder / name), remedy) for name in shadows]


def summary(checks: list[Check]) -> Mapping[str, object]:
    """The checks as a JSON value."""
    rows = [{"name": c.name, "status": c.status, "found": c.observed, "remedy": c.remedy} for c in checks]
    return {"healthy": not any(c.status == "fail" for c in checks), "checks": rows}
