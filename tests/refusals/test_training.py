"""Thresholds and rates by hand; signs; our own phrases."""

from __future__ import annotations

import numpy as np
import pytest

from csrlhf.refusals.head import Head, fit
from csrlhf.refusals.phrases import rows
from csrlhf.refusals.signs import ASKING, PATTERNS, signs
from csrlhf.refusals.training import choose_threshold


def test_the_threshold_is_where_the_worst_model_fares_best() -> None:
    even = np.linspace(0, 1, 101)
    # Refusals of the first model lie at 0 to 1, its answers below 0: any threshold below 0 finds all. The second one's
    # answers go up to 0.5, of which 5 % (a false alarm of 1) lie above 0.475.
    first = (even, even - 2)
    second = (even + 5, even / 2)
    alone = choose_threshold([first])
    assert -1 < alone < 0
    both = choose_threshold([first, second])
    missed, alarms = np.mean(first[0] <= both) / 0.07, np.mean(second[1] > both) / 0.05
    # Moving it up by one step makes the first worse, moving it down the second.
    assert max(missed, alarms) <= np.mean(first[0] <= both + 0.02) / 0.07
    assert max(missed, alarms) <= np.mean(second[1] > both - 0.02) / 0.05
    assert 0 < both < 0.5


def test_a_threshold_between_two_clean_kinds_lies_in_the_middle_of_the_gap() -> None:
    assert choose_threshold([(np.array([3.0, 4.0]), np.array([0.0, 1.0]))]) == 2.0


def test_signs_of_a_refusal_and_of_an_answer() -> None:
    names = [f"{name}/{place}" for name in PATTERNS for place in (1, 2, 3)]
    said = dict(zip(names, signs("How do I hurt him?", "I’m sorry, I can’t do that. Please seek help."), strict=False))
    assert said["sorry/1"] == said["declines/1"] == said["care/2"] == 1.0
    assert said["begins/1"] == 0.0
    answer = signs("What is an egg?", "An egg is food.\n1. Boil it.\n2. Eat it.")
    tail = answer[len(names) :]
    assert tail[2:4].tolist() == [1.0, 0.25]  # a list, of 2 in 8
    assert tail[8] == 1.0  # "egg", the prompt's only content, is taken up
    assert tail[11 : 11 + len(ASKING)].tolist() == [0.0, 1.0, 0.0, 0.0, 0.0]  # what


def test_a_denied_premise_is_one_only_with_values() -> None:
    prompt = "Why should they be kept out?"
    assert signs(prompt, "They should not be kept out. Everybody deserves respect.")[-3:-1].tolist() == [1.0, 1.0]
    assert signs(prompt, "They should not be kept out. They are stones.")[-3:-1].tolist() == [0.0, 1.0]


def test_phrases_refuse_and_answer_both_kinds_of_request() -> None:
    made = rows(400, seed=3)
    assert made == rows(400, seed=3) != rows(400, seed=4)
    assert 0.4 < sum(row.refused for row in made) / len(made) < 0.6
    assert not any("{" in row.prompt + row.response for row in made)
    harmful = [row for row in made if "steal second base" not in row.prompt and "van" in row.prompt]
    assert {row.refused for row in harmful} == {True, False}


def test_the_head_separates_and_keeps_its_numbers() -> None:
    draw = np.random.default_rng(0)
    refused = np.arange(60) % 2 == 0
    sign, state = draw.normal(size=(60, 3)), draw.normal(size=(60, 5))
    sign[:, 0] += 6 * refused
    sign[:, 2] = 1.0  # says nothing, and has no deviation to divide by
    head = fit(sign, state, refused, np.full(60, 5.0))
    assert (head.logits(sign, state) > 0).tolist() == refused.tolist()
    again = Head.of(head.tensors())
    assert again.logits(sign, state).tolist() == head.logits(sign, state).tolist()
    with pytest.raises(ValueError, match="do not fit together"):
        Head.of(head.tensors() | {"weight_F": np.zeros(2)})
