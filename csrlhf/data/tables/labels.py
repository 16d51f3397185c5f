"""What a column of labels says: the words for unsafe and for safe, whoever wrote the file (``data.labels``)."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

from csrlhf.errors import UserError

UNSAFE, SAFE, SKIP = "unsafe", "safe", "skip"
KNOWN: Mapping[str, str] = {
    "unsafe": UNSAFE,
    "harmful": UNSAFE,
    "safe": SAFE,
    "unharmful": SAFE,
    "harmless": SAFE,
}
"""Words that mean one thing only. Numbers and truth values do not: 1 may be safe or unsafe."""


class LabelWords:
    """The meaning of a label's values.

    Args:
        given: ``data.labels``: lists of values for ``unsafe``, for ``safe``, and for rows to leave out (``skip``); None
            for Safe and Unsafe alone. Values are compared as words in lower case, so that 1 is ``"1"``, and true
            ``"TRUE"``.

    Raises:
        UserError: it is no such mapping, or a value stands twice.

    Example:
        ``LabelWords({"unsafe": [1], "safe": [0]}).meaning("0")`` is ``"safe"``.
    """

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        self.meanings = dict(KNOWN)
        if given is None:
            return
        if not isinstance(given, Mapping) or not given or not set(given) <= {UNSAFE, SAFE, SKIP}:
            raise UserError(
                f"data.labels={given}: must be lists of values, {{unsafe: [...], safe: [...]}}; skip: [...]"
            )
        own: dict[str, str] = {}
        for meaning, values in given.items():
            listed = [values] if isinstance(values, str) or not isinstance(values, Sequence) else values
            for value in map(word, listed):
                if value in own:
                    raise UserError(f"data.labels: {value} stands in {own[value]} and in {meaning}: keep one of them")
                own[value] = meaning
        self.meanings |= own

    def meaning(self, value: Any) -> str | None:
        """``unsafe``, ``safe``, ``skip``, or None for a value that nobody has explained."""
        return self.meanings.get(word(value)) if isinstance(value, str | int | float) else None

    def complaint(self, value: Any) -> str:
        """What is said of such a value."""
        return (
            f"is {reprlib.repr(value)}: it must be Safe or Unsafe; say what other values mean with "
            "data.labels={unsafe: [...], safe: [...]}"
        )


def word(value: Any) -> str:
    """A value as a word: ``True`` and ``"true"`` are one, ``1``, ``1.0`` and ``"1"`` another."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, int | float) else str(value).strip().lower()
