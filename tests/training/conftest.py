"""A policy module over the small world, and data for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from types import ModuleType
from typing import Any

import pytest
import torch

from csrlhf.advantages import GAE
from csrlhf.constraints import Chance
from csrlhf.data.prompts import PromptDataModule
from csrlhf.generation.sampler import Sampler
from csrlhf.penalties import Rectified
from csrlhf.penalties.base import ask_weights
from csrlhf.training.ppo.config import OnCollapse, PPOConfig, SelectionSettings
from csrlhf.training.ppo.policy import PolicyModule
from csrlhf.training.settings import OptimizerSettings
from csrlhf.types import Advantages, Rollout


@pytest.fixture(scope="session")
def letters(beside: Callable[..., ModuleType]) -> ModuleType:
    """The small task of ``letters.py``."""
    return beside("training/letters", "letters")


@pytest.fixture
def backbone(letters: ModuleType, tmp_path: Path) -> str:
    """Folder of a random model of letters."""
    return letters.backbone(tmp_path / "backbone")


@pytest.fixture
def policy_module(folders: Any) -> Callable[..., PolicyModule]:
    """``policy_module(penalty=..., policy_optimizer=..., ...)``: a fresh module whose weights are not loaded yet."""

    def make(**changes: Any) -> PolicyModule:
        parts: dict[str, Any] = {
            "inputs": folders.inputs(),
            "sampler": Sampler(max_new_tokens=5),
            "penalty": Rectified(4.0, margin_z=0.0, ema=0.5),
            "constraints": {"harm": Chance(0.3)},
            "advantage": GAE(),
            "ppo": PPOConfig(epochs=2, minibatch_size=4, critic_warmup=0),
            "seed": 0,
        }
        inner: dict[str, Any] = {
            "selection": SelectionSettings(on_collapse=OnCollapse.ignore),
            "policy_optimizer": OptimizerSettings(lr=1e-3),
            "critic_optimizer": OptimizerSettings(lr=1e-3),
        }
        inner |= {name: changes.pop(name) for name in inner if name in changes}
        given = parts | changes
        return PolicyModule(**(given | {"ppo": replace(given["ppo"], **inner)}))

    return make


RolledOut = tuple[PolicyModule, Rollout, Advantages]


@pytest.fixture
def rolled_out(
    policy_module: Callable[..., Any], prompt_data: Callable[..., PromptDataModule]
) -> Callable[..., RolledOut]:
    """``rolled_out(penalty=..., double=True)``: a module, what it sampled for eight prompts, and the advantages."""

    def make(double: bool = False, **changes: Any) -> RolledOut:
        data = prompt_data()
        data.setup("fit")
        module = policy_module(**changes)
        module.configure_model()
        if double:
            module.double()
        rollout = module.generate(data.batch(0))
        scores = module.score(rollout)
        state = module.constraints(scores.cost_logits_BK)
        advantages, _ = module.estimate_advantages(
            rollout, scores, state, ask_weights(module.penalty, state.violation_K, state.stderr_K)
        )
        return module, rollout, advantages

    return make


class Process:
    """Stands for a module on one of several processes, which are threads here: each has models of its own.

    ``exchange(rank, value)`` gives the sum over all processes. Gradients are averaged as distributed training does it.
    """

    def __init__(
        self, module: PolicyModule, lr: float, rank: int = 0, count: int = 1, exchange: Callable[..., Any] | None = None
    ) -> None:
        self.global_rank, self.world_size, self._exchange = rank, count, exchange
        self._trainer = self.trainer = self.strategy = self  # type: ignore[assignment]  # what ranks.py asks
        self.device, self.roles, self.waits = module.device, module.roles, False
        self.models = (module.roles.policy, module.roles.critic)
        self.steps: list[torch.optim.Optimizer] = [torch.optim.SGD(model.parameters(), lr=lr) for model in self.models]

    def optimizers(self) -> list[torch.optim.Optimizer]:
        return self.steps

    def reduce(self, value: torch.Tensor, reduce_op: str) -> torch.Tensor:
        assert self._exchange is not None
        total = self._exchange(self.global_rank, value)
        return total / self.world_size if reduce_op == "mean" else total

    @contextmanager
    def block_backward_sync(self) -> Iterator[None]:
        self.waits = True
        yield
        self.waits = False

    def manual_backward(self, loss: torch.Tensor) -> None:
        loss.backward()
        if self.waits or self.world_size == 1:
            return
        for weight in (weight for model in self.models for weight in model.parameters()):
            if weight.grad is not None:
                weight.grad.copy_(self.reduce(weight.grad, "mean"))


@pytest.fixture
def process() -> type[Process]:
    """``process(module, lr)``: what ``PPOUpdate`` takes as its module, without a Trainer."""
    return Process


@pytest.fixture
def in_threads() -> Callable[..., list[Any]]:
    """``in_threads(count, work)``: the results of ``work(rank, exchange)`` on as many threads."""

    def run(count: int, work: Callable[..., Any]) -> list[Any]:
        barrier, given = Barrier(count, timeout=60), [torch.zeros(())] * count

        def exchange(rank: int, value: torch.Tensor) -> torch.Tensor:
            given[rank] = value.detach().clone()
            barrier.wait()
            total = torch.stack(given).sum(dim=0)
            barrier.wait()
            return total

        with ThreadPoolExecutor(count) as pool:
            return [job.result() for job in [pool.submit(work, rank, exchange) for rank in range(count)]]

    return run
