"""The base model and face pack that `init` proposes for these photos on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from portrait_lora import config, device, provenance
from portrait_lora.families.choose import choose_base
from portrait_lora.pictures.reader import list_photos
from portrait_lora.settings import CAPTION_ADVICE
from portrait_lora.stages.usual import usual_means


def proposed_settings(
    photos: Path, overrides: Sequence[str], *, commercial: bool = False
) -> tuple[list[str], list[str]]:
    """Proposed `KEY=VALUE` overrides for settings that the user left open, with reasons; the user's win.

    The base is chosen by the training planner, the face pack by its licence; only pictures of the studio get
    the embedded models.
    """
    settled = config.load(None, overrides).model_dump()
    named = {pair.partition("=")[0].strip() for pair in overrides}
    proposed = ["commercial=true"] if commercial and "commercial" not in named else []
    files = list_photos(photos) if photos.is_dir() else []
    studio = bool(files) and all(not provenance.is_unmarked_picture(p) for p in files)
    reasons: list[str] = []
    if "base" not in named:
        chosen = device.choose(str(settled["device"]))
        choice = choose_base(
            device=chosen.device,
            memory_gb=device.gpu_memory_gb(chosen.device),
            bf16=chosen.mixed_precision == "bf16",
            commercial=commercial,
            studio_pictures=studio,
            plan=usual_means,
        )
        proposed += [f"base={choice.base.name}"]
        if not studio:
            proposed += [f"training.batch_size={choice.batch_size}"]
            proposed += [f"mixed_precision={choice.mixed_precision}"]
        what = f"base {choice.base.name} at {choice.base.resolution_px} px, batch {choice.batch_size}"
        if choice.mixed_precision != "auto":
            what += f", {choice.mixed_precision}"
        reasons.append(f"{what}: {'; '.join(choice.reasons)}")
    if "face_pack" not in named and not studio:
        proposed.append("face_pack=auraface")
        reasons.append("face pack auraface: commercial use allowed (no pose, no expression)")
    if not studio and "dataset.captions.captioner" not in named:
        reasons.append(CAPTION_ADVICE)
    return [p for p in proposed if p.partition("=")[0] not in named], reasons
