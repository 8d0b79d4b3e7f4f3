"""A checkpoint in one file becomes a folder with the same networks, or is refused with the reason."""

from __future__ import annotations

import functools
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
import transformers
from safetensors.torch import save_file

from portrait_lora import cli, manifest
from portrait_lora.errors import InputError
from portrait_lora.families import catalog, open_family
from portrait_lora.families.adapter_file import read_header
from portrait_lora.hub.hub import Hub
from portrait_lora.tasks import pull as pulling
from portrait_lora.tasks.convert import convert
from tests.ldm_layout import Weights, checkpoint_of
from tests.local_hub import LocalHub, serving
from tests.tiny_families import make_tiny, randomized

OFFLINE = Hub("http://127.0.0.1:9", Path("nowhere"), offline=True)
PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")

CROSS, UP = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"
BLOCKS: dict[str, dict[str, Any]] = {
    "sd15": {
        "block_out_channels": (8, 8, 16, 16),
        "down_block_types": (CROSS, CROSS, CROSS, "DownBlock2D"),
        "up_block_types": ("UpBlock2D", UP, UP, UP),
        "attention_head_dim": 2,
    },
    "sdxl": {
        "block_out_channels": (8, 8, 16),
        "down_block_types": ("DownBlock2D", CROSS, CROSS),
        "up_block_types": (UP, UP, "UpBlock2D"),
        "attention_head_dim": (2, 2, 4),
        "transformer_layers_per_block": (1, 2, 3),
    },
}


def make_pipe(family: str, folder: Path) -> Any:
    """A tiny pipeline with as many blocks and layers as the real one; every weight drawn anew."""
    make_tiny(family, folder)  # type: ignore[arg-type]
    kind = diffusers.StableDiffusionXLPipeline if family == "sdxl" else diffusers.StableDiffusionPipeline
    pipe = kind.from_pretrained(folder)
    if family == "sdxl":
        config = pipe.text_encoder_2.config
        config.hidden_size = config.projection_dim = 24
        pipe.text_encoder_2 = transformers.CLIPTextModelWithProjection(config)
    settings = {**pipe.unet.config, **BLOCKS[family], "layers_per_block": 2, "norm_num_groups": 4}
    pipe.unet = diffusers.UNet2DConditionModel.from_config(settings)
    pipe.vae = diffusers.AutoencoderKL.from_config({**pipe.vae.config, "layers_per_block": 2})
    for part in PARTS:
        if hasattr(pipe, part):
            randomized(getattr(pipe, part))
    return pipe


class Case:
    """The pipeline, its one-file checkpoint, and a folder with its configuration but no weights."""

    def __init__(self, family: str, root: Path):
        self.family, self.pipe = family, make_pipe(family, root / "source")
        self.weights = {k: v.contiguous() for k, v in checkpoint_of(self.pipe).items()}
        self.file, self.like = root / f"{family}.safetensors", root / "like"
        save_file(self.weights, self.file)
        self.pipe.save_pretrained(self.like)
        for weights in self.like.rglob("*.safetensors"):
            weights.unlink()


@pytest.fixture(scope="module")
def sd15(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case("sd15", tmp_path_factory.mktemp("sd15"))


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case("sdxl", tmp_path_factory.mktemp("sdxl"))


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("case", ["sd15", "sdxl"], indirect=True)
def test_every_weight_arrives(case: Case, tmp_path: Path) -> None:
    out = tmp_path / "base"
    assert convert(case.file, out, OFFLINE, like=str(case.like)) == case.family
    base = catalog.resolve_base(out)
    assert base.family == case.family and base.licence == "unknown"
    again = type(case.pipe).from_pretrained(out)
    for part in PARTS:
        if hasattr(case.pipe, part):
            before, after = getattr(case.pipe, part).state_dict(), getattr(again, part).state_dict()
            assert before.keys() == after.keys()
            assert all(torch.equal(before[k], after[k]) for k in before), part
    verified = manifest.verify(out)
    assert verified.kind == "base" and verified.inputs["checkpoint"] == manifest.sha256_file(case.file)
    assert [p.name for p in tmp_path.iterdir()] == ["base"]


def test_the_networks_answer_as_before_and_the_family_trains_on_them(sd15: Case, tmp_path: Path) -> None:
    out = tmp_path / "base"
    convert(sd15.file, out, OFFLINE, like=str(sd15.like))
    again = diffusers.StableDiffusionPipeline.from_pretrained(out)
    noise = torch.Generator().manual_seed(0)
    latents, words = torch.randn(1, 4, 8, 8, generator=noise), torch.randn(1, 7, 32, generator=noise)
    pixels = torch.randn(1, 3, 64, 64, generator=noise)
    with torch.no_grad():
        for pipe_answer in (
            lambda p: p.unet(latents, torch.tensor([500]), words).sample,
            lambda p: p.vae.encode(pixels).latent_dist.mean,
            lambda p: p.vae.decode(latents).sample,
        ):
            torch.testing.assert_close(pipe_answer(again), pipe_answer(sd15.pipe), rtol=0, atol=1e-6)
    family = open_family(catalog.resolve_base(out))
    family.load("encoders")
    assert family.encode_prompts(["a"]).embeds_BLD.shape[-1] == 32


def test_half_precision_stays_half(sd15: Case, tmp_path: Path) -> None:
    half = tmp_path / "half.safetensors"
    ids = {"cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(32)[None]}
    save_file({k: v.half() for k, v in sd15.weights.items()} | ids, half)
    convert(half, tmp_path / "base", OFFLINE, like=str(sd15.like))
    for part, name in (("unet", "diffusion_pytorch_model"), ("text_encoder", "model")):
        header = read_header(tmp_path / "base" / part / f"{name}.safetensors")
        assert {v["dtype"] for k, v in header.items() if k != "__metadata__"} == {"F16"}


def _without(prefix: str) -> Callable[[Weights], Weights]:
    return lambda weights: {k: v for k, v in weights.items() if not k.startswith(prefix)}


def _renamed(old: str, new: str) -> Callable[[Weights], Weights]:
    return lambda weights: {k.replace(old, new): v for k, v in weights.items()}


REFUSED: dict[str, tuple[Callable[[Weights], Weights], str]] = {
    "no vae": (_without("first_stage_model"), "no VAE"),
    "no encoder": (_without("cond_stage_model"), "not a checkpoint that can be converted"),
    "lora": (lambda w: {"lora_unet_a.lora_down.weight": torch.zeros(2)}, "a LoRA"),
    "flux": (lambda w: {"model.diffusion_model.double_blocks.0.x": torch.zeros(2)}, "a FLUX transformer"),
    "sd2": (_renamed("cond_stage_model.transformer.", "cond_stage_model.model."), "Stable Diffusion 2"),
    "a weight lacks": (_without("model.diffusion_model.out.2.bias"), r"does not fit.*weights are lacking"),
    "an encoder's weight lacks": (
        _without("cond_stage_model.transformer.text_model.final_layer_norm.bias"),
        r"does not fit.*lack",
    ),
    "a weight too many": (
        lambda w: w | {"model.diffusion_model.input_blocks.9.0.in_layers.0.weight": torch.zeros(2)},
        "does not fit",
    ),
    "another width": (
        lambda w: {
            k: torch.cat([v, v]) if k.endswith("input_blocks.0.0.weight") else v for k, v in w.items()
        },
        "does not fit",
    ),
    "velocity": (lambda w: w | {"v_pred": torch.zeros(1)}, "v-prediction"),
    "zero terminal SNR": (lambda w: w | {"ztsnr": torch.zeros(1)}, "v-prediction"),
    "NaN": (
        lambda w: w | {k: v * float("nan") for k, v in w.items() if k.endswith("input_blocks.0.0.weight")},
        "not finite",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused(sd15: Case, tmp_path: Path, what: str) -> None:
    change, match = REFUSED[what]
    like = shutil.copytree(sd15.like, tmp_path / "like")
    scheduler = like / "scheduler" / "scheduler_config.json"
    scheduler.write_text(scheduler.read_text().replace("v_prediction", "epsilon"))
    save_file(change(sd15.weights), tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=match):
        convert(tmp_path / "a.safetensors", tmp_path / "base", OFFLINE, like=str(like))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.safetensors", "like"], "nothing half-done"


@pytest.mark.parametrize(
    ("markers", "metadata", "config", "message"),
    [
        (("v_pred", "ztsnr"), "", "v_prediction", ""),
        (("ztsnr",), "v", "v_prediction", ""),
        ((), "v", "v_prediction", ""),
        ((), "v", "epsilon", "trained for v-prediction"),
        ((), "epsilon", "v_prediction", "trained for epsilon"),
        (("v_pred",), "epsilon", "v_prediction", "contradicts itself"),
        (("ztsnr",), "epsilon", "epsilon", "goes with v-prediction only"),
        ((), "sample", "epsilon", "unsupported prediction type"),
    ],
)
def test_the_noise_process_of_the_file_is_kept_or_the_file_refused(
    sd15: Case, tmp_path: Path, markers: tuple[str, ...], metadata: str, config: str, message: str
) -> None:
    like = shutil.copytree(sd15.like, tmp_path / "like")
    scheduler = like / "scheduler" / "scheduler_config.json"
    scheduler.write_text(json.dumps(json.loads(scheduler.read_text()) | {"prediction_type": config}))
    about = {"modelspec.prediction_type": metadata} if metadata else None
    save_file(sd15.weights | {m: torch.zeros(1) for m in markers}, tmp_path / "a.safetensors", metadata=about)
    if message:
        with pytest.raises(InputError, match=message):
            convert(tmp_path / "a.safetensors", tmp_path / "base", OFFLINE, like=str(like))
        return
    convert(tmp_path / "a.safetensors", tmp_path / "base", OFFLINE, like=str(like))
    written = json.loads((tmp_path / "base" / "scheduler" / "scheduler_config.json").read_text())
    assert written["prediction_type"] == "v_prediction"
    schedule = open_family(catalog.resolve_base(tmp_path / "base")).schedule
    assert (float(schedule.alphas_cumprod_T[-1]) == 0.0) == ("ztsnr" in markers)  # type: ignore[union-attr]
    assert ("ztsnr" in markers) == (written.get("timestep_spacing") == "trailing")


def test_other_files_folders_and_families(sd15: Case, sdxl: Case, tmp_path: Path) -> None:
    for name in ("model.ckpt", "model.pt"):
        (tmp_path / name).write_bytes(b"\x80\x04pickle")
        with pytest.raises(InputError, match="can run code"):
            convert(tmp_path / name, tmp_path / "base", OFFLINE, like=str(sd15.like))
    (tmp_path / "pickle.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(InputError, match="not a safetensors file: got a pickle"):
        convert(tmp_path / "pickle.safetensors", tmp_path / "base", OFFLINE, like=str(sd15.like))
    with pytest.raises(InputError, match="another family"):
        convert(sd15.file, tmp_path / "base", OFFLINE, like=str(sdxl.like))
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="something already"):
        convert(sd15.file, full, OFFLINE, like=str(sd15.like))
    with pytest.raises(InputError, match="--like"):
        convert(sd15.file, tmp_path / "base", OFFLINE, into=tmp_path)
    for refuse in (catalog.resolve_base, lambda f: pulling.pull(str(f), tmp_path, OFFLINE)):
        with pytest.raises(InputError, match="portrait-lora convert"):
            refuse(sd15.file)


def test_of_a_catalogue_base_only_small_files_are_fetched(
    sd15: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda s: None)
    row = next(b for b in catalog.bases() if b.name == "sd15")
    files = {p.relative_to(sd15.like).as_posix(): p.read_bytes() for p in sd15.like.rglob("*") if p.is_file()}
    for part in ("unet", "vae", "text_encoder"):
        files[f"{part}/model.safetensors"] = b"weights" * 1000
    with serving(LocalHub({row.repo: files})) as server:
        hub = Hub(server.address, tmp_path / "cache", wait_s=0.0)
        convert(sd15.file, tmp_path / "base", hub, into=tmp_path)
        assert server.log and not any(path.endswith(".safetensors") for _, path, _ in server.log)
        commit = server.commit(row.repo)
    assert manifest.verify(tmp_path / "base").inputs["configuration"] == f"{row.repo}@{commit}"


def test_the_command(sd15: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "base"
    arguments = ["convert", str(sd15.file), "--like", str(sd15.like), "--out", str(out), "--json"]
    assert cli._run(functools.partial(cli.app, arguments)) == 0
    assert json.loads(capsys.readouterr().out) == {"folder": str(out), "family": "sd15"}
    assert cli._run(functools.partial(cli.app, ["inspect", str(out)])) == 0
    assert "kind: base" in capsys.readouterr().out
