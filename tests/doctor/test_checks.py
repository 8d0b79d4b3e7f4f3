"""Faults planted one at a time: the doctor finds each, names it, and says what to do.

Most are real: files, folders, variables and servers as a user would have them.  What this machine cannot have
(another Python, a GPU, a full disk) reaches the doctor as facts.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from portrait_lora import device
from portrait_lora.doctor import checks as doctor
from portrait_lora.doctor import distributions
from portrait_lora.doctor.checks import Check
from portrait_lora.doctor.machine import Machine, probe
from portrait_lora.faces import catalog, install, packs
from portrait_lora.families import base_model
from portrait_lora.hub import lock
from portrait_lora.hub.hub import Hub
from portrait_lora.rights import consent
from tests.local_hub import LocalHub, serving
from tests.tasks.made_up import make_likeness

NEEDED = ["torch==2.13.0", "pillow>=13.0.0", "numpy>=2.0"]
TESTED = {"torch": "2.13.0", "pillow": "13.0.0", "numpy": "2.4.6"}
HEALTHY = Machine(
    python=(3, 11),
    versions={"torch": "2.13.0", "pillow": "13.0.0", "numpy": "2.4.6", "opencv-python": "5.0.0.93"},
    damaged={},
    torch_error="",
    driver=True,
    cuda_build=True,
    gpu="A card",
    gpu_memory_gb=24.0,
    bf16=True,
    memory_gb=32.0,
    free_gb={"cache": 500.0, "here": 500.0},
    writable={"/cache": True},
    login="accepted",
    online=True,
    offline=False,
    working_folder=Path("/nowhere"),
)


def failed(checks: list[Check], name: str) -> Check:
    """The check of this name that failed, with a remedy."""
    bad = [c for c in checks if c.name.startswith(name) and c.status != "ok"]
    assert bad, f"{name} not found among {checks}"
    assert bad[0].remedy, bad[0]
    return bad[0]


def without(name: str) -> Machine:
    return replace(HEALTHY, versions={k: v for k, v in HEALTHY.versions.items() if k != name})


def with_versions(**more: str) -> Machine:
    versions = {k.replace("_", "-"): v for k, v in more.items()}
    return replace(HEALTHY, versions={**HEALTHY.versions, **versions})


FACTS: dict[str, tuple[Machine, str, str]] = {
    "old Python": (replace(HEALTHY, python=(3, 10)), "python", "3.10"),
    "package missing": (without("numpy"), "package numpy", "not installed"),
    "package of another version": (with_versions(torch="2.15.0"), "package torch", "2.15.0"),
    "a version nobody has tried": (with_versions(numpy="2.9.0"), "versions", "2.9.0 (tested: 2.4.6)"),
    "CUDA without driver": (replace(HEALTHY, gpu="", driver=False), "gpu", "no NVIDIA driver"),
    "driver without GPU": (replace(HEALTHY, gpu=""), "gpu", "finds no GPU"),
    "no bf16": (replace(HEALTHY, bf16=False), "precision", "no bf16"),
    "full disk": (replace(HEALTHY, free_gb={"cache": 1.0}), "disk (cache)", "1.0 GB"),
}


@pytest.mark.parametrize("fault", sorted(FACTS))
def test_a_simulated_fault_is_reported(fault: str) -> None:
    machine, name, words = FACTS[fault]
    checks = doctor.judge_machine(machine, NEEDED, TESTED)
    assert words in failed(checks, name).observed
    assert len([c for c in checks if c.status != "ok"]) == 1, "and nothing else"


def test_a_healthy_machine_is_left_in_peace() -> None:
    checks = doctor.judge_machine(HEALTHY, NEEDED, TESTED)
    assert {c.status for c in checks} == {"ok"}
    assert doctor.summary(checks)["healthy"] is True
    offline = doctor.judge_machine(replace(HEALTHY, offline=True, online=None), NEEDED, TESTED)
    assert {c.status for c in offline} == {"ok"}


class Bench:
    """A place to plant faults in: folders, variables and a hub that are this test's own."""

    def __init__(self, root: Path, server: LocalHub, patch: pytest.MonkeyPatch):
        self.root, self.server, self.patch = root, server, patch
        self.early = root / "early"  # on the path before everything else
        self.early.mkdir()
        (root / "work").mkdir()
        patch.syspath_prepend(str(self.early))
        patch.chdir(root / "work")
        for name, value in {
            "HF_HOME": str(root / "home"),
            "HF_HUB_CACHE": str(root / "home" / "hub"),
            "HF_ENDPOINT": server.address,
            "HF_TOKEN": "hf_good",
            "HF_HUB_OFFLINE": "0",
            "TRANSFORMERS_OFFLINE": "0",
        }.items():
            patch.setenv(name, value)

    def package(self, name: str, version: str) -> None:
        """What a distribution leaves when it is installed."""
        folder = self.early / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")

    def copy_of(self, name: str) -> Path:
        """An installed package with its records, in front of the one in use."""
        one = metadata.distribution(name)
        for file in {str(f).split("/")[0] for f in one.files or [] if not str(f).startswith("..")}:
            shutil.copytree(str(one.locate_file(file)), self.early / file)
        return self.early / name

    def checks(self) -> list[Check]:
        """The whole look at the machine, with the network."""
        return doctor.judge_machine(probe(Hub.from_environment(), network=True))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with serving(LocalHub()) as server:
        yield Bench(tmp_path, server, monkeypatch)


def _cut_file(b: Bench) -> None:
    file = b.copy_of("jinja2") / "environment.py"
    file.write_bytes(file.read_bytes()[:-100])


def _lost_file(b: Bench) -> None:
    (b.copy_of("jinja2") / "runtime.py").unlink()


def _broken_torch(b: Bench) -> None:
    (b.early / "torch.py").write_text("raise ImportError('libcudart.so.13: cannot open shared object file')")
    b.patch.delitem(sys.modules, "torch")


def _driver(b: Bench) -> None:
    (b.early / "nvidia-smi").write_text("#!/bin/sh\n")
    (b.early / "nvidia-smi").chmod(0o755)
    b.patch.setenv("PATH", str(b.early), prepend=":")


def _small_container(b: Bench) -> None:
    (b.root / "memory.max").write_text("2000000000\n")
    b.patch.setattr(device, "_LIMITS", (b.root / "memory.max",))


def _cache_is_a_file(b: Bench) -> None:
    (b.root / "taken").write_text("a file")
    b.patch.setenv("HF_HUB_CACHE", str(b.root / "taken" / "hub"))


def _no_token(b: Bench) -> None:
    b.patch.delenv("HF_TOKEN")
    b.patch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(b.root / "none"))
    b.patch.setattr("huggingface_hub.constants.HF_STORED_TOKENS_PATH", str(b.root / "none"))


REAL: dict[str, tuple[Callable[[Bench], object], str, str]] = {
    "two opencv": (lambda b: b.package("opencv_python_headless", "5.0"), "opencv", "overwrite"),
    "an old pillow in front": (lambda b: b.package("pillow", "12.3.0"), "package pillow", "12.3.0"),
    "a package cut short": (_cut_file, "package jinja2", "jinja2/environment.py"),
    "a package without a file": (_lost_file, "package jinja2", "jinja2/runtime.py"),
    "a torch that does not start": (_broken_torch, "torch", "libcudart"),
    "a driver that torch does not see": (_driver, "gpu", "driver"),
    "a container with little memory": (_small_container, "memory", "2.0 GB"),
    "a cache inside a file": (_cache_is_a_file, "folders", "not writable"),
    "hub unreachable": (lambda b: b.patch.setenv("HF_ENDPOINT", "http://127.0.0.1:9"), "hub", "unreachable"),
    "hub misspelt": (lambda b: b.patch.setenv("HF_ENDPOINT", "htp:/huggingface"), "hub", "unreachable"),
    "a token that has ended": (lambda b: b.server.expired.add("hf_good"), "hub", "rejects the token"),
    "not logged in": (_no_token, "hub", "not logged in"),
    "a folder called as a pack": (lambda b: Path("buffalo_l").mkdir(), "working folder", "buffalo_l"),
}


TOGETHER = (
    ("two opencv", "a package cut short", "a driver that torch does not see", "hub unreachable",
     "a container with little memory", "a folder called as a pack"),
    ("an old pillow in front", "a package without a file", "a cache inside a file", "hub misspelt"),
    ("a torch that does not start", "a token that has ended"),
    ("not logged in",),
)  # fmt: skip
"""A look at the machine takes seconds; faults of different rows do not hide each other."""


def test_every_fault_is_planted() -> None:
    assert sorted(fault for faults in TOGETHER for fault in faults) == sorted(REAL)


@pytest.mark.parametrize("faults", TOGETHER, ids=lambda faults: faults[0])
def test_real_faults_of_the_machine_are_reported(faults: tuple[str, ...], bench: Bench) -> None:
    for fault in faults:
        REAL[fault][0](bench)
    checks = bench.checks()
    reported = {fault: failed(checks, REAL[fault][1]) for fault in faults}
    for fault, check in reported.items():
        assert REAL[fault][2] in check.observed, fault
    others = {c.name for c in checks if c.status != "ok"} - {"gpu", "versions"}
    assert others <= {check.name for check in reported.values()}, "and nothing else"


def test_this_installation_is_whole_and_logged_in(bench: Bench) -> None:
    checks = {c.name: c for c in bench.checks()}
    assert not [c for c in checks.values() if c.status == "fail"]
    assert checks["hub"].observed == "reachable, logged in"
    assert bench.server.tokens == {"Bearer hf_good"}
    assert distributions.tested()["torch"].startswith("2.")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    (tmp_path / "cache").mkdir()
    return Hub("http://127.0.0.1:9", tmp_path / "cache")


def test_the_shipped_models_are_whole(hub: Hub) -> None:
    assert {c.status for c in doctor.judge_models(hub)} == {"ok"}


def test_a_damaged_base_and_pack_are_reported(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assets = Path(shutil.copytree(base_model.ASSETS, tmp_path / "assets"))
    monkeypatch.setattr(base_model, "ASSETS", assets)
    monkeypatch.setattr(packs, "embedded_folder", lambda: assets / "face_pack")
    (assets / "base" / "vae" / "config.json").write_text("{}")
    (assets / "face_pack" / "det_synthetic.onnx").write_bytes(b"cut")
    blobs = hub.cache / "models--a--b" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "x.incomplete").write_bytes(b"part")
    pulled = catalog.packs_home() / "buffalo_l"
    pulled.mkdir(parents=True)
    (pulled / packs.PACK_FILE).write_text("{")
    assert install.installed(catalog.KNOWN["buffalo_l"])
    checks = doctor.judge_models(hub)
    assert "damaged" in failed(checks, "embedded base").observed
    failed(checks, "face pack embedded")
    failed(checks, "face pack buffalo_l")
    failed(checks, "hub cache")


def _unknown_key(folder: Path) -> None:
    (folder / "likeness.yaml").write_text("trainning: {}\n")


def _pickle_in_base(folder: Path) -> None:
    base = Path(shutil.copytree(base_model.ASSETS / "base", folder / "base"))
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
def test_a_fault_of_a_likeness_is_reported(fault: str, hub: Hub, tmp_path: Path) -> None:
    import datetime as dt

    folder = make_likeness(tmp_path / "anna")
    consent.write(folder, consent.of_subject("Anna", dt.date.today()))
    assert {c.status for c in doctor.judge_likeness(folder, hub)} == {"ok"}
    plant, name = FOLDER_FAULTS[fault]
    plant(folder)
    failed(doctor.judge_likeness(folder, hub), name)


def test_the_facts_are_gathered(hub: Hub) -> None:
    machine = probe(hub, network=True)
    assert machine.python >= (3, 11) and machine.memory_gb > 0
    assert machine.online is False and "torch" in machine.versions


def test_the_self_test_runs_the_embedded_models() -> None:
    from portrait_lora.doctor.selftest import checked_self_test

    check = checked_self_test()
    assert check.status == "ok", check
