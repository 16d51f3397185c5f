"""Numbers as text: how a value is shown in a cell, in one place for tables, matrices and dialogues."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

MISSING = "–"
"""What stands where there is no number: None, NaN."""


def show(value: Any, style: str | int | None = None) -> str:
    """A value as text.

    Args:
        value: a number (NumPy's as well), text, a truth value, None, or a list or mapping of these.
        style: for numbers ``percent`` (of a share: 0.012 is "1.2 %") or how many decimals; None: whole numbers as they
            are, others with three significant digits.

    Raises:
        ValueError: the style is another one.
    """
    check_style(style)
    if value is None:
        return MISSING
    if isinstance(value, bool) or type(value).__name__ in ("bool", "bool_"):  # NumPy's, under both its names
        return "yes" if value else "no"
    if isinstance(value, Real):
        return _number(value, style)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {show(item, style)}" for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return ", ".join(show(item, style) for item in value)
    return str(value)


def check_style(style: str | int | None) -> None:
    """Raises a ValueError where the style is not one of those that ``show`` knows."""
    decimals = isinstance(style, int) and not isinstance(style, bool) and 0 <= style <= 6
    if style is not None and style != "percent" and not decimals:
        raise ValueError(f"format {style!r}: must be percent or a number of decimals from 0 to 6")


def is_number(value: Any) -> bool:
    """Whether a value stands to the right in its column."""
    return isinstance(value, Real) and not isinstance(value, bool)


def reads_as_number(words: str) -> bool:
    """Whether words are a number to a reader: with a unit of percent, an interval, a count of a total.

    Example:
        ``31.4 % [23.3, 40.5]``, ``0.00 to 0.02``, ``14 of 2,000``, ``< 1e-10``; not ``2 runs``, ``2026-11-21``.
    """
    rest, numbers = _NUMBER.subn(" ", words)
    return numbers > 0 and re.fullmatch(r"(?:[\s%()\[\]<>≤≥=±,;]|\b(?:to|of)\b)*", rest) is not None


_NUMBER = re.compile(r"(?<![\w.-])[-−+]?(?:∞|\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?(?:e[-+]?\d+)?)(?![\w.-])")


def finite(value: Any) -> float | None:
    """A number for JSON and for shades; None where it is none, NaN or infinite."""
    if not is_number(value) or not math.isfinite(value):
        return None
    return float(value)


def _number(value: Any, style: str | int | None) -> str:
    if math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if style == "percent":
        return _minus(f"{100 * value:.1f} %")
    if isinstance(style, int):
        return _minus(f"{value:.{style}f}")
    if isinstance(value, Integral):
        return _minus(str(int(value)))
    return _minus(_significant(float(value)))


def _significant(value: float) -> str:
    """Three digits, and an exponent only where there is no other way: 0.0123, 12.3, 1234, 1.2e-06."""
    if value == 0 or 1e-4 <= abs(value) < 1:
        return f"{value:.3g}"
    if 1 <= abs(value) < 1e7:
        return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"
    return f"{value:.2g}"


def _minus(text: str) -> str:
    """A true minus sign; "-0.0" has none."""
    if not text.startswith("-"):
        return text
    return text[1:] if not any(digit in text for digit in "123456789") else f"−{text[1:]}"
