"""One rendering in every stage: five template styles, a published folder through sft, scores, rollout and decode."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tokenizers import AddedToken
from torch import nn

from csrlhf.constraints import Chance, Constraints
from csrlhf.data.chat_format import format_of
from csrlhf.data.demonstrations import collate, encode_demonstration
from csrlhf.data.encoding import encode_prompt
from csrlhf.data.prompts import encode_batch
from csrlhf.data.score_data import LabelledDataModule, PreferenceDataModule
from csrlhf.errors import InputWarning
from csrlhf.evaluation.answers.generate import Answering
from csrlhf.generation.decoder import Decoder
from csrlhf.generation.sampler import Sampler
from csrlhf.models.policy import PolicySpec
from csrlhf.models.score_model import ScoreSpec
from csrlhf.models.settings import ChatSettings, Thought
from csrlhf.models.text_scorer import TextScorer
from csrlhf.training.ppo.roles import SeparateRoles
from csrlhf.training.settings import CostSettings, RewardSettings
from csrlhf.types import DemonstrationRow, LabelledRow, PreferenceRow, PromptBatch, PromptRow
from tests.styles import STYLES, byte_tokenizer, styled, styled_folder

PROMPT, SAID = "Hi <|im_end|></s><end_of_turn>", "Say </s> or <|eot_id|> or <|end|>."
TURNS = (
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": PROMPT},
)


class Rows:
    """One row of each kind, the same prompt and response in all."""

    name, constraints, oracle = "rows", ("harm",), None

    def __init__(self, prompt: Any, response: str = SAID) -> None:
        self.prompt, self.response = prompt, response

    def demonstrations(self, split: str) -> list[DemonstrationRow]:
        return [DemonstrationRow(self.prompt, self.response)]

    def preferences(self, split: str) -> list[PreferenceRow]:
        return [PreferenceRow(self.prompt, self.response, "No.")]

    def labelled(self, split: str) -> list[LabelledRow]:
        return [LabelledRow(self.prompt, self.response, (1.0,))]


class Scripted(nn.Module):
    """A policy that says the same whatever it is asked: one id after the other."""

    def __init__(self, ids: list[int], vocabulary: int, ends: Any = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.script, self.vocabulary = ids, vocabulary
        self.config = SimpleNamespace(max_position_embeddings=None)
        self.generation_config = SimpleNamespace(eos_token_id=ends)

    def forward(
        self, input_ids: Any, attention_mask: Any, past_key_values: Any = None, use_cache: bool = True
    ) -> SimpleNamespace:
        step = past_key_values or 0
        logits = torch.zeros(len(input_ids), 1, self.vocabulary)
        logits[..., self.script[min(step, len(self.script) - 1)]] = 100.0
        return SimpleNamespace(logits=logits, past_key_values=step + 1)


def say(tokenizer: Any, text: str, ends: Any = None, **options: Any) -> Any:
    """What becomes of a policy that says ``text``, control tokens and all."""
    ids = tokenizer.encode(text, add_special_tokens=False)
    batch = encode_batch(tokenizer, [PromptRow("Hi")], [0], 999)
    sampler = Sampler(max_new_tokens=len(ids), **options)
    model: Any = Scripted(ids, len(tokenizer), ends)
    return sampler(model, tokenizer, batch, 0, 0)


def save_scorer(spec: ScoreSpec, output: str, folder: Path) -> str:
    spec.build((output,)).save_pretrained(folder)
    spec.tokenizer.save_pretrained(folder)
    return str(folder)


def read_by(scorer: TextScorer, prompt: Any, response: str, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The ids that a scorer's model is given."""
    given: list[list[int]] = []
    features = scorer.model.features

    def spied(ids_BS: torch.Tensor, mask_BS: torch.Tensor) -> torch.Tensor:
        given.append(ids_BS[0][mask_BS[0]].tolist())
        return features(ids_BS, mask_BS)

    with monkeypatch.context() as patch:
        patch.setattr(scorer.model, "features", spied)
        scorer.score([prompt], [response], [True])
    return given[0]


@pytest.mark.parametrize("prompt", [PROMPT, TURNS], ids=["text", "turns"])
@pytest.mark.parametrize("system", [None, "Be brief."], ids=["own", "system"])
@pytest.mark.parametrize("name", sorted(STYLES))
def test_every_stage_reads_the_same_ids(
    name: str, system: str | None, prompt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    style, chat = STYLES[name], ChatSettings(system_prompt=system)
    published = styled_folder(name, tmp_path / "published")

    # sft, and the folder that it writes
    policy = PolicySpec(published, chat=chat)
    asked, answered = encode_demonstration(policy.tokenizer, Rows(prompt).demonstrations("train")[0], 999)
    first = policy.tokenizer.decode(asked)
    assert first.endswith((style.asked if system is None else style.told).replace("Hi", PROMPT)[-20:])
    assert ("Be brief." in first) == (system is not None)
    end = policy.tokenizer.convert_tokens_to_ids(style.turn_end)
    assert answered == [*format_of(policy.tokenizer).text_ids(SAID), end]
    loss = collate(policy.tokenizer, [(asked, answered)])
    assert loss.input_ids_BS[loss.response_mask_BS].tolist() == answered  # the end token is learnt, too
    model = policy.build()
    named = model.generation_config.eos_token_id  # where other programs stop
    assert (set(named) if isinstance(named, list) else {named}) == set(format_of(policy.tokenizer).ends())
    model.save_pretrained(tmp_path / "sft")
    policy.tokenizer.save_pretrained(tmp_path / "sft")

    # reward and cost, from the folder or from the published model
    for backbone in (str(tmp_path / "sft"), published):
        spec = ScoreSpec(backbone=backbone, max_tokens=400, chat=chat)
        pairs = PreferenceDataModule(Rows(prompt), spec.tokenizer, RewardSettings(), 400, 0)
        labelled = LabelledDataModule(Rows(prompt), spec.tokenizer, CostSettings(), 400, 0)
        assert pairs._load("train")[0].chosen == asked + answered
        assert labelled._load("train")[0].input_ids == asked + answered
    reward = save_scorer(spec, "reward", tmp_path / "reward")
    cost = save_scorer(spec, "harm", tmp_path / "cost")

    # rollout: PPO's own prompts, whether its start is the folder or the published model; its scorers
    for start in (str(tmp_path / "sft"), published):
        roles = SeparateRoles(start, reward, cost, Sampler(max_new_tokens=4), ("harm",), with_critic=False, chat=chat)
        batch = encode_batch(roles.tokenizer, [PromptRow(prompt)], [0], 400)
        rollout = roles.sampler(roles.policy, roles.tokenizer, batch, 0, 0)
        assert rollout.sequence_ids_BS[0, : len(asked)].tolist() == asked
        assert set(roles.ends) == {end, roles.tokenizer.eos_token_id}
    assert read_by(roles.reward_model, prompt, SAID, monkeypatch) == asked + answered
    assert read_by(roles.cost_model, prompt, SAID, monkeypatch) == asked + answered

    # decode
    given: list[PromptBatch] = []
    decoder = Decoder(str(tmp_path / "sft"), reward, cost, n=1, max_new_tokens=4, device="cpu")
    draw = decoder.speaker.sampler
    monkeypatch.setattr(
        decoder.speaker,
        "sampler",
        lambda model, tok, batch, *more: given.append(batch) or draw(model, tok, batch, *more),
    )
    decoder([prompt if isinstance(prompt, str) else list(prompt)])
    assert given[0].input_ids_BP[0].tolist() == asked
    assert read_by(decoder.judges.cost, prompt, SAID, monkeypatch) == asked + answered  # type: ignore[arg-type]


def test_policies_that_write_conversations_otherwise_are_warned_of(tmp_path: Path, folders: Any) -> None:
    """All of an evaluation's policies are asked through one tokenizer."""
    sft = styled_folder("chatml", tmp_path / "sft")
    other = tmp_path / "other"
    styled_folder("chatml", other)
    PolicySpec(sft, chat=ChatSettings(system_prompt="Be brief.")).tokenizer.save_pretrained(other)
    inputs = {"sft": sft, "reward": folders.reward, "cost": folders.cost}
    parts = Constraints({"harm": Chance(0.3)}), Sampler(4), 0, 1
    with pytest.warns(InputWarning, match="evaluate.policies.other=.* another chat template or system prompt"):
        Answering(inputs, {"other": str(other)}, *parts)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Answering(inputs, {"sft": sft}, *parts)
        asked = Answering(inputs, {"other": str(other)}, *parts, ChatSettings(system_prompt="Be brief."))
    assert "Be brief." in asked.tokenizer.decode(encode_prompt(asked.tokenizer, "Hi", 999))


def test_a_classifiers_padding_is_no_end_of_a_turn(tmp_path: Path) -> None:
    """Plain classifiers of transformers look for the last token that is no padding."""
    published = styled_folder("chatml", tmp_path)
    for pad, kept in (("<|endoftext|>", 256), ("<|im_end|>", None)):
        tokenizer = styled("chatml")
        tokenizer.pad_token = pad
        tokenizer.save_pretrained(tmp_path)
        assert ScoreSpec(published).build(("harm",)).backbone.config.pad_token_id == kept


# The ends of a turn.


@pytest.mark.parametrize("name", sorted(STYLES))
def test_sampling_stops_at_the_turn_end(name: str) -> None:
    """With the tokenizer's end token alone the policy would invent what the user says next."""
    style, tokenizer = STYLES[name], styled(name)
    rollout = say(tokenizer, f"Yes.{style.turn_end}\n{style.control[-2]}user\nAnd?")
    drawn = rollout.response_ids_BT[0][rollout.response_mask_BT[0]].tolist()
    assert drawn == tokenizer.encode(f"Yes.{style.turn_end}", add_special_tokens=False)  # the end that was drawn
    assert rollout.ended_B.tolist() == [True]
    assert rollout.responses == ("Yes.",)
    assert rollout.sequence_mask_BS.sum() == len(format_of(tokenizer).ids(style.asked)) + len(drawn)


def test_sampling_stops_at_every_end() -> None:
    tokenizer = styled("llama3")
    names = ("<|end_of_text|>", "<|eot_id|>")
    third = tokenizer.convert_tokens_to_ids("<|start_header_id|>")
    for token, ends in ((names[0], None), (names[1], None), ("<|start_header_id|>", [third])):
        rollout = say(tokenizer, f"a{token}b", ends)
        assert rollout.responses == ("a",)
        assert rollout.response_mask_BT.sum() == 2
    assert say(tokenizer, "a<|start_header_id|>b").responses == ("ab",)


def test_no_end_comes_before_the_least_length() -> None:
    tokenizer = styled("llama3")
    ends = format_of(tokenizer).ends()
    sampler = Sampler(max_new_tokens=4, min_new_tokens=2)
    logits = torch.zeros(4, len(tokenizer))
    barred = sampler.distribution(logits, torch.arange(4), ends)
    assert (barred[:2, list(ends)] == -torch.inf).all()
    assert barred[2:].isfinite().all()
    assert barred[:2].isinf().sum() == 2 * len(ends)


def test_a_cut_off_answer_has_no_end() -> None:
    rollout = say(styled("chatml"), "Yes")
    assert rollout.ended_B.tolist() == [False]
    assert rollout.response_mask_BT.all()


# Thoughts.


def test_scored_is_what_a_user_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    style = STYLES["chatml"]
    tokenizer = byte_tokenizer(style.special, style.eos, style.template)
    tokenizer.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in ("<think>", "</think>")])
    said = "<think>Hm.</think>Yes."
    rollout = say(tokenizer, f"{said}<|im_end|>")
    assert (rollout.responses, rollout.thoughts) == (("Yes.",), ("Hm.",))

    published = styled_folder("chatml", tmp_path / "published")
    for thought, seen in ((None, "Yes."), (Thought.drop, "Yes."), (Thought.score, said)):
        chat = ChatSettings(thought=thought)
        spec = ScoreSpec(backbone=published, max_tokens=400, chat=chat)
        expected = format_of(spec.tokenizer).ids(style.asked) + format_of(spec.tokenizer).ids(seen)
        labelled = LabelledDataModule(Rows("Hi", said), spec.tokenizer, CostSettings(), 400, 0)
        assert labelled._load("train")[0].input_ids[:-1] == expected
        pairs = PreferenceDataModule(Rows("Hi", said), spec.tokenizer, RewardSettings(), 400, 0)
        assert pairs._load("train")[0].chosen[:-1] == expected
        policy = PolicySpec(published, chat=chat).tokenizer
        learnt = encode_demonstration(policy, Rows("Hi", said).demonstrations("train")[0], 999)[1]
        assert policy.decode(learnt[:-1]) == ("Yes." if thought == Thought.drop else said)
