"""Does the base draw what its prompt says?  Judged by classifiers that learnt from the studio's own pictures.

python -m scripts.evaluate.studio.obedience           24 portraits, a look without targets
python -m scripts.evaluate.studio.obedience --full    the figures of record: 600 portraits
python -m scripts.evaluate.studio.obedience --full --edition 2    the same with the later words and the styles

Every prompt describes in full a picture that the studio could take of somebody unseen, and that
picture is rendered too: what the classifiers get right of the renders is what a base that always obeys would
reach.  Rigs that they cannot distinguish count as one and are named.  Beards and glasses count only where the
prompt names them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from portrait_lora import config, device
from portrait_lora.faces.backends import open_analyzer
from portrait_lora.faces.packs import resolve_pack
from portrait_lora.families import open_family
from portrait_lora.families.catalog import resolve_base
from portrait_lora.generation import prompts, sample
from portrait_lora.records import Shot
from portrait_lora.stages.context import sampler_of
from portrait_lora.vocabulary import BEARDS, GLASSES, VIEWS
from scripts.evaluate.studio import roundtrips
from scripts.evaluate.studio.attributes import ATTRIBUTES, UNLABELLED, labels, prompted
from scripts.evaluate.studio.classifiers import FILE, WORK, Reader, joined, load, right
from scripts.evaluate.studio.merging import apart
from scripts.evaluate.studio.wanted import Wanted, draw_wanted
from scripts.rows import Row, arguments, finish

QUICK: Final = 24
FULL: Final = 600
ACCURACY: Final = 0.95
RATIO: Final = 0.95
DETECTED: Final = 0.99
CASCADE_SLACK: Final = 0.05
"""How much rarer than on renders a cascade of others may find the drawn faces."""
_CASCADE_PX: Final = 192
_JUDGED_FROM: Final = 200
"""Fewer pictures are a look, not a verdict."""
Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Seen:
    """Probabilities per attribute for the drawn portraits, the renders, and these through the autoencoder."""

    drawn: list[Tensor]
    renders: list[Tensor]
    softly: list[Tensor]


def draw_portraits(wanted: Wanted, folder: Path, overrides: Sequence[str], seed: int) -> Tensor:
    """One portrait per prompt by the bare base, (N, 3, H, W) uint8; those already in `folder` are kept."""
    resolved = config.load(None, list(overrides))
    base = resolve_base(resolved.base)
    device.limit_threads()
    family = open_family(base, device.choose(resolved.device, resolved.mixed_precision).device)
    side = base.resolution_px
    shots = [
        Shot(f"{i:04d}", prompt, "", (side, side), prompts.picture_seed(seed, i))
        for i, prompt in enumerate(wanted.prompts)
    ]
    settings = resolved.generate
    portraits = sample.generate(
        family, None, shots, folder, sampler_of(settings), batch_size=settings.batch_size
    )
    arrays = [np.asarray(Image.open(portrait.path).convert("RGB")) for portrait in portraits]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()


def attribute_rows(seen: Seen, wanted: Wanted, reader: Reader, *, judge: bool) -> list[Row]:
    """Per attribute: the classifier on renders, the same through the autoencoder, obeyed, and their ratio."""
    every, stated = labels(wanted.looks), labels([prompted(look) for look in wanted.looks])
    rows: list[Row] = []
    for i, attribute in enumerate(ATTRIBUTES):
        groups, name = reader.groups[i], attribute.name
        if len(groups) < len(attribute.words):
            print(f"{name}: judged as one: {joined(attribute.words, groups)}", flush=True)
            name = f"{name} ({len(groups)} of {len(attribute.words)} words)"
        target = (ACCURACY, RATIO) if judge and attribute.judged else (None, None)
        own, soft = right(seen.renders[i], every[:, i], groups), right(seen.softly[i], every[:, i], groups)
        obeyed, able = (right(part[i], stated[:, i], groups) for part in (seen.drawn, seen.renders))
        if not len(obeyed):
            continue
        ratio = float(obeyed.mean()) / max(float(able.mean()), 1e-6)
        rows += [
            Row(f"classifier: {name}", float(own.mean()), "share", len(own), target[0]),
            Row(f"classifier, autoencoder: {name}", float(soft.mean()), "share", len(soft)),
            Row(f"obeyed: {name}", float(obeyed.mean()), "share", len(obeyed)),
            Row(f"obedience ratio: {name}", ratio, "ratio", len(obeyed), target[1]),
        ]
        if len(groups) < len(attribute.words):
            rows.append(_apart_row(seen, stated[:, i], i))
    return rows


def _apart_row(seen: Seen, stated: Tensor, i: int) -> Row:
    """The ratio of attribute `i` when no words are joined."""
    groups = apart(len(ATTRIBUTES[i].words))
    obeyed, able = (float(right(p[i], stated, groups).mean()) for p in (seen.drawn, seen.renders))
    name = f"obedience ratio: {ATTRIBUTES[i].name}, every word apart"
    return Row(name, obeyed / max(able, 1e-6), "ratio", int((stated != UNLABELLED).sum()))


def unasked_rows(seen: Seen, wanted: Wanted) -> list[Row]:
    """Beards and glasses drawn where the prompt leaves them out, which its captions did not forbid."""
    rows: list[Row] = []
    for name, bare in (("beard", BEARDS[0]), ("glasses", GLASSES[0])):
        i = next(k for k, attribute in enumerate(ATTRIBUTES) if attribute.name == name)
        column = labels(wanted.looks)[:, i]
        silent = (column != UNLABELLED) & (column == ATTRIBUTES[i].words.index(bare))
        if bool(silent.any()):
            share = float((seen.drawn[i][silent].argmax(1) != ATTRIBUTES[i].words.index(bare)).float().mean())
            rows.append(Row(f"{name} drawn unasked", share, "share", int(silent.sum())))
    return rows


def array(picture_CHW: Tensor) -> Picture:
    """(H, W, 3) uint8 of one picture."""
    return np.ascontiguousarray(picture_CHW.permute(1, 2, 0).numpy())


def cascade_detects(pictures: Tensor) -> list[bool]:
    """Whether scikit-image's LBP cascade for frontal faces finds one in each picture (N, 3, H, W) uint8."""
    from skimage.data import lbp_frontal_face_cascade_filename
    from skimage.feature import Cascade

    cascade = Cascade(lbp_frontal_face_cascade_filename())
    side = (_CASCADE_PX, _CASCADE_PX)
    detected: list[bool] = []
    for picture in pictures:
        enlarged = np.asarray(Image.fromarray(array(picture)).resize(side, Image.Resampling.BICUBIC))
        boxes = cascade.detect_multi_scale(
            img=enlarged, scale_factor=1.15, step_ratio=1, min_size=(60, 60), max_size=side
        )
        detected.append(len(boxes) > 0)
    return detected


def face_rows(drawn: Tensor, wanted: Wanted, pack: str, *, judge: bool) -> list[Row]:
    """Faces detected by the pack; frontal ones also by a cascade that knows nothing of the studio."""
    analyzer = open_analyzer(resolve_pack(pack), "report")
    detected = [bool(analyzer.find(array(picture))) for picture in drawn]
    rows = [
        Row(
            "face found by the pack",
            float(np.mean(detected)),
            "share",
            len(detected),
            DETECTED if judge else None,
        )
    ]
    frontal = torch.tensor([look.view == VIEWS[0] for look in wanted.looks])
    try:
        shares = [float(np.mean(cascade_detects(part[frontal]))) for part in (drawn, wanted.renders)]
    except ImportError:
        print("scikit-image is not installed: its cascade is left out (pip install scikit-image)", flush=True)
        return rows
    n = int(frontal.sum())
    return [
        *rows,
        Row("LBP cascade, frontal portraits: face found", shares[0], "share", n),
        Row("LBP cascade, frontal renders: face found", shares[1], "share", n),
        Row(
            "LBP cascade, portraits minus renders",
            shares[0] - shares[1],
            "share",
            n,
            -CASCADE_SLACK if judge else None,
        ),
    ]


def obedience_rows(
    count: int,
    seed: int,
    checkpoint: Path,
    work: Path = WORK,
    overrides: Sequence[str] = (),
    edition: int = 1,
) -> list[Row]:
    """Draw `count` prompts, classify portraits and renders, and set one against the other.

    Portraits are kept in `work` and reused while base and settings stay the same.  Targets are set from 200
    portraits on.  Raises `FileNotFoundError` without the classifiers.
    """
    reader = load(checkpoint)
    wanted = draw_wanted(count, seed, edition=edition)
    folder = f"portraits-{count}-{seed}" + (f"-edition-{edition}" if edition > 1 else "")
    drawn = draw_portraits(wanted, work / folder, overrides, seed)
    resolved = config.load(None, list(overrides))
    soft = roundtrips.through(roundtrips.open_vae(resolved.base), wanted.renders)
    seen = Seen(reader.read(drawn), reader.read(wanted.renders), reader.read(soft))
    judge = count >= _JUDGED_FROM
    return [
        *attribute_rows(seen, wanted, reader, judge=judge),
        *unasked_rows(seen, wanted),
        *face_rows(drawn, wanted, resolved.face_pack, judge=judge),
    ]


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--classifiers", type=Path, default=WORK / FILE, help="of scripts.evaluate.studio.classifiers"
    )
    parser.add_argument("--count", type=int, default=None, help="how many portraits, instead")
    parser.add_argument("--edition", type=int, choices=(1, 2), default=1, help="of the studio's words")
    parser.add_argument("--work", type=Path, default=WORK, help="where portraits are kept")
    parser.add_argument("-s", "--set", action="append", default=[], dest="overrides")
    args = parser.parse_args()
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    count = args.count or (FULL if args.full else QUICK)
    rows = obedience_rows(count, args.seed, args.classifiers, args.work, args.overrides, args.edition)
    sys.exit(finish(rows, args.json))


if __name__ == "__main__":
    main()
