"""One whole iteration of the policy module with Safe-RLHF's choices against a plain re-computation, to 1e-6.

Ours runs through the Trainer; recorded are what was sampled, how it was scored, and weights and gradients at each
optimiser step. The re-computation takes sequences, scores and weights, and nothing else: it asks the models for logits
and values one sequence at a time, without padding, and does the rest with the loops of ``published.py``.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from csrlhf.advantages import GAE
from csrlhf.constraints import Mean
from csrlhf.data.prompts import PromptDataModule
from csrlhf.data.settings import PromptSettings
from csrlhf.generation.sampler import Sampler
from csrlhf.penalties import Lagrangian
from csrlhf.training.ppo.config import OnCollapse, PPOConfig, SelectionSettings
from csrlhf.training.ppo.policy import PolicyModule
from csrlhf.training.settings import OptimizerSettings
from csrlhf.types import Rollout, Scores

BETA, GAMMA, LAM, CLIP = 0.5, 1.0, 0.95, 0.2
BOUND, VALUE_CLIP = 1.0, 0.1  # 50 and 5 in experiment=safe_rlhf, where the small world's numbers would never meet them
START, RATE, CEILING, THRESHOLD = 2.0, 0.1, 5.0, 0.3
WARM_UP = 1

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice on loaders of tiny data


def safe_rlhf(folders: Any, epochs: int) -> PolicyModule:
    """What experiment=safe_rlhf sets, at the size of the small world, without the part that needs demonstrations."""
    return PolicyModule(
        inputs=folders.inputs(),
        sampler=Sampler(max_new_tokens=6),
        penalty=Lagrangian(START, lr=RATE, rule="log", max_multiplier=CEILING, min_multiplier=1e-30),
        constraints={"harm": Mean(THRESHOLD, scale="logit")},
        advantage=GAE(GAMMA, LAM, normalise="none"),
        ppo=PPOConfig(
            epochs=epochs,
            minibatch_size=8,
            kl_coef=BETA,
            kl_channels="both",
            clip=CLIP,
            value_clip=VALUE_CLIP,
            reward_clamp=BOUND,
            aggregation="sequence",
            policy_grad_clip=1e9,
            critic_grad_clip=1e9,
            critic_warmup=WARM_UP,
            selection=SelectionSettings(on_collapse=OnCollapse.ignore),
            policy_optimizer=OptimizerSettings(lr=0.02, weight_decay=0.0),
            critic_optimizer=OptimizerSettings(lr=0.02, weight_decay=0.0),
        ),
        seed=0,
    )


@dataclass
class Step:
    """Weights and gradients of policy and critic when one of the two optimisers is about to step."""

    role: str
    model: nn.Module
    gradients: dict[str, Tensor]


@dataclass
class Record:
    """What an observer saw of a run."""

    rollouts: list[Rollout] = field(default_factory=list)
    scores: list[Scores] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)


@pytest.fixture
def observed(folders: Any, tiny: ModuleType, tmp_path: Any) -> tuple[PolicyModule, Record]:
    """Two iterations of two epochs in double precision; the first trains the critic alone, the second is looked at.

    So the policy's reference is what it starts from, and its first step has ratio 1 and its second one has not. The
    policy is moved away from its reference beforehand, or there would be no divergence to pay for.
    """
    module, record = safe_rlhf(folders, epochs=2), Record()
    module.configure_model()
    module.double()
    draws = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in module.roles.policy.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=draws))
    generate, score = module.generate, module.score

    def keep_rollout(*given: Any, **options: Any) -> Rollout:
        record.rollouts.append(generate(*given, **options))
        return record.rollouts[-1]

    def keep_scores(*given: Any, **options: Any) -> Scores:
        record.scores.append(score(*given, **options))
        return record.scores[-1]

    def before_step(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        first = optimizer.param_groups[0]["params"][0]
        models = {"policy": module.roles.policy, "critic": module.roles.critic}
        (role,) = (name for name, model in models.items() if any(p is first for p in model.parameters()))
        gradients = {n: p.grad.clone() for n, p in models[role].named_parameters() if p.grad is not None}
        record.steps.append(Step(role, copy.deepcopy(models[role]), gradients))

    module.generate, module.score = keep_rollout, keep_scores  # type: ignore[method-assign]
    hook = register_optimizer_step_pre_hook(before_step)
    sizes = PromptSettings(iterations=2, eval_every=1, batch_size=8, max_prompt_tokens=16)
    data = PromptDataModule(tiny.Source(), tiny.tokenizer(), sizes, eval_batch_size=8)
    options = {"precision": "64-true", "limit_val_batches": 0}
    trainer = tiny.fit(module, data, tmp_path, epochs=2, **options)
    hook.remove()
    record.metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}
    return module, record


def alone(rollout: Rollout, b: int) -> tuple[Tensor, int]:
    """Prompt and response of a row without padding [1, S], and how many of them are the prompt's."""
    num_prompt = rollout.sequence_ids_BS.shape[1] - rollout.response_ids_BT.shape[1]
    prompt = rollout.sequence_ids_BS[b, :num_prompt][rollout.sequence_mask_BS[b, :num_prompt]]
    response = rollout.response_ids_BT[b][rollout.response_mask_BT[b]]
    return torch.cat([prompt, response]).unsqueeze(0), len(prompt)


def log_probs(published: ModuleType, model: Any, rollout: Rollout) -> list[list[Tensor]]:
    """Of each response's tokens, under a model asked for one sequence at a time."""
    found = []
    for b in range(len(rollout.rows)):
        ids, start = alone(rollout, b)
        logits = model(input_ids=ids, use_cache=False).logits[0]
        found.append([published.log_prob(logits[t - 1], int(ids[0, t])) for t in range(start, ids.shape[1])])
    return found


def values(model: Any, rollout: Rollout, channel: int) -> list[list[Tensor]]:
    """The critic's values before each response token."""
    found = []
    for b in range(len(rollout.rows)):
        ids, start = alone(rollout, b)
        scores = model.token_scores(ids, torch.ones_like(ids, dtype=torch.bool))[0, :, channel]
        found.append([scores[t - 1] for t in range(start, ids.shape[1])])
    return found


def numbers(rows: list[list[Tensor]]) -> list[list[float]]:
    return [[float(value) for value in row] for row in rows]


def steps_of(record: Record, role: str) -> list[Step]:
    """The two steps of the second iteration (its critic's are the third and the fourth)."""
    return [step for step in record.steps if step.role == role][-2:]


@dataclass
class Expected:
    """The re-computed targets of the second iteration."""

    old: list[list[float]]
    mixed: list[list[float]]
    old_values: list[list[list[float]]]
    returns: list[list[list[float]]]
    multipliers: list[float]


def recompute(published: ModuleType, module: PolicyModule, record: Record) -> Expected:
    """From sequences, scores and models to advantages, by the formulas."""
    rollout, scores = record.rollouts[1], record.scores[1]
    old = numbers(log_probs(published, steps_of(record, "policy")[0].model, rollout))
    reference = numbers(log_probs(published, module.roles.reference, rollout))
    ratios = [[a - b for a, b in zip(*rows, strict=True)] for rows in zip(old, reference, strict=True)]
    critic = steps_of(record, "critic")[0].model
    old_values = [numbers(values(critic, rollout, channel)) for channel in range(2)]
    columns = [(-1.0, scores.reward_B), (1.0, scores.cost_logits_BK[:, 0])]
    advantages, targets = [], []
    for (sign, score_B), known in zip(columns, old_values, strict=True):
        shaped = [published.shaped(float(s), r, BETA, sign, BOUND) for s, r in zip(score_B, ratios, strict=True)]
        assert any(abs(value) == BOUND for row in shaped for value in row), "no clamp was at work"
        rows = list(zip(shaped, known, strict=True))
        advantages.append([published.advantages(r, v, GAMMA, LAM) for r, v in rows])
        targets.append([published.returns(r, v, GAMMA, LAM) for r, v in rows])
    # The first iteration trains the critic alone and leaves λ where it is: the policy has not moved.
    costs = [batch.cost_logits_BK[:, 0].tolist() for batch in record.scores]
    multipliers = published.dual_steps(costs, START, RATE, CEILING, THRESHOLD, window=8, delay=WARM_UP)
    mixed = [published.mixed(*rows, multipliers[0]) for rows in zip(*advantages, strict=True)]
    return Expected(old, mixed, old_values, targets, multipliers)


def test_loss_gradient_and_multiplier_are_those_of_the_formulas(
    published: ModuleType, observed: tuple[PolicyModule, Record]
) -> None:
    module, record = observed
    expected, rollout = recompute(published, module, record), record.rollouts[1]
    lengths = rollout.response_mask_BT.sum(1)
    assert lengths.min() < lengths.max(), "responses are to be ragged"

    losses = []
    for step in steps_of(record, "policy"):
        new = log_probs(published, step.model, rollout)
        loss = published.surrogate(new, expected.old, expected.mixed, CLIP)
        same_gradient(step, loss)
        losses.append(float(loss))
        clipped = [
            abs(torch.exp(a.detach() - b) - 1) > CLIP
            for rows in zip(new, expected.old, strict=True)
            for a, b in zip(*rows, strict=True)
        ]
        assert any(clipped) is (len(losses) == 2), "the second step is to meet the clip, the first one cannot"
    assert record.metrics["policy/loss"] == pytest.approx(sum(losses) / 2, abs=1e-6)

    losses = []
    for step in steps_of(record, "critic"):
        loss = sum(
            published.value_loss(
                values(step.model, rollout, channel),
                expected.old_values[channel],
                expected.returns[channel],
                VALUE_CLIP,
            )
            for channel in range(2)
        )
        same_gradient(step, loss)
        losses.append(float(loss))
    assert record.metrics["critic/loss"] == pytest.approx(sum(losses) / 2, abs=1e-6)

    assert float(module.penalty.multiplier_K) == pytest.approx(expected.multipliers[-1], abs=1e-6)
    assert float(module.penalty.multiplier_K) != pytest.approx(START, abs=1e-3)
    assert record.metrics["constraint/harm/cost"] == pytest.approx(
        record.scores[1].cost_logits_BK.mean().item(), abs=1e-6
    )


def same_gradient(step: Step, loss: Tensor) -> None:
    """The gradient of ``loss`` at the step's weights is the one that the optimiser was handed."""
    names = [name for name, parameter in step.model.named_parameters() if parameter.requires_grad]
    parameters = [dict(step.model.named_parameters())[name] for name in names]
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    largest = 0.0
    for name, gradient in zip(names, found, strict=True):
        ours = step.gradients.get(name)
        if gradient is None:
            assert ours is None or not ours.any(), name
            continue
        assert ours is not None, name
        torch.testing.assert_close(ours, gradient, atol=1e-6, rtol=1e-6)
        largest = max(largest, float(gradient.abs().max()))
    assert largest > 1e-3, "a gradient of nothing proves nothing"
