"""The check of a whole roster: everybody's photos and consent, one person under two names, one base for all.

It is the single-person check through plain calls, in one process with one face pack in memory; what was
checked before and has not changed is not looked at again.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portrait_lora import errors, manifest
from portrait_lora.errors import PortraitError
from portrait_lora.fleet import enrol as enrolling
from portrait_lora.fleet import mails, page, same_person, standing
from portrait_lora.fleet.enrol import Enrolled
from portrait_lora.fleet.roster import Entry, Roster
from portrait_lora.fleet.slugs import same_name
from portrait_lora.fleet.standing import (
    Agreement,
    PersonCheck,
    PhotoProblem,
    Question,
    RosterCheck,
    Standing,
)
from portrait_lora.likeness import Journal, open_likeness
from portrait_lora.results import CheckResult
from portrait_lora.rights import consent as consents
from portrait_lora.stages import Context
from portrait_lora.tasks.shard import files, identity, plan
from portrait_lora.tasks.shard.records import ErrorRecord, PersonRecord, PersonState

if TYPE_CHECKING:
    from portrait_lora.faces.backends import Analyzer
    from portrait_lora.faces.packs import FacePack

DAYS: Final = 30
OnPerson = Callable[[PersonCheck], None]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a check is to look out for.

    Consents that end within `days` of `now` (local time), or before the run is over: in `forecast_s` seconds
    from then, by default the planned trainings over `devices` devices.
    """

    now: dt.datetime
    days: int = DAYS
    forecast_s: float | None = None
    devices: int = 1

    @property
    def today(self) -> dt.date:
        return self.now.date()


def check(
    roster: Roster,
    home: Path,
    *,
    wishes: Wishes | None = None,
    renew_consents: bool = False,
    on_person: OnPerson | None = None,
) -> RosterCheck:
    """Enrol and check everybody; writes `reports/roster.json`, `roster.html` and `mails/`.

    One person's photos or settings that cannot be used are their problem and nobody else's.
    """
    wanted = wishes or Wishes(dt.datetime.now())
    people = enrolling.enrol(roster, home, renew_consents=renew_consents)
    checked = _Checked(roster, home, wanted.today)
    rows: list[PersonCheck] = []
    for one in people:
        rows.append(checked.person(one))
        if on_person is not None:
            on_person(rows[-1])
    seconds = wanted.forecast_s
    if seconds is None:
        seconds = _forecast(roster, home, rows) / max(1, wanted.devices)
    rows = [with_dates(row, wanted, seconds) for row in rows]
    questions, pairs, by_chance = checked.questions({row.person: row.name for row in rows})
    rows = [mails.written(home, row, roster) for row in rows]
    result = RosterCheck(
        roster=str(roster.path),
        home=str(home.absolute()),
        on=wanted.today.isoformat(),
        people=tuple(rows),
        questions=tuple(questions),
        remarks=tuple(remarks(rows)),
        unlisted=enrolling.no_longer_listed(roster, home),
        pairs=pairs,
        expected_chance_pairs=by_chance,
        seconds=round(seconds),
        page=str(home.absolute() / page.FILE),
    )
    standing.write(home, result)
    page.write(home, result)
    return result


class _Checked:
    """The people of one call, with the models that they share."""

    def __init__(self, roster: Roster, home: Path, today: dt.date):
        self._roster, self._home, self._today = roster, home, today
        self._finders: dict[str, Analyzer] = {}
        self._seen: dict[str, list[same_person.Seen]] = {}

    def person(self, one: Enrolled) -> PersonCheck:
        """Where one person stands."""
        row = _row(one)
        if one.is_forgotten:
            return row.model_copy(update={"standing": Standing.FORGOTTEN})
        if one.problem is not None:
            short = isinstance(one.problem, errors.PhotosError)
            state = Standing.NEEDS_PHOTOS if short else Standing.PROBLEM
            return row.model_copy(update={"standing": state, "error": error_record(one.problem)})
        try:
            return self._looked_at(one, row)
        except PortraitError as error:
            return row.model_copy(update={"standing": Standing.PROBLEM, "error": error_record(error)})

    def _looked_at(self, one: Enrolled, row: PersonCheck) -> PersonCheck:
        entry = one.entry
        opened = open_likeness(one.folder, enrolling.overrides_of(self._roster))
        ctx = Context(opened)
        ctx.finder = self._finder(ctx.pack)
        result = self._result(ctx, entry)
        self._remember(ctx, entry.person, result)
        agreed = consent_state(one.folder, commercial=ctx.config.commercial, today=self._today)
        state = Standing.NEEDS_CONSENT if agreed.problem else Standing.READY
        refused = _refused(self._home, entry.person) if result.enough else None
        if refused is not None:
            state = Standing.NEEDS_PHOTOS
        return row.model_copy(
            update={
                "standing": state if result.enough else Standing.NEEDS_PHOTOS,
                "sent": len(result.findings),
                "accepted": result.photos.accepted,
                "needed": ctx.config.dataset.curate.min_photos,
                "few": result.photos.accepted < ctx.config.dataset.curate.few_photos,
                "problems": photo_problems(result),
                "advice": (*result.advice, *(refused.advice if refused else ())),
                "notes": (*row.notes, *([refused.reason] if refused and refused.reason else [])),
                "consent": agreed,
                "base": ctx.config.base,
                "face_pack": ctx.config.face_pack,
                "report": result.report,
            }
        )

    def _result(self, ctx: Context, entry: Entry) -> CheckResult:
        """The check, made now; that of before while somebody works on the person."""
        from portrait_lora.stages.check import check as look

        held = files.hold(self._home, entry.person)
        if held is None:
            return Journal.open(ctx.likeness.reports).result(CheckResult)
        with held:
            return look(ctx)

    def _finder(self, pack: FacePack) -> Analyzer:
        from portrait_lora.faces.backends import open_analyzer

        if pack.digest not in self._finders:
            self._finders[pack.digest] = open_analyzer(pack, "select")
        return self._finders[pack.digest]

    def _remember(self, ctx: Context, person: str, result: CheckResult) -> None:
        from portrait_lora.stages.configured import edits_of

        digest = manifest.digest([ctx.photo_digests, [v.file for v in result.findings if v.accepted]])
        edits = edits_of(ctx.config.dataset)
        seen = same_person.Seen(person, ctx.likeness.root, digest, result, edits)
        self._seen.setdefault(ctx.pack.digest, []).append(seen)

    def questions(self, names: dict[str, str]) -> tuple[list[Question], int, float | None]:
        """Pairs that may be one person, how many were compared, and how many come up by chance."""
        if not self._seen:
            return [], 0, None
        pack, people = max(self._seen.items(), key=lambda item: len(item[1]))
        finder = self._finders[pack]
        compared = same_person.compare(self._home, people, finder)
        known = same_person.answers(self._home)
        count = len(people) * (len(people) - 1) // 2
        rate = finder.pack.rate_at_threshold("select")
        questions = [
            Question(
                people=pair.people,
                names=(names[pair.people[0]], names[pair.people[1]]),
                similarity=pair.similarity,
                threshold=compared.threshold,
                answer=known.of(pair.people),
            )
            for pair in compared.pairs
        ]
        shown = [question for question in questions if question.answer != "different"]
        return shown, count, None if math.isnan(rate) else round(rate * count, 2)


def _refused(home: Path, person: str) -> PersonRecord | None:
    """The record of somebody whose portraits did not pass, and of whom nothing has changed since."""
    record = files.read(home, person)
    if record is None or record.state is not PersonState.NEEDS_PHOTOS or not (home / plan.FILE).is_file():
        return None
    return record if identity.digest_of(home, plan.read(home), person) == record.digest else None


def consent_state(folder: Path, *, commercial: bool, today: dt.date) -> Agreement:
    """How the consent of a person stands on this day; made-up people need none."""
    if not consents.photographs(folder / "photos"):
        return Agreement(needed=False)
    problem = ""
    recorded = None
    try:
        recorded = consents.read(folder)
        consents.require(folder, folder / "photos", commercial=commercial, today=today)
    except PortraitError as error:
        problem = f"{error.what}{f' ({error.got})' if error.got else ''}"
    if recorded is None:
        return Agreement(needed=True, problem=problem)
    left = (dt.date.fromisoformat(recorded.until) - today).days
    return Agreement(needed=True, problem=problem, who=recorded.who, until=recorded.until, days_left=left)


def photo_problems(result: CheckResult) -> tuple[PhotoProblem, ...]:
    """Why photos are not used, for those who took them."""
    from portrait_lora.dataset.report import TITLES

    return tuple(
        PhotoProblem(file=verdict.file, title=TITLES.get(finding.code, finding.code), advice=finding.advice)
        for verdict in result.findings
        if not verdict.accepted
        for finding in [f for f in verdict.findings if f.severity in ("reject", "question")][:1]
    )


def remarks(rows: Sequence[PersonCheck]) -> list[str]:
    """What is to be said of the whole: mixed bases or face packs, consents that end, the forgotten."""
    lines: list[str] = []
    for what, key in (("base models", "base"), ("face packs", "face_pack")):
        counts = Counter(str(getattr(row, key)) for row in rows if getattr(row, key))
        if len(counts) > 1:
            shown = ", ".join(f"{name}: {count}" for name, count in counts.most_common())
            rare = counts.most_common()[-1][0]
            odd = next(row for row in rows if getattr(row, key) == rare)
            lines.append(
                f"Mixed {what} ({shown}): figures of different ones do not compare, and people of different "
                f"ones are not trained together. {odd.name} (line {odd.line}) has {rare}."
            )
    ends = [row.name for row in rows if row.consent.ends_during_run]
    if ends:
        lines.append(f"Consents that end before the run is over: {_listed(ends)}. Ask for new ones first.")
    soon = [row.name for row in rows if row.consent.ends_soon and not row.consent.ends_during_run]
    if soon:
        lines.append(f"Consents that end soon: {_listed(soon)}.")
    for row in rows:
        own, who = (set(same_name(name).split()) for name in (row.name, row.consent.who))
        if who and not own & who:
            lines.append(f"{row.name} (line {row.line}) has a consent of {row.consent.who}: is it theirs?")
    gone = [row for row in rows if row.standing is Standing.FORGOTTEN]
    if gone:
        numbers = ", ".join(str(row.line) for row in gone[:9])
        lines.append(f"Still on the roster, but forgotten: line {numbers}. Take them off it.")
    return lines


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:9])}{f' and {len(names) - 9} more' if len(names) > 9 else ''}"


def with_dates(row: PersonCheck, wishes: Wishes, seconds: float) -> PersonCheck:
    """The row with what its consent's last day means for this run."""
    left = row.consent.days_left
    if left is None or row.consent.problem:
        return row
    over = (wishes.now + dt.timedelta(seconds=seconds)).date()
    ends = dt.date.fromisoformat(row.consent.until) < over
    state = row.consent.model_copy(update={"ends_soon": left <= wishes.days, "ends_during_run": ends})
    return row.model_copy(update={"consent": state})


def _row(one: Enrolled) -> PersonCheck:
    entry = one.entry
    return PersonCheck(
        person=entry.person,
        name=entry.name,
        line=entry.line,
        standing=Standing.PROBLEM,
        group=entry.group,
        email=entry.email,
        notes=one.notes,
        added=one.added,
        put_aside=one.put_aside,
        is_new=one.is_new,
    )


def _forecast(roster: Roster, home: Path, rows: Sequence[PersonCheck]) -> float:
    """Seconds of all trainings as planned for one device of this machine; 0 where no consent asks for it,
    because planning loads what trains."""
    from portrait_lora import recipe

    if not any(row.consent.until for row in rows):
        return 0.0
    seconds = 0.0
    for row in rows:
        if row.standing is Standing.READY:
            with contextlib.suppress(PortraitError):  # the run says what does not fit
                folder = files.folder(home, row.person)
                seconds += recipe.plan_training(folder, overrides=enrolling.overrides_of(roster)).seconds
    return seconds


def error_record(error: PortraitError) -> ErrorRecord:
    """An error in the words of `--json`."""
    return ErrorRecord(
        what=error.what, where=error.where, got=error.got, needed=error.needed, remedy=error.remedy,
        exit_code=error.exit_code,
    )  # fmt: skip
