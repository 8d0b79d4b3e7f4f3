"""TrustMark's packets, networks and weights; the published weights were not at hand."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.rights.watermark import Payload, bch, trustmark, trustmark_net
from portrait_lora.tasks import pull_trustmark


def test_eight_wrong_bits_are_mended_and_nine_are_not_taken_for_the_same() -> None:
    rng = np.random.default_rng(0)
    for trial in range(12):
        data = int(rng.integers(1 << 40))
        word = bch.encode(data)
        places = [int(i) for i in rng.choice(bch.CODE_BITS, 9, replace=False)]
        for count in (0, 1, trial % 8 + 1, 8):
            spoilt = word
            for place in places[:count]:
                spoilt ^= 1 << place
            assert bch.decode(spoilt) == (data, count)
        for place in places:
            word ^= 1 << place
        assert bch.decode(word) is None or bch.decode(word)[0] != data  # type: ignore[index]


def test_the_generator_is_that_of_the_bch_code_127_71() -> None:
    """Lin and Costello, appendix C: 71 bits of data, 56 of parity."""
    generator = bch._generator()
    assert generator.bit_length() == 57
    assert generator & 1
    # it divides x ** 127 + 1
    rest = 1 << 127 | 1
    while rest.bit_length() >= generator.bit_length():
        rest ^= generator << rest.bit_length() - generator.bit_length()
    assert rest == 0


def test_random_words_are_none() -> None:
    rng = np.random.default_rng(1)
    assert not any(trustmark.opened(rng.random(100) > 0.5) for _ in range(200))
    assert trustmark.TrustMark.false_positive_rate < 1e-6


def test_a_packet_is_opened_with_its_wrong_bits() -> None:
    payload = Payload(0x11, 0xCAFE1234)
    bits = trustmark.packet(payload)
    assert bits.shape == (100,)
    assert (bits[-4:] == 0).all()
    bits[[3, 50, 90]] = 1 - bits[[3, 50, 90]]
    assert trustmark.opened(bits > 0.5) == (payload, 3)
    bits[-1] = 1
    assert trustmark.opened(bits > 0.5) is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights under the published names."""
    torch.manual_seed(0)
    there = tmp_path_factory.mktemp("trustmark")
    for net, prefix, file in (
        (trustmark_net.Encoder(), "encoder.", trustmark.ENCODER),
        (trustmark_net.Decoder(), "decoder.decoder.", trustmark.DECODER),
    ):
        save_file({prefix + name: value for name, value in net.state_dict().items()}, str(there / file))
    return there


def test_the_networks_have_the_size_of_the_published_ones() -> None:
    """The published files hold the same number of weights at half precision, and some headers."""
    nets = trustmark_net.Encoder(), trustmark_net.Decoder()
    for net, one in zip(nets, pull_trustmark.CHECKPOINTS, strict=True):
        weights = 2 * sum(value.numel() for value in net.state_dict().values())
        assert 0.99 * one.size < weights < one.size


def test_pictures_of_any_shape_go_through_both_networks(folder: Path) -> None:
    mark = trustmark.TrustMark(folder)
    rng = np.random.default_rng(0)
    for shape in ((128, 140, 3), (128, 300, 3)):
        rgb = rng.integers(0, 256, shape, dtype=np.uint8)
        out = mark.embed(rgb, Payload(0x11, 7))
        assert out.shape == rgb.shape
        assert (out != rgb).any()
        if shape[1] > 2 * shape[0]:
            assert (out[:, :80] == rgb[:, :80]).all()
        assert mark.detect(out) is None  # the weights are random
    with pytest.raises(InputError, match="too small"):
        mark.embed(np.zeros((60, 200, 3), np.uint8), Payload(1, 1))


def test_what_the_decoder_says_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark, payload = trustmark.TrustMark(folder), Payload(0x11, 99)
    answer = torch.from_numpy(trustmark.packet(payload) * 2 - 1)
    answer[5] *= -1
    monkeypatch.setattr(mark._decoder, "forward", lambda picture: answer[None])
    reading = mark.detect(np.zeros((200, 200, 3), np.uint8))
    assert reading is not None
    assert (reading.payload, reading.corrected_bits) == (payload, 1)


def test_other_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    for name in (trustmark.ENCODER, trustmark.DECODER):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    save_file({"encoder.pre.conv.weight": torch.zeros(2)}, str(tmp_path / trustmark.ENCODER))
    with pytest.raises(ArtifactError, match="no weights of TrustMark"):
        trustmark.TrustMark(tmp_path)
    (tmp_path / trustmark.ENCODER).write_bytes(b"x")
    with pytest.raises(ArtifactError, match="cannot be read"):
        trustmark.TrustMark(tmp_path)


class _Canary:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("canary"),))  # type: ignore[return-value]


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_checkpoint_becomes_safetensors_and_code_in_it_never_runs(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    table = {"encoder.a": torch.ones(2), "loss.b": torch.zeros(1)}
    torch.save({"state_dict": table}, tmp_path / "good.ckpt")
    pull_trustmark.convert(tmp_path / "good.ckpt", "encoder.", tmp_path / "out.safetensors")
    from safetensors.torch import load_file

    assert set(load_file(str(tmp_path / "out.safetensors"))) == {"encoder.a"}
    with pytest.raises(ArtifactError, match="lacks"):
        pull_trustmark.convert(tmp_path / "good.ckpt", "decoder.", tmp_path / "none.safetensors")
    for bad in (pickle.dumps(_Canary()), b"no checkpoint"):
        (tmp_path / "bad.ckpt").write_bytes(bad)
        with pytest.raises(ArtifactError, match="weights alone"):
            pull_trustmark.convert(tmp_path / "bad.ckpt", "encoder.", tmp_path / "none.safetensors")
    torch.save({"state_dict": table, "more": _Canary()}, tmp_path / "bad.ckpt")
    with pytest.raises(ArtifactError, match="weights alone"):
        pull_trustmark.convert(tmp_path / "bad.ckpt", "encoder.", tmp_path / "none.safetensors")
    assert not (tmp_path / "canary").exists()
