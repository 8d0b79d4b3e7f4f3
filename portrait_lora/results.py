"""What the stages of a journey hand on: frozen typed values with one JSON form, that of the journal.

`json_value()` gives what `--json`, `reports/stages.json` and `reports/run.json` show: the keys in the order
of the fields, those left out that were not given.  `read()` takes it back to the same bytes, and what an
earlier version wrote, which lacks the later fields: those have a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from portrait_lora.errors import ArtifactError
from portrait_lora.vocabulary import Severity

Number = int | float
"""A figure as it was measured: a whole number stays one in the JSON."""
R = TypeVar("R", bound="StageResult")


class Value(BaseModel):
    """A frozen value with one JSON form; an unknown key or a value of another type is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def json_value(self) -> dict[str, object]:
        """Plain JSON values; a field that was not given is left out."""
        return self.model_dump(mode="json", exclude_unset=True)

    @classmethod
    def read(cls, raw: object, where: object = "") -> Self:
        """The value of a JSON object.  Raises `ArtifactError`, naming the first field that does not fit."""
        try:
            return cls.model_validate(_as_tuples(raw))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise ArtifactError(
                f"the record of {cls.__name__} is damaged",
                where=where,
                got=f"{place}: {repr(first['input'])[:80]}" if place else repr(raw)[:80],
                needed=first["msg"],
                remedy="Run the command again: the stage is done anew.",
            ) from error


def _as_tuples(value: object) -> object:
    """JSON lists as the tuples that a frozen value holds."""
    if isinstance(value, list):
        return tuple(map(_as_tuples, cast(list[object], value)))
    if isinstance(value, dict):
        return {key: _as_tuples(one) for key, one in cast(dict[str, object], value).items()}
    return value


class StageResult(Value):
    """What one stage leaves for those after it."""

    STAGE: ClassVar[str]


class RejectedPhoto(Value):
    """A photo that is not used, and the codes of the findings that rejected it."""

    file: str
    codes: tuple[str, ...]


class PhotoCounts(Value):
    """How many photos were given, are usable, are not, and are held out of training; `questioned` are files
    left out until the user says who is in them."""

    given: int
    accepted: int
    rejected: tuple[RejectedPhoto, ...]
    held_out: int
    questioned: tuple[str, ...] = ()


class PhotoFinding(Value):
    """One remark on a photo; `measured` and `threshold` in the unit of their code, None without a figure."""

    code: str
    severity: Severity
    measured: Number | None
    threshold: Number | None
    advice: str


class PhotoVerdict(Value):
    """What the check found on one photo, and the codes that this face pack cannot check.

    `size_px` (W, H) and `box_px`, the face (x0, y0, x1, y1), are pixels of the upright photo as it is read,
    turned by `turn_deg` and cropped to `crop` (fractions); `sha256` is that of the file.
    """

    file: str
    accepted: bool
    findings: tuple[PhotoFinding, ...]
    not_checked: tuple[str, ...] = ()
    size_px: tuple[int, int] | None = None
    box_px: tuple[Number, Number, Number, Number] | None = None
    view: str | None = None
    expression: str | None = None
    sha256: str | None = None
    turn_deg: int = 0
    crop: tuple[Number, Number, Number, Number] | None = None


class CoverageGrid(Value):
    """Photos per cell [yaw][pitch][expression], and the sizes of the groups that look alike, by kind."""

    yaw_bins: tuple[str, ...]
    pitch_bins: tuple[str, ...]
    expression_bins: tuple[str, ...]
    cells: tuple[tuple[tuple[int, ...], ...], ...]
    variety: dict[str, tuple[int, ...]]
    appearance_spread: Number | None = None


class CheckResult(StageResult):
    """Of stage check; `coverage` is None when too few photos are usable."""

    STAGE = "check"

    photos: PhotoCounts
    held_out: tuple[str, ...]
    findings: tuple[PhotoVerdict, ...]
    missing: tuple[str, ...]
    advice: tuple[str, ...]
    enough: bool
    report: str
    coverage: CoverageGrid | None = None


class PrepareResult(StageResult):
    """Of stage prepare: `captions` are a few examples, `held_out` file names; `advice` is
    on the captions."""

    STAGE = "prepare"

    crops: int
    photos_for_training: int
    held_out: tuple[str, ...]
    captions: tuple[str, ...]
    advice: str = ""


class TrainingResult(StageResult):
    """Of stage train; `checkpoints` are folder names, oldest first.

    `final_loss` is None where no step is on record, `resumed_from` where training began at its first step.
    """

    STAGE = "train"

    base: str
    steps: int
    samples: int
    final_loss: Number | None
    resumed_from: int | None = None
    checkpoints: tuple[str, ...]
    stopped_early: bool = False
    stop_reason: str = ""


class Probe(Value):
    """One checkpoint on the probe portraits; see `evaluation.checkpoint_choice.CheckpointScore`."""

    step: int
    mean: Number
    face_found_rate: Number
    values: tuple[Number, ...] = ()
    copy_score: Number | None = None
    adherence: Number | None = None
    refused: int = 0
    """Probe portraits that the guard's checker refused; they count as pictures without a face."""


class AveragedCheckpoints(Value):
    """The average of the good checkpoints on the probes, and whether it was kept; one alone is not drawn."""

    steps: tuple[int, ...]
    mean: Number | None = None
    values: tuple[Number, ...] = ()
    kept: bool
    copy_score: Number | None = None
    adherence: Number | None = None


class SelectResult(StageResult):
    """Of stage select: the step kept, every checkpoint's probes, the path of the adapter file.

    `best_step` is what the probes would have chosen, where a person chose with `select.step`.
    """

    STAGE = "select"

    selected_step: int
    probes: tuple[Probe, ...]
    adapter: str
    average: AveragedCheckpoints | None = None
    best_step: int | None = None


class FinishedSeries(Value):
    """The portraits of a series finished by the look that a sheet names: where they and their page lie.

    `refused` portraits would have lost too much; likeness by B is the mean over finished ones with a face;
    `seconds` of this call, so that the same pictures are recorded by the same bytes.
    """

    look: str
    sheet: str
    folder: str
    page: str
    pictures: int
    refused: int
    before_b: Number | None = None
    after_b: Number | None = None
    seconds: Number = 0


class Showcase(Value):
    """The demo's finished picture, the portrait that it was made from, and the sheet that shows every step.

    `size_px` is (W, H) of the picture; likeness by B before and after.
    """

    portrait: str
    look: str
    picture: str
    sheet: str
    size_px: tuple[int, int]
    before_b: Number | None
    after_b: Number | None
    seconds: Number = 0


class GenerateResult(StageResult):
    """Of stage generate: how many portraits, and where they, their sheets and their page lie."""

    STAGE = "generate"

    portraits: int
    folder: str
    contact_sheet: str
    worst_first: str = ""
    gallery: str = ""
    remarks: tuple[str, ...] = ()
    flawed: int = 0
    seconds_per_portrait: Number | None = None
    cost_per_portrait: Number | None = None
    finished: FinishedSeries | None = None
    refused: tuple[str, ...] = ()
    """Shots whose picture the guard's checker refused: they were not written."""


class LikenessFigures(Value):
    """The `likeness` object of run.json: similarities by embedder B, shares from 0 to 1.

    None stands for what was not measured; `no_interval` says why `ci95` should not be shown, if so.
    """

    embedder: str
    adapter_mean: Number
    mean_of_found: Number | None = None
    ci95: tuple[Number, Number]
    prompts: int | None = None
    no_interval: str = ""
    passing: str = ""
    base_mean: Number | None = None
    ceiling: Number
    impostor: Number | None = None
    impostor_source: str = "gallery"
    share_of_ceiling: Number | None = None
    face_found_rate: Number
    verified_rate: Number
    threshold: Number
    copy_score: Number | None = None


class ScoreResult(StageResult):
    """Of stage score; `series` is the folder name of the pictures that were measured."""

    STAGE = "score"

    likeness: LikenessFigures
    report: str
    series: str = ""


KINDS: Final[Mapping[str, type[StageResult]]] = {
    kind.STAGE: kind
    for kind in (CheckResult, PrepareResult, TrainingResult, SelectResult, GenerateResult, ScoreResult)
}
"""Stage → its result, in the order of the journey."""


@dataclass(frozen=True, slots=True)
class StageRecord:
    """One row of the journal: digests of the inputs, seconds taken, the result, sha256 by file written."""

    inputs: Mapping[str, str]
    seconds: float
    result: StageResult
    outputs: Mapping[str, str] = field(default_factory=dict[str, str])

    def json_value(self) -> dict[str, object]:
        """The row as it stands in the journal."""
        row: dict[str, object] = {"inputs": dict(self.inputs), "seconds": self.seconds}
        row |= {"summary": self.result.json_value()}
        return row | ({"outputs": dict(self.outputs)} if self.outputs else {})

    @classmethod
    def read(cls, stage: str, raw: object, where: object = "") -> StageRecord:
        """Raises `ArtifactError` for a row that is no record of this stage."""
        row = _Row.read(raw, where)
        if stage not in KINDS:
            raise ArtifactError("unknown stage", where=where, got=stage, needed=", ".join(KINDS))
        return cls(row.inputs, row.seconds, KINDS[stage].read(row.summary, where), row.outputs)


class _Row(Value):
    inputs: dict[str, str]
    seconds: float = 0.0
    summary: dict[str, object]
    outputs: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Journey:
    """The results of the stages done so far, in their order."""

    results: tuple[StageResult, ...]

    def of(self, kind: type[R]) -> R:
        """The result of one stage.  Raises `ArtifactError` when the journey did not come so far."""
        match = next((one for one in self.results if isinstance(one, kind)), None)
        if match is None:
            raise not_done(kind)
        return match

    def json_value(self) -> dict[str, object]:
        """All results in one object; a key that two of them have is the later one's."""
        merged: dict[str, object] = {}
        for result in self.results:
            merged |= result.json_value()
        return merged


def not_done(kind: type[StageResult], where: object = "") -> ArtifactError:
    """The error of a result that is not there."""
    remedy = "Run it first: portrait-lora run LIKENESS_DIR."
    return ArtifactError(f"stage {kind.STAGE} has not run here", where=where, remedy=remedy)


class StageSeconds(Value):
    """How long each stage took when it ran; `total` of this call."""

    check: float
    prepare: float
    train: float
    select: float
    generate: float
    score: float
    total: float


class TrainingFigures(Value):
    """The `training` object of run.json."""

    base: str
    steps: int
    samples: int
    final_loss: Number | None
    selected_step: int


class RunResult(Value):
    """The whole journey: `reports/run.json`."""

    seconds: StageSeconds
    skipped: tuple[str, ...]
    photos: PhotoCounts
    training: TrainingFigures
    likeness: LikenessFigures
    portraits: int
    device: str
    peak_memory_mb: int
    versions: dict[str, str]
    finished: FinishedSeries | None = None
    showcase: Showcase | None = None


class Tier(Value):
    """How the same training would be done on a GPU of this size, and how portraits would be drawn there.

    `computed_twice` is the share of the blocks that recompute their activations; `streamed`: the base's
    blocks visit the card in turn.  `generating`: resident, offloaded, its text encoders alone, or unknown;
    `stays_in`: `generate.weights` with which an offloaded denoiser would stay on the card, if any.
    """

    card_gb: int
    fits: bool
    weights: str
    streamed: bool
    computed_twice: Number
    micro_batch: int
    memory_gb: Number
    generating: Literal["resident", "text_offloaded", "offloaded", "unknown"]
    stays_in: Literal["", "int8", "nf4"] = ""


class TrainingPlan(Value):
    """What `train` would do and need: GB of memory and disk, seconds; `fits` with the reasons against it.

    `tiers` are other cards than the one that is here; none for the embedded base.
    """

    base: str
    photos: int
    prepared: bool
    steps: int
    samples: int
    batch_size: int
    micro_batch: int
    gradient_checkpointing: bool
    computed_twice: Number
    streamed: bool
    weights: str
    device: str
    mixed_precision: str
    memory_gb: Number
    memory_available_gb: Number | None
    seconds: Number
    disk_gb: Number
    disk_free_gb: Number
    reason: str
    fits: bool
    problems: tuple[str, ...]
    would_fit: tuple[str, ...]
    tiers: tuple[Tier, ...]


class InitResult(Value):
    """A new likeness folder: how many photos were copied, how many captions came with them."""

    folder: str
    photos: int
    captions: int
