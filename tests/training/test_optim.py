"""Groups, rates and schedules by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from csrlhf.errors import UserError
from csrlhf.training.optim import build_optimizer, build_schedule
from csrlhf.training.settings import OptimizerSettings, ScheduleKind, ScheduleSettings


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict(
            {"embeddings": nn.Embedding(3, 2), "layer": nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])}
        )
        self.head = nn.Linear(2, 1)


def rates(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, tuple[float, float]]:
    """(rate, weight decay) by parameter name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


def test_layers_head_and_decay() -> None:
    model = Model()
    found = rates(build_optimizer(model.named_parameters(), OptimizerSettings(None, 1.0, 0.1, 0.5, 10.0)), model)
    assert found == {
        "backbone.embeddings.weight": (0.25, 0.1),
        "backbone.layer.0.weight": (0.5, 0.1),
        "backbone.layer.0.bias": (0.5, 0.0),
        "backbone.layer.1.weight": (1.0, 0.1),
        "backbone.layer.1.bias": (1.0, 0.0),
        "head.weight": (10.0, 0.1),
        "head.bias": (10.0, 0.0),
    }


def test_frozen_parameters_are_left_out() -> None:
    model = Model()
    model.backbone.requires_grad_(False)
    assert set(rates(build_optimizer(model.named_parameters(), OptimizerSettings(lr=1.0)), model)) == {
        "head.weight",
        "head.bias",
    }


@pytest.mark.parametrize(
    ("kind", "warmup", "expected"),
    [
        ("constant", 0.0, [1, 1, 1, 1, 1]),
        ("linear", 0.0, [1, 0.75, 0.5, 0.25, 0]),
        ("linear", 0.5, [1 / 3, 2 / 3, 1, 0.5, 0]),
        ("cosine", 0.0, [1, 0.5 + 0.5 * 0.5**0.5, 0.5, 0.5 - 0.5 * 0.5**0.5, 0]),
    ],
)
def test_schedules(kind: str, warmup: float, expected: list[float]) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = build_schedule(optimizer, 4, ScheduleSettings(ScheduleKind(kind), warmup))
    seen = []
    for _ in range(5):
        seen.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert seen == pytest.approx(expected)


@pytest.mark.parametrize(
    ("key", "value"),
    [("lr", 0), ("weight_decay", -1), ("layer_decay", 0), ("layer_decay", 2), ("head_lr_factor", 0), ("beta2", 1)],
)
def test_a_number_out_of_range_is_named(key: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{key}={value}"):
        build_optimizer(Model().named_parameters(), OptimizerSettings(**({"lr": 1.0} | {key: value})))


@pytest.mark.parametrize(("key", "value"), [("kind", "exponential"), ("warmup", 1.0)])
def test_a_schedule_out_of_range_is_named(key: str, value: object) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(UserError, match=str(value)):
        build_schedule(optimizer, 4, ScheduleSettings(**{key: value}))


@pytest.mark.parametrize(
    "name", ["model.embed_tokens.weight", "transformer.wte.weight", "embeddings.word_embeddings.weight"]
)
def test_embeddings_are_the_lowest_layer_whatever_they_are_called(name: str) -> None:
    layers = [(f"model.layers.{n}.weight", nn.Parameter(torch.zeros(2, 2))) for n in range(2)]
    optimizer = build_optimizer(
        [(name, nn.Parameter(torch.zeros(3, 2))), *layers], OptimizerSettings(lr=1.0, layer_decay=0.5)
    )
    assert sorted(group["lr"] for group in optimizer.param_groups) == [0.25, 0.5, 1.0]
