"""Sampling: what was captured while sampling is what training computes; padding and splitting change nothing."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from csrlhf.data.prompts import encode_batch
from csrlhf.errors import UserError
from csrlhf.generation.reading import responses_and_thoughts
from csrlhf.generation.sampler import Sampler, positions, response_logits, sampling_record
from csrlhf.generation.settings import trained_sampling
from csrlhf.models.loading import load_policy, load_tokenizer
from csrlhf.ops.logprobs import gather_logprobs
from csrlhf.types import PromptBatch, PromptRow

TEXTS = ["a", "b c d", "e f g h i", "red", "blue no", "j"]
WARPS = [
    {},
    {"temperature": 0.7},
    {"temperature": 0.7, "top_k": 5},
    {"temperature": 1.3, "top_p": 0.8},
    {"temperature": 0.7, "min_new_tokens": 3},
    {"greedy": True},
]


@pytest.fixture(scope="module")
def model(folders: Any) -> Any:
    return load_policy(folders.sft).double().eval()


@pytest.fixture(scope="module")
def words(folders: Any) -> Any:
    return load_tokenizer(folders.sft)


def prompts(words: Any, texts: list[str] = TEXTS, start: int = 0) -> PromptBatch:
    return encode_batch(words, [PromptRow(text) for text in texts], range(start, start + len(texts)), 32)


def widened(batch: PromptBatch, columns: int) -> PromptBatch:
    """The same batch with more padding on the left."""
    ids = torch.nn.functional.pad(batch.input_ids_BP, (columns, 0), value=7)  # any id: the mask decides
    return PromptBatch(ids, torch.nn.functional.pad(batch.prompt_mask_BP, (columns, 0)), batch.index_B, batch.rows)


def test_positions_count_real_tokens() -> None:
    mask = torch.tensor([[False, False, True, True], [True, True, True, False]])
    assert positions(mask).tolist() == [[0, 0, 0, 1], [0, 1, 2, 2]]


@pytest.mark.parametrize("options", WARPS)
def test_captured_logprobs_are_those_of_training(model: Any, words: Any, options: dict[str, Any]) -> None:
    sampler = Sampler(max_new_tokens=8, **options)
    rollout = sampler(model, words, prompts(words), seed=0, iteration=0)
    logits = response_logits(model, rollout)
    warped = sampler.distribution(logits, torch.arange(logits.shape[1]), words.eos_token_id)
    again = gather_logprobs(warped, rollout.response_ids_BT)
    mask = rollout.response_mask_BT
    torch.testing.assert_close(again[mask], rollout.logprobs_BT[mask], atol=1e-10, rtol=0)  # the model is in float64
    assert rollout.logprobs_BT[~mask].abs().sum() == 0
    assert bool((rollout.logprobs_BT[mask] > -100).all())  # nothing excluded was drawn


def test_left_padding_changes_nothing(model: Any, words: Any) -> None:
    sampler = Sampler(max_new_tokens=8, temperature=0.7)
    plain = sampler(model, words, prompts(words), 0, 3)
    padded = sampler(model, words, widened(prompts(words), 5), 0, 3)
    assert padded.responses == plain.responses
    assert torch.equal(padded.response_mask_BT, plain.response_mask_BT)
    torch.testing.assert_close(padded.logprobs_BT, plain.logprobs_BT)


@pytest.mark.parametrize("cut", [1, 2, 5])
def test_splitting_a_batch_changes_nothing(model: Any, words: Any, cut: int) -> None:
    sampler = Sampler(max_new_tokens=8)
    whole = sampler(model, words, prompts(words), 0, 1)
    parts = [
        sampler(model, words, prompts(words, TEXTS[:cut]), 0, 1),
        sampler(model, words, prompts(words, TEXTS[cut:], start=cut), 0, 1),
    ]
    assert parts[0].responses + parts[1].responses == whole.responses
    torch.testing.assert_close(torch.cat([part.logprobs_BT.sum(dim=1) for part in parts]), whole.logprobs_BT.sum(dim=1))


def test_seed_and_iteration_change_the_draws(model: Any, words: Any) -> None:
    sampler = Sampler(max_new_tokens=8)
    first = sampler(model, words, prompts(words), 0, 0).responses
    assert sampler(model, words, prompts(words), 0, 0).responses == first
    assert sampler(model, words, prompts(words), 0, 1).responses != first
    assert sampler(model, words, prompts(words), 1, 0).responses != first


def test_greedy_takes_the_most_likely_token_whatever_the_seed(model: Any, words: Any) -> None:
    sampler = Sampler(max_new_tokens=4, greedy=True)
    rollout = sampler(model, words, prompts(words), 0, 0)
    best = response_logits(model, rollout).argmax(dim=-1)
    mask = rollout.response_mask_BT
    assert torch.equal(rollout.response_ids_BT[mask], best[mask])
    assert sampler(model, words, prompts(words), 9, 9).responses == rollout.responses


def test_ended_and_mask_tell_the_end_token_from_a_cut(model: Any, words: Any) -> None:
    many = [TEXTS[row % len(TEXTS)] for row in range(40)]
    rollout = Sampler(max_new_tokens=6)(model, words, prompts(words, many), 0, 0)
    end = words.eos_token_id
    assert 0 < rollout.ended_B.sum() < len(many)  # both kinds occur
    for ids, mask, ended in zip(rollout.response_ids_BT, rollout.response_mask_BT, rollout.ended_B, strict=True):
        kept = ids[mask].tolist()
        assert (kept[-1] == end) == bool(ended)
        assert end not in kept[:-1]
        assert bool(ended) or len(kept) == 6
    assert torch.equal(rollout.sequence_mask_BS[:, -rollout.response_mask_BT.shape[1] :], rollout.response_mask_BT)


def test_a_pad_token_that_is_the_end_token_changes_nothing(model: Any, words: Any, tiny: ModuleType) -> None:
    sampler = Sampler(max_new_tokens=6)
    plain = sampler(model, words, prompts(words), 0, 0)
    shared = tiny.tokenizer(pad="<eos>")
    rollout = sampler(model, shared, prompts(shared), 0, 0)
    assert torch.equal(rollout.response_ids_BT, plain.response_ids_BT)
    assert torch.equal(rollout.response_mask_BT, plain.response_mask_BT)


def test_min_new_tokens_bars_the_end_token(model: Any, words: Any) -> None:
    many = [TEXTS[row % len(TEXTS)] for row in range(40)]
    lengths = {
        minimum: Sampler(max_new_tokens=6, min_new_tokens=minimum)(model, words, prompts(words, many), 0, 0)
        .response_mask_BT.sum(dim=1)
        .min()
        .item()
        for minimum in (0, 3)
    }
    assert lengths[0] < 3
    assert lengths[3] == 4  # three tokens and the end token


def test_decoded_text_is_the_response_and_never_the_prompt(model: Any, words: Any) -> None:
    batch = prompts(words)
    rollout = Sampler(max_new_tokens=5)(model, words, batch, 0, 0)
    special = set(words.all_special_ids)
    for row, text in enumerate(rollout.responses):
        kept = rollout.response_ids_BT[row][rollout.response_mask_BT[row]].tolist()
        assert text.split() == [words.decode([token]) for token in kept if token not in special]
    assert rollout.rows == batch.rows


def test_reading_looks_at_the_mask(words: Any) -> None:
    ids = torch.tensor([words.encode("a b c", add_special_tokens=False)])
    assert responses_and_thoughts(words, ids, torch.tensor([[True, True, False]])) == (("a b",), None)
    assert responses_and_thoughts(words, ids, torch.zeros(1, 3, dtype=torch.bool)) == (("",), None)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"max_new_tokens": 0}, r"rollout\.max_new_tokens=0"),
        ({"max_new_tokens": 4, "min_new_tokens": 4}, r"rollout\.min_new_tokens=4"),
        ({"temperature": 0.0}, r"rollout\.temperature=0\.0.*rollout\.greedy=true"),
    ],
)
def test_out_of_range_names_the_key(options: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError, match=key):
        Sampler(**options)


def test_the_record_is_the_samplers_arguments() -> None:
    options = {"max_new_tokens": 7, "min_new_tokens": 2, "temperature": 0.5, "top_k": 3, "top_p": 0.9, "greedy": False}
    record = sampling_record(Sampler(**options))
    assert record == options
    assert sampling_record(Sampler(**json.loads(json.dumps(record)))) == options


def test_an_older_record_knows_the_sampler_by_another_name(tmp_path: Path) -> None:
    rollout = {"_target_": "csrlhf.rollout.sampler.Sampler", "max_new_tokens": 7, "top_k": 5}
    (tmp_path / "csrlhf.json").write_text(
        json.dumps({"stage": "ppo", "config": {"rollout": rollout}}), encoding="utf-8"
    )
    assert trained_sampling(tmp_path) == {"max_new_tokens": 7, "top_k": 5}
