"""Which answers a strategy's gate looks at: the batch that it then acts on, or others.

A batch that opens the gate holds more harm than average, and the costs that its gradient lowers are these very ones.
At stationarity ``E[w g] = λ* E[g]`` does not make the mean weight ``E[w]`` equal to λ*: it falls short by a tenth to a
half (``python -m benchmarks.gates``). Where a prompt's weight comes from answers other than its own, the weight and its
gradient are independent given the policy, and ``E[w g] = E[w] E[g]``.

Legend: B sequences of this process, N those of all processes, P parts of them, K constraints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from csrlhf.errors import UserError
from csrlhf.penalties.base import Penalty, Weights, ask_weights
from csrlhf.state import PreciseState
from csrlhf.types import ALONE, Layout

OWN_PROMPT = "prompt"
"""A gate of a strategy's own (``repo``): each prompt's weights come from its own answers and no others."""


@dataclass(frozen=True)
class Weighed:
    """What a strategy answered.

    Attributes:
        weights: of the mix: one set, or one for each of this process's answers.
        cost_K: w_k, averaged over the answers of all processes that the constraint is about.
        open_K: share of these whose w_k is above 0.
        normaliser: Z (scalar); where it differs between answers, the one whose inverse is the mean of theirs.
        rectified_K: mean over the prompts of ``relu(v)``, each with the violation that it was weighed by.
    """

    weights: Weights
    cost_K: Tensor
    open_K: Tensor
    normaliser: Tensor
    rectified_K: Tensor

    @property
    def told(self) -> dict[str, Tensor]:
        """What a strategy's update may ask for (``ask_update``)."""
        return {"open_K": self.open_K, "rectified_K": self.rectified_K}


class Gate(PreciseState):
    """Asks a strategy for its weights, with the violation that its ``gate`` names.

    With ``previous`` it has a state, which is checkpointed with the policy module.

    Attributes:
        violation_K: J - d of the iteration before.
        stderr_K: standard error of that J.
        num_seen: iterations remembered.
    """

    violation_K: Tensor
    stderr_K: Tensor
    num_seen: Tensor

    def __init__(self, kind: str, num_constraints: int) -> None:
        """Args: kind: one of ``penalties.base.GATES``; num_constraints: K."""
        super().__init__()
        self.kind = kind
        if kind == "previous":
            self.register_buffer("violation_K", torch.zeros(num_constraints))
            self.register_buffer("stderr_K", torch.zeros(num_constraints))
            self.register_buffer("num_seen", torch.zeros((), dtype=torch.long))

    def parts(self, num_answers: int, per_prompt: int, device: torch.device | None = None) -> Tensor | None:
        """The part [N] of each answer: its weights come from all answers but those of its part. None: there are none.

        With ``OWN_PROMPT`` they come from the answers of its part alone (``Layout.inside``).

        Args:
            num_answers: N.
            per_prompt: answers to each prompt; they follow each other, and are never in two parts.
            device: of the costs.

        Raises:
            UserError: there is one prompt, and without its answers there would be none.
        """
        if self.kind not in ("leave_one_out", "held_out", OWN_PROMPT):
            return None
        prompt_N = torch.arange(num_answers, device=device) // per_prompt
        if self.kind == OWN_PROMPT:
            return prompt_N
        if num_answers <= per_prompt:
            raise UserError(
                f"penalty.gate={self.kind}: {num_answers} responses to one prompt leave no other prompt to look at; "
                "take ppo.batch_size of twice ppo.samples_per_prompt or more, or penalty.gate=batch"
            )
        return prompt_N if self.kind == "leave_one_out" else prompt_N % 2

    def check_least(self, least: Mapping[str, int], num_answers: int, per_prompt: int) -> None:
        """Refuse a gate that leaves a statistic fewer answers than it needs.

        Args:
            least: by constraint, the fewest answers of which its statistic means something.
            num_answers: N.
            per_prompt: answers to each prompt.

        Raises:
            UserError: names the constraint; or with ``OWN_PROMPT`` a prompt has one answer, whose cost would count
                where it is unsafe alone.
        """
        if self.kind == OWN_PROMPT and per_prompt < 2:
            raise UserError(
                "penalty=repo judges a prompt by its own responses, and with ppo.samples_per_prompt=1 a safe one is "
                "never preferred to an unsafe one: the policy would not learn to be safe; set ppo.samples_per_prompt=4"
            )
        prompts = num_answers // per_prompt
        left = {"leave_one_out": prompts - 1, "held_out": prompts // 2, OWN_PROMPT: 1}.get(self.kind, prompts)
        for name, needed in least.items():
            found = left * per_prompt
            if found < needed and self.kind in ("leave_one_out", "held_out"):
                raise UserError(
                    f"penalty.gate={self.kind}: leaves {found} responses to look at, and constraints.{name} needs "
                    f"{needed}; raise ppo.batch_size, or take penalty.gate=batch"
                )
            if found < needed and self.kind == OWN_PROMPT:
                raise UserError(
                    f"penalty=repo looks at the {per_prompt} responses to each prompt alone, and constraints.{name} "
                    f"needs {needed}; take constraint=chance or mean, or ppo.samples_per_prompt={needed}"
                )

    def weigh(
        self,
        penalty: Penalty,
        violation_K: Tensor,
        stderr_K: Tensor,
        rest: tuple[Tensor, Tensor] | None = None,
        layout: Layout = ALONE,
        chosen_NK: Tensor | None = None,
    ) -> Weighed:
        """The strategy's weights for this iteration.

        Args:
            penalty: the strategy, which is asked once for each violation that differs.
            violation_K: J - d of the batch.
            stderr_K: standard error of J.
            rest: violations and standard errors [P, K] of the batch without each part.
            layout: of the answers, with the part of each.
            chosen_NK: True on the answers of all processes that each constraint is about: those that its figures are
                averaged over. None: all.
        """
        if rest is None or layout.part_N is None:
            if self.kind == "previous" and bool(self.num_seen > 0):
                violation_K, stderr_K = self.violation_K.to(violation_K), self.stderr_K.to(stderr_K)
            weights = ask_weights(penalty, violation_K, stderr_K)
            is_open_K = (weights.cost_K > 0).to(violation_K.dtype)
            return Weighed(weights, weights.cost_K, is_open_K, weights.total, violation_K.clamp(min=0))
        seen, which_P = torch.unique(torch.cat(rest, dim=-1), dim=0, return_inverse=True)
        K = len(violation_K)
        answers = [ask_weights(penalty, row[:K], row[K:]) for row in seen]
        which_N = which_P[layout.part_N]
        reward, cost = torch.stack([one.reward for one in answers]), torch.stack([one.cost_K for one in answers])
        total = torch.stack([one.total for one in answers])
        here = which_N[layout.here]

        def mean(value_NK: Tensor) -> Tensor:
            if chosen_NK is None:
                return value_NK.mean(dim=0)
            return torch.where(chosen_NK, value_NK, 0.0).sum(dim=0) / chosen_NK.sum(dim=0).clamp(min=1)

        return Weighed(
            Weights(reward[here], cost[here], total[here]),
            mean(cost[which_N]),
            mean((cost[which_N] > 0).to(violation_K.dtype)),
            1 / (1 / total[which_N]).mean(),  # what is divided by each answer's own Z has the mean of 1 / Z as weight
            mean(rest[0][layout.part_N].clamp(min=0)),
        )

    def remember(self, violation_K: Tensor, stderr_K: Tensor) -> None:
        """Keep this iteration's violation for the next, where that one looks at it."""
        if self.kind != "previous":
            return
        self.violation_K.copy_(violation_K)
        self.stderr_K.copy_(stderr_K)
        self.num_seen += 1
