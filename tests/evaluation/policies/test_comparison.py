"""Two policies on the same prompts: wins, ties, the matrix, length, and whether a difference is chance."""

from __future__ import annotations

from dataclasses import replace

import pytest

from csrlhf.errors import UserError
from csrlhf.evaluation.policies.comparison import arena, corrected, length_control, paired_test


def pairs(answer, rewards):
    """Answers of ``a`` and ``b`` to one prompt per pair of rewards."""
    return (
        [answer("a", prompt, reward=pair[0], response="one two") for prompt, pair in enumerate(rewards)],
        [answer("b", prompt, reward=pair[1], response="three") for prompt, pair in enumerate(rewards)],
    )


def test_wins_ties_and_the_matrix_by_hand(answer) -> None:
    a, b = pairs(answer, [(2.0, 1.0), (2.0, 1.0), (0.0, 0.05), (0.0, 1.0)])
    unsafe = {one.id: one.id == "a/test-0/0" for one in a + b}
    found = arena(a, b, unsafe, 0.95, tie=0.1)
    assert (found.challenger, found.baseline) == ("a", "b")
    assert found.win_rate.value == pytest.approx(2.5 / 4)
    assert found.tie_rate == 0.25
    assert found.reward_difference.value == pytest.approx((1 + 1 - 0.05 - 1) / 4)
    expected = dict.fromkeys(found.matrix, 0.25) | {("unsafe", "tie"): 0.0, ("unsafe", "worse"): 0.0}
    assert found.matrix == expected
    assert sum(found.matrix.values()) == 1.0


def test_the_same_words_are_a_tie_whatever_rounding_did(answer) -> None:
    a, b = pairs(answer, [(1.0, 1.0 + 1e-6), (1.0, 0.0)])
    b[0] = replace(b[0], response=a[0].response)
    assert arena(a, b, {}, 0.95).tie_rate == 0.5
    assert arena(a, b, {}, 0.95).matrix == {}  # nobody was judged


def test_changing_sides_mirrors_the_result(answer) -> None:
    a, b = pairs(answer, [(2.0, 1.0), (1.0, 1.0), (0.0, 3.0), (0.5, 0.2)])
    one, other = arena(a, b, {}, 0.95), arena(b, a, {}, 0.95)
    assert one.win_rate.value == pytest.approx(1 - other.win_rate.value)
    assert one.win_rate.low == pytest.approx(1 - other.win_rate.high)
    assert one.reward_difference.value == pytest.approx(-other.reward_difference.value)


def test_the_order_of_answers_does_not_matter(answer) -> None:
    a, b = pairs(answer, [(2.0, 1.1), (1.0, 1.3), (0.1, 3.0), (0.5, 0.2), (0.7, 0.6)])
    assert arena(a[::-1], b[2:] + b[:2], {}, 0.95) == arena(a, b, {}, 0.95)
    assert length_control(a[::-1], b[2:] + b[:2], 0.95) == length_control(a, b, 0.95)


def test_prompts_must_be_shared(answer) -> None:
    with pytest.raises(UserError, match="policies a and b share no prompt_id"):
        arena([answer("a", 1)], [answer("b", 2)], {}, 0.95)


def test_a_reward_for_words_alone_is_taken_out(answer) -> None:
    """``a`` gets half a point a word and nothing else: at equal length there is no difference."""
    a = [answer("a", p, reward=0.5 * (p + 3), response="w " * (p + 3)) for p in range(8)]
    b = [answer("b", p, reward=0.5 * 2, response="w w") for p in range(8)]
    found = length_control(a, b, 0.95)
    assert found is not None
    assert found.slope == pytest.approx(0.5)
    assert found.intercept.value == pytest.approx(0.0, abs=1e-9)
    assert found.length_difference == pytest.approx(4.5)
    assert length_control(a[:4], b[:4], 0.95) is None  # too few prompts


def test_a_test_by_hand(answer) -> None:
    a = [answer("a", prompt) for prompt in range(6)]
    b = [answer("b", prompt) for prompt in range(6)]
    bad = {"a/test-0/0", "b/test-0/0", "b/test-1/0", "b/test-2/0", "b/test-3/0"}
    unsafe = {one.id: one.id in bad for one in a + b if one.prompt_id != "test-5"}
    found = paired_test(a, b, unsafe, "category/harmful")
    assert found is not None
    assert (found.only_challenger, found.only_baseline, found.num_prompts) == (0, 3, 5)
    assert found.difference == pytest.approx(-3 / 5)
    assert found.p_value == pytest.approx(0.25)
    mirrored = paired_test(b, a, unsafe, "category/harmful")
    assert mirrored is not None
    assert (mirrored.only_challenger, mirrored.p_value, mirrored.difference) == (3, found.p_value, 3 / 5)
    assert paired_test(a, b, {}, "x") is None


def test_answers_to_one_prompt_are_one_toss(answer) -> None:
    a = [answer("a", prompt, sample) for prompt in range(2) for sample in range(5)]
    b = [answer("b", prompt, sample) for prompt in range(2) for sample in range(5)]
    unsafe = {one.id: one.policy == "b" for one in a + b}  # ten pairs differ, in two prompts
    found = paired_test(a, b, unsafe, "x")
    assert found is not None
    assert (found.only_baseline, found.num_prompts, found.p_value) == (2, 2, 0.5)


def test_all_tests_are_corrected_together(answer) -> None:
    a, b = [answer("a", prompt) for prompt in range(6)], [answer("b", prompt) for prompt in range(6)]
    unsafe = {one.id: one.policy == "b" for one in a + b}
    test = paired_test(a, b, unsafe, "x")
    assert test is not None
    assert [one.adjusted for one in corrected([test, test, test])] == pytest.approx([3 * 2 / 64] * 3)
