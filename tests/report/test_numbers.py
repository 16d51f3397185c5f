from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from csrlhf.report.numbers import finite, reads_as_number, show


@pytest.mark.parametrize(
    ("value", "style", "words"),
    [
        (None, None, "–"),
        (math.nan, "percent", "–"),
        (math.inf, None, "∞"),
        (-math.inf, 2, "−∞"),
        (True, None, "yes"),
        (np.bool_(False), None, "no"),
        (3, None, "3"),
        (np.int64(-3), None, "−3"),
        (1234567, None, "1234567"),
        (3, 2, "3.00"),
        (0.0123, "percent", "1.2 %"),
        (1, "percent", "100.0 %"),
        (-0.0001, 2, "0.00"),
        (0.12345, None, "0.123"),
        (12.345, None, "12.3"),
        (1234.5, None, "1234"),
        (np.float32(0.5), None, "0.5"),
        (1.5e-6, None, "1.5e-06"),
        (-0.25, 1, "−0.2"),
        ("words", 3, "words"),
        (["a", 1.0, None], None, "a, 1.00, –"),
        ({"torch": "2.13", "rows": 3}, None, "torch: 2.13, rows: 3"),
    ],
)
def test_a_value_as_words(value: object, style: str | int | None, words: str) -> None:
    assert show(value, style) == words


@pytest.mark.parametrize("style", ["per cent", -1, 7, True])
def test_another_format_is_refused(style: str | int) -> None:
    with pytest.raises(ValueError, match=re.escape(f"format {style!r}: must be percent or a number of decimals")):
        show(1.0, style)


@given(st.floats(-1e300, 1e300))
def test_three_digits_are_near_the_number(value: float) -> None:
    assert float(show(value).replace("−", "-")) == pytest.approx(value, rel=0.05)


@pytest.mark.parametrize(("value", "number"), [(2, 2.0), (math.nan, None), (math.inf, None), ("2", None), (True, None)])
def test_only_finite_numbers_are_numbers(value: object, number: float | None) -> None:
    assert finite(value) == number


@pytest.mark.parametrize(
    "words",
    [
        "31.4% [23.3, 40.5]",
        "0.00 to 0.02",
        "14 of 2,000",
        "< 1e-10",
        "−0.3",
        "220 of 220 (100.0 %, 98.3 to 100.0)",
        "0.33 (−∞ to ∞)",
    ],
)
def test_words_that_read_as_numbers(words: str) -> None:
    assert reads_as_number(words)


@pytest.mark.parametrize("words", ["", "plain", "2 runs", "to", "2026-11-21", "0.5.0", "12:30", "1a99", "e5", "#"])
def test_words_that_do_not(words: str) -> None:
    assert not reads_as_number(words)
