"""The lines of a file of answers, batch by batch, and their numbers, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from csrlhf.generation.records import Question, answer_numbers, answer_records, batches_of, summary

QUESTIONS = [Question(name, name, f"file:{row}") for row, name in enumerate("abcde", 1)]


def test_as_many_prompts_belong_together_as_are_drawn_at_once(make: Any) -> None:
    decoder = make(n=2, batch_size=4)  # two prompts at a time
    assert batches_of(decoder, 5) == [range(2), range(2, 4), range(4, 5)]
    assert batches_of(make(n=8, batch_size=4), 2) == [range(1), range(1, 2)]
    batches = [answer_records(decoder, QUESTIONS, numbers, None, False) for numbers in batches_of(decoder, 5)]
    assert [one for batch in batches for one in batch] == answer_records(decoder, QUESTIONS, range(5), None, False)
    assert [one["id"] for one in batches[1]] == ["c", "d"]


def test_each_line_names_the_settings_and_the_certificate(make: Any) -> None:
    decoder = make(n=3, threshold=0.5, seed=7)
    [line] = answer_records(decoder, QUESTIONS, [0], {"sha256": "c" * 64}, candidates=True)
    assert len(line["candidates"]) == 3
    settings = {"rule": "best", "n": 3, "threshold": {"harm": 0.5}, "seed": 7, "certificate": "c" * 64}
    assert settings.items() <= line.items()


def line(costs: dict[str, float] | None, reward: float | None, tried: int) -> dict[str, Any]:
    return {"abstained": costs is None, "costs": costs or {}, "reward": reward, "tried": tried}


def test_means_over_prompts_and_over_answers() -> None:
    found = answer_numbers([line({"harm": -1.0}, 2.0, 1), line({"harm": -3.0}, 1.0, 2), line(None, None, 6)])
    assert found == pytest.approx(
        {
            "decode/prompts": 3,
            "decode/abstained": 1 / 3,
            "decode/tried": 3,
            "decode/reward": 1.5,
            "decode/harm/cost": -2,
        }
    )
    assert summary(found).endswith("3 prompts, 33.3% without an accepted response, 3.00 candidates each, "
                                   "mean reward 1.500")  # fmt: skip


def test_without_an_answer_or_a_reward_there_is_no_mean_of_them() -> None:
    assert set(answer_numbers([line(None, None, 4)])) == {"decode/prompts", "decode/abstained", "decode/tried"}
    found = answer_numbers([line({}, None, 1)])
    assert "decode/reward" not in found
    assert "reward" not in summary(found)
