from pathlib import Path

import pytest

from portrait_lora.errors import InputError
from portrait_lora.tasks import drift_over


@pytest.mark.parametrize("over", ["adapter_scale", "adapter_scale=", "rank=1,2", "=1"])
def test_what_cannot_be_swept_is_an_error(over: str):
    with pytest.raises(InputError, match="--over"):
        drift_over.run(Path("nowhere"), over)
