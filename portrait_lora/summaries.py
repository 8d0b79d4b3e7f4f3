"""What the stages say, for programs (plain JSON values) and for people (a few lines)."""

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
from portrait_lora.records import CaptionedCrop, CuratedSet, PhotoReport

Summary = dict[str, Any]
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


def check_summary(curated: CuratedSet | None, reports: Sequence[PhotoReport], page: Path) -> Summary:
    """The outcome of the photo check; `curated` is None when too few photos are usable."""
    final = _final(curated, reports)
    rejected = [{"file": r.photo.path.name, "codes": list(r.codes)} for r in final if not r.accepted]
    coverage = curated.coverage if curated else None
    return {
        "photos": {
            "given": len(final),
            "accepted": len(final) - len(rejected),
            "rejected": rejected,
            "held_out": len(curated.holdout) if curated else 0,
        },
        "held_out": [r.photo.path.name for r in curated.holdout] if curated else [],
        "findings": [_findings(r) for r in final],
        "missing": list(coverage.missing) if coverage else [],
        "advice": list(coverage.advice) if coverage else [],
        "enough": curated is not None,
        "report": str(page),
    }


def _final(curated: CuratedSet | None, reports: Sequence[PhotoReport]) -> list[PhotoReport]:
    """Reports with the findings of curation in them, by file name."""
    final = [*curated.kept, *curated.holdout, *curated.rejected] if curated else list(reports)
    return sorted(final, key=lambda r: r.photo.path.name)


def _findings(report: PhotoReport) -> Summary:
    return {
        "file": report.photo.path.name,
        "accepted": report.accepted,
        "findings": [
            {
                "code": f.code,
                "severity": f.severity,
                "measured": f.measured,
                "threshold": f.threshold,
                "advice": f.advice,
            }
            for f in report.findings
            if f.severity != "not_checked"
        ],
        "not_checked": [f.code for f in report.findings if f.severity == "not_checked"],
    }


def prepare_summary(curated: CuratedSet, crops: Sequence[CaptionedCrop]) -> Summary:
    """What the dataset holds."""
    return {
        "crops": len(crops),
        "photos_for_training": len(curated.kept),
        "held_out": [r.photo.path.name for r in curated.holdout],
        "captions": sorted({c.caption for c in crops})[:3],
    }


def of_check(summary: Mapping[str, Any]) -> list[str]:
    """For people: the count, every rejected photo with its advice, and what to add."""
    photos = summary["photos"]
    lines = [
        f"{photos['accepted']} of {photos['given']} photos are usable; {photos['held_out']} are held out."
    ]
    for row in summary["findings"]:
        for finding in row["findings"]:
            if finding["severity"] == "reject":
                lines.append(f"  {row['file']}: {finding['code']}. {finding['advice']}")
    lines += [f"  {advice}" for advice in summary["advice"]]
    return [*lines, f"The page: {summary['report']}"]


def of_prepare(summary: Mapping[str, Any]) -> list[str]:
    """For people."""
    first = f"{summary['crops']} crops of {summary['photos_for_training']} photos"
    return [f"{first}; held out: {', '.join(summary['held_out'])}", f"  e.g. {summary['captions'][0]}"]


def of_plan(summary: Mapping[str, Any]) -> list[str]:
    """For people: what `train --dry-run` found."""
    have = summary["memory_available_gb"]
    whole = f"batch {summary['batch_size']}, {summary['micro_batch']} at a time"
    kept = "computed twice" if summary["gradient_checkpointing"] else "kept"
    lines = [
        f"{summary['steps']} steps of {whole} on {summary['photos']} photos ({summary['base']})",
        f"  device: {summary['device']}, {summary['weights']} weights, activations {kept}",
        f"  why:    {summary['reason']}",
        f"  memory: about {summary['memory_gb']:.1f} GB" + (f" of {have:.0f} GB" if have else ""),
        f"  time:   {duration(summary['seconds'])} for training alone",
        f"  disk:   about {summary['disk_gb']:.2f} GB of {summary['disk_free_gb']:.0f} GB free",
    ]
    if not summary["prepared"]:
        lines.append("  The photos are not prepared yet: rejected and held-out ones are still counted.")
    if summary["fits"]:
        return lines
    lines += [f"  It does not fit: {problem}." for problem in summary["problems"]]
    return [*lines, "  What would:", *(f"    {way}" for way in summary["would_fit"])]


def of_cost(summary: Mapping[str, Any]) -> list[str]:
    """For people: what training would take here, in a line, and what stands in its way."""
    have = summary["memory_available_gb"]
    memory = f"{summary['memory_gb']:.1f} GB of memory" + (f" of {have:.0f}" if have else "")
    first = f"  training here: {duration(summary['seconds'])}, about {memory}"
    if summary["fits"]:
        return [first]
    ways = "; ".join(summary["would_fit"])
    return [first, f"    which is refused: {'; '.join(summary['problems'])}", f"    what would do: {ways}"]


def duration(seconds: float) -> str:
    """`under a minute`, `about 12 minutes`, `about 5 hours`, `about 59 days`."""
    for unit, size, least in (("day", 86400, 2), ("hour", 3600, 2), ("minute", 60, 1)):
        if seconds >= least * size:
            count = round(seconds / size)
            return f"about {count:,} {unit}{'' if count == 1 else 's'}"
    return "under a minute"


def of_train(summary: Mapping[str, Any]) -> list[str]:
    """For people."""
    last = summary["final_loss"]
    loss = "no loss on record" if last is None else f"last loss {last:.4f}"
    table = ", ".join(f"{row['step']}: {row['mean']:.3f}" for row in summary["probes"])
    return [
        f"{summary['steps']} steps, {summary['samples']} samples, {loss}",
        f"kept step {summary['selected_step']} (probe similarity by step: {table})",
        f"the adapter: {summary['adapter']}",
    ]


def of_generate(summary: Mapping[str, Any]) -> list[str]:
    """For people."""
    return [
        f"{summary['portraits']} portraits in {summary['folder']}",
        f"the sheet: {summary['contact_sheet']}",
    ]


def of_likeness(summary: Mapping[str, Any]) -> list[str]:
    """For people: the figures of a `likeness` block."""
    s = summary["likeness"]
    copied = "" if s["copy_score"] is None else f", {s['copy_score']:.0%} too close to a training photo"
    return [
        f"similarity to the held-out photos {s['adapter_mean']:.3f} ({interval(s)})",
        f"  without the adapter {s['base_mean']:.3f} · {against_others(s)}",
        f"  face found in {s['face_found_rate']:.0%} of the portraits, {s['verified_rate']:.0%} verified at "
        f"{s['threshold']:.3f}{copied}",
        *([f"  {s['passing']}"] if s.get("passing") else []),
    ]


def against_others(s: Mapping[str, Any]) -> str:
    """Other people and real photos beside a likeness, and where the figure of other people comes from."""
    real, source = f"real photos {s['ceiling']:.3f}", str(s.get("impostor_source", "gallery"))
    if s["impostor"] is None:
        return f"{real} · other people {source}"
    share = f"{s['share_of_ceiling']:.0%} of the way from others to real photos"
    origin = "" if source.startswith("gallery") else f" ({source.partition(';')[0]})"
    return f"other people {s['impostor']:.3f}{origin} · {real} → {share}"


def interval(likeness: Mapping[str, Any]) -> str:
    """The interval of a `likeness` block, or why there is none."""
    low, high = likeness["ci95"]
    return likeness.get("no_interval") or f"95 % interval {low:.3f} to {high:.3f}"


def of_run(summary: Mapping[str, Any], folder: Path) -> list[str]:
    """For people: the whole journey in a few lines."""
    photos, seconds, training = summary["photos"], summary["seconds"], summary["training"]
    rejected = ", ".join(f"{r['file']} ({', '.join(r['codes'])})" for r in photos["rejected"])
    return [
        f"{photos['accepted']} of {photos['given']} photos used, {photos['held_out']} of them held out",
        *([f"  rejected: {rejected}"] if rejected else []),
        f"{training['steps']} steps on {training['base']}, kept step {training['selected_step']}",
        f"{summary['portraits']} portraits in {folder / 'portraits'}",
        *of_likeness(summary),
        f"{seconds['total']:.0f} s in all; pages in {folder / 'reports'}",
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
        "twice) to full speed; draw: GB of GPU memory.  ~ estimated, never measured here;",
        "? not looked up at its maker's; * the licence has to be accepted on the hub.",
    ]


def of_model(row: Mapping[str, Any], settings: LikenessConfig) -> list[str]:
    """Everything about one base model, for people; `settings` are those of its recipe."""
    open_points = set(row["unverified"])

    def about(value: float | None, key: str) -> str:
        return "not known" if value is None else f"{'about ' if key in open_points else ''}{value:g} GB"

    least, quickest = row["training_memory_gb"]
    training, drawn = settings.training, f"{row['steps']} steps, guidance {row['guidance_scale']:g}"
    learns = f"rank {training.rank}, alpha {training.alpha:g}, learning rate {training.learning_rate:g}"
    seen = f"batch {training.batch_size}, {training.exposures_per_photo} exposures per photo"
    return [
        f"{row['name']}: base model, family {row['family']}, {row['parameters_b']:g} billion parameters",
        f"  train on       {row['repo']}",
        f"  generate with  {row['generate_repo']}",
        f"  licence        {row['licence']}  {row['licence_url']}".rstrip(),
        f"  may be sold?   {row['commercial']}. {row['terms']}",
        f"  log in first?  {'yes, and accept the licence on its page' if row['gated'] else 'no'}",
        f"  download       {about(row['download_gb'], 'download_gb')}",
        f"  GPU memory     from about {least:.0f} GB (nf4 weights, activations computed twice) to "
        f"{quickest:.0f} GB (full speed) to train, "
        f"{about(row['generate_memory_gb'], 'generate_memory_gb')} to generate",
        f"  sampler        {drawn}, {row['resolution_px']} px",
        f"  recipe         configs/{row['recipe']}: {learns}, {seen}",
        f"  not verified   {', '.join(s.replace('_', ' ') for s in row['unverified']) or 'nothing'}"
        + ("" if row["synthetic"] else "; never run with its real weights where this was written"),
    ]
