"""Settings of the sampler side by side, on the branded series of trained people.

python -m scripts.evaluate.compare_sampling --cohort work/cohort/KEY --people 2
python -m scripts.evaluate.compare_sampling --people 4 \\
    --try "head=generate.identity_region=head" --try "usual="

A setting is `NAME=KEY=VALUE KEY=VALUE ...`; without `--try` the usual ones are taken.  Per setting:
similarity by A and B, portraits that fail verification, copies, and the share of portraits that the
classifiers find as the brand says, over the same share of renders.  What is drawn stays, so a setting more
costs only itself.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from portrait_lora import manifest
from portrait_lora.evaluation import similarity
from portrait_lora.records import Portrait
from portrait_lora.stages.context import Context
from portrait_lora.stages.series import holdout_of
from scripts.evaluate import branded
from scripts.evaluate.cohort import FIRST_SEED
from scripts.evaluate.studio.classifiers import FILE, WORK, Reader, load

HEAD: Final = "generate.identity_region=head"
USUAL: Final[dict[str, tuple[str, ...]]] = {
    "as configured": (),
    "head": (HEAD,),
    "head, adapter 1": (HEAD, "generate.adapter_scale=1.0"),
    "head, adapter 1, from 0.2": (HEAD, "generate.adapter_scale=1.0", "generate.identity_start=0.2"),
    "adapter from 0.2": ("generate.identity_start=0.2",),
    "prompt 5, person 3": ("generate.guidance_scale=5", "generate.identity_scale=3"),
}


def setting(text: str) -> tuple[str, tuple[str, ...]]:
    """(name, overrides) of `NAME=KEY=VALUE KEY=VALUE`."""
    name, sep, rest = text.partition("=")
    if not sep:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=KEY=VALUE ...")
    return name.strip(), tuple(rest.split())


def measured(
    folders: Sequence[Path], overrides: Sequence[str], reader: Reader, per_shot: int
) -> dict[str, float]:
    """The columns of one setting."""
    people = [branded.opened(folder, per_shot, overrides) for folder in folders]
    portraits = [branded.drawn(ctx) for ctx in people]
    reports = [branded.reported(ctx, some) for ctx, some in zip(people, portraits, strict=True)]
    figures = {
        "A": float(np.mean([_by_a(ctx, some) for ctx, some in zip(people, portraits, strict=True)])),
        "B": float(np.mean([report.mean for report in reports])),
        "fail": 1 - float(np.mean([report.verified_rate for report in reports])),
        "copy": float(np.mean([report.copy_score for report in reports])),
    }
    shown = branded.attributes([p for some in portraits for p in some], reader)
    return figures | {attribute.name: attribute.ratio for attribute in shown}


def _by_a(ctx: Context, portraits: Sequence[Portrait]) -> float:
    items = [similarity.PortraitItem.of(p) for p in portraits]
    scores = similarity.score_portraits(items, holdout_of(ctx), ctx.finder)
    return float(np.mean([0.0 if s.similarity is None else s.similarity for s in scores]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=2)
    parser.add_argument("--per-shot", type=int, default=1, help="pictures of each of the eight shots")
    parser.add_argument("--cohort", type=Path, default=None, help="a folder of trained people (person-*)")
    parser.add_argument("--classifiers", type=Path, default=WORK / FILE)
    parser.add_argument("--try", type=setting, action="append", dest="settings", metavar="NAME=KEY=VALUE ...")
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    reader = load(args.classifiers)
    folders = [folder for _, folder in branded.people(args.people, FIRST_SEED, args.cohort)]
    for name, words in branded.merged_words(reader).items():
        print(f"{name}: judged as one: {words}", flush=True)
    table: dict[str, dict[str, float]] = {}
    for name, overrides in dict(args.settings or USUAL.items()).items():
        table[name] = measured(folders, overrides, reader, args.per_shot)
        if len(table) == 1:
            print(" " * 28 + " ".join(f"{key[:8]:>8}" for key in table[name]), flush=True)
        print(f"{name:<28}" + " ".join(f"{value:8.3f}" for value in table[name].values()), flush=True)
        if args.json is not None:
            manifest.write_json_atomic(args.json, table)


if __name__ == "__main__":
    main()
