"""The right file for every program, and nothing of the person beside it."""

from __future__ import annotations

import ast
import json
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from PIL import Image

from portrait_lora import provenance
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.families.adapter_file import lora_layers
from portrait_lora.families.catalog import bases, resolve_base
from portrait_lora.families.lora_readers import Tool
from portrait_lora.likeness import Likeness, open_likeness
from portrait_lora.tasks import outside
from portrait_lora.tasks.export import DIFFUSERS_NAME, card, export, exported_to
from portrait_lora.tasks.inspect import in_words, inspect_file
from tests.killed import killed_at
from tests.sampling import sampled
from tests.tasks.made_up import make_likeness

SDXL = next(b for b in bases() if b.name == "sdxl")


@pytest.fixture
def opened(tmp_path: Path) -> Likeness:
    return open_likeness(make_likeness(tmp_path / "anna"))


@pytest.mark.parametrize(
    ("tool", "files"),
    [
        ("comfy", ["likeness.safetensors"]),
        ("kohya", ["likeness.safetensors", "likeness.json"]),
        ("diffusers", [DIFFUSERS_NAME, "README.md"]),
    ],
)
def test_every_tool_gets_its_layout(opened: Likeness, tmp_path: Path, tool: str, files: list[str]) -> None:
    out = tmp_path / "out"
    summary = export(opened, resolve_base("embedded"), tool, out, name="likeness")  # type: ignore[arg-type]
    assert summary["files"] == files
    assert lora_layers(out / files[0]) == summary["layers"] == 1
    assert summary["base"] == "embedded" and str(summary["example_prompt"]).startswith(
        "portrait photo of ohwx person"
    )
    assert exported_to(opened.root) == [out.resolve()]
    for path in out.rglob("*"):
        assert b"anna" not in path.read_bytes().lower()
    if tool == "kohya":
        sidecar = json.loads((out / "likeness.json").read_text())
        assert sidecar["activation text"] == "ohwx" and sidecar["sd version"] == "SD1"


def test_the_card_has_front_matter_and_says_private(opened: Likeness, tmp_path: Path) -> None:
    export(opened, SDXL, "diffusers", tmp_path / "out", name="likeness")
    text = (tmp_path / "out" / "README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert front["base_model"] == SDXL.repo
    assert front["base_model_relation"] == "adapter"
    assert front["license"] == "other" and front["license_name"] == "openrail++"
    assert front["instance_prompt"] == "ohwx" and "widget" not in front
    assert "--private" in text and not (tmp_path / "out" / "images").exists()


EVIL = "ohwx\nlicense: mit\n---\n# <script>alert(1)</script> ``` \x1b[31m"


def test_a_trigger_cannot_write_the_card(opened: Likeness, tmp_path: Path) -> None:
    (opened.root / "likeness.yaml").write_text(
        yaml.safe_dump({"base": "embedded", "subject": {"trigger": EVIL}})
    )
    named = open_likeness(opened.root)
    trigger = named.config.subject.trigger
    text = card(named, SDXL, "a\n# b<i>", [Path("portrait_0.png")])
    front, body = yaml.safe_load(text.split("\n---\n")[0].removeprefix("---\n")), text.split("\n---\n", 1)[1]
    assert front["license"] == "other" and front["instance_prompt"] == trigger
    assert front["widget"][0]["text"] == trigger and "\n---" not in body
    assert "<script>" not in body.split("```")[0] and "<i>" not in body and body.count("```") == 2
    assert [line for line in body.splitlines() if line.startswith("#")] == ["# a\\n# b&lt;i&gt;"]
    code = body.split("```python\n")[1].split("\n```")[0].splitlines()
    assert code[1] == f"pipe({code[1][5:-1]})" and ast.literal_eval(code[1][5:-1]).startswith(
        f"portrait photo of {trigger}"
    )


def test_the_export_is_loaded_again_by_its_reader(opened: Likeness, tmp_path: Path) -> None:
    for tool in ("comfy", "kohya"):
        assert export(opened, resolve_base("embedded"), tool, tmp_path / tool, name="x")["reloaded"] is True  # type: ignore[arg-type]
    assert export(opened, SDXL, "diffusers", tmp_path / "sdxl", name="x")["reloaded"] is False  # not here


def test_portraits_only_on_request(opened: Likeness, tmp_path: Path) -> None:
    summary = export(opened, SDXL, "diffusers", tmp_path / "out", name="x", portraits=True)
    assert summary["files"][2:] == ["images/portrait_0.png", "images/portrait_1.png"]  # type: ignore[index]
    assert "<Gallery />" in (tmp_path / "out" / "README.md").read_text()
    for picture in (tmp_path / "out" / "images").iterdir():
        assert provenance.source_type(picture) == provenance.TRAINED
        assert b"ohwx" not in picture.read_bytes() and provenance.RECIPE_KEY not in Image.open(picture).info


def test_what_cannot_be_exported_is_an_error(opened: Likeness, tmp_path: Path) -> None:
    base = resolve_base("embedded")
    with pytest.raises(InputError, match="cannot read this family"):
        export(opened, replace(SDXL, family="flux2"), "kohya", tmp_path / "out", name="x")
    adapter = opened.adapters / "adapter.safetensors"
    whole = adapter.read_bytes()
    adapter.write_bytes(whole[:-1])
    with pytest.raises(ArtifactError):
        export(opened, base, "diffusers", tmp_path / "out", name="x")
    adapter.unlink()
    with pytest.raises(InputError, match="portrait-lora train"):
        export(opened, base, "diffusers", tmp_path / "out", name="x")
    assert not (tmp_path / "out").exists()


def test_a_file_shows_how_it_was_generated(opened: Likeness, tmp_path: Path) -> None:
    portrait = opened.root / "portraits" / "headshots" / "shot_1.png"
    facts = inspect_file(portrait)
    assert facts["digital_source_type"] == "trainedAlgorithmicMedia"
    assert facts["recipe"] == {"seed": 1, "prompt": "ohwx woman"}
    assert facts["sidecar"] == {"file": "shot_1.json", "matches": True, "versions": {"torch": "2"}}
    adapter = inspect_file(opened.adapters / "adapter.safetensors")
    assert adapter["layers"] == 1 and "portrait_lora.trigger" in adapter["metadata"]  # type: ignore[operator]
    assert inspect_file(opened.root / "dataset")["kind"] == "dataset"
    assert inspect_file(opened.root / "photos" / "anna_0.png")["recipe"] is None
    for wrong in (tmp_path / "nowhere.png", opened.root / "captions.csv"):
        with pytest.raises(InputError):
            inspect_file(wrong)
    portrait.with_suffix(".json").write_text("{")
    with pytest.raises(ArtifactError, match="sidecar"):
        inspect_file(portrait)


def test_the_answers_people_look_for_come_first(opened: Likeness) -> None:
    portrait = opened.root / "portraits" / "headshots" / "shot_1.png"
    text = "\n".join(in_words(inspect_file(portrait)))
    assert "generated?  yes" in text and "changed?    no" in text and "signed?     no" in text
    assert "prompt      ohwx woman" in text
    with portrait.open("ab") as stream:
        stream.write(b"more")
    assert "changed?    YES" in "\n".join(in_words(inspect_file(portrait)))
    photo = "\n".join(in_words(inspect_file(opened.root / "photos" / "anna_0.png")))
    assert "bears no mark" in photo and "changed?    not known" in photo
    adapter = "\n".join(in_words(inspect_file(opened.adapters / "adapter.safetensors")))
    assert "a LoRA of 1 layers for sd15" in adapter and "trigger     ohwx" in adapter
    assert in_words(inspect_file(opened.root / "dataset"))[0].endswith("1 files, all as they were written")


@pytest.mark.parametrize(
    ("tool", "before"),
    sampled(
        [("comfy", True), ("kohya", False), ("diffusers", True)], kept=lambda case: case[0] != "diffusers"
    ),
)
def test_killed_anywhere_and_rerun_it_takes_its_own_files_for_its_own(
    opened: Likeness,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tool: Tool,
    before: bool,
    exhaustive: bool,
) -> None:
    """Also over an earlier export of other bytes; the record then knows what is there, and nothing else."""
    base, state, out = resolve_base("embedded"), tmp_path / "state", tmp_path / "out"
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    monkeypatch.setattr("portrait_lora.tasks.export._reload", lambda base, path: path.is_file())

    def work() -> None:
        export(opened, base, tool, out, name="likeness", portraits=True)

    def tree(folder: Path) -> dict[str, bytes]:
        return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    work()
    whole = tree(out)
    monkeypatch.setattr(outside, "_alone", nullcontext)  # its lock lives as long as a forked parent
    earlier = tmp_path / "earlier"
    if before:
        for path in [p for p in out.rglob("*") if p.is_file()]:
            path.write_bytes(b"as an earlier version wrote it")
            outside.record(opened.root, [path])
        for folder in (out, state):
            shutil.copytree(folder, earlier / folder.name)
    step, killed = 1, True
    while killed:
        for folder in (out, state):
            shutil.rmtree(folder, ignore_errors=True)
            if before:
                shutil.copytree(earlier / folder.name, folder)
        killed = killed_at(step, work)
        work()
        assert tree(out) == whole
        rows = outside.written_for(opened.root)
        assert sorted(row.file for row in rows) == sorted(str(out / name) for name in whole)
        assert all(row.is_as_written for row in rows)
        step += 1 if exhaustive or step < 8 else 2
    assert step > 8
