"""A picture that lends its style: seen at its strength, reproduced bit for bit, refused where it cannot be.

Everything is random and tiny: this shows that the pieces are put together rightly, not that a style is lent.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from portrait_lora import provenance
from portrait_lora.config import GenerateConfig
from portrait_lora.errors import ConfigError, InputError
from portrait_lora.families import open_family
from portrait_lora.families.catalog import resolve_base
from portrait_lora.families.sd15 import SD15
from portrait_lora.generation import edits, remake, save, weights
from portrait_lora.generation.drawing import Sampler, open_pipeline
from portrait_lora.generation.guidance import Identity
from portrait_lora.generation.reference import StyleReference, reference_of
from portrait_lora.generation.sample import generate
from portrait_lora.records import Adapter, Shot
from portrait_lora.stages.context import sampler_of
from tests.recipes import sampler as make_sampler
from tests.tiny_families import make_tiny
from tests.tiny_reference import write_encoder, write_for_flux, write_for_sd35, write_ip_adapter

SAMPLER = make_sampler(2, 2.0)


@pytest.fixture(scope="module")
def files(tiny_sd15: SD15, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(the reference, the IP-Adapter)"""
    folder = tmp_path_factory.mktemp("reference")
    pixels = np.random.default_rng(2).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((48, 40)).save(folder / "mood.png")
    return folder / "mood.png", write_ip_adapter(tiny_sd15.pipeline(None).unet, folder / "ip")


def _styled(files: tuple[Path, Path], scale: float = 1.0) -> StyleReference:
    reference = reference_of(str(files[0]), str(files[1].parent), scale)
    assert reference is not None
    return reference


def _pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_the_reference_shows_at_its_strength_and_leaves_nothing_behind(
    tiny_sd15: SD15, adapter: Adapter, shots: list[Shot], tmp_path: Path, files: tuple[Path, Path]
) -> None:
    def draw(name: str, sampler: Sampler) -> list[Path]:
        drawn = generate(tiny_sd15, adapter, shots[:2], tmp_path / name, sampler, batch_size=2)
        return [p.path for p in drawn]

    plain = draw("plain", SAMPLER)
    full = draw("full", replace(SAMPLER, reference=_styled(files)))
    half = draw("half", replace(SAMPLER, reference=_styled(files, 0.1)))
    assert [p.read_bytes() for p in draw("after", SAMPLER)] == [p.read_bytes() for p in plain]
    away = [np.abs(_pixels(path) - _pixels(plain[0])).mean() for path in (half[0], full[0])]
    assert 0 < away[0] < away[1]

    recipe = provenance.read_record(full[1])
    assert recipe["style_reference_scale"] == 1.0 and "style_reference_sha256" not in provenance.read_record(
        plain[0]
    )
    assert str(files[0].parent) not in str(recipe) and "mood" not in str(recipe)
    known = dict(
        zip(_styled(files).digests.values(), (*files, files[1].parent / "image_encoder"), strict=True)
    )
    again = remake.remake(tiny_sd15, recipe, adapter, known.get)
    assert remake.compare(Image.open(full[1]), again, recipe).same
    with pytest.raises(InputError, match="style_reference=FILE"):
        remake.remake(tiny_sd15, recipe, adapter, lambda digest: None)

    source = Image.open(full[0]).convert("RGB")
    edit = edits.edit_record("vary", source, recipe, recipe, seed=5, strength=0.6)
    sampler = remake.whole_sampler(edit, known.get)
    pipe = open_pipeline(tiny_sd15, adapter, sampler)
    over = edits.apply_edit(pipe, source, edit, 64, sampler)
    begun = {k: v for k, v in edit.items() if k != save.PARENT}
    assert remake.compare(over, remake.remake(tiny_sd15, begun, adapter, known.get, source), begun).same


def test_guidance_in_two_terms_knows_the_reference(
    tiny_sd15: SD15, adapter: Adapter, shots: list[Shot], tmp_path: Path, files: tuple[Path, Path]
) -> None:
    one = replace(SAMPLER, unconditional="base", reference=_styled(files))
    two = replace(one, identity=Identity(scale=1.0))
    paths = [generate(tiny_sd15, adapter, shots[:2], tmp_path / n, s, batch_size=2)[1].path
            for n, s in (("one", one), ("two", two))]  # fmt: skip
    assert np.abs(_pixels(paths[0]) - _pixels(paths[1])).mean() > 0


def test_strength_nought_is_no_reference(files: tuple[Path, Path]) -> None:
    config = GenerateConfig(
        style_reference=str(files[0]), style_reference_adapter=str(files[1]), style_reference_scale=0
    )
    assert sampler_of(config) == sampler_of(GenerateConfig())
    assert sampler_of(config.model_copy(update={"style_reference_scale": 0.5})).reference == _styled(
        files, 0.5
    )
    with pytest.raises(ConfigError, match="needs an IP-Adapter"):
        reference_of(str(files[0]), "", 1.0)
    with pytest.raises(InputError, match="no such picture"):
        reference_of(str(files[0]) + "x", str(files[1]), 1.0)


def test_what_does_not_fit_is_refused_and_spoils_nothing(
    tiny_sd15: SD15, shots: list[Shot], tmp_path: Path, files: tuple[Path, Path]
) -> None:
    def load(adapter: Path, encoder: Path | None = None, picture: Path = files[0]) -> None:
        beside = encoder or files[1].parent / "image_encoder"
        open_pipeline(tiny_sd15, None, replace(SAMPLER, reference=StyleReference(picture, adapter, beside)))

    unet = tiny_sd15.pipeline(None).unet
    with pytest.raises(InputError, match="does not fit this base"):
        load(write_ip_adapter(unet, tmp_path / "wide", tokens_wide=24))
    with pytest.raises(InputError, match="does not fit this base"):
        load(files[1], write_encoder(tmp_path / "encoder", 12))
    tensors = load_file(files[1])
    for name, kept, message in (
        ("short", {k: v for k, v in tensors.items() if "1.to_k_ip" not in k}, "does not fit"),
        ("other", {"lora_A.weight": torch.ones(1)}, "not an IP-Adapter"),
        ("face", {k: v for k, v in tensors.items() if k != "image_proj.proj.weight"}, "is for faces"),
    ):
        save_file(kept, tmp_path / f"{name}.safetensors")
        with pytest.raises(InputError, match=message):
            load(tmp_path / f"{name}.safetensors")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(InputError, match="cannot be read"):
        load(files[1], picture=tmp_path / "text.png")
    first = generate(tiny_sd15, None, shots[:1], tmp_path / "a", SAMPLER)[0].path.read_bytes()
    assert first == generate(tiny_sd15, None, shots[:1], tmp_path / "b", SAMPLER)[0].path.read_bytes()


def test_pickles_and_halves_are_refused(tmp_path: Path, files: tuple[Path, Path]) -> None:
    (tmp_path / "ip-adapter.bin").write_bytes(b"\x80\x04.")
    for named in (tmp_path, tmp_path / "ip-adapter.bin"):
        with pytest.raises(InputError, match="safetensors"):
            weights.weights_file(str(named), "here")
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(files[1], alone)
    with pytest.raises(InputError, match="image encoder"):
        reference_of(str(files[0]), str(alone), 1.0)
    shutil.copy(files[1], alone / "second.safetensors")
    with pytest.raises(InputError, match="several weights files"):
        weights.weights_file(str(alone), "here")
    with pytest.raises(InputError, match="hf download nobody/adapter models/a"):
        weights.weights_file("nobody/adapter/models/a.safetensors", "here")
    with pytest.raises(InputError, match="no such file"):
        weights.weights_file("nothing.safetensors", "here")


@pytest.mark.parametrize("name", ["sdxl", "flux1", "sd35"])
def test_other_families_that_take_a_reference(
    name: str, shots: list[Shot], tmp_path: Path, files: tuple[Path, Path]
) -> None:
    family = open_family(resolve_base(make_tiny(name, tmp_path / "base")))  # type: ignore[arg-type]
    write = {"flux1": write_for_flux, "sd35": write_for_sd35}.get(name, write_ip_adapter)
    styled = reference_of(
        str(files[0]), str(write(getattr(family.pipeline(None), family.denoiser_name), tmp_path / "ip")), 1.0
    )
    assert styled is not None

    def draw(folder: str, own: StyleReference | None) -> Path:
        sampler = replace(SAMPLER, reference=own)
        return generate(family, None, shots[:2], tmp_path / folder, sampler, batch_size=2)[1].path

    plain, with_it = draw("plain", None), draw("with", styled)
    assert np.abs(_pixels(plain) - _pixels(with_it)).mean() > 0
    assert draw("after", None).read_bytes() == plain.read_bytes()
    known = dict(zip(styled.digests.values(), (styled.picture, styled.adapter, styled.encoder), strict=True))
    recipe = provenance.read_record(with_it)
    assert remake.compare(Image.open(with_it), remake.remake(family, recipe, None, known.get), recipe).same


def test_a_family_without_is_refused(tmp_path: Path, files: tuple[Path, Path]) -> None:
    family = open_family(resolve_base(make_tiny("z_image", tmp_path / "base")))
    with pytest.raises(
        ConfigError, match=r"does not support style references: got z_image; needed sd15, sdxl, sd35, flux1"
    ):
        open_pipeline(family, None, replace(SAMPLER, reference=_styled(files)))
