"""One update: the rate, the clipping, the running average."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from portrait_lora.training.update import Updater
from tests.recipes import recipe

RECIPE = recipe(learning_rate=0.1, steps=100, weight_decay=0.0)
CPU = torch.device("cpu")


def test_the_average_follows_as_stated_and_stands_in_only_while_saved() -> None:
    """d = min(decay, (1 + t) / (10 + t)), beside the same in plain numbers."""
    weight = nn.Parameter(torch.tensor([1.0]))
    updater = Updater({"w": weight}, replace(RECIPE, ema_decay=0.3, warmup_steps=0), CPU)
    expected = 1.0
    for step in range(1, 8):
        weight.grad = torch.tensor([0.5])
        updater(step)
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * float(weight)
        assert updater.average is not None and float(updater.average["w"]) == pytest.approx(expected)
    last = float(weight)
    with updater.averaged():
        assert float(weight) == pytest.approx(expected)
    assert float(weight) == last != pytest.approx(expected)


def test_the_rate_warms_up_and_decays_by_its_schedule() -> None:
    assert [RECIPE.rate(s) for s in (1, 5, 10, 100)] == pytest.approx([0.01, 0.05, 0.1, 0.1])
    linear, cosine = (replace(RECIPE, schedule=s, warmup_steps=0) for s in ("linear", "cosine"))
    assert [linear.rate(s) for s in (1, 51, 100)] == pytest.approx([0.1, 0.05, 0.001])
    assert cosine.rate(51) == pytest.approx(0.05)
    assert cosine.rate(26) == pytest.approx(0.05 * (1 + math.cos(math.pi / 4)))


def test_a_large_gradient_is_clipped_over_all_weights_together() -> None:
    weights = {name: nn.Parameter(torch.zeros(2)) for name in "ab"}
    updater = Updater(weights, replace(RECIPE, warmup_steps=0), CPU)
    for parameter, grad in zip(weights.values(), ([3.0, 0.0], [0.0, 4.0]), strict=True):
        parameter.grad = torch.tensor(grad)
    assert updater(1).norm == pytest.approx(5.0)
    moments = [updater.optimizer.state[p]["exp_avg"] for p in weights.values()]
    assert torch.cat(moments).tolist() == pytest.approx([0.06, 0.0, 0.0, 0.08])
