"""One person under two names: folders whose faces resemble each other, asked about and never decided.

Compared is the mean cosine over all pairs of photos of two folders: that is what the face pack's threshold is
calibrated for.  (The cosine of two unit centroids is higher by its nature and would ask about fourteen times
as many pairs of the pack's gallery.)  Embeddings live as long as the comparison; similarities are kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from portrait_lora import manifest, strict_json
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.pictures.reader import UnreadablePhoto, load_photo
from portrait_lora.results import CheckResult, PhotoVerdict, Value

if TYPE_CHECKING:
    from portrait_lora.faces.backends import Analyzer
    from portrait_lora.records import Face, FloatArray, PhotoEdit

COMPARED: Final = "compared.json"
ANSWERS: Final = "answers.json"
_MOST_PHOTOS: Final = 6
"""Of each person: more change a mean of all pairs by little."""
_MOST_SIDE_PX: Final = 1600
_LEAST_OVERLAP: Final = 0.3


class Pair(Value):
    """Two folders, in alphabetical order, and the mean cosine over all pairs of their photos."""

    people: tuple[str, str]
    similarity: float


class Comparison(Value):
    """What a comparison left: of whose photos (person -> digest), by which pack, and the pairs above its
    threshold, the most alike first."""

    pack: str
    threshold: float
    people: dict[str, str]
    pairs: tuple[Pair, ...] = ()


class Answers(Value):
    """What was answered about pairs of people."""

    same_person: tuple[tuple[str, str], ...] = ()
    different: tuple[tuple[str, str], ...] = ()

    def of(self, people: tuple[str, str]) -> str:
        """`same_person`, `different` or nothing yet."""
        if people in self.same_person:
            return "same_person"
        return "different" if people in self.different else ""


@dataclass(frozen=True, slots=True)
class Seen:
    """One person for the comparison: their folder, the digest of their photos, what the check found."""

    person: str
    folder: Path
    digest: str
    result: CheckResult
    edits: Mapping[str, PhotoEdit]


def compare(home: Path, people: Sequence[Seen], finder: Analyzer) -> Comparison:
    """Everybody with everybody; what was compared before, and has not changed since, is not done again."""
    pack = finder.pack
    digests = {one.person: one.digest for one in people}
    before = last(home)
    if before is not None and (before.pack, before.people) == (pack.digest, digests):
        return before
    means = {one.person: mean for one in people if (mean := mean_embedding(one, finder)) is not None}
    threshold = pack.threshold("select")
    new = Comparison(
        pack=pack.digest, threshold=threshold, people=digests, pairs=tuple(pairs_above(means, threshold))
    )
    manifest.write_json_atomic(home / COMPARED, new.model_dump(mode="json"))
    return new


def pairs_above(means: Mapping[str, FloatArray], threshold: float) -> list[Pair]:
    """The pairs of `means` (person -> (D,) mean of unit embeddings) that reach the threshold."""
    names = sorted(means)
    if len(names) < 2:
        return []
    table_ND = np.stack([means[name] for name in names]).astype(np.float64)
    pairs: list[Pair] = []
    for row, name in enumerate(names[:-1]):
        similarities = table_ND[row + 1 :] @ table_ND[row]
        for place in np.flatnonzero(similarities >= threshold):
            people = (name, names[row + 1 + int(place)])
            pairs.append(Pair(people=people, similarity=round(float(similarities[place]), 4)))
    return sorted(pairs, key=lambda pair: (-pair.similarity, pair.people))


def mean_embedding(one: Seen, finder: Analyzer) -> FloatArray | None:
    """The mean (D,) of the embeddings of a few accepted photos; None where no face can be seen again."""
    vectors = [
        face.embedding
        for verdict in best_views(one.result)
        if (face := face_of(one.folder / "photos" / verdict.file, verdict, one.edits, finder)) is not None
    ]
    return np.mean(np.stack(vectors), axis=0) if vectors else None


def face_of(
    path: Path, verdict: PhotoVerdict, edits: Mapping[str, PhotoEdit], finder: Analyzer
) -> Face | None:
    """The face that the check took, found again; None for a photo that is gone."""
    try:
        photo, pixels = load_photo(path, _MOST_SIDE_PX, edit=edits.get(path.name))
    except UnreadablePhoto:
        return None
    faces = finder.find(pixels)
    if verdict.box_px is None or not faces:
        return faces[0] if faces else None
    share = max(pixels.shape[:2]) / max(photo.size_px)
    wanted = tuple(float(v) * share for v in verdict.box_px)
    best = max(faces, key=lambda face: _overlap(face.box_xyxy_px, wanted))
    return best if _overlap(best.box_xyxy_px, wanted) >= _LEAST_OVERLAP else None


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1)."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inner = max(0.0, width) * max(0.0, height)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner
    return inner / union if union > 0 else 0.0


def best_views(result: CheckResult) -> list[PhotoVerdict]:
    """A few accepted photos, frontal and neutral ones first: those tell people apart best."""
    usable = [verdict for verdict in result.findings if verdict.accepted]
    order = ("frontal", "left three-quarter", "right three-quarter")
    rank = {view: number for number, view in enumerate(order)}

    def place(verdict: PhotoVerdict) -> tuple[int, bool, str]:
        return rank.get(verdict.view or "", len(order)), verdict.expression != "neutral", verdict.file

    return sorted(usable, key=place)[:_MOST_PHOTOS]


def last(home: Path) -> Comparison | None:
    """The last comparison; None before one, and for a damaged record: it is made anew."""
    try:
        return Comparison.read(strict_json.load_object(home / COMPARED, "comparison of people"))
    except ArtifactError:
        return None


def answers(home: Path) -> Answers:
    """What was answered so far.  Raises `ArtifactError` for a damaged file: answers are not lost silently."""
    file = home / ANSWERS
    if not file.is_file():
        return Answers()
    return Answers.read(strict_json.load_object(file, "answers"), file)


def answer(
    home: Path, known: Collection[str], *, same: Iterable[str] = (), different: Iterable[str] = ()
) -> None:
    """Record answers such as `anna-lee+a-lee`; a later one counts.

    Raises `InputError` for somebody who is not `known`, and for a pair that is none.
    """
    new = {"same_person": [_pair(word, known) for word in same]}
    new["different"] = [_pair(word, known) for word in different]
    if both := set(new["same_person"]) & set(new["different"]):
        raise InputError("one pair with two answers", where="+".join(sorted(both)[0]))
    if not any(new.values()):
        return
    with manifest.locked(home / ANSWERS):
        before = answers(home)
        again = {*new["same_person"], *new["different"]}
        rows = {
            kind: sorted({*(p for p in getattr(before, kind) if p not in again), *pairs})
            for kind, pairs in new.items()
        }
        manifest.write_json_atomic(home / ANSWERS, rows)


def _pair(word: str, known: Collection[str]) -> tuple[str, str]:
    first, plus, second = (part.strip() for part in word.partition("+"))
    if not plus or not first or not second or first == second:
        raise InputError(
            "not a pair of people", where=word[:170], needed="PERSON+PERSON, as the check names them"
        )
    for person in (first, second):
        if person not in known:
            raise InputError("nobody of this name is in the fleet", where=word[:170], got=repr(person[:80]))
    return (first, second) if first < second else (second, first)


def forget(home: Path, person: str) -> None:
    """Take a person out of answers and comparison; a damaged comparison goes whole, and is made anew.

    Raises `ArtifactError` for damaged answers.
    """
    before = last(home)
    if before is None:
        (home / COMPARED).unlink(missing_ok=True)
    else:
        people = {name: digest for name, digest in before.people.items() if name != person}
        pairs = tuple(pair for pair in before.pairs if person not in pair.people)
        new = before.model_copy(update={"people": people, "pairs": pairs})
        manifest.write_json_atomic(home / COMPARED, new.model_dump(mode="json"))
    if (home / ANSWERS).is_file():
        with manifest.locked(home / ANSWERS):
            old = answers(home)
            rows = {k: [p for p in getattr(old, k) if person not in p] for k in ("same_person", "different")}
            manifest.write_json_atomic(home / ANSWERS, rows)
