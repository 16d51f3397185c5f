"""The numbers of a file of answers, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from csrlhf.generation.records import answer_numbers, summary


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
