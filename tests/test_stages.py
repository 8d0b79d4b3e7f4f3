from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import pytest

from portrait_lora.config import CheckConfig, CurateConfig
from portrait_lora.dataset.checks import CheckSettings
from portrait_lora.dataset.curate import CurateSettings
from portrait_lora.stages import photos


def test_the_configuration_and_the_dataset_wing_agree_on_defaults():
    for section, settings in ((CheckConfig(), CheckSettings()), (CurateConfig(), CurateSettings())):
        own = asdict(settings)
        for name, value in section.model_dump().items():
            assert own[name] == value, name
        assert type(settings).of(section) == settings


@pytest.mark.parametrize("change", ["resolution_px", "pack", "photos"])
def test_photos_are_checked_anew_when_what_the_check_depends_on_changes(change):
    def inputs(**given) -> dict[str, str]:
        ctx: Any = SimpleNamespace(
            photo_digests={"a.jpg": given.get("photos", "1")},
            pack=SimpleNamespace(digest=given.get("pack", "p")),
            base=SimpleNamespace(resolution_px=given.get("resolution_px", 128)),
            digest=lambda *sections: ",".join(sections),
        )
        return photos._photo_inputs(ctx)

    assert inputs() == inputs()
    assert inputs(**{change: 512 if change == "resolution_px" else "other"}) != inputs()
