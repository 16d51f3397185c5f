"""The unit is the prompt: intervals and bounds of several responses to each, where prompts differ in their rates.

The world is that of the audit: prompt rates Beta(0.1, 1.9), a mean of 5 %, four responses to each prompt.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from csrlhf.stats.bounds import clopper_pearson_interval, clopper_pearson_upper, mean_upper, student_quantile
from csrlhf.stats.classification import reliability_bins
from csrlhf.stats.drift import one_of_each, stability_drift
from csrlhf.stats.intervals import independent_rows, mean_interval, mean_over_prompts, rate, rate_upper, share

RATE, EACH = 0.05, 4
Draw = Callable[[int], NDArray[np.float64]]


def draws(seed: int, prompts: int, repeats: int) -> list[NDArray[np.float64]]:
    """``repeats`` tables of 0 and 1 ``[prompts, 4]``."""
    rng = np.random.default_rng(seed)
    return [(rng.random((prompts, EACH)) < rng.beta(0.1, 1.9, (prompts, 1))).astype(float) for _ in range(repeats)]


@pytest.mark.parametrize("prompts", [100, 300])
def test_intervals_and_bounds_hold_as_often_as_they_say(prompts: int) -> None:
    tables = draws(prompts, prompts, 600)
    held: dict[str, list[bool]] = {"rate": [], "share": [], "rate_upper": [], "answers": [], "answers_upper": []}
    names = [prompt for prompt in range(prompts) for _ in range(EACH)]
    for table in tables:
        for name, found in (("rate", rate(table, 0.9)), ("share", share(table.ravel() > 0, names, 0.9))):
            held[name].append(found.low <= RATE <= found.high)
        held["rate_upper"].append(rate_upper(table.tolist(), 0.9) >= RATE)
        # What counts responses, as if they were independent: the negative controls.
        hits = int(table.sum())
        low, high = clopper_pearson_interval(hits, table.size, 0.9)
        held["answers"].append(low <= RATE <= high)
        held["answers_upper"].append(clopper_pearson_upper(hits, table.size, 0.9) >= RATE)
    covered = {name: float(np.mean(each)) for name, each in held.items()}
    assert min(covered[name] for name in ("rate", "share", "rate_upper")) >= 0.88
    assert covered["answers"] < 0.84
    assert covered["answers_upper"] < 0.87


def test_a_margin_over_responses_covered_in_three_quarters() -> None:
    """The audit's reproduction: Student's bound at nominal 90 % from responses, and from prompts' means."""
    responses, prompts = [], []
    for table in draws(1, 64, 2000):
        n = table.size
        reach = student_quantile(0.9, n - 1) * table.std(ddof=1) / np.sqrt(n)
        responses.append(table.mean() + reach >= RATE)
        means = table.mean(axis=1)
        prompts.append(
            mean_upper(means.mean(), means.std(ddof=1) / np.sqrt(len(means)), len(means), 0.9, False) >= RATE
        )
    assert np.mean(responses) == pytest.approx(0.74, abs=0.03)
    assert np.mean(prompts) > np.mean(responses) + 0.07  # Student's is never quite right for rare harm


def test_means_have_students_interval_over_prompts() -> None:
    held = []
    for table in draws(2, 300, 600):
        found = mean_interval((table * 3.0).tolist(), 0.9)
        held.append(found.low <= 3 * RATE <= found.high)
    assert np.mean(held) >= 0.86


def test_one_response_each_is_exact() -> None:
    assert rate_upper([[1.0], [0.0], [0.0]], 0.95) == clopper_pearson_upper(1, 3, 0.95)
    found = share([True, False, False], "abc", 0.9)
    assert (found.low, found.high) == pytest.approx(clopper_pearson_interval(1, 3, 0.9))
    assert rate_upper([], 0.9) == 1.0


def test_responses_that_always_agree_count_once() -> None:
    assert rate_upper([[1.0] * 4, *[[0.0] * 4] * 9], 0.95) == pytest.approx(clopper_pearson_upper(1, 10, 0.95))
    found = share([True] * 4 + [False] * 36, [row // 4 for row in range(40)], 0.9)
    assert (found.value, found.low, found.high) == pytest.approx((0.1, *clopper_pearson_interval(1, 10, 0.9)))
    assert independent_rows([[1.0] * 10, *[[0.0]] * 10], 0.9) == pytest.approx(400 / 110)  # Kish: one has half of all


def test_a_bound_below_one_half_is_one_too() -> None:
    table = draws(3, 100, 1)[0].tolist()
    bounds = [rate_upper(table, confidence) for confidence in (0.1, 0.5, 0.75, 0.9, 0.99)]
    assert bounds == sorted(bounds)


def test_a_prompt_with_more_responses_counts_no_more() -> None:
    assert mean_over_prompts([1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"]) == 0.5
    assert np.isnan(mean_over_prompts([], []))


def test_bins_of_a_calibration_count_prompts() -> None:
    """Of 40 rows in one bin, four to a prompt and all alike: ten prompts, and Wilson's interval of 2 in 10."""
    probability, unsafe = np.full(40, 0.25), np.repeat([True] * 2 + [False] * 8, 4)
    [rows] = reliability_bins(probability, unsafe)
    [prompts] = reliability_bins(probability, unsafe, [row // 4 for row in range(40)])
    assert (rows.count, prompts.count, rows.unsafe, prompts.unsafe) == (40, 40, 0.2, 0.2)
    assert (prompts.unsafe_low, prompts.unsafe_high) == pytest.approx((0.0567, 0.5098), abs=1e-4)  # Wilson's of 2 in 10
    assert (rows.unsafe_low, rows.unsafe_high) == pytest.approx((0.1050, 0.3476), abs=1e-4)  # and of 8 in 40


def test_drift_sees_each_prompt_once() -> None:
    prompts, responses = ["a", "b", "a", "c", "b"], ["1", "2", "3", "4", "5"]
    chosen = one_of_each(prompts, responses)
    assert len(chosen) == 3
    assert {prompts[row] for row in chosen} == {"a", "b", "c"}
    turned = one_of_each(prompts[::-1], responses[::-1])
    assert {responses[::-1][row] for row in turned} == {responses[row] for row in chosen}  # wherever they stand


def test_prompts_that_are_counted_four_times_raise_false_alarms() -> None:
    """The words of 60 prompts like those of the reference, each counted once and, as before, once a response."""
    rng = np.random.default_rng(0)
    alarms = {"prompts": 0, "responses": 0}
    for _ in range(200):
        reference, new = rng.normal(size=1000), rng.normal(size=60)
        alarms["prompts"] += stability_drift("prompt_words", reference, new).drifted
        alarms["responses"] += stability_drift("prompt_words", reference, np.repeat(new, EACH)).drifted
    assert alarms["prompts"] <= 6
    assert alarms["responses"] >= 15
