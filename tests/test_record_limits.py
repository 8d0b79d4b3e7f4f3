"""A forged recipe decides neither threads nor memory nor time; recipes of ours all pass."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, get_args

import pytest
from PIL import Image

from portrait_lora import provenance, record_limits
from portrait_lora.errors import ArtifactError
from portrait_lora.families.family import Weights

GOOD: dict[str, Any] = {
    "prompt": "headshot of ohwx man",
    "negative_prompt": "",
    "layers": {"shot": "headshot"},
    "size_px": [128, 160],
    "seed": 3,
    "num_inference_steps": 8,
    "guidance_scale": 4.5,
    "adapter_scale": 1.0,
    "identity_scale": None,
    "identity_late_scale": 1.5,
    "scheduler_arguments": {"use_karras_sigmas": True},
    "made": {"threads": 2, "batch_size": 4, "batch_index": 3, "versions": {"torch": "2.13"}},
}


def forged(**changes: object) -> dict[str, Any]:
    return {**GOOD, **changes}


def with_conditions(value: object) -> dict[str, Any]:
    return {**GOOD, "made": value}


def conditions(**changes: object) -> dict[str, Any]:
    return with_conditions({**GOOD["made"], **changes})


FORGED: dict[str, dict[str, Any]] = {
    "a million threads": conditions(threads=10**6),
    "negative threads": conditions(threads=-1),
    "a billion pictures": conditions(batch_size=10**9),
    "no pictures": conditions(batch_size=0),
    "index 99": conditions(batch_index=99),
    "index of the size": conditions(batch_index=4),
    "negative index": conditions(batch_index=-1),
    "true index": conditions(batch_index=True),
    "index in a recipe without a batch": with_conditions({"batch_index": 1}),
    "versions": conditions(versions={"torch": "x" * 300}),
    "made is a list": with_conditions([]),
    "made is null": with_conditions(None),
    "huge": forged(size_px=[10**6, 10**6]),
    "huge together": with_conditions({"batch_size": 5}) | {"size_px": [8192, 8192]},
    "flat": forged(size_px=[0, 128]),
    "three sides": forged(size_px=[128, 128, 128]),
    "fraction": forged(size_px=[128.5, 128]),
    "negative seed": forged(seed=-1),
    "endless seed": forged(seed=10**30),
    "steps": forged(num_inference_steps=10**9),
    "no steps": forged(num_inference_steps=0),
    "guidance": forged(guidance_scale=math.inf),
    "guidance is text": forged(guidance_scale="7"),
    "late strength of the person": forged(identity_late_scale=1001),
    "end of the late steps": forged(identity_late=1.5),
    "unknown weights": forged(weights="int3"),
    "weights are a list": forged(weights=["bfloat16"]),
    "strength": forged(strength=1e9),
    "not a number": forged(adapter_scale=math.nan),
    "prompt": forged(prompt="a" * 100_000),
    "prompt is a list": forged(prompt=["a"]),
    "layers": forged(layers={str(i): "a" for i in range(1000)}),
    "layer": forged(layers={"shot": 3}),
    "scheduler": forged(scheduler_arguments={"a": [1] * 1000}),
    "box": forged(box_px=[0, 0, math.inf, 1]),
    "mask": forged(mask_png="A" * 10_000_000),
    "parent is text": forged(parent="x"),
    "in the parent": forged(parent=forged(parent=conditions(threads=10**6))),
}


@pytest.mark.parametrize("case", FORGED)
def test_a_forged_recipe_is_refused(case: str) -> None:
    with pytest.raises(ArtifactError, match="the generation record of the picture is damaged"):
        record_limits.refuse(FORGED[case], "a.png")


def test_a_recipe_of_ours_passes() -> None:
    record_limits.refuse(GOOD)
    record_limits.refuse(
        forged(parent=GOOD, action="fix", strength=0.3, mask_png="AAAA", box_px=[0, 0, 1.5, 2])
    )
    record_limits.refuse({"seed": 1})
    for weights in get_args(Weights):
        record_limits.refuse(forged(weights=weights))


def test_edits_upon_edits_end() -> None:
    recipe = GOOD
    for _ in range(70):
        recipe = forged(parent=recipe)
    with pytest.raises(ArtifactError, match="at most 64"):
        record_limits.refuse(recipe)


def test_the_door_of_pictures_refuses_it(tmp_path: Path) -> None:
    for recipe in (GOOD, FORGED["a million threads"]):
        Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=provenance.png_info(recipe))
        if recipe is GOOD:
            assert provenance.read_record(tmp_path / "a.png") == GOOD
            continue
        with pytest.raises(ArtifactError, match=r"a\.png.*threads: got 1000000; needed 0 to 1024"):
            provenance.read_record(tmp_path / "a.png")


def test_nothing_is_drawn_after_a_forged_recipe() -> None:
    from portrait_lora.generation import remake

    family: Any = object()
    for case in ("a million threads", "a billion pictures", "index 99", "negative index"):
        with pytest.raises(ArtifactError, match="is damaged"):
            remake.remake(family, FORGED[case], None, lambda digest: None)
