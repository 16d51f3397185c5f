"""Score folders opened by transformers alone: the same logits, or a README that says why not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from csrlhf.data.encoding import encode_dialogue, pad
from csrlhf.models.score_model import ScoreModel, ScoreSpec

CAUSAL = ["llama", "qwen2", "gpt2", "gemma", "mistral", "bloom"]
DIALOGUES = [("a b c", "d e"), ("f", "g h i j k l m n"), ("o p", "q")]

Trunk = Callable[[str], PreTrainedModel]
Letters = Callable[[str], PreTrainedTokenizerFast]


def trained(spec: ScoreSpec, outputs: tuple[str, ...], folder: Path) -> ScoreModel:
    """A score model with weights and temperatures that are not those of the start, saved."""
    model = spec.build(outputs).eval()
    torch.nn.init.normal_(model.head.weight)
    model.temperature_K.copy_(torch.linspace(0.5, 2.0, len(outputs)))
    model.save_pretrained(folder)
    spec.tokenizer.save_pretrained(folder)
    return model


@pytest.fixture
def backbone(tiny_trunk: Trunk, letter_tokenizer: Letters, tmp_path: Path) -> Callable[..., str]:
    def make(kind: str, pad_token: str = "[PAD]") -> str:
        folder = tmp_path / "backbone"
        tiny_trunk(kind).save_pretrained(folder)
        words = letter_tokenizer(kind)
        words.pad_token = pad_token
        words.save_pretrained(folder)
        return str(folder)

    return make


@pytest.mark.parametrize("kind", CAUSAL)
def test_a_causal_model_without_a_bias_opens_with_the_same_logits(
    backbone: Callable[..., str], tmp_path: Path, kind: str
) -> None:
    folder = tmp_path / "saved"
    ours = trained(ScoreSpec(backbone(kind), "last", 32, head_bias=False), ("harm", "privacy"), folder)
    plain, loading = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    assert plain.config.id2label == {0: "harm", 1: "privacy"}
    words = AutoTokenizer.from_pretrained(folder)
    rows = [encode_dialogue(words, prompt, response, 32) for prompt, response in DIALOGUES]
    assert all(row[-1] == words.eos_token_id for row in rows)
    for model in (ours, ScoreModel.from_pretrained(folder)):
        for batch in (rows, rows[:1]):
            ids, mask = pad(batch, words.pad_token_id)
            expected = model(ids, mask)
            found = plain(input_ids=ids, attention_mask=mask.long()).logits
            torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert "AutoModelForSequenceClassification.from_pretrained" in readme


def test_where_padding_is_the_end_token_rows_open_one_by_one_and_are_never_read_wrongly(
    backbone: Callable[..., str], tmp_path: Path
) -> None:
    folder = tmp_path / "saved"
    ours = trained(ScoreSpec(backbone("llama", "<eos>"), "last", 32, head_bias=False), ("harm",), folder)
    plain = AutoModelForSequenceClassification.from_pretrained(folder)
    words = AutoTokenizer.from_pretrained(folder)
    for prompt, response in DIALOGUES:
        ids, mask = pad([encode_dialogue(words, prompt, response, 32)], 0)
        torch.testing.assert_close(plain(input_ids=ids).logits, ours(ids, mask), atol=1e-6, rtol=1e-5)
    with pytest.raises(ValueError, match="no padding token"):
        plain(input_ids=torch.ones(2, 3, dtype=torch.long))


@pytest.mark.parametrize(
    ("kind", "pooling", "head_bias", "why"),
    [
        ("llama", "last", True, "its head has a bias, that of LlamaForSequenceClassification has none"),
        ("llama", "mean", False, "with pooling mean"),
        ("bert", "cls", True, "with pooling cls"),
        ("bert", "last", True, "BertForSequenceClassification has a layer of its own"),
    ],
)
def test_where_no_classifier_computes_the_same_the_folder_says_why_and_how_to_load_it(
    backbone: Callable[..., str], tmp_path: Path, kind: str, pooling: str, head_bias: bool, why: str
) -> None:
    folder = tmp_path / "saved"
    ours = trained(ScoreSpec(backbone(kind), pooling, 32, head_bias=head_bias), ("harm",), folder)
    record = json.loads((folder / "score_head.json").read_text(encoding="utf-8"))
    assert record["classifier"] is None
    assert why in record["no_classifier_because"]
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert why in readme
    lines = readme.split("```python\n")[1].split("```")[0].replace("FOLDER", str(folder)).replace("a prompt", "a b")
    scope: dict = {}
    exec(lines.replace("scorer.score(", "found = scorer.score("), scope)  # the README's own three lines
    row = encode_dialogue(AutoTokenizer.from_pretrained(folder), "a b", "its response", 32)
    torch.testing.assert_close(scope["found"], ours(*pad([row], 0)).detach())
