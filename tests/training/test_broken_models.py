"""Models that are broken: an evaluation, a certificate and a decoder name them, and nothing passes for safe."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from csrlhf.constraints import Chance
from csrlhf.constraints.set import Constraints
from csrlhf.data.prompts import encode_batch
from csrlhf.errors import InputWarning, UserError
from csrlhf.evaluation.answers.generate import Answering, judged_by_model
from csrlhf.evaluation.answers.records import Answer
from csrlhf.evaluation.certificates.answering import AnswerSpec, BestOfN, DecodeSpec, Plain
from csrlhf.generation import Decoder
from csrlhf.generation.sampler import Sampler
from csrlhf.models.score_model import HEAD_WEIGHTS
from csrlhf.models.text_scorer import TextScorer
from csrlhf.scorers.costs import cost_scorer
from csrlhf.types import PromptBatch, PromptRow

PROMPTS = ("a b", "c d e")


@pytest.fixture
def batch(tiny: ModuleType) -> PromptBatch:
    return encode_batch(tiny.tokenizer(), [PromptRow(prompt, {}) for prompt in PROMPTS], [0, 1], 16)


@pytest.fixture
def broken(tmp_path: Path, folders: Any) -> Callable[[str], str]:
    """``broken("cost")``: a copy of the folder whose scores are all NaN."""

    def call(role: str) -> str:
        folder = tmp_path / f"broken_{role}"
        shutil.copytree(getattr(folders, role), folder)
        weights = load_file(folder / HEAD_WEIGHTS)
        save_file({name: torch.full_like(value, torch.nan) for name, value in weights.items()}, folder / HEAD_WEIGHTS)
        return str(folder)

    return call


@pytest.fixture
def nan_policy(tmp_path: Path, folders: Any) -> str:
    """A policy whose logits are NaN."""
    folder = tmp_path / "nan_policy"
    shutil.copytree(folders.ppo, folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    torch.nn.init.constant_(model.lm_head.weight, torch.nan)
    model.save_pretrained(folder)
    return str(folder)


def spec(folders: Any, **changes: Any) -> AnswerSpec:
    models = {"policy": folders.ppo, "cost": folders.cost, "judge": None, "reward": None}
    given = models | {"constraints": ("harm",)} | changes
    return AnswerSpec(sampler=Sampler(5), seed=0, **given)


def plain(folders: Any, **changes: Any) -> Plain:
    return Plain(spec(folders, **changes))


def answering(folders: Any, policy: str, **changes: Any) -> Answering:
    inputs = folders.inputs(**changes)
    return Answering(inputs, {"ppo": policy}, Constraints({"harm": Chance(0.3)}), Sampler(5), 0, 1)


def test_a_cost_model_without_numbers_stops_certificate_and_evaluation(
    folders: Any, batch: PromptBatch, broken: Callable[[str], str]
) -> None:
    folder = broken("cost")
    message = rf"inputs\.cost={folder}: the score harm is nan for a response to the prompt 'a b' \(2 of the batch's 2"
    with pytest.raises(UserError, match=message):
        plain(folders, cost=folder).answer(batch, torch.device("cpu"))
    with pytest.raises(UserError, match=message):
        answering(folders, folders.ppo, cost=folder)("ppo", batch, None)


def test_of_several_cost_models_the_broken_one_is_named(
    folders: Any, batch: PromptBatch, broken: Callable[[str], str]
) -> None:
    folder = broken("cost_privacy")
    both = plain(folders, cost=[folders.cost, folder], constraints=("harm", "privacy"))
    with pytest.raises(UserError, match=rf"inputs\.cost={folder}: the score privacy is nan"):
        both.answer(batch, torch.device("cpu"))


def test_a_reward_model_without_numbers_is_named(
    folders: Any, batch: PromptBatch, broken: Callable[[str], str]
) -> None:
    folder = broken("reward")
    with pytest.raises(UserError, match=rf"certify\.reward={folder}: the score reward is nan"):
        plain(folders, reward=folder).answer(batch, torch.device("cpu"))
    with pytest.raises(UserError, match=rf"inputs\.reward={folder}: the score reward is nan"):
        answering(folders, folders.ppo, reward=folder)("ppo", batch, None)


def test_a_judge_without_numbers_judges_nothing_safe(broken: Callable[[str], str]) -> None:
    folder = broken("cost")
    answers = [Answer("p/1/0", "p", "1", 0, "a b", "yes"), Answer("p/2/0", "p", "2", 0, "c", "no")]
    with pytest.raises(UserError, match=rf"evaluate\.judge={folder}: the score harm is nan .*'a b'"):
        judged_by_model(TextScorer(folder), answers)


def test_best_of_n_abstains_where_costs_are_no_numbers(
    folders: Any, batch: PromptBatch, broken: Callable[[str], str]
) -> None:
    folder = broken("cost")
    decode = DecodeSpec("best_of_n", n=2, rule="best", threshold=1e9, refusal="no")
    decoder = BestOfN(spec(folders, cost=folder, reward=folders.reward), decode)
    with pytest.warns(InputWarning, match=rf"cost={folder}: gives NaN for a response to the prompt 'a b'"):
        said = decoder.answer(batch, torch.device("cpu"))
    assert [one.response for one in said] == ["no", "no"]


def test_a_policy_without_numbers_says_nothing(folders: Any, batch: PromptBatch, nan_policy: str) -> None:
    message = rf"the policy {nan_policy} gives NaN after the prompt 'a b'"
    with pytest.raises(UserError, match=message):
        plain(folders, policy=nan_policy).answer(batch, torch.device("cpu"))
    with pytest.raises(UserError, match=message):
        answering(folders, nan_policy)("ppo", batch, None)
    with pytest.raises(UserError, match=f"policy={nan_policy}: gives NaN: its weights are broken"):
        Decoder(nan_policy, folders.reward, folders.cost, n=2, max_new_tokens=5, device="cpu")
    decoder = Decoder(folders.ppo, None, None, n=1, rule="first", greedy=True, max_new_tokens=5, device="cpu")
    torch.nn.init.constant_(decoder.speaker.policy.lm_head.weight, torch.nan)
    with pytest.raises(UserError, match="gives NaN after the prompt 'a b'"):
        decoder(["a b"])


def test_a_cost_model_with_another_tokenizer_is_refused(folders: Any, tiny: ModuleType, tmp_path: Path) -> None:
    """The tokenizer of a larger model, copied over the cost model's own."""
    folder = tmp_path / "cost"
    shutil.copytree(folders.cost, folder)
    larger = tiny.tokenizer()
    larger.add_tokens(["more", "words"])
    larger.save_pretrained(folder)
    message = rf"{folder}: the tokenizer does not fit the model: its token 'more' has the id \d+"
    with pytest.raises(UserError, match=message):
        cost_scorer(str(folder), ("harm",))
    with pytest.raises(UserError, match=message):
        plain(folders, cost=str(folder))
    with pytest.raises(UserError, match=message):
        Decoder(folders.ppo, None, str(folder), rule="first", max_new_tokens=5, device="cpu")


def test_a_policy_folder_without_weights_is_named(folders: Any, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    shutil.copytree(folders.ppo, folder)
    for path in folder.glob("*.safetensors"):
        path.unlink()
    message = f"cannot load {folder}: .*no file named model.safetensors"
    with pytest.raises(UserError, match=message):
        plain(folders, policy=str(folder))
    with pytest.raises(UserError, match=message):
        answering(folders, str(folder))
    with pytest.raises(UserError, match=message):
        Decoder(str(folder), None, None, rule="first", max_new_tokens=5, device="cpu")
