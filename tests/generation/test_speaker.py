"""The policy of a decoder: what it may be asked, and one that has nothing to say."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from csrlhf.errors import UserError


def test_a_policy_that_says_nothing_abstains(make: Any) -> None:
    decoder = make(n=2, threshold=1e9)
    policy, end = decoder.speaker.policy, decoder.speaker.tokenizer.eos_token_id
    decoder.speaker.sampler.greedy = True
    torch.nn.init.zeros_(policy.lm_head.weight)
    policy.lm_head.bias = torch.nn.Parameter(torch.zeros(len(policy.lm_head.weight)).double())
    with torch.no_grad():
        policy.lm_head.bias[end] = 99.0
    said = decoder(["a"])[0]
    assert said.abstained
    assert [one.response for one in said.candidates] == ["", ""]


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ("a", r"prompts='a': give a list of prompts, \['a'\]"),
        (["a", " "], r"prompts\[1\]: prompt is empty"),
        (["a", 3], r"prompts\[1\]: prompt must be a text, not int"),
        ([[{"role": "assistant", "content": "a"}]], r"prompts\[0\]: a conversation as prompt must be a list of turns"),
        (["a", "a " * 70], r"prompts\[1\]: a prompt has 7\d tokens, more than the 58 there is room for"),
    ],
)
def test_prompts_that_cannot_be_answered(make: Any, prompts: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()(prompts)
