"""What the stages say to people, in a few lines, and what ran them."""

from __future__ import annotations

import math
import platform
import resource
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from portrait_lora import __version__
from portrait_lora.config import LikenessConfig
from portrait_lora.results import (
    CheckResult,
    FinishedSeries,
    GenerateResult,
    LikenessFigures,
    PrepareResult,
    RunResult,
    SelectResult,
    Showcase,
    Tier,
    TrainingPlan,
    TrainingResult,
)

PACKAGES = (
    "torch",
    "diffusers",
    "peft",
    "accelerate",
    "transformers",
    "datasets",
    "insightface",
    "onnxruntime",
)


def versions() -> dict[str, str]:
    """This program, Python and the packages that decide the result."""
    packages = {name: _version(name) for name in PACKAGES}
    return {"portrait_lora": __version__, "python": platform.python_version(), **packages}


def _version(package: str) -> str:
    """What is said at the end of hours of work must not fail for a package that was not needed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def peak_memory_mb() -> int:
    """The largest resident size this process has had, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 if sys.platform != "darwin" else 1024 * 1024))


def of_check(result: CheckResult) -> list[str]:
    """For people: the count, every rejected photo with its advice, and what to add."""
    photos = result.photos
    lines = [f"{photos.accepted} of {photos.given} photos are usable; {photos.held_out} are held out."]
    for verdict in result.findings:
        for finding in verdict.findings:
            if finding.severity in ("reject", "question"):
                lines.append(f"  {verdict.file}: {finding.code}. {finding.advice}")
    lines += [f"  {advice}" for advice in result.advice]
    return [*lines, f"The page: {result.report}"]


def of_prepare(result: PrepareResult) -> list[str]:
    """For people."""
    first = f"{result.crops} crops of {result.photos_for_training} photos"
    lines = [f"{first}; held out: {', '.join(result.held_out)}", f"  e.g. {result.captions[0]}"]
    return [*lines, f"  {result.advice}"] if result.advice else lines


def of_plan(plan: TrainingPlan) -> list[str]:
    """For people: what `train --dry-run` found."""
    have = plan.memory_available_gb
    whole = f"batch {plan.batch_size}, {plan.micro_batch} at a time"
    kept = activations(plan.computed_twice)
    held = f"{plan.weights} weights{', streamed' if plan.streamed else ''}"
    lines = [
        f"{plan.steps} steps of {whole} on {plan.photos} photos ({plan.base})",
        f"  device: {plan.device}, {held}, activations {kept}",
        f"  why:    {plan.reason}",
        f"  memory: about {plan.memory_gb:.1f} GB" + (f" of {have:.0f} GB" if have else ""),
        f"  time:   {duration(plan.seconds)} for training alone",
        f"  disk:   about {plan.disk_gb:.2f} GB of {plan.disk_free_gb:.0f} GB free",
    ]
    if not plan.prepared:
        lines.append("  The photos are not prepared yet: rejected and held-out ones are still counted.")
    lines += of_tiers(plan.tiers)
    if plan.fits:
        return lines
    lines += [f"  It does not fit: {problem}." for problem in plan.problems]
    return [*lines, "  What would:", *(f"    {way}" for way in plan.would_fit)]


def of_tiers(tiers: Sequence[Tier]) -> list[str]:
    """The same training on cards of other sizes, a line each."""
    if not tiers:
        return []
    lines = ["  on GPUs:  base held as         activations          at a time  memory   drawing"]
    for tier in tiers:
        held = f"{tier.weights}{', streamed' if tier.streamed else ''}"
        needs = f"{tier.memory_gb:.1f} GB" + ("" if tier.fits else ", too much")
        twice = activations(tier.computed_twice)
        cells = f"{held:<20} {twice:<20} {tier.micro_batch:<10} {needs:<8} {drawing(tier)}"
        lines.append(f"  {tier.card_gb:>5} GB  {cells}")
    return lines


def drawing(tier: Tier) -> str:
    """Where the layers of a pipeline are kept that draws on such a card, and how the denoiser could stay."""
    return tier.generating.replace("_", " ") + (f", or {tier.stays_in}" if tier.stays_in else "")


def activations(computed_twice: float) -> str:
    """What becomes of activations of which this share is computed twice: `kept`, `25 % computed twice`."""
    if not computed_twice:
        return "kept"
    return (
        "computed twice" if computed_twice >= 1 else f"{computed_twice:.0%} computed twice".replace("%", " %")
    )


def of_cost(plan: TrainingPlan) -> list[str]:
    """For people: what training would take here, in a line, and what stands in its way."""
    have = plan.memory_available_gb
    memory = f"{plan.memory_gb:.1f} GB of memory" + (f" of {have:.0f}" if have else "")
    first = f"  training here: {duration(plan.seconds)}, about {memory}"
    if plan.fits:
        return [first]
    ways = "; ".join(plan.would_fit)
    return [first, f"    which is refused: {'; '.join(plan.problems)}", f"    what would do: {ways}"]


def duration(seconds: float) -> str:
    """`under a minute`, `about 12 minutes`, `about 5 hours`, `about 59 days`."""
    for unit, size, least in (("day", 86400, 2), ("hour", 3600, 2), ("minute", 60, 1)):
        if seconds >= least * size:
            count = round(seconds / size)
            return f"about {count:,} {unit}{'' if count == 1 else 's'}"
    return "under a minute"


def of_train(training: TrainingResult, selection: SelectResult) -> list[str]:
    """For people."""
    last = training.final_loss
    loss = "no loss on record" if last is None else f"last loss {last:.4f}"
    most = max((len(row.values) for row in selection.probes), default=0)
    table = ", ".join(
        f"{row.step}: {row.mean:.3f}" + (f" of {n} probes" if (n := len(row.values)) < most else "")
        for row in selection.probes
    )
    refused = sum(row.refused for row in selection.probes)
    by_hand = "" if selection.best_step is None else f", chosen by hand (probes: {selection.best_step})"
    return [
        f"{training.steps} steps, {training.samples} samples, {loss}",
        f"kept step {selection.selected_step}{by_hand} (probe similarity by step: {table})",
        *([f"{refused} probe portraits refused by the guard: counted as without a face"] if refused else []),
        f"the adapter: {selection.adapter}",
    ]


def of_generate(result: GenerateResult) -> list[str]:
    """For people: where the portraits lie, and what is to be looked at in them."""
    each, cost = result.seconds_per_portrait, result.cost_per_portrait
    lines = [
        f"{result.portraits} portraits in {result.folder}",
        f"the sheet: {result.contact_sheet}",
    ]
    lines += [f"gallery, worst first: {result.gallery}"] if result.gallery else []
    lines += [f"{result.flawed} portraits fail a check"] if result.flawed else []
    if result.refused:
        lines.append(f"{len(result.refused)} refused by the guard, not written: {', '.join(result.refused)}")
    lines += [f"{each} s per portrait" + (f", cost {cost:g}" if cost is not None else "")] if each else []
    lines += of_finished(result.finished) if result.finished else []
    return lines + ([f"{len(result.remarks)} remarks on the prompts"] if result.remarks else [])


def of_finished(done: FinishedSeries) -> list[str]:
    """For people: what became of the series by the look of a sheet."""
    refused = f", {done.refused} refused" if done.refused else ""
    before, after = done.before_b, done.after_b
    likeness = (
        "" if before is None or after is None else f"; similarity {before:.3f} before, {after:.3f} after"
    )
    return [
        f"finished by {done.look} ({done.sheet}): {done.pictures} in {done.folder}{refused}{likeness}",
        f"before and after: {done.page}",
    ]


def of_showcase(shown: Showcase) -> list[str]:
    """For people: the demo's finished picture."""
    width, height = shown.size_px
    return [
        f"finished picture, {width} x {height} px: {shown.picture}",
        f"portrait, cut-out, backdrop, finished: {shown.sheet}",
    ]


def of_likeness(
    figures: LikenessFigures, *, reference: str = "held-out photos", copied: str = "training photo"
) -> list[str]:
    """For people: the figures of a likeness to the `reference`; nothing is said of what was not measured.

    `copied` is what a portrait that comes too close is close to.
    """
    score, base = figures.copy_score, figures.base_mean
    close = "" if score is None else f", {score:.0%} too close to a {copied}"
    bare = "" if base is None else f"without the adapter {base:.3f} · "
    return [
        f"similarity to the {reference} {figures.adapter_mean:.3f} ({interval(figures)})",
        f"  {bare}{against_others(figures)}",
        f"  face found in {figures.face_found_rate:.0%} of the portraits, {figures.verified_rate:.0%} "
        f"verified at {figures.threshold:.3f}{close}",
        *([f"  {figures.passing}"] if figures.passing else []),
    ]


def against_others(figures: LikenessFigures) -> str:
    """Other people and real photos beside a likeness, and where the figure of other people comes from."""
    real, source = f"real photos {figures.ceiling:.3f}", figures.impostor_source
    if figures.impostor is None:
        return f"{real} · other people {source}"
    share = ""
    if figures.share_of_ceiling is not None:
        share = f" → {figures.share_of_ceiling:.0%} of the way from others to real photos"
    origin = "" if source.startswith("gallery") else f" ({source.partition(';')[0]})"
    return f"other people {figures.impostor:.3f}{origin} · {real}{share}"


def interval(figures: LikenessFigures) -> str:
    """The interval of a likeness, or why there is none."""
    low, high = figures.ci95
    return figures.no_interval or f"95 % interval {low:.3f} to {high:.3f}"


def of_run(result: RunResult, folder: Path) -> list[str]:
    """For people: the whole journey in a few lines."""
    photos, training = result.photos, result.training
    rejected = ", ".join(f"{r.file} ({', '.join(r.codes)})" for r in photos.rejected)
    return [
        f"{photos.accepted} of {photos.given} photos used, {photos.held_out} of them held out",
        *([f"  rejected: {rejected}"] if rejected else []),
        *([f"  left out until you answer: {', '.join(photos.questioned)}"] if photos.questioned else []),
        f"{training.steps} steps on {training.base}, kept step {training.selected_step}",
        f"{result.portraits} portraits in {folder / 'portraits'}",
        *of_likeness(result.likeness),
        *(of_finished(result.finished) if result.finished else []),
        *(of_showcase(result.showcase) if result.showcase else []),
        f"{result.seconds.total:.0f} s in all; pages in {folder / 'reports'}",
    ]


def of_models(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table of the base models; estimates carry a tilde, repositories that ask for a login a star."""

    def about(r: Mapping[str, Any], key: str) -> str:
        tilde = "~" if key in r["unverified"] else ""
        return "-" if r[key] is None else f"{tilde}{r[key]:.0f}"

    def trained(r: Mapping[str, Any]) -> str:
        least, quickest = r["training_memory_gb"]
        return f"{math.ceil(least)}-{math.ceil(quickest)}" if quickest > 2 else f"{quickest:.0f}"

    def licence(r: Mapping[str, Any]) -> str:
        return f"{r['licence']}{'?' if 'licence' in r['unverified'] else ''}{' *' if r['gated'] else ''}"

    return [
        f"{'base':<20} {'px':>5} {'GB':>5} {'train':>7} {'draw':>6}  {'sell?':<12} licence",
        *(
            f"{r['name']:<20} {r['resolution_px']:>5} {about(r, 'download_gb'):>5} "
            f"{trained(r):>7} {about(r, 'generate_memory_gb'):>6}  {r['commercial']:<12} "
            f"{licence(r)}"
            for r in rows
        ),
        "GB: to download; train: GB of GPU memory, from the least (nf4 weights, activations computed",
        "twice) to full speed; draw: GB with all of it there.  ~ estimated, never measured here;",
        "? not looked up at its maker's; * the licence has to be accepted on the hub.",
    ]


def of_model(row: Mapping[str, Any], settings: LikenessConfig) -> list[str]:
    """Everything about one base model, for people; `settings` are those of its recipe."""
    open_points = set(row["unverified"])

    def about(value: float | None, key: str) -> str:
        return "not known" if value is None else f"{'about ' if key in open_points else ''}{value:g} GB"

    pages = f"its page and on that of {row['text_repo']}" if row["text_repo"] else "its page"
    least, quickest = row["training_memory_gb"]
    training, drawn = settings.training, f"{row['steps']} steps, guidance {row['guidance_scale']:g}"
    learns = f"rank {training.rank}, alpha {training.alpha:g}, learning rate {training.learning_rate:g}"
    seen = f"batch {training.batch_size}, {training.exposures_per_photo} exposures per photo"
    if training.identity_weight:
        seen += f", identity loss in the last {training.identity_share:.0%} of the steps"
    return [
        f"{row['name']}: base model, family {row['family']}, {row['parameters_b']:g} billion parameters",
        f"  train on       {row['repo']}",
        f"  generate with  {row['generate_repo']}",
        *([f"  reads with     {row['text_repo']}"] if row["text_repo"] else []),
        f"  licence        {row['licence']}  {row['licence_url']}".rstrip(),
        f"  may be sold?   {row['commercial']}. {row['terms']}",
        f"  log in first?  {f'yes, and accept the licence on {pages}' if row['gated'] else 'no'}",
        f"  download       {about(row['download_gb'], 'download_gb')}",
        f"  GPU memory     from about {least:.0f} GB (nf4 weights, activations computed twice) to "
        f"{quickest:.0f} GB (full speed) to train, "
        f"{about(row['generate_memory_gb'], 'generate_memory_gb')} to generate",
        f"  sampler        {drawn}, {row['resolution_px']} px",
        f"  recipe         configs/{row['recipe']}: {learns}, {seen}",
        f"  not verified   {', '.join(s.replace('_', ' ') for s in row['unverified']) or 'nothing'}"
        + ("" if row["synthetic"] else "; never run with its real weights where this was written"),
    ]
