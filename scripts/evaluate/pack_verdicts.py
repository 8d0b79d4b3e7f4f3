"""The verdicts of `score` on photographs, with thresholds that `gallery` derived from other people.

python -m scripts.evaluate.pack_verdicts --pack DIR --people DIR [--gallery-people 60] [--seed N]

`--people` holds one subfolder of photos per person.  People are drawn for the gallery; the others are judged:
everybody's first photos are the held-out ones, the rest of theirs and of all others' are the portraits.  The
pack is copied, so it stays as it is; only counts are printed.  Folders whose people are not the same
throughout count as errors of the verdict, as nothing of the judged people is left out but pictures without
exactly one face.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

import numpy as np

from portrait_lora.evaluation.similarity import ReferenceSet
from portrait_lora.faces.backends import open_analyzer
from portrait_lora.faces.packs import resolve_pack
from portrait_lora.faces.people import ROLES, People, look_at_people
from portrait_lora.tasks.gallery import REFERENCES, make_gallery
from scripts.rows import Row, arguments, finish

MIN_PASS: Final = 0.99
MAX_STRANGERS: Final = 0.002
_RESAMPLES: Final = 1000


def people_of(folder: Path, least: int) -> list[Path]:
    """Subfolders with so many files."""
    return sorted(p for p in folder.iterdir() if p.is_dir() and sum(1 for _ in p.iterdir()) >= least)


def linked(folders: list[Path], into: Path) -> Path:
    """The folders below one of their own."""
    into.mkdir()
    for folder in folders:
        (into / folder.name).symlink_to(folder.resolve())
    return into


def rows_of(people: People, pack: Path) -> list[Row]:
    """Two rows per embedder: the same person, and others."""
    verified = resolve_pack(str(pack), quiet=True)
    rows: list[Row] = []
    for role in ROLES:
        groups = people.by_person(role, REFERENCES + 1)
        limit = verified.threshold(role)
        holdouts = [ReferenceSet(g[:REFERENCES], ("a",) * REFERENCES).embeddings for g in groups]
        probes = [g[REFERENCES:] for g in groups]
        passed = [
            [((own @ held.T).mean(axis=1) >= limit) for own in probes] for held in holdouts
        ]  # [enrolled][probe's person]
        same = [passed[i][i] for i in range(len(groups))]
        others = [np.concatenate([p for j, p in enumerate(passed[i]) if j != i]) for i in range(len(groups))]
        what = f"{role} ({verified.embedder_ids[role]}, threshold {limit:.3f})"
        rows += [
            _row(f"{what}: same person passes", same, MIN_PASS),
            _row(f"{what}: others pass", others, MAX_STRANGERS, at_most=True),
        ]
    return rows


def _row(name: str, by_person: list[np.ndarray], target: float, *, at_most: bool = False) -> Row:
    """The share of all trials; its interval from resampled people."""
    rng = np.random.default_rng(0)
    sums, counts = np.array([p.sum() for p in by_person]), np.array([len(p) for p in by_person])
    drawn = rng.integers(0, len(sums), (_RESAMPLES, len(sums)))
    low, high = np.quantile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), [0.025, 0.975])
    share = float(sums.sum() / counts.sum())
    return Row(name, share, "share", int(counts.sum()), target, at_most, (float(low), float(high)))


def main() -> int:
    """Print the table; the exit code says whether all targets were met."""
    parser = arguments("Verdicts on photographs with thresholds of a gallery.")
    parser.add_argument("--pack", type=Path, required=True, help="folder of a face pack")
    parser.add_argument("--people", type=Path, required=True, help="one subfolder of photos per person")
    parser.add_argument("--gallery-people", type=int, default=60, help="people of the gallery")
    parser.add_argument("--least", type=int, default=6, help="photos of a person at least")
    options = parser.parse_args()
    folders = people_of(options.people, options.least)
    order = np.random.default_rng(options.seed).permutation(len(folders))
    chosen = [folders[i] for i in sorted(order[: options.gallery_people])]
    judged = [folders[i] for i in sorted(order[options.gallery_people :])]
    with tempfile.TemporaryDirectory() as temporary:
        pack = Path(shutil.copytree(options.pack, Path(temporary) / "pack"))
        result = make_gallery(resolve_pack(str(pack)), linked(chosen, Path(temporary) / "gallery"))
        print(f"gallery: {result.people} people, {len(result.left_out)} pictures or people left out")
        if result.not_derived:
            print(result.not_derived)
            return 1
        verified = resolve_pack(str(pack), quiet=True)
        people = look_at_people(
            linked(judged, Path(temporary) / "judged"), lambda role: open_analyzer(verified, role)
        )
        print(f"judged: {len(set(people.labels))} people, {len(people.seen)} pictures")
        return finish(rows_of(people, pack), options.json)


if __name__ == "__main__":
    sys.exit(main())
