"""From the configuration to the arguments of training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from portrait_lora.config import TrainingConfig
from portrait_lora.records import Adapter, CaptionedCrop, Portrait, Shot
from portrait_lora.stages import train


def _crop(folder: Path, name: str, size_px: tuple[int, int]) -> CaptionedCrop:
    caption = f"frontal headshot of ohwx woman, {name}"
    return CaptionedCrop(folder / name, name, name, (0, 0, *size_px), size_px, caption, "ohwx")


def test_class_pictures_are_drawn_by_the_bare_base_on_captions_without_the_trigger(tmp_path: Path) -> None:
    requests: list[tuple[Adapter | None, list[Shot], Path]] = []

    def draw(adapter: Adapter | None, shots: list[Shot], folder: Path, *, label: str) -> list[Portrait]:
        requests.append((adapter, shots, folder))
        drawn: list[Portrait] = []
        for shot in shots:
            path = tmp_path / f"{shot.name}.png"
            path.write_bytes(shot.prompt.encode())
            drawn.append(Portrait(path, shot, 20, 3.0, 1.0, None))
        return drawn

    settings = TrainingConfig(prior_pictures=3)
    ctx: Any = SimpleNamespace(
        config=SimpleNamespace(training=settings, seed=7),
        run_folder=tmp_path / "run",
        draw=draw,
    )
    crops = [_crop(tmp_path, "smiling", (64, 64)), _crop(tmp_path, "serious", (48, 80))]
    pictures = train.class_pictures(ctx, crops)
    ((adapter, shots, folder),) = requests
    assert adapter is None and folder == tmp_path / "run/class"
    assert [s.prompt for s in shots] == [
        "frontal headshot of woman, smiling", "frontal headshot of woman, serious",
        "frontal headshot of woman, smiling",
    ]  # fmt: skip
    assert [s.seed for s in shots] == [7, 8, 9]
    assert [p.bucket for p in pictures] == [(64, 64), (48, 80), (64, 64)]
    assert all(p.trigger == "" and p.caption == s.prompt for p, s in zip(pictures, shots, strict=True))
    ctx.config = SimpleNamespace(training=TrainingConfig(), seed=7)
    assert train.class_pictures(ctx, crops) == [] and len(requests) == 1
