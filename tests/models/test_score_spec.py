"""The description of a score model: what is checked when it is built."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from csrlhf.errors import UserError
from csrlhf.models.score_model import ScoreSpec, max_positions

Trunk = Callable[[str], PreTrainedModel]
Tokenizer = Callable[[str], PreTrainedTokenizerFast]


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_as_many_tokens_as_positions_and_no_more(
    tiny_trunk: Trunk, letter_tokenizer: Tokenizer, tmp_path: Path, kind: str
) -> None:
    trunk = tiny_trunk(kind)
    trunk.save_pretrained(tmp_path)
    letter_tokenizer(kind).save_pretrained(tmp_path)
    limit = trunk.config.max_position_embeddings
    assert ScoreSpec(str(tmp_path), "mean", limit).build(["harm"]).max_tokens == limit
    with pytest.raises(UserError, match=rf"^model\.score\.max_tokens={limit + 1}: .* takes at most {limit} tokens"):
        ScoreSpec(str(tmp_path), "mean", limit + 1).build(["harm"])


@pytest.mark.parametrize("entry", [{}, {"max_position_embeddings": -1}])
def test_a_backbone_that_states_no_limit_has_none(
    tiny_trunk: Trunk, monkeypatch: pytest.MonkeyPatch, entry: dict[str, int]
) -> None:
    trunk = tiny_trunk("llama")
    monkeypatch.setattr(trunk, "config", SimpleNamespace(**entry))
    assert max_positions(trunk) is None


def test_positions_of_roberta_start_behind_its_padding_id(tiny_trunk: Trunk) -> None:
    trunk = tiny_trunk("roberta")
    assert trunk.config.max_position_embeddings == 66
    assert max_positions(trunk) == 64


def test_the_first_token_of_a_causal_model_is_no_summary(
    tiny_trunk: Trunk, letter_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    tiny_trunk("gpt2").save_pretrained(tmp_path)
    letter_tokenizer("gpt2").save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"^model\.score\.pooling=cls: .*set model\.score\.pooling=last"):
        ScoreSpec(str(tmp_path), "cls", 16).build(["harm"])
