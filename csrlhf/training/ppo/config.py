"""Settings of a PPO run, each with its range; and what fits no single setting. Imports no torch.

Defaults suit half a billion to a few billion pretrained weights on one GPU; ``conf/recipe/`` has what others need.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import TYPE_CHECKING, Any

from csrlhf.data.settings import PromptSettings
from csrlhf.errors import InputWarning, UserError
from csrlhf.settings import RANGE, Settings, setting
from csrlhf.stats.lambda_star import MOST_CLIPPED, late_mean, no_effect
from csrlhf.training.settings import OptimizerSettings

if TYPE_CHECKING:
    from lightning import Trainer


class KLChannels(StrEnum):
    """Which channels pay the KL to the reference."""

    reward = auto()
    both = auto()
    """Costs pay it too, Safe-RLHF's choice."""


class KLControl(StrEnum):
    """The coefficient β of the KL."""

    fixed = auto()
    adaptive = auto()
    """β follows the KL to its target."""


class Normalise(StrEnum):
    """Of scores by their running statistics, before the KL."""

    none = auto()
    scale = auto()
    """Divided by the deviation."""
    whiten = auto()
    """The mean taken out first."""


class Aggregation(StrEnum):
    """From token losses to one number: the mean over all tokens, or of each sequence's mean."""

    token = auto()
    sequence = auto()


class OldLogprobs(StrEnum):
    """What the importance ratio is taken against."""

    auto = "auto"
    """``recompute`` where sampling and training compute differently (half precision), else the sampler's."""
    recompute = "recompute"
    """Log-probs of a forward pass over whole sequences before the first step, in the update's own arithmetic."""
    sampled = "sampled"
    """The sampler's."""


class Ratio(StrEnum):
    """What an importance ratio belongs to."""

    token = auto()
    sequence = auto()
    """The geometric mean over a response's tokens (GSPO); its clip is much smaller (``ppo.clip``)."""


class OnCollapse(StrEnum):
    """What a run does about a policy that collapses; ``stop`` hands over the best so far."""

    warn = auto()
    stop = auto()
    ignore = auto()


@dataclass
class SelectionSettings(Settings):
    """Which policy the run hands over.

    Attributes:
        confidence: of the bound on the selected policy's costs, whatever was looked at before.
        screens: confidences of bounds from the evaluations' prompts, by which policies come on the shortlist for the
            confirmation: for each, and for ``confidence``, the one with the highest reward of those that it lets pass.
            Each more is a policy more on disk. Nothing is promised by them.
        on_collapse: what is done about a collapse; a collapsed policy takes no earlier one's place, unless ignored.
        min_distinct: fewer distinct responses than this share of the start policy's is a collapse.
        max_refusal_rate: more answers that refuse than this is one; the key ``refusals`` says who finds them.
        min_entropy: less token entropy (nats) than this is one.
        price: reward per unit of excess in the score by which whole runs are compared. It decides nothing here.
        max_reward_drop: of the selected policy: standard deviations of the start policy's rewards that pass
            without a word, see ``RewardDrop``; None never warns.
    """

    key = "ppo.selection"

    confidence: float = setting(0.95, "in (0, 1)")
    screens: list[float] = field(default_factory=lambda: [0.999, 0.99, 0.5], metadata={RANGE: "in (0, 1)"})
    on_collapse: OnCollapse = OnCollapse.warn
    min_distinct: float = setting(0.25, "in [0, 1]")
    max_refusal_rate: float = setting(0.9, "in [0, 1]")
    min_entropy: float = 0.02
    price: float = setting(10.0, "0 or more")
    max_reward_drop: float | None = setting(0.3, "0 or more")


@dataclass
class PPOConfig(PromptSettings):
    """Constrained PPO.

    Attributes:
        epochs: passes over a rollout.
        minibatch_size: sequences per optimiser step, over all processes.
        accumulate: micro-batches in which each process takes its share of a minibatch.
        kl_coef: β of the KL to the reference, in the token rewards; where it starts if it is adaptive.
        kl_channels: which channels pay it.
        kl_control: whether β moves.
        kl_target: of an adaptive β, in nats per response.
        kl_horizon: of an adaptive β, in responses: the larger, the slower (above ``0.2 x ppo.batch_size``).
        reward_normalise: of rewards by their running statistics.
        cost_normalise: of sample costs, likewise; λ then is a price in other units (``penalty/effective_multiplier``).
        clip: ε of the clipped surrogate.
        ratio: of a token, or of its whole response.
        old_logprobs: what the ratio is taken against.
        tis_cap: bound on what corrects for a sampler that computes otherwise than the update: the weight
            ``π_old / π_sampler`` of a token's surrogate with recomputed log-probs, the ratio itself with
            ``ppo.old_logprobs=sampled``, in full precision too; None for neither. ``auto`` has neither there.
        value_clip: range of the clipped value loss; None leaves the plain square.
        reward_clamp: bound on shaped token rewards; None for none.
        entropy_coef: weight of the entropy bonus, relative to the reward's: the penalty's normaliser divides both.
        aggregation: of token losses.
        policy_grad_clip: bound on the policy's gradient norm.
        critic_grad_clip: bound on the critic's.
        critic_warmup: first iterations in which the critic alone is trained; half of a run that they would fill, none
            without a critic.
        target_kl: the policy's steps of an iteration end where its KL to the policy that sampled (``policy/update_kl``,
            nats per token, of the minibatch at hand over all processes) is past it; None: never. The critic's go on.
        ptx_coef: weight of the SFT loss on the source's training demonstrations (PTX), in every step of the policy,
            relative to the reward's: the penalty's normaliser divides both; 0: off. A demonstration has the room of
            ``ppo.max_prompt_tokens`` and ``rollout.max_new_tokens``; longer ones are cut.
        ptx_batch_size: demonstrations per step, over all processes.
        policy_optimizer: of the policy.
        critic_optimizer: of the critic.
        selection: which policy the run hands over.

    Example:
        ``PPOConfig(epochs=2, minibatch_size=64)``.
    """

    epochs: int = setting(2, "1 or more")
    minibatch_size: int = setting(16, "1 or more")
    accumulate: int = setting(1, "1 or more")
    kl_coef: float = setting(0.1, "0 or above")
    kl_channels: KLChannels = KLChannels.reward
    kl_control: KLControl = KLControl.fixed
    kl_target: float = setting(6.0, "above 0")
    kl_horizon: float = setting(10000.0, "above 0")
    reward_normalise: Normalise = Normalise.none
    cost_normalise: Normalise = Normalise.none
    clip: float = setting(0.2, "in (0, 1)")
    ratio: Ratio = Ratio.token
    old_logprobs: OldLogprobs = OldLogprobs.auto
    tis_cap: float | None = setting(2.0, "1 or above")
    value_clip: float | None = setting(None, "above 0")
    reward_clamp: float | None = setting(None, "above 0")
    entropy_coef: float = setting(0.0, "0 or above")
    aggregation: Aggregation = Aggregation.token
    policy_grad_clip: float = setting(1.0, "above 0")
    critic_grad_clip: float = setting(1.0, "above 0")
    critic_warmup: int = setting(6, "0 or more")
    target_kl: float | None = setting(None, "above 0")
    ptx_coef: float = setting(0.0, "0 or above")
    ptx_batch_size: int = setting(16, "1 or more")
    policy_optimizer: OptimizerSettings = field(default_factory=lambda: OptimizerSettings(lr=1e-6, weight_decay=0.0))
    critic_optimizer: OptimizerSettings = field(default_factory=lambda: OptimizerSettings(lr=5e-6, weight_decay=0.0))
    selection: SelectionSettings = field(default_factory=SelectionSettings)

    def check(self, key: str) -> None:
        """Also refuses an adaptive β that could never move."""
        super().check(key)
        if self.kl_control == KLControl.adaptive and self.kl_coef == 0:
            raise UserError(
                f"{key}.kl_coef=0: with {key}.kl_control=adaptive it must be above 0, which it can never leave"
            )


def check_trainer(trainer: Trainer, data: Any, samples_per_prompt: int) -> None:
    """End the run where its data end, and raise a UserError where a Trainer built by hand would go wrong unnoticed.

    Args:
        trainer: its ``max_epochs`` becomes the number of epochs that hold ``data.iterations``, where that is less.
        data: the trainer's DataModule (``PromptDataModule``).
        samples_per_prompt: of the module.
    """
    if data is None:
        raise UserError("PPO has no DataModule; write trainer.fit(module, PromptDataModule(...))")
    if data.samples_per_prompt != samples_per_prompt:
        raise UserError(
            f"ppo.samples_per_prompt={samples_per_prompt}: must be the DataModule's, which is {data.samples_per_prompt}"
        )
    every: int = trainer.reload_dataloaders_every_n_epochs  # type: ignore[attr-defined]  # set in a connector
    if every != 1:
        raise UserError(
            f"trainer.reload_dataloaders_every_n_epochs={every}: must be 1, else epochs repeat the first one's prompts"
        )
    epochs = math.ceil(data.iterations / data.iterations_per_epoch)
    if trainer.max_epochs is None or not 0 <= trainer.max_epochs <= epochs:
        trainer.fit_loop.max_epochs = epochs


def check_warmup(critic_warmup: int, iterations: int | None) -> None:
    """Raise a UserError where every iteration would train the critic alone, and the SFT policy come out as trained."""
    if iterations is not None and critic_warmup >= iterations:
        raise UserError(
            f"ppo.critic_warmup={critic_warmup}: must be below ppo.iterations={iterations}, "
            "else no iteration trains the policy"
        )


def fitting_warmup(critic_warmup: int, iterations: int) -> int:
    """Iterations of warm-up; half of the run where it would take all of it.

    Args:
        critic_warmup: as it was asked for.
        iterations: of the run.
    """
    if critic_warmup < iterations:
        return critic_warmup
    warnings.warn(
        f"ppo.critic_warmup={critic_warmup}: shortened to {iterations // 2}, else none of ppo.iterations={iterations} "
        "would train the policy",
        InputWarning,
        stacklevel=2,
    )
    return iterations // 2


def warn_inert(penalty: Any, advantage: Any) -> None:
    """Say where a fixed λ behind a gate will move nothing, because the advantage is divided by its own spread."""
    reason = no_effect(type(advantage).__name__, getattr(advantage, "normalise", None))
    if getattr(penalty, "gated", False) and reason is not None:
        warnings.warn(
            f"{reason}: λ will have no effect on the trade-off; advantage.normalise=reward keeps its meaning",
            InputWarning,
            stacklevel=3,
        )


def warn_clipped(ppo: PPOConfig, clip_active: Sequence[float]) -> None:
    """Say where the gradient clip took λ its meaning.

    Args:
        ppo: has the clip.
        clip_active: share of clipped steps of each iteration, from the first.
    """
    if (clipped := late_mean(clip_active)) > MOST_CLIPPED:
        warnings.warn(
            f"ppo.policy_grad_clip={ppo.policy_grad_clip:g}: it cut {100 * clipped:.0f} % of the late steps to one "
            "length, whatever the penalty's weights were, so λ had little effect on the trade-off; raise it",
            InputWarning,
            stacklevel=3,
        )
