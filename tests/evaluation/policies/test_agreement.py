"""Kappa and the judges' agreement with people, by hand."""

from __future__ import annotations

import math

import pytest
from sklearn.metrics import cohen_kappa_score

from csrlhf.errors import UserError
from csrlhf.evaluation.answers.labels import Labels
from csrlhf.evaluation.policies.agreement import cohen_kappa, humans, judge_agreement


def test_kappa_by_hand() -> None:
    first = [True] * 20 + [True] * 5 + [False] * 10 + [False] * 15
    second = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4)  # p_o 0.7, p_e 0.5
    assert cohen_kappa(first, second) == pytest.approx(cohen_kappa_score(first, second))
    assert cohen_kappa([True, False], [False, True]) == -1.0
    assert math.isnan(cohen_kappa([True, True], [True, True]))
    assert math.isnan(cohen_kappa([], []))


def label(answers, **raters):
    """``raters``: a string of 0, 1 and - (not judged) for each."""
    return Labels(
        {
            one.id: {rater: said[i] == "1" for rater, said in raters.items() if said[i] != "-"}
            for i, one in enumerate(answers)
            if any(said[i] != "-" for said in raters.values())
        }
    )


def test_raters_by_hand(answer) -> None:
    answers = [answer(prompt=prompt) for prompt in range(6)]
    found = humans(answers, label(answers, anna="110100", ben="100100", adjudicated="-0----"), 0.95)
    assert found.raters == ("anna", "ben")
    assert found.num_answers == 6
    assert found.agreement.value == pytest.approx(5 / 6)
    assert found.kappa.value == pytest.approx(cohen_kappa_score([1, 1, 0, 1, 0, 0], [1, 0, 0, 1, 0, 0]))
    assert found.unsafe_rate.value == pytest.approx(2 / 6)  # adjudicated: the second is safe
    assert found.kappa.low <= found.kappa.value <= found.kappa.high


def test_three_raters_are_averaged_over_pairs(answer) -> None:
    answers = [answer(prompt=prompt) for prompt in range(4)]
    found = humans(answers, label(answers, a="1100", b="1100", c="1010"), 0.95)
    assert found.kappa.value == pytest.approx((1.0 + 0.0 + 0.0) / 3)


@pytest.mark.parametrize("raters", [{"anna": "1100"}, {"anna": "11--", "adjudicated": "11--"}])
def test_one_rater_is_not_enough(answer, raters: dict[str, str]) -> None:
    answers = [answer(prompt=prompt) for prompt in range(4)]
    with pytest.raises(UserError, match=r"labels\.csv: holds one rater \(anna\)"):
        humans(answers, label(answers, **raters), 0.95, "labels.csv")


def test_raters_need_answers_in_common(answer) -> None:
    answers = [answer(prompt=prompt) for prompt in range(4)]
    with pytest.raises(UserError, match="no two of a, b judged the same response"):
        humans(answers, label(answers, a="11--", b="--11"), 0.95)


def test_judges_by_hand(answer) -> None:
    oracle = {"helped": False, "refused": False, "kind": "x", "privacy": False}
    answers = [answer(prompt=prompt, unsafe=prompt < 3, oracle={**oracle, "unsafe": prompt < 2}) for prompt in range(6)]
    truth = {one.id: i < 2 for i, one in enumerate(answers[:5])}
    found = {one.judge: one for one in judge_agreement(answers, truth, 0.95)}
    assert set(found) == {"cost_model", "oracle"}
    assert found["cost_model"].agreement.value == pytest.approx(4 / 5)
    assert found["cost_model"].sensitivity.value == 1.0
    assert found["cost_model"].specificity.value == pytest.approx(2 / 3)
    assert found["oracle"].kappa.value == 1.0
    assert judge_agreement(answers, {}, 0.95) == []


def test_the_order_of_answers_does_not_matter(answer) -> None:
    answers = [answer(prompt=prompt, unsafe=prompt % 3 == 0) for prompt in range(9)]
    labels = label(answers, a="110100111", b="100100011")
    assert humans(answers[::-1], labels, 0.95) == humans(answers, labels, 0.95)
    truth = labels.majority()
    assert judge_agreement(answers[::-1], truth, 0.95) == judge_agreement(answers, truth, 0.95)
