"""The branded series of a trained person: drawn, looked at, and held against what the brand prescribes.

Whether a portrait shows a word is for the classifiers of `scripts.evaluate.studio.classifiers` to say.  They
err, so the same is measured on renders of the same words, and the one share is set over the other, as
`scripts.evaluate.studio.obedience` does; words that they cannot distinguish count as one and are named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from portrait_lora import manifest, synthetic
from portrait_lora.evaluation.measure import look
from portrait_lora.generation.checklist import Framing
from portrait_lora.likeness import open_likeness
from portrait_lora.records import DriftReport, Portrait
from portrait_lora.stages import framing, series
from portrait_lora.stages.context import Context
from portrait_lora.stages.reports import wanted_of
from portrait_lora.stages.sampling import LATER_KEYS, later
from portrait_lora.vocabulary import Look
from scripts.evaluate.cohort import Member, train_cohort
from scripts.evaluate.studio.adapters import look_of, middle
from scripts.evaluate.studio.attributes import ATTRIBUTES, UNLABELLED, labels
from scripts.evaluate.studio.classifiers import Reader, joined, right
from scripts.evaluate.studio.merging import apart
from scripts.evaluate.studio.network import SIZE_PX
from scripts.evaluate.studio.wanted import SUPERSAMPLE
from scripts.rows import Row

BRAND: Final = "example"
OBEYED: Final = 0.9
TARGETS: Final = ("backdrop", "backdrop colour", "garment colour", "rig", "shot")
"""What the brand fixes and must be obeyed; the others are shown beside."""
SHOWN: Final = (*TARGETS, "garment", "light side", "view", "expression")
RENDERS: Final = 96
_SCENE: Final = {
    "expression": "expression",
    "view": "view",
    "rig": "lighting",
    "backdrop": "backdrop",
    "backdrop colour": "backdrop_colour",
    "garment": "garment",
    "garment colour": "garment_colour",
    "shot": "shot",
}
"""Attributes and what a scene calls them."""
_FIRST_RENDER: Final = 870_000
"""People who trained, calibrated and measured nothing else."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """How one attribute is obeyed: shares right of the portraits and of renders of the same words.

    `apart` is the ratio of both when no words are joined.
    """

    name: str
    drawn: float
    able: float
    apart: float
    n: int

    @property
    def ratio(self) -> float:
        return _over(self.drawn, self.able)


def _over(drawn: float, able: float) -> float:
    return drawn / max(able, 1e-6)


def people(
    count: int, first_seed: int, cohort: Path | None, overrides: Sequence[str] = ()
) -> list[tuple[int, Path]]:
    """(seed, folder) of trained people: of a folder of `train_cohort`, or today's, trained where missing."""
    if cohort is None:
        members: Sequence[Member] = train_cohort(count, first_seed=first_seed, overrides=overrides)
        return [(member.seed, member.folder) for member in members]
    whole = [p.parents[1] for p in sorted(cohort.glob("person-*/reports/run.json"))][:count]
    if not whole:
        raise FileNotFoundError(f"{cohort}: no finished person-*; make them with scripts.evaluate.cohort")
    return [(int(folder.name.split("-")[1]), folder) for folder in whole]


def opened(folder: Path, per_shot: int, overrides: Sequence[str] = ()) -> Context:
    """The likeness, set to its branded series."""
    settings = [f"generate.brand={BRAND}", f"generate.per_shot={per_shot}", *overrides]
    return Context(open_likeness(folder, settings))


def drawn(ctx: Context, k: int = 0) -> list[Portrait]:
    """Candidate `k` of every shot, in a folder of its own per setting; what is there already stays."""
    settings, wanted = ctx.config.generate, framing.target(ctx)
    values = settings.model_dump(mode="json", exclude=LATER_KEYS | {"reframe", "reframe_limit"})
    values |= later(settings) | (wanted.entry if wanted else {})
    setting = manifest.digest(values)
    folder = ctx.likeness.portraits(f"branded-{setting[:10]}-{k}")
    if wanted is None:
        return ctx.draw(ctx.selected, series.candidates(ctx, k), folder)
    portraits = ctx.draw(ctx.selected, series.candidates(ctx, k), folder, framing=wanted.entry)
    framing.reframed(ctx, portraits, wanted)
    return portraits


def reported(ctx: Context, portraits: Sequence[Portrait]) -> DriftReport:
    """Similarity and verification by embedder B, and the copy score."""
    return look(ctx.reporter, wanted_of(ctx, portraits, [])).report


def studio_pictures(looks: Sequence[Look], count: int, seed: int = 0) -> tuple[list[Look], Tensor]:
    """Renders (N, 3, S, S) uint8 of other people in these looks by turns, and what each of them shows."""
    wanted = [looks[i % len(looks)] for i in range(count)]
    words: dict[str, list[str]] = {}
    for attribute in ATTRIBUTES:
        stated = [attribute.of(one) for one in wanted]
        if attribute.name in _SCENE and None not in stated:  # what is left open is drawn at random
            words[_SCENE[attribute.name]] = [str(word) for word in stated]
    seeds = [_FIRST_RENDER + 10_007 * seed + i for i in range(count)]
    scenes = synthetic.sample_scenes(seeds, **words)  # pyright: ignore[reportArgumentType] - words of scenes
    rows = synthetic.sample_people(seeds)
    renders = [
        synthetic.render(rows.take(some), scenes.take(some), SIZE_PX, SUPERSAMPLE)
        for some in torch.arange(count).split(16)
    ]
    return [shown for part in renders for shown in part.looks], torch.cat(
        [part.image_BCHW for part in renders]
    )


def attributes(portraits: Sequence[Portrait], reader: Reader, *, renders: int = RENDERS) -> list[Attribute]:
    """Every attribute of `SHOWN` over all portraits."""
    looks = [look_of(dict(p.shot.layers)) for p in portraits]
    unlike = list(dict.fromkeys(looks))
    shown, pictures = studio_pictures(unlike, max(renders, len(unlike)))
    stated, true = labels(looks), labels(shown)
    answers, read = reader.read(torch.stack([_shown(p) for p in portraits])), reader.read(pictures)
    measured: list[Attribute] = []
    for i, attribute in enumerate(ATTRIBUTES):
        if attribute.name not in SHOWN:
            continue
        shares: list[float] = []
        for groups in (reader.groups[i], apart(len(attribute.words))):
            for chances, wanted in ((answers[i], stated[:, i]), (read[i], true[:, i])):
                shares.append(float(right(chances, wanted, groups).mean()))
        count = int((stated[:, i] != UNLABELLED).sum())
        if count:
            drawn_, able, drawn_apart, able_apart = shares
            measured.append(Attribute(attribute.name, drawn_, able, _over(drawn_apart, able_apart), count))
    return measured


def _shown(portrait: Portrait) -> Tensor:
    with Image.open(portrait.path) as picture:
        return middle(picture)


def merged_words(reader: Reader) -> dict[str, str]:
    """Attribute -> the words that count as one, for people."""
    merged = {a.name: joined(a.words, reader.groups[i]) for i, a in enumerate(ATTRIBUTES)}
    return {name: words for name, words in merged.items() if words and name in SHOWN}


def brand_rows(portraits: Sequence[Portrait], reader: Reader, *, renders: int = RENDERS) -> list[Row]:
    """Per attribute: the ratio with its target, both shares, and the ratio with every word apart."""
    merged = merged_words(reader)
    for name, words in merged.items():
        print(f"{name}: judged as one: {words}", flush=True)
    rows: list[Row] = []
    for attribute in attributes(portraits, reader, renders=renders):
        name = "framing (shot)" if attribute.name == "shot" else attribute.name
        target = OBEYED if attribute.name in TARGETS else None
        rows += [
            Row(f"brand: {name} obeyed", attribute.ratio, "ratio", attribute.n, target),
            Row(f"brand: {name}, right of portraits", attribute.drawn, "share", attribute.n),
            Row(f"brand: {name}, right of renders", attribute.able, "share", renders),
        ]
        if attribute.name in merged:
            rows.append(Row(f"brand: {name} obeyed, every word apart", attribute.apart, "ratio", attribute.n))
    return rows


def framing_rows(seen: Sequence[Framing]) -> list[Row]:
    """How steady the framing is across people."""
    return [
        Row(
            f"framing: std of {name}",
            float(np.std([getattr(f, name) for f in seen])),
            "share",
            len(seen),
            0.03,
            at_most=True,
        )
        for name in ("eye_line", "head_height")
    ]
