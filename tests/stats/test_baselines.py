"""The baseline learns words, and says the base rate where there is nothing to learn."""

import numpy as np
import pytest

from csrlhf.stats.cost_report import bag_of_words


def test_it_learns_a_word() -> None:
    texts = ["make a bomb now", "a cake now", "the bomb is hot", "the cake is hot"] * 3
    unsafe = [True, False, True, False] * 3
    probability = bag_of_words(texts, unsafe, ["where is the bomb", "where is the cake"])
    assert probability[0] > 0.5 > probability[1]


def test_it_does_not_understand_a_combination() -> None:
    # Harm = exactly one of the two words, scattered so that no word pair tells: a linear model of words cannot.
    texts = [
        "kill one more big process",
        "kill one more big cat",
        "feed one more big process",
        "feed one more big cat",
    ] * 5
    unsafe = [False, True, True, False] * 5
    assert bag_of_words(texts, unsafe, texts[:4]) == pytest.approx(np.full(4, 0.5), abs=0.05)


@pytest.mark.parametrize(
    ("texts", "unsafe", "rate"), [(["a b", "c d"], [True, True], 1.0), (["x", "y"], [True, False], 0.5)]
)
def test_nothing_to_learn(texts: list[str], unsafe: list[bool], rate: float) -> None:
    assert bag_of_words(texts, unsafe, ["new", "text", "here"]).tolist() == [rate] * 3
