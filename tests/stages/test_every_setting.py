"""Every key of the configuration, changed to another legal value, arrives where it is used.

So it does in the inputs of the stages that depend on it, and in no others.  A new key needs a row here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from portrait_lora.config import LikenessConfig, load, merge
from portrait_lora.dataset.crop import bucket_sizes
from portrait_lora.families import catalog, layout
from portrait_lora.records import PhotoEdit
from tests.stages.arrivals import NOWHERE, Arrivals, arrive

DATA = {"check", "prepare"}
TRAINED = {"train", "select", "score"}
PROBED = {"select", "score"}
DRAWN = {"generate"}
EVERYWHERE = PROBED | DRAWN
"""What draws portraits draws the probes too, which choose the checkpoint."""
PICTURES = ("draw_probe", "draw_portraits", "draw_base")
LIMIT = "it refuses or allows a run, and changes nothing of what comes out"
MEMORY = "how memory is saved does not make another adapter"
COMPANY = "who is trained beside does not make another adapter; see test_together.py"
BRAND = {"generate": {"brand": "framed"}}
FRAMED = {"generate": {"brand": "framed", "reframe": True}}
QUICK = {"generate": {"preset": "hyper-sd15-4"}}
STYLED = {"generate": {"style_adapter": "s.safetensors"}}
KLEIN = {"base": "flux2-klein-4b"}
ORDINARY = {"training": {"identity_weight": 0.0}}
RECOGNISED = {"training": {"identity_weight": 0.1}}
STOPPING = {"training": {"early_stop": True, "checkpoints": 10}}


@dataclass(frozen=True)
class Row:
    """One key: another value, what is found where (`at`: path to value), and whose inputs change.

    `besides` are settings without which the key does nothing; `why` no stage has it among its inputs.
    """

    key: str
    value: Any
    at: Mapping[str, Any]
    stages: set[str] = field(default_factory=set)
    why: str = ""
    besides: Mapping[str, Any] = field(default_factory=dict)


def _rows(section: str, at: str, stages: set[str], **values: Any) -> list[Row]:
    """Keys that arrive under their own name."""
    return [Row(f"{section}.{key}", value, {f"{at}.{key}": value}, stages) for key, value in values.items()]


def _everywhere(value: Any, *paths: str) -> dict[str, Any]:
    return dict.fromkeys(paths, value)


TOP = [
    Row("base", "sdxl", {"choose_means.job.base.name": "sdxl"}, DATA | TRAINED | DRAWN),
    Row("face_pack", "other", {"resolve_pack.name_or_dir": "other"}, DATA | PROBED),
    Row("allow_synthetic_models", True, {"list_photos": NOWHERE}, DATA),
    Row("commercial", True, {"consent.commercial": True}, why=LIMIT),
    Row("seed", 7, _everywhere(7, "train.recipe.seed", "probe_shots.seed"), TRAINED),
    Row("device", "cpu", {"device.preferred": "cpu"}, why="what is found there counts: see `precision`"),
    Row("mixed_precision", "bf16", {"train.recipe.mixed_precision": "bf16"}, TRAINED),
    Row("max_training_hours", 1e-9, {"refused.train": True}, why=LIMIT),
    Row("run", "second", {"train.out_dir.name": "second"}, why="it names the folder of the run"),
    Row("subject.name", "Ada", {"write_check_html.title": "Ada"}, DATA | {"score"}),
    Row(
        "subject.kind", "woman",
        _everywhere("woman", *(f"{n}.subject" for n in ("build", "captioner", "probe_shots", "load_series"))),
        DATA | DRAWN | {"score"},
    ),
    Row(
        "subject.trigger", "zkx",
        _everywhere("zkx", *(f"{n}.trigger" for n in ("build", "captioner", "probe_shots", "load_series"))),
        DATA | DRAWN | {"score"},
    ),
]  # fmt: skip
DATASET = [
    *_rows(
        "dataset.check", "check_folder.settings", DATA, min_face_px=70.0, min_side_px=300, max_blur_px=2.0,
        min_brightness=30.0, max_brightness=200.0, min_highlight=60.0, max_blown_share=0.3,
        max_clipped_share=0.25, min_chroma=4.0, min_border_share=0.02, max_yaw_deg=60.0, max_pitch_deg=30.0,
        max_roll_deg=40.0, max_contrast_stops=3.0, max_lens_evidence=1.0, max_covered_share=0.2,
        several_faces_ratio=0.5, max_megapixels=50.0,
    ),
    *_rows(
        "dataset.curate", "curate.settings", DATA, min_photos=4, few_photos=9, max_photos=20,
        duplicate_frame=0.85, duplicate_face=0.8, duplicate_embedding=0.7, same_person=("a.png",),
        other_person=("b.png",), use_anyway=("c.png",),
    ),
    Row(
        "dataset.edits", ({"file": "a.png", "turn_deg": 90},),
        {"check_folder.edits": {"a.png": PhotoEdit(90)}}, DATA,
    ),
    Row("dataset.captions.captioner", "sidecar", {"captioner.kind": "sidecar"}, DATA),
    *_rows("dataset.captions", "captioner", DATA, model="a/model", words="in a garden"),
    *_rows("dataset", "build", DATA, crops_per_photo=3),
    Row("dataset.aspects", ("1:1", "3:4"), {"build.size_px": bucket_sizes(128, ("1:1", "3:4"))}, DATA),
]  # fmt: skip
TRAINING = [
    *_rows(
        "training", "train.recipe", TRAINED, rank=8, alpha=4.0, targets="attention", learning_rate=2e-4,
        batch_size=2, warmup_steps=3, schedule="cosine", caption_dropout=0.2, snr_gamma=4.0,
        background_weight=0.5, learn_region="head", rank_stabilised=True, dora=True, blocks=("mid_block",),
        optimizer="adamw8bit", ema_decay=0.5, timesteps="uniform", timestep_shift=2.0, prior_weight=0.5,
        text_encoder=0.5,
    ),
    Row("training.warm_start", "w.safetensors", {"train.recipe.start.name": "w.safetensors"}, TRAINED),
    Row("training.identity_weight", 0.1, {"train.recipe.identity_weight": 0.1}, TRAINED),
    Row("training.identity_share", 0.5, {"train.recipe.identity_share": 0.5}, TRAINED, besides=RECOGNISED),
    Row("training.identity_lessons", 9, {"lesson_shots.n": 9}, TRAINED, besides=RECOGNISED),
    Row(
        "training.identity_share", 0.5, {"train.recipe.identity_share": 0.5},
        besides=ORDINARY, why="no step has an identity loss without `identity_weight`",
    ),
    Row("training.adapter", "loha", {"train.recipe.adapter_kind": "loha"}, TRAINED),
    Row("training.exposures_per_photo", 200, {"train.recipe.steps": 50}, TRAINED),
    Row(
        "training.checkpoints", 2,
        _everywhere(2, "choose_means.job.checkpoints", "train.checkpoint_steps.len"), TRAINED,
        besides=ORDINARY,
    ),
    Row(
        "training.early_stop", True, {"until_enough.copy_limit": 0.15}, TRAINED,
        besides={"training": {"checkpoints": 10}},
    ),
    Row("training.previews", True, {"until_enough.stops": False}, why="the probes come earlier"),
    Row("training.references", 0.5, {"estimate.job.recipe.references": 0.5}, TRAINED, besides=KLEIN),
    Row(
        "training.max_references", 3, {"estimate.job.recipe.max_references": 3}, TRAINED,
        besides=KLEIN | {"training": {"references": 0.5}},
    ),
    Row(
        "training.max_references", 3, {"estimate.job.recipe.max_references": 3}, besides=KLEIN,
        why="nothing is shown without `references`",
    ),
    Row("training.prior_pictures", 3, {"choose_means.job.prior": True, "train.prior.len": 3}, TRAINED),
    Row(
        "training.weights", "bfloat16",
        _everywhere("bfloat16", "choose_means.job.weights", "train.family.weights"), TRAINED,
    ),
    Row(
        "training.micro_batch", 2, _everywhere(2, "choose_means.job.micro_batch", "train.micro_batch"),
        why=MEMORY,
    ),
    Row(
        "training.gradient_checkpointing", True,
        _everywhere(True, "choose_means.job.checkpointing", "train.gradient_checkpointing"), why=MEMORY,
    ),
    Row(
        "training.streaming", True,
        _everywhere(True, "choose_means.job.streaming", "train.family.streamed"), why=MEMORY,
    ),
    Row("training.together", 4, {}, why=COMPANY),
    Row("select.probes", 5, {"probe_shots.n": 5}, PROBED),
    Row("select.copy_limit", 0.3, {"choose_checkpoint.copy_limit": 0.3}, PROBED),
    Row("select.copy_limit", 0.3, {"until_enough.copy_limit": 0.3}, TRAINED, besides=STOPPING),
    Row("select.average", True, {"average.times": 1}, PROBED),
    Row("select.step", 25, {"refused.select": True}, PROBED),  # planned, but not there
    Row("score.clip", "a/clip", {"wanted.wanted.clip": "a/clip"}, {"score"}),
]  # fmt: skip


def _drawn(key: str, value: Any, field_name: str, arrives: Any = None, **besides: Any) -> Row:
    """A field of the sampler, of the portraits, of the bare base's and of the probes alike."""
    there = value if arrives is None else arrives
    paths = (f"{kind}.sampler.{field_name}" for kind in PICTURES)
    return Row(f"generate.{key}", value, _everywhere(there, *paths), EVERYWHERE, besides=besides)


GENERATE = [
    *_rows("generate", "load_series", DRAWN, series="avatars", brand="framed", per_shot=3),
    Row(
        "generate.reframe",
        True,
        {"reframed.wanted.limit": 1.25},
        DRAWN,
        besides={"generate": {"brand": "framed"}},
    ),
    Row("generate.reframe_limit", 1.5, {"reframed.wanted.limit": 1.5}, DRAWN, besides=FRAMED),
    Row("generate.best_of", 3, {"best.rounds.len": 3}, DRAWN),
    Row("generate.strict", True, {"refused.generate": True}, DRAWN),
    Row("generate.max_pictures", 1, {"refused.generate": True}, DRAWN),
    Row("generate.price_per_hour", 3.6, {"gallery.facts.-1": "cost 0.001 each at 3.6 per hour"}, DRAWN),
    Row(
        "generate.batch_size",
        3,
        _everywhere(3, "draw_portraits.batch_size", "draw_probe.batch_size"),
        EVERYWHERE,
    ),
    Row(
        "generate.together", 4, {}, why="beside whom is drawn makes no other pictures; test_drawn_together.py"
    ),
    _drawn("scheduler", "euler", "scheduler"),
    _drawn("weights", "bfloat16", "weights"),
    _drawn("num_inference_steps", 7, "steps"),
    _drawn("guidance_scale", 2.5, "guidance_scale"),
    _drawn("unconditional", "adapter", "unconditional"),
    _drawn("identity_scale", 2.0, "identity.scale"),
    _drawn("identity_start", 0.3, "identity.start"),
    _drawn("identity_region", "picture", "identity.region"),
    _drawn("identity_late", 0.7, "identity.late"),
    _drawn("identity_late_scale", 0.5, "identity.late_scale"),
    _drawn("adapter_scale", 0.8, "adapter_scale"),
    _drawn("preset", "hyper-sd15-4", "preset"),
    _drawn("accelerator", "a.safetensors", "accelerator.path", Path("a.safetensors"), **QUICK),
    _drawn("accelerator_scale", 0.5, "accelerator.scale", **QUICK),
    _drawn("style_adapter", "s.safetensors", "style.path", Path("s.safetensors")),
    _drawn("style_scale", 0.3, "style.scale", **STYLED),
    _drawn("style_reference", "look.png", "reference.picture"),
    _drawn("style_reference_adapter", "ip.safetensors", "reference.adapter"),
    _drawn("style_reference_scale", 0.4, "reference.scale"),
    Row("generate.references_until", 0.5, {"draw_portraits.sampler.references_until": 0.5}, DRAWN),
    Row("generate.references", 3, {"choose.count": 3}, DRAWN, besides={"base": "flux2-klein-4b"}),
]
ROWS = [*TOP, *DATASET, *TRAINING, *GENERATE]


def _keys(model: type[BaseModel], before: str = "") -> Iterator[str]:
    """The dotted keys of the schema."""
    for name, own in model.model_fields.items():
        inner = own.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _keys(inner, f"{before}{name}.")
        else:
            yield f"{before}{name}"


def test_every_key_of_the_configuration_has_a_row() -> None:
    assert {row.key for row in ROWS} == set(_keys(LikenessConfig))


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Arrivals:
    """The journey of the configuration as it is."""
    return arrive(tmp_path_factory.mktemp("usual") / "me", load(None))


def _config(*trees: Mapping[str, Any]) -> LikenessConfig:
    return LikenessConfig.model_validate(merge(load(None).model_dump(), *trees))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_a_setting_arrives_where_it_is_used(row: Row, usual: Arrivals, tmp_path: Path) -> None:
    change: Any = row.value
    for name in reversed(row.key.split(".")):
        change = {name: change}
    before = arrive(tmp_path / "before", _config(row.besides)) if row.besides else usual
    after = arrive(tmp_path / "after", _config(row.besides, change))
    for path, value in row.at.items():
        assert after.at(path) == value != before.at(path), path
    stages = before.inputs.keys() | after.inputs.keys()
    assert {s for s in stages if before.inputs.get(s) != after.inputs.get(s)} == row.stages
    assert bool(row.why) == (not row.stages)


def test_the_journey_of_the_usual_settings_goes_through(usual: Arrivals) -> None:
    assert usual.at("refused") == NOWHERE and len(usual.inputs) == 6


def test_what_the_process_remembers_of_a_base_is_true(tmp_path: Path) -> None:
    layout._digest.cache_clear()
    arrive(tmp_path / "me", load(None))
    remembered = catalog.resolve_base("embedded").digest
    layout._digest.cache_clear()
    assert remembered == catalog.resolve_base("embedded").digest
