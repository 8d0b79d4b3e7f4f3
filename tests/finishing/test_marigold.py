# pyright: reportPrivateImportUsage=false
"""Photographs in another light by Marigold's networks: random weights, and surfaces that are known here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import transformers

from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.finishing import colour, marigold, relight
from portrait_lora.finishing.canvas import Canvas
from portrait_lora.finishing.marigold import KINDS as PIPELINES
from portrait_lora.finishing.sources import MARIGOLD as NAME
from portrait_lora.finishing.sources import MARIGOLD_PARTS as PARTS
from portrait_lora.finishing.sources import pulled_as
from portrait_lora.finishing.steps.cutout import Cutout, CutoutSettings
from portrait_lora.finishing.steps.relight import Relight, RelightSettings
from portrait_lora.finishing.tools import PictureTools
from portrait_lora.hub.hub import Hub
from portrait_lora.stages.finish_models import finder
from portrait_lora.tasks import pull as pulling
from tests.finishing import studio
from tests.local_hub import LocalHub, serving
from tests.tiny_families import _vae, randomized
from tests.tiny_models import write_tokenizer

STEP = Relight()
TARGETS = {"target_names": ["albedo", "shading", "residual"], "albedo": {"prediction_space": "linear"}}


def save(folder: Path, source: Path, kind: str, targets: int, **more: Any) -> None:
    """A pipeline of Marigold's layout: latents of the picture and of every target side by side."""
    tokenizer = write_tokenizer(source)
    text = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=32, bos_token_id=0, eos_token_id=1, pad_token_id=1,
        )
    )  # fmt: skip
    vae = _vae()
    latents = vae.config.latent_channels
    unet = diffusers.UNet2DConditionModel(
        in_channels=latents * (1 + targets), out_channels=latents * targets, block_out_channels=(8, 16),
        layers_per_block=1, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=16, attention_head_dim=4,
        norm_num_groups=4,
    )  # fmt: skip
    scheduler = diffusers.DDIMScheduler(prediction_type="v_prediction", clip_sample=False)
    pipe = getattr(diffusers, kind)(
        unet=randomized(unet), vae=randomized(vae), scheduler=scheduler, text_encoder=text,
        tokenizer=tokenizer, default_denoising_steps=1, default_processing_resolution=64, **more,
    )  # fmt: skip
    pipe.save_pretrained(folder, safe_serialization=True)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both networks as a folder of one's own."""
    folder = tmp_path_factory.mktemp("marigold")
    save(folder / "normals", folder / "source", PIPELINES[0], 1, prediction_type="normals")
    more = {"prediction_type": "intrinsics", "target_properties": TARGETS}
    save(folder / "intrinsics", folder / "source", PIPELINES[1], 3, **more)
    return folder


def photographer(folder: Path, find: Any = None) -> PictureTools:
    """Tools for which the studio's portrait is a photograph."""
    return PictureTools(studio.analyzer(), folder, 0, find or (lambda name: folder / name))


def test_a_photograph_is_relit_by_a_model_and_only_by_one(weights: Path) -> None:
    picture = Canvas.of(studio.sitter(3).picture[::2, ::2])
    tools = photographer(weights.parent)
    with pytest.raises(InputError, match=r"pull marigold"):
        STEP.apply(picture, RelightSettings(rig="split"), tools)
    own = {"rig": "split", "side": "left", "model": weights.name, "model_licence": "of my own"}
    settings = RelightSettings.model_validate(own)
    STEP.open(settings, tools)
    after = STEP.apply(picture, settings, tools)
    assert np.array_equal(after.rgb_HW3, STEP.apply(picture, settings, tools).rgb_HW3), "not the same again"
    clear = Cutout().apply(picture, CutoutSettings(), tools).alpha_HW == 0
    assert np.array_equal(after.rgb_HW3[clear], picture.rgb_HW3[clear])
    assert np.abs(after.rgb_HW3 - picture.rgb_HW3)[~clear].mean() > 0.02
    for one in (settings, RelightSettings(rig="split", model=NAME)):
        sold = photographer(weights, lambda name: weights / name.partition("/")[2])
        sold.folder, sold.commercial = weights.parent, True
        with pytest.raises(InputError, match="commercial use"):
            STEP.open(one, sold)
    digest = tools.used()[weights.name]
    (weights / "normals" / "note.txt").write_text("another file")
    tools.folder_of(weights.name, "folder")
    assert tools.used()[weights.name] != digest, "the record does not depend on the files"
    (weights / "normals" / "note.txt").unlink()


def test_what_the_networks_answer_has_the_units_of_the_shading(weights: Path) -> None:
    net = marigold.Marigold(*(weights / part for part in PARTS))
    normals, albedo = net.maps(studio.sitter(3).canvas.rgb_HW3[:90, :70], 1)
    assert normals.shape == albedo.shape == (90, 70, 3)
    assert np.allclose((normals**2).sum(-1), 1, atol=1e-4) and albedo.min() >= 0 and albedo.max() <= 1
    assert not np.array_equal(net.maps(studio.sitter(3).canvas.rgb_HW3[:90, :70], 2)[0], normals)


def ball() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coverage, normals and linear colours of a striped ball."""
    y, x = -np.mgrid[-1:1:96j, -1:1:96j].astype(np.float32)
    x = -x
    z = np.sqrt(np.maximum(1 - x * x - y * y, 0))
    cover = (x * x + y * y < 0.95).astype(np.float32)
    stripes = 0.35 + 0.1 * (np.floor(np.arange(96) / 4) % 2)[None, :, None]
    colours = (np.ones((96, 96, 3)) * stripes * [1, 0.8, 0.6]).astype(np.float32)
    return cover, np.stack([x, y, z], -1).astype(np.float32), colours


def test_the_light_comes_from_the_lamp_and_the_stripes_stay() -> None:
    cover, normals, colours = ball()
    rigs = [relight.Rig("split lighting", flip) for flip in (False, True)]
    before = colour.to_coded(marigold.lit(colour.to_coded(colours), cover, 60, (normals, colours), rigs[1]))
    after = marigold.lit(before, cover, 60, (normals, colours), rigs[0])
    inside = cover > 0
    left, right = (after[30:66, part][inside[30:66, part]].mean() for part in (np.s_[:40], np.s_[56:]))
    assert left > 3 * right, "split light stands on the left"
    row = relight.radiance(after)[48, 12:32, 1]
    assert np.abs(np.diff(row)).max() > 0.1 * row.mean(), "the stripes are gone"
    wanted = marigold.lit(colour.to_coded(colours), cover, 60, (normals, colours), rigs[0])
    middle = np.s_[30:66, 24:72]
    assert (
        np.abs(after - wanted)[middle].mean() < 0.5 * np.abs(colour.to_linear(before) - wanted)[middle].mean()
    )


def test_what_is_no_such_network_is_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="another kind of model"):
        marigold.Marigold(weights / "intrinsics", weights / "normals")
    more = {"prediction_type": "intrinsics", "target_properties": {"target_names": ["depth"]}}
    save(tmp_path / "other", tmp_path / "source", PIPELINES[1], 1, **more)
    with pytest.raises(ArtifactError, match="no colours without light"):
        marigold.Marigold(weights / "normals", tmp_path / "other")
    (tmp_path / "other" / "unet" / "weights.bin").write_bytes(b"pickle")
    with pytest.raises(InputError, match="can run code"):
        marigold.Marigold(weights / "normals", tmp_path / "other")
    with pytest.raises(InputError, match="no such folder"):
        photographer(tmp_path).folder_of("nowhere", "folder of a model")
    with pytest.raises(ValueError, match="model_licence"):
        RelightSettings(model="folder")


def test_the_networks_are_fetched_by_name_locked_and_found_again(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def files(folder: Path) -> dict[str, bytes]:
        every = (p for p in folder.rglob("*") if p.is_file())
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in every}

    repos = {one.repo: files(weights / part) for one, part in zip(pulled_as(NAME), PARTS, strict=True)}
    me = tmp_path / "me"
    me.mkdir()
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match=f"pull marigold --into {me}"):
        finder(me)(f"{NAME}/normals")
    with serving(LocalHub(repos)) as server:
        models = pulling.pull(NAME, me, Hub(server.address, tmp_path / "cache", wait_s=0.0))
        requests = len(server.log)
        folders = [finder(me)(name) for name in (f"{NAME}/{part}" for part in PARTS)]
        assert len(server.log) == requests, "finding asks nobody"
    assert [m.source for m in models] == list(repos)
    assert set(models[0].files) == set(repos[models[0].source])
    assert marigold.opened(*folders) is marigold.opened(*folders)
    with pytest.raises(InputError, match="no such model for finishing"):
        finder(me)("marigold/depth")
