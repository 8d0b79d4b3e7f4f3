"""The facts about this machine that decide whether the program can work; gathered once, judged elsewhere."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from portrait_lora.faces.known import packs_home
from portrait_lora.hub import Hub


@dataclass(frozen=True, slots=True)
class Machine:
    """`versions` are the installed distributions by normalised name; `online` None was not tried."""

    python: tuple[int, int]
    versions: Mapping[str, str]
    driver: bool
    cuda_build: bool
    gpu: str
    gpu_memory_gb: float | None
    bf16: bool
    memory_gb: float
    free_gb: Mapping[str, float]
    writable: Mapping[str, bool]
    logged_in: bool
    online: bool | None
    offline: bool
    working_folder: Path


def normalised(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return name.lower().replace("_", "-").replace(".", "-")


def probe(hub: Hub, *, network: bool) -> Machine:
    """Look at this machine; with `network` the hub is asked for a sign of life (3 seconds at most)."""
    import torch

    cuda = torch.cuda.is_available()
    cache, here = hub.cache, Path.cwd()
    return Machine(
        python=sys.version_info[:2],
        versions={normalised(d.name): d.version for d in metadata.distributions() if d.name},
        driver=_driver(),
        cuda_build=torch.version.cuda is not None,
        gpu=torch.cuda.get_device_name(0) if cuda else "",
        gpu_memory_gb=torch.cuda.get_device_properties(0).total_memory / 1e9 if cuda else None,
        bf16=bool(cuda and torch.cuda.is_bf16_supported()),
        memory_gb=_memory_gb(),
        free_gb={"cache": _free_gb(cache), "here": _free_gb(here)},
        writable={str(p): _writable(p) for p in (cache, packs_home(), here)},
        logged_in=hub.token is not None,
        online=_reachable(hub) if network and not hub.offline else None,
        offline=hub.offline,
        working_folder=here,
    )


def _driver() -> bool:
    """Whether an NVIDIA driver is installed, whatever torch thinks."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def _memory_gb() -> float:
    if platform.system() == "Windows" or not hasattr(os, "sysconf"):
        return float("nan")
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def _existing(path: Path) -> Path:
    return next(p for p in (path, *path.parents) if p.exists())


def _free_gb(path: Path) -> float:
    return shutil.disk_usage(_existing(path)).free / 1e9


def _writable(path: Path) -> bool:
    return os.access(_existing(path), os.W_OK)


def _reachable(hub: Hub) -> bool:
    if importlib.util.find_spec("httpx2") is None:
        return False
    import httpx2

    try:
        httpx2.head(hub.endpoint, timeout=3.0)
    except httpx2.HTTPError:
        return False
    return True
