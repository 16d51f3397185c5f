"""Decoding under mixed precision: weights cast once, autocast off, log-probs in float32."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from csrlhf.data.prompts import encode_batch
from csrlhf.generation.sampler import Sampler, decoding
from csrlhf.models.loading import load_policy, load_tokenizer
from csrlhf.models.settings import Tuning
from csrlhf.models.tuning import tune
from csrlhf.ops.logprobs import gather_logprobs
from csrlhf.types import PromptRow

TEXTS = ["a", "b c d", "e f g h i", "red", "blue no", "j"]


@pytest.fixture(params=["full", "lora"])
def model(folders: Any, request: pytest.FixtureRequest) -> Any:
    loaded = load_policy(folders.sft).eval()
    tune(loaded, Tuning(request.param))
    return loaded


def batch(words: Any) -> Any:
    return encode_batch(words, [PromptRow(text) for text in TEXTS], range(len(TEXTS)), 16)


def test_the_layers_see_bfloat16_weights_and_no_autocast_and_float32_ones_afterwards(model: Any, folders: Any) -> None:
    words, seen = load_tokenizer(folders.sft), set()
    layer = model.get_submodule("model.layers.0.mlp.gate_proj")
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    pointers = []

    def look(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        weight = next(module.parameters())
        seen.add((weight.dtype, inputs[0].dtype, torch.is_autocast_enabled("cpu")))
        pointers.append(weight.data_ptr())

    layer.register_forward_pre_hook(look)
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        rollout = Sampler(8)(model, words, batch(words), 0, 0)
        assert torch.is_autocast_enabled("cpu")
    assert seen == {(torch.bfloat16, torch.bfloat16, False)}
    assert len(pointers) > 3
    assert len(set(pointers)) == 1  # cast once, not at every token
    assert rollout.logprobs_BT.dtype == torch.float32
    for name, weight in model.named_parameters():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, before[name])


def test_logprobs_are_close_to_those_of_training_under_autocast(model: Any, folders: Any) -> None:
    words, sampler = load_tokenizer(folders.sft), Sampler(8)
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        rollout = sampler(model, words, batch(words), 0, 0)
        logits = sampler.response_distribution(model, rollout, words.eos_token_id)
    assert logits.dtype == torch.float32
    again, mask = gather_logprobs(logits, rollout.response_ids_BT), rollout.response_mask_BT
    torch.testing.assert_close(again[mask], rollout.logprobs_BT[mask], atol=0.1, rtol=0)  # bfloat16 has 8 bits


def test_without_autocast_the_model_itself_decodes(model: Any) -> None:
    with decoding(model) as forward:
        assert forward is model
