"""The text of the drift page: the verdict, the headline numbers, and remarks on single pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from portrait_lora.evaluation.drift import Estimate, estimate, gain_over_base
from portrait_lora.evaluation.protocol import Extras
from portrait_lora.records import DriftReport

NAMES_SHOWN: Final = 5
MIN_PROMPTS: Final = 4
"""Minimum number of prompts for an interval.  With fewer, Student's t makes it uselessly wide: ±12.7 standard
errors with two prompts, 4.3 with three, 3.2 with four."""
TOO_FEW: Final = f"too few prompts for an interval (at least {MIN_PROMPTS})"
NO_PROMPTS: Final = "no prompts named: no interval"


@dataclass(frozen=True, slots=True)
class Wording:
    """The wording: what is known of pictures of a likeness trained here, or of another tool."""

    portraits: str
    real: str
    copied: str
    lede: str
    speaks_of: str
    judges: str


TRAINED_HERE: Final = Wording(
    "This adapter",
    "held-out photos",
    "a training photo",
    "Held out before training: this adapter has not seen them.",
    "this person and this adapter",
    "The models that made and measured these pictures know",
)
REFERENCES_ALONE: Final = replace(
    TRAINED_HERE,
    portraits="References alone",
    copied="a photo that was or could be shown as a reference",
    lede="Held out: the base was never shown them.",
    speaks_of="this person and this base",
)
"""Nothing was trained: the base saw photos of the person while it drew."""
OTHER_TOOL: Final = Wording(
    "Portraits",
    "real photos",
    "a real photo",
    "Real photos of this person. Whether the tool was given some of them is not known.",
    "this person and this tool",
    "The models that measured these pictures know",
)
OTHER_TOOL_TRAINING: Final = replace(
    OTHER_TOOL,
    copied="a photo that the tool was given",
    lede="Real photos that the tool was not given, by what was named as its training photos.",
)
"""The photos that the tool was given were named."""


@dataclass(frozen=True, slots=True)
class Headline:
    """One number and one sentence that explains it."""

    label: str
    value: str
    detail: str
    meaning: str
    kind: str = ""


def interval_missing(report: DriftReport, prompts_known: bool = True) -> str:
    """The reason for a missing interval over prompts; empty when there is one."""
    if not prompts_known:
        return NO_PROMPTS
    return "" if len(report.prompts) >= MIN_PROMPTS else TOO_FEW


def passing(report: DriftReport) -> str:
    """A sentence on how many portraits are verified as this person."""
    total = len(report.scores)
    count = round(report.verified_rate * total)
    share = count / total
    words = "None" if not count else "All" if count == total else f"{count} of {total}"
    grade = (
        "" if not 0 < share < 1 else "Nearly all, " if share >= 0.95 else "Most, " if share > 0.5 else "Only "
    )
    verb = "passes" if words == "None" or count == 1 else "pass"
    return f"{grade}{words} {verb} as this person at the threshold."


def verdict(report: DriftReport, prompts_known: bool = True) -> str:
    """The result in two sentences: share of ceiling, and verification."""
    if report.mean_of_found is None:
        return "No face was found in any portrait: there is no likeness to measure."
    if math.isnan(report.impostor):
        return (
            f"The portraits reach a similarity of {report.mean:.2f}, real photos of this person "
            f"{report.ceiling:.2f}; what other people reach is not known here."
        )
    gap = report.ceiling - report.impostor
    if gap <= 0:
        return (
            "Here real photos of the person are no more alike than other people are: "
            "these photos or this embedder cannot carry a measurement."
        )
    share = report.share_of_ceiling
    if share <= 0.005:
        return f"The portraits are no more like this person than other people are. {passing(report)}"
    text = f"The portraits reach {percent(share)} of the way from other people to real photos of this person"
    if not interval_missing(report, prompts_known):
        text += f" (95\u00a0% interval {_share_interval(report)})"
    return f"{text}. {passing(report)}"


def _share_interval(report: DriftReport) -> str:
    """The interval of the mean converted to the share; ceiling and impostor are taken as exact."""
    gap = report.ceiling - report.impostor
    low, high = ((end - report.impostor) / gap for end in report.ci95)
    return f"{percent(low)} to {percent(high)}"


def headlines(
    report: DriftReport,
    copy_gap: float | None,
    extras: Extras | None,
    words: Wording = TRAINED_HERE,
    prompts_known: bool = True,
) -> list[Headline]:
    """The headline numbers, most important first."""
    missing = interval_missing(report, prompts_known)
    base = estimate(report.base_scores) if report.base_scores else None
    gain = gain_over_base(report.scores, report.base_scores)
    measurable = report.ceiling > report.impostor
    figures = (
        "no face found" if report.mean_of_found is None else f"{report.mean_of_found:.3f} over faces found"
    )
    matched = None if extras is None else extras.ceiling_pose_matched
    return [
        Headline(
            "Similarity",
            f"{report.mean:.3f}",
            f"{missing or _interval(report.ci95)} · {figures}",
            f"Mean cosine of the portraits to the {words.real}; a portrait without a face counts as 0.",
            "adapter",
        ),
        Headline(
            "Share of ceiling",
            percent(report.share_of_ceiling) if measurable else "–",
            "0\u00a0% other people · 100\u00a0% real photos",
            "How far the portraits get from other people's similarity to that of real photos.",
        ),
        *([] if base is None and words is not TRAINED_HERE else [_base_headline(base, gain)]),
        Headline(
            "Ceiling",
            f"{report.ceiling:.3f}",
            f"from {len(report.holdout)} {words.real}"
            + ("" if matched is None else f" · {matched:.3f} at the portraits' angles"),
            f"What real photos of this person reach against the {words.real}, each without itself.",
            "ceiling",
        ),
        Headline(
            "Impostor",
            "–" if math.isnan(report.impostor) else f"{report.impostor:.3f}",
            report.impostor_source,
            f"What other people reach against the same {words.real}: the floor.",
            "impostor",
        ),
        Headline(
            "Face found",
            percent(report.face_found_rate),
            f"{round(report.face_found_rate * len(report.scores))} of {len(report.scores)} portraits",
            "Portraits in which the detector sees a face at all.",
        ),
        Headline(
            "Verified",
            percent(report.verified_rate),
            f"threshold {report.threshold:.3f}, {rate_words(report)}",
            "Portraits that would pass as this person; one without a face does not.",
            "threshold",
        ),
        Headline(
            "Copy score",
            percent(report.copy_score),
            "lower is better" if copy_gap is None else f"similarity gap {copy_gap:+.3f}",
            f"Portraits whose pixels match {words.copied} more than real photos match each other.",
        ),
    ]


def rate_words(report: DriftReport) -> str:
    """The false-match rate of the threshold, or that it is unknown."""
    rate = report.false_match_rate
    return f"false-match rate {rate:g}" if math.isfinite(rate) else "whose false-match rate is not stated"


def _base_headline(base: Estimate | None, gain: Estimate | None) -> Headline:
    meaning = "The same prompts and seeds without the adapter: how much the base model knew already."
    if base is None:
        return Headline("Base model", "–", "not measured", meaning, "base")
    detail = _interval(base.ci95) if base.clusters >= MIN_PROMPTS else TOO_FEW
    if gain is not None and gain.clusters >= MIN_PROMPTS:
        detail = f"gain {gain.mean:+.3f} ({gain.ci95[0]:+.3f} to {gain.ci95[1]:+.3f})"
    return Headline("Base model", f"{base.mean:.3f}", detail, meaning, "base")


def set_facts(extras: Extras) -> dict[str, str]:
    """The set as a whole: prompt adherence, diversity, paraphrases, and the number of portraits needed."""
    facts: dict[str, str] = {}
    if extras.adherence is not None:
        facts["View and expression as asked"] = percent(extras.adherence)
    if extras.attributes:
        rows = [f"{row.attribute} {percent(row.rate)} of {row.asked}" for row in extras.attributes]
        facts["As asked, by attribute"] = ", ".join(rows)
    if extras.clip is not None:
        clip = extras.clip
        facts["Prompts by CLIP"] = (
            f"cosine {clip.mean_cosine:.3f}; own prompt nearest in {percent(clip.nearest_rate)}, "
            f"by chance {percent(clip.chance)} ({clip.model})"
        )
    if extras.diversity is not None:
        real = (
            "" if extras.diversity_of_photos is None else f" (real photos {extras.diversity_of_photos:.2f})"
        )
        facts["Diversity"] = f"{extras.diversity:.2f}{real}"
    if extras.paraphrases is not None:
        p = extras.paraphrases
        facts["Drift over paraphrases"] = (
            f"{p.sd:.3f} between wordings; widest {p.widest:.3f} ({p.widest_meaning})"
            if math.isfinite(p.sd)
            else f"widest {p.widest:.3f} ({p.widest_meaning})"
        )
    if extras.needed is not None:
        n = extras.needed
        facts[f"To see a difference of {n.difference:g}"] = (
            f"{n.paired_prompts} prompts × {n.per_prompt} on the same prompts, {n.prompts} on others"
        )
    return facts


def remarks(extras: Extras) -> list[str]:
    """Remarks on single pictures, and how they were counted."""
    lines: list[str] = []
    if extras.copies is not None and extras.copies.copied:
        pairs = [f"{name} ({photo})" for name, photo in extras.copies.copied]
        lines.append(f"Copies of a real photo: {named(pairs)}.")
    for names, text in (
        (extras.unreadable, "cannot be read and counts as a portrait without a face"),
        (extras.several_faces, "shows several faces; the largest was scored"),
        (extras.tiny_faces, "has a face too small to be judged well; it counts as scored"),
    ):
        if names:
            lines.append(f"{named(names)}: {text}.")
    if extras.repeated:
        pairs = [f"{later} ({earlier})" for later, earlier in extras.repeated]
        lines.append(
            f"The same picture again, so the interval is too narrow or it was left out: {named(pairs)}."
        )
    return lines


def named(names: Sequence[str]) -> str:
    """The first few names and the number of others."""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def _interval(ends: tuple[float, float]) -> str:
    return f"95\u00a0% CI {ends[0]:.3f} to {ends[1]:.3f}"


def percent(share: float) -> str:
    """Whole percent; a dash for what was not measured."""
    return f"{share * 100:.0f}\u00a0%" if math.isfinite(share) else "–"
