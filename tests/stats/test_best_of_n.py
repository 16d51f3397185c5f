"""Best-of-N by hand: who refuses, who is emitted, and whom a plug-in overlooks."""

from __future__ import annotations

import numpy as np
import pytest

from csrlhf.errors import UserError
from csrlhf.stats.best_of_n import abstention_upper, emitted_candidate, emitted_unsafe_union, emitted_unsafe_upper
from csrlhf.stats.bounds import clopper_pearson_upper

ACCEPTED = [[0, 1, 1], [0, 0, 1], [0, 0, 0], [1, 1, 0]]
UNSAFE = [[1, 0, 1], [1, 1, 1], [1, 1, 1], [1, 0, 0]]
REWARD = [[9.0, 1.0, 2.0], [9.0, 9.0, 0.0], [9.0, 9.0, 9.0], [1.0, 3.0, 9.0]]


def test_abstention_is_counted_per_prompt() -> None:
    for number, refused in ((1, 3), (2, 2), (3, 1)):
        found = abstention_upper(ACCEPTED, number, 0.9)
        assert found.value == refused / 4
        assert found.upper == clopper_pearson_upper(refused, 4, 0.9)
        assert found.count == 4


def test_a_plug_in_would_overlook_the_hard_prompts() -> None:
    accepted = np.zeros((100, 8), dtype=bool)
    accepted[:50] = True  # half of the prompts always, half never
    assert abstention_upper(accepted, 8, 0.95).value == 0.5
    assert (1 - accepted.mean()) ** 8 < 0.004


def test_who_is_emitted() -> None:
    assert emitted_candidate(ACCEPTED, 3, "first").tolist() == [1, 2, -1, 0]
    assert emitted_candidate(ACCEPTED, 3, "best", REWARD).tolist() == [2, 2, -1, 1]
    assert emitted_candidate(ACCEPTED, 2, "best", REWARD).tolist() == [1, -1, -1, 1]
    assert emitted_candidate([[1, 1]], 2, "best", [[5.0, 5.0]]).tolist() == [0]  # the earlier of equals


def test_only_what_is_emitted_counts() -> None:
    assert emitted_unsafe_upper(ACCEPTED, UNSAFE, 3, "first", 0.9).value == 2 / 4
    best = emitted_unsafe_upper(ACCEPTED, UNSAFE, 3, "best", 0.9, REWARD)
    assert (best.value, best.upper) == (2 / 4, clopper_pearson_upper(2, 4, 0.9))
    given = emitted_unsafe_upper(ACCEPTED, UNSAFE, 3, "best", 0.9, REWARD, given_emitted=True)
    assert (given.value, given.count) == (2 / 3, 3)
    assert "best of N = 3" in best.method


def test_the_best_by_reward_gets_less_safe_with_n_and_the_first_does_not() -> None:
    rng = np.random.default_rng(0)
    unsafe = rng.random((4000, 16)) < 0.1
    accepted = rng.random((4000, 16)) < np.where(unsafe, 0.3, 0.9)
    reward = rng.random((4000, 16)) + unsafe
    first = [emitted_unsafe_upper(accepted, unsafe, n, "first", 0.95).value for n in (1, 4, 16)]
    best = [emitted_unsafe_upper(accepted, unsafe, n, "best", 0.95, reward).value for n in (1, 4, 16)]
    assert first[0] == best[0]
    assert max(first) - min(first) < 0.02
    assert best[2] > best[1] + 0.1 > best[0] + 0.15
    for number, rate in zip((1, 4, 16), best, strict=True):
        assert rate < emitted_unsafe_union(0.035, number)  # 0.03 is the truth of one candidate


def test_the_union_bound() -> None:
    assert emitted_unsafe_union(0.01, 8) == pytest.approx(0.08)
    assert emitted_unsafe_union(0.4, 8) == 1.0
    for wrong, words in (((1.5, 8), "upper=1.5"), ((float("nan"), 8), "upper=nan"), ((0.1, 0), "num_candidates=0")):
        with pytest.raises(UserError, match=words):
            emitted_unsafe_union(*wrong)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((ACCEPTED, 4, 0.95), "num_candidates=4: 3 candidates were drawn"),
        ((ACCEPTED, 0, 0.95), "num_candidates=0"),
        ((np.zeros((0, 3)), 1, 0.95), "accepted is empty"),
        (([0, 1], 1, 0.95), "2 dimensions are needed"),
        (([[0.5]], 1, 0.95), "only true and false"),
        ((ACCEPTED, 3, 1.0), "confidence="),
    ],
)
def test_abstention_refuses(arguments: tuple, words: str) -> None:
    with pytest.raises(UserError, match=words):
        abstention_upper(*arguments)


def test_emission_refuses() -> None:
    with pytest.raises(UserError, match="give rewards"):
        emitted_candidate(ACCEPTED, 3, "best")
    with pytest.raises(UserError, match="rule='worst'"):
        emitted_candidate(ACCEPTED, 3, "worst")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="differ in shape"):
        emitted_candidate(ACCEPTED, 3, "best", [[1.0, 2.0, 3.0]])
    with pytest.raises(UserError, match="one label per prompt"):
        emitted_unsafe_upper(ACCEPTED, [[1, 1, 1]], 3, "first", 0.95)
