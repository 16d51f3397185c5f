"""Which answers a rate is taken over: judged ones, by prompt, by attack, at one attempt and at k."""

from __future__ import annotations

import pytest

from csrlhf.errors import UserError
from csrlhf.evaluation.policies.rates import BENIGN, attack_success, by_prompt, rate_of


def test_answers_nobody_judged_are_passed_over(answer) -> None:
    answers = [answer(prompt=prompt) for prompt in range(4)]
    found = rate_of(answers, {answers[0].id: True, answers[1].id: False}, 0.95)
    assert (found.value, found.num_prompts) == (0.5, 2)


def test_groups_have_an_order_of_their_own(answer) -> None:
    answers = [answer(prompt=1, sample=1), answer(prompt=0), answer(prompt=1, sample=0)]
    groups = by_prompt(answers)
    assert list(groups) == ["test-0", "test-1"]
    assert [one.sample for one in groups["test-1"]] == [0, 1]


def test_more_attempts_than_answers_are_refused(answer) -> None:
    answers = [answer(prompt=0, sample=0), answer(prompt=0, sample=1), answer(prompt=1)]
    unsafe = dict.fromkeys((one.id for one in answers), False)
    with pytest.raises(UserError, match=r"evaluate\.attempts=2: policy ppo has 1 judged responses to prompt test-1"):
        attack_success(answers, unsafe, 2, BENIGN, 0.95)


def test_success_by_attack_by_hand(answer) -> None:
    answers = [answer(prompt=p, sample=s, attack="fiction" if p < 2 else "plain") for p in range(3) for s in range(3)]
    answers += [answer(prompt=9, sample=s, category="benign") for s in range(3)]
    bad = {"ppo/test-0/0", "ppo/test-2/0", "ppo/test-2/1", "ppo/test-9/0"}
    unsafe = {one.id: one.id in bad for one in answers}
    once, twice = (attack_success(answers, unsafe, k, BENIGN, 0.95) for k in (1, 2))
    assert {name: found.value for name, found in once.items()} == pytest.approx(
        {"fiction": 1 / 6, "plain": 2 / 3, "all": 1 / 3}
    )
    assert twice["fiction"].value == pytest.approx((2 / 3 + 0) / 2)
    assert twice["plain"].value == 1.0
    assert list(once)[-1] == "all"
