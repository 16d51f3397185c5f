"""The update of one iteration: epochs x minibatches of the clipped surrogate and the clipped value loss.

A minibatch is shared by all processes and may go through the models in several micro-batches. Losses are sums over the
rows at hand, divided by what the *whole* minibatch counts, so that neither split changes a gradient.

Legend: B sequences of this process, T response tokens, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import torch
from lightning import LightningModule
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor, nn
from torch.optim import Optimizer

from csrlhf.constraints.set import ConstraintState
from csrlhf.data.demonstrations import DemonstrationBatch, PTXData
from csrlhf.data.prompts import PromptDataModule
from csrlhf.ops.logprobs import EXCLUDED, entropy, gather_logprobs, ratio_reference
from csrlhf.ops.losses import (
    aggregate,
    clipped,
    clipped_value,
    denominator_of,
    importance_ratio,
    importance_weight,
    separate_surrogate,
    truncate_ratio,
)
from csrlhf.ops.masking import masked_sum
from csrlhf.ops.noise import minibatches
from csrlhf.penalties.base import Penalty, Weights
from csrlhf.training.ppo.config import OldLogprobs, PPOConfig
from csrlhf.training.ppo.recheck import Recheck, channels
from csrlhf.training.ppo.roles import SeparateRoles
from csrlhf.training.ranks import mean_over_ranks, num_ranks, sum_over_ranks
from csrlhf.training.step import require_finite, response_loss
from csrlhf.types import Advantages, Rollout

Piece = tuple[Rollout, Advantages]
"""A micro-batch: rows of a rollout and their advantages."""

Metrics = dict[str, Tensor]

Loss = Callable[[], tuple[Tensor, Metrics]]
"""A share of a step's loss and its figures, which add up over the shares."""


class PPOUpdate:
    """Runs the optimiser steps of an iteration through a module's two optimisers."""

    def __init__(self, roles: SeparateRoles, config: PPOConfig) -> None:
        self.roles, self.config = roles, config
        self.ptx: PTXData | None = None
        self.normaliser = 1.0

    def start(self, data: PromptDataModule) -> None:
        """Read the demonstrations of the PTX loss, where there is one; they get the room that an answer has.

        Raises:
            UserError: the data source has none.
        """
        if self.config.ptx_coef > 0:
            room = data.max_prompt_tokens + self.roles.sampler.max_new_tokens
            size, tokenizer = self.config.ptx_batch_size, self.roles.tokenizer
            self.ptx = PTXData(data.source, tokenizer, size, room, data.seed, data.intake)

    def __call__(
        self,
        module: LightningModule,
        rollout: Rollout,
        advantages: Advantages,
        seed: int,
        iteration: int,
        *,
        penalty: Penalty | None = None,
        state: ConstraintState | None = None,
        normaliser: Tensor | float = 1.0,
    ) -> Metrics:
        """All epochs over one rollout.

        The policy's steps end where ``target_kl`` is passed. The critic's go on: its targets are fixed, and nothing
        that the policy does makes them wrong.

        Args:
            module: owns the optimisers (policy first, then the critic's if there is one) and the backward pass.
            rollout: what this process sampled: rows that follow each other in the whole batch.
            advantages: mixed advantage and value targets.
            seed: of the order of rows.
            iteration: warm-up is counted in iterations; also seeds the order.
            penalty: the strategy; asked again in each minibatch where it says so (``Penalty.recheck``).
            state: the rollout's violations, for such a strategy.
            normaliser: Z of the mixed advantage, by which the entropy bonus and the PTX loss are divided as well: they
                weigh relative to the reward, whatever λ is.

        Returns:
            Means over the minibatches, keyed for the log; their averages over the processes are those of the batch.
        """
        optimizers: Any = module.optimizers()  # the only one, or both
        policy_optimizer, critic_optimizer = optimizers if self.roles.critic is not None else (optimizers, None)
        config, mask_BT = self.config, rollout.response_mask_BT
        rows = minibatch_rows(module, len(rollout.rows), config.epochs, config.minibatch_size, seed, iteration)
        asks = penalty is not None and state is not None and penalty.recheck
        recheck = Recheck(self.roles, penalty, state) if asks else None  # type: ignore[arg-type]  # both are there
        self.normaliser = float(normaliser)
        goes_on = iteration >= config.critic_warmup
        critic_totals: Metrics = {}
        policy_totals: Metrics = {}
        looks = steps = 0
        for number, (rows_M, counts) in enumerate(zip(rows, minibatch_counts(module, mask_BT, rows), strict=True)):
            pieces = list(micro_batches(rollout, advantages, rows_M, config.accumulate))
            if critic_optimizer is not None:
                metrics = self._critic_step(module, critic_optimizer, pieces, counts, iteration)
                critic_totals = add(critic_totals, metrics)
            if goes_on:
                place = iteration * len(rows) + number
                metrics, goes_on = self._policy_step(
                    module, policy_optimizer, pieces, counts, iteration, place, recheck
                )
                policy_totals, looks, steps = add(policy_totals, metrics), looks + 1, steps + goes_on
        means = {key: value / len(rows) for key, value in critic_totals.items()}
        means |= {key: value / looks for key, value in policy_totals.items()}
        if looks and config.target_kl is not None:
            means["policy/epochs"] = torch.tensor(steps * config.epochs / len(rows), device=mask_BT.device)
        return means

    def policy_loss(
        self, mini: Rollout, targets: Advantages, counts: Counts, weights: Weights | None = None
    ) -> tuple[Tensor, Metrics]:
        """Surrogate minus the entropy bonus (scalar), and figures of the step.

        Args:
            mini: rows of a minibatch.
            targets: their advantages.
            counts: of the whole minibatch.
            weights: those of this minibatch, for a strategy that is asked again: reward and costs then have a term
                each. None for the one clipped surrogate of the mixed advantage.
        """
        config = self.config
        logits = self.roles.policy_logits(mini)
        logprobs_BT = gather_logprobs(logits, mini.response_ids_BT)
        mask_BT, how, clip = mini.response_mask_BT, config.aggregation, config.clip
        # A step can push a sampled token out of top-p: its log-prob is then a stand-in for -inf, and no figure.
        old_BT = ratio_reference(mini.ratio_logprobs_BT, logprobs_BT)
        kept_BT = mask_BT & (logprobs_BT.detach() > EXCLUDED / 2)
        ratio_BT = importance_ratio(logprobs_BT, old_BT, kept_BT, config.ratio)
        if config.tis_cap is not None and config.old_logprobs == OldLogprobs.sampled:
            ratio_BT = truncate_ratio(ratio_BT, config.tis_cap)
        if weights is None:
            loss_BT = clipped(ratio_BT, targets.advantage_BT, clip)
        else:
            parts = weights.reward, weights.cost_K, weights.total
            loss_BT = separate_surrogate(ratio_BT, *channels(targets), *parts, clip)
        if config.tis_cap is not None and mini.old_logprobs_BT is not None:
            loss_BT = loss_BT * importance_weight(mini.old_logprobs_BT, mini.logprobs_BT, config.tis_cap)
        # Computed under no_grad where there is no bonus: a graph over [B, T, V] for a log line would be waste.
        with torch.set_grad_enabled(config.entropy_coef > 0):
            entropy_BT = entropy(logits)
        loss_BT = loss_BT - config.entropy_coef / self.normaliser * entropy_BT
        log_ratio_BT = (logprobs_BT - old_BT).detach()
        is_clipped_BT = (ratio_BT.detach() - 1).abs() > clip
        loss = aggregate(loss_BT, mask_BT, how, counts.denominator(how))
        return loss, {
            "policy/loss": loss.detach(),
            "policy/entropy": masked_sum(entropy_BT.detach(), mask_BT) / counts.tokens,
            "policy/clip_fraction": masked_sum(is_clipped_BT.to(loss_BT.dtype), mask_BT) / counts.tokens,
            "policy/update_kl": masked_sum(torch.expm1(log_ratio_BT) - log_ratio_BT, kept_BT) / counts.tokens,
        }

    def ptx_loss(self, batch: DemonstrationBatch) -> tuple[Tensor, Metrics]:
        """``ptx_coef / Z`` x a micro-batch's part of the SFT loss on the minibatch's demonstrations (scalar)."""
        loss = response_loss(self.roles.policy, batch)[0] * (batch.weight / self.config.accumulate)  # type: ignore[arg-type]
        return self.config.ptx_coef / self.normaliser * loss, {"policy/ptx_loss": loss.detach()}

    def value_loss(self, mini: Rollout, targets: Advantages, counts: Counts) -> tuple[Tensor, Metrics]:
        """Clipped value loss, summed over the channels (scalar), and itself as a figure."""
        values_BTC = self.roles.values(mini)
        assert values_BTC is not None, "no critic"
        assert targets.values_BTC is not None, "the estimator needs a critic and gave no values"
        assert targets.returns_BTC is not None, "the estimator needs a critic and gave no value targets"
        loss_BTC = clipped_value(values_BTC, targets.values_BTC, targets.returns_BTC, self.config.value_clip)
        mask_BT, how = mini.response_mask_BT, self.config.aggregation
        loss = aggregate(loss_BTC.sum(dim=-1), mask_BT, how, counts.denominator(how))
        return loss, {"critic/loss": loss.detach()}

    def _policy_step(
        self,
        module: LightningModule,
        optimizer: Optimizer,
        pieces: list[Piece],
        counts: Counts,
        iteration: int,
        place: int,
        recheck: Recheck | None,
    ) -> tuple[Metrics, bool]:
        """A step on the surrogate and the PTX loss; False where the KL is past its target, and none was made."""
        weights, asked = recheck(module, pieces, counts) if recheck is not None else (None, {})
        losses: list[Loss] = [partial(self.policy_loss, mini, targets, counts, weights) for mini, targets in pieces]
        if self.ptx is not None:
            count = num_ranks(module)
            rank, device = module.global_rank if count > 1 else 0, pieces[0][0].response_ids_BT.device
            batches = self.ptx.micro_batches(place, rank, count, self.config.accumulate)
            losses += [partial(self.ptx_loss, move_data_to_device(batch, device)) for batch in batches]
        target = self.config.target_kl

        def permit(metrics: Metrics) -> bool:
            """The KL of the policy as it stands, before the step, over all processes."""
            return target is None or bool(mean_over_ranks(module, metrics["policy/update_kl"]) <= target)

        clip, norm_name = self.config.policy_grad_clip, "policy/grad_norm"
        metrics, stepped = optimizer_step(
            module, optimizer, self.roles.policy, losses, clip, norm_name, iteration, permit
        )
        return metrics | asked, stepped

    def _critic_step(
        self, module: LightningModule, optimizer: Optimizer, pieces: list[Piece], counts: Counts, iteration: int
    ) -> Metrics:
        assert self.roles.critic is not None
        losses: list[Loss] = [partial(self.value_loss, mini, targets, counts) for mini, targets in pieces]
        clip, norm_name = self.config.critic_grad_clip, "critic/grad_norm"
        return optimizer_step(module, optimizer, self.roles.critic, losses, clip, norm_name, iteration)[0]


# One optimiser step: backward over the shares of a loss, one gradient norm, checks, the step.


def optimizer_step(
    module: LightningModule,
    optimizer: Optimizer,
    model: nn.Module,
    losses: Sequence[Loss],
    clip: float,
    norm_name: str,
    iteration: int,
    permit: Callable[[Metrics], bool] | None = None,
) -> tuple[Metrics, bool]:
    """Backward over the shares, clip, step; the norm before clipping is logged, and whether it was clipped.

    Nothing is stepped on a number that is not finite. The norm is that of the processes' average and so the same on
    each: where one process's loss is NaN, all of them stop.

    Args:
        module: owns the backward pass.
        optimizer: of the model.
        model: whose gradients are clipped.
        losses: the micro-batches, one after the other; their sum is this process's loss.
        clip: bound on the gradient norm.
        norm_name: the metric key of the norm, ``.../grad_norm``; beside it stands ``.../clip_active``, 1 or 0.
        iteration: for the message.
        permit: asked with the figures before the step; must answer alike on every process.

    Returns:
        The figures, and whether the step was made.

    Raises:
        UserError: the norm is not finite.
    """
    optimizer.zero_grad()
    totals: Metrics = {}
    for place, loss_of in enumerate(losses, start=1):
        loss, metrics = loss_of()
        with _exchange(module, place == len(losses)):
            module.manual_backward(loss)
        totals = add(totals, metrics)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    if not bool(torch.isfinite(norm)):
        for name, value in (totals | {norm_name: norm}).items():
            require_finite(name, value, iteration)
    totals = totals | {norm_name: norm, norm_name.replace("grad_norm", "clip_active"): (norm > clip).to(norm.dtype)}
    if permit is not None and not permit(totals):
        optimizer.zero_grad()
        return totals, False
    optimizer.step()
    return totals, True


def _exchange(module: LightningModule, is_last: bool) -> Any:
    """Processes exchange gradients at the last micro-batch only."""
    if is_last or num_ranks(module) == 1:
        return nullcontext()
    return module.trainer.strategy.block_backward_sync()  # type: ignore[attr-defined]  # those with processes have it


def add(totals: Metrics, metrics: Metrics) -> Metrics:
    """Key by key; a key that only one of them has keeps its value."""
    return totals | {key: totals[key] + value if key in totals else value for key, value in metrics.items()}


# The minibatches of an iteration: this process's rows of each, what each counts, its micro-batches.
#
# A minibatch is shared by all processes. Which rows it has depends on neither their number nor that of the
# micro-batches.


@dataclass(frozen=True)
class Counts:
    """What a minibatch counts, per process on average (scalars): the denominators of its losses and figures.

    A process's sum divided by them, averaged over the processes, is the minibatch's mean.

    Example: ``Counts.of(rollout.response_mask_BT)`` where one process has the whole minibatch.
    """

    tokens: Tensor
    sequences: Tensor

    @classmethod
    def of(cls, mask_BT: Tensor) -> Counts:
        """The counts of rows that no other process shares."""
        return cls(denominator_of(mask_BT, "token"), denominator_of(mask_BT, "sequence"))

    def denominator(self, aggregation: str) -> Tensor:
        """The one that belongs to a kind of aggregation."""
        return self.tokens if aggregation == "token" else self.sequences


def take(record: Any, rows_M: Tensor) -> Any:
    """The rows of a frozen record of tensors and tuples (``Rollout``, ``Advantages``); None stays None."""
    chosen = {}
    for item in fields(record):
        value = getattr(record, item.name)
        if isinstance(value, Tensor):
            chosen[item.name] = value[rows_M]
        elif value is not None:
            chosen[item.name] = tuple(value[i] for i in rows_M.tolist())
    return replace(record, **chosen)


def minibatch_rows(
    module: LightningModule, size: int, epochs: int, minibatch_size: int, seed: int, iteration: int
) -> list[Tensor]:
    """This process's rows of each minibatch, one epoch after the other.

    Args:
        module: knows its rank.
        size: rows of each process.
        epochs: passes over the rows.
        minibatch_size: rows of a minibatch, over all processes.
        seed: of the order.
        iteration: each has an order of its own.
    """
    count = num_ranks(module)
    first = module.global_rank * size if count > 1 else 0
    rows: list[Tensor] = []
    for epoch in range(epochs):
        for whole in minibatches(seed, iteration * epochs + epoch, size * count, minibatch_size):
            rows.append(whole[(whole >= first) & (whole < first + size)] - first)
    return rows


def minibatch_counts(module: LightningModule, mask_BT: Tensor, rows: list[Tensor]) -> Iterator[Counts]:
    """What each whole minibatch counts, from one exchange for all of them."""
    tokens_B, real_B = mask_BT.sum(dim=-1), mask_BT.any(dim=-1)
    counted = torch.stack([torch.stack([tokens_B[rows_M].sum(), real_B[rows_M].sum()]) for rows_M in rows])
    whole = sum_over_ranks(module, counted).clamp(min=1) / num_ranks(module)
    return (Counts(tokens, sequences) for tokens, sequences in whole)


def micro_batches(rollout: Rollout, advantages: Advantages, rows_M: Tensor, accumulate: int) -> Iterator[Piece]:
    """The micro-batches; where a small minibatch leaves this process none, a row that counts nothing."""
    if not len(rows_M):
        silent = take(rollout, torch.zeros(1, dtype=torch.long))
        nothing_BT = torch.zeros_like(silent.response_mask_BT)
        yield replace(silent, response_mask_BT=nothing_BT), take(advantages, torch.zeros(1, dtype=torch.long))
        return
    for rows in rows_M.tensor_split(min(accumulate, len(rows_M))):
        yield take(rollout, rows), take(advantages, rows)
