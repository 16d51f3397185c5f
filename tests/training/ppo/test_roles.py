"""Six roles behind one interface: what each one reads, what is frozen, what the critic starts from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from csrlhf.data.prompts import encode_batch
from csrlhf.errors import UserError
from csrlhf.generation.sampler import Sampler, response_logits
from csrlhf.models.loading import load_trunk
from csrlhf.models.settings import Tuning
from csrlhf.ops.logprobs import EXCLUDED, gather_logprobs
from csrlhf.training.ppo.roles import SeparateRoles
from csrlhf.types import PromptRow, Rollout


@pytest.fixture(scope="module")
def roles(folders: Any) -> SeparateRoles:
    return SeparateRoles(
        folders.sft, folders.reward, folders.cost_two, Sampler(5, temperature=0.7), ("harm", "privacy")
    )


@pytest.fixture(scope="module")
def roll(roles: SeparateRoles) -> Callable[..., Rollout]:
    def sample(*texts: str) -> Rollout:
        batch = encode_batch(roles.tokenizer, [PromptRow(text) for text in texts], range(len(texts)), 16)
        return roles.sampler(roles.policy, roles.tokenizer, batch, 0, 0)  # type: ignore[arg-type]  # a causal model

    return sample


def test_an_untrained_policy_is_its_reference_in_the_sampling_distribution(roles: SeparateRoles, roll: Any) -> None:
    rollout = roll("a b c", "d")
    mask = rollout.response_mask_BT
    logprobs = gather_logprobs(roles.policy_logits(rollout), rollout.response_ids_BT)
    torch.testing.assert_close(logprobs[mask], rollout.logprobs_BT[mask], atol=1e-5, rtol=0)
    torch.testing.assert_close(roles.reference_logprobs(rollout)[mask], rollout.logprobs_BT[mask], atol=1e-5, rtol=0)


def test_the_reference_is_read_in_passes_that_change_nothing(
    roles: SeparateRoles, roll: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout = roll("a b c", "d", "e f", "g h", "i")
    whole, sizes = roles.reference_logprobs(rollout), []
    roles.reference.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    monkeypatch.setattr("csrlhf.generation.recompute.LOGITS_PER_PASS", 2 * rollout.response_ids_BT.shape[1] * 20)
    torch.testing.assert_close(roles.reference_logprobs(rollout), whole)
    assert sizes == [2, 2, 1]  # of a vocabulary of twenty words


def test_the_reference_has_the_temperature_and_no_truncation(folders: Any) -> None:
    """A token that the policy drew may be none of the reference's likeliest: at -inf it would be the whole KL."""
    sampler = Sampler(5, temperature=0.7, top_k=1)
    roles = SeparateRoles(folders.sft, folders.reward, folders.cost, sampler, ("harm",), with_critic=False)
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in roles.policy.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=draws))
    batch = encode_batch(roles.tokenizer, [PromptRow(text) for text in ("a b c", "d", "e f", "g")], range(4), 16)
    rollout = sampler(roles.policy, roles.tokenizer, batch, 0, 0)  # type: ignore[arg-type]  # a causal model
    mask, ids = rollout.response_mask_BT, rollout.response_ids_BT
    cut = gather_logprobs(sampler.response_distribution(roles.reference, rollout, roles.ends), ids)
    assert (cut[mask] <= EXCLUDED).any()
    expected = (response_logits(roles.reference, rollout) / 0.7).log_softmax(-1).gather(-1, ids.unsqueeze(-1))
    torch.testing.assert_close(roles.reference_logprobs(rollout)[mask], expected.squeeze(-1)[mask], atol=1e-5, rtol=0)


def test_a_policy_with_adapters_is_its_own_reference(folders: Any) -> None:
    def build(tuning: Tuning | None) -> SeparateRoles:
        return SeparateRoles(
            folders.sft, folders.reward, folders.cost, Sampler(5), ("harm",), policy_tuning=tuning, with_critic=False
        )

    roles, separate = build(Tuning("lora", rank=2)), build(None)
    assert roles.reference is None
    draws = torch.Generator().manual_seed(0)
    trained = {name: weight for name, weight in roles.policy.named_parameters() if weight.requires_grad}
    with torch.no_grad():
        for weight in trained.values():
            weight.add_(0.3 * torch.randn(weight.shape, generator=draws))
    batch = encode_batch(roles.tokenizer, [PromptRow(text) for text in ("a b c", "d", "e f", "g")], range(4), 16)
    rollout = roles.sampler(roles.policy, roles.tokenizer, batch, 0, 0)  # type: ignore[arg-type]  # a causal model
    mask, before = rollout.response_mask_BT, roles.policy_logits(rollout)
    found = roles.reference_logprobs(rollout)
    torch.testing.assert_close(found[mask], separate.reference_logprobs(rollout)[mask])
    assert not torch.allclose(found[mask], rollout.logprobs_BT[mask], atol=0.01)
    assert not found.requires_grad
    torch.testing.assert_close(roles.policy_logits(rollout), before, rtol=0, atol=0)  # the adapters are on again
    assert {name for name, weight in roles.policy.named_parameters() if weight.requires_grad} == set(trained)


def test_scores_are_those_of_the_texts(roles: SeparateRoles, roll: Any) -> None:
    rollout = roll("a b c", "d", "e f")
    scores = roles.score(rollout)
    assert scores.reward_B.shape == (3,)
    assert scores.cost_logits_BK.shape == (3, 2)
    texts = [row.prompt for row in rollout.rows], rollout.responses, rollout.ended_B.tolist()
    torch.testing.assert_close(scores.reward_B, roles.reward_model.score(*texts)[:, 0])
    torch.testing.assert_close(scores.cost_logits_BK, roles.cost_model.score(*texts))


def test_values_stand_before_their_token(roles: SeparateRoles, roll: Any) -> None:
    """The value of token t has read the prompt and the tokens before t, and not t."""
    rollout = roll("a b c")
    values = roles.values(rollout)
    prompt_length = rollout.sequence_ids_BS.shape[1] - rollout.response_ids_BT.shape[1]
    for t in range(int(rollout.response_mask_BT.sum())):
        before = rollout.sequence_ids_BS[:, : prompt_length + t]
        alone = roles.critic(before, torch.ones_like(before, dtype=torch.bool))
        torch.testing.assert_close(values[:, t], alone, atol=1e-5, rtol=1e-4)


def test_policy_and_critic_learn_and_nothing_else(roles: SeparateRoles) -> None:
    trainable = {name.split(".")[0] for name, parameter in roles.named_parameters() if parameter.requires_grad}
    assert trainable == {"policy", "critic"}


def test_without_a_critic_there_are_no_values_and_the_policy_alone_learns(roll: Any, folders: Any) -> None:
    bare = SeparateRoles(folders.sft, folders.reward, folders.cost, Sampler(5), ("harm",), with_critic=False)
    assert bare.values(roll("a b")) is None
    trainable = {name.split(".")[0] for name, parameter in bare.named_parameters() if parameter.requires_grad}
    assert trainable == {"policy"}


def test_dropout_stays_off(roles: SeparateRoles) -> None:
    roles.train()
    assert not any(module.training for module in roles.modules())


def test_the_critic_starts_from_the_reward_model_s_trunk(roles: SeparateRoles, folders: Any) -> None:
    trunk = load_trunk(folders.reward).state_dict()
    assert all(torch.equal(trunk[key], value) for key, value in roles.critic.backbone.state_dict().items())
    assert roles.critic.outputs == ("reward", "cost_0", "cost_1")


def test_the_critic_s_head_depends_on_its_seed(folders: Any) -> None:
    heads = [
        SeparateRoles(folders.sft, folders.reward, folders.cost, Sampler(5), ("harm",), seed=seed).critic.head.weight
        for seed in (3, 3, 4)
    ]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_outputs_are_checked(folders: Any) -> None:
    with pytest.raises(UserError, match="scores harm, privacy and not reward"):
        SeparateRoles(folders.sft, folders.cost_two, folders.cost, Sampler(5), ("harm",))
    with pytest.raises(UserError, match="scores harm and not privacy"):
        SeparateRoles(folders.sft, folders.reward, folders.cost, Sampler(5), ("harm", "privacy"))


def test_cost_columns_follow_the_names_of_the_constraints(roles: SeparateRoles, roll: Any, folders: Any) -> None:
    swapped = SeparateRoles(folders.sft, folders.reward, folders.cost_two, Sampler(5), ("privacy", "harm"))
    rollout = roll("a b", "c")
    expected_BK = roles.score(rollout).cost_logits_BK
    assert not torch.equal(expected_BK[:, 0], expected_BK[:, 1])
    torch.testing.assert_close(swapped.score(rollout).cost_logits_BK, expected_BK.flip(-1))


def test_several_cost_models_score_as_one_each(roll: Any, roles: SeparateRoles, folders: Any) -> None:
    mixed = SeparateRoles(
        folders.sft,
        folders.reward,
        {"harm": folders.cost, "privacy": folders.cost_two},
        Sampler(5),
        ("privacy", "harm"),
    )
    rollout = roll("a b", "c")
    scores_BK = mixed.score(rollout).cost_logits_BK
    alone = SeparateRoles(folders.sft, folders.reward, folders.cost, Sampler(5), ("harm",))
    torch.testing.assert_close(scores_BK[:, 0], roles.score(rollout).cost_logits_BK[:, 1])
    torch.testing.assert_close(scores_BK[:, 1], alone.score(rollout).cost_logits_BK[:, 0])
    assert mixed.critic.num_outputs == 3
    assert not any(parameter.requires_grad for parameter in mixed.cost_model.parameters())


def test_a_policy_folder_is_no_score_model(folders: Any) -> None:
    with pytest.raises(UserError, match="without its score head"):
        SeparateRoles(folders.sft, folders.sft, folders.cost, Sampler(5), ("harm",))
