"""Networks of the ESRGAN family: their shape follows from the keys, and nothing but safetensors is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.finishing.esrgan import RRDB, Compact, read_upscaler

_PICTURE = np.random.default_rng(0).uniform(0, 1, (9, 11, 3)).astype(np.float32)


def _saved(net: nn.Module, path: Path, prefix: str = "") -> Path:
    save_file({prefix + k: v.detach().contiguous() for k, v in net.state_dict().items()}, str(path))
    return path


def _answer(net: nn.Module) -> np.ndarray:
    with torch.no_grad():
        out = net(torch.from_numpy(_PICTURE).permute(2, 0, 1)[None]).clamp(0, 1)
    return out[0].permute(1, 2, 0).numpy()


def _seeded(net: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    for p in net.parameters():
        nn.init.normal_(p, std=0.05)
    return net


@pytest.mark.parametrize("prefix", ["", "params_ema.", "module."])
@pytest.mark.parametrize(
    ("net", "scale"),
    [
        (Compact(8, 3, 4), 4),
        (Compact(6, 1, 2, leaky=True), 2),
        (Compact(4, 2, 3), 3),
        (RRDB(8, 4, 2, 4), 4),
        (RRDB(8, 4, 1, 2, fold=2), 2),
        (RRDB(8, 4, 1, 2), 2),
        (RRDB(8, 4, 1, 8), 8),
    ],
)
def test_a_network_is_rebuilt_from_its_keys(net: nn.Module, scale: int, prefix: str, tmp_path: Path) -> None:
    read = read_upscaler(_saved(_seeded(net), tmp_path / "m.safetensors", prefix))
    assert read.scale == scale
    answer = read(_PICTURE)
    assert answer.shape == (9 * scale, 11 * scale, 3)
    assert np.array_equal(answer, _answer(net))


def test_the_names_of_the_first_esrgan_are_read(tmp_path: Path) -> None:
    net = _seeded(RRDB(8, 4, 2, 4))
    old: dict[str, torch.Tensor] = {}
    tail = {"conv_up1": "model.3", "conv_up2": "model.6", "conv_hr": "model.8", "conv_last": "model.10"}
    for key, value in net.state_dict().items():
        name, kind = key.rsplit(".", 1)
        if name == "conv_first":
            name = "model.0"
        elif name == "conv_body":
            name = "model.1.sub.2"
        elif name in tail:
            name = tail[name]
        else:
            _, block, dense, conv = name.split(".")
            name = f"model.1.sub.{block}.{dense.upper()}.{conv}.0"
        old[f"{name}.{kind}"] = value.contiguous()
    save_file(old, str(tmp_path / "m.safetensors"))
    assert np.array_equal(read_upscaler(tmp_path / "m.safetensors")(_PICTURE), _answer(net))


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    torch.save(Compact(4, 1, 2).state_dict(), path)
    with pytest.raises(InputError, match=r"a pickle can run code: got \.pth"):
        read_upscaler(path)
    hidden = tmp_path / "m.safetensors"
    hidden.write_bytes(path.read_bytes())
    with pytest.raises(ArtifactError, match="not a whole safetensors file"):
        read_upscaler(hidden)


def test_a_file_cut_short_is_damaged(tmp_path: Path) -> None:
    path = _saved(Compact(4, 1, 2), tmp_path / "m.safetensors")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ArtifactError, match="cut short"):
        read_upscaler(path)


def test_an_unknown_architecture_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "spandrel", None)
    path = _saved(nn.ModuleDict({"stem": nn.Linear(3, 4)}), tmp_path / "m.safetensors")
    with pytest.raises(InputError, match=r"architecture .* not known.*portrait-lora\[spandrel\]"):
        read_upscaler(path)


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (Compact(4, 1, 1), "another scale: got 1×; needed 2×, 3×, 4×, 8×"),
        (Compact(4, 1, 5), "another scale: got 5×"),
        (RRDB(8, 4, 1, 1, fold=2), "another scale: got 1×"),
    ],
)
def test_a_scale_that_is_no_enlargement_is_refused(net: nn.Module, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        read_upscaler(_saved(net, tmp_path / "m.safetensors"))


def test_missing_and_misshapen_tensors_are_damage(tmp_path: Path) -> None:
    weights = {k: v.contiguous() for k, v in RRDB(8, 4, 1, 4).state_dict().items()}
    path = tmp_path / "m.safetensors"
    save_file({k: v for k, v in weights.items() if k != "conv_hr.bias"}, str(path))
    with pytest.raises(ArtifactError, match="misshapen or missing"):
        read_upscaler(path)
    save_file(weights | {"body.0.rdb2.conv3.weight": torch.zeros(4, 4, 3, 3)}, str(path))
    with pytest.raises(ArtifactError, match="misshapen or missing"):
        read_upscaler(path)


def test_a_network_for_other_channels_is_refused(tmp_path: Path) -> None:
    weights = {k: v.contiguous() for k, v in Compact(4, 1, 2).state_dict().items()}
    save_file(weights | {"body.0.weight": torch.zeros(4, 1, 3, 3)}, str(tmp_path / "m.safetensors"))
    with pytest.raises(InputError, match="not for RGB"):
        read_upscaler(tmp_path / "m.safetensors")


def test_an_answer_that_is_not_finite_is_an_error(tmp_path: Path) -> None:
    net = Compact(4, 1, 2)
    nn.init.constant_(net.body[0].bias, float("nan"))
    with pytest.raises(ArtifactError, match="not finite"):
        read_upscaler(_saved(net, tmp_path / "m.safetensors"))(_PICTURE)
