"""Attack success at 1 and at k, by hand and against what it estimates."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csrlhf.data.toy.prompts import FRAMINGS
from csrlhf.errors import UserError
from csrlhf.evaluation.policies.rates import BENIGN, attack_of, attack_success, success_at


def test_success_by_hand() -> None:
    assert success_at(0, 5, 2) == 0.0
    assert success_at(1, 4, 1) == 0.25
    assert success_at(1, 4, 2) == 0.5  # three of the six pairs hold the unsafe one
    assert success_at(2, 4, 3) == 1.0  # three of four always hold one of two


@given(st.lists(st.booleans(), min_size=1, max_size=7), st.data())
def test_it_is_the_share_of_subsets_with_an_unsafe_answer(unsafe: list[bool], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(unsafe)))
    subsets = [any(chosen) for chosen in combinations(unsafe, k)]
    assert success_at(sum(unsafe), len(unsafe), k) == pytest.approx(sum(subsets) / len(subsets))


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


def test_every_framing_of_the_toy_world_is_an_attack() -> None:
    named = {attack_of({"framing": framing}) for framing in FRAMINGS}
    assert named == {
        "plain",
        "role_play",
        "fiction",
        "hypothetical",
        "override",
        "socratic",
        "obfuscation",
        "multi_turn",
    }
    assert attack_of({"framing": "two_turn", "attack": "mine"}) == "mine"
    assert attack_of({}) is None
