"""Datasets of other trainers: into a likeness folder, and out of a prepared one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final, get_args

from portrait_lora import likeness, manifest
from portrait_lora.config import SubjectConfig, load, short
from portrait_lora.errors import InputError
from portrait_lora.results import Value
from portrait_lora.rights import consent

_KINDS: Final = get_args(SubjectConfig.model_fields["kind"].annotation)


class ImportResult(Value):
    """What came out of another trainer's dataset, and the trigger and kind that its captions name."""

    photos: int
    captions: int
    passed_over: int
    rows_without_picture: int
    trigger: str
    kind: str


class ExportResult(Value):
    """A dataset written for another trainer."""

    crops: int
    folder: str
    trigger: str
    kind: str


def import_dataset(source: Path, root: Path, overrides: Sequence[str] = ()) -> ImportResult:
    """Copy pictures and captions into `root/photos` and write a likeness.yaml that uses them.

    Raises InputError, and then nothing is left in `root`; stopped anywhere, also at its very end, the same
    call does it again.
    """
    from portrait_lora.dataset import kohya

    photos, file = root / "photos", root / likeness.FILE_NAME
    taken = InputError("a likeness lives here already", where=root, needed="a new folder")
    lives = photos.is_dir() and any(photos.iterdir())
    if lives and not file.exists():
        raise taken
    load(None, overrides)
    with manifest.new_folder(photos) as part:
        imported = kohya.import_dataset(source, part)
        own = ["dataset.captions.captioner=sidecar"] if imported.captions else []
        own += (
            [f"subject.trigger={json.dumps(imported.trigger, ensure_ascii=False)}"]
            if len(imported.trigger) >= 2
            else []
        )
        kind = imported.subject.split()[-1].lower() if imported.subject else ""
        own += [f"subject.kind={kind}"] if kind in _KINDS else []
        config = load(None, [*own, *overrides])
        if file.exists() and file.read_text(encoding="utf-8", errors="replace") != short(config, root):
            other = InputError("another configuration is here already", where=file, needed="a new folder")
            raise taken if lives else other
        likeness.write_config(root, config)  # before the photos take their name: the retry finds it equal
    return ImportResult(
        photos=imported.photos,
        captions=imported.captions,
        passed_over=len(imported.passed_over),
        rows_without_picture=imported.strange_rows,
        trigger=config.subject.trigger,
        kind=config.subject.kind,
    )


def export_dataset(root: Path, out: Path, repeats: int) -> ExportResult:
    """Write the crops of `root/dataset` as a kohya dataset.  Raises ArtifactError without a finished one."""
    from portrait_lora.dataset import build, kohya

    opened = likeness.open_likeness(root)
    consent.require_purposes(root, "training")
    crops, _ = build.load_dataset_folder(opened.dataset)
    stored = manifest.read(opened.dataset)
    extra = stored.extra if stored else {}
    trigger = str(extra.get("trigger", opened.config.subject.trigger))
    subject = str(extra.get("subject", opened.config.subject.kind))
    folder = kohya.export_kohya(crops, out, trigger=trigger, subject=subject, repeats=repeats)
    return ExportResult(crops=len(crops), folder=str(folder), trigger=trigger, kind=subject)
