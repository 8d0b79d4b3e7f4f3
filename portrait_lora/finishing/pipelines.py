"""Pipelines of diffusers that steps of finishing open: from an inspected folder, and without a network."""

# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false
from __future__ import annotations

from pathlib import Path
from typing import Any

from portrait_lora.errors import ArtifactError


def opened(folder: Path, kind: str, what: str, types: Any) -> Any:
    """The pipeline `kind` with weights of `types`, as diffusers takes them, on the CPU.

    The folder has been inspected before.  Raises `ArtifactError`, in which `what` names the model, when it
    cannot be loaded.
    """
    import diffusers
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    try:
        pipe = getattr(diffusers, kind).from_pretrained(
            str(folder), use_safetensors=True, local_files_only=True, torch_dtype=types
        )
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, AttributeError) as error:
        raise ArtifactError(f"{what} cannot be loaded", where=folder, got=error) from error
    pipe.set_progress_bar_config(disable=True)
    return pipe
