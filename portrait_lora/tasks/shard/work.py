"""The work of one shard, the same on every worker: any of them may take any person at any time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, Literal

from portrait_lora import config, likeness, log, manifest, recipe
from portrait_lora.config import LikenessConfig
from portrait_lora.errors import ArtifactError, ConfigError, InputError, Interrupted, PortraitError
from portrait_lora.results import CheckResult, RunResult
from portrait_lora.rights import consent
from portrait_lora.tasks.shard import endings, files, identity, plan, sheets
from portrait_lora.tasks.shard.acceptance import figures_of
from portrait_lora.tasks.shard.keeping import Keeper, OnChange
from portrait_lora.tasks.shard.plan import FleetPlan
from portrait_lora.tasks.shard.records import Ended, PersonRecord, PersonState

BEFORE_GENERATING: Final = "select"
"""The stage after which the consent is asked for again."""
_SETTLED: Final = (PersonState.SET_ASIDE, PersonState.NEEDS_PHOTOS, PersonState.FORGOTTEN)
_log = log.get(__name__)


def work(
    home: Path,
    people: Sequence[str],
    *,
    worker: str,
    device: str = "auto",
    on_change: OnChange | None = None,
) -> tuple[PersonRecord, ...]:
    """Do what is left to do for these people, and write their records into `home` as it goes on.

    `worker` and `device` are for the records: the process sees only its own device.  What is done already,
    from the same photos and settings, is not done again; a person whom somebody else works on is left alone.
    Every end is a record.  Raised are `Interrupted` and `KeyboardInterrupt`, once the state is saved, and
    `InputError` for what is wrong with the fleet or with this worker, before anything is done: other
    versions, another face pack, a clock before the fleet's own, another series or brand file.  `on_change`
    gets every record as it is written.
    """
    whole = plan.read(home)
    for person in people:
        whole.overrides(person)
    identity.require_worker(whole)
    sheets.placed(home, whole)
    ended: dict[str, PersonRecord] = {}
    with ExitStack() as held, _threads(whole.threads):
        mine: list[Keeper] = []
        for person in dict.fromkeys(people):
            keeper = _take(home, whole, person, held, on_change)
            if isinstance(keeper, Keeper):
                mine.append(keeper)
            else:
                ended[person] = keeper
        if mine:
            _do(whole, mine, worker, device)
    ended |= {keeper.record.person: keeper.record for keeper in mine}
    return tuple(ended[person] for person in dict.fromkeys(people))


def _take(
    home: Path, whole: FleetPlan, person: str, held: ExitStack, on_change: OnChange | None
) -> Keeper | PersonRecord:
    """Hold a person whose work is to be done; the record of one whose is not."""
    hold = files.hold(home, person)
    before = files.sound(home, person)
    if hold is None:
        _log.info("%s: somebody else works on this person", person)
        return before or PersonRecord(person=person, digest="", state=PersonState.RUNNING)
    held.enter_context(hold)
    keeper = Keeper(home, before or PersonRecord(person=person, digest=""), on_change)
    if keeper.record.state is PersonState.FORGOTTEN:
        return keeper.record
    record = _as_it_stands(home, whole, keeper.record)
    if record.state is PersonState.WAITING:
        identity.require_models(home, whole, person)
        if lacking := _lacks_consent(home, whole, person):
            record = record.model_copy(update={"state": PersonState.NEEDS_CONSENT, "reason": lacking})
    if record != before:
        keeper.put(record)
    return keeper if record.state is PersonState.WAITING else record


def _as_it_stands(home: Path, whole: FleetPlan, record: PersonRecord) -> PersonRecord:
    """The record by the photos, settings and rule of today; waiting where there is work to do."""
    person = record.person
    try:
        digest = identity.digest_of(home, whole, person)
    except ConfigError as error:
        update = {"state": PersonState.SET_ASIDE, "reason": endings.reason_of(error)}
        return record.model_copy(update=update)
    except InputError as error:
        if (files.folder(home, person) / "photos").is_dir():
            raise
        update = {"state": PersonState.NEEDS_PHOTOS, "reason": endings.reason_of(error)}
        return record.model_copy(update=update)
    record = endings.lost(record)
    if record.digest != digest:
        record = endings.begun_anew(record, digest)
    record = record.model_copy(update={"glance": identity.glance_of(home, whole, person)})
    if record.state is PersonState.SUCCEEDED and not _is_whole(home, whole, record):
        return record.model_copy(update={"state": PersonState.WAITING, "reason": "its files are gone"})
    if record.figures is not None and record.state in (PersonState.SUCCEEDED, PersonState.NEEDS_PHOTOS):
        seed = _config(home, whole, person).seed
        again = endings.judged(record, record.figures, whole.acceptance, seed)
        return record if again.state is record.state else again
    if record.state in _SETTLED:
        return record
    return record.model_copy(update={"state": PersonState.WAITING})


def _do(whole: FleetPlan, mine: Sequence[Keeper], worker: str, device: str) -> None:
    """The journey of these people; every end of it is written down."""
    together = tuple(k.record.person for k in mine) if len(mine) > 1 else ()
    for keeper in mine:
        keeper.share = 1 / len(mine)
        keeper.begin(worker, device, together)
    by_folder = {keeper.folder: keeper for keeper in mine}

    def on_stage(folder: Path, stage: str) -> None:
        by_folder[folder].finish_stage(stage)
        if stage == BEFORE_GENERATING:
            _require_consent(by_folder[folder].home, whole, by_folder[folder].record.person)

    def sink(kind: Literal["progress", "log", "metric"], data: Mapping[str, object]) -> None:
        for keeper in mine if kind == "progress" else ():
            keeper.note_steps({} if together else data)

    here = sheets.placed(mine[0].home, whole)
    own = {k.folder: (*here.overrides(k.record.person), *k.record.settings) for k in mine}
    try:
        with log.listening(sink):
            results = recipe.run_together([*own], own=own, on_stage=on_stage)
    except (Interrupted, KeyboardInterrupt) as error:
        for keeper in mine:
            keeper.put(endings.failed(keeper.ended(), error))
        raise
    except Exception as error:
        _log.exception("unexpected")
        for keeper in mine:
            keeper.put(endings.failed(keeper.ended(), error))
        return
    for keeper, result in zip(mine, results, strict=True):
        keeper.put(_outcome(whole, keeper, result))


def _outcome(whole: FleetPlan, keeper: Keeper, result: RunResult | PortraitError) -> PersonRecord:
    home, record = keeper.home, keeper.ended()
    if isinstance(result, PortraitError):
        lacking = _lacks_consent(home, whole, record.person)
        return endings.failed(record, result, consent=lacking, advice=_advice(keeper.folder))
    chosen = _config(home, whole, record.person, record.settings)
    seconds = {stage: getattr(result.seconds, stage) for stage in likeness.STAGES}
    record = record.model_copy(
        update={
            "adapter_sha256": manifest.sha256_file(_adapter(keeper.folder, chosen)),
            "stage_seconds": endings.of_mapping(seconds),
        }
    )
    first = _config(home, whole, record.person)
    record = endings.judged(
        record, figures_of(result.likeness, result.portraits), whole.acceptance, first.seed
    )
    ended = Ended.SUCCEEDED if record.state is PersonState.SUCCEEDED else Ended.REFUSED
    return endings.with_start(record, ended=ended, steps=result.training.steps)


def _lacks_consent(home: Path, whole: FleetPlan, person: str) -> str:
    """What the consent of a person lacks today, in a line; empty where it covers everything."""
    try:
        _require_consent(home, whole, person)
    except (InputError, ArtifactError) as error:
        return endings.reason_of(error)
    return ""


def _require_consent(home: Path, whole: FleetPlan, person: str) -> None:
    folder = files.folder(home, person)
    consent.require(folder, folder / "photos", commercial=_config(home, whole, person).commercial)


def _is_whole(home: Path, whole: FleetPlan, record: PersonRecord) -> bool:
    """Whether the adapter that was accepted is there."""
    folder = files.folder(home, record.person)
    adapter = _adapter(folder, _config(home, whole, record.person, record.settings))
    return adapter.is_file() and manifest.sha256_file(adapter) == record.adapter_sha256


def _adapter(folder: Path, chosen: LikenessConfig) -> Path:
    return folder / "adapters" / chosen.run / "adapter.safetensors"


def _config(home: Path, whole: FleetPlan, person: str, more: Sequence[str] = ()) -> LikenessConfig:
    file = files.folder(home, person) / config.FILE_NAME
    return config.load(file if file.is_file() else None, (*whole.overrides(person), *more))


def _advice(folder: Path) -> tuple[str, ...]:
    """What the photo check advises, if it has looked."""
    try:
        return likeness.Journal.open(folder / "reports").result(CheckResult).advice
    except ArtifactError:
        return ()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """As many threads of the processor as the fleet uses everywhere: with others, last bits differ."""
    before = os.environ.get("OMP_NUM_THREADS")
    if count:
        os.environ["OMP_NUM_THREADS"] = str(count)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("OMP_NUM_THREADS", None)
        else:
            os.environ["OMP_NUM_THREADS"] = before
