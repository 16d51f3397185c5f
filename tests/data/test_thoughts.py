"""Responses as their thought and what a user sees, by hand."""

from __future__ import annotations

import pytest

from csrlhf.data.thoughts import split_thought


@pytest.mark.parametrize(
    ("text", "opened", "drawn", "expected"),
    [
        ("Yes.", False, True, (None, "Yes.")),
        ("Yes.", True, False, (None, "Yes.")),  # out of a file: an answer
        ("Yes.", True, True, ("Yes.", "")),  # drawn: a thought that was cut off
        ("<think>a</think>b", False, False, ("a", "b")),
        ("\n<think>\n a\n</think>\n\n b ", False, True, ("a", "b ")),
        ("a</think>b", True, False, ("a", "b")),
        ("a</think>b", False, True, (None, "a</think>b")),
        ("<think>a", False, True, ("a", "")),
        ("<think></think>b</think>c", False, True, ("", "b</think>c")),
        ("b <think>a</think>", False, True, (None, "b <think>a</think>")),
        ("", True, True, ("", "")),
    ],
)
def test_by_hand(text: str, opened: bool, drawn: bool, expected: tuple[str | None, str]) -> None:
    assert split_thought(text, opened, drawn) == expected
