"""Job files of schedulers, held against their own schemas and the shell's linter."""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from portrait_lora.errors import InputError
from portrait_lora.fleet.job_files import GRACE_S, Machines, System, files_for

STORE = "s3://bucket/acme"
FOLDERS = ["/data/acme-fleet", "/data/$(XDG_CACHE_HOME)", '/data/it\'s $HOME; `rm -rf x` "y"/ü #1 fleet']
USUAL = Machines(shards=8, at_once=4, image="registry.example/portrait-lora:0.1", volume="acme",
                 accelerator="A100", secret="store")  # fmt: skip


def shellcheck(*texts: str) -> None:
    """The shell's linter finds nothing, but that a folder's name looks like a variable."""
    linter = str(Path(sys.executable).parent / "shellcheck")
    for text in texts:
        done = subprocess.run(
            [linter, "--shell=bash", "--exclude=SC2016", "-"], input=text, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout


def words_of(script: str, **filled: str) -> list[str]:
    """The words that a shell makes of a script whose program is replaced by one that prints them."""
    show = 'portrait-lora() { printf \'%s\\0\' "$@"; }; exec() { "$@"; };'
    done = subprocess.run(
        ["bash", "-c", show + script], capture_output=True, text=True, env=filled, check=True
    )
    return done.stdout.split("\0")[:-1]


@pytest.mark.parametrize("home", [*FOLDERS, STORE])
def test_slurm(home: str) -> None:
    ((name, text),) = files_for("slurm", "Acme GmbH", home, USUAL).items()
    assert name == "acme-gmbh.slurm"
    shellcheck(text)
    options = dict(line.removeprefix("#SBATCH --").partition("=")[::2]
                 for line in text.splitlines() if line.startswith("#SBATCH"))  # fmt: skip
    assert options["array"] == "1-8%4" and options["gres"] == "gpu:1" and "requeue" in options
    assert (
        options["signal"] == f"B:TERM@{GRACE_S}"
    )  # to the worker itself: `exec` puts it in the shell's place
    body = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    assert words_of(body, SLURM_ARRAY_TASK_ID="3") == [
        "fleet",
        "work",
        home,
        "--device",
        "cuda",
        "--shard",
        "3/8",
    ]


@pytest.mark.parametrize("home", ["/data/acme-fleet", STORE, "s3://bucket/$(XDG_CACHE_HOME)"])
def test_kubernetes(home: str) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    ((_, text),) = files_for("kubernetes", "acme", home, USUAL).items()
    job: dict[str, Any] = yaml.safe_load(text)
    validate.validate(job, validate.latest_version(), strict=True)
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert (spec["completions"], spec["parallelism"], spec["completionMode"]) == (8, 4, "Indexed")
    container = pod["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    seen = home if "://" in home else "/fleet"
    assert "$(XDG" not in container["args"][0].replace("$$(", "")
    script = container["args"][0].replace("$$(", "$(")  # as Kubernetes itself reads it
    assert words_of(script, JOB_COMPLETION_INDEX="0")[2:] == [
        seen, "--device", "cuda", "--shard", "1/8"
    ]  # fmt: skip
    shellcheck("#!/bin/sh\n" + script)
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    assert ("fleet" in mounted) is ("://" not in home)
    assert pod["terminationGracePeriodSeconds"] == GRACE_S and pod["securityContext"]["runAsNonRoot"]


def test_the_schema_sees_a_wrong_key() -> None:
    validate = pytest.importorskip("kubernetes_validate")
    job = yaml.safe_load(next(iter(files_for("kubernetes", "acme", STORE, USUAL).values())))
    job["spec"]["template"]["spec"]["containers"][0]["volumeMount"] = []
    with pytest.raises(validate.ValidationError):
        validate.validate(job, validate.latest_version(), strict=True)


def test_skypilot() -> None:
    written = files_for("skypilot", "acme", STORE, USUAL)
    task: dict[str, Any] = yaml.safe_load(written["acme.sky.yaml"])
    # the keys of a task by SkyPilot's reference; its own schema is asked where the package is installed
    assert set(task) == {"name", "resources", "envs", "setup", "run"}
    assert task["resources"] == {
        "cpus": "4+", "memory": "16+", "use_spot": True, "accelerators": "A100:1",
        "image_id": "docker:registry.example/portrait-lora:0.1",
    }  # fmt: skip
    assert words_of(task["run"], SHARD="5/8") == [
        "fleet", "work", STORE, "--device", "cuda", "--shard", "5/8"
    ]  # fmt: skip
    launch = written["acme.sky.sh"]
    shellcheck(launch, task["run"], task["setup"])
    calls = [shlex.split(line) for line in _calls(launch)]
    assert len(calls) == 8 and calls[7][-3:] == ["--env", "SHARD=8/8", "acme.sky.yaml"]


def _calls(launch: str) -> list[str]:
    show = 'sky() { echo "$@"; }; dirname() { echo .; };'
    return subprocess.run(["bash", "-c", show + launch], capture_output=True, text=True).stdout.splitlines()


@pytest.mark.parametrize(
    ("system", "home", "changes", "words"),
    [
        ("kubernetes", "/data/x", {"volume": ""}, "do not see this folder"),
        ("kubernetes", STORE, {"image": ""}, "needs an image"),
        ("kubernetes", STORE, {"image": "a b"}, "plain word"),
        ("kubernetes", "/data/x", {"volume": "A_b"}, "not a name in Kubernetes"),
        ("skypilot", "/data/x", {}, "do not see this folder"),
        ("skypilot", STORE, {"accelerator": ""}, "name of a GPU"),
        ("slurm", "/data/x", {"shards": 0}, "too few"),
        ("slurm", "/data/x\n#SBATCH --wrap=evil", {}, "control characters"),
        ("slurm", "/data/x", {"partition": "gpu\n#SBATCH --x"}, "plain word"),
    ],
)
def test_what_cannot_be(system: System, home: str, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        files_for(system, "acme", home, replace(USUAL, **changes))


def test_without_a_gpu() -> None:
    cpu = replace(USUAL, gpus=0)
    for system in ("slurm", "kubernetes", "skypilot"):
        text = "".join(files_for(system, "acme", STORE, cpu).values())
        assert "--device cpu" in text and "gpu:" not in text and "nvidia" not in text and "A100" not in text
