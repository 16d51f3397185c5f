"""The contract of a penalty strategy: from the violation ``v = J - d`` to weights on the advantages.

A strategy is handed numbers that are already averaged over ranks, and keeps its state in buffers with a
plain ascent step: it never meets an optimiser or DDP, and it is checkpointed with the policy module.

Legend: B sequences, K constraints.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from csrlhf.errors import UserError
from csrlhf.state import PreciseState

# What a strategy returned, checked before it is used: one weight per constraint, finite, none below 0.
#
# Each iteration, not once: a moving multiplier may run away at any of them, and a NaN would end up in the policy.


def check_weights(strategy: object, weights: Any, violation_K: Tensor) -> None:
    """Refuses weights that the mix cannot use.

    Args:
        strategy: whose they are, for the message.
        weights: what it returned; a ``Weights``.
        violation_K: J - d, what it was asked with.

    Raises:
        UserError: names the strategy, and what is wrong with its weights.
    """
    name = f"penalty: {type(strategy).__name__}.weights"
    for field, shape in (("reward", []), ("cost_K", list(violation_K.shape)), ("normaliser", [])):
        value = getattr(weights, field, None)
        if field == "normaliser" and value is None:
            continue
        if not isinstance(value, Tensor):
            raise UserError(
                f"{name} returned {weights!r}; it has to return csrlhf.penalties.Weights with the tensor {field}"
            )
        if list(value.shape) != shape:
            raise UserError(
                f"{name} returned {field} of shape {list(value.shape)}; it must be {shape or 'a scalar, []'}: the "
                f"violations were {violation_K.tolist()}"
            )
        if not bool((torch.isfinite(value) & (value >= 0)).all()):
            raise UserError(
                f"{name} returned {field}={value.tolist()} for the violations {violation_K.tolist()}; it must be "
                "finite and >= 0"
            )


Multiplier = float | Mapping[str, float]

NORMALISERS = ("fixed", "none", "weights")

GATES = ("batch", "leave_one_out", "held_out", "previous")
"""``batch``: all of them, those that it acts on included (the paper's). ``leave_one_out``: each prompt's weight comes
from the batch without that prompt. ``held_out``: two halves of the prompts, each weighed by the other.
``previous``: the iteration before."""


@dataclass(frozen=True)
class Weights:
    """Weights of the mixed advantage ``A = (w_r A_r - Σ_k w_k A_ck) / Z``.

    Example (rectified, λ = 4, gate closed): ``Weights(tensor(1.), tensor([0.]), normaliser=tensor(5.))``.

    Attributes:
        reward: w_r, scalar >= 0. A strategy answers for all responses alike; where its gate looks at other responses
            than a response's own (gate.py), there is one set for each: w_r [B].
        cost_K: w_k >= 0; likewise [B, K].
        normaliser: Z; None means ``w_r + Σ_k w_k``. Likewise [B].
    """

    reward: Tensor
    cost_K: Tensor
    normaliser: Tensor | None = None

    def __post_init__(self) -> None:
        if not bool((self.total > 0).all()):
            raise UserError(
                f"penalty: the weights' normaliser is {self.total.tolist()} (reward {self.reward.tolist()}, "
                f"costs {self.cost_K.tolist()}); a strategy must keep it positive"
            )

    @property
    def total(self) -> Tensor:
        """Z, what the mixed advantage is divided by."""
        return self.reward + self.cost_K.sum(dim=-1) if self.normaliser is None else self.normaliser


class Penalty(PreciseState):
    """Base class of all strategies. A new one overrides :meth:`weights`, and :meth:`update` if it moves."""

    constrains = True
    """False: the strategy ignores the constraints, so the policy with the highest reward is selected."""

    recheck = False
    """True: :meth:`weights` is asked again in each minibatch, with the surrogate violation (``p3o``)."""

    gated = False
    """True: a λ that the violation switches or scales. Where the advantage is divided by its own spread, it has no
    effect on the trade-off (``advantage.normalise``)."""

    gate: str = "batch"
    """Which answers the weights are read from: one of ``GATES``."""

    multiplier_K: Tensor

    def __init__(self, multiplier: Multiplier = 1.0) -> None:
        """Args: multiplier: λ, one number for all constraints or a mapping by constraint name; >= 0."""
        super().__init__()
        self.multiplier = multiplier

    def setup(self, constraints: Sequence[str]) -> None:
        """Register the [K] buffers; called once with the constraints' names, before a checkpoint loads."""
        self.constraints = tuple(constraints)
        values = per_constraint("penalty.multiplier", self.multiplier, self.constraints)
        self.register_buffer("multiplier_K", torch.tensor(values))

    def weights(self, violation_K: Tensor, stderr_K: Tensor | None = None) -> Weights:
        """Weights for this iteration, detached, from the state as it is.

        Args:
            violation_K: J - d.
            stderr_K: standard error of J, for strategies that keep a margin.
        """
        raise NotImplementedError

    def update(self, violation_K: Tensor) -> None:
        """The step of the state after the policy's update; nothing for a fixed multiplier.

        A strategy may declare ``open_K`` as well, the share of this iteration's answers whose cost weight was above 0,
        and ``rectified_K``, the mean over the prompts of ``relu(v)``, each with the violation that it was weighed by.
        """

    def shape(self, reward_B: Tensor, cost_BK: Tensor, threshold_K: Tensor) -> Tensor:
        """The reward [B] that the policy sees; per-sample strategies change it here."""
        return reward_B

    def metrics(self) -> dict[str, Tensor]:
        """Scalars to log, keyed ``penalty/...``: one multiplier per constraint."""
        if len(self.constraints) == 1:
            return {"penalty/multiplier": self.multiplier_K[0]}
        return {f"penalty/{name}/multiplier": self.multiplier_K[k] for k, name in enumerate(self.constraints)}


def ask_weights(penalty: Penalty, violation_K: Tensor, stderr_K: Tensor) -> Weights:
    """Call a strategy with the arguments that it declares (a plug-in may leave the optional one out); check it."""
    if "stderr_K" in inspect.signature(penalty.weights).parameters:
        weights = penalty.weights(violation_K, stderr_K=stderr_K)
    else:
        weights = penalty.weights(violation_K)
    check_weights(penalty, weights, violation_K)
    return weights


def ask_update(
    penalty: Penalty, violation_K: Tensor, silent_K: Sequence[bool] | None = None, **optional: Tensor
) -> None:
    """Let a strategy's state make its step, with those optional arguments that it declares.

    Args:
        penalty: the strategy.
        violation_K: J - d.
        silent_K: constraints of which this batch says nothing: what the strategy keeps of them stays as it was.
        **optional: see :meth:`Penalty.update`.
    """
    declared = inspect.signature(penalty.update).parameters
    before = {name: buffer.clone() for name, buffer in penalty.named_buffers() if buffer.shape == violation_K.shape}
    penalty.update(violation_K, **{name: value for name, value in optional.items() if name in declared})
    for k in [k for k, silent in enumerate(silent_K or ()) if silent]:
        for name, buffer in penalty.named_buffers():
            if name in before:
                buffer[k] = before[name][k]


def constant_normaliser(choice: str, multiplier_K: Tensor) -> Tensor | None:
    """Z of a fixed λ: ``fixed`` = 1 + Σ λ, ``none`` = 1 (the paper's text), ``weights``: None, i.e. w_r + Σ w_k."""
    one = torch.ones_like(multiplier_K[0])
    return {"fixed": one + multiplier_K.sum(), "none": one, "weights": None}[choice]


def positive(key: str, value: float, zero: bool = False) -> float:
    """``value`` as a float if it is finite and > 0 (``zero``: or 0), else a :class:`UserError` that names the key."""
    if not 0 <= value < math.inf or (value == 0 and not zero):
        raise UserError(f"{key}={value}: must be a finite number {'>=' if zero else '>'} 0")
    return float(value)


def check_ceiling(multiplier_K: Tensor, max_multiplier: float) -> None:
    """Refuse a multiplier that starts above its own ceiling, where it would be cut in silence."""
    if bool((multiplier_K > max_multiplier).any()):
        raise UserError(
            f"penalty.multiplier={max(multiplier_K.tolist()):g}: starts above "
            f"penalty.max_multiplier={max_multiplier:g}, where it would be cut; change one of them"
        )


def per_constraint(key: str, value: Multiplier, constraints: Sequence[str]) -> list[float]:
    """One number per constraint from a number or a mapping by name, checked to be finite and >= 0."""
    if isinstance(value, Mapping):
        unknown, missing = set(value) - set(constraints), set(constraints) - set(value)
        if unknown or missing:
            raise UserError(
                f"{key}: the mapping names {sorted(map(str, value))}, the constraints are {list(constraints)}; "
                "give one number for each of them, or a single number for all"
            )
        numbers = [float(value[name]) for name in constraints]
    else:
        numbers = [float(value)] * len(constraints)
    for number in numbers:
        if not 0 <= number < float("inf"):
            raise UserError(f"{key}={number}: must be a finite number >= 0")
    return numbers


def check_choice(key: str, value: str, choices: Sequence[str]) -> str:
    """``value`` if it is one of ``choices``, else a :class:`UserError` that lists them."""
    if value not in choices:
        raise UserError(f"{key}={value!r}: choose one of {', '.join(choices)}")
    return value


def check_shaping(penalty: Any, kinds: Sequence[str]) -> None:
    """Refuse a strategy that charges each response for its own cost beside constraints that are about some prompts.

    Their sample costs are scaled so that the batch's mean is J, and no longer a response's own.

    Args:
        penalty: the strategy.
        kinds: constraints with ``where``.
    """
    if kinds and getattr(type(penalty), "shape", Penalty.shape) is not Penalty.shape:
        raise UserError(
            f"constraints.{kinds[0]}.where: {type(penalty).__name__} charges each response for its own cost, whichever "
            "prompt it is to; leave where out, or take another penalty (penalty=repo looks at each prompt)"
        )


# What is logged of every strategy alike: the gate's duty cycle and the cumulative violation.


class PenaltyMonitor(PreciseState):
    """Running figures of a penalty; checkpointed with the policy module.

    Attributes:
        duty_K: moving average of the share of answers with ``w_k > 0`` (the gate), bias-corrected when read.
        cumulative_K: Σ over iterations of ``max(0, v_k)``.
    """

    duty_K: Tensor
    cumulative_K: Tensor
    num_updates: Tensor

    def __init__(self, num_constraints: int, decay: float = 0.9) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("duty_K", torch.zeros(num_constraints))
        self.register_buffer("cumulative_K", torch.zeros(num_constraints))
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.long))

    def update(self, open_K: Tensor, violation_K: Tensor) -> None:
        """Take one iteration in; ``open_K`` is the share of its answers whose cost weight was above 0."""
        self.num_updates += 1
        self.duty_K.lerp_(open_K.to(self.duty_K.dtype), 1 - self.decay)
        self.cumulative_K += violation_K.clamp(min=0)

    def duty(self) -> Tensor:
        """The duty cycle [K] in [0, 1], an average over about ``1 / (1 - decay)`` iterations."""
        return self.duty_K / (1 - self.decay ** max(int(self.num_updates), 1))
