"""A cost model's evaluation that is stopped goes on where it stood, and ends as one that was not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from csrlhf.data.jsonl import JsonlData
from csrlhf.data.score_data import JudgedRowsDataModule
from csrlhf.errors import UserError
from csrlhf.evaluation.answers.records import Answer, write_answers
from csrlhf.evaluation.cost_model.module import CostEvaluationModule
from csrlhf.evaluation.settings import CostEvaluationSettings
from csrlhf.models.text_scorer import TextScorer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def lines(work: Path) -> list[str]:
    """Of the file of kept scores, its head first."""
    [file] = (work / "kept").iterdir()
    return file.read_text(encoding="utf-8").splitlines()


class StoppedError(Exception):
    """Stands for a kill."""


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many batches were judged; it stops when ``most`` are."""
    count = {"batches": 0, "most": 100}
    score = TextScorer.scores_and_features

    def counted(self: TextScorer, *dialogues: Any) -> Any:
        if count["batches"] == count["most"]:
            raise StoppedError
        count["batches"] += 1
        return score(self, *dialogues)

    monkeypatch.setattr(TextScorer, "scores_and_features", counted)
    return count


@pytest.fixture
def evaluate(tiny: ModuleType, folders: Any, tmp_path: Path) -> Callable[..., tuple[str, str]]:
    """``evaluate(work)``: the numbers and ``evaluation.json`` of twenty rows and three answers."""
    rows = [
        {"prompt": " ".join("abcde"[: 1 + n % 5]), "response": f"yes {'red' * (n % 3 == 0)}", "label": label}
        for n, label in enumerate(["Safe", "Unsafe"] * 10)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    answers = [Answer(f"ppo/{n}/0", "ppo", str(n), 0, f"a {n}", "no red") for n in range(3)]
    write_answers(tmp_path / "answers.jsonl", answers, {})

    def run(work: str, **options: Any) -> tuple[str, str]:
        outputs = str(tmp_path / "answers.jsonl")
        module = CostEvaluationModule(
            folders.cost,
            CostEvaluationSettings(batch_size=7, outputs=outputs, baseline=False, **options),
            str(tmp_path / work),
        )
        data = JudgedRowsDataModule(JsonlData(test=str(tmp_path / "rows.jsonl")), module.tokenizer, module.settings)
        tiny.trainer(tmp_path).test(module, data, verbose=False)
        assert module.result is not None
        (tmp_path / work).mkdir(exist_ok=True)
        module.result.write(tmp_path / work)
        return repr(module.final_metrics), (tmp_path / work / "evaluation.json").read_text(encoding="utf-8")

    return run


def test_a_stopped_evaluation_ends_as_one_that_was_not(
    evaluate: Callable, judged: dict[str, int], tmp_path: Path
) -> None:
    whole = evaluate("whole")
    assert judged["batches"] == 3 + 1  # rows by seven, then the answers
    for most, kept in ((1, 7), (2, 20)):  # of 7, 7 and 6 rows
        judged |= {"batches": 0, "most": most}
        with pytest.raises(StoppedError):
            evaluate("part")
        assert len(lines(tmp_path / "part")) == 1 + kept
    judged |= {"batches": 0, "most": 100}
    assert evaluate("part") == whole
    assert judged["batches"] == 1  # of the answers


def test_scores_of_other_rows_and_changed_ones_are_refused(
    evaluate: Callable, judged: dict[str, int], tmp_path: Path
) -> None:
    whole = evaluate("work")
    [file] = (tmp_path / "work" / "kept").iterdir()
    content = file.read_bytes()
    file.write_bytes(content[:-8])  # of the last batch, the answers
    judged["batches"] = 0
    assert evaluate("work") == whole
    assert judged["batches"] == 1
    file.write_bytes(content.replace(b'"number": 3,', b'"number": 4,'))
    with pytest.raises(UserError, match=rf"{file.name}:\d+: is not what was kept, the file was changed"):
        evaluate("work")
    file.write_bytes(content)
    rows = (tmp_path / "rows.jsonl").read_text(encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text(rows.replace("yes red", "yes blue"), encoding="utf-8")
    with pytest.raises(UserError, match="was kept by another run"):
        evaluate("work")
