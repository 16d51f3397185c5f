"""Classifiers of transformers as scorers: one label, labels that exclude each other, labels that do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import BertPreTokenizer, WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
)

from csrlhf.constraints import Chance, Constraints
from csrlhf.errors import UserError
from csrlhf.generation import Decoder
from csrlhf.models.loading import load_tokenizer, seeded
from csrlhf.models.prompt_classifier import PromptClassifier
from csrlhf.scorers.classifier import ClassifierScorer, combined
from csrlhf.scorers.labels import select
from csrlhf.types import PromptRow

SPECIAL = ("<pad>", "<unk>", "<cls>", "<sep>")


def encoder(folder: Path, labels: list[str], **options: Any) -> str:
    """A random BERT with these labels, its tokenizer one id per letter."""
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *"abcdefghij", "yes", "no", "red", "blue", "sorry"])}
    inner = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = WhitespaceSplit()  # type: ignore[assignment]  # a property in Rust
    inner.post_processor = TemplateProcessing(  # type: ignore[assignment]
        single="<cls> $A <sep>", pair="<cls> $A <sep> $B:1 <sep>:1", special_tokens=[("<cls>", 2), ("<sep>", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>", cls_token="<cls>", sep_token="<sep>"
    )
    tokenizer.save_pretrained(folder)
    config = AutoConfig.for_model(
        "bert", vocab_size=len(vocabulary), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=40, initializer_range=0.5,
        id2label=dict(enumerate(labels)), label2id={name: i for i, name in enumerate(labels)}, **options,
    )  # fmt: skip
    with seeded(3):
        AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    return str(folder)


def test_log_odds_by_hand() -> None:
    two = torch.tensor([[1.0, 3.0]])
    assert combined(two, [0], exclusive=True).tolist() == [-2.0]
    assert combined(two, [1], exclusive=True).tolist() == [2.0]
    three = torch.log(torch.tensor([[0.2, 0.3, 0.5]]))
    one_by_one = torch.stack([combined(three, [label], exclusive=True) for label in range(3)], 1)
    torch.testing.assert_close(one_by_one, torch.log(torch.tensor([[0.2 / 0.8, 0.3 / 0.7, 0.5 / 0.5]])))
    torch.testing.assert_close(combined(three, [0, 1], exclusive=True), torch.log(torch.tensor([0.5 / 0.5])))


def test_labels_that_may_hold_together_count_by_the_highest() -> None:
    logits = torch.tensor([[1.0, 3.0, -2.0], [0.0, -1.0, 5.0]])
    assert combined(logits, [0, 1], exclusive=False).tolist() == [3.0, 0.0]
    assert combined(logits[:, :1], [0], exclusive=True).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("asked", [ClassifierScorer, PromptClassifier])
def test_separators_that_somebody_wrote_are_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: type) -> None:
    folder = encoder(tmp_path, ["safe", "toxic"])
    tokenizer = load_tokenizer(folder)
    tokenizer.backend_tokenizer.pre_tokenizer = BertPreTokenizer()  # takes "<sep>" to pieces, as BERT's does "[SEP]"
    tokenizer.save_pretrained(folder)
    given: list[Any] = []

    def spied(self: Any, input_ids: torch.Tensor, **arguments: Any) -> Any:
        given.append(input_ids[0].tolist())
        return forward(self, input_ids=input_ids, **arguments)

    forward = BertForSequenceClassification.forward
    monkeypatch.setattr(BertForSequenceClassification, "forward", spied)
    if asked is ClassifierScorer:
        ClassifierScorer(folder, ["toxic"]).score(["a <sep> b"], ["c <cls>"], [True])
        assert given[0] == [2, 4, 1, 1, 1, 5, 3, 6, 1, 1, 1, 3]
    else:
        PromptClassifier(folder, "toxic")([PromptRow("a <sep> b")])
        assert given[0] == [2, 4, 1, 1, 1, 5, 3]


def test_an_encoder_reads_the_pair_as_it_was_trained_to(tmp_path: Path) -> None:
    folder = encoder(tmp_path, ["safe", "toxic"])
    scorer = ClassifierScorer(folder, ["toxic"])
    prompts, responses = ["a b", "c", [{"role": "user", "content": "d"}]], ["red", "", "no yes no yes"]
    scores = scorer.score(prompts, responses, [True, True, False])
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    for prompt, response, score in zip(("a b", "c", "d"), responses, scores, strict=True):
        with torch.no_grad():  # lists: a single text with an empty one beside it would count as no pair
            logits = model(**scorer.tokenizer([prompt], [response], return_tensors="pt")).logits[0]
        assert float(score) == pytest.approx(float(logits[1] - logits[0]), abs=1e-5)
    assert scores.shape == (3, 1)
    batches = ClassifierScorer(folder, ["toxic"], batch_size=2).score(prompts, responses, [True, True, False])
    torch.testing.assert_close(batches, scores)


def test_labels_that_do_not_exclude_each_other_are_constraints(tmp_path: Path) -> None:
    folder = encoder(tmp_path, ["insult", "threat"], problem_type="multi_label_classification")
    scorer = ClassifierScorer(folder)
    assert scorer.outputs == ("insult", "threat")
    logits = scorer.model(**scorer.tokenizer("a", "red", return_tensors="pt")).logits
    torch.testing.assert_close(scorer.score(["a"], ["red"], [True]), logits)
    torch.testing.assert_close(ClassifierScorer(folder, ["threat"]).score(["a"], ["red"], [True]), logits[:, 1:])


@pytest.mark.parametrize("above", [0.0, 0.3])
def test_a_prompt_classifier_selects_by_the_prompt_alone(tmp_path: Path, above: float) -> None:
    folder = encoder(tmp_path, ["benign", "harmful"])
    selector = PromptClassifier(folder, "harmful", above)
    prompts = ["a b", "c d e", "f", "g h red", "a b"]
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder).eval(), load_tokenizer(folder)
    with torch.no_grad():
        logits = torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text in prompts])
    margins = (logits[:, 1] - logits[:, 0]).tolist()
    assert selector([PromptRow(text) for text in prompts]) == [margin > above for margin in margins]
    assert len(set(selector([PromptRow(text) for text in prompts]))) == 2  # it tells some from others
    constraints = Constraints({"harm": Chance(0.5, where=selector)})
    rows = [PromptRow(text) for text in prompts]
    unsafe = torch.tensor([[1.0]] * 5)
    assert constraints(unsafe, rows=rows).counts == (sum(margin > above for margin in margins),)


def test_best_of_n_with_classifiers(folders: Any, tmp_path: Path) -> None:
    cost = encoder(tmp_path / "cost", ["fine", "toxic"])
    reward = encoder(tmp_path / "reward", ["LABEL_0"])
    options: dict[str, Any] = {"n": 4, "max_new_tokens": 4, "threshold": 0.0}
    unasked = {"scorer": "classifier", "probe": False}  # random weights tell nothing apart
    costs = {"toxic": unasked | {"model": cost}}
    answers = Decoder(folders.ppo, unasked | {"model": reward}, costs, **options)(["a", "b", "c"])
    assert all(set(one.costs) == {"toxic"} for said in answers for one in said.candidates)
    assert all(said.abstained or said.cost["toxic"] <= 0 for said in answers)


def test_a_causal_classifier(folders: Any, tmp_path: Path, tiny: Any) -> None:
    """Padded in a batch or alone, the score is the same: the last token is found by the padding."""
    words = tiny.tokenizer()
    words.save_pretrained(tmp_path)
    architecture = {key: value for key, value in tiny.ARCHITECTURE.items() if key != "model_type"}
    config = AutoConfig.for_model("llama", vocab_size=len(words), num_labels=1, pad_token_id=0, **architecture)
    with seeded(0):
        AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    scorer = ClassifierScorer(str(tmp_path), ["reward"], input="text", role="reward")
    prompts, responses, ended = ["a b c d", "e"], ["yes no", "red"], [True, False]
    alone = [scorer.score([prompts[i]], [responses[i]], [ended[i]]) for i in range(2)]
    torch.testing.assert_close(scorer.score(prompts, responses, ended), torch.cat(alone))


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (["a", "b"], {"outputs": ["reward"], "role": "reward"}, "nothing says which of them means better.*label: b"),
        (["LABEL_0", "LABEL_1"], {"outputs": ["harm"]}, "labels LABEL_0, LABEL_1, and nothing says.*label: LABEL_1"),
        (["toxic", "safe", "odd"], {"outputs": ["harm"]}, "nothing says which of them means unsafe"),
        (["safe", "toxic"], {"label": "toxi"}, "has the labels safe, toxic, and not toxi"),
        (["safe", "toxic"], {"label": ["safe", "toxic"]}, "names all of its labels"),
        (["safe", "toxic"], {"label": "toxic", "labels": {"harm": "toxic"}}, "give one of them"),
        (["safe", "toxic"], {"outputs": ["a", "b"]}, r"say which counts for which, labels: \{'a': 'toxic'"),
        (["safe", "toxic"], {"outputs": ["a"], "labels": {"b": "toxic"}}, "labels names b, and not a"),
        (["safe", "toxic"], {"input": "pairs"}, "input=pairs: must be one of chat, pair"),
        (["safe", "toxic"], {"input": "chat"}, "has no chat template"),
        (["safe", "toxic"], {"max_tokens": 50}, "max_tokens=50: must be from 8 to 40"),
        (["safe", "toxic"], {"dtype": "int8"}, "dtype=int8: must be one of float32"),
    ],
)
def test_mistakes(tmp_path: Path, labels: list[str], options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ClassifierScorer(encoder(tmp_path, labels), **options)


@pytest.mark.parametrize(
    ("labels", "role", "chosen", "high"),
    [
        (["safe", "unsafe"], "cost", (1,), "as asked"),
        (["non-toxic", "Toxic"], "cost", (1,), "as asked"),
        (["LABEL_0", "harmful"], "cost", (1,), "as asked"),  # of two, the other is what this one is not
        (["SAFE", "other"], "cost", (1,), "as asked"),
        (["safe", "hate", "offensive"], "cost", (1, 2), "as asked"),
        (["worse", "better"], "reward", (1,), "as asked"),
        (["LABEL_0"], "reward", (0,), "as asked"),
        (["LABEL_0"], "cost", (0,), None),
        (["harmlessness", "x"][:1], "cost", (0,), None),
        (["toxicity"], "reward", (0,), "unsafe"),
        (["safe"], "cost", (0,), "safe"),
    ],
)
def test_names_of_labels_say_what_they_mean(labels: list[str], role: str, chosen: Any, high: str | None) -> None:
    found = select(labels, True, ("reward",) if role == "reward" else ("harm",), role, None, None, "inputs.cost=X")
    assert (found.labels, found.high) == ((chosen,), high)


def test_a_chat_template_is_read_as_it_was_written(tmp_path: Path) -> None:
    """The template's whole rendering, its turn ends included; nothing behind an answer that was cut off."""
    folder = encoder(tmp_path, ["safe", "toxic"])
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = (
        "{% for turn in messages %}{{ '<sep> ' if turn.role == 'user' else '<cls> ' }}{{ turn.content }}{{ ' sorry ' }}"
        "{% endfor %}"
    )
    tokenizer.save_pretrained(folder)
    scorer = ClassifierScorer(folder, ["harm"])
    assert scorer.input == "chat"

    def read(prompt: Any, ended: bool) -> list[str]:
        return scorer.tokenizer.convert_ids_to_tokens(scorer._ids(prompt, "red blue", ended))  # type: ignore[return-value]

    assert read("a b", True) == ["<sep>", "a", "b", "sorry", "<cls>", "red", "blue", "sorry"]
    assert read("a b", False) == ["<sep>", "a", "b", "sorry", "<cls>", "red", "blue"]
    turns = ({"role": "user", "content": "c"}, {"role": "assistant", "content": "no"}, {"role": "user", "content": "d"})
    whole = ["<sep>", "c", "sorry", "<cls>", "no", "sorry", "<sep>", "d", "sorry", "<cls>", "red", "blue", "sorry"]
    assert read(turns, True) == whole
    scorer.max_tokens = 8  # earlier turns go first
    assert read(turns, True) == ["<sep>", "d", "sorry", "<cls>", "red", "blue", "sorry"]


@pytest.mark.parametrize(("given", "told"), [("response", "red blue"), ("prompt", "a b")])
def test_a_single_text_can_be_all_that_is_read(tmp_path: Path, given: str, told: str) -> None:
    folder = encoder(tmp_path, ["safe", "toxic"])
    scorer = ClassifierScorer(folder, ["harm"], input=given)
    with torch.no_grad():
        logits = scorer.model(**scorer.tokenizer(told, return_tensors="pt")).logits[0]
    assert float(scorer.score(["a b"], ["red blue"], [True])) == pytest.approx(float(logits[1] - logits[0]), abs=1e-5)


def test_a_causal_tokenizer_without_a_template_does_not_say_what_it_reads(tmp_path: Path, tiny: Any) -> None:
    words = tiny.tokenizer()
    words.chat_template = None
    words.save_pretrained(tmp_path)
    config = AutoConfig.for_model(vocab_size=20, num_labels=1, **tiny.ARCHITECTURE)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="nothing says how it reads a dialogue; say it with input:"):
        ClassifierScorer(str(tmp_path), ["harm"], label="LABEL_0")


def test_a_classifier_tells_what_it_does_not_read(tmp_path: Path) -> None:
    scorer = ClassifierScorer(encoder(tmp_path, ["safe", "toxic"]), ["harm"], max_tokens=10)
    assert not scorer.cut_short("a b c d e f g", "red blue", True)
    assert scorer.cut_short("a b c d e f g", "red blue no yes red", True)
