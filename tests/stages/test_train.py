"""From the configuration to the arguments of training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from portrait_lora import manifest, recipe
from portrait_lora.config import TrainingConfig
from portrait_lora.errors import ConfigError
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


def test_an_adapter_from_before_there_were_references_stays_valid() -> None:
    """Its digest is of the keys that there were; it is another one with references, and then of how many."""

    def digest(**changes: Any) -> str:
        config = SimpleNamespace(training=TrainingConfig(**changes), seed=0)
        return train._config_digest(SimpleNamespace(config=config))  # type: ignore[arg-type]

    dump = TrainingConfig().model_dump(mode="json")
    numbers = {key: dump[key] for key in DECIDED}
    assert digest() == digest(max_references=4) == manifest.digest({"training": numbers, "seed": 0})
    several = [digest(references=share, max_references=most) for share in (0.5, 1.0) for most in (1, 2)]
    assert len({digest(), *several}) == 5


DECIDED = (
    "rank", "alpha", "targets", "learning_rate", "batch_size", "exposures_per_photo", "checkpoints",
    "warmup_steps", "schedule", "caption_dropout", "snr_gamma", "background_weight", "learn_region",
    "adapter", "rank_stabilised", "dora", "blocks", "optimizer", "ema_decay", "timesteps", "timestep_shift",
    "prior_pictures", "prior_weight", "weights", "text_encoder",
)  # fmt: skip


def test_references_of_another_family_are_refused_before_anything_is_done(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/1.png").write_bytes(b"a photo")
    wrong = ["training.references=0.5"]
    calls = (recipe.run, recipe.train, recipe.generate, recipe.plan_training)
    for call in calls:
        with pytest.raises(
            ConfigError, match=r"^training\.references: .* take reference photos: got sd15; needed flux2"
        ):
            call(tmp_path, overrides=wrong)
    with pytest.raises(ConfigError, match="no such warm start"):
        recipe.plan_training(tmp_path, overrides=["training.warm_start=gone.safetensors"])
    assert {path.name for path in tmp_path.rglob("*")} == {"photos", "1.png"}
