import pytest
import torch

from portrait_lora import device
from portrait_lora.errors import InputError


def test_auto_takes_what_is_there():
    choice = device.choose()
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert choice.device == expected and "best of" in choice.reason


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_an_absent_device_is_told():
    with pytest.raises(InputError, match=r"device 'cuda:1' is not here.*auto, cpu"):
        device.choose("cuda:1")


def test_precision_is_kept_or_refused():
    assert device.choose("cpu", "no").mixed_precision == "no"
    with pytest.raises(InputError, match="number format"):
        device.choose("cpu", "int3")
