"""A new family is one file, one row and one recipe; a family without a row is refused by its name."""

from __future__ import annotations

import inspect
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file

from portrait_lora import config, manifest
from portrait_lora.errors import InputError
from portrait_lora.families import (
    catalog,
    choose,
    default_weights,
    family_type,
    layout,
    lora_readers,
    open_family,
    reload,
    single_file,
    takes_negative,
)
from portrait_lora.families.adapter_file import metadata, read_adapter, read_header
from portrait_lora.families.family import Family
from portrait_lora.families.rows import ROWS, bases, row_of
from portrait_lora.generation import presets, reference
from portrait_lora.hub.hub import Hub
from portrait_lora.likeness import open_likeness
from portrait_lora.records import Adapter, FamilyName
from portrait_lora.stages import usual
from portrait_lora.tasks import convert as converting
from portrait_lora.tasks.export import export
from portrait_lora.tasks.lint import lint_text
from portrait_lora.tasks.verify.base import verify
from portrait_lora.tasks.verify.learning import add_lora, write_adapter
from portrait_lora.training import preflight
from portrait_lora.training.export import kohya_state
from tests.families import invented, test_contract
from tests.ldm_layout import checkpoint_of
from tests.tasks.made_up import make_likeness
from tests.tasks.test_convert import make_pipe

OFFLINE = Hub("http://127.0.0.1:9", Path("nowhere"), offline=True)
RECIPE = Path(__file__).parent / "invented-small.yaml"


def test_the_table_names_classes_that_are_there_and_opens_none_of_them() -> None:
    for name, row in ROWS.items():
        kind = family_type(name)
        assert (row.name, {b.family for b in row.bases}) == (name, {name})
        assert bool(row.text_encoders_b) == bool(kind.lora_layers.text), name
        assert kind.pipeline_type.__name__ in row.pipelines
        assert kind.denoiser_name in row.comfy or name == "sana"  # which ComfyUI does not know
    assert {preset.family for preset in presets.PRESETS.values()} <= set(ROWS)
    script = (
        "import sys; import portrait_lora.families.rows, portrait_lora.families.choose; "
        "print([m for m in ('torch', 'diffusers', 'transformers', 'peft') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# A family that was not there before.


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row in the table, the recipe among the others, and a diffusers that has the pipeline."""
    monkeypatch.setitem(ROWS, invented.NAME, invented.ROW)
    configs = Path(shutil.copytree(config.configs_dir(), tmp_path / "configs"))
    shutil.copy(RECIPE, configs)
    monkeypatch.setattr(config, "configs_dir", lambda: configs)
    monkeypatch.setattr(diffusers, "InventedPipeline", invented.InventedPipeline, raising=False)


def renamed(pipe: Any) -> Any:
    """A Stable Diffusion pipeline under the invented name."""
    return invented.InventedPipeline(**pipe.components, requires_safety_checker=False)


@pytest.fixture
def folder(tmp_path: Path, tiny_folder: Path, registered: None) -> Path:
    pipe = renamed(diffusers.StableDiffusionPipeline.from_pretrained(tiny_folder))
    pipe.save_pretrained(tmp_path / "base", safe_serialization=True)
    return tmp_path / "base"


@pytest.fixture
def family(folder: Path) -> Iterator[Family]:
    opened = open_family(catalog.resolve_base(folder))
    yield opened
    opened.load("none")


@pytest.mark.usefixtures("registered")
def test_it_is_in_the_catalogue_with_its_recipe() -> None:
    base = catalog.resolve_base("invented-small")
    assert base in bases() and "invented-small" in [row["name"] for row in catalog.table()]
    assert isinstance(open_family(base), invented.Invented)
    settings = config.load(None, ["base=invented-small"])
    assert (settings.training.rank, settings.generate.num_inference_steps) == (5, base.steps)


@pytest.mark.usefixtures("registered")
def test_it_is_planned_and_proposed() -> None:
    base = catalog.resolve_base("invented-small")
    assert usual.usual_means(base, 4.0).fits
    least, quickest = usual.memory_range_gb(base)
    assert 0 < least < quickest < 4
    costly = replace(invented.ROW, cost=replace(invented.ROW.cost, kept_gb=50.0))
    ROWS[invented.NAME] = costly
    assert usual.memory_range_gb(base)[1] > 50
    ROWS[invented.NAME] = invented.ROW
    requested = {"device": "cuda", "bf16": True, "commercial": True, "studio_pictures": False}
    choice = choose.choose_base(**requested, memory_gb=24.0, plan=usual.usual_means)  # type: ignore[arg-type]
    assert choice.base == base and default_weights(base, "cuda") == "bfloat16"


@pytest.mark.usefixtures("registered")
def test_its_prompts_are_linted_by_its_own_limit_and_form() -> None:
    assert takes_negative(invented.NAME)
    (row,) = lint_text("ohwx woman, soft window light, a long row of red brick houses", "invented-small")
    assert "falls_off" in {remark.code for remark in row.remarks}
    series = lint_text("headshots", "invented-small")
    assert all(one.prompt.endswith(".") for one in series)


def test_a_folder_of_it_is_known_by_its_index(folder: Path) -> None:
    base = catalog.resolve_base(folder)
    assert base.family == layout.inspect(folder).family == invented.NAME
    unet = folder / "unet" / "config.json"
    unet.write_text(json.dumps(json.loads(unet.read_text()) | {"sample_size": None}))
    assert catalog.resolve_base(folder).resolution_px == 320


@pytest.mark.usefixtures("registered")
def test_a_checkpoint_in_one_file_is_recognised_and_converted(tmp_path: Path) -> None:
    pipe = renamed(make_pipe("sd15", tmp_path / "source"))
    pipe.save_pretrained(tmp_path / "like", safe_serialization=True)
    named = {k.replace("cond_stage_model.", invented.TEXT): v for k, v in checkpoint_of(pipe).items()}
    file = tmp_path / "one.safetensors"
    save_file({k: v.contiguous() for k, v in named.items()}, file)
    assert single_file.recognise(file) == invented.NAME
    assert converting.convert(file, tmp_path / "out", OFFLINE, like=str(tmp_path / "like")) == invented.NAME
    again = invented.InventedPipeline.from_pretrained(tmp_path / "out")
    for part in ("unet", "vae", "text_encoder"):
        before, after = getattr(pipe, part).state_dict(), getattr(again, part).state_dict()
        assert all(torch.equal(before[k], after[k]) for k in before), part
    with pytest.raises(InputError, match="the configuration for this checkpoint") as caught:
        converting.convert(file, tmp_path / "other", OFFLINE)  # its own base, which is not here
    assert caught.value.where == "maker/invented-small"


def test_an_adapter_of_it_is_exported_for_every_tool_and_read_back(
    family: Family, folder: Path, tmp_path: Path
) -> None:
    family.load("denoiser")
    add_lora(family, family.lora_layers.everything)
    opened = open_likeness(make_likeness(tmp_path / "anna"))
    adapter = write_adapter(family, opened.adapters / "adapter.safetensors")
    manifest.finish(opened.adapters, kind="adapter", inputs={})
    assert read_adapter(adapter.path).family == invented.NAME
    layers = len(load_file(adapter.path)) // 2
    assert reload.layers_taken(family.base, adapter.path) == layers > 4
    for tool in ("comfy", "kohya", "diffusers"):
        summary = export(opened, family.base, tool, tmp_path / tool, name="anna")  # type: ignore[arg-type]
        assert (summary["layers"], summary["reloaded"]) == (layers, True)
    keys = load_file(tmp_path / "comfy" / "anna.safetensors")
    assert all(key.startswith("invented.") for key in keys)
    assert json.loads((tmp_path / "kohya" / "anna.json").read_text())["sd version"] == "Invented"
    header = read_header(adapter.path)["__metadata__"]
    assert (header["modelspec.architecture"], header["ss_base_model_version"]) == (
        "invented-v1/lora", "invented_v1",
    )  # fmt: skip
    own = metadata(
        replace(adapter, base="invented-small"), resolution_px=64, prediction_type="epsilon", licence="x"
    )
    assert own["modelspec.architecture"] == "invented-v1-small/lora"


def test_its_folder_is_verified_end_to_end(folder: Path) -> None:
    done = verify(str(folder), folder.parent, device="cpu", size_px=64, steps=5, rate=2e-2)
    assert (done.family, done.met) == (invented.NAME, True)


CONTRACT = [check for name, check in vars(test_contract).items() if name.startswith("test_")]


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__.removeprefix("test_"))
def test_it_keeps_the_contract(check: Callable[..., None], family: Family, tmp_path: Path) -> None:
    taken = inspect.signature(check).parameters
    arguments = {"fresh": family, "name": invented.NAME, "tmp_path": tmp_path / "own"}
    (tmp_path / "own").mkdir()
    check(**{key: value for key, value in arguments.items() if key in taken})


# A family without a row.

UNKNOWN = "sd16"
BASE = replace(catalog.resolve_base("sdxl"), family=UNKNOWN)


def about(path: Path, family: FamilyName) -> Adapter:
    return Adapter(path, family, "some", "", 4, 4.0, (), "ohwx", "", "", 1)


def _with_text(job: preflight.Job) -> preflight.Job:
    """The job with its text encoders trained along."""
    return replace(job, recipe=replace(job.recipe, text_encoder=1.0))


def header_of(folder: Path) -> Path:
    """An adapter file whose header names the family."""
    header = metadata(about(Path("a"), "sdxl"), resolution_px=64, prediction_type="epsilon", licence="x")
    file = folder / "a.safetensors"
    save_file({"x": torch.zeros(1)}, file, metadata=header | {"portrait_lora.family": UNKNOWN})
    return file


READERS: dict[str, Callable[[Path], object]] = {
    "its row": lambda _: row_of(UNKNOWN),
    "its class": lambda _: family_type(UNKNOWN),
    "a base opened": lambda _: open_family(BASE),
    "its weights": lambda _: default_weights(BASE, "cuda"),
    "negative prompts": lambda _: takes_negative(UNKNOWN),
    "means of training": lambda _: usual.usual_means(BASE, 24.0),
    "time of training": lambda _: preflight.seconds_needed(
        usual.usual_job(BASE), preflight.Means("float32", False, 1, 1.0, True, ""), 1.0
    ),
    "text encoders trained": lambda _: preflight.memory_needed_gb(
        _with_text(usual.usual_job(replace(BASE, synthetic=True))), "float32", False, 1
    ),
    "ComfyUI": lambda _: lora_readers.reads("comfy", UNKNOWN),
    "A1111": lambda _: lora_readers.reads("kohya", UNKNOWN),
    "diffusers": lambda _: lora_readers.reads("diffusers", UNKNOWN),
    "a layer for ComfyUI": lambda _: lora_readers.spelled("comfy", UNKNOWN, "unet.x"),
    "a layer for diffusers": lambda _: lora_readers.spelled("diffusers", UNKNOWN, "unet.x"),
    "a state for ComfyUI": lambda _: kohya_state({"unet.x.lora_A.weight": torch.zeros(1, 1)}, 1.0, UNKNOWN),
    "a header written": lambda folder: metadata(
        about(folder, UNKNOWN), resolution_px=64, prediction_type="epsilon", licence="x"
    ),
    "a header read": lambda folder: read_adapter(header_of(folder)),
    "an export": lambda folder: export(
        open_likeness(make_likeness(folder / "anna")), BASE, "comfy", folder / "out", name="anna"
    ),
    "a conversion": lambda folder: single_file.convert(folder / "x", UNKNOWN, folder, folder / "out"),
    "a style reference": lambda folder: reference.load(
        type("Opened", (), {"base": BASE})(),  # type: ignore[arg-type]
        None,
        reference.StyleReference(folder, folder, folder),
    ),
    "a preset": lambda _: presets.fitting("lcm-sd15", UNKNOWN),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_family_without_a_row_is_refused_by_its_name(reader: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown model family") as caught:
        READERS[reader](tmp_path)
    assert caught.value.got == "'sd16'" and "qwen_image" in str(caught.value.needed)
    assert "'sd15'" in str(caught.value.remedy)


def test_a_pipeline_of_no_family_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / layout.INDEX).write_text(json.dumps({"_class_name": "InventedPipeline"}))
    with pytest.raises(InputError, match="unknown architecture") as caught:
        layout.read_layout(tmp_path)
    assert caught.value.got == "'InventedPipeline'" and "QwenImagePipeline" in str(caught.value.needed)
