"""Trained people by group: likeness and error rates of their portraits, from the reports of a cohort."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from portrait_lora.evaluation.groups import Person
from portrait_lora.synthetic import sample_people
from scripts.evaluate.protocol.truth import labels_of, rates_by_group
from scripts.rows import Row


def rows(folder: Path) -> list[Row]:
    """Of every `person-SEED` of a folder of `scripts.evaluate.cohort` whose journey is finished."""
    reports = {
        int(place.name.removeprefix("person-")): json.loads((place / "reports" / "drift.json").read_text())
        for place in sorted(folder.glob("person-*"))
        if (place / "reports" / "drift.json").is_file()
    }
    if not reports:
        print(f"cohort: nobody has finished in {folder}", flush=True)
        return []
    people = [_person(seed, raw) for seed, raw in reports.items()]
    portraits = sum(len(p.genuine) for p in people)
    flagged = [
        raw["copy_score"] * len(raw["scores"]) for raw in reports.values() if raw["copy_score"] is not None
    ]
    needed = [raw["needed"]["paired_prompts"] for raw in reports.values() if raw.get("needed")]
    table = [Row("trained: portraits flagged as copies", sum(flagged) / portraits, "share", portraits)]
    if needed:
        name = "trained: prompts for a difference of 0.02, median"
        table.append(Row(name, float(np.median(needed)), "prompts", len(needed)))
    return table + [
        Row(f"trained: {r.name}", r.value, r.unit, r.n, ci95=r.ci95) for r in rates_by_group(people)
    ]


def _person(seed: int, raw: dict) -> Person:
    return Person(
        str(seed),
        labels_of(sample_people([seed])),
        tuple(score["similarity"] for score in raw["scores"]),
        raw["threshold"],
        raw["ceiling"],
        raw["impostor"],
        tuple(raw.get("impostor_scores", ())),
    )
