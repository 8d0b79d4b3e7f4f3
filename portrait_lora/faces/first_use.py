"""The sanity test on the first use of a pack, and the memory of its outcome.

Without pictures of people only a gross mistake shows: strangers that pass as one person.  The outcome is kept
by the pack's digest below `packs_home()`, so a pack is never written to.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Final, Literal, cast

import numpy as np

from portrait_lora import log, manifest, strict_json
from portrait_lora.errors import ArtifactError, PortraitError
from portrait_lora.faces import sanity
from portrait_lora.faces.backends import open_untested
from portrait_lora.faces.catalog import packs_home
from portrait_lora.faces.pack import FacePack
from portrait_lora.pictures.reader import load_photo

Outcome = Literal["passed", "failed", "not tested"]
_FOLDER: Final = ".tested"
_FORMAT: Final = 1
_LEAST_FACES: Final = 3
_MOST_PASSING: Final = 1 / 3
"""Of the 15 pairs of six strangers.  At a false-match rate of 1 % independent pairs would reach that in
5e-9 of cases."""
_log = log.get(__name__)
_seen: set[str] = set()
"""Digests that this process has looked up already."""


@dataclass(frozen=True, slots=True)
class Record:
    """What a test of a pack showed, on which evidence."""

    outcome: Outcome
    evidence: str
    failures: tuple[str, ...] = ()
    accepted: bool = False


def require(pack: FacePack) -> None:
    """Test a pack that was not tested before.  Raises `ArtifactError` when it fails and nobody accepted that.

    The synthetic packs are exempt: they know no photographs of people.
    """
    if pack.synthetic or pack.digest in _seen:
        return
    record = read(pack)
    if record is None:
        record = quick_test(pack)
        write(pack, record)
    if record.outcome == "failed" and not (record.accepted or pack.accepted):
        raise failed(pack.folder, record.failures)
    _seen.add(pack.digest)
    if record.outcome == "failed":
        _log.warning("Face pack %s fails its sanity test, which was accepted.", pack.name)
    elif record.outcome == "not tested":
        _log.warning(
            "Face pack %s was not tested (%s): portrait-lora pack test %s --people FOLDER",
            pack.name,
            record.evidence,
            pack.folder,
        )


def failed(where: Path, failures: tuple[str, ...]) -> ArtifactError:
    """The error of a pack that fails."""
    return ArtifactError(
        "the face pack fails its sanity test",
        where=where,
        got="; ".join(failures),
        needed="embedders that tell people apart",
        remedy=(
            "State the preprocessing that the networks were trained with (guide, section 4), or use it "
            "all the same with --accept."
        ),
    )


def quick_test(pack: FacePack) -> Record:
    """Test without a folder of people: on the pack's gallery, else on six strangers in a picture that
    insightface brings along."""
    try:
        if pack.impostors is not None:
            tested = [
                sanity.judge_gallery(pack, role, open_untested(pack, role).impostor_embeddings())
                for role in sanity.ROLES
            ]
            failures = tuple(f"{t.embedder_id} {f}" for t in tested for f in t.failures)
            return Record("failed" if failures else "passed", "its gallery", failures)
        return _strangers(pack)
    except ArtifactError:
        raise
    except PortraitError as error:
        return Record("not tested", str(error))


def _strangers(pack: FacePack) -> Record:
    picture = strangers_picture()
    if not picture.is_file():
        return Record("not tested", "insightface brings no picture of strangers")
    image = load_photo(picture)[1]
    faces = open_untested(pack, "select").find(image)
    if len(faces) < _LEAST_FACES:
        return Record("not tested", f"{len(faces)} faces found in a picture of six people")
    failures: list[str] = []
    for role in sanity.ROLES:
        analyzer, limit = open_untested(pack, role), pack.threshold(role)
        table = [analyzer.embed(image, face.keypoints_px) for face in faces]
        cosines = [float(a @ b) for a, b in combinations(table, 2)]
        passing = sum(c >= limit for c in cosines)
        if passing > _MOST_PASSING * len(cosines):
            failures.append(
                f"{pack.embedder_ids[role]}: {passing} of {len(cosines)} pairs of strangers reach the "
                f"threshold {limit:.3f} (mean cosine {np.mean(cosines):.2f}), as if all were one person"
            )
    return Record(
        "failed" if failures else "passed", f"{len(faces)} strangers in one picture", tuple(failures)
    )


def strangers_picture() -> Path:
    """A photograph of six people among insightface's own files."""
    import insightface

    return Path(insightface.__file__).parent / "data" / "images" / "t1.jpg"


def read(pack: FacePack) -> Record | None:
    """The remembered outcome; None when there is none or it cannot be read."""
    path = _path(pack)
    if not path.is_file():
        return None
    try:
        raw = strict_json.load_object(path, "record of a test")
        if raw.get("format") != _FORMAT or raw["outcome"] not in ("passed", "failed", "not tested"):
            return None
        failures = tuple(str(f) for f in cast(list[object], raw["failures"]))
        return Record(cast(Any, raw["outcome"]), str(raw["evidence"]), failures, raw.get("accepted") is True)
    except (PortraitError, KeyError, TypeError):
        return None


def write(pack: FacePack, record: Record) -> None:
    """Remember an outcome; on a disk that cannot be written to the test is repeated next time."""
    try:
        manifest.make_folder(_path(pack).parent)
        value = {"format": _FORMAT, "pack": pack.name, **asdict(record)}
        manifest.write_json_atomic(_path(pack), value)
    except (OSError, PortraitError) as error:
        _log.info("the outcome of the sanity test is not kept: %s", error)
    _seen.discard(pack.digest)


def _path(pack: FacePack) -> Path:
    return packs_home() / _FOLDER / f"{pack.digest}.json"
