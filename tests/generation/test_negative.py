"""A negative prompt without effect gets a remark; the pipelines' own signatures say which."""

from __future__ import annotations

import pytest

from portrait_lora.generation.lint import IGNORED_NEGATIVE, ignored_negative

TAKEN = {
    "sd15": True,
    "sdxl": True,
    "sd35": True,
    "z_image": True,
    "qwen_image": True,
    "qwen_image21": True,
    "qwen_image_edit": True,
    "krea2": True,
    "chroma": True,
    "sana": True,
    "ernie_image": True,
    "hidream": True,
}


@pytest.mark.parametrize("family", [*TAKEN, "flux1", "flux2"])
def test_negative_prompts_without_effect_by_the_signature(family: str) -> None:
    remark = ignored_negative("hat", 4.0, family)  # type: ignore[arg-type]
    assert (remark is None) == TAKEN.get(family, False)
    if remark is not None:
        assert remark.code == IGNORED_NEGATIVE and f"the family {family}" in remark.problem
    weak = ignored_negative("hat", 1.0, family)  # type: ignore[arg-type]
    assert weak is not None and "guidance_scale 1" in weak.problem
