"""Training beside a finished adapter: the old one stays whole and in use until its successor is whole.

A run whose folder holds an adapter, or a training of other photos or settings, is trained in a hidden
sibling `.<run>-<digest of its inputs>`, resumed there after a stop, and put in place after selection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, cast

from portrait_lora import log, manifest, removal, replacing, strict_json
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.records import Adapter
from portrait_lora.stages.context import ADAPTER, ADAPTER_COMFY, Context

INPUTS: Final = "inputs.json"
SETTINGS: Final = "settings.json"
RUN_FILES: Final = (
    INPUTS,
    SETTINGS,
    "metrics.jsonl",
    "metrics.tmp",
    "selection.json",
    "previews.json",
    "cache/latents-*.safetensors",
    "cache/prompt-*.safetensors",
    "cache/reference-*.safetensors",
    "checkpoints/step-*/state.json",
    "checkpoints/step-*/optimizer.safetensors",
)
"""What only this program writes into the folder of a run; adapters are known by their manifest."""
_AS_USED: Final = {"weights", "prior_weight"}
"""Numbers of a checkpoint that may differ from what was configured."""
_DIGITS: Final = 16
_log = log.get(__name__)


def beside(ctx: Context, inputs: Mapping[str, str]) -> Path:
    """Where the successor of a run is trained from these inputs."""
    run = ctx.likeness.adapters
    return run.with_name(f".{run.name}-{manifest.digest(dict(inputs))[:_DIGITS]}")


def recorded_inputs(folder: Path) -> dict[str, str]:
    """The inputs that the training in a run folder was begun with; empty without any."""
    inputs = {k: str(v) for k, v in _read(folder / INPUTS).items()}
    if "precision" in inputs:  # one process per GPU once wrote the number of its own
        inputs["precision"] = re.sub(r"^(\w+):\d+", r"\1", inputs["precision"])
    return inputs


def place(ctx: Context, inputs: Mapping[str, str]) -> None:
    """Decide where to train: `ctx.run_folder` is the run's own folder or one beside it.

    A command that is for something else than training gets an `InputError` here when the adapter would have
    to be trained anew.
    """
    folder = ctx.likeness.adapters
    if folder.parent.is_dir():
        replacing.clean_leftovers(folder.parent)
    if not ctx.trains:
        refuse_other_training(ctx, inputs)
        return
    same, successor = recorded_inputs(folder) == dict(inputs), beside(ctx, inputs)
    if not successor.is_dir() and (not _holds_something(folder) or (same and "train" not in ctx.redo)):
        return
    if not same and not successor.is_dir():
        changed = "; ".join(differences(ctx, inputs)) or "no training of ours lies there"
        _log.warning("%s stays until its successor is whole: %s", folder, changed)
    ctx.run_folder = successor
    ctx.journal.hold()


def refuse_other_training(ctx: Context, inputs: Mapping[str, str]) -> None:
    """Raise `InputError` when portraits are wanted of an adapter that was trained from something else.

    `inputs` may be a part of them.  On which device it was trained does not matter any more.
    """
    folder = ctx.likeness.adapters
    if not _holds_something(folder):
        return
    recorded = recorded_inputs(folder)
    over = {"precision"} if (folder / ADAPTER).is_file() else set[str]()
    if any(recorded.get(k) != v for k, v in inputs.items() if k not in over):
        foreign = not recorded
        raise InputError(
            "this adapter was not trained here" if foreign else "the adapter here was trained differently",
            where=folder,
            got=folder / ADAPTER if foreign else "; ".join(differences(ctx, inputs)),
            needed="the adapter of these photos and settings",
            remedy="Run `portrait-lora train`, which keeps this one until the new one is whole, name another "
            "run (-s run=NAME), or "
            + ("move the file elsewhere." if foreign else "go back to the settings it was trained with."),
        )


def as_trained(ctx: Context, inputs: Mapping[str, str]) -> dict[str, str]:
    """The inputs of the train stage; drawing takes a finished adapter as it was trained.

    Neither the device nor where training would be stopped now makes it another.
    """
    if ctx.trains or not (ctx.likeness.adapters / ADAPTER).is_file():
        return dict(inputs)
    before = ctx.journal.inputs("train")
    core = {k: v for k, v in inputs.items() if k not in ("precision", "stop")}
    if core.items() <= before.items():
        return before
    return {
        **inputs,
        "precision": recorded_inputs(ctx.likeness.adapters).get("precision", inputs["precision"]),
    }


def refuse_to_train(ctx: Context, *, complete: bool) -> None:
    """Raise `InputError` when drawing would have to go on training an adapter that is there."""
    if not ctx.trains and not complete and (ctx.likeness.adapters / ADAPTER).is_file():
        raise InputError(
            "checkpoints of this adapter are missing or damaged",
            where=ctx.likeness.adapters / "checkpoints",
            remedy="Run `portrait-lora train`: it makes them again. Or name another run: -s run=NAME",
        )


def _holds_something(folder: Path) -> bool:
    """Whether a run folder holds a training or an adapter."""
    return any((folder / name).exists() for name in (INPUTS, "checkpoints", ADAPTER, ADAPTER_COMFY))


def differences(ctx: Context, inputs: Mapping[str, str]) -> list[str]:
    """In words, what the training in the run folder was begun with and what is configured now."""
    folder = ctx.likeness.adapters
    recorded = recorded_inputs(folder)
    changed = {k for k, v in inputs.items() if recorded and recorded.get(k) != v}
    reasons = ["the photos, captions or crops have changed"] if "dataset" in changed else list[str]()
    before, now = recorded_settings(folder), settings_of(ctx)
    named: set[str] = set()
    for key in sorted(before.keys() & now.keys()):
        section = "config" if key.startswith(("training.", "seed")) else key
        if section in changed and before[key] != now[key]:
            reasons.append(f"{key} {before[key]} became {now[key]}")
            named.add(section)
    changed -= named
    if "base" in changed:
        reasons.append("the base has other weights")
    if "config" in changed:
        reasons.append("settings of the training have changed")
    if "precision" in changed:
        reasons.append(f"{recorded.get('precision')} became {inputs['precision']}")
    return reasons


def settings_of(ctx: Context) -> dict[str, str]:
    """What a training is configured with, for people to compare: dotted key → value."""
    training = ctx.config.training.model_dump(mode="json")
    values = {f"training.{key}": value for key, value in training.items()}
    return {k: str(v) for k, v in {"base": ctx.base.label, "seed": ctx.config.seed, **values}.items()}


def recorded_settings(folder: Path) -> dict[str, str]:
    """What a training was configured with; of an older one, what its last checkpoint tells."""
    whole = _read(folder / SETTINGS)
    if whole:
        return {k: str(v) for k, v in whole.items()}
    states = sorted(folder.glob("checkpoints/step-*/state.json"))
    numbers = _read(states[-1]).get("settings") if states else None
    if not isinstance(numbers, dict):
        return {}
    plain = {k: v for k, v in cast(dict[str, object], numbers).items() if isinstance(v, str | int | float)}
    seed = {"seed": str(plain["seed"])} if "seed" in plain else {}
    return seed | {f"training.{k}": str(v) for k, v in plain.items() if k not in _AS_USED}


def _read(path: Path) -> dict[str, object]:
    """A JSON file of a run; empty when it cannot be read."""
    try:
        return strict_json.load_object(path, "record of a training")
    except ArtifactError:
        return {}


def begin(ctx: Context, inputs: Mapping[str, str]) -> None:
    """Write down what the training in `ctx.run_folder` is begun with; what lies there is gone on with."""
    folder = manifest.make_folder(ctx.run_folder)
    wanted = manifest.canonical(dict(inputs))
    if not (folder / INPUTS).is_file() or recorded_inputs(folder) != dict(inputs):
        manifest.write_json_atomic(folder / SETTINGS, settings_of(ctx))
        manifest.write_text_atomic(folder / INPUTS, wanted)


def keep_foreign(folder: Path, ours: Sequence[Adapter]) -> None:
    """Give adapter files that this run did not write another name, with a warning.

    `ours` may be written over: the adapters of the checkpoints, and what other programs load of them, which a
    selection that was stopped leaves without a record.
    """
    foreign = [folder / name for name in (ADAPTER, ADAPTER_COMFY) if (folder / name).is_file()]
    if not foreign:
        return
    sealed = manifest.read(folder)
    known = {manifest.sha256_file(adapter.path) for adapter in ours if adapter.path.is_file()}
    known |= set(sealed.files.values()) if sealed else set()
    for path in foreign:
        if manifest.sha256_file(path) not in known and not _is_conversion(path, ours):
            removal.set_aside(path)


def _is_conversion(path: Path, ours: Sequence[Adapter]) -> bool:
    from portrait_lora.training.adapter import kohya_bytes

    if path.name != ADAPTER_COMFY:
        return False
    there = path.read_bytes()
    return any(adapter.path.is_file() and kohya_bytes(adapter) == there for adapter in ours)


def put_in_place(ctx: Context) -> None:
    """The successor, whole now, takes the place of what was there; nothing when it was trained in place."""
    folder = ctx.likeness.adapters
    if ctx.run_folder != folder:
        if manifest.read(folder) is None:  # never finished: known by names
            removal.remove_recorded(folder, owner=folder.parent, names=RUN_FILES, quiet=True)
        replacing.replace_folder(ctx.run_folder, folder)
        ctx.run_folder = folder
        ctx.forget_checkpoints()
        for other in _unfinished(folder):
            removal.remove_recorded(other, owner=folder.parent, names=RUN_FILES)
            _log.info("%s was not finished and is not needed any more", other)
    ctx.journal.release()


def _unfinished(folder: Path) -> list[Path]:
    """Successors of a run that were begun and given up for the one that is whole now."""
    pattern = re.compile(rf"\.{re.escape(folder.name)}-[0-9a-f]{{{_DIGITS}}}")
    return [p for p in folder.parent.iterdir() if pattern.fullmatch(p.name) and p.is_dir()]
