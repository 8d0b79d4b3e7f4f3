"""Delivery: the accepted people's series as copies for publication, and a table of who got what.

`OUT/<person>/` (or `OUT/<person>.zip`) holds the copies as `publish` makes them, marks and signature
included; `OUT/delivered.csv` one row per file, and one with the reason for everybody who got none.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from pydantic import Field

from portrait_lora import csv_file, manifest, removal, strict_json
from portrait_lora.errors import ArtifactError, PortraitError
from portrait_lora.fleet.enrol import overrides_of
from portrait_lora.fleet.roster import Entry, Roster
from portrait_lora.likeness import open_likeness
from portrait_lora.results import Value
from portrait_lora.rights import consent as consents
from portrait_lora.stages.context import Context
from portrait_lora.stages.generate import purposes_of
from portrait_lora.tasks import deliver as handing
from portrait_lora.tasks import outside
from portrait_lora.tasks.shard import files
from portrait_lora.tasks.shard.records import PersonState

if TYPE_CHECKING:
    from portrait_lora.generation.publish import Format
    from portrait_lora.tasks.deliver import Audience

TABLE: Final = "delivered.csv"
PLACES: Final = "deliveries.json"
HEADER: Final = ("person", "name", "group", "email", "file", "sha256", "reason")
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


class Delivered(Value):
    """What one person got: files relative to the folder of the delivery with their sha256, or a reason."""

    person: str
    name: str
    group: str = ""
    email: str = ""
    files: dict[str, str] = Field(default_factory=dict)
    reason: str = ""


class Delivery(Value):
    """What everybody got, and where."""

    folder: str
    table: str
    people: tuple[Delivered, ...]

    @property
    def count(self) -> int:
        """People who got something."""
        return sum(bool(one.files) for one in self.people)


def publish(
    roster: Roster,
    home: Path,
    out: Path,
    kind: Format = "jpeg",
    *,
    quality: int = 92,
    keep_names: bool = False,
    archives: bool = False,
    only: Collection[str] = (),
    audience: Audience = "anywhere",
    label: bool | None = None,
) -> Delivery:
    """Copies of the portraits of everybody who was accepted and whose consent holds today.

    `only` are folder names of people.  `audience` and `label` are as in `tasks.deliver`: for `eu` every copy
    has the visible label unless somebody says otherwise, and each person's `delivery.json` says what is in
    them.  Doing it again writes nothing that is there; what earlier deliveries into `out` gave to others
    stays in the table.  Raises `InputError` for a folder that cannot be written.
    """
    manifest.make_folder(out, shared=True)
    _remember(home, out)
    how = _How(kind, quality, keep_names, archives, audience, label)
    rows: list[Delivered] = []
    for entry in roster.entries:
        if only and entry.person not in only:
            continue
        row = Delivered(person=entry.person, name=entry.name, group=entry.group, email=entry.email)
        try:
            copies = _deliver(roster, entry, home, out, how)
            digests = {p.relative_to(out).as_posix(): manifest.sha256_file(p) for p in copies}
            row = row.model_copy(update={"files": digests})
        except PortraitError as error:
            row = row.model_copy(update={"reason": f"{error.what}{f' ({error.got})' if error.got else ''}"})
        rows.append(row)
    _write_table(out, rows)
    return Delivery(folder=str(out), table=str(out / TABLE), people=tuple(rows))


@dataclass(frozen=True, slots=True)
class _How:
    """What is the same for everybody."""

    kind: Format
    quality: int
    keep_names: bool
    archives: bool
    audience: Audience
    label: bool | None


def _deliver(roster: Roster, entry: Entry, home: Path, out: Path, how: _How) -> list[Path]:
    folder = files.folder(home, entry.person)
    _require_accepted(home, entry)
    ctx = Context(open_likeness(folder, overrides_of(roster)))
    consents.require(folder, folder / "photos", commercial=ctx.config.commercial)
    consents.require_purposes(folder, *purposes_of(ctx))  # of the series too
    portraits = portraits_of(ctx)
    if not how.archives:
        _require_alike(out / entry.person, how.audience)
        copies = _copies(ctx, portraits, out / entry.person, how)
        outside.record(folder, copies)
        return copies
    with TemporaryDirectory(dir=home, prefix=".unpacked-") as place:
        data = _zipped(_copies(ctx, portraits, Path(place) / "copies", how))
    target = out / f"{entry.person}.zip"
    with outside.writing(folder, [target]) as parts:
        manifest.write_bytes_atomic(parts[target], data, shared=True)
    return [target]


def _copies(ctx: Context, portraits: Sequence[Path], out: Path, how: _How) -> list[Path]:
    """The copies, and for an audience of its own what is in them."""
    from portrait_lora.generation.publish import publish as make

    wanted = handing.wants_label(ctx, how.audience, how.label)
    more: dict[str, Any] = {"change": handing.label_change(ctx)} if wanted else {}
    copies = make(portraits, out, how.kind, quality=how.quality, keep_names=how.keep_names, **more)
    if how.audience == "anywhere":
        return copies
    delivery = handing.delivery_of(
        ctx,
        portraits,
        copies,
        how.audience,
        "commercial" if ctx.config.commercial else "portraits",
        labelled=wanted,
        finished=any(ctx.likeness.portraits(ctx.series) not in path.parents for path in portraits),
    )
    manifest.write_json_atomic(out / handing.NAME, delivery.json_value(), shared=True)
    return [*copies, out / handing.NAME]


def _require_alike(folder: Path, audience: Audience) -> None:
    """Copies of an earlier delivery to another audience stay: one folder would have pictures with the label
    and without."""
    there = any(folder.iterdir()) if folder.is_dir() else False
    file = folder / handing.NAME
    before = strict_json.load_object(file, "delivery").get("audience") if file.is_file() else "anywhere"
    if there and before != audience:
        raise ArtifactError(
            "copies for another audience are here", where=folder, got=str(before), needed=audience,
            remedy="Choose another folder with --out.",
        )  # fmt: skip


def _require_accepted(home: Path, entry: Entry) -> None:
    record = files.read(home, entry.person)
    if record is None or record.state is not PersonState.SUCCEEDED:
        state = record.state.value.replace("_", " ") if record else "not begun"
        raise ArtifactError("not accepted", where=entry.person, got=state)


def portraits_of(ctx: Context) -> list[Path]:
    """The portraits of the series as they are delivered: finished where a look is named.

    Raises `ArtifactError` when the series is not there whole.
    """
    from portrait_lora.generation.series import finish_of
    from portrait_lora.stages.finish import look_of, pictures_of
    from portrait_lora.stages.series import delivered

    plain = [portrait.path for portrait in delivered(ctx)]
    wanted = finish_of(ctx.config.generate.series, ctx.config.generate.brand)
    if wanted is None:
        return plain
    finished = pictures_of(ctx.likeness.portraits(f"{ctx.series}-finished") / look_of(wanted).name)
    return [finished.get(path.stem, path) for path in plain]


def _zipped(copies: Sequence[Path]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for copy in copies:
            archive.writestr(zipfile.ZipInfo(copy.name, _EPOCH), copy.read_bytes())
    return out.getvalue()


def _write_table(out: Path, rows: Sequence[Delivered]) -> None:
    """The table, with the rows of others who were delivered to before."""
    new = {row.person for row in rows}
    kept = [row for row in _table(out) if row[0] not in new]
    for one in rows:
        about = [one.person, one.name, one.group, one.email]
        kept += [[*about, file, sha256, ""] for file, sha256 in one.files.items()]
        kept += [] if one.files else [[*about, "", "", one.reason]]
    manifest.write_text_atomic(out / TABLE, csv_file.text_of(HEADER, kept), shared=True)


def _table(out: Path) -> list[list[str]]:
    """The rows of an earlier table; none of one that is somebody else's."""
    import csv

    if not (out / TABLE).is_file():
        return []
    with (out / TABLE).open(encoding="utf-8", newline="") as stream:
        rows = [[csv_file.uncell(cell) for cell in row] for row in csv.reader(stream)]
    if not rows or tuple(rows[0]) != HEADER:
        raise ArtifactError(
            "here is a table of something else", where=out / TABLE, remedy="Choose another folder."
        )
    return [row for row in rows[1:] if len(row) == len(HEADER)]


def _remember(home: Path, out: Path) -> None:
    """Note where was delivered to, so that `forget` finds it."""
    with manifest.locked(home / PLACES):
        places = {*_places(home), str(out.resolve())}
        manifest.write_json_atomic(home / PLACES, {"folders": sorted(places)})


def _places(home: Path) -> list[str]:
    if not (home / PLACES).is_file():
        return []
    rows = strict_json.load_object(home / PLACES, "list of deliveries", file_names=True).get("folders")
    return [str(row) for row in rows] if isinstance(rows, list) else []  # pyright: ignore


def forget(home: Path, person: str) -> int:
    """Take a person out of all deliveries: their folder, their archive, their rows; how many files went."""
    count = 0
    for place in map(Path, _places(home)):
        if not place.is_dir():
            continue
        for target in (place / person, place / f"{person}.zip"):
            if target.exists() or target.is_symlink():
                count += len(removal.files_below(target)) if target.is_dir() else 1
                removal.remove_whole(target, owner=place)
        if (place / TABLE).is_file():
            rows = [row for row in _table(place) if row[0] != person]
            manifest.write_text_atomic(place / TABLE, csv_file.text_of(HEADER, rows), shared=True)
    return count
