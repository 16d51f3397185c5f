"""An evaluation that is stopped goes on where it stood, and ends as one that was not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from csrlhf.constraints import Chance
from csrlhf.data.prompt_sets import EvaluationData
from csrlhf.errors import UserError
from csrlhf.evaluation.answers.generate import Answering
from csrlhf.evaluation.answers.records import Answer
from csrlhf.evaluation.policies.module import EvaluationModule
from csrlhf.evaluation.settings import EvaluateSettings
from csrlhf.generation.sampler import Sampler
from csrlhf.types import PromptBatch


class StoppedError(Exception):
    """Stands for a kill."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Which policy answered which batch, by the batch's first index; it stops at ``("stop", n)``."""
    said: list[tuple[str, int]] = []
    forward = Answering.forward

    def noted(self: Answering, policy: str, prompts: PromptBatch, oracle: Any) -> list[Answer]:
        if ("stop", len(said)) in said:
            raise StoppedError
        said.append((policy, int(prompts.index_B[0])))
        return forward(self, policy, prompts, oracle)

    monkeypatch.setattr(Answering, "forward", noted)
    return said


@pytest.fixture
def evaluate(tiny: ModuleType, folders: Any, tmp_path: Path) -> Callable[..., bytes]:
    """``evaluate(work)``: what stands in ``answers.jsonl`` in the end, with the numbers."""

    def run(work: str, seed: int = 0, **options: Any) -> tuple[bytes, dict[str, float]]:
        module = EvaluationModule(
            folders.inputs(),
            Sampler(5),
            {"harm": Chance(0.3)},
            EvaluateSettings(batch_size=5, **options),
            seed,
            str(tmp_path / work),
        )
        (tmp_path / work).mkdir(exist_ok=True)
        data = EvaluationData(tiny.Source(), tiny.tokenizer(), EvaluateSettings(batch_size=5), max_prompt_tokens=16)
        tiny.trainer(tmp_path).test(module, data, verbose=False)
        return (tmp_path / work / "answers.jsonl").read_bytes(), module.final_metrics

    return run


def test_a_stopped_evaluation_ends_as_one_that_was_not(
    evaluate: Callable, asked: list[tuple[str, int]], folders: Any, tmp_path: Path
) -> None:
    whole = evaluate("whole", judge=folders.cost_privacy)
    assert asked == [(name, first) for first in (0, 5, 10) for name in ("sft", "ppo")]
    asked[:] = [("stop", 4)]
    with pytest.raises(StoppedError):
        evaluate("part", judge=folders.cost_privacy)
    assert asked[1:] == [("sft", 0), ("ppo", 0), ("sft", 5)]
    [file] = (tmp_path / "part" / "kept").iterdir()
    with file.open("a", encoding="utf-8") as kept:
        kept.write('{"crc32": 5, "na')  # killed in the middle of a line
    asked.clear()
    assert repr(evaluate("part", judge=folders.cost_privacy)) == repr(whole)  # repr: NaN is not even itself
    assert asked == [("ppo", 5), ("sft", 10), ("ppo", 10)]
    asked.clear()
    assert repr(evaluate("part", judge=folders.cost_privacy)) == repr(whole)
    assert asked == []  # all is there


def test_half_a_batch_is_answered_again(evaluate: Callable, asked: list[tuple[str, int]], tmp_path: Path) -> None:
    whole = evaluate("work")
    [file] = (tmp_path / "work" / "kept").iterdir()
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text("".join(lines[:9]), encoding="utf-8")  # of the trained policy's first five answers three
    asked.clear()
    assert repr(evaluate("work")) == repr(whole)
    assert asked[0] == ("ppo", 0)


def test_answers_of_other_settings_are_refused(evaluate: Callable, tmp_path: Path) -> None:
    evaluate("work")
    with pytest.raises(UserError, match=r"was kept by another run .*; start anew"):
        evaluate("work", seed=1)
