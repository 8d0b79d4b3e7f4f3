"""A folder of people, one subfolder of pictures each: their faces, and who falls out and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from portrait_lora import log
from portrait_lora.errors import InputError
from portrait_lora.faces.backends import Analyzer
from portrait_lora.faces.pack import Role
from portrait_lora.pictures.reader import UnreadablePhoto, list_photos, load_photo
from portrait_lora.records import FloatArray, RGBImage

MAX_PICTURES: Final = 6
"""Per person: more would weigh a person more, not make the figures surer."""
_MAX_PIXELS: Final = 60_000_000
_REACH: Final = 1.6
"""Half the side of the kept surroundings, in sides of the face's box: any alignment fits in."""
_MAX_CROP_PX: Final = 400
_STRANGER_RATE: Final = 0.01
"""A picture less like its own folder than this share of pictures of other people shows somebody else: on 675
pictures of 115 people (LFW) 2 were called so with both embedders, of 30 exchanged pictures 30."""
_TWIN_SHARE: Final = 0.05
_TWIN_DEVIATIONS: Final = 3.0
_PICTURE_DEVIATIONS: Final = 2.0
"""Two folders that are more alike than the least alike twentieth of folders are within, and so many robust
standard deviations above the others, show one person.  On LFW strangers' folders reached 0.45 and 0.60 with
two embedders, that twentieth 0.58 and 0.51; only together are they sure.  The second condition keeps a
network that finds everybody alike from finding twins, the third (for every picture) a folder of two people
from being the twin of either: of 10 people split in two folders 10 were found."""

ROLES: Final[tuple[Role, ...]] = ("select", "report")
OpenRole = Callable[[Role], Analyzer]


@dataclass(frozen=True, slots=True)
class Seen:
    """One picture with one face: its surroundings, its five keypoints there, an embedding per role."""

    person: str
    file: str
    crop: RGBImage
    keypoints_px: FloatArray
    embeddings: Mapping[Role, FloatArray]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A picture, or with an empty `file` a whole person, that is not used, and why."""

    person: str
    file: str
    reason: str

    @property
    def sentence(self) -> str:
        return f"{self.person}{'/' if self.file else ''}{self.file}: {self.reason}"


@dataclass(frozen=True, slots=True)
class People:
    """The usable pictures, those of a person beside each other, and what fell out."""

    seen: tuple[Seen, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def labels(self) -> list[int]:
        """A number per picture, the same for pictures of one person."""
        numbers = {name: i for i, name in enumerate(dict.fromkeys(s.person for s in self.seen))}
        return [numbers[s.person] for s in self.seen]

    def table(self, role: Role) -> FloatArray:
        """(N, D) embeddings of one role."""
        return np.stack([s.embeddings[role] for s in self.seen])

    def by_person(self, role: Role, least: int = 1) -> list[FloatArray]:
        """(K, D) embeddings of every person with at least `least` pictures."""
        labels, table = np.asarray(self.labels), self.table(role)
        groups = [table[labels == i] for i in range(max(labels, default=-1) + 1)]
        return [g for g in groups if len(g) >= least]


def look_at_people(folder: Path, open_role: OpenRole, *, most_people: int = 0) -> People:
    """Find and embed the faces below `folder`; at most `MAX_PICTURES` usable pictures per person.

    A picture without exactly one face, an unreadable one and one that is there twice are left out.  With
    `most_people` only so many people are looked at, spread over the folder.  Raises `InputError` without
    subfolders.
    """
    places = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not places:
        needed = "one subfolder of pictures per person"
        raise InputError("no people in this folder", where=folder, needed=needed)
    if 0 < most_people < len(places):
        places = [places[i * len(places) // most_people] for i in range(most_people)]
    select, report = open_role("select"), open_role("report")
    seen: list[Seen] = []
    left: list[LeftOut] = []
    with log.progress("people", len(places)) as advance:
        for place in places:
            own = _look(place, select, report, left)
            if len(own) < 2:
                left.append(LeftOut(place.name, "", f"{len(own)} usable pictures, 2 needed"))
            else:
                seen += own
            advance()
    return People(tuple(seen), tuple(left))


def _look(place: Path, select: Analyzer, report: Analyzer, left: list[LeftOut]) -> list[Seen]:
    own: list[Seen] = []
    digests: dict[str, str] = {}
    for path in list_photos(place):
        if len(own) == MAX_PICTURES:
            break
        try:
            photo, picture = load_photo(path, max_pixels=_MAX_PIXELS)
        except UnreadablePhoto as error:
            left.append(LeftOut(place.name, path.name, f"cannot be read: {error.what}"))
            continue
        if photo.sha256 in digests:
            left.append(LeftOut(place.name, path.name, f"the same file as {digests[photo.sha256]}"))
            continue
        digests[photo.sha256] = path.name
        faces = select.find(picture)
        if len(faces) != 1:
            count = f"{len(faces)} faces, 1 needed" if faces else "no face found"
            left.append(LeftOut(place.name, path.name, count))
            continue
        face = faces[0]
        embeddings: dict[Role, FloatArray] = {
            "select": face.embedding,
            "report": report.embed(picture, face.keypoints_px),
        }
        crop, keypoints = surroundings(picture, face.box_xyxy_px, face.keypoints_px)
        own.append(Seen(place.name, path.name, crop, keypoints, embeddings))
    return own


def surroundings(
    picture: RGBImage, box_xyxy_px: Sequence[float], keypoints_px: FloatArray
) -> tuple[RGBImage, FloatArray]:
    """The face with what is around it, 400 px at most, and its keypoints there."""
    import cv2

    x0, y0, x1, y1 = box_xyxy_px
    reach = _REACH * max(x1 - x0, y1 - y0)
    height, width = picture.shape[:2]
    left, top = (max(0, round(c - reach)) for c in ((x0 + x1) / 2, (y0 + y1) / 2))
    right = min(width, round((x0 + x1) / 2 + reach))
    bottom = min(height, round((y0 + y1) / 2 + reach))
    crop = picture[top:bottom, left:right]
    points = np.asarray(keypoints_px, dtype=np.float32) - np.asarray([left, top], np.float32)
    scale = _MAX_CROP_PX / max(crop.shape[:2])
    if scale >= 1:
        return np.ascontiguousarray(crop), points
    size = (max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale)))
    small = np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return small, points * np.asarray([size[0] / crop.shape[1], size[1] / crop.shape[0]], np.float32)


def without_mistakes(people: People) -> People:
    """Leave out pictures of somebody else, and people who are there twice, by their similarities.

    Both embedders have to agree.  The limits come from the pictures themselves (medians, quantiles), so no
    threshold is needed, and a few wrong pictures do not move them.
    """
    # twins first: their pictures are no strangers, and would raise what strangers reach
    seen, left = _without_twins(list(people.seen), list(people.left_out))
    while len({s.person for s in seen}) > 2:
        worst = _worst(People(tuple(seen), ()))
        if worst is None:
            break
        person = seen[worst].person
        if sum(s.person == person for s in seen) == 2:
            left.append(LeftOut(person, "", "the two pictures left show different people"))
            seen = [s for s in seen if s.person != person]
        else:
            left.append(LeftOut(person, seen[worst].file, "shows another person than the rest of the folder"))
            del seen[worst]
    seen, left = _without_twins(seen, left)
    return People(tuple(seen), tuple(left))


def _without_twins(seen: list[Seen], left: list[LeftOut]) -> tuple[list[Seen], list[LeftOut]]:
    for first, second in _twins(People(tuple(seen), ())):
        if any(s.person == first for s in seen):
            left.append(LeftOut(second, "", f"the same person as {first}"))
            seen = [s for s in seen if s.person != second]
    return seen, left


def _worst(people: People) -> int | None:
    """The picture farthest below what pictures of strangers reach, for every embedder; None without one."""
    labels = np.asarray(people.labels)
    lacks = np.stack([_lack(people.table(role), labels) for role in ROLES]).min(axis=0)
    worst = int(lacks.argmax())
    return worst if lacks[worst] > 0 else None


def _lack(table: FloatArray, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(N,) how far each picture's median similarity to its own folder is below the strangers' limit."""
    similarity = np.asarray(table @ table.T, dtype=np.float64)
    np.fill_diagonal(similarity, np.nan)
    own = np.empty(len(labels))
    strangers: list[npt.NDArray[np.float64]] = []
    for label in range(labels.max() + 1):
        inside = labels == label
        columns = similarity[:, inside]
        own[inside] = np.nanmedian(columns[inside], axis=1)
        strangers.append(np.median(columns[~inside], axis=1))
    return float(np.quantile(np.concatenate(strangers), 1 - _STRANGER_RATE)) - own


def _twins(people: People) -> list[tuple[str, str]]:
    """Pairs of folders that show one person."""
    labels = np.asarray(people.labels)
    names = list(dict.fromkeys(s.person for s in people.seen))
    if len(names) < 3:
        return []
    member = np.eye(len(names))[labels]
    counts = member.sum(axis=0)
    alike = np.ones((len(names), len(names)), dtype=bool)
    for role in ROLES:
        table = np.asarray(people.table(role), dtype=np.float64)
        to_folder = table @ (table.T @ member)  # (N, P) sums of similarities
        sums = member.T @ to_folder
        within = (np.diag(sums) - counts) / (counts * (counts - 1))
        between = sums / np.outer(counts, counts)
        others = between[np.triu_indices(len(names), 1)]
        centre = float(np.median(others))
        spread = 1.4826 * float(np.median(np.abs(others - centre)))
        least = max(float(np.quantile(within, _TWIN_SHARE)), centre + _TWIN_DEVIATIONS * spread)
        # a folder of two people is half like the folder of either of them
        worst = np.stack([(to_folder[labels == i] / counts).min(axis=0) for i in range(len(names))])
        single = centre + _PICTURE_DEVIATIONS * spread
        alike &= (between >= least) & (worst >= single) & (single <= worst.T)
    rows, columns = np.nonzero(np.triu(alike, 1))
    return [(names[i], names[j]) for i, j in zip(rows, columns, strict=True)]
