"""McNemar and Holm, against numbers worked out by hand and against other implementations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats import contingency_tables, multitest

from csrlhf.evaluation.policies.paired_tests import corrected, holm, mcnemar, paired_test


def test_mcnemar_by_hand() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(0, 5) == pytest.approx(2 / 32)
    assert mcnemar(1, 5) == pytest.approx(2 * (1 + 6) / 64)
    assert mcnemar(3, 3) == 1.0


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_that_of_statsmodels(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(multitest.multipletests(p_values, method="holm")[1])


@given(st.integers(0, 30), st.integers(0, 30))
def test_mcnemar_is_that_of_statsmodels(b: int, c: int) -> None:
    if b + c:
        assert mcnemar(b, c) == pytest.approx(contingency_tables.mcnemar([[3, b], [c, 4]], exact=True).pvalue)


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
