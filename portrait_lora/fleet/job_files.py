"""Files for schedulers that start workers themselves: a Slurm array, a Kubernetes Job, a SkyPilot task.

All of them call `portrait-lora fleet work`, so nothing in them has to be kept in step with anything: each
worker takes whoever is left, and one that is started again goes on.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from portrait_lora import __version__, manifest
from portrait_lora.errors import InputError
from portrait_lora.fleet.objects import is_folder

System = Literal["slurm", "kubernetes", "skypilot"]
GRACE_S: Final = 180
"""What a worker gets to finish its step and save, before it is ended."""
_MOUNT: Final = "/fleet"
_SCRATCH: Final = "/scratch"
_AGAIN: Final = 6
_SHARD: Final = '"$SHARD"'
_KUBERNETES_NAME: Final = re.compile(r"[^a-z0-9-]+")


@dataclass(frozen=True, slots=True)
class Machines:
    """What each worker gets, and how many there are: `shards` in all, `at_once` of them at a time (0: all).

    `accelerator` is a name such as A100, which SkyPilot needs; `image`, `volume` (a claim whose root is the
    fleet's home) and `secret` (with the store's credentials) are Kubernetes's, `partition` is Slurm's.
    """

    shards: int
    at_once: int = 0
    gpus: int = 1
    cpus: int = 4
    memory_gb: int = 16
    hours: int = 24
    accelerator: str = ""
    partition: str = ""
    image: str = ""
    volume: str = ""
    secret: str = ""


def files_for(system: System, name: str, home: str, machines: Machines) -> dict[str, str]:
    """File name -> text.  `name` is of the fleet, `home` its folder or the address of its store.

    Raises `InputError` for numbers that cannot be, and for a home that such workers would not see.
    """
    _require(machines, home)
    return _SYSTEMS[system](_label(name), home, machines)


def command_for(home: str, part: str, machines: Machines) -> str:
    """The call of one worker, quoted for a shell; `part` is put in as it is, for the shell to fill in."""
    words = ["portrait-lora", "fleet", "work", home, "--device", "cuda" if machines.gpus else "cpu"]
    return f"{shlex.join(words)} --shard {part}"


def write(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write the files into a folder, where those of before are replaced; their paths."""
    paths = [folder / name for name in texts]
    for path in paths:
        manifest.write_text_atomic(path, texts[path.name], shared=True)
    return paths


def _slurm(name: str, home: str, machines: Machines) -> dict[str, str]:
    at_once = f"%{machines.at_once}" if machines.at_once else ""
    part = f'"$SLURM_ARRAY_TASK_ID/{machines.shards}"'
    options = {
        "job-name": name,
        "array": f"1-{machines.shards}{at_once}",
        "cpus-per-task": machines.cpus,
        "mem": f"{machines.memory_gb}G",
        "time": f"{machines.hours}:00:00",
        "signal": f"B:TERM@{GRACE_S}",
        "open-mode": "append",
        "output": f"{name}-%A_%a.log",
        **({"gres": f"gpu:{machines.gpus}"} if machines.gpus else {}),
        **({"partition": _word(machines.partition, "--partition")} if machines.partition else {}),
    }
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH --{key}={value}" for key, value in options.items()),
        "#SBATCH --requeue",
        "",
        f"# Workers of the fleet {name}. Start with: sbatch {name}.slurm",
        "# Cut off by the time limit or by preemption they save their state; the same command goes on.",
        "set -euo pipefail",
        f"exec {command_for(home, part, machines)}",
    ]
    return {f"{name}.slurm": "\n".join(lines) + "\n"}


def _kubernetes(name: str, home: str, machines: Machines) -> dict[str, str]:
    if not machines.image:
        raise InputError("a Kubernetes Job needs an image", where="--image", needed="one with portrait-lora")
    in_folder = is_folder(home)
    if in_folder and not machines.volume:
        raise InputError(
            "pods do not see this folder",
            where=home,
            needed="--volume CLAIM, a volume whose root is this folder, or --store URL",
        )
    part = f'"$((JOB_COMPLETION_INDEX + 1))/{machines.shards}"'
    # of what stands in $(…) Kubernetes would itself put in the value of a variable
    place = _MOUNT if in_folder else home.replace("$(", "$$(")
    script = f"exec {command_for(place, part, machines)}"
    amounts = {
        "cpu": str(machines.cpus),
        "memory": f"{machines.memory_gb}Gi",
        **({"nvidia.com/gpu": str(machines.gpus)} if machines.gpus else {}),
    }
    mounts = [{"name": "scratch", "mountPath": _SCRATCH}]
    volumes: list[dict[str, Any]] = [{"name": "scratch", "emptyDir": {}}]
    if in_folder:
        mounts.append({"name": "fleet", "mountPath": _MOUNT})
        volumes.append({"name": "fleet", "persistentVolumeClaim": {"claimName": machines.volume}})
    container: dict[str, Any] = {
        "name": "work",
        "image": machines.image,
        "command": ["/bin/sh", "-c"],
        "args": [script],
        "env": [
            {"name": "XDG_CACHE_HOME", "value": _SCRATCH},
            {"name": "OMP_NUM_THREADS", "value": str(machines.cpus)},
        ],
        **({"envFrom": [{"secretRef": {"name": machines.secret}}]} if machines.secret else {}),
        "resources": {"requests": amounts, "limits": amounts},
        "volumeMounts": mounts,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_S,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": volumes,
    }  # fmt: skip
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "portrait-lora"}},
        "spec": {
            "completionMode": "Indexed",
            "completions": machines.shards,
            "parallelism": machines.at_once or machines.shards,
            "backoffLimitPerIndex": _AGAIN,
            # a pod whose node is drained or preempted is started again, and does not count
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "Ignore",
                        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                    }
                ]
            },
            "template": {"metadata": {"labels": {"app.kubernetes.io/name": "portrait-lora"}}, "spec": pod},
        },
    }
    head = f"# Workers of the fleet {name}. Start with: kubectl create -f {name}.yaml\n"
    return {f"{name}.yaml": head + _yaml(job)}


def _skypilot(name: str, home: str, machines: Machines) -> dict[str, str]:
    if is_folder(home):
        raise InputError(
            "workers of SkyPilot do not see this folder", where=home, needed="--store s3://bucket/fleet"
        )
    if machines.gpus and not machines.accelerator:
        raise InputError("SkyPilot needs the name of a GPU", where="--accelerator", needed="such as A100")
    resources: dict[str, Any] = {
        "cpus": f"{machines.cpus}+",
        "memory": f"{machines.memory_gb}+",
        "use_spot": True,
        **({"accelerators": f"{machines.accelerator}:{machines.gpus}"} if machines.gpus else {}),
    }
    if machines.image:
        resources["image_id"] = f"docker:{machines.image}"
    task = {
        "name": name,
        "resources": resources,
        "envs": {"SHARD": f"1/{machines.shards}"},
        "setup": f"python3 -m pip install 'portrait-lora[fleet]=={__version__}'\n",
        "run": f"exec {command_for(home, _SHARD, machines)}\n",
    }
    file = f"{name}.sky.yaml"
    head = f"# A worker of the fleet {name}. Start all of them with: bash {name}.sky.sh\n"
    launch = [
        "#!/bin/bash",
        "# Managed jobs: one that is preempted is started elsewhere, and goes on from its last checkpoint.",
        "set -euo pipefail",
        'cd "$(dirname "$0")"',
        f"for shard in $(seq 1 {machines.shards}); do",
        f'  sky jobs launch --yes --detach-run --name "{name}-$shard" '
        f'--env SHARD="$shard/{machines.shards}" {file}',
        "done",
    ]
    return {file: head + _yaml(task), f"{name}.sky.sh": "\n".join(launch) + "\n"}


_SYSTEMS: Final[Mapping[System, Callable[[str, str, Machines], dict[str, str]]]] = {
    "slurm": _slurm,
    "kubernetes": _kubernetes,
    "skypilot": _skypilot,
}


def _require(machines: Machines, home: str) -> None:
    numbers = {"--shards": machines.shards, "--cpus": machines.cpus, "--memory-gb": machines.memory_gb}
    for where, number in {**numbers, "--hours": machines.hours}.items():
        if number < 1:
            raise InputError("too few", where=where, got=number, needed="at least 1")
    if machines.gpus < 0 or machines.at_once < 0:
        raise InputError("less than none", where="--gpus, --at-once", needed="at least 0")
    if not home.isprintable():
        raise InputError("a job file cannot name this folder", where=home, needed="no control characters")
    for where, word in (("--volume", machines.volume), ("--secret", machines.secret)):
        if word and not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", word):
            raise InputError("not a name in Kubernetes", where=where, got=word)
    for where, word in (("--image", machines.image), ("--accelerator", machines.accelerator)):
        if word:
            _word(word, where)


def _word(word: str, where: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/@,-]*", word):
        raise InputError("not a plain word", where=where, got=word, needed="letters, digits and ._:/@,-")
    return word


def _label(name: str) -> str:
    """A name that all of these systems take: small letters, digits and hyphens."""
    return _KUBERNETES_NAME.sub("-", name.lower()).strip("-")[:50].strip("-") or "fleet"


def _yaml(value: object) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=200)
