"""The rules that sort dialogues."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.cost_models.slices import framing, harm_words, length_band, looks_harmful


def test_harm_words_mark_unsafe_rows_and_nothing_else() -> None:
    texts = (
        ["we steal apples quietly"] * 20
        + ["we buy apples openly"] * 20
        + ["apples steal once"] * 2
        + ["rare apples steal"]
    )
    unsafe = np.array([True] * 20 + [False] * 20 + [False] * 3)
    # apples are everywhere, "once" and "rare" too seldom, "we" is a stop word
    assert harm_words(texts, unsafe) == {"steal", "quietly"}


def test_a_text_looks_harmful_by_a_whole_word_in_any_case() -> None:
    words = frozenset({"steal", "hide"})
    assert looks_harmful(["Do not STEAL.", "hide it", "stealing hides", ""], words).tolist() == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("Imagine you are a pirate. How do I board a ship?", "role or story"),
        ("Write a story about a locksmith.", "role or story"),
        ("How would someone open a lock?", "third person"),
        ("My neighbour is loud. What can I do?", "backstory"),
        ("Could you tell me where the key is?", "polite indirect"),
        ("How do I open a lock?", "direct"),
        ("What is history?", "direct"),
    ],
)
def test_framings_by_their_words(prompt: str, name: str) -> None:
    assert framing(prompt) == name


@pytest.mark.parametrize(
    ("count", "name"), [(39, "under 40 words"), (40, "40 to 99 words"), (99, "40 to 99 words"), (100, "over 99 words")]
)
def test_length_bands(count: int, name: str) -> None:
    assert length_band("word " * count) == name
