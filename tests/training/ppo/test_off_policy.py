"""Log-probs of the policy that sampled: recomputed in half precision, corrected; KL without truncation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from csrlhf.data.demonstrations import DemonstrationBatch
from csrlhf.errors import UserError
from csrlhf.generation.recompute import computes_alike, recomputed
from csrlhf.generation.sampler import Sampler
from csrlhf.models.loading import build_policy, seeded
from csrlhf.ops.logprobs import EXCLUDED, gather_logprobs, ratio_reference
from csrlhf.ops.losses import surrogate_shift, truncate_ratio
from csrlhf.penalties import Linear
from csrlhf.training.ppo.config import PPOConfig
from csrlhf.training.ppo.update import Counts, take
from csrlhf.types import Rollout

Make = Callable[..., Any]
CONFIG: dict[str, Any] = {"minibatch_size": 64, "critic_warmup": 0}


def half() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


@pytest.fixture(scope="module")
def deep(tiny: ModuleType) -> Any:
    """A random Llama of eight layers: half precision adds up over them."""
    shape = tiny.ARCHITECTURE | {"num_hidden_layers": 8, "hidden_size": 64, "initializer_range": 0.15}
    with seeded(0):
        return build_policy(shape, tiny.tokenizer()).eval()


def drawn(deep: Any, tiny: ModuleType, prompt_data: Make, **warp: Any) -> tuple[Rollout, Sampler, int]:
    data, sampler = prompt_data(batch_size=32, max_prompt_tokens=16), Sampler(24, **warp)
    data.setup("fit")
    tokenizer = tiny.tokenizer()
    return sampler(deep, tokenizer, data.batch(0), 0, 0), sampler, int(tokenizer.eos_token_id)


def logprobs(deep: Any, sampler: Sampler, mini: Rollout, end_id: int) -> Tensor:
    return gather_logprobs(sampler.response_distribution(deep, mini, end_id), mini.response_ids_BT)


@pytest.mark.parametrize("warp", [{}, {"temperature": 0.7, "top_p": 0.9}])
@torch.no_grad()
def test_the_ratio_of_a_policy_that_has_not_moved_is_1_in_half_precision(
    deep: Any, tiny: ModuleType, prompt_data: Make, warp: dict[str, float]
) -> None:
    with half():
        rollout, sampler, end_id = drawn(deep, tiny, prompt_data, **warp)
        known = recomputed(rollout, sampler, deep, end_id)
        worst, off = 0.0, []
        for rows in torch.randperm(32, generator=torch.Generator().manual_seed(0)).split(5):  # minibatches of PPO
            mini = take(known, rows)
            found, mask = logprobs(deep, sampler, mini, end_id), mini.response_mask_BT & (mini.ratio_logprobs_BT > -100)
            worst = max(worst, float((found - mini.ratio_logprobs_BT).exp().sub(1).abs()[mask].max()))
            off.append((found - mini.logprobs_BT).abs()[mask & (found > -100)])
    assert worst < 1e-3
    assert torch.cat(off).mean() > 0.005  # against the sampler's own: what the recomputation is for


def test_half_precision_is_told_by_autocast_and_by_the_weights(deep: Any, tiny: ModuleType) -> None:
    assert computes_alike(deep)
    with half():
        assert not computes_alike(deep)
    with seeded(0):
        assert not computes_alike(build_policy(tiny.ARCHITECTURE, tiny.tokenizer()).bfloat16())


@pytest.mark.parametrize("asked", ["auto", "recompute", "sampled"])
@pytest.mark.parametrize("precise", [True, False])
def test_auto_recomputes_where_sampling_and_training_differ(rolled_out: Make, asked: str, precise: bool) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=not precise):
        module, rollout, _ = rolled_out(ppo=PPOConfig(old_logprobs=asked, **CONFIG))
    expected = asked == "recompute" or (asked == "auto" and not precise)
    assert (rollout.old_logprobs_BT is not None) is expected
    if expected and precise:
        torch.testing.assert_close(rollout.old_logprobs_BT, rollout.logprobs_BT, atol=1e-5, rtol=0)
    assert module.ppo.old_logprobs == asked


@pytest.mark.parametrize(
    "warp", [{"top_p": 0.5}, {"top_k": 3}, {"temperature": 0.7, "top_p": 0.6}, {"min_new_tokens": 3}]
)
@pytest.mark.parametrize("precise", [True, False])
def test_a_policy_is_no_nats_away_from_itself_whatever_is_truncated(
    rolled_out: Make, warp: dict[str, Any], precise: bool
) -> None:
    """Truncated against untruncated it was 6.7 nats in 64 tokens at top_p = .9; in half precision .31 without any."""
    with torch.autocast("cpu", torch.bfloat16, enabled=not precise):
        module, rollout, _ = rolled_out(sampler=Sampler(5, **warp))
        difference = rollout.kl_logprobs_BT - module.roles.reference_logprobs(rollout)
    assert difference[rollout.response_mask_BT].abs().max() < 1e-5
    if "top_p" in warp and precise:
        assert (rollout.logprobs_BT - rollout.kl_logprobs_BT)[rollout.response_mask_BT].mean() > 0.1


def surrogate(module: Any, rollout: Rollout, advantages: Any) -> tuple[float, Tensor]:
    """The loss, and the gradient of the policy's head."""
    module.roles.policy.zero_grad()
    loss, _ = module.update.policy_loss(rollout, advantages, Counts.of(rollout.response_mask_BT))
    loss.backward()
    return loss.item(), module.roles.policy.lm_head.weight.grad.clone()


def test_the_weight_of_a_perturbed_sampler_takes_its_bias_away(rolled_out: Make) -> None:
    """A sampler whose log-probs are off by known factors: each token's surrogate is weighed by ``min(cap, factor)``."""
    module, rollout, advantages = rolled_out(ppo=PPOConfig(old_logprobs="recompute", tis_cap=2.0, **CONFIG))
    mask, factor = rollout.response_mask_BT, torch.tensor([0.5, 1.5, 8.0, 1.0, 1.0, 3.0, 1.0, 0.25]).unsqueeze(-1)
    perturbed = replace(rollout, logprobs_BT=rollout.old_logprobs_BT - factor.log() * mask)
    expected = replace(advantages, advantage_BT=advantages.advantage_BT * factor.clamp(max=2.0))
    found, right = surrogate(module, perturbed, advantages), surrogate(module, rollout, expected)
    assert found[0] == pytest.approx(right[0], rel=1e-4)
    torch.testing.assert_close(found[1], right[1], rtol=1e-3, atol=1e-7)


def test_sampled_log_probs_have_a_ratio_with_a_cap_and_a_gradient_past_it(rolled_out: Make) -> None:
    """At A < 0 PPO's ratio has no bound; past the cap the weight stays there, and the response is still pushed down."""
    capped, rollout, advantages = rolled_out(ppo=PPOConfig(old_logprobs="sampled", tis_cap=2.0, **CONFIG))
    plain, _, _ = rolled_out(ppo=PPOConfig(old_logprobs="sampled", tis_cap=None, **CONFIG))
    bad = replace(advantages, advantage_BT=-advantages.advantage_BT.abs())
    mask = rollout.response_mask_BT
    wild = replace(rollout, logprobs_BT=rollout.logprobs_BT - torch.tensor(6.0).log() * mask)
    (loss, gradient), (free, unbounded) = surrogate(capped, wild, bad), surrogate(plain, wild, bad)
    assert free == pytest.approx(3 * loss, rel=1e-4)
    torch.testing.assert_close(unbounded, 3 * gradient, rtol=1e-3, atol=1e-6)
    assert gradient.abs().max() > 0


def test_a_token_outside_of_top_p_in_the_update_s_arithmetic_weighs_nothing(rolled_out: Make) -> None:
    module, rollout, advantages = rolled_out(ppo=PPOConfig(old_logprobs="recompute", **CONFIG))
    old = rollout.old_logprobs_BT.clone()
    old[0] = EXCLUDED
    found = surrogate(module, replace(rollout, old_logprobs_BT=old), advantages)
    silent = advantages.advantage_BT.clone()
    silent[0] = 0.0
    right = surrogate(module, rollout, replace(advantages, advantage_BT=silent))
    assert found[0] == pytest.approx(right[0], abs=1e-6)
    torch.testing.assert_close(found[1], right[1], atol=1e-7, rtol=1e-4)


def test_such_a_token_moves_no_violation_either(rolled_out: Make) -> None:
    """Against -10,000 its ratio would be infinite: a rechecked gate would be open, or no number."""
    _, rollout, _ = rolled_out(ppo=PPOConfig(old_logprobs="recompute", **CONFIG))
    logprobs = rollout.old_logprobs_BT.clone()
    old = logprobs.clone()
    old[0] = EXCLUDED
    costs = torch.ones(*logprobs.shape, 1)
    shift = surrogate_shift(logprobs, ratio_reference(old, logprobs), costs, rollout.response_mask_BT)
    assert shift.tolist() == [0.0]
    assert not torch.isfinite(surrogate_shift(logprobs, old, costs, rollout.response_mask_BT)).all()


def test_a_ratio_without_end_is_capped_and_no_nan() -> None:
    ratio = truncate_ratio(torch.tensor([torch.inf, 3.0]), 2.0)
    assert ratio.tolist() == [2.0, 2.0]


def test_a_penalty_that_counts_tokens_has_no_ratio_of_sequences(policy_module: Make) -> None:
    class Again(Linear):
        recheck = True

    with pytest.raises(UserError, match=r"ppo\.ratio=sequence: Again .*ppo\.ratio=token"):
        policy_module(penalty=Again(1.0), ppo=PPOConfig(ratio="sequence", **CONFIG))


@pytest.mark.parametrize("coef", ["entropy_coef", "ptx_coef"])
def test_what_is_beside_the_surrogate_weighs_relative_to_the_reward(rolled_out: Make, coef: str) -> None:
    """Z divides it as it divides the reward's advantage: at λ = 20 a PTX of 16 weighed 336 : 1 before."""
    module, rollout, advantages = rolled_out(ppo=PPOConfig(**{coef: 0.5}, **CONFIG))
    counts = Counts.of(rollout.response_mask_BT)

    def part(normaliser: float) -> float:
        module.update.normaliser = normaliser
        if coef == "ptx_coef":
            ids, mask = rollout.sequence_ids_BS, rollout.sequence_mask_BS
            response = torch.zeros_like(mask)
            response[:, -rollout.response_mask_BT.shape[1] :] = rollout.response_mask_BT
            return module.update.ptx_loss(DemonstrationBatch(ids, mask, response))[0].item()
        silent = replace(advantages, advantage_BT=torch.zeros_like(advantages.advantage_BT))
        return module.update.policy_loss(rollout, silent, counts)[0].item()

    assert part(1.0) != 0
    assert part(21.0) == pytest.approx(part(1.0) / 21)
