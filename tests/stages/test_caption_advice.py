from dataclasses import replace
from types import SimpleNamespace

import pytest

from portrait_lora import config, summaries
from portrait_lora.dataset.caption import AttributesCaptioner
from portrait_lora.dataset.captioners import SidecarCaptioner, choose_captioner
from portrait_lora.dataset.coverage import coverage
from portrait_lora.dataset.photograph_caption import PhotographCaptioner
from portrait_lora.records import CuratedSet
from portrait_lora.settings import CAPTION_ADVICE
from portrait_lora.stages import check
from tests.sample_results import PREPARED


def context(synthetic, *overrides):
    return SimpleNamespace(
        pack=SimpleNamespace(synthetic=synthetic), config=config.load(None, list(overrides))
    )


@pytest.mark.parametrize(
    ("synthetic", "captioner", "advised"),
    [(False, "attributes", True), (True, "attributes", False), (False, "florence2", False)],
)
def test_the_check_recommends_a_captioning_model_for_photographs(synthetic, captioner, advised):
    ctx = context(synthetic, f"dataset.captions.captioner={captioner}")
    curated = CuratedSet((), (), (), coverage([]), None, "id")
    assert (CAPTION_ADVICE in check._with_advice(ctx, curated).coverage.advice) == advised


def test_prepare_says_so_too():
    assert not any("florence2" in line for line in summaries.of_prepare(PREPARED))
    advised = PREPARED.model_copy(update={"advice": CAPTION_ADVICE})
    assert summaries.of_prepare(advised)[-1].strip() == CAPTION_ADVICE
    assert "captioner to florence2" in CAPTION_ADVICE


def test_photographs_get_the_careful_captioner():
    names = {"trigger": "ohwx", "subject": "man"}
    assert choose_captioner("attributes", **names) == AttributesCaptioner("ohwx", "man")
    careful = PhotographCaptioner("ohwx", "man")
    assert choose_captioner("attributes", photographs=True, **names) == careful
    assert choose_captioner("sidecar", photographs=True, **names) == SidecarCaptioner(careful)
    assert replace(careful, subject="woman") != careful
