"""The facts about this machine that the checks need; collected once, judged elsewhere."""

from __future__ import annotations

import importlib.util
import math
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from portrait_lora import device
from portrait_lora.doctor import distributions
from portrait_lora.faces.catalog import packs_home
from portrait_lora.hub.hub import Hub

Login = Literal["none", "token", "accepted", "refused"]
"""No token, a token that was not tried, and the hub's verdict on it."""


@dataclass(frozen=True, slots=True)
class Machine:
    """`versions` are the installed distributions by normalised name, `damaged` those with a broken file;
    `torch_error` says why torch cannot be imported; `online` None was not tried."""

    python: tuple[int, int]
    versions: Mapping[str, str]
    damaged: Mapping[str, str]
    torch_error: str
    driver: bool
    cuda_build: bool
    gpu: str
    gpu_memory_gb: float | None
    bf16: bool
    memory_gb: float
    free_gb: Mapping[str, float]
    writable: Mapping[str, bool]
    login: Login
    online: bool | None
    offline: bool
    working_folder: Path


def requirements() -> list[str]:
    """The requirements in the metadata of the installed program."""
    return metadata.requires("portrait-lora") or []


def probe(hub: Hub, *, network: bool) -> Machine:
    """Collect the facts; with `network` the hub is contacted too (3 seconds at most)."""
    cuda_build, gpu, gpu_memory_gb, bf16, torch_error = _torch()
    cache, here = hub.cache, Path.cwd()
    online = network and not hub.offline
    return Machine(
        python=sys.version_info[:2],
        versions=distributions.versions(),
        damaged=distributions.damaged([*(Requirement(r).name for r in requirements()), "opencv-python"]),
        torch_error=torch_error,
        driver=_driver(),
        cuda_build=cuda_build,
        gpu=gpu,
        gpu_memory_gb=gpu_memory_gb,
        bf16=bf16,
        memory_gb=device.system_memory_gb() or math.nan,
        free_gb={"cache": _free_gb(cache), "here": _free_gb(here)},
        writable={str(p): _writable(p) for p in (cache, packs_home(), here)},
        login=_login(hub) if online else "token" if hub.token else "none",
        online=_answer(hub.endpoint, None) is not None if online else None,
        offline=hub.offline,
        working_folder=here,
    )


def _torch() -> tuple[bool, str, float | None, bool, str]:
    """(built for CUDA, name of the GPU, its GB, bf16, why it cannot be imported)."""
    try:
        import torch
    except Exception as error:  # a broken library fails in many ways; that is what is looked for
        return False, "", None, False, f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
    built = torch.version.cuda is not None
    if not torch.cuda.is_available():
        return built, "", None, False, ""
    memory_gb = torch.cuda.get_device_properties(0).total_memory / 1e9
    return built, torch.cuda.get_device_name(0), memory_gb, torch.cuda.is_bf16_supported(), ""


def _driver() -> bool:
    """Whether an NVIDIA driver is installed, whatever torch thinks."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def _existing(path: Path) -> Path:
    return next(p for p in (path, *path.parents) if p.exists())


def _free_gb(path: Path) -> float:
    return shutil.disk_usage(_existing(path)).free / 1e9


def _writable(path: Path) -> bool:
    """Whether a file can be created there: tried, because permissions are not conclusive."""
    try:
        with tempfile.TemporaryFile(dir=_existing(path)):
            return True
    except OSError:
        return False


def _login(hub: Hub) -> Login:
    if hub.token is None:
        return "none"
    status = _answer(f"{hub.endpoint}/api/whoami-v2", hub.token)
    return "accepted" if status == 200 else "refused" if status in (401, 403) else "token"


def _answer(address: str, token: str | None) -> int | None:
    """The HTTP status of a URL; None when there is no response."""
    if importlib.util.find_spec("httpx2") is None:
        return None
    import httpx2

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        return httpx2.get(address, headers=headers, timeout=3.0).status_code
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError):
        return None
