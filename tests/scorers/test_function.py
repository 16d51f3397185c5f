"""Python functions as scorers: what they are handed, what they may give, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from csrlhf.errors import UserError
from csrlhf.scorers.build import build
from csrlhf.scorers.function import FunctionScorer

TEXTS: Any = (["a", ({"role": "user", "content": "b"},)], ["poison", "Paris."], [True, False])


def written(folder: Path, body: str, name: str = "score") -> str:
    path = folder / f"{name}.py"
    path.write_text(f"import torch, math\n\n\ndef score({body}\n", encoding="utf-8")
    return f"{path}:score"


def test_a_file_and_a_dotted_name_are_the_same(scorer_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_file = FunctionScorer(f"{scorer_file}:cost")
    assert by_file.outputs == ("harm",)
    assert by_file.score(*TEXTS).tolist() == [[2.0], [-1.0]]
    monkeypatch.syspath_prepend(str(scorer_file.parent))
    assert FunctionScorer("mine.cost").score(*TEXTS).tolist() == [[2.0], [-1.0]]


def test_it_is_handed_turns_texts_and_whether_they_ended(tmp_path: Path) -> None:
    function = written(
        tmp_path,
        "prompts, responses, ended):\n"
        "    assert prompts == [[{'role': 'user', 'content': 'a'}], [{'role': 'user', 'content': 'b'}]], prompts\n"
        "    assert responses == ['poison', 'Paris.'] and ended == [True, False]\n"
        "    return torch.tensor([1.0, 2.0], requires_grad=True)",
    )
    assert FunctionScorer(function).score(*TEXTS).tolist() == [[1.0], [2.0]]


def test_columns_are_those_of_the_constraints(scorer_file: Path) -> None:
    two = f"{scorer_file}:two"
    scorer = build("inputs.cost", {"scorer": "function", "function": two}, "cost", ["harm", "privacy"])
    assert scorer.score(*TEXTS).tolist() == [[2.0, -2.0], [-1.0, -2.0]]
    named = {"scorer": "function", "function": two, "outputs": ["privacy", "harm"]}
    swapped = build("inputs.cost", named, "cost", ["harm", "privacy"])
    assert swapped.score(*TEXTS).tolist() == [[-2.0, 2.0], [-2.0, -1.0]]
    assert build("inputs.cost", named, "cost").outputs == ("privacy", "harm")


def test_a_reward_may_be_a_text_s_own(scorer_file: Path) -> None:
    scorer = build("inputs.reward", f"{scorer_file}:reward", "reward", ["reward"])
    assert scorer.score(*TEXTS).tolist() == [[1.0], [1.0]]


def test_what_it_imports_beside_itself_is_found(tmp_path: Path) -> None:
    (tmp_path / "beside_it.py").write_text("LEVEL = 3.0\n", encoding="utf-8")
    path = tmp_path / "uses.py"
    path.write_text("from beside_it import LEVEL\n\ndef score(p, r):\n    return [LEVEL] * len(r)\n", encoding="utf-8")
    assert FunctionScorer(f"{path}:score").score(*TEXTS).tolist() == [[3.0], [3.0]]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("prompts, responses):\n    return [1.0]", r"gave 1 scores for 2 responses; it must give one list entry"),
        ("prompts, responses):\n    return [[1.0, 2.0]] * 2", "gave 2 x 2 scores for 2 responses"),
        ("prompts, responses):\n    return 1.0", "gave one scores for 2 responses"),
        (
            "prompts, responses):\n    return [0.0, math.nan]",
            r"gave \[nan\] for response 2 of 2; scores must be finite",
        ),
        ("prompts, responses):\n    return [-math.inf, 0.0]", r"gave \[-inf\] for response 1 of 2"),
        ("prompts, responses):\n    return [None, 0.0]", r"gave \[nan\] for response 1 of 2"),
        ("prompts, responses):\n    return ['high', 'low']", "which is no list of numbers"),
        ("prompts, responses):\n    return 1 / 0", r"fails with ZeroDivisionError"),
        ("prompts):\n    return [0.0, 0.0]", r"must take \(prompts, responses\): too many positional"),
    ],
)
def test_mistakes_name_the_function(tmp_path: Path, body: str, message: str) -> None:
    function = written(tmp_path, body)
    with pytest.raises(UserError, match=message) as raised:
        FunctionScorer(function).score(*TEXTS)
    assert "score.py:score" in str(raised.value)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("nowhere.py:cost", "there is no such file or module"),
        ("mine.py:nothing", "there is no function nothing in"),
        ("broken.py:score", "cannot be imported: SyntaxError"),
        ("string.digits", "there is no function digits in"),
    ],
)
def test_functions_that_are_none(scorer_file: Path, function: str, message: str, monkeypatch: Any) -> None:
    monkeypatch.chdir(scorer_file.parent)
    Path("broken.py").write_text("def score(:\n", encoding="utf-8")
    with pytest.raises(UserError, match=message):
        FunctionScorer(function)


def test_a_text_that_was_scored_is_not_scored_again(tmp_path: Path) -> None:
    function = written(
        tmp_path, "prompts, responses, seen=[]):\n    seen += responses\n    return [len(seen)] * len(responses)"
    )
    scorer = FunctionScorer(function)
    assert scorer.score(["a"] * 3, ["b", "c", "b"], [True] * 3).tolist() == [[2.0], [2.0], [2.0]]
    assert scorer.score(["a"], ["b"], [True]).tolist() == [[2.0]]
    assert scorer.score(["a"], ["b"], [False]).tolist() == [[3.0]]  # cut off, it is another one
    assert scorer.score(["a"], ["b"], [True]).dtype == torch.float32
