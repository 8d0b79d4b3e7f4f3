"""Model folders from strangers: read before they are loaded, and refused when they would run code."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from portrait_lora.errors import InputError, PortraitError
from portrait_lora.families import layout
from portrait_lora.families.catalog import resolve_base
from portrait_lora.families.rows import ROWS

UNET = "unet/diffusion_pytorch_model.safetensors"


class Canary:
    """Unpickling this would leave a file."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (os.environ["CANARY"],)


def edit(file: Path, change: dict[str, object]) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | change))


def header(file: Path, value: object) -> None:
    raw = json.dumps(value).encode()
    file.write_bytes(struct.pack("<Q", len(raw)) + raw)


def pickled(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(pickle.dumps(Canary()))


def index(folder: Path, change: dict[str, object]) -> None:
    edit(folder / "model_index.json", change)


def link(folder: Path, name: str, target: str) -> None:
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(target)


def shards(folder: Path, names: dict[str, str]) -> None:
    (folder / "unet/diffusion_pytorch_model.safetensors.index.json").write_text(
        json.dumps({"weight_map": names})
    )


HOSTILE: dict[str, Callable[[Path], object]] = {
    "pickle beside the weights": lambda f: pickled(f, "unet/diffusion_pytorch_model.bin"),
    "pickle instead of weights": lambda f: (f / UNET).rename(f / "unet/diffusion_pytorch_model.bin"),
    "ckpt at the root": lambda f: pickled(f, "model.ckpt"),
    "pt in the text encoder": lambda f: pickled(f, "text_encoder/pytorch_model.pt"),
    "pkl in the tokenizer": lambda f: pickled(f, "tokenizer/added.pkl"),
    "npz in the scheduler": lambda f: pickled(f, "scheduler/stats.npz"),
    "upper-case suffix": lambda f: pickled(f, "vae/weights.BIN"),
    "pickle called safetensors": lambda f: pickled(f, UNET),
    "python in a part": lambda f: (f / "unet/modeling.py").write_text("import os"),
    "python at the root": lambda f: (f / "pipeline.py").write_text("import os"),
    "compiled python": lambda f: (f / "unet/modeling.pyc").write_bytes(b"x"),
    "shared library": lambda f: (f / "vae/ops.so").write_bytes(b"x"),
    "custom pipeline class": lambda f: index(f, {"_class_name": "MyPipeline"}),
    "pipeline from a file": lambda f: index(f, {"_class_name": ["pipeline", "MyPipeline"]}),
    "class of another library": lambda f: index(f, {"unet": ["evil_package", "UNet2DConditionModel"]}),
    "class from a folder": lambda f: index(f, {"unet": ["my_unet", "MyUnet"]}),
    "class with a dot": lambda f: index(f, {"unet": ["diffusers", "loaders.os.system"]}),
    "class that is a list": lambda f: index(f, {"unet": ["diffusers", ["a", "b"]]}),
    "part outside": lambda f: index(f, {"../evil": ["diffusers", "UNet2DConditionModel"]}),
    "auto_map": lambda f: edit(f / "text_encoder/config.json", {"auto_map": {"AutoModel": "m.Evil"}}),
    "auto_map of a tokenizer": lambda f: edit(
        f / "tokenizer/tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["m.Evil", None]}}
    ),
    "auto_map within": lambda f: edit(
        f / "text_encoder/config.json", {"text_config": [{"auto_map": {"AutoModel": "m.Evil"}}]}
    ),
    "pickle in an unused part": lambda f: pickled(f, "safety_checker/pytorch_model.bin"),
    "pickle in a part of no use": lambda f: pickled(f, "extra/deep/weights.pt"),
    "python in an unused part": lambda f: pickled(f, "feature_extractor/run.py"),
    "NaN in a configuration": lambda f: edit(f / "vae/config.json", {"scaling_factor": float("nan")}),
    "other class in the part": lambda f: edit(f / "vae/config.json", {"_class_name": "VQModel"}),
    "weights link out": lambda f: link(f, UNET, "/etc/passwd"),
    "config links out": lambda f: link(f, "unet/config.json", "/etc/hostname"),
    "shard outside": lambda f: shards(f, {"a": "../../evil.safetensors"}),
    "shard absolute": lambda f: shards(f, {"a": "/tmp/evil.safetensors"}),
    "shard is a pickle": lambda f: shards(f, {"a": "model.bin"}),
    "shard missing": lambda f: shards(f, {"a": "model-00001-of-00002.safetensors"}),
    "cut weights": lambda f: (f / UNET).write_bytes((f / UNET).read_bytes()[:-9]),
    "endless header": lambda f: (f / UNET).write_bytes(struct.pack("<Q", 1 << 60) + b"{}"),
    "header is a list": lambda f: header(f / UNET, [1, 2]),
    "no weights": lambda f: (f / UNET).unlink(),
    "part missing": lambda f: shutil.rmtree(f / "vae"),
    "index is no object": lambda f: (f / "model_index.json").write_text("[1]"),
    "index nested for ever": lambda f: (f / "model_index.json").write_text("[" * 200_000),
    "index is not text": lambda f: (f / "model_index.json").write_bytes(b"\xff\xfe\x00"),
}


@pytest.mark.parametrize("case", sorted(HOSTILE))
def test_hostile_model_folders_are_refused_and_the_canary_sleeps(
    case: str, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "canary"
    monkeypatch.setenv("CANARY", str(canary))
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    HOSTILE[case](folder)
    with pytest.raises(PortraitError):
        resolve_base(folder)
    assert not canary.exists()


def test_a_good_folder_passes(tiny_folder: Path) -> None:
    inspected = layout.inspect(tiny_folder)
    assert inspected.family == "sd15"
    assert set(inspected.parts) == set(layout.SD_PARTS)


@pytest.mark.parametrize(
    ("pipeline", "family"),
    sorted((pipeline, row.name) for row in ROWS.values() for pipeline in row.pipelines),
)
def test_every_architecture_has_its_family(pipeline: str, family: str) -> None:
    index = {"_class_name": pipeline, "vae": ["diffusers", "AutoencoderKL"], "image_encoder": [None, None]}
    parsed = layout.parse_index(index, where="here")
    assert (parsed.family, dict(parsed.parts)) == (family, {"vae": "AutoencoderKL"})


def test_of_a_repository_only_what_is_needed_is_taken() -> None:
    index = {
        "_class_name": "StableDiffusionXLPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
    }
    names = (
        "README.md",
        "model_index.json",
        "sd_xl_base_1.0.safetensors",
        "feature_extractor/preprocessor_config.json",
        "tokenizer/merges.txt",
        "tokenizer/vocab.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "unet/flax_model.msgpack",
        "unet/model.onnx",
        "vae_1_0/diffusion_pytorch_model.safetensors",
    )
    parsed = layout.parse_index(index, where="here")
    assert set(layout.wanted_files(parsed.parts, names)) == {
        "model_index.json",
        "tokenizer/merges.txt",
        "tokenizer/vocab.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    }
    with pytest.raises(InputError, match="no safetensors"):
        layout.wanted_files(parsed.parts, [n for n in names if "safetensors" not in n])
