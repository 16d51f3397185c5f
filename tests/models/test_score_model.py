"""Score models: padding changes nothing, folders keep everything, a lost head is noticed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModel, PreTrainedModel

from csrlhf.errors import UserError
from csrlhf.models.score_model import HEAD_WEIGHTS, ScoreModel

Trunk = Callable[[str], PreTrainedModel]
KINDS = [("llama", "last"), ("llama", "mean"), ("bert", "mean"), ("bert", "cls")]


def padded(rows: list[list[int]], left: int, right: int) -> tuple[Tensor, Tensor]:
    """Rows with ``left`` columns of padding before and at least ``right`` behind."""
    width = left + max(map(len, rows)) + right
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for row, tokens in enumerate(rows):
        ids[row, left : left + len(tokens)] = torch.tensor(tokens)
        mask[row, left : left + len(tokens)] = True
    return ids, mask


@pytest.mark.parametrize(("kind", "pooling"), KINDS)
def test_padding_on_any_side_changes_no_score(tiny_trunk: Trunk, kind: str, pooling: str) -> None:
    model = ScoreModel(tiny_trunk(kind), ("harm", "privacy"), pooling, 32).eval()
    rows = [[5, 6, 7, 8, 9], [10, 11]]
    alone = torch.cat([model(*padded([row], 0, 0)) for row in rows])
    assert alone.shape == (2, 2)
    assert not torch.allclose(alone[0], alone[1])
    for left, right in [(0, 0), (0, 3), (3, 0), (2, 2)]:
        torch.testing.assert_close(model(*padded(rows, left, right)), alone, atol=1e-5, rtol=1e-4)


def test_token_scores_stand_where_the_tokens_stand(tiny_trunk: Trunk) -> None:
    model = ScoreModel(tiny_trunk("llama"), ("reward",), "last", 32).eval()
    ids, mask = padded([[5, 6, 7], [8, 9]], 2, 1)
    scores = model.token_scores(ids, mask)
    assert scores.shape == (2, 6, 1)
    assert torch.equal(scores[~mask], torch.zeros_like(scores[~mask]))
    # The sequence's score is that of its last token.
    torch.testing.assert_close(torch.stack([scores[0, 4], scores[1, 3]]), model(ids, mask))


def test_the_future_is_not_read_by_a_causal_critic(tiny_trunk: Trunk) -> None:
    model = ScoreModel(tiny_trunk("llama"), ("reward",), "last", 32).eval()
    longer = model.token_scores(*padded([[5, 6, 7, 8]], 0, 0))
    shorter = model.token_scores(*padded([[5, 6, 7]], 0, 0))
    torch.testing.assert_close(longer[:, :3], shorter, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("kind", "pooling"), [("llama", "last"), ("bert", "mean")])
def test_a_folder_keeps_scores_and_settings(tiny_trunk: Trunk, tmp_path: Path, kind: str, pooling: str) -> None:
    model = ScoreModel(tiny_trunk(kind), ("harm", "privacy"), pooling, 32).eval()
    model.temperature_K.copy_(torch.tensor([2.0, 0.5]))
    model.save_pretrained(tmp_path)
    loaded = ScoreModel.from_pretrained(tmp_path)
    ids, mask = padded([[5, 6, 7], [8, 9]], 0, 0)
    torch.testing.assert_close(loaded(ids, mask), model(ids, mask))
    assert (loaded.outputs, loaded.pooling, loaded.max_tokens) == (("harm", "privacy"), pooling, 32)
    assert not loaded.training
    assert AutoModel.from_pretrained(tmp_path).config.hidden_size == 16  # plain Hugging Face layout


def test_temperature_divides_logits(tiny_trunk: Trunk) -> None:
    model = ScoreModel(tiny_trunk("bert"), ("harm",), "mean", 32).eval()
    ids, mask = padded([[5, 6, 7]], 0, 0)
    before = model(ids, mask)
    model.temperature_K.fill_(2.0)
    torch.testing.assert_close(model(ids, mask), before / 2)


@pytest.mark.parametrize("damage", ["no head", "no key", "broken"])
def test_a_folder_without_its_head_is_refused(tiny_trunk: Trunk, tmp_path: Path, damage: str) -> None:
    ScoreModel(tiny_trunk("bert"), ("harm",), "mean", 32).save_pretrained(tmp_path)
    if damage == "no head":
        (tmp_path / HEAD_WEIGHTS).unlink()
    elif damage == "no key":
        (tmp_path / "score_head.json").write_text(json.dumps({"pooling": "mean"}), encoding="utf-8")
    else:
        (tmp_path / HEAD_WEIGHTS).write_bytes(b"xx")
    with pytest.raises(UserError, match="without its score head"):
        ScoreModel.from_pretrained(tmp_path)


def test_a_broken_trunk_is_named_and_not_taken_for_a_lost_head(tiny_trunk: Trunk, tmp_path: Path) -> None:
    ScoreModel(tiny_trunk("bert"), ("harm",), "mean", 32).save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"/model\.safetensors: broken or cut short") as caught:
        ScoreModel.from_pretrained(tmp_path)
    assert "score head" not in str(caught.value)


def test_the_head_stays_in_float32_under_autocast(tiny_trunk: Trunk) -> None:
    model = ScoreModel(tiny_trunk("bert"), ("harm",), "mean", 32).eval()
    with torch.autocast("cpu", torch.bfloat16):
        assert model(*padded([[5, 6]], 0, 0)).dtype == torch.float32


def test_passes_by_length_change_neither_scores_nor_gradients(tiny_trunk: Trunk) -> None:
    ids, mask = padded([[5, 6, 7, 8, 9], [10], [11, 12, 13], [14, 15], [16, 17, 18, 19]], 1, 1)
    results = []
    for rows_per_pass in (None, 2):
        torch.manual_seed(0)
        model = ScoreModel(tiny_trunk("bert"), ("harm",), "mean", 32, rows_per_pass).eval()
        scores = model(ids, mask)
        scores.square().sum().backward()
        gradient = model.backbone.get_input_embeddings().weight.grad
        results.append((scores, gradient))
    torch.testing.assert_close(results[0], results[1], atol=1e-6, rtol=1e-4)
