"""Additional weight files in the configuration: local, or in the hub's cache.  No network."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from portrait_lora.errors import InputError

_PICKLES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def weights_file(named: str, where: str) -> Path:
    """The .safetensors file of that name; `where` is the setting, for errors.

    `named` is a file, a folder with one such file, or `owner/name/file.safetensors` of a hub repository that
    was downloaded before.  Raises `InputError` for anything else, including pickles.
    """
    path = Path(named).expanduser()
    if path.is_dir():
        return _only_one(path, where)
    if path.suffix in _PICKLES:
        raise _pickled(path, where)
    if path.is_file():
        if path.suffix != ".safetensors":
            raise InputError("not a weights file", where=where, got=path.name, needed="a .safetensors file")
        return path
    return _fetched(named, where)


def _only_one(folder: Path, where: str) -> Path:
    candidates = sorted(folder.glob("*.safetensors"))
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        names = ", ".join(p.name for p in candidates[:6])
        raise InputError(
            "several weights files in this folder", where=where, got=names, needed="the path of one of them"
        )
    pickled = next((p for p in sorted(folder.iterdir()) if p.suffix in _PICKLES), None)
    if pickled is not None:
        raise _pickled(pickled, where)
    raise InputError("no weights in this folder", where=where, got=folder, needed="a .safetensors file")


def _pickled(path: Path, where: str) -> InputError:
    return InputError(
        "pickled weights can run arbitrary code when loaded",
        where=where,
        got=path.name,
        needed="a .safetensors file",
        remedy="Most repositories also have the same weights as safetensors.",
    )


def _fetched(named: str, where: str) -> Path:
    from huggingface_hub import try_to_load_from_cache

    parts = named.split("/")
    if len(parts) < 3 or not named.endswith(".safetensors") or named.startswith(("/", ".", "~")):
        raise InputError("no such file", where=where, got=named, needed="a .safetensors file")
    repo, name = "/".join(parts[:2]), "/".join(parts[2:])
    cached = try_to_load_from_cache(repo, name)
    if not isinstance(cached, str):
        raise InputError(
            "this file is not on this machine",
            where=where,
            got=named,
            remedy=f"Download it with: hf download {repo} {name}",
        )
    return Path(cached)
