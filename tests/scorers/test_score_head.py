"""safe-rlhf's checkpoints: last token, normaliser by type, template, and what they say of themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from csrlhf.errors import UserError
from csrlhf.scorers.build import build
from csrlhf.scorers.rendering import turns_of
from csrlhf.scorers.score_head import ScoreHeadScorer, conversation

TURNS = ({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"})


def by_hand(folder: str, scorer: ScoreHeadScorer, ids: list[int]) -> float:
    """The head on the last token's state, from the files alone."""
    tensors = load_file(f"{folder}/model.safetensors")
    trunk = AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        state = trunk(torch.tensor([ids])).last_hidden_state[0, -1]
    return float(state @ tensors["score_head.weight"][0] + tensors["score_head.bias"][0])


def test_the_template_is_safe_rlhf_s() -> None:
    assert conversation(turns_of("a"), "b", "</s>") == "BEGINNING OF CONVERSATION: USER: a ASSISTANT:b"
    said = conversation(turns_of(TURNS), "d", "</s>")
    assert said == "BEGINNING OF CONVERSATION: USER: a ASSISTANT:b</s> USER: c ASSISTANT:d"
    system = [{"role": "system", "content": "e"}, {"role": "user", "content": "a"}]
    assert conversation(system, "b", "</s>") == "BEGINNING OF CONVERSATION: USER: e\na ASSISTANT:b"


@pytest.mark.parametrize(
    ("kind", "normalise", "expected"),
    [
        ("cost", False, lambda score: score),
        ("cost", True, lambda score: score / 2.0),  # the variance is 4: a cost keeps its sign
        ("reward", True, lambda score: (score - 0.5) / 2.0),
    ],
)
def test_scores_are_the_head_s_on_the_last_token(
    score_head_folder: Callable[..., str], kind: str, normalise: bool, expected: Callable[[float], float]
) -> None:
    folder = score_head_folder(kind, do_normalize=normalise)
    scorer = ScoreHeadScorer(folder, role=kind)
    assert scorer.outputs == (("reward",) if kind == "reward" else ("harm",))
    prompts: list[Any] = ["a b", "c", TURNS]
    responses, ended = ["d", "poison kill Paris", "e"], [True, True, False]
    scores = scorer.score(prompts, responses, ended)
    for row, (prompt, response, end) in enumerate(zip(prompts, responses, ended, strict=True)):
        ids = scorer.tokenizer.encode(conversation(turns_of(prompt), response, "</s>")) + ([3] if end else [])
        assert float(scores[row]) == pytest.approx(expected(by_hand(folder, scorer, ids)), abs=1e-5)
    one_by_one = ScoreHeadScorer(folder, batch_size=1, role=kind).score(prompts, responses, ended)
    torch.testing.assert_close(one_by_one, scores)


def test_a_folder_s_configuration_says_what_it_is(score_head_folder: Callable[..., str]) -> None:
    cost, reward = score_head_folder("cost"), score_head_folder("reward")
    assert isinstance(build("inputs.cost", cost, "cost", ["privacy"]), ScoreHeadScorer)
    with pytest.raises(UserError, match="by its own account high is better, not unsafe; say it with higher: unsafe"):
        build("inputs.cost", reward, "cost", ["harm"])
    with pytest.raises(UserError, match="by its own account high is unsafe, not better"):
        build("inputs.reward", cost, "reward", ["reward"])
    spec = {"scorer": "score_head", "model": reward}
    safe, better = build("inputs.cost", spec | {"higher": "safe"}, "cost"), build("inputs.reward", reward, "reward")
    texts: Any = ["a", "b"], ["c", "d"], [True, True]
    torch.testing.assert_close(safe.score(*texts), -better.score(*texts))
    with pytest.raises(UserError, match="gives 1 score to a response, and harm, privacy are asked for"):
        build("inputs.cost", cost, "cost", ["harm", "privacy"])


def test_a_long_dialogue_is_cut_and_told(score_head_folder: Callable[..., str]) -> None:
    scorer = ScoreHeadScorer(score_head_folder("cost"), max_tokens=20)
    long = "a b c d e a b c d e a b c d e"
    ids, cut = scorer._ids(long, "poison kill", True)
    words = scorer.tokenizer.convert_ids_to_tokens(ids)
    assert (len(ids), cut) == (20, False)
    assert words[-3:] == ["poison", "kill", "</s>"]  # the prompt gives way
    assert words[-5 - 1 : -5] == ["e"]  # what is asked at its end is still there
    assert scorer.cut_short("a", long, True)
    assert scorer.tokenizer.convert_ids_to_tokens(scorer._ids("a", long, True)[0])[-1] != "</s>"


def test_a_checkpoint_without_its_head_is_refused(
    guard_folder: Callable[..., str], score_head_folder: Callable[..., str]
) -> None:
    with pytest.raises(UserError, match=r"config\.json has no score_dim"):
        ScoreHeadScorer(guard_folder())
    folder = score_head_folder("cost", do_normalize=True)
    tensors = load_file(f"{folder}/model.safetensors")
    for left_out in ("score_head.weight", "normalizer.var"):
        save_file({key: value for key, value in tensors.items() if key != left_out}, f"{folder}/model.safetensors",
                  metadata={"format": "pt"})  # fmt: skip
        with pytest.raises(UserError, match=rf"holds no trained classifier \({left_out} would be drawn at random"):
            ScoreHeadScorer(folder)
