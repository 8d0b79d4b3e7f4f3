"""Installation of known face packs: downloaded, verified, and moved into place completely or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

from portrait_lora import manifest, removal, replacing
from portrait_lora.errors import InputError
from portrait_lora.faces.catalog import KnownPack, Network, Source, packs_home
from portrait_lora.faces.packs import FORMAT, HEADS, PACK_FILE, resolve_pack
from portrait_lora.hub import archives
from portrait_lora.hub.download import fetch_file
from portrait_lora.hub.hub import Hub, HubFile, Snapshot
from portrait_lora.hub.lock import LockedFile, LockedModel

DETECTOR: Final = "det.onnx"
LANDMARKS: Final = "landmarks.onnx"
SELECT: Final = "w_select.onnx"  # insightface keeps the first recogniser by name: w before x
REPORT: Final = "x_report.onnx"
AGE: Final = f"{HEADS}/genderage.onnx"
"""Below the folder that insightface loads: it would read gender and age of every face."""
_DETECTOR_THRESHOLD: Final = {"opencv": 0.7, "insightface": 0.5}


def installed(known: KnownPack) -> Path | None:
    """The folder of an installed pack; None when it is not installed."""
    folder = packs_home() / known.name
    return folder if (folder / PACK_FILE).is_file() else None


def install(known: KnownPack, hub: Hub, archive: Path | None = None) -> list[LockedModel]:
    """Download a pack into `packs_home()`; returns what to lock.  `archive` is a local file used instead.

    A complete pack is left as it is.  Raises what the hub, the archive and the resolver raise;
    then nothing is installed.
    """
    networks = _files(known)
    if installed(known) is None:
        home = manifest.make_folder(packs_home())
        replacing.clean_leftovers(home)
        with replacing.temporary_folder(home, known.name) as temporary:
            if known.age:
                manifest.make_folder(temporary / HEADS)
            for source in dict.fromkeys(n.source for n in networks.values()):
                own = {file: n for file, n in networks.items() if n.source == source}
                _take(source, own, temporary, hub, archive)
            manifest.write_json_atomic(temporary / PACK_FILE, _described(known, networks))
            replacing.replace_folder(temporary, home / known.name)
    resolve_pack(known.name)
    return [
        LockedModel(source.where, source.commit, source.commit, _locked(networks, source))
        for source in dict.fromkeys(n.source for n in networks.values())
    ]


def _files(known: KnownPack) -> dict[str, Network]:
    networks = {DETECTOR: known.detector, SELECT: known.select.network, REPORT: known.report.network}
    networks |= {LANDMARKS: known.landmarks} if known.landmarks else {}
    return networks | ({AGE: known.age} if known.age else {})


def _locked(networks: Mapping[str, Network], source: Source) -> dict[str, LockedFile]:
    return {n.path: LockedFile(n.sha256, n.size) for n in networks.values() if n.source == source}


def _take(
    source: Source, networks: Mapping[str, Network], folder: Path, hub: Hub, archive: Path | None
) -> None:
    """Copy the networks of one source into `folder`."""
    if not source.is_archive:
        files = tuple(HubFile(n.path, n.size, n.sha256, None) for n in networks.values())
        there, _ = hub.fetch(Snapshot(source.where, source.commit, source.commit, files))
        for file, network in networks.items():
            shutil.copyfile(there / network.path, folder / file)
        return
    usable = archive is not None and manifest.sha256_file(archive) == source.commit
    path = archive if usable and archive else _download(source, hub)
    archives.extract(path, folder, {n.path: (file, n.sha256) for file, n in networks.items()})
    if not usable:
        removal.remove_file(path, owner=packs_home())


def _download(source: Source, hub: Hub) -> Path:
    if hub.offline:
        raise InputError(
            "this face pack is not on this machine, and the network is disabled",
            where=source.where,
            needed="the archive",
            remedy="Download the archive yourself and pass it with --from FILE.",
        )
    path = packs_home() / f".download-{source.commit[:16]}.zip"
    fetch_file(source.where, path, sha256=source.commit, size=source.size)
    return path


def _described(known: KnownPack, networks: Mapping[str, Network]) -> dict[str, object]:
    """The content of pack.json."""
    judges = (known.select, known.report)
    models = {"detector": DETECTOR, "embedder_select": SELECT, "embedder_report": REPORT}
    return {
        "format": FORMAT,
        "name": known.name,
        "synthetic": False,
        "licence": known.licence,
        "commercial": known.commercial,
        "backend": known.backend,
        "models": models | ({"landmarks": LANDMARKS} if known.landmarks else {}),
        "embedder_ids": {"select": known.select.id, "report": known.report.id},
        "kinds": {e.id: e.kind for e in judges},
        "files": {file: network.sha256 for file, network in networks.items()},
        "det_size_px": 640,
        "det_thresh": _DETECTOR_THRESHOLD[known.backend],
        "false_match_rate": 1e-3,
        "thresholds": {e.id: e.threshold for e in judges},
        "threshold_notes": {e.id: e.note for e in judges},
        "calibrated": False,
        "strangers": {e.id: asdict(e.strangers) for e in judges if e.strangers},
    }
