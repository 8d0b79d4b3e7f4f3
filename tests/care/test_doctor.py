"""Fifteen faults planted one at a time: the doctor finds each, names it, and says what to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from portrait_lora import consent, lock
from portrait_lora.care import doctor
from portrait_lora.care.doctor import Check
from portrait_lora.care.machine import Machine, probe
from portrait_lora.faces import install, known, packs
from portrait_lora.families import bases
from portrait_lora.hub import Hub
from tests.care.made_up import make_likeness

NEEDED = ["torch==2.13.0", "pillow>=13.0.0", "numpy>=2.0"]
HEALTHY = Machine(
    python=(3, 11),
    versions={"torch": "2.13.0", "pillow": "13.0.0", "numpy": "2.4.6", "opencv-python": "5.0.0.93"},
    driver=True,
    cuda_build=True,
    gpu="A card",
    gpu_memory_gb=24.0,
    bf16=True,
    memory_gb=32.0,
    free_gb={"cache": 500.0, "here": 500.0},
    writable={"/cache": True},
    logged_in=True,
    online=True,
    offline=False,
    working_folder=Path("/nowhere"),
)


def found(checks: list[Check], name: str) -> Check:
    """The check of this name that found something, with a remedy."""
    bad = [c for c in checks if c.name.startswith(name) and c.status != "ok"]
    assert bad, f"{name} not found among {checks}"
    assert bad[0].remedy, bad[0]
    return bad[0]


def without(name: str) -> Machine:
    return replace(HEALTHY, versions={k: v for k, v in HEALTHY.versions.items() if k != name})


def with_versions(**more: str) -> Machine:
    versions = {k.replace("_", "-"): v for k, v in more.items()}
    return replace(HEALTHY, versions={**HEALTHY.versions, **versions})


MACHINE_FAULTS: dict[str, tuple[Machine, str, str]] = {
    "old Python": (replace(HEALTHY, python=(3, 10)), "python", "3.10"),
    "package missing": (without("numpy"), "package numpy", "not installed"),
    "package of another version": (with_versions(torch="2.15.0"), "package torch", "2.15.0"),
    "pillow held back": (with_versions(pillow="12.3.0"), "package pillow", "12.3.0"),
    "two opencv": (with_versions(opencv_python_headless="5.0"), "opencv", "overwrite"),
    "torch without CUDA": (replace(HEALTHY, gpu="", cuda_build=False), "gpu", "without CUDA"),
    "CUDA without driver": (replace(HEALTHY, gpu="", driver=False), "gpu", "no driver"),
    "driver without GPU": (replace(HEALTHY, gpu=""), "gpu", "finds no GPU"),
    "no bf16": (replace(HEALTHY, bf16=False), "precision", "no bf16"),
    "little memory": (replace(HEALTHY, memory_gb=2.0), "memory", "2.0"),
    "full disk": (replace(HEALTHY, free_gb={"cache": 1.0}), "disk (cache)", "1.0 GB"),
    "cache not writable": (replace(HEALTHY, writable={"/cache": False}), "folders", "/cache"),
    "hub unreachable": (replace(HEALTHY, online=False), "hub", "cannot be reached"),
    "not logged in": (replace(HEALTHY, logged_in=False), "hub", "not logged in"),
}


@pytest.mark.parametrize("fault", sorted(MACHINE_FAULTS))
def test_a_fault_of_the_machine_is_found(fault: str) -> None:
    machine, name, words = MACHINE_FAULTS[fault]
    checks = doctor.judge_machine(machine, NEEDED)
    assert words in found(checks, name).found
    assert len([c for c in checks if c.status != "ok"]) == 1, "and nothing else"


def test_a_healthy_machine_is_left_in_peace() -> None:
    checks = doctor.judge_machine(HEALTHY, NEEDED)
    assert {c.status for c in checks} == {"ok"}
    assert doctor.summary(checks)["healthy"] is True
    offline = doctor.judge_machine(replace(HEALTHY, offline=True, online=None), NEEDED)
    assert {c.status for c in offline} == {"ok"}


def test_a_shadow_in_the_working_folder_is_found(tmp_path: Path) -> None:
    (tmp_path / "buffalo_l").mkdir()
    checks = doctor.judge_machine(replace(HEALTHY, working_folder=tmp_path), NEEDED)
    assert "buffalo_l" in found(checks, "working folder").found


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    (tmp_path / "cache").mkdir()
    return Hub("http://127.0.0.1:9", tmp_path / "cache")


def test_the_shipped_models_are_whole(hub: Hub) -> None:
    assert {c.status for c in doctor.judge_models(hub)} == {"ok"}


def test_a_damaged_base_and_pack_are_found(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assets = Path(shutil.copytree(bases.ASSETS, tmp_path / "assets"))
    monkeypatch.setattr(bases, "ASSETS", assets)
    monkeypatch.setattr(packs, "embedded_folder", lambda: assets / "face_pack")
    (assets / "base" / "vae" / "config.json").write_text("{}")
    (assets / "face_pack" / "det_synthetic.onnx").write_bytes(b"cut")
    blobs = hub.cache / "models--a--b" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "x.incomplete").write_bytes(b"part")
    pulled = known.packs_home() / "buffalo_l"
    pulled.mkdir(parents=True)
    (pulled / packs.PACK_FILE).write_text("{")
    assert install.installed(known.KNOWN["buffalo_l"])
    checks = doctor.judge_models(hub)
    assert "damaged" in found(checks, "embedded base").found
    found(checks, "face pack embedded")
    found(checks, "face pack buffalo_l")
    found(checks, "hub cache")


def _unknown_key(folder: Path) -> None:
    (folder / "likeness.yaml").write_text("trainning: {}\n")


def _pickle_in_base(folder: Path) -> None:
    base = Path(shutil.copytree(bases.ASSETS / "base", folder / "base"))
    (base / "unet" / "evil.bin").write_bytes(b"pickle")
    (folder / "likeness.yaml").write_text(f"base: {base}\n")


FOLDER_FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "unknown key": (_unknown_key, "configuration"),
    "damaged lock": (lambda f: (f / lock.NAME).write_text("{"), "lock"),
    "base not fetched": (lambda f: (f / "likeness.yaml").write_text("base: sdxl\n"), "base model"),
    "pickle in a base": (_pickle_in_base, "base model"),
    "pack not fetched": (lambda f: (f / "likeness.yaml").write_text("face_pack: auraface\n"), "face pack"),
    "no consent": (lambda f: (f / consent.NAME).unlink(), "consent"),
    "unfinished write": (lambda f: (f / ".writing-dataset-x").mkdir(), "unfinished"),
}


@pytest.mark.parametrize("fault", sorted(FOLDER_FAULTS))
def test_a_fault_of_a_likeness_is_found(fault: str, hub: Hub, tmp_path: Path) -> None:
    import datetime as dt

    folder = make_likeness(tmp_path / "anna")
    consent.write(folder, consent.of_subject("Anna", dt.date.today()))
    assert {c.status for c in doctor.judge_likeness(folder, hub)} == {"ok"}
    plant, name = FOLDER_FAULTS[fault]
    plant(folder)
    found(doctor.judge_likeness(folder, hub), name)


def test_the_facts_are_gathered(hub: Hub) -> None:
    machine = probe(hub, network=True)
    assert machine.python >= (3, 11) and machine.memory_gb > 0
    assert machine.online is False and "torch" in machine.versions


def test_the_self_test_runs_the_embedded_models() -> None:
    from portrait_lora.care.selftest import checked_self_test

    check = checked_self_test()
    assert check.status == "ok", check
