"""What is logged of one PPO iteration, keyed as in docs/reference/metrics.md.

Legend: B sequences, T response tokens, K constraints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from csrlhf.constraints.set import ConstraintState
from csrlhf.ops.logprobs import EXCLUDED
from csrlhf.ops.masking import masked_sum
from csrlhf.penalties.base import PenaltyMonitor
from csrlhf.penalties.gate import Weighed
from csrlhf.types import Rollout, Scores


def rollout_metrics(rollout: Rollout, scores: Scores, num_tokens: Tensor) -> dict[str, Tensor]:
    """What this process's part of the batch looked like; averages over the processes are those of the batch.

    Args:
        rollout: of this process.
        scores: of its answers.
        num_tokens: response tokens per process, on average.
    """
    lengths_B = rollout.response_mask_BT.sum(dim=-1).float()
    gap = {}
    if rollout.old_logprobs_BT is not None:
        gap_BT = (rollout.old_logprobs_BT - rollout.logprobs_BT).abs()
        is_figure_BT = rollout.response_mask_BT & (rollout.old_logprobs_BT > EXCLUDED / 2)
        gap = {"policy/sampler_gap": masked_sum(gap_BT, is_figure_BT) / num_tokens}
    return gap | {
        "train/reward": scores.reward_B.mean(),
        "train/response_length": lengths_B.mean(),
        "train/ended": rollout.ended_B.float().mean(),
        "policy/logprob": masked_sum(rollout.logprobs_BT, rollout.response_mask_BT) / num_tokens,
    }


def constraint_metrics(
    names: Sequence[str], state: ConstraintState, weighed: Weighed, monitor: PenaltyMonitor
) -> dict[str, Tensor]:
    """Cost, threshold, violation of each constraint; weight and gate of the penalty."""
    metrics: dict[str, Tensor] = {}
    duty_K = monitor.duty()
    for k, name in enumerate(names):
        metrics |= {
            f"constraint/{name}/cost": state.value_K[k],
            f"constraint/{name}/threshold": state.threshold_K[k],
            f"constraint/{name}/violation": state.violation_K[k],
            f"constraint/{name}/stderr": state.stderr_K[k],
            f"constraint/{name}/cumulative_violation": monitor.cumulative_K[k],
        }
        infix = "" if len(names) == 1 else f"{name}/"
        metrics |= {f"penalty/{infix}weight": weighed.cost_K[k], f"penalty/{infix}gate": duty_K[k]}
    return metrics


def effective_multipliers(names: Sequence[str], metrics: Mapping[str, Tensor], price_K: Tensor) -> dict[str, Tensor]:
    """What each reported multiplier costs per raw unit of cost, in raw units of reward: ``λ_k σ_r / σ_ck``.

    Args:
        names: of the constraints.
        metrics: of the penalty; a strategy without a multiplier reports none, and has no effective one.
        price_K: ``σ_r / σ_ck``, 1 where nothing is normalised.
    """
    infixes = [""] if len(names) == 1 else [f"{name}/" for name in names]
    return {
        f"penalty/{infix}effective_multiplier": metrics[f"penalty/{infix}multiplier"] * price_K[k]
        for k, infix in enumerate(infixes)
        if f"penalty/{infix}multiplier" in metrics
    }
