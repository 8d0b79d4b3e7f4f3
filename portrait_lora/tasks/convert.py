"""A checkpoint in one file becomes a folder, once; after that `base: FOLDER` works as with any other."""

from __future__ import annotations

from pathlib import Path

from portrait_lora import manifest
from portrait_lora.errors import InputError
from portrait_lora.families import catalog, layout, single_file
from portrait_lora.families.rows import row_of
from portrait_lora.hub import lock as locks
from portrait_lora.hub.hub import Hub, as_locked, refuse_full_disk
from portrait_lora.records import FamilyName


def convert(file: Path, out: Path, hub: Hub, *, like: str | None = None, into: Path = Path()) -> FamilyName:
    """Write the checkpoint to `out` in diffusers layout, with a manifest that names its sha256.

    `like` is a catalogue name or a folder whose configuration is taken; by default the family's own base.
    Of a catalogue base only configuration and tokenizer are fetched (a few megabytes), at the commit that
    the lock of `into` names.  Raises `InputError` for files that cannot be converted and a folder that is
    not empty, and as `Hub.fetch` does.
    """
    family = single_file.recognise(file)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("there is something already", where=out, needed="a new or empty folder")
    configuration, label = _configuration(like or _usual(family), into, hub)
    _refuse_other(file, family, configuration)
    refuse_full_disk(out.resolve(), 2 * file.stat().st_size)
    inputs = {"checkpoint": manifest.sha256_file(file), "configuration": label}
    extra = {"file": file.name, "family": family}
    with manifest.writing(out, kind="base", inputs=inputs, extra=extra, shared=True) as folder:
        single_file.convert(file, family, configuration, folder)
        layout.inspect(folder)
    return family


def _usual(family: FamilyName) -> str:
    """The base whose configuration checkpoints of the family have."""
    known = row_of(family).checkpoint
    if known is None:
        raise InputError("checkpoints in one file are not known of this family", where=family)
    return known.like


def _configuration(like: str, into: Path, hub: Hub) -> tuple[Path, str]:
    """A folder that says how the networks are built, and its name for the record."""
    folder = Path(like).expanduser()
    if folder.is_dir():
        return folder, folder.name
    base = catalog.resolve_base(like)
    if base.folder is not None:
        return base.folder, base.name
    locked = locks.read(into).models.get(base.repo)
    try:
        whole = as_locked(locked) if locked else hub.resolve(base.repo)
        there, _ = hub.fetch(whole.only([layout.INDEX]), label=base.name)
        wanted = layout.wanted_files(layout.read_layout(there).parts, [f.path for f in whole.files])
        small = [name for name in wanted if not name.endswith(".safetensors")]
        there, _ = hub.fetch(whole.only(small), label=base.name)
    except InputError as error:
        if not hub.offline:
            raise
        raise InputError(
            "the configuration for this checkpoint is not on this machine",
            where=base.repo,
            needed="a few small files, or a folder of the same architecture",
            remedy="Go on line once, or give a folder with --like.",
        ) from error
    return there, f"{base.repo}@{whole.commit}"


def _refuse_other(file: Path, family: FamilyName, configuration: Path) -> None:
    declared = layout.read_layout(configuration).family
    if declared != family:
        raise InputError("the checkpoint is of another family", where=file, got=family, needed=declared)
    kind = layout.config_file(configuration / "scheduler" / "scheduler_config.json").get("prediction_type")
    noise = single_file.noise_process(file)
    needed = "v_prediction" if noise.zero_snr else noise.prediction
    if needed is not None and (kind or "epsilon") != needed:
        raise InputError(
            f"the checkpoint was trained for {needed.replace('_', '-')}, the configuration is not",
            where=file,
            got=kind,
            needed=needed,
            remedy="Give a folder of the model it was made from with --like.",
        )
