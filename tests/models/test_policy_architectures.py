"""Every kind of causal model as a policy: it learns, samples, and its samples have the log-probs of training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from csrlhf.data.encoding import encode_prompt, pad
from csrlhf.data.prompts import encode_batch
from csrlhf.errors import UserError
from csrlhf.generation.sampler import Sampler, response_logits
from csrlhf.models.checks import check_policy
from csrlhf.models.loading import load_policy
from csrlhf.models.policy import PolicySpec
from csrlhf.ops.logprobs import gather_logprobs
from csrlhf.training.optim import build_optimizer
from csrlhf.training.settings import OptimizerSettings
from csrlhf.types import PromptBatch, PromptRow

KINDS = ["llama", "qwen2", "gpt2", "gemma", "mistral", "bloom"]
Policy = Callable[[str], PreTrainedModel]
Letters = Callable[[str], PreTrainedTokenizerFast]

TEXTS = ["a b c", "d", "e f g h i j k l", "m n"]


def prompts(words: PreTrainedTokenizerFast, texts: list[str], start: int = 0) -> PromptBatch:
    return encode_batch(words, [PromptRow(text) for text in texts], range(start, start + len(texts)), 32)


def saved(kind: str, tiny_policy: Policy, letter_tokenizer: Letters, folder: Path) -> str:
    tiny_policy(kind).save_pretrained(folder)
    letter_tokenizer(kind).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_it_loads_takes_a_step_and_every_weight_moves(
    tiny_policy: Policy, letter_tokenizer: Letters, tmp_path: Path, kind: str
) -> None:
    spec = PolicySpec(path=saved(kind, tiny_policy, letter_tokenizer, tmp_path / "start"))
    model = spec.build()
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    optimizer = build_optimizer(model.named_parameters(), OptimizerSettings(lr=1e-2, weight_decay=0.0))
    ids, mask = pad([encode_prompt(spec.tokenizer, text, 32) for text in TEXTS], 0)
    logits = model(input_ids=ids, attention_mask=mask.long(), use_cache=False).logits
    gather_logprobs(logits[:, :-1], ids[:, 1:])[mask[:, 1:]].mean().neg().backward()
    optimizer.step()
    still = [name for name, weight in model.named_parameters() if torch.equal(weight, before[name])]
    assert not still  # a weight without a part in the loss would stop distributed training
    model.save_pretrained(tmp_path / "trained")
    spec.tokenizer.save_pretrained(tmp_path / "trained")
    for again in (load_policy(tmp_path / "trained"), AutoModelForCausalLM.from_pretrained(tmp_path / "trained")):
        stepped = model(input_ids=ids, attention_mask=mask.long()).logits
        torch.testing.assert_close(again(input_ids=ids, attention_mask=mask.long()).logits[mask], stepped[mask])


@pytest.mark.parametrize("kind", KINDS)
def test_sampled_logprobs_are_those_of_training(tiny_policy: Policy, letter_tokenizer: Letters, kind: str) -> None:
    model, words, sampler = tiny_policy(kind), letter_tokenizer(kind), Sampler(10, temperature=0.7)
    rollout = sampler(model, words, prompts(words, TEXTS), seed=0, iteration=0)
    mask = rollout.response_mask_BT
    assert int(mask.sum()) > 12  # some answers are longer than the sliding window is wide
    logits = sampler.response_distribution(model, rollout, words.eos_token_id)
    again = gather_logprobs(logits, rollout.response_ids_BT)
    torch.testing.assert_close(again[mask], rollout.logprobs_BT[mask], atol=1e-5, rtol=0)


WARPS = [
    {"temperature": 0.7},
    {"temperature": 0.7, "top_k": 5},
    {"temperature": 0.7, "top_p": 0.8},
    {"temperature": 0.7, "min_new_tokens": 4},
    {"temperature": 0.7, "top_k": 12, "top_p": 0.9, "min_new_tokens": 4},
]


@pytest.mark.parametrize("pad", ["[PAD]", "<eos>"])
@pytest.mark.parametrize("options", WARPS, ids=lambda options: "-".join(options))
@pytest.mark.parametrize("kind", ["gpt2", "llama", "gemma"])
def test_the_ratio_of_an_un_updated_policy_is_one(
    tiny_policy: Policy, letter_tokenizer: Letters, kind: str, options: dict[str, Any], pad: str
) -> None:
    """Over many draws: a truncated set whose border the two passes saw differently would show here."""
    model, words, sampler = tiny_policy(kind), letter_tokenizer(kind), Sampler(10, **options)
    words.pad_token = pad
    rollout = sampler(model, words, prompts(words, TEXTS * 12), seed=0, iteration=0)
    logits = sampler.response_distribution(model, rollout, words.eos_token_id)
    ratio = (gather_logprobs(logits, rollout.response_ids_BT) - rollout.logprobs_BT).exp()[rollout.response_mask_BT]
    assert len(ratio) > 100
    torch.testing.assert_close(ratio, torch.ones_like(ratio), atol=1e-5, rtol=0)
    plain = gather_logprobs(response_logits(model, rollout), rollout.response_ids_BT)[rollout.response_mask_BT]
    assert (plain - rollout.logprobs_BT[rollout.response_mask_BT]).abs().max() > 0.01  # another distribution's differ
    ends = rollout.response_ids_BT == words.eos_token_id
    assert torch.equal((ends & rollout.response_mask_BT).sum(dim=1).bool(), rollout.ended_B)
    assert not (ends & rollout.response_mask_BT)[:, : options.get("min_new_tokens", 0)].any()


@pytest.mark.parametrize("kind", ["gpt2", "gemma"])
def test_a_prompt_that_leaves_no_room_is_refused(tiny_policy: Policy, letter_tokenizer: Letters, kind: str) -> None:
    """Both have 64 positions; the first would stop with an index error, the second go on with nonsense."""
    model, words, sampler = tiny_policy(kind), letter_tokenizer(kind), Sampler(10)
    texts = [" ".join("abcdefghij"[i % 10] for i in range(count)) for count in (54, 55)]
    lengths = [len(encode_prompt(words, text, 64)) for text in texts]
    assert lengths == [54, 55]
    batches = [encode_batch(words, [PromptRow("a"), PromptRow(text)], range(2), 64) for text in texts]
    rollout = sampler(model, words, batches[0], 0, 0)
    logits = sampler.response_distribution(model, rollout, words.eos_token_id)
    assert bool(torch.isfinite(gather_logprobs(logits, rollout.response_ids_BT)[rollout.response_mask_BT]).all())
    message = r"^rollout\.max_new_tokens=10: a prompt of 55 tokens leaves room for 9, .* 64 positions .*begins: 'a b c"
    with pytest.raises(UserError, match=message):
        sampler(model, words, batches[1], 0, 0)


def test_a_model_without_a_limit_takes_any_prompt(tiny_policy: Policy, letter_tokenizer: Letters) -> None:
    words = letter_tokenizer("bloom")
    batch = encode_batch(words, [PromptRow(" ".join("ab" * 50))], range(1), 128)
    assert Sampler(3)(tiny_policy("bloom"), words, batch, 0, 0).response_ids_BT.shape[1] <= 3


@pytest.mark.parametrize("kind", KINDS)
def test_neither_left_padding_nor_company_changes_an_answer(
    tiny_policy: Policy, letter_tokenizer: Letters, kind: str
) -> None:
    model, words, sampler = tiny_policy(kind), letter_tokenizer(kind), Sampler(10, temperature=0.7)
    batch = prompts(words, TEXTS)
    plain = sampler(model, words, batch, 0, 0)
    wide = PromptBatch(
        torch.nn.functional.pad(batch.input_ids_BP, (7, 0), value=9),
        torch.nn.functional.pad(batch.prompt_mask_BP, (7, 0)),
        batch.index_B,
        batch.rows,
    )
    assert sampler(model, words, wide, 0, 0).responses == plain.responses
    alone = [sampler(model, words, prompts(words, [text], row), 0, 0) for row, text in enumerate(TEXTS)]
    assert tuple(rollout.responses[0] for rollout in alone) == plain.responses
    sums = torch.stack([rollout.logprobs_BT.sum() for rollout in alone])
    torch.testing.assert_close(sums, plain.logprobs_BT.sum(dim=1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_right_padding_changes_no_logit(tiny_policy: Policy, letter_tokenizer: Letters, kind: str) -> None:
    """Demonstrations are padded on the right, without position ids."""
    model, words = tiny_policy(kind), letter_tokenizer(kind)
    sequences = [encode_prompt(words, text, 32) for text in TEXTS]
    ids, mask = pad(sequences, 0)
    together = model(input_ids=ids, attention_mask=mask.long(), use_cache=False).logits
    for row, sequence in enumerate(sequences):
        alone = model(input_ids=torch.tensor([sequence]), use_cache=False).logits[0]
        torch.testing.assert_close(together[row, : len(sequence)], alone, atol=1e-5, rtol=1e-4)


def test_an_encoder_cannot_be_the_policy(tiny_policy: Policy, letter_tokenizer: Letters, tmp_path: Path) -> None:
    folder = saved("bert", tiny_policy, letter_tokenizer, tmp_path)
    words = letter_tokenizer("gpt2")
    words.save_pretrained(folder)
    with pytest.raises(UserError, match=r"^model\.policy\.path=.*bert reads in both directions"):
        PolicySpec(path=folder).build()


def test_a_model_without_a_cache_is_refused(letter_tokenizer: Letters) -> None:
    mamba = {"model_type": "mamba", "hidden_size": 16, "num_hidden_layers": 1, "state_size": 4}
    with pytest.raises(UserError, match=r"model_type=mamba: .*no key-value cache"):
        PolicySpec(architecture=mamba, tokenizer=letter_tokenizer("llama")).build()


def test_a_model_that_counts_padding_is_refused(tiny_policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_policy("gpt2")
    plain = type(model).forward

    def deaf(self, input_ids=None, attention_mask=None, past_key_values=None, use_cache=None, logits_to_keep=0):
        return plain(self, input_ids=input_ids, use_cache=use_cache, past_key_values=past_key_values)

    check_policy(model, "x")
    monkeypatch.setattr(type(model), "forward", deaf)
    with pytest.raises(UserError, match="padded on the left"):
        check_policy(model, "x")


def test_a_model_without_logits_to_keep_samples_alike(
    tiny_policy: Policy, letter_tokenizer: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, words, sampler = tiny_policy("gpt2"), letter_tokenizer("gpt2"), Sampler(6)
    expected = sampler(model, words, prompts(words, TEXTS), 0, 0)
    plain = type(model).forward

    def all_logits(self, input_ids, attention_mask=None, position_ids=None, past_key_values=None, use_cache=None):
        return plain(
            self, input_ids, attention_mask=attention_mask, position_ids=position_ids,
            past_key_values=past_key_values, use_cache=use_cache,
        )  # fmt: skip

    monkeypatch.setattr(type(model), "forward", all_logits)
    found = sampler(model, words, prompts(words, TEXTS), 0, 0)
    assert found.responses == expected.responses
    kept = sampler.response_distribution(model, found, words.eos_token_id)
    assert kept.shape[:2] == found.response_ids_BT.shape


def test_a_policy_needs_an_end_token(tiny_policy: Policy, letter_tokenizer: Letters, tmp_path: Path) -> None:
    tiny_policy("llama").save_pretrained(tmp_path)
    words = letter_tokenizer("llama")
    words.eos_token = None
    words.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"^model\.policy\.path=.*: the tokenizer has no end token"):
        _ = PolicySpec(path=str(tmp_path)).tokenizer


def test_a_tokenizer_without_a_pad_token_pads_with_the_end_token(letter_tokenizer: Letters, tmp_path: Path) -> None:
    words = letter_tokenizer("llama")
    words.pad_token = None
    words.save_pretrained(tmp_path)
    assert PolicySpec(path=str(tmp_path)).tokenizer.pad_token == "<eos>"


def test_a_tokenizer_with_more_tokens_than_embeddings_is_refused_by_token(
    tiny_policy: Policy, letter_tokenizer: Letters, tmp_path: Path
) -> None:
    tiny_policy("llama").save_pretrained(tmp_path)
    words = letter_tokenizer("llama")
    words.add_special_tokens({"additional_special_tokens": ["<image>"]})  # text never becomes this one
    words.save_pretrained(tmp_path)
    PolicySpec(path=str(tmp_path)).build()
    words.add_tokens(["extra"])
    words.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"token 'extra' has the id 32, and the model has embeddings for 31 tokens"):
        PolicySpec(path=str(tmp_path)).build()
