"""Who is the subject: findings on photos of somebody else, questions about doubtful ones, and the answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from portrait_lora.dataset.curation import CurateSettings, TooFewPhotos
from portrait_lora.dataset.named import require_named
from portrait_lora.dataset.subject import find_subject, hard_view
from portrait_lora.records import Finding, PhotoReport

_NAMED: Final = 4


def with_finding(report: PhotoReport, finding: Finding) -> PhotoReport:
    """The report with one more finding, before those that could not be checked."""
    checked = [f for f in report.findings if f.severity != "not_checked"]
    unchecked = [f for f in report.findings if f.severity == "not_checked"]
    return replace(report, findings=(*checked, finding, *unchecked))


def used_anyway(report: PhotoReport) -> PhotoReport:
    """The report of a photo that the user takes in spite of it: what is wrong with it stays, as a remark.

    Without a face nothing can be cut from a photo: it stays out.
    """
    if report.face is None:
        return report
    kept = (replace(f, severity="warn") if f.severity == "reject" else f for f in report.findings)
    return replace(report, findings=tuple(kept))


def listed(names: Sequence[str]) -> str:
    """The first names, and an ellipsis for more."""
    return f"{', '.join(names[:_NAMED])}{' …' if len(names) > _NAMED else ''}"


def answered(reports: Sequence[PhotoReport], files: Sequence[str], key: str) -> set[int]:
    """The indices of the photos that the user has named.  Raises InputError for one that is not there."""
    names = {r.photo.path.name: i for i, r in enumerate(reports)}
    require_named(files, list(names), f"dataset.curate.{key}")
    return {names[file] for file in files}


def mark_others(reports: list[PhotoReport], settings: CurateSettings) -> list[PhotoReport]:
    """`other_person` for clear strangers, `doubtful_person` for photos that only the user can judge."""
    same = answered(reports, settings.same_person, "same_person")
    other = answered(reports, settings.other_person, "other_person")
    usable = [i for i, r in enumerate(reports) if r.accepted and r.face is not None]
    faces = [face for i in usable if (face := reports[i].face) is not None]
    if len(usable) < 2 and not other & set(usable):
        return reports
    place = {i: n for n, i in enumerate(usable)}
    subject = find_subject(
        np.stack([f.embedding for f in faces]),
        settings.same_person_similarity,
        hard={n for n, face in enumerate(faces) if hard_view(face)},
        same={place[i] for i in same if i in place},
        other={place[i] for i in other if i in place},
    )
    if subject.tied:
        return _ask_who(reports, [[usable[n] for n in group] for group in subject.rivals], settings)
    marked = list(reports)
    for n, i in enumerate(usable):
        if subject.is_subject[n]:
            continue
        near = listed([reports[usable[j]].photo.path.name for j in subject.nearest[n]])
        measured, limit = float(subject.support[n]), subject.threshold
        if i in other:
            finding = Finding(
                "other_person", "reject", measured, limit, "You said that this is somebody else."
            )
        elif subject.doubtful[n]:
            advice = (
                f"Is this the person of {near}? Add the file to dataset.curate.same_person if so, else to "
                "dataset.curate.other_person. It is left out until then."
            )
            finding = Finding("doubtful_person", "question", measured, limit, advice)
        else:
            advice = (
                f"This does not look like the person in the other photos, not even in {near}. Remove it, or "
                "add it to dataset.curate.same_person if it is."
            )
            finding = Finding("other_person", "reject", measured, limit, advice)
        marked[i] = with_finding(reports[i], finding)
    return marked


def _ask_who(
    reports: list[PhotoReport], rivals: Sequence[Sequence[int]], settings: CurateSettings
) -> list[PhotoReport]:
    """Ends with a question about every photo of people who appear equally often."""
    advice = "Two people appear equally often. If this is the subject, add it to dataset.curate.same_person."
    marked, first = list(reports), [reports[group[0]].photo.path.name for group in rivals]
    for group in rivals:
        for i in group:
            marked[i] = with_finding(reports[i], Finding("doubtful_person", "question", None, None, advice))
    doubt = "two people appear equally often, so the subject is not clear"
    choice = " or ".join(f"'dataset.curate.same_person=[{name}]'" for name in first)
    raise TooFewPhotos(marked, settings, doubt, f"Name a photo of the subject: -s {choice}.")
