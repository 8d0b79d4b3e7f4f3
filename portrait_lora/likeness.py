"""The folder of one likeness: where everything lies, and the journal of the stages that are done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from portrait_lora import holding, log, manifest, strict_json
from portrait_lora.config import FILE_NAME, LikenessConfig, load, short
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.pictures import formats
from portrait_lora.removal import plain_name
from portrait_lora.results import KINDS, R, StageRecord, StageResult, not_done

STAGES: Final = tuple(KINDS)
CONTACT_SHEET: Final = "contact_sheet.jpg"
WORST_FIRST: Final = "worst_first.jpg"
_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Likeness:
    """Paths and configuration of one person (docs/architecture.md)."""

    root: Path
    config: LikenessConfig
    photos_folder: Path | None = None
    reports_folder: Path | None = None
    """Of what is drawn and measured beside the likeness, with a journal of its own."""
    held: holding.Hold | None = field(default=None, repr=False, compare=False)
    """Keeps `forget` out of the folder as long as somebody works with this."""

    @property
    def photos(self) -> Path:
        return self.photos_folder or self.root / "photos"

    @property
    def captions(self) -> Path:
        return self.root / "captions.csv"

    @property
    def dataset(self) -> Path:
        return self.root / "dataset"

    @property
    def adapters(self) -> Path:
        return self.root / "adapters" / plain_name(self.config.run, where="run")

    @property
    def reports(self) -> Path:
        return self.reports_folder or self.root / "reports"

    @property
    def series(self) -> str:
        """The folder name of the configured series: its own, and the brand's behind it."""
        return series_name(self.config.generate.series, self.config.generate.brand)

    def portraits(self, series: str) -> Path:
        """The folder of a series; `InputError` for a name that would lead elsewhere."""
        return self.root / "portraits" / plain_name(series, where="generate.series")


def series_name(series: str, brand: str = "") -> str:
    """`headshots`, or `headshots--studio` under a brand, whose pictures lie in a folder of their own."""
    return "--".join(Path(part).stem for part in (series, brand) if part)


def open_likeness(
    root: Path, overrides: Sequence[str] = (), *, defaults: Mapping[str, object] | None = None
) -> Likeness:
    """The likeness in `root`; `InputError` when it has no photos, naming what would make one."""
    file = root / FILE_NAME
    config = load(file if file.is_file() else None, overrides, defaults=defaults)
    require_photos(root)
    return Likeness(root, config, held=_hold(root))


def require_photos(root: Path) -> None:
    """Raise `InputError` when there is no `photos/` in `root`, naming what would make one."""
    if not (root / "photos").is_dir():
        known = root.is_dir() and bool(picture_files(root))
        folder = root if known else "PHOTOS"
        raise InputError(
            "not a likeness folder",
            where=root,
            got="no photos/ in it" if root.is_dir() else "no such folder",
            needed="a folder with photos/",
            remedy=f"Make one with: portrait-lora init my_likeness --photos {folder}",
        )


def open_for_check(folder: Path, overrides: Sequence[str] = ()) -> Likeness:
    """A likeness folder, or a bare folder of photos whose report goes beside it."""
    if (folder / "photos").is_dir():
        return open_likeness(folder, overrides)
    if not folder.is_dir():
        raise InputError("no such folder", where=folder, needed="a folder of photos")
    whole = folder.resolve()
    return Likeness(whole.parent / f"{whole.name}_check", load(None, overrides), folder)


def _hold(root: Path) -> holding.Hold | None:
    """Share the folder with other commands; `InputError` while `forget` is at work in it."""
    try:
        held = holding.hold(root, alone=False)
    except OSError:  # the folder may be listed, but not opened: it cannot be held
        return None
    if held is None:
        raise InputError(
            "this person is just being forgotten", where=root, remedy="Wait until `forget` has ended."
        )
    return held


def write_config(root: Path, config: LikenessConfig) -> None:
    """Write likeness.yaml, short and commented, unless the person already has one."""
    if not (root / FILE_NAME).exists():
        manifest.write_text_atomic(root / FILE_NAME, short(config, root))


def photo_files(folder: Path) -> list[Path]:
    """Every visible file of the photo folder by name; what is no picture becomes a finding later."""
    return sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))


def picture_files(folder: Path) -> list[Path]:
    """The visible files that are pictures by their name or their first bytes, by name."""
    return [p for p in photo_files(folder) if formats.is_picture(p)]


def left_out(folder: Path) -> list[str]:
    """`2023: 4 pictures` for every subfolder with pictures: those are not looked at."""
    from portrait_lora.pictures.reader import photos_in_subfolders  # opens pictures: heavy

    return [
        f"{name}: {count} picture{'s' if count != 1 else ''}" for name, count in photos_in_subfolders(folder)
    ]


@dataclass(slots=True)
class Journal:
    """Which stages are done, from which inputs, how long they took and what came of them.

    Kept in `reports/stages.json`, written after every stage, so that a second run skips what is done.
    """

    path: Path
    stages: dict[str, StageRecord] = field(default_factory=dict)
    held: set[str] | None = None

    @classmethod
    def open(cls, reports: Path) -> Journal:
        """Read the journal; a damaged one, or a damaged row, counts as absent, so the stage runs again."""
        path = reports / "stages.json"
        records: dict[str, StageRecord] = {}
        for stage, row in _rows(path).items():
            try:
                records[stage] = StageRecord.read(stage, row, path)
            except ArtifactError as error:
                _log.debug("%s", error)
        return cls(path, records)

    def is_done(self, stage: str, inputs: Mapping[str, str]) -> bool:
        """Whether the stage has run from exactly these inputs."""
        return stage in self.stages and self.inputs(stage) == inputs

    def result(self, kind: type[R]) -> R:
        """What came of a stage when it ran.  Raises `ArtifactError` for one that has not run."""
        record = self.stages.get(kind.STAGE)
        if record is None or not isinstance(record.result, kind):
            raise not_done(kind, self.path)
        return record.result

    def inputs(self, stage: str) -> dict[str, str]:
        """Digests of what the stage ran from; empty for one that has not run."""
        return dict(self.stages[stage].inputs) if stage in self.stages else {}

    def seconds(self, stage: str) -> float:
        """How long the stage took when it ran."""
        return self.stages[stage].seconds if stage in self.stages else 0.0

    def record(
        self,
        inputs: Mapping[str, str],
        seconds: float,
        result: StageResult,
        outputs: Mapping[str, str] | None = None,
    ) -> None:
        """Write the stage of this result down; later stages stand until their own inputs change.

        `outputs` maps the files that it wrote, relative to the likeness folder, to their sha256.
        """
        self.stages[result.STAGE] = StageRecord(dict(inputs), round(seconds, 2), result, dict(outputs or {}))
        self._write(result.STAGE)

    def outputs(self, stage: str) -> dict[str, str]:
        """Files that the stage wrote and their sha256; empty for a stage whose outputs were not recorded."""
        return dict(self.stages[stage].outputs) if stage in self.stages else {}

    def forget(self, stage: str) -> None:
        """The stage counts as not done."""
        if self.stages.pop(stage, None) is not None:
            self._write(stage)

    def hold(self) -> None:
        """Keep the file as it is until `release`: what is done meanwhile counts only once all of it is."""
        self.held = self.held or set()

    def release(self) -> None:
        """Write what was held back."""
        held, self.held = self.held, None
        if held:
            self._write(*held)

    def _write(self, *stages: str) -> None:
        """Change these stages in the file: another process may have written others meanwhile."""
        if self.held is not None:
            self.held.update(stages)
            return
        with manifest.locked(self.path):
            there = _rows(self.path)
            for stage in stages:
                there.pop(stage, None)
            own = {stage: self.stages[stage].json_value() for stage in stages if stage in self.stages}
            manifest.write_json_atomic(self.path, there | own)


def _rows(path: Path) -> dict[str, object]:
    """The rows of the journal as they stand; those of another version are kept when others are written."""
    try:
        return strict_json.load_object(path, "journal", file_names=True)
    except ArtifactError:
        return {}
