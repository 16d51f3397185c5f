"""Words that a tokenizer does not know: told by name, once each, and only where they are lost."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import ByteLevel, WhitespaceSplit
from transformers import PreTrainedTokenizerFast

from csrlhf.apps import chat
from csrlhf.errors import InputWarning
from csrlhf.generation.speaker import UnknownWords, unknown_words


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
