from dataclasses import asdict

from portrait_lora.config import CheckConfig, CurateConfig
from portrait_lora.dataset.checks import CheckSettings
from portrait_lora.dataset.curate import CurateSettings


def test_the_configuration_and_the_dataset_wing_agree_on_defaults():
    for section, settings in ((CheckConfig(), CheckSettings()), (CurateConfig(), CurateSettings())):
        own = asdict(settings)
        for name, value in section.model_dump().items():
            assert own[name] == value, name
        assert type(settings).of(section) == settings
