"""Every kind of backbone as a score model: each pooling, padding, gradients, folders; causal ones as critics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from csrlhf.data.encoding import encode_dialogue, pad
from csrlhf.errors import UserError
from csrlhf.models.checks import is_causal
from csrlhf.models.loading import load_trunk
from csrlhf.models.score_model import ScoreModel, ScoreSpec
from csrlhf.models.text_scorer import TextScorer

CAUSAL = ["llama", "qwen2", "gpt2", "gemma", "mistral", "bloom"]
ENCODERS = ["bert", "deberta-v2", "roberta", "distilbert", "albert", "electra"]
PAIRS = [(kind, pooling) for kind in CAUSAL for pooling in ("last", "mean")]
PAIRS += [(kind, pooling) for kind in ENCODERS for pooling in ("last", "mean", "cls")]
DIALOGUES = [("a b c", "d e"), ("f", "g h i j k l m n"), ("o p", "q")]

Trunk = Callable[[str], PreTrainedModel]
Letters = Callable[[str], PreTrainedTokenizerFast]


@pytest.fixture
def spec(tiny_trunk: Trunk, letter_tokenizer: Letters, tmp_path: Path) -> Callable[[str, str], ScoreSpec]:
    def make(kind: str, pooling: str) -> ScoreSpec:
        folder = tmp_path / f"backbone-{kind}"
        tiny_trunk(kind).save_pretrained(folder)
        letter_tokenizer(kind).save_pretrained(folder)
        return ScoreSpec(str(folder), pooling, 32)

    return make


@pytest.mark.parametrize(("kind", "pooling"), PAIRS)
def test_scores_learn_do_not_see_padding_and_survive_a_folder(
    spec: Callable[[str, str], ScoreSpec], tmp_path: Path, kind: str, pooling: str
) -> None:
    described = spec(kind, pooling)
    model, words = described.build(("harm", "privacy")).eval(), described.tokenizer
    torch.nn.init.normal_(model.head.weight)
    rows = [encode_dialogue(words, prompt, response, 32) for prompt, response in DIALOGUES]
    alone = torch.cat([model(torch.tensor([row]), torch.ones(1, len(row), dtype=torch.bool)) for row in rows])
    assert float((alone[0] - alone[1]).detach().abs().max()) > 1e-3
    for side in ("left", "right"):
        torch.testing.assert_close(model(*pad(rows, 0, side)), alone, atol=1e-5, rtol=1e-4)
    alone.square().sum().backward()
    unused = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert not unused  # a weight without a part in the loss would stop distributed training
    model.save_pretrained(tmp_path / "saved")
    words.save_pretrained(tmp_path / "saved")
    prompts, responses = zip(*DIALOGUES, strict=True)
    scored = TextScorer(tmp_path / "saved").score(prompts, responses, [True] * len(rows))
    torch.testing.assert_close(scored, alone.detach(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", CAUSAL)
def test_token_scores_of_a_critic_read_no_later_token(tiny_trunk: Trunk, kind: str) -> None:
    model = ScoreModel(tiny_trunk(kind), ("reward", "cost"), "last", 32).eval()
    torch.nn.init.normal_(model.head.weight)
    tokens = list(range(5, 17))
    ids, mask = pad([tokens, tokens[:4]], 0, "left")
    scores = model.token_scores(ids, mask)
    assert torch.equal(scores[~mask], torch.zeros_like(scores[~mask]))
    for length in range(1, len(tokens) + 1):
        shorter = model(torch.tensor([tokens[:length]]), torch.ones(1, length, dtype=torch.bool))
        torch.testing.assert_close(scores[0, length - 1], shorter[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(scores[1, -1], scores[0, 3], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", [*CAUSAL, *ENCODERS])
def test_direction_is_found_by_trying(tiny_trunk: Trunk, kind: str) -> None:
    assert is_causal(tiny_trunk(kind)) == (kind in CAUSAL)


def test_an_encoder_with_a_decoder_is_refused(tmp_path: Path) -> None:
    from transformers import T5Config

    T5Config(d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, vocab_size=31).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"an encoder with a decoder \(t5\)"):
        load_trunk(tmp_path)


def test_a_scorer_whose_tokenizer_does_not_fit_is_refused(
    tiny_trunk: Trunk, letter_tokenizer: Letters, tmp_path: Path
) -> None:
    ScoreModel(tiny_trunk("bert"), ("harm",), "mean", 12).save_pretrained(tmp_path)
    words = letter_tokenizer("bert")
    words.add_tokens(["extra"])
    words.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="'extra' has the id 31"):
        TextScorer(tmp_path)
    with pytest.raises(UserError, match=r"^model\.score\.backbone=.*'extra' has the id 31"):
        ScoreSpec(str(tmp_path), "mean", 12).build(("harm",))
