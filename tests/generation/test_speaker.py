"""The policy that answers: what it cannot read, the precision that it computes in, words that it does not know."""

from __future__ import annotations

import sys
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import ByteLevel, WhitespaceSplit
from transformers import PreTrainedTokenizerFast

from csrlhf.apps import chat
from csrlhf.errors import InputWarning, UserError
from csrlhf.generation.speaker import UnknownWords, computing, unknown_words


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


@pytest.fixture
def speaker() -> Any:
    return SimpleNamespace(policy=torch.nn.Linear(2, 2), device=torch.device("cpu"))


@pytest.mark.parametrize(
    ("precision", "weights", "result"),
    [
        ("32-true", torch.float32, torch.float32),
        ("bf16-true", torch.bfloat16, torch.bfloat16),
        ("64-true", torch.float64, torch.float64),
        ("bf16-mixed", torch.float32, torch.bfloat16),
    ],
)
def test_dtypes(speaker: Any, precision: str, weights: torch.dtype, result: torch.dtype) -> None:
    with computing(precision, speaker):
        assert speaker.policy.weight.dtype == weights
        assert speaker.policy(torch.ones(1, 2, dtype=weights)).dtype == result


def test_another_word(speaker: Any) -> None:
    with (
        pytest.raises(UserError, match=r"trainer\.precision=16-true: stage=decode takes 32-true, bf16-true"),
        computing("16-true", speaker),
    ):
        pass


def test_the_words_and_the_tokenizer_are_named(make: Any, folders: Any) -> None:
    decoder = make(n=1)
    with pytest.warns(InputWarning) as told:
        decoder(["a", "How do a Frobnicate ?"])
    [message] = [str(one.message) for one in told]
    assert f"the tokenizer of {folders.ppo} does not know 'How', 'do', 'Frobnicate', '?' (in 1 of 2 prompts)" in message
    assert "<unk>" in message
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoder(["How a", "b"])  # told already, and nothing new
    with pytest.warns(InputWarning, match="does not know 'Sesame':"):
        decoder(["a How Sesame"])


def test_a_conversation_and_many_words(make: Any) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "zz"}, {"role": "user", "content": "b"}]
    with pytest.warns(InputWarning, match=r"does not know 'zz': "):  # and not the names of roles
        make(n=1)([turns])
    with pytest.warns(InputWarning, match=r"'w7' and 3 more"):
        make(n=1)([" ".join(f"w{place}" for place in range(11))])


def test_the_chat_says_it_on_stderr(
    folders: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    models = ["--policy", folders.ppo, "--reward", "none", "--cost", "none", "--max-new-tokens", "3", "--device", "cpu"]
    monkeypatch.setattr(warnings, "showwarning", lambda message, *rest: print(f"warning: {message}", file=sys.stderr))
    assert chat.main([*models, "--threshold", "none", "--once", "Where is Atlantis"]) == 0
    assert "does not know 'Where', 'is', 'Atlantis'" in capsys.readouterr().err


def test_bytes_and_a_token_with_two_duties_lose_nothing() -> None:
    inner = Tokenizer(BPE({char: place for place, char in enumerate(sorted(ByteLevel.alphabet()))}, []))
    inner.pre_tokenizer = ByteLevel(add_prefix_space=False)  # type: ignore[assignment]  # a property in Rust
    bytes_only = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="!")
    assert unknown_words(bytes_only, "Grüße 漢字", bytes_only.encode("Grüße 漢字")) == []
    words = Tokenizer(WordLevel({"a": 0, "<end>": 1}, unk_token="<end>"))
    words.pre_tokenizer = WhitespaceSplit()  # type: ignore[assignment]  # a property in Rust
    both = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<end>", eos_token="<end>")
    assert unknown_words(both, "a b", both.encode("a b")) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        UnknownWords(bytes_only, "policy").warn([("Grüße", bytes_only.encode("Grüße"))])
