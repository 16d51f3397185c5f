"""Two policies on the same prompts: wins, ties, the matrix, and length."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from csrlhf.errors import UserError
from csrlhf.evaluation.policies.arena import arena, fit_line, length_control


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


def test_the_line_by_hand_and_its_error_by_the_long_way() -> None:
    x, y = np.array([0.0, 1.0, 2.0, 3.0, 5.0]), np.array([1.0, 2.5, 2.0, 4.5, 5.0])
    intercept, slope, stderr = fit_line(x, y)
    expected_slope, expected_intercept = np.polyfit(x, y, 1)
    assert (intercept, slope) == pytest.approx((expected_intercept, expected_slope))
    # HC3 is close to the jackknife: e_i / (1 - h_i) is the residual of the line without point i.
    away = []
    for i in range(5):
        kept = np.arange(5) != i
        line = np.polyfit(x[kept], y[kept], 1)
        away.append(y[i] - np.polyval(line, x[i]))
    design = np.column_stack([np.ones(5), x])
    inverse = np.linalg.inv(design.T @ design)
    weights = (inverse @ design.T)[0]
    assert stderr == pytest.approx(math.sqrt(sum((w * e) ** 2 for w, e in zip(weights, away, strict=True))))


def test_lengths_that_cannot_be_told_apart() -> None:
    y = np.array([1.0, 2.0, 3.0])
    assert fit_line(np.zeros(3), y) == pytest.approx((2.0, 0.0, 1 / math.sqrt(3)))
    assert all(math.isnan(value) for value in fit_line(np.ones(3), y))
    assert math.isnan(fit_line(np.array([0.0, 0.0, 1.0]), y)[2])  # one point alone carries the slope
