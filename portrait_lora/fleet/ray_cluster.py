"""The connection to Ray: of a cluster that is there, or one on this machine for as long as it is needed."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from portrait_lora import holding, log
from portrait_lora.errors import InputError, PortraitError, require_extra

NAMESPACE: Final = "portrait_lora"
_PREFIX: Final = "plora-ray-"
_MEMORY: Final = 80 << 20
"""Bytes of Ray's object store, which holds nothing but small records: the least that Ray takes."""
_QUIET: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_memory_monitor_refresh_ms": "0",
}
_LOOK_S: Final = 2.0
"""How long the room of a cluster is taken for known."""
_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class RayPlace:
    """Where the workers are.

    `address` of a cluster, or empty for this machine; `workers` at most (0: as many as there are devices);
    `gpus` and `cpus` of each (None: one GPU where the cluster has any; 0: as many CPUs as threads).  `store`
    is an address such as s3://bucket/fleet for workers that do not share the home's folder, `scratch` their
    folder for copies.  `lease_s` as in claims.py.
    """

    address: str = ""
    workers: int = 0
    gpus: float | None = None
    cpus: int = 0
    store: str = ""
    scratch: str = ""
    lease_s: float = 120.0


@dataclass(frozen=True, slots=True)
class NodeAnswer:
    """What a node, by its address, answered; `error` where it could not be asked, `left`: it is not there."""

    node: str
    value: object = None
    error: str = ""
    left: bool = False


@dataclass
class Cluster:
    """A cluster that is connected; `own` is the folder of one on this machine, which ends with it."""

    place: RayPlace
    needs: Mapping[str, float]
    own: Path | None = None
    was_connected: bool = False
    _held: holding.Hold | None = field(default=None, repr=False)
    _room: int = 0
    _looked: float = float("-inf")

    def room(self) -> int:
        """How many workers may be at work: as asked for, or as the nodes that are there have devices."""
        if self.place.workers:
            return self.place.workers
        if time.monotonic() - self._looked > _LOOK_S:
            self._looked, self._room = time.monotonic(), self._devices()
        return self._room

    def _devices(self) -> int:
        import ray

        return sum(_fits(node["Resources"], self.needs) for node in ray.nodes() if node["Alive"])

    def hire(self, kind: type, *arguments: object) -> Any:
        """A new worker wherever Ray finds room for it, now or later."""
        import ray

        gpus, cpus = self.needs.get("GPU", 0), self.needs["CPU"]
        actor_class: Any = ray.remote(kind).options(  # pyright: ignore[reportAttributeAccessIssue]
            num_gpus=gpus, num_cpus=cpus, max_restarts=0, max_task_retries=0, max_concurrency=4
        )
        return actor_class.remote(*arguments)

    def dismiss(self, actor: Any) -> None:
        """End a worker."""
        import ray

        self._looked = float("-inf")
        try:
            ray.kill(actor, no_restart=True)
        except Exception as error:  # it is gone already, or its node is
            _log.debug("%s", error)

    def on_every_node(
        self, work: Callable[..., object], *arguments: object, seconds: float = 60.0
    ) -> list[NodeAnswer]:
        """Call a function on each node that is there; what each answers, and who cannot be asked.

        Those that have left the cluster cannot, unless another has their address now: the same machine.
        """
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        task: Any = ray.remote(num_cpus=0, max_retries=0)(work)
        nodes: list[dict[str, Any]] = ray.nodes()
        alive = [node for node in nodes if node["Alive"]]
        here = {node["NodeManagerAddress"] for node in alive}
        gone = dict.fromkeys(str(node["NodeManagerAddress"]) for node in nodes if not node["Alive"])
        pinned = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in alive]
        calls = [task.options(scheduling_strategy=one).remote(*arguments) for one in pinned]
        ready, _ = ray.wait(calls, num_returns=len(calls), timeout=seconds)
        answers = [
            _answer(str(node["NodeManagerAddress"]), one, one in ready)
            for node, one in zip(alive, calls, strict=True)
        ]
        lost = [NodeAnswer(address, error="it has left the cluster", left=True) for address in gone]
        return [*answers, *(one for one in lost if one.node not in here)]

    def close(self) -> None:
        """Let go of it; one of this machine ends, and its files go."""
        import ray

        if not self.was_connected:
            ray.shutdown()
        if self.own is not None:
            shutil.rmtree(self.own, ignore_errors=True)
        if self._held is not None:
            self._held.release()


def _answer(node: str, call: Any, is_ready: bool) -> NodeAnswer:
    import ray

    if not is_ready:
        return NodeAnswer(node, error="it does not answer")
    try:
        return NodeAnswer(node, ray.get(call))
    except Exception as error:  # of Ray, or what the work raised there
        lines = str(error).strip().splitlines()
        return NodeAnswer(node, error=lines[-1] if lines else type(error).__name__)


def connect(place: RayPlace, threads: int) -> Cluster:
    """Connect to the cluster at an address, or start one here.

    Ray listens on every address of a machine, so one that is started here wants a token that only its own
    processes have: nobody else can have anything run.  Raises `InputError` without the extra `fleet`, or when
    nothing answers at the address.
    """
    require_extra("ray", "fleet")
    own_token = {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    if "ray" not in sys.modules:  # else Ray itself turns to tokens as it starts
        own_token["RAY_AUTH_MODE"] = "token"
    if place.address or not {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}.isdisjoint(os.environ):
        own_token = {}
    for name, value in {**_QUIET, **own_token}.items():  # before Ray is imported, which reads them once
        os.environ.setdefault(name, value)
    import ray

    cpus = float(place.cpus or threads or 1)
    was_connected = ray.is_initialized()
    if was_connected:
        return Cluster(place, _needs(place, cpus), was_connected=True)
    options: dict[str, Any] = {"namespace": NAMESPACE, "log_to_driver": False, "logging_level": "error"}
    if place.address:
        try:
            ray.init(address=place.address, **options)
        except Exception as error:
            remedy = "Start its head with: ray start --head, or leave --address out for this machine."
            raise InputError(
                "no Ray cluster answers", where=place.address, got=str(error)[:300], remedy=remedy
            ) from error
        return Cluster(place, _needs(place, cpus))
    folder, held = _own_folder()
    options |= {
        "num_cpus": int(cpus * place.workers) if place.workers else None,
        "include_dashboard": False,
        "object_store_memory": _MEMORY,
        "_temp_dir": str(folder / "r"),  # Ray opens its folder to everybody; this one stays closed
    }
    _start(options)
    return Cluster(place, _needs(place, cpus), own=folder, _held=held)


def _start(options: dict[str, Any]) -> None:
    """Start Ray on this machine.  On a busy one it may not be up in the half minute that Ray gives itself."""
    import ray

    for last in (False, False, True):
        try:
            ray.init(**options)
            return
        except Exception as error:
            ray.shutdown()
            if last:
                remedy = "Is this machine very busy, or its /tmp full? Else: --backend local."
                raise PortraitError(
                    "Ray does not start", where="ray", got=str(error)[:300], remedy=remedy
                ) from error


def _needs(place: RayPlace, cpus: float) -> dict[str, float]:
    """Resources of a worker."""
    import ray

    gpus = place.gpus
    if gpus is None:
        gpus = 1.0 if ray.cluster_resources().get("GPU", 0) else 0.0
    return {"CPU": cpus, **({"GPU": gpus} if gpus else {})}


def _fits(has: Mapping[str, float], needs: Mapping[str, float]) -> int:
    return min(int(has.get(name, 0) // amount) for name, amount in needs.items())


def _own_folder() -> tuple[Path, holding.Hold | None]:
    """A folder for Ray's files, of this user alone; those of heads that were killed are removed.

    Its path is short: Ray's sockets lie in it.
    """
    parent = Path(tempfile.gettempdir())
    for stale in parent.glob(f"{_PREFIX}*"):
        if stale.is_symlink() or not stale.is_dir() or stale.stat().st_uid != os.getuid():
            continue
        held = holding.hold(stale, alone=True)
        if held is not None:
            with held:
                shutil.rmtree(stale, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    return folder, holding.hold(folder, alone=True)
