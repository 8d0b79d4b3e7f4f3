"""One journey whose expensive ends are recorders: where every setting of a configuration arrives."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np

from portrait_lora import families, manifest
from portrait_lora.config import LikenessConfig
from portrait_lora.dataset import build, captioners, checks, curate, report
from portrait_lora.device import DeviceChoice
from portrait_lora.errors import PortraitError
from portrait_lora.evaluation import checkpoint_choice, similarity
from portrait_lora.evaluation.similarity import ReferenceSet
from portrait_lora.generation import compose, contact_sheet, lint, prompts, reference, sample, series_page
from portrait_lora.likeness import Journal, Likeness
from portrait_lora.records import CaptionedCrop, CuratedSet, Portrait, TrainResult
from portrait_lora.rights import consent
from portrait_lora.stages import (
    STAGES,
    Context,
    averaging,
    check,
    context,
    framing,
    identity,
    limits,
    probing,
    referring,
    reports,
    sampling,
    score,
    select,
    series,
    stopping,
    successor,
    warm_start,
)
from portrait_lora.training import adapter as lora
from portrait_lora.training import preflight, processes, run

NOWHERE = "nowhere"
"""What `at` answers for what was never called."""


@dataclass
class Arrivals:
    """`inputs` of every stage, and the arguments of the last call of every recorder."""

    inputs: dict[str, Mapping[str, str]] = field(default_factory=dict)
    calls: dict[str, dict[str, Any]] = field(default_factory=dict)

    def at(self, path: str) -> Any:
        """`train.recipe.rank`: argument `recipe` of the recorder `train`, and its field `rank`.

        `train.prior.len` is how many there are, `gallery.facts.-1` the last of them.
        """
        value: Any = self.calls
        for name in path.split("."):
            if isinstance(value, dict):
                value = value.get(name, NOWHERE)
            elif isinstance(value, list | tuple) and not hasattr(value, name):
                value = len(value) if name == "len" else value[int(name)]
            else:
                value = getattr(value, name, NOWHERE)
        return value

    def take(self, name: str, bound: inspect.BoundArguments) -> None:
        """Keep the arguments by name, and how often it was called."""
        bound.apply_defaults()
        self.calls[name] = dict(bound.arguments) | {"times": self.calls.get(name, {}).get("times", 0) + 1}


def arrive(root: Path, config: LikenessConfig) -> Arrivals:
    """Every stage in turn; an error ends its stage only, and is kept: `refused.<stage>` is then true."""
    (root / "photos").mkdir(parents=True)
    (root / "photos/1.png").write_bytes(b"a photo")
    arrivals = Arrivals()
    with _recorded(arrivals, root):
        ctx = Context(Likeness(root, config))
        ctx.adapters = [SimpleNamespace(step=1, family="sd15", path=root / "step.safetensors")]  # type: ignore[misc]
        for name, stage in STAGES.items():
            try:
                stage(ctx)
            except PortraitError:
                arrivals.calls.setdefault("refused", {})[name] = True
    return arrivals


@contextmanager
def _recorded(arrivals: Arrivals, root: Path) -> Iterator[None]:
    """Recorders in place of what computes; `answer` None lets the call through."""

    def nothing(*_: Any, **__: Any) -> Any:
        return {}

    with ExitStack() as stack:

        def watch(name: str, owner: Any, what: str, answer: Callable[..., Any] | None = None) -> None:
            real = getattr(owner, what)
            signature = inspect.signature(real)

            def recorder(*args: Any, **named: Any) -> Any:
                bound = signature.bind(*args, **named)
                label = bound.arguments.get("label", "portraits").split(" ")[0] if name == "draw" else ""
                arrivals.take(f"{name}_{label}" if label else name, bound)
                return real(*args, **named) if answer is None else answer(**dict(bound.arguments))

            stack.enter_context(patch.object(owner, what, recorder))

        def stage(self: Context, kind: Any, inputs: Any, whole: Any, work: Any, outputs: Any = None) -> Any:
            del whole, outputs
            arrivals.inputs[kind.STAGE] = dict(inputs)
            self.journal.stages[kind.STAGE] = SimpleNamespace(inputs=dict(inputs), seconds=1.0)  # type: ignore
            return work()

        def result(_: Journal, kind: Any) -> Any:
            del kind
            return SimpleNamespace(checkpoints=(), stopped_early=False, findings=(), probes=())

        stack.enter_context(patch.object(Journal, "result", result))
        stack.enter_context(patch.object(Journal, "record", nothing))
        stack.enter_context(patch.object(Context, "stage", stage))
        crop = CaptionedCrop(root / "1.png", "1.png", "0" * 64, (0, 0, 8, 8), (8, 8), "ohwx person", "ohwx")
        curated = CuratedSet((), (), (), None, None, "A")  # type: ignore[arg-type]
        row = SimpleNamespace(
            step=1, mean=0.5, values=(), face_found_rate=1.0, copy_score=None, refused=0, adherence=None
        )
        watch("resolve_pack", context, "resolve_pack", _pack)
        watch("resolve_base", context.catalog, "resolve_base")
        watch("device", context.device, "choose", _cpu)
        watch("open_family", families, "open_family", lambda **_: SimpleNamespace(load=lambda _: None))
        stack.enter_context(patch("portrait_lora.faces.backends.open_analyzer", lambda *_: None))
        watch("list_photos", check, "list_photos", lambda **_: [])
        watch("check_folder", checks, "check_folder", lambda **_: [None])
        stack.enter_context(patch("portrait_lora.stages.minors.with_ages", lambda reports, _: reports))
        watch("curate", curate, "curate", lambda **_: curated)
        watch("write_check_html", report, "write_check_html", nothing)
        watch("check_result", check, "_result", nothing)
        watch("captioner", captioners, "choose_captioner", nothing)
        watch("build", build, "build_dataset", lambda **_: [])
        stack.enter_context(patch.object(build, "load_dataset_folder", lambda _: ([crop], [])))
        stack.enter_context(patch.object(probing, "load_dataset_folder", lambda _: ([crop], [])))
        stack.enter_context(patch.object(reports, "load_dataset_folder", lambda _: ([crop], [])))
        watch("consent", consent, "require", nothing)
        watch("consent_valid", consent, "require_valid", nothing)
        watch("speed", preflight, "measured_tflops", lambda **_: 100.0)
        watch("choose_means", preflight, "choose_means")
        watch("estimate", limits, "estimate")
        alone = SimpleNamespace(
            is_main_process=True, num_processes=1, main_process_first=nullcontext, free_memory=lambda: None
        )
        watch("accelerator", processes, "open_accelerator", lambda **_: alone)
        named = lambda ctx: Path(ctx.config.training.warm_start) if ctx.config.training.warm_start else None  # noqa: E731
        stack.enter_context(patch.object(warm_start, "_path", named))
        stack.enter_context(patch.object(warm_start, "of", nothing))
        watch("start", warm_start, "start_of", _start)
        watch("train", run, "train", lambda recipe, **_: TrainResult((), recipe.identity_from, 1, 0.5, None))
        watch("lesson_shots", prompts, "lesson_shots", lambda **_: [])
        stack.enter_context(patch.object(identity, "recogniser", nothing))
        stack.enter_context(patch.object(identity.WhenDue, "_adapter", lambda _: None))
        unseen = ReferenceSet(np.zeros((0, 1), np.float32), (), "A", ())
        stack.enter_context(patch.object(similarity, "embed_photos", lambda *_: (unseen, ())))
        watch("until_enough", stopping, "rounds", _train_once)
        watch("weights_file", sampling, "weights_file", lambda named, **_: Path(named))
        watch("reference", reference, "reference_of", SimpleNamespace)
        watch("draw", sample, "generate", _drawn)
        seen = [SimpleNamespace(path=crop.path)]
        stack.enter_context(patch.object(referring, "candidates", lambda *_: seen))
        watch("choose", referring, "choose", lambda **_: (crop.path,))
        # what is there keeps its true digest: digests of bases are remembered by the process
        digest = manifest.sha256_file
        undrawn = lambda path: digest(path) if path.is_file() else "0" * 64  # noqa: E731
        stack.enter_context(patch.object(manifest, "sha256_file", undrawn))
        watch("probe_shots", prompts, "probe_shots")
        stack.enter_context(patch.object(probing, "Probe", lambda *_: SimpleNamespace(score=lambda *_: row)))
        watch("choose_checkpoint", checkpoint_choice, "choose_checkpoint", lambda **_: 1)
        watch("average", averaging, "better_average", lambda chosen, **_: (chosen, None))
        for owner, what in (
            (successor, "keep_foreign"), (lora, "export_diffusers"), (lora, "export_kohya"),
            (select.manifest, "finish"),
        ):  # fmt: skip
            watch(what, owner, what, nothing)
        stack.enter_context(patch.object(Context, "selected", None))
        watch("load_series", prompts, "load_series")
        stack.enter_context(patch.object(compose, "counter_of", lambda *_: (None, None)))
        stack.enter_context(patch.object(compose, "fit", lambda prompt, *_: (prompt, "")))
        watch("lint", lint, "lint", lambda **_: [SimpleNamespace(sentence="a remark")])
        watch("ignored_negative", lint, "ignored_negative", lambda **_: None)
        watch("reframed", framing, "reframed", nothing)
        watch("best", series, "best", lambda rounds, **_: rounds[0][:0])
        watch("check_all", series, "check_all", nothing)
        stack.enter_context(patch.object(contact_sheet, "contact_sheet", lambda *_, **__: "sheet"))
        watch("gallery", series_page, "write_series_page", nothing)
        watch("delivered", series, "delivered", lambda **_: [])
        stack.enter_context(patch.object(score, "run_result", lambda _: SimpleNamespace(json_value=dict)))
        watch("measure", reports, "measure", lambda ctx, **_: _measured(arrivals, ctx))
        stack.enter_context(patch("os.fsync", lambda _: None))
        yield


def _pack(name_or_dir: str, *, quiet: bool = False) -> SimpleNamespace:
    """A face pack by its name alone."""
    return SimpleNamespace(
        name=name_or_dir,
        digest=name_or_dir,
        synthetic=True,
        licence="",
        embedder_ids={"select": "A"},
        threshold=lambda _: 0.5,
        embedder=lambda _: "a.onnx",
        detector="d.onnx",
        path=Path,
    )


def _start(ctx: Context, **_: Any) -> Any:
    """A warm start by the name of its file alone."""
    name = ctx.config.training.warm_start
    return SimpleNamespace(name=name) if name else None


def _cpu(preferred: str, mixed_precision: str) -> DeviceChoice:
    """The same on every machine."""
    del preferred
    return DeviceChoice("cpu", "no" if mixed_precision == "auto" else mixed_precision, "")  # type: ignore[arg-type]


def _train_once(**_: Any) -> stopping.Rounds:
    return stopping.Stopped((yield stopping.Segment(lambda _: False)))


def _drawn(shots: Any, out_dir: Path, on_drawn: Any = None, **_: Any) -> list[Portrait]:
    portraits = [Portrait(out_dir / f"{s.name}.png", s, 1, 1.0, 1.0, None) for s in shots]
    for portrait in portraits if on_drawn else ():
        on_drawn(portrait, 1.0)
    return portraits


def _measured(arrivals: Arrivals, ctx: Context) -> dict[str, object]:
    """What the report is made from, without its figures."""
    arrivals.calls["wanted"] = {"wanted": reports.wanted_of(ctx, [], [])}
    return {}
