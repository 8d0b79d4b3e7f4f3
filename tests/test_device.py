import os
from types import SimpleNamespace

import pytest
import torch

from portrait_lora import device
from portrait_lora.errors import InputError


def test_auto_takes_what_is_there():
    choice = device.choose()
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert choice.device == expected and "best of" in choice.reason


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_an_absent_device_is_an_error():
    with pytest.raises(InputError, match=r"device 'cuda:1' is not here.*auto, cpu"):
        device.choose("cuda:1")


def test_precision_is_kept_or_refused():
    assert device.choose("cpu", "no").mixed_precision == "no"
    with pytest.raises(InputError, match="number format"):
        device.choose("cpu", "int3")


def test_a_busy_machine_gets_a_hint_once_and_keeps_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(
        device.log, "get", lambda name: SimpleNamespace(info=lambda text, *a: lines.append(text))
    )
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    for load, threads, hints in ((9.0, 4, 1), (9.0, 1, 0), (0.5, 4, 0)):
        device._hint_when_busy.cache_clear()
        lines.clear()
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, load, load))
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
        assert device.limit_threads(threads) == device.limit_threads(threads) == threads
        assert [text.startswith("This machine is busy") for text in lines] == [True] * hints
