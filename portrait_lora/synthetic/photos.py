"""A reference set: the photos one person might hand in, good and bad, with the truth about each.

Sixteen good photos of varied angle, expression, light, outfit, backdrop and framing; some large with the
head a part of the picture, some stored sideways with an EXIF orientation; and, planted among them, one
photo for each thing a check must catch.  Everything is a function of the person seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from portrait_lora import log, manifest, strict_json, vocabulary
from portrait_lora.errors import ArtifactError
from portrait_lora.synthetic.identity import sample_people
from portrait_lora.synthetic.planted import SPOILT
from portrait_lora.synthetic.taking import GOOD_PLANS, Taken, Truth, good_photo, seed_of

BAD_CODES: Final = (
    "no_face",
    "other_person",
    "several_faces",
    "blurred",
    "under_exposed",
    "cut_off",
    "near_duplicate",
    "unreadable",
)


@dataclass(frozen=True, slots=True)
class ReferenceSet:
    """The files of one person, in the order of their names."""

    person_seed: int
    subject: str  # man or woman
    truths: tuple[Truth, ...]
    digests: Mapping[str, str]  # file name → sha256

    @property
    def planted(self) -> Mapping[str, str]:
        """File name → the expected rejection code."""
        return {t.file: t.code for t in self.truths if t.code}


def make_reference_set(
    person_seed: int, folder: Path, good: int = len(GOOD_PLANS), bad: Sequence[str] = BAD_CODES
) -> ReferenceSet:
    """Write the photos of one person into `folder` and return their ground truth.

    `good` may exceed the sixteen plans: they are then repeated with new scenes.  Same seed, same bytes.
    """
    manifest.make_folder(folder)
    person = sample_people([person_seed])
    shots: list[Taken] = []
    with _one_thread(), log.progress("taking photos", good + len(bad)) as advance:
        for i in range(good):
            shots.append(good_photo(person, person_seed, i))
            advance(1)
        for code in bad:
            shots.append(SPOILT[code](person, person_seed))
            advance(1)
    order = np.random.default_rng(seed_of(person_seed, 990)).permutation(len(shots))
    truths: list[Truth] = []
    digests: dict[str, str] = {}
    for place, index in enumerate(order):
        shot = shots[int(index)]
        name = f"photo_{place + 1:02d}.jpg"
        manifest.write_bytes_atomic(folder / name, shot.data)
        digests[name] = hashlib.sha256(shot.data).hexdigest()
        t = shot.truth
        truths.append(Truth(name, t.code, t.person_seed, t.look, t.pose_deg))
    subject = vocabulary.SUBJECTS[int(float(person.values["female"][0]) > 0.5)]
    return ReferenceSet(person_seed, subject, tuple(truths), digests)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Many small operations are faster on one thread, and bytes then do not depend on the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def write_truth(reference_set: ReferenceSet, path: Path) -> None:
    """Write the ground truth as JSON beside the photos; no stage of a run reads it."""
    manifest.write_json_atomic(path, asdict(reference_set))


def read_truth(path: Path) -> ReferenceSet | None:
    """Read a file of `write_truth`; None when it is missing or unreadable."""
    try:
        raw: Any = strict_json.load_object(path, "truth")
        truths = tuple(
            Truth(
                t["file"],
                t["code"],
                t["person_seed"],
                None if t["look"] is None else vocabulary.Look(**t["look"]),
                None if t["pose_deg"] is None else tuple(t["pose_deg"]),
            )
            for t in raw["truths"]
        )
        return ReferenceSet(raw["person_seed"], raw["subject"], truths, dict(raw["digests"]))
    except (ArtifactError, KeyError, TypeError, ValueError, AttributeError):
        return None


def is_whole(reference_set: ReferenceSet, folder: Path) -> bool:
    """Whether the folder has exactly these files with these bytes; False while any is missing."""
    there = {p.name for p in folder.iterdir()} if folder.is_dir() else set()
    return (
        bool(there)
        and there == set(reference_set.digests)
        and all(
            manifest.sha256_file(folder / name) == digest for name, digest in reference_set.digests.items()
        )
    )
