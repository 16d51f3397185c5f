"""Layers that are not trained are computed once per rollout: log-probs and gradients stay what they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from csrlhf.data.prompts import encode_batch
from csrlhf.errors import UserError
from csrlhf.generation.recompute import recomputed, sequence_logprobs
from csrlhf.generation.sampler import Sampler
from csrlhf.models.frozen_layers import FrozenLayers
from csrlhf.models.settings import Tuning
from csrlhf.models.tuning import tune, without_adapters
from csrlhf.ops.logprobs import gather_logprobs
from csrlhf.types import PromptBatch, PromptRow, Rollout

KINDS = ["llama", "qwen2", "gpt2", "gemma", "mistral", "bloom"]
TUNINGS = [Tuning("lora", rank=2, layers=1), Tuning("last_n", layers=1)]
Policy = Callable[[str], PreTrainedModel]
Letters = Callable[[str], PreTrainedTokenizerFast]


def batch(words: PreTrainedTokenizerFast, *texts: str) -> PromptBatch:
    return encode_batch(words, [PromptRow(text) for text in texts], range(len(texts)), 32)


def moved(model: PreTrainedModel) -> PreTrainedModel:
    """The model with some other values of what is trained."""
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.3 * torch.randn(weight.shape, generator=draws))
    return model


def gradients(
    model: PreTrainedModel, rollout: Rollout, end: int, frozen: FrozenLayers | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Log-probs of the sampled tokens [B, T], and the gradients of their sum."""
    model.zero_grad()
    logits = Sampler(8, temperature=0.7).response_distribution(model, rollout, end, frozen=frozen)
    logprobs_BT = gather_logprobs(logits, rollout.response_ids_BT).masked_fill(~rollout.response_mask_BT, 0.0)
    logprobs_BT.sum().backward()
    return logprobs_BT.detach(), {name: w.grad for name, w in model.named_parameters() if w.grad is not None}


@pytest.mark.parametrize("tuning", TUNINGS, ids=lambda tuning: tuning.method)
@pytest.mark.parametrize("kind", KINDS)
def test_logprobs_and_gradients_from_the_samplers_states_are_those_of_the_whole_model(
    tiny_policy: Policy, letter_tokenizer: Letters, kind: str, tuning: Tuning
) -> None:
    model, words, sampler = tiny_policy(kind), letter_tokenizer(kind), Sampler(8, temperature=0.7)
    tune(model, tuning)
    frozen = FrozenLayers.of(moved(model))
    assert frozen is not None
    assert len(frozen.layers) == 1
    prompts = batch(words, "a b c", "a b c", "d", "e f g h i j k l", "e f g h i j k l", "m n")
    rollout = sampler(model, words, prompts, 0, 0, frozen=frozen)
    assert rollout.states_BSH is not None
    assert rollout.states_BSH.shape[:2] == (6, rollout.sequence_ids_BS.shape[1] - 1)
    ran: list[int] = []
    handle = next(frozen.layers[0].children()).register_forward_pre_hook(lambda *_: ran.append(1))
    found, found_gradients = gradients(model, rollout, words.eos_token_id, frozen)
    assert not ran
    handle.remove()
    whole, whole_gradients = gradients(model, replace(rollout, states_BSH=None), words.eos_token_id, frozen)
    torch.testing.assert_close(found, whole, atol=1e-5, rtol=0)
    torch.testing.assert_close(found, rollout.logprobs_BT, atol=1e-5, rtol=0)
    assert set(found_gradients) == set(whole_gradients)
    for name, gradient in whole_gradients.items():
        torch.testing.assert_close(found_gradients[name], gradient, atol=2e-5, rtol=1e-4, msg=name)
    other = replace(rollout, states_BSH=rollout.states_BSH.flip(1))
    assert not torch.allclose(gradients(model, other, words.eos_token_id, frozen)[0], found)  # they are what is read
    assert "forward" not in frozen.layers[0].__dict__  # the layer is itself again


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_states_serve_a_reference_without_adapters(
    tiny_policy: Policy, letter_tokenizer: Letters, kind: str
) -> None:
    model, words, sampler = tiny_policy(kind), letter_tokenizer(kind), Sampler(8)
    start = tiny_policy(kind)
    tune(model, TUNINGS[0])
    frozen = FrozenLayers.of(moved(model))
    rollout = sampler(model, words, batch(words, "a b c", "d", "e f g h"), 0, 0, frozen=frozen)
    mask_BT = rollout.response_mask_BT
    with without_adapters(model):
        _, found = sequence_logprobs(sampler, model, rollout, words.eos_token_id, frozen=frozen)
    _, expected = sequence_logprobs(sampler, start, rollout, words.eos_token_id)
    torch.testing.assert_close(found[mask_BT], expected[mask_BT], atol=1e-5, rtol=0)
    assert not torch.allclose(found[mask_BT], rollout.logprobs_BT[mask_BT], atol=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_responses_that_share_a_prompt_read_it_once(tiny_policy: Policy, letter_tokenizer: Letters, kind: str) -> None:
    model, words, sampler = tiny_policy(kind), letter_tokenizer(kind), Sampler(8)
    texts = ("a b c", "a b c", "a b c", "e f g h i j", "a b c", "d", "d")
    rows: list[int] = []
    model.get_input_embeddings().register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
    shared = sampler(model, words, batch(words, *texts), 0, 0)
    assert rows[0] == 4  # prompts that follow each other; one that comes again later is read again
    assert set(rows[1:]) == {7}
    for row, text in enumerate(texts):
        alone = encode_batch(words, [PromptRow(text)], range(row, row + 1), 32)
        answer = sampler(model, words, alone, 0, 0)
        assert answer.responses == (shared.responses[row],)
        count = int(answer.response_mask_BT.sum())
        torch.testing.assert_close(shared.logprobs_BT[row, :count], answer.logprobs_BT[0, :count], atol=1e-5, rtol=0)


def test_padding_tells_prompts_apart_that_have_the_same_ids(tiny_policy: Policy, letter_tokenizer: Letters) -> None:
    """A prompt may begin with the token that pads."""
    model, words = tiny_policy("llama"), letter_tokenizer("llama")
    rows: list[int] = []
    model.get_input_embeddings().register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
    mask = torch.tensor([[True, True, True], [False, True, True]])
    ids = torch.tensor([[0, 6, 7], [0, 6, 7]])
    Sampler(2)(model, words, PromptBatch(ids, mask, torch.arange(2), (PromptRow("a"), PromptRow("b"))), 0, 0)
    assert rows[0] == 2


def test_a_cache_that_cannot_be_widened_reads_every_row(
    tiny_policy: Policy, letter_tokenizer: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.cache_utils import DynamicLayer

    model, words, sampler = tiny_policy("llama"), letter_tokenizer("llama"), Sampler(8)
    tune(model, TUNINGS[0])
    frozen, prompts = FrozenLayers.of(model), batch(words, "a b c", "a b c", "d")
    expected = sampler(model, words, prompts, 0, 0, frozen=frozen)
    monkeypatch.delattr(DynamicLayer, "batch_select_indices")
    found = sampler(model, words, prompts, 0, 0, frozen=frozen)
    assert found.responses == expected.responses
    assert found.states_BSH is not None
    torch.testing.assert_close(found.states_BSH, expected.states_BSH, atol=1e-5, rtol=0)


def test_nothing_is_frozen_below_what_is_trained_everywhere(tiny_policy: Policy) -> None:
    whole, adapted, embedded = (tiny_policy("llama") for _ in range(3))
    tune(adapted, Tuning("lora", rank=2))
    tune(embedded, Tuning("last_n", layers=1))
    embedded.get_input_embeddings().requires_grad_(True)
    assert [FrozenLayers.of(model) for model in (whole, adapted, embedded)] == [None, None, None]


def test_a_model_whose_upper_layers_look_at_more_than_the_states_is_left_alone(tiny_policy: Policy) -> None:
    model = tiny_policy("llama")
    tune(model, Tuning("last_n", layers=1))
    head, table = model.lm_head, model.get_input_embeddings()
    seen: list[Tensor] = []
    table.register_forward_hook(lambda module, args, output: seen.append(output))
    head.register_forward_pre_hook(lambda module, args: (args[0] + seen[-1],))  # a path past the layers
    assert FrozenLayers.of(model) is None


def test_adapters_in_the_last_layers_alone(tiny_policy: Policy) -> None:
    model = tiny_policy("gpt2")
    tune(model, Tuning("lora", rank=2, targets=["c_attn"], layers=1))
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert trained
    assert all(".h.1.attn.c_attn." in name for name in trained)
    every = tiny_policy("gpt2")
    tune(every, Tuning("lora", rank=2, layers=2))  # as many as there are: as without the setting
    assert {".h.0." in name for name, weight in every.named_parameters() if weight.requires_grad} == {True, False}
    with pytest.raises(UserError, match=r"^tuning\.layers=3: gpt2 has 2 numbered layers"):
        tune(tiny_policy("gpt2"), Tuning("lora", layers=3))


def test_the_ratio_of_an_un_updated_policy_is_one_in_mixed_precision(
    tiny_policy: Policy, letter_tokenizer: Letters
) -> None:
    """The sampler computes the states in half precision; old log-probs and update read the same ones."""
    model, words, sampler = tiny_policy("llama"), letter_tokenizer("llama"), Sampler(8, temperature=0.7)
    tune(model, TUNINGS[0])
    frozen = FrozenLayers.of(moved(model))
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        rollout = sampler(model, words, batch(words, "a b c", "d", "d", "e f g h"), 0, 0, frozen=frozen)
        assert rollout.states_BSH is not None
        assert rollout.states_BSH.dtype == torch.float32  # as the layers above get them in a whole pass
        known = recomputed(rollout, sampler, model, words.eos_token_id, frozen)
        logits = sampler.response_distribution(model, known, words.eos_token_id, frozen=frozen)
    ratio = (gather_logprobs(logits, rollout.response_ids_BT) - known.ratio_logprobs_BT).exp()
    mask_BT = rollout.response_mask_BT
    torch.testing.assert_close(ratio[mask_BT], torch.ones_like(ratio[mask_BT]), atol=1e-3, rtol=0)
    drift = (known.ratio_logprobs_BT - rollout.logprobs_BT)[mask_BT].abs()
    assert 0 < drift.max() < 0.2  # of the layers above alone, which the two computed each in its way
