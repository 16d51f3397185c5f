"""What the modules exchange between processes: means of numbers, lists of objects. Alone, each is itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed
from lightning import LightningModule
from torch import Tensor

Item = TypeVar("Item")


def num_ranks(module: LightningModule) -> int:
    """Processes that run the module together."""
    return module.trainer.world_size if module._trainer is not None else 1  # `trainer` raises where there is none


def mean_over_ranks(module: LightningModule, value: Tensor) -> Tensor:
    """The average of a tensor over all processes, the same on each."""
    if num_ranks(module) == 1:
        return value
    return module.trainer.strategy.reduce(value.to(module.device), reduce_op="mean")  # type: ignore[return-value]


def sum_over_ranks(module: LightningModule, value: Tensor) -> Tensor:
    """The sum of a tensor over all processes, the same on each."""
    if num_ranks(module) == 1:
        return value
    return module.trainer.strategy.reduce(value.to(module.device), reduce_op="sum")  # type: ignore[return-value]


def means_over_ranks(module: LightningModule, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """The averages of many numbers over all processes, in one exchange.

    Args:
        module: runs on every process.
        values: scalars, under the same keys on each process.
    """
    if num_ranks(module) == 1 or not values:
        return values
    means = mean_over_ranks(module, torch.stack([value.detach().double() for value in values.values()]))
    return dict(zip(values, means.unbind(), strict=True))


def gather_rows(module: LightningModule, rows: Tensor) -> Tensor:
    """The rows of all processes, those of the first process first; the same on each.

    Args:
        module: runs on every process.
        rows: as many on each process.
    """
    count = num_ranks(module)
    if count == 1:
        return rows
    rows = rows.to(module.device).contiguous()
    parts = [torch.empty_like(rows) for _ in range(count)]
    torch.distributed.all_gather(parts, rows)
    return torch.cat(parts)


def gather_lists(module: LightningModule, items: list[Item]) -> list[Item]:
    """The items of all processes, those of the first process first; on each process the same list.

    Args:
        module: runs on every process.
        items: anything that pickles, tensors on the CPU.
    """
    count = num_ranks(module)
    if count == 1:
        return items
    gathered: list[Any] = [None] * count
    torch.distributed.all_gather_object(gathered, items)
    return [item for part in gathered for item in part]


def gather_numbered(module: LightningModule, items: Mapping[int, Item]) -> list[Item]:
    """The items of all processes in the order of their numbers; on each process the same list.

    Args:
        module: runs on every process.
        items: of this process, by number; anything that pickles, tensors on the CPU.
    """
    everyone = gather_lists(module, list(items.items()))
    return [item for _, item in sorted(everyone, key=lambda pair: pair[0])]


def everywhere(module: LightningModule, index: Sequence[int], count: int) -> range:
    """The prompt numbers that all processes have in this batch: models in shards are run by all of them, or by none.

    Args:
        module: runs on every process.
        index: of this process, ascending.
        count: of all prompts.
    """
    first, last = index[0] - module.global_rank, index[-1] - module.global_rank
    return range(first, min(last + num_ranks(module), count))
