"""One result of every stage, as small as a whole one can be."""

from __future__ import annotations

from portrait_lora.results import (
    AveragedCheckpoints,
    CheckResult,
    CoverageGrid,
    FinishedSeries,
    GenerateResult,
    LikenessFigures,
    PhotoCounts,
    PhotoFinding,
    PhotoVerdict,
    PrepareResult,
    Probe,
    RejectedPhoto,
    ScoreResult,
    SelectResult,
    TrainingResult,
)

CHECKED = CheckResult(
    photos=PhotoCounts(
        given=2, accepted=1, rejected=(RejectedPhoto(file="b.jpg", codes=("blurred",)),), held_out=0
    ),
    held_out=(),
    findings=(
        PhotoVerdict(file="a.jpg", accepted=True, findings=(), not_checked=("covered",)),
        PhotoVerdict(
            file="b.jpg",
            accepted=False,
            findings=(
                PhotoFinding(code="small", severity="warn", measured=150, threshold=160, advice="Closer."),
                PhotoFinding(code="blurred", severity="reject", measured=1.0, threshold=2.5, advice="Again."),
            ),
            not_checked=(),
        ),
    ),
    missing=("left",),
    advice=("Add a photo from the left.",),
    enough=True,
    report="reports/check.html",
    coverage=CoverageGrid(
        yaw_bins=("left", "right"),
        pitch_bins=("level",),
        expression_bins=("neutral", "smiling"),
        cells=(((0, 0),), ((1, 0),)),
        variety={"outfit": (1,), "light": ()},
        appearance_spread=None,
    ),
)
PREPARED = PrepareResult(crops=6, photos_for_training=3, held_out=("b.png",), captions=("a", "b"), advice="c")
TRAINED = TrainingResult(
    base="mine",
    steps=6,
    samples=24,
    final_loss=0.5,
    resumed_from=None,
    checkpoints=("step-000003", "step-000006"),
    stopped_early=False,
    stop_reason="",
)
SELECTED = SelectResult(
    selected_step=3,
    probes=(
        Probe(step=3, mean=0.25, face_found_rate=1.0, values=(0.5, 0.0), copy_score=None, adherence=0.75),
        Probe(step=6, mean=0.2, face_found_rate=0.5, values=(0.4, 0.0), copy_score=0.0, adherence=None),
    ),
    adapter="adapters/main/adapter.safetensors",
    average=AveragedCheckpoints(steps=(6,), kept=False),
    best_step=6,
)
GENERATED = GenerateResult(
    portraits=2,
    folder="portraits/headshots",
    contact_sheet="portraits/headshots/contact_sheet.jpg",
    worst_first="portraits/headshots/worst_first.jpg",
    gallery="reports/series-headshots.html",
    remarks=("frontal-01: no_light",),
    flawed=0,
    seconds_per_portrait=1.5,
    cost_per_portrait=None,
    finished=FinishedSeries(
        look="house",
        sheet="brand house",
        folder="portraits/headshots--house-finished/house",
        page="portraits/headshots--house-finished/house/finished.html",
        pictures=1,
        refused=1,
        before_b=0.5,
        after_b=None,
        seconds=2.5,
    ),
    refused=("rim-01",),
)
FIGURES = LikenessFigures(
    embedder="mine",
    adapter_mean=0.5,
    mean_of_found=0.5,
    ci95=(0.4, 0.6),
    prompts=8,
    no_interval="",
    passing="Nearly all pass.",
    base_mean=0.1,
    ceiling=0.7,
    impostor=0.0,
    impostor_source="gallery of 96 people",
    share_of_ceiling=0.7142857142857143,
    face_found_rate=1.0,
    verified_rate=1.0,
    threshold=0.1,
    copy_score=0.0,
)
SCORED = ScoreResult(likeness=FIGURES, report="reports/drift.html", series="headshots")
ALL = (CHECKED, PREPARED, TRAINED, SELECTED, GENERATED, SCORED)
