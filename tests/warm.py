"""Processes that begin with torch and diffusers imported.

A server, one for each process of a test run, imports them once and forks what is asked of it.  Its children
have a memory, an environment and an exit code of their own as any process, but do not import for seconds.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.context import ForkServerProcess

PRELOADED = (
    "tests.quick_start",
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
    "portrait_lora.recipe",
    "portrait_lora.stages.select",
    "portrait_lora.stages.train",
    "tests.recipes",
    "tests.tiny_models",
)
Call = Callable[[], object]


def exit_codes(calls: Sequence[tuple[Call, Mapping[str, str]]], limit_s: float) -> list[int | None]:
    """Each call in a process of its own, all at once; None for one that had not ended within the limit.

    Each has this environment and what stands beside it.  A call has to be picklable: a function of a module,
    or a partial of one.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED])
    started: list[ForkServerProcess] = [
        context.Process(target=_run, args=(call, os.environ | more)) for call, more in calls
    ]
    for process in started:
        process.start()
    try:
        for process in started:
            process.join(limit_s)
        return [process.exitcode for process in started]
    finally:
        for process in started:
            process.kill()


def _run(call: Call, environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    try:
        call()
    finally:
        atexit._run_exitfuncs()  # as every process that ends; multiprocessing leaves them out
