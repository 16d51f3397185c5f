"""Which candidate is shown: cost first, then reward; what is no number never wins."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csrlhf.errors import UserError
from csrlhf.generation.candidates import Candidate, accepts, answer, choose, flags_and_rewards
from csrlhf.stats.best_of_n import emitted_candidate


def candidate(sample: int, cost: float, reward: float | None) -> Candidate:
    accepted = accepts("yes", {"harm": cost}, {"harm": 0.0})
    return Candidate(sample, f"answer {sample}", True, {"harm": cost}, reward if accepted else None, accepted)


THREE = [candidate(0, 0.5, 9.0), candidate(1, -2.0, 0.1), candidate(2, 0.0, 0.7)]


def test_a_large_reward_buys_nothing_past_the_threshold() -> None:
    best, first = answer("p", THREE, "best", "no"), answer("p", THREE, "first", "no")
    assert (best.response, best.reward, best.cost, best.tried) == ("answer 2", 0.7, {"harm": 0.0}, 3)
    assert (first.response, first.reward, first.tried) == ("answer 1", 0.1, 2)
    assert [one.sample for one in first.candidates] == [0, 1]
    assert not best.abstained
    assert not first.abstained


def test_the_refusal_where_none_is_accepted() -> None:
    refused = answer("p", THREE[:1], "best", "no")
    assert (refused.response, refused.abstained, refused.tried) == ("no", True, 1)
    assert refused.reward is None
    assert refused.cost == {}
    assert choose([], "first") is None


def test_every_constraint_must_hold_and_the_answer_must_say_something() -> None:
    both = {"harm": 0.0, "privacy": -1.0}
    assert accepts("yes", {"harm": 0.0, "privacy": -1.0}, both)
    assert not accepts("yes", {"harm": -9.0, "privacy": -0.9}, both)
    assert not accepts(" \n", {"harm": -9.0, "privacy": -9.0}, both)
    assert not accepts("yes", {"harm": math.nan, "privacy": -9.0}, both)
    assert not accepts("yes", {"harm": math.inf}, {"harm": 1e30})
    assert accepts("yes", {}, {})


def test_a_reward_that_is_no_number_comes_last_and_ties_go_to_the_earliest() -> None:
    tries = [candidate(0, -1, math.nan), candidate(1, -1, -5.0), candidate(2, -1, -5.0)]
    assert choose(tries, "best") is tries[1]
    assert choose(tries[:1], "best") is tries[0]


def test_certificates_emit_what_is_shown() -> None:
    drawn = [THREE, [candidate(0, 1.0, 5.0)] * 3, [candidate(0, -1, math.nan), candidate(1, -1, -2.0), THREE[0]]]
    accepted, rewards = flags_and_rewards(drawn)
    assert accepted == [[False, True, True], [False] * 3, [True, True, False]]
    for rule in ("first", "best"):
        for n in (1, 2, 3):
            chosen = [choose(tries[:n], rule) for tries in drawn]
            wanted = [-1 if one is None else tries.index(one) for one, tries in zip(chosen, drawn, strict=True)]
            assert emitted_candidate(accepted, n, rule, rewards).tolist() == wanted


def test_an_unknown_rule() -> None:
    with pytest.raises(UserError, match="rule=worst: must be best or first"):
        choose(THREE, "worst")


def test_records_are_json() -> None:
    record = candidate(3, math.nan, 1.0).record()
    assert record == {
        "sample": 3, "response": "answer 3", "ended": True, "accepted": False, "reward": None, "costs": {"harm": None},
    }  # fmt: skip


numbers = st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(st.tuples(numbers, st.one_of(st.none(), numbers)), max_size=8), st.sampled_from(["best", "first"]))
def test_nothing_above_the_threshold_is_ever_shown(scores: list[tuple[float, float | None]], rule: str) -> None:
    tries = [candidate(i, cost, reward) for i, (cost, reward) in enumerate(scores)]
    said = answer("p", tries, rule, "no")
    assert said.abstained == (not any(cost <= 0 for cost, _ in scores))
    if not said.abstained:
        assert said.cost["harm"] <= 0


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=8))
def test_first_keeps_its_answer_as_n_grows_and_best_never_loses_reward(scores: list[tuple[float, float]]) -> None:
    tries = [candidate(i, cost, reward) for i, (cost, reward) in enumerate(scores)]
    shown = [choose(tries[:n], "first") for n in range(1, len(tries) + 1)]
    found = [one for one in shown if one is not None]
    assert all(one is found[0] for one in found)
    assert all(one is None for one in shown[: len(shown) - len(found)])
    rewards = [one.reward for n in range(1, len(tries) + 1) if (one := choose(tries[:n], "best")) and one.reward]
    ranked = [-math.inf if math.isnan(value) else value for value in rewards]
    assert ranked == sorted(ranked)
