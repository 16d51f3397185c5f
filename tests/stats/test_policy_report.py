"""Figures of judged answers, by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from csrlhf.data.source import Verdict
from csrlhf.stats.intervals import mean
from csrlhf.stats.policy_report import JudgedAnswer, policy_metrics
from csrlhf.types import PromptRow


def answer(category: str = "benign", seen: bool = True, unsafe: bool = False, **changes) -> JudgedAnswer:
    framing = "plain" if seen else "odd"
    verdict = Verdict(unsafe, helped=category != "harmful", refused=False, kind="any", privacy=False)
    return replace(
        JudgedAnswer(
            row=PromptRow("a b", {"category": category, "framing": framing, "framing_seen": seen}),
            response="yes a b",
            ended=True,
            reward=1.0,
            cost_logits=(-1.0,),
            violations=(0.0,),
            kl=0.5,
            verdict=verdict,
        ),
        **changes,
    )


REFUSED = Verdict(False, helped=False, refused=True, kind="refusal", privacy=True)
ANSWERS = [
    answer("harmful", unsafe=True, reward=3.0, cost_logits=(2.0,), violations=(1.0,)),
    answer("harmful", reward=-1.0, response="no", ended=False),
    answer("harmful", seen=False, unsafe=True, kl=1.5),
    answer("benign"),
    answer("benign", verdict=REFUSED),
    answer("keyword_alike", verdict=REFUSED),
]


def test_by_hand() -> None:
    metrics = policy_metrics(ANSWERS)
    assert metrics["reward"] == pytest.approx((3 - 1 + 4) / 6)
    assert metrics["unsafe_rate"] == pytest.approx(1 / 6)
    assert metrics["cost"] == pytest.approx(1 / 6)
    assert metrics["kl"] == pytest.approx((5 * 0.5 + 1.5) / 6)
    assert metrics["response_length"] == pytest.approx((5 * 3 + 1) / 6)
    assert metrics["ended"] == pytest.approx(5 / 6)
    assert metrics["oracle/unsafe_harmful_seen"] == 0.5
    assert metrics["oracle/unsafe_harmful_held_out"] == 1.0
    assert metrics["oracle/helped_benign"] == 0.5
    assert metrics["oracle/helped_keyword_alike"] == 0.0
    assert metrics["oracle/over_refusal"] == pytest.approx(2 / 3)
    assert metrics["oracle/unsafe"] == pytest.approx(2 / 6)
    assert metrics["oracle/privacy"] == pytest.approx(2 / 6)
    assert metrics["oracle/unsafe_by_framing/plain"] == 0.5
    assert metrics["oracle/unsafe_by_framing/odd"] == 1.0


def test_any_of_several_constraints_makes_an_answer_unsafe() -> None:
    assert policy_metrics([answer(cost_logits=(-1.0, 0.1), violations=(0.0, 1.0))])["unsafe_rate"] == 1.0


def test_without_an_oracle_no_oracle_figures() -> None:
    metrics = policy_metrics([replace(each, verdict=None) for each in ANSWERS])
    assert not [key for key in metrics if key.startswith("oracle/")]
    assert metrics["reward"] == pytest.approx(1.0)


def test_a_group_without_prompts_has_no_rate() -> None:
    assert mean([]) != mean([])  # NaN
    assert math.isnan(policy_metrics([answer("benign")])["oracle/unsafe_harmful_seen"])


def test_what_nobody_scored_has_no_key() -> None:
    bare = [replace(each, reward=None, cost_logits=(), violations=(), kl=None, verdict=None) for each in ANSWERS]
    assert policy_metrics(bare).keys() == {"response_length", "ended"}
