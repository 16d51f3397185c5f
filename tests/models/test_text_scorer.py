"""Scoring texts: order, batches and the end token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from csrlhf.data.encoding import encode_dialogue
from csrlhf.models.score_model import ScoreModel
from csrlhf.models.text_scorer import TextScorer


@pytest.fixture(params=["llama", "bert"])
def folder(
    request: pytest.FixtureRequest,
    tiny_trunk: Callable[[str], PreTrainedModel],
    letter_tokenizer: Callable[[str], PreTrainedTokenizerFast],
    tmp_path: Path,
) -> Path:
    ScoreModel(tiny_trunk(request.param), ("harm",), "mean", 12).save_pretrained(tmp_path)
    letter_tokenizer(request.param).save_pretrained(tmp_path)
    return tmp_path


def test_each_text_is_scored_as_if_alone_and_in_order(folder: Path) -> None:
    scorer = TextScorer(folder, batch_size=2)
    prompts = ["a b c", "d", "e f", "g h i j"]
    responses = ["k l m n o p q r s t", "", "u", "v w"]
    ended = [False, True, True, False]
    scores = scorer.score(prompts, responses, ended)
    assert scores.shape == (4, 1)
    for row, dialogue in enumerate(zip(prompts, responses, ended, strict=True)):
        ids = torch.tensor([encode_dialogue(scorer.tokenizer, *dialogue[:2], 12, dialogue[2])])
        torch.testing.assert_close(scores[row : row + 1], scorer.model(ids, torch.ones_like(ids)))


def test_a_parent_in_training_mode_does_not_switch_dropout_on(folder: Path) -> None:
    scorer = TextScorer(folder)
    first = scorer.score(["a b"], ["c d"], [True])
    scorer.train()
    assert torch.equal(scorer.score(["a b"], ["c d"], [True]), first)


def test_nothing_in_it_can_be_trained(folder: Path) -> None:
    scorer = TextScorer(folder)
    assert not any(parameter.requires_grad for parameter in scorer.parameters())
    assert not scorer.score(["a"], ["b"], [True]).requires_grad


def test_lengths_must_agree(folder: Path) -> None:
    with pytest.raises(ValueError, match="argument"):
        TextScorer(folder).score(["a", "b"], ["c"], [True])
