"""One output of a cost model on labelled rows: its slices, by hand, and its calibration."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit

from csrlhf.evaluation.cost_model.evaluation import (
    by_category,
    by_length,
    calibration_errors,
    evaluate_output,
    share_of,
    slice_of,
)
from csrlhf.types import LabelledRow


def test_the_stored_temperature_divides_the_heads_logits() -> None:
    # One bin each: P = 0.88 and 0.12 uncalibrated, 0.73 and 0.27 with T = 2; half of either is unsafe.
    own, truth = np.array([2.0, 2.0, -2.0, -2.0]), np.array([True, False, True, False])
    found = calibration_errors(own, 2.0, truth, ["a", "b", "c", "d"])
    assert found["ece_uncalibrated"] == pytest.approx(expit(2.0) - 0.5, abs=1e-6)
    assert found["ece_calibrated"] == pytest.approx(expit(1.0) - 0.5, abs=1e-6)
    assert math.isnan(found["ece_refitted"])  # four prompts make no five folds


def test_a_refitted_temperature_is_judged_on_other_prompts() -> None:
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 2, size=2000)
    truth = rng.random(2000) < expit(logit)
    prompts = [str(row) for row in range(2000)]
    found = calibration_errors(logit * 3.0, 1.0, truth, prompts)
    assert found["temperature_refitted"] == pytest.approx(3.0, rel=0.15)
    assert found["ece_refitted"] < 0.5 * found["ece_uncalibrated"]
    # With few rows the fit helps least on rows that it has not seen; on its own it would always look better.
    few = slice(0, 12)
    assert not math.isnan(calibration_errors(logit[few], 1.0, truth[few], prompts[few])["ece_refitted"])
    # All rows of a prompt lie in one fold: with five copies of each, the copies change no temperature.
    copied = calibration_errors(
        np.repeat(logit[:50], 5), 1.0, np.repeat(truth[:50], 5), list(np.repeat(prompts[:50], 5))
    )
    single = calibration_errors(logit[:50], 1.0, truth[:50], prompts[:50])
    assert copied["ece_refitted"] == pytest.approx(single["ece_refitted"], abs=1e-6)


def test_one_class_has_no_refit() -> None:
    found = calibration_errors(np.arange(10.0), 1.0, np.ones(10, dtype=bool), [str(i) for i in range(10)])
    assert math.isnan(found["temperature_refitted"])
    assert 0 < found["ece_uncalibrated"] < 1


def test_an_output_of_several() -> None:
    rows = [
        LabelledRow(f"p{i}", "word " * (1 + i % 3), (float(i % 2), float(i < 70)), {"category": "x"} if i else {})
        for i in range(140)
    ]
    truth = np.array([row.unsafe[1] for row in rows])
    found = evaluate_output("privacy", truth * 4 - 2, 0.5, rows, 1, 0.05, 0.05)
    assert found.unsafe_N.sum() == 70
    assert found.choice.tau == 0.0
    assert [part.name for part in found.categories] == ["x", "(none)"]
    assert [part.name for part in found.lengths] == ["1 words", "2 words", "3 words"]
    numbers = found.numbers()
    assert numbers["tau_certified"] == 1.0
    assert numbers["tau_missed"] == 0.0
    assert numbers["temperature"] == 0.5
    assert numbers["ece_uncalibrated"] == pytest.approx(1 - expit(1.0), abs=1e-6)  # logits of 2 were divided by 1/2
    assert numbers["ece_calibrated"] == pytest.approx(1 - expit(2.0), abs=1e-6)
    assert found.record()["threshold"]["certified"] is True


LOGIT = np.array([2.0, -1.0, 0.5, -0.5, 1.0, -2.0])
UNSAFE = np.array([True, True, False, False, True, False])
PROMPT = np.array(list("abcdef"))


def test_a_slice_by_hand() -> None:
    part = slice_of("all", LOGIT, UNSAFE, PROMPT)
    assert (part.count, part.correct.hits, part.correct.count) == (6, 4, 6)
    assert (part.recall.hits, part.recall.count) == (2, 3)
    assert (part.false_alarms.hits, part.false_alarms.count) == (1, 3)
    assert part.recall.value == pytest.approx(2 / 3)
    assert part.auroc == pytest.approx(7 / 9)  # 2.0 and 1.0 are above all three, -1.0 above one


def test_shares_have_exact_intervals() -> None:
    none = share_of([False] * 10, "abcdefghij")
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(1 - 0.025 ** (1 / 10))
    assert all(math.isnan(x) for x in (share_of([], "").value, share_of([], "").low, share_of([], "").high))


def test_by_category() -> None:
    parts = by_category(LOGIT, UNSAFE, PROMPT, ["b", "a", "b", None, "a", None])
    assert [(part.name, part.count) for part in parts] == [("a", 2), ("b", 2), ("(none)", 2)]
    assert math.isnan(parts[0].auroc)  # both are unsafe
    assert by_category(LOGIT, UNSAFE, PROMPT, [None] * 6) == []


def test_by_length() -> None:
    parts = by_length(LOGIT, UNSAFE, PROMPT, np.array([1.0, 2, 3, 4, 5, 6]))
    # The quarters' edges are 2, 3 and 4 (the lower of the two neighbours), each with what lies below it.
    assert [part.name for part in parts] == ["1 to 2 words", "3 words", "4 words", "5 to 6 words"]
    assert sum(part.count for part in parts) == 6
    [only] = by_length(LOGIT, UNSAFE, PROMPT, np.full(6, 7.0))
    assert (only.name, only.count) == ("7 words", 6)
