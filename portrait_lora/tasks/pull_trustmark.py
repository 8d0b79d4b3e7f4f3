"""TrustMark's weights onto this machine: fetched as published, checked, and kept as safetensors.

They are published as checkpoints of torch, not on the hub.  Addresses, sizes and checksums are those that a
public project states for TrustMark 0.9.2; they were not compared with the makers' own pages, and nothing was
fetched when this was written.  A checkpoint is read by torch's reader for weights alone, which runs no code,
after its checksum was compared; what is kept is safetensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from portrait_lora import manifest, removal, replacing
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.hub.download import fetch_file
from portrait_lora.hub.hub import Hub
from portrait_lora.hub.lock import LockedFile, LockedModel
from portrait_lora.rights.watermark import trustmark

NAME: Final = "trustmark"
LICENCE: Final = "MIT"
"""Of code and weights, as the makers' repository states; not verified for the weights."""
PAGE: Final = "https://github.com/adobe/trustmark"
_ORIGIN: Final = "https://cai-watermark.adobe.net/watermarking/trustmark-models"
_VERSION: Final = "0.9.2"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One published file, and the tensors of it that are used."""

    file: str
    size: int
    sha256: str
    prefix: str
    kept_as: str


CHECKPOINTS: Final = (
    Checkpoint(
        "encoder_Q.ckpt", 17_302_074,
        "dc382c3f6b4fd568b27d6fbb763d6ffc2d2587126d84afe9d5ee95b4c5d99826", "encoder.", trustmark.ENCODER,
    ),
    Checkpoint(
        "decoder_Q.ckpt", 47_652_460,
        "e3d9cea5406a26590735719f8f15cb10802b11852ae69047eaf4cf17214df781", "decoder.", trustmark.DECODER,
    ),
)  # fmt: skip
SIZE: Final = sum(one.size for one in CHECKPOINTS)


def installed() -> Path | None:
    """The folder with both networks; None where they are not here."""
    folder = trustmark.home()
    complete = all((folder / one.kept_as).is_file() for one in CHECKPOINTS)
    return folder if complete else None


def install(hub: Hub) -> list[LockedModel]:
    """Fetch, check and convert what is not here yet; returns what to lock.

    Raises `InputError` without network, `ArtifactError` for other bytes or a file that holds more than
    weights; then nothing is installed.
    """
    folder = trustmark.home()
    if installed() is None:
        if hub.offline:
            raise InputError("TrustMark is not on this machine, and the network is disabled", where=_ORIGIN)
        home = manifest.make_folder(folder.parent)
        replacing.clean_leftovers(home)
        with replacing.temporary_folder(home, folder.name) as temporary:
            for one in CHECKPOINTS:
                fetched = home / f".download-{one.sha256[:16]}.ckpt"
                fetch_file(f"{_ORIGIN}/{one.file}", fetched, sha256=one.sha256, size=one.size)
                convert(fetched, one.prefix, temporary / one.kept_as)
                removal.remove_file(fetched, owner=home)
            trustmark.TrustMark(temporary)
            replacing.replace_folder(temporary, folder)
    files = {one.file: LockedFile(one.sha256, one.size) for one in CHECKPOINTS}
    return [LockedModel(_ORIGIN, _VERSION, _VERSION, files)]


def convert(checkpoint: Path, prefix: str, file: Path) -> None:
    """Write the tensors under `prefix` as safetensors.

    Raises `ArtifactError` for a file that holds anything but weights, or none under `prefix`.
    """
    import torch
    from safetensors.torch import save_file

    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # the reader answers damaged bytes with many types
        raise ArtifactError(
            "this is no checkpoint of weights alone", where=checkpoint, got=str(error)[:200]
        ) from error
    table = content.get("state_dict", content) if isinstance(content, dict) else {}
    weights = {
        str(name): value.contiguous()
        for name, value in table.items()
        if isinstance(value, torch.Tensor) and str(name).startswith(prefix)
    }
    if not weights:
        raise ArtifactError("the checkpoint lacks these weights", where=checkpoint, needed=f"{prefix}*")
    save_file(weights, str(file), {"format": "pt"})
