"""What a series needs around the drawing: the linter, the question before a large one, best-of-N, checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from portrait_lora import log, manifest, removal, strict_json
from portrait_lora.errors import ArtifactError, ConfigError, InputError
from portrait_lora.results import SelectResult
from portrait_lora.rights.guard import RefusedPicture
from portrait_lora.stages import framing
from portrait_lora.stages.context import Context
from portrait_lora.stages.sampling import steps_and_guidance

if TYPE_CHECKING:
    from portrait_lora.evaluation.similarity import ReferenceSet
    from portrait_lora.generation.checklist import Check
    from portrait_lora.records import Portrait, Shot

_log = log.get(__name__)
CHOICES: Final = "choices.json"
CHECKLIST: Final = "checklist.json"
REFUSED: Final = "refused"
"""Key in the manifest of a series: the shots whose picture the guard's checker refused."""
_GATING: Final = ("one_face", "sharp_eyes", "exposure", "nothing_cut", "framing")
"""Checks that count before likeness when the best of several is picked."""


class TooManyPictures(InputError):
    """A series so large that the user is asked first; `count` pictures."""

    def __init__(self, count: int, limit: int, estimate: str):
        self.count = count
        super().__init__(
            f"this series makes {count:,} pictures, {estimate}",
            where="generate.series",
            got=f"{count:,}",
            needed=f"a yes above {limit:,}",
            remedy=f"Say it with --yes, or with -s generate.max_pictures={count}.",
        )


def ask_first(ctx: Context) -> None:
    """Raise `TooManyPictures`, with an estimate, for more pictures than the configuration lets pass."""
    settings = ctx.config.generate
    count = len(ctx.shots) * settings.best_of
    if count <= settings.max_pictures:
        return
    each = _seconds_each(ctx)
    hours = count * each / 3600
    estimate = f"about {hours:.1f} h at {each:.2f} s each" if each else "for an unknown time"
    if each and settings.price_per_hour is not None:
        estimate += f", costing {hours * settings.price_per_hour:.2f}"
    raise TooManyPictures(count, settings.max_pictures, estimate)


def _seconds_each(ctx: Context) -> float:
    """A portrait's seconds by those of the probes; 0 before there are any."""
    seconds = ctx.journal.seconds("select")
    if not seconds:
        return 0.0
    return seconds / max(1, sum(len(row.values) for row in ctx.journal.result(SelectResult).probes))


def lint_shots(ctx: Context) -> list[str]:
    """One line per remark on the prompts; raises `ConfigError` for any of them when `generate.strict`."""
    from portrait_lora.families.rows import row_of
    from portrait_lora.generation import prompts
    from portrait_lora.generation.compose import counter_of, fit
    from portrait_lora.generation.lint import foreign_syntax, ignored_negative, lint

    known = prompts.known_words(ctx.base)
    counter, limit = counter_of(ctx.base.folder, row_of(ctx.base.family).text)
    first: dict[str, Shot] = {}
    for shot in ctx.shots:
        first.setdefault(shot.prompt, shot)
    if known is not None:
        known |= {ctx.trigger, ctx.config.subject.kind}
    lines: list[str] = []
    for prompt, shot in first.items():
        _, lost = fit(prompt, limit, counter)
        lines += [
            f"{shot.name}: {remark.sentence}"
            for remark in lint(prompt, size_px=shot.size_px, known=known, lost=lost)
        ]
        if remark := foreign_syntax(dict(shot.layers).get("prompt", "")):
            lines.append(f"{shot.name}: {remark.sentence}")
    _, guidance = steps_and_guidance(ctx.config.generate)
    for negative in dict.fromkeys(shot.negative_prompt for shot in ctx.shots):
        lines += [
            remark.sentence
            for remark in (ignored_negative(negative, guidance, ctx.base.family), foreign_syntax(negative))
            if remark
        ]
    if lines and ctx.config.generate.strict:
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        raise ConfigError(f"the linter objects{more}", where=ctx.config.generate.series, got=lines[0])
    for line in lines[:5]:
        _log.warning("%s", line)
    if len(lines) > 5:
        _log.warning("… and %d more remarks; see them with: portrait-lora prompts lint", len(lines) - 5)
    return lines


def holdout_of(ctx: Context) -> ReferenceSet:
    """The held-out photos, seen by embedder A."""
    from portrait_lora.dataset.build import load_dataset_folder
    from portrait_lora.evaluation import similarity

    _, paths = load_dataset_folder(ctx.likeness.dataset)
    return similarity.embed_photos(paths, ctx.finder, min_faces=similarity.MIN_HOLDOUT)[0]


def delivered(ctx: Context) -> list[Portrait]:
    """The portraits of the series as they lie in its sealed folder, whatever made them; nothing is drawn.

    Raises `ArtifactError` when the folder was never finished, or was changed since.
    """
    from portrait_lora.records import Portrait

    folder, settings = ctx.likeness.portraits(ctx.series), ctx.config.generate
    sealed = manifest.verify(folder)
    shots = final_shots(ctx, folder)
    missing = [shot.name for shot in shots if f"{shot.name}.png" not in sealed.files]
    if missing:
        raise ArtifactError(
            "the folder holds another series",
            where=folder,
            got=f"no {missing[0]}.png",
            needed=f"{len(shots)} portraits of {settings.series}",
            remedy="Draw it again: portrait-lora generate --force.",
        )
    steps, guidance_scale = steps_and_guidance(settings)
    return [
        Portrait(
            path=folder / f"{shot.name}.png",
            shot=shot,
            steps=steps,
            guidance_scale=guidance_scale,
            adapter_scale=settings.adapter_scale,
            adapter_digest=None,
        )
        for shot in shots
    ]


def final_shots(ctx: Context, folder: Path) -> list[Shot]:
    """The shots with the seeds that best-of-N chose, when it was asked for.

    Raises `ArtifactError` when the choice was not recorded for every shot.
    """
    sealed = manifest.read(folder)
    refused = cast(Sequence[str], sealed.extra.get(REFUSED, ()) if sealed else ())
    shots = [shot for shot in ctx.shots if shot.name not in refused]
    if ctx.config.generate.best_of == 1:
        return shots
    try:
        chosen: Any = strict_json.load_object(folder / CHOICES, "record of the choice")
        return [replace(shot, seed=int(chosen[shot.name])) for shot in shots]
    except (ArtifactError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            "it is not recorded which seeds best-of-N chose",
            where=folder / CHOICES,
            got=repr(error),
            remedy="Draw the series again: portrait-lora generate --force.",
        ) from error


def candidates(ctx: Context, k: int) -> list[Shot]:
    """The shots of candidate `k`; candidate 0 is the picture itself."""
    from portrait_lora.generation.prompts import candidate_seed

    return [replace(shot, seed=candidate_seed(shot.seed, k)) for shot in ctx.shots]


def best(ctx: Context, rounds: Sequence[Sequence[Portrait]]) -> list[Portrait]:
    """The best of every shot: fewest failed checks, then the highest similarity by embedder A.

    `rounds` holds the portraits of each candidate, in the order of the shots; a shot may lack some.
    """
    holdout = holdout_of(ctx)
    kept: dict[str, tuple[tuple[int, float], Portrait]] = {}
    for portraits in rounds:
        for portrait, rank in zip(portraits, _ranks(ctx, portraits, holdout), strict=True):
            known = kept.get(portrait.shot.name)
            if known is None or rank > known[0]:
                kept[portrait.shot.name] = rank, portrait
    return [kept[shot.name][1] for shot in ctx.shots if shot.name in kept]


def sets(ctx: Context, folder: Path) -> list[tuple[Path, list[Shot]]]:
    """What is drawn for the series in `folder`, and where: the pictures, or every candidate of them aside."""
    count = ctx.config.generate.best_of
    if count == 1:
        return [(folder, ctx.shots)]
    return [(_aside(folder) / str(k), candidates(ctx, k)) for k in range(count)]


def _aside(folder: Path) -> Path:
    return folder.parent / f".{folder.name}-candidates"


def draw_best(ctx: Context, folder: Path, timings: dict[str, float], refused: list[str]) -> list[Portrait]:
    """Draw `best_of` candidates of every shot, keep the best in `folder`, and write down the choice.

    A shot is refused when all its candidates are.
    """
    rounds = [_timed(ctx, shots, place, timings, []) for place, shots in sets(ctx, folder)]
    kept: list[Portrait] = []
    for winner in best(ctx, rounds):
        manifest.make_folder(folder)
        target = folder / f"{winner.shot.name}.png"
        for suffix in (".png", ".json"):
            data = winner.path.with_suffix(suffix).read_bytes()
            manifest.write_bytes_atomic(target.with_suffix(suffix), data)
        kept.append(replace(winner, path=target))
    manifest.write_json_atomic(folder / CHOICES, {p.shot.name: p.shot.seed for p in kept})
    removal.remove_recorded(_aside(folder), owner=folder.parent)
    names = {one.shot.name for one in kept}
    refused += [shot.name for shot in ctx.shots if shot.name not in names]
    return kept


def draw(ctx: Context, folder: Path, timings: dict[str, float], refused: list[str]) -> list[Portrait]:
    """The portraits of the series; `timings` receives the seconds of every picture drawn.

    `refused` receives the shots whose pictures the guard's checker refused; `RefusedPicture` when all were.
    """
    if ctx.config.generate.best_of > 1:
        portraits = draw_best(ctx, folder, timings, refused)
    else:
        portraits = _timed(ctx, ctx.shots, folder, timings, refused)
    if refused and not portraits:
        raise RefusedPicture(
            "every drawn picture was refused, and none is written",
            where=ctx.config.generate.series,
            got=f"{len(refused)} of {len(refused)}",
            remedy="Use other words; what was refused stands in the guard's log.",
        )
    return portraits


def _timed(
    ctx: Context, shots: Sequence[Shot], folder: Path, timings: dict[str, float], refused: list[str]
) -> list[Portrait]:
    def note(portrait: Portrait, seconds: float) -> None:
        timings[portrait.shot.name] = timings.get(portrait.shot.name, 0.0) + seconds

    wanted = framing.target(ctx)
    before = [shot.name for shot in shots if folder / f"{shot.name}.png" in ctx.refused]
    refused += before
    portraits = ctx.draw(
        None if ctx.alone else ctx.selected,
        [shot for shot in shots if shot.name not in before],
        folder,
        force="generate" in ctx.redo,
        on_drawn=note,
        framing=wanted.entry if wanted else None,
        refused=refused,
        references=ctx.references,
    )
    if wanted is not None:
        framing.reframed(ctx, portraits, wanted)
    return portraits


def _ranks(ctx: Context, portraits: Sequence[Portrait], holdout: ReferenceSet) -> list[tuple[int, float]]:
    """(minus failed checks, similarity) of each; larger is better."""
    from portrait_lora.evaluation import similarity
    from portrait_lora.generation.checklist import failures

    checks = check_all(ctx, portraits)
    items = [similarity.PortraitItem.of(p) for p in portraits]
    scores = similarity.score_portraits(items, holdout, ctx.finder)
    return [
        (
            -sum(code in _GATING for code in failures(checks[p.path.name])),
            -1.0 if s.similarity is None else s.similarity,
        )
        for p, s in zip(portraits, scores, strict=True)
    ]


def check_all(ctx: Context, portraits: Sequence[Portrait]) -> dict[str, tuple[Check, ...]]:
    """The checklist of every portrait, by file name."""
    from portrait_lora.evaluation.similarity import read_rgb
    from portrait_lora.generation.brand import load_brand
    from portrait_lora.generation.checklist import check_portrait

    brand = load_brand(ctx.config.generate.brand) if ctx.config.generate.brand else None
    texture = photo_texture(ctx, portraits)
    checks: dict[str, tuple[Check, ...]] = {}
    for portrait in portraits:
        image = read_rgb(portrait.path)
        checks[portrait.path.name] = check_portrait(
            image, ctx.finder.find(image), portrait.shot, photo_texture=texture, brand=brand
        )
    return checks


def photo_texture(ctx: Context, portraits: Sequence[Portrait]) -> float | None:
    """Median skin texture of the held-out photos, reduced to the scale of the portraits."""
    from portrait_lora.dataset.build import load_dataset_folder
    from portrait_lora.evaluation.similarity import read_rgb
    from portrait_lora.faces import quality
    from portrait_lora.generation.checklist import skin_texture

    scales = [s for p in portraits[:4] if (s := _scale(ctx, p)) is not None]
    if not scales:
        return None
    values: list[float] = []
    for path in load_dataset_folder(ctx.likeness.dataset)[1]:
        image = read_rgb(path)
        for face in ctx.finder.find(image)[:1]:
            aligned = quality.aligned_crop(image, np.asarray(face.keypoints_px))
            values.append(skin_texture(aligned, min(1.0, float(np.median(scales)))))
    return float(np.median(values)) if values else None


def _scale(ctx: Context, portrait: Portrait) -> float | None:
    """Pixels of the portrait per pixel of the aligned crop."""
    from portrait_lora.evaluation.similarity import read_rgb
    from portrait_lora.faces import quality

    faces = ctx.finder.find(read_rgb(portrait.path))
    return quality.source_px_per_aligned_px(np.asarray(faces[0].keypoints_px)) if faces else None


def write_checklist(folder: Path, checks: dict[str, tuple[Check, ...]]) -> None:
    """`checklist.json`: file -> checks."""
    value = {name: [asdict(check) for check in results] for name, results in checks.items()}
    manifest.write_json_atomic(folder / CHECKLIST, value)
