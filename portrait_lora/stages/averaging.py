"""The average of several good checkpoints as one adapter, kept when its probes are better.

What a LoRA changes is the product B A, so that is what is averaged.  The mean of the factors would be another
change: (B1 + B2)(A1 + A2) / 4 holds the cross products B1 A2 and B2 A1, which no checkpoint ever had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from portrait_lora import log, manifest
from portrait_lora.errors import InputError
from portrait_lora.evaluation.checkpoint_choice import CheckpointScore, good_checkpoints, passes
from portrait_lora.records import Adapter
from portrait_lora.results import AveragedCheckpoints
from portrait_lora.stages.context import Context

if TYPE_CHECKING:
    from torch import Tensor

    from portrait_lora.stages.probing import Checkpoints

FOLDER: Final = "average"
_A, _B = ".lora_A.weight", ".lora_B.weight"
_log = log.get(__name__)


def mean_of_products(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The LoRA whose B A is the mean of those given, exactly: its rank is the sum of theirs.

    [B1/n … Bn/n] [A1; …; An].  Raises InputError when the layers differ, or for the magnitudes of DoRA, which
    stand outside the product.
    """
    import torch

    keys = set(states[0])
    odd = sorted({k for state in states for k in keys ^ set(state)} | {k for k in keys if not _factor(k)})
    if odd:
        raise InputError("these adapters cannot be averaged", got=odd[0], needed="LoRAs on the same layers")
    out: dict[str, Tensor] = {}
    for key in sorted(keys):
        parts = [state[key].float() for state in states]
        stacked = torch.cat(parts, 0) if key.endswith(_A) else torch.cat(parts, 1) / len(parts)
        out[key] = stacked.contiguous()
    return out


def _factor(key: str) -> bool:
    return key.endswith((_A, _B))


def better_average(
    ctx: Context, probes: Checkpoints, table: Sequence[CheckpointScore], chosen: Adapter
) -> tuple[Adapter, AveragedCheckpoints]:
    """`chosen`, or the average of the good checkpoints where its probes are better; and what was found."""
    limit = ctx.config.select.copy_limit
    steps = good_checkpoints(table, copy_limit=limit)
    if len(steps) < 2:
        return chosen, AveragedCheckpoints(steps=tuple(steps), kept=False)
    average = write_average([a for a in ctx.adapters if a.step in steps], ctx)
    row = probes.score(average, FOLDER)
    before = next(r for r in table if r.step == chosen.step)
    kept = row.mean > before.mean and passes(row, table, copy_limit=limit)
    _log.info(
        "average of steps %s: probe similarity %.3f against %.3f, %s",
        ", ".join(map(str, steps)),
        row.mean,
        before.mean,
        "kept" if kept else "not kept",
    )
    return (average if kept else chosen), AveragedCheckpoints(
        steps=tuple(steps),
        mean=row.mean,
        values=row.values,
        kept=kept,
        copy_score=row.copy_score,
        adherence=row.adherence,
    )


def write_average(adapters: Sequence[Adapter], ctx: Context) -> Adapter:
    """Write the average beside the checkpoints; its step is that of the latest."""
    from safetensors.torch import load_file

    from portrait_lora.training.adapter import adapter_bytes

    state = mean_of_products([load_file(a.path) for a in adapters])
    latest = max(adapters, key=lambda a: a.step)
    n = len(adapters)
    path = ctx.run_folder / FOLDER / "adapter.safetensors"
    average = replace(latest, path=path, rank=latest.rank * n, alpha=latest.alpha * n)
    manifest.make_folder(path.parent)
    manifest.write_bytes_atomic(
        path, adapter_bytes(state, average, ctx.base, ctx.family.schedule.prediction_type)
    )
    return average
