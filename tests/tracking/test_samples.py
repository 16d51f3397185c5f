"""Sample tables: which dialogues, which columns, when."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from csrlhf.data.source import Verdict
from csrlhf.errors import UserError
from csrlhf.stats.policy_report import JudgedAnswer
from csrlhf.tracking.tables import Sample, SampleTables, pick, table
from csrlhf.types import PromptRow, Rollout, Scores

GOOD = Verdict(unsafe=False, helped=True, refused=False, kind="compliance", privacy=False)
BAD = Verdict(unsafe=True, helped=False, refused=False, kind="garbled", privacy=False)


def sample(category: str, response: str = "yes", logits: tuple[float, ...] = (-1.0,), truth: Any = None) -> Sample:
    return Sample("ppo", PromptRow("a ?", {"category": category}), response, 0.5, logits, truth)


def test_every_category_comes_in_turn() -> None:
    samples = [sample("benign", word) for word in "abcd"] + [sample("harmful", "e"), sample("harmful", "f")]
    assert [chosen.response for chosen in pick(samples, 5)] == ["a", "e", "b", "f", "c"]
    assert len(pick(samples, 50)) == 6


def test_columns_and_verdicts() -> None:
    columns, rows = table(
        [sample("benign", logits=(-1.0, 2.0), truth=BAD), sample("x", logits=(-1.0, 0.0), truth=GOOD)],
        ["harm", "privacy"],
    )
    assert columns == [
        "policy",
        "prompt",
        "category",
        "response",
        "reward",
        "cost/harm",
        "cost/privacy",
        "verdict",
        "truth",
    ]
    assert rows == [
        ["ppo", "a ?", "benign", "yes", 0.5, -1.0, 2.0, "unsafe: privacy", "unsafe"],
        ["ppo", "a ?", "x", "yes", 0.5, -1.0, 0.0, "safe", "compliance"],  # flagged is what lies above 0
    ]


def test_without_an_oracle_there_is_no_truth() -> None:
    columns, rows = table([sample("x")], ["harm"])
    assert columns[-1] == "verdict"
    assert len(rows[0]) == len(columns)


def test_a_conversation_and_a_prompt_without_category_are_text() -> None:
    turns = ({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"})
    _, [row] = table([Sample("ppo", PromptRow(turns), "d", 0.0, (1.0,), None)], ["harm"])
    assert row[1:3] == ["user: a\nassistant: b\nuser: c", ""]


class Tables:
    """A logger that keeps tables."""

    def __init__(self) -> None:
        self.logged: list[tuple[Any, ...]] = []

    def log_table(self, *arguments: Any) -> None:
        self.logged.append(arguments)


def parts(**module: Any) -> tuple[Any, Any, Tables]:
    """A trainer in iteration 3 and a module of the constraint harm."""
    tables = Tables()
    trainer = SimpleNamespace(
        is_global_zero=True,
        loggers=[tables, SimpleNamespace()],
        datamodule=SimpleNamespace(source=SimpleNamespace(oracle=None)),
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(total_batch_idx=3)),
    )
    return (
        cast(Any, trainer),
        cast(Any, SimpleNamespace(constraints=SimpleNamespace(names=("harm",)), **module)),
        tables,
    )


def outputs(words: str) -> dict[str, Any]:
    """What ``validation_step`` returns for one answer per word."""
    size, empty = len(words), torch.zeros(len(words), 1)
    rows = tuple(PromptRow(f"prompt {word}") for word in words)
    rollout = Rollout(empty, empty, empty, empty, empty, empty, rows, tuple(words))
    return {"rollout": rollout, "scores": Scores(torch.arange(size).float(), torch.ones(size, 1))}


def test_a_table_after_each_evaluation_holds_that_evaluation() -> None:
    callback, (trainer, module, tables) = SampleTables(rows=3), parts()
    for evaluation in (("ab", "cd"), ("ef", "g")):
        callback.on_validation_epoch_start(trainer, module)
        for index, words in enumerate(evaluation):
            callback.on_validation_batch_end(trainer, module, outputs(words), None, index)
        callback.on_validation_end(trainer, module)
    assert [(key, [row[3] for row in rows], step) for key, _, rows, step in tables.logged] == [
        ("samples/validation", ["a", "b", "c"], 3),
        ("samples/validation", ["e", "f", "g"], 3),
    ]
    assert tables.logged[0][2][1][4] == 1.0  # the second answer's reward


def test_both_policies_answers_stand_together_after_the_test() -> None:
    def answers(words: str) -> list[JudgedAnswer]:
        return [
            JudgedAnswer(PromptRow(f"p{i}"), word, True, 0.0, (0.0,), (0.0,), 0.0, None) for i, word in enumerate(words)
        ]

    callback = SampleTables(rows=2)
    trainer, module, tables = parts(answers={"sft": answers("abc"), "ppo": answers("def")})
    callback.on_test_end(trainer, module)
    [(key, _, rows, _)] = tables.logged
    assert key == "samples/test"
    assert [[*row[:2], row[3]] for row in rows] == [
        ["sft", "p0", "a"], ["ppo", "p0", "d"], ["sft", "p1", "b"], ["ppo", "p1", "e"],
    ]  # fmt: skip


def test_other_stages_and_rows_0_log_no_table() -> None:
    trainer, module, tables = parts(answers={})
    callback = SampleTables(rows=3)
    callback.on_validation_epoch_start(trainer, module)
    callback.on_validation_batch_end(trainer, module, None, None, 0)  # a stage whose validation step returns nothing
    callback.on_validation_end(trainer, module)
    callback.on_test_end(trainer, module)
    off = SampleTables(rows=0)
    off.on_validation_epoch_start(trainer, module)
    off.on_validation_batch_end(trainer, module, outputs("ab"), None, 0)
    off.on_validation_end(trainer, module)
    assert tables.logged == []


def test_rows_out_of_range() -> None:
    with pytest.raises(UserError, match=r"callbacks\.samples\.rows=-1"):
        SampleTables(-1)
