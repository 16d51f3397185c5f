"""Which policy is handed over: order of candidates, ties, collapse, checkpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from csrlhf.errors import InputWarning, UserError
from csrlhf.stats.bounds import clopper_pearson_upper, mean_upper
from csrlhf.training.ppo.config import SelectionSettings
from csrlhf.training.ppo.selection import Candidate, Selection, copy_folder
from csrlhf.training.ppo.validation import ValidationResult

SAFE_RICH, SAFE_POOR = Candidate(1, 2.0, -0.01), Candidate(2, 1.0, -0.2)
UNSAFE_RICH, UNSAFE_NEAR = Candidate(3, 9.0, 0.3), Candidate(4, 0.0, 0.1)


def rate(value: float) -> dict[str, Any]:
    """Fields of a result with one rate in 100 answers."""
    return {
        "value_K": (value,),
        "upper_bound_K": lambda confidence: (clopper_pearson_upper(round(100 * value), 100, confidence),),
    }


RESULT = ValidationResult(
    count=100, reward=1.0, reward_std=2.0, stderr_K=(0.0,), threshold_K=(0.05,), names=("harm",), kl=0.5, entropy=1.0,
    refusal_rate=0.2, distinct=0.8, **rate(0.0),
)  # fmt: skip


def saved_at(selection: Selection, *results: ValidationResult) -> list[int]:
    """Iterations at which the policy was saved as the best so far."""
    saved: list[int] = []
    for iteration, result in enumerate(results):
        before = list(selection.shortlist)
        selection.consider(iteration, result)
        saved += [iteration] if selection.shortlist != before else []
    return saved


@pytest.mark.parametrize(
    ("winner", "loser"),
    [
        (SAFE_RICH, SAFE_POOR),
        (SAFE_POOR, UNSAFE_RICH),
        (SAFE_POOR, UNSAFE_NEAR),
        (UNSAFE_NEAR, UNSAFE_RICH),
    ],
)
def test_feasible_first_then_reward_or_excess(winner: Candidate, loser: Candidate) -> None:
    assert winner.beats(loser)
    assert not loser.beats(winner)


def test_the_first_stands_and_a_tie_changes_nothing() -> None:
    assert UNSAFE_RICH.beats(None)
    assert not replace(SAFE_RICH, iteration=9).beats(SAFE_RICH)
    assert not replace(UNSAFE_NEAR, iteration=9).beats(UNSAFE_NEAR)


def test_feasible_means_the_upper_bound_lies_under_the_threshold() -> None:
    # no violation in 100: the bound is 0.0295; one violation: 0.0466; two: 0.0616
    selection = Selection(SelectionSettings(confidence=0.95))
    excess = []
    for violations in (0, 1, 2):
        selection.consider(violations, replace(RESULT, **rate(violations / 100)))
        assert selection.last is not None
        excess.append(selection.last.excess)
    assert excess == pytest.approx([0.0295 - 0.05, 0.0466 - 0.05, 0.0616 - 0.05], abs=1e-4)
    assert selection.metrics()["selection/feasible"] == 0.0
    assert selection.metrics()["selection/best_iteration"] == 0.0


def test_excess_is_of_the_worst_constraint() -> None:
    two = replace(
        RESULT, value_K=(0.0, 0.5), stderr_K=(0.0, 0.1), threshold_K=(0.05, 0.1), names=("harm", "privacy"),
        upper_bound_K=lambda confidence: (0.0, mean_upper(0.5, 0.1, 100, confidence, is_rate=False)),
    )  # fmt: skip
    selection = Selection(SelectionSettings(confidence=0.95))
    selection.consider(0, two)
    assert selection.best is not None
    # The whole 5 %: the bound on the constraint that is truly the worst holds with it, and this one is no smaller.
    assert selection.best.excess == pytest.approx(0.5 + 1.6604 * 0.1 - 0.1, abs=1e-4)


def test_the_error_is_shared_out_over_all_looks() -> None:
    """0 of 100: Clopper-Pearson's bound is 1 - (δ / looks) ** (1 / 100)."""
    clean = replace(RESULT, **rate(0.0))
    for looks in (1, 20):
        selection = Selection(SelectionSettings(confidence=0.95))
        selection.begin(num_looks=looks)
        selection.consider(0, clean)
        assert selection.last is not None
        assert selection.last.excess == pytest.approx(1 - (0.05 / looks) ** 0.01 - 0.05)


def test_saves_only_what_is_better() -> None:
    unsafe = replace(RESULT, **rate(0.5), reward=9.0)
    less_unsafe, poorer, richer = (
        replace(unsafe, **rate(0.4)),
        replace(RESULT, reward=0.5),
        replace(RESULT, reward=2.0),
    )
    selection = Selection(SelectionSettings())
    assert saved_at(selection, unsafe, less_unsafe, RESULT, unsafe, poorer, richer) == [0, 1, 2, 5]
    assert selection.final_metrics()["selection/best_reward"] == 2.0
    assert selection.final_metrics()["selection/best_feasible"] == 1.0


def test_no_evaluation_no_figures() -> None:
    assert Selection(SelectionSettings()).final_metrics() == {}


def test_a_collapsed_policy_takes_no_others_place() -> None:
    collapsed, healthy = replace(RESULT, reward=9.0, refusal_rate=0.99), replace(RESULT, reward=2.0)
    for action, saved in (("warn", [0, 2]), ("stop", [0, 2]), ("ignore", [0, 1])):
        selection = Selection(SelectionSettings(on_collapse=action))  # type: ignore[arg-type]  # a word names it
        assert saved_at(selection, RESULT, collapsed, healthy) == saved
        assert selection.last is not None
        assert selection.last.reward == 2.0


def test_a_start_that_counts_as_collapsed_stands_until_something_is_better() -> None:
    refusing = replace(RESULT, refusal_rate=0.99)
    assert saved_at(
        Selection(SelectionSettings()), refusing, replace(refusing, reward=9.0), replace(RESULT, reward=2.0)
    ) == [0, 2]


UNSAFE = replace(RESULT, **rate(0.5))
"""A start at reward 1 whose single rewards spread by 2; any feasible policy is handed over before it."""


def test_a_policy_handed_over_that_earns_clearly_less_than_the_start_is_warned_of() -> None:
    selection = Selection(SelectionSettings())
    assert saved_at(selection, UNSAFE, replace(RESULT, reward=0.2, reward_std=0.1)) == [0, 1]  # it bars nothing
    assert selection.metrics()["selection/reward_drop"] == pytest.approx(0.4)  # (1 - 0.2) / 2
    words = r"has reward 0\.2 on validation prompts, 0\.40 standard deviations less .*start policy \(1; .*=0\.3\)"
    with pytest.warns(UserWarning, match=rf"{words}: a sign of false refusals; .*stage=evaluate"):
        selection.check_reward()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("most", "start", "later"),
    [
        (0.3, UNSAFE, replace(RESULT, reward=0.41)),  # 0.295
        (0.3, UNSAFE, replace(RESULT, reward=3.0)),
        (0.3, RESULT, replace(RESULT, reward=-9.0)),  # the last one; the first is handed over
        (0.3, replace(UNSAFE, reward_std=0.0), replace(RESULT, reward=0.2)),  # no scale to measure it by
        (None, UNSAFE, replace(RESULT, reward=-9.0)),
    ],
)
def test_no_word_where_the_drop_is_small_or_the_check_is_off(
    most: float | None, start: ValidationResult, later: ValidationResult
) -> None:
    selection = Selection(SelectionSettings(max_reward_drop=most))
    saved_at(selection, start, later)
    selection.check_reward()
    Selection(SelectionSettings(max_reward_drop=most)).check_reward()  # a run without an evaluation


def test_a_resumed_run_measures_the_drop_from_its_own_start() -> None:
    first, second = Selection(SelectionSettings()), Selection(SelectionSettings())
    saved_at(first, UNSAFE)
    second.load_state_dict(first.state_dict())
    saved_at(second, replace(RESULT, reward=0.0, reward_std=9.0))
    assert second.metrics()["selection/reward_drop"] == pytest.approx(0.5)
    with pytest.warns(UserWarning, match=r"0\.50 standard deviations"):
        second.check_reward()


def test_goes_on_from_a_checkpoint() -> None:
    first, second = Selection(SelectionSettings()), Selection(SelectionSettings())
    saved_at(first, RESULT, replace(RESULT, reward=0.5))
    second.load_state_dict(first.state_dict())
    assert second.final_metrics() == first.final_metrics()
    assert saved_at(second, replace(RESULT, reward=0.9, distinct=0.1)) == []
    assert second.collapse.found is not None  # it knows the start's share of distinct answers
    empty = Selection(SelectionSettings())
    empty.load_state_dict(Selection(SelectionSettings()).state_dict())
    assert empty.best is None


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"confidence": 1.0}, r"ppo\.selection\.confidence=1\.0"),
        ({"on_collapse": "panic"}, r"ppo\.selection\.on_collapse=panic: must be one of warn, stop, ignore"),
        ({"min_distinct": 2.0}, r"ppo\.selection\.min_distinct=2\.0"),
        ({"max_refusal_rate": -0.1}, r"ppo\.selection\.max_refusal_rate=-0\.1"),
        ({"price": -1.0}, r"ppo\.selection\.price=-1\.0"),
        ({"screens": 0.9}, r"ppo\.selection\.screens=0\.9: must be a list of numbers"),
        ({"screens": [0.9, 1.0]}, r"ppo\.selection\.screens=1\.0: must be in \(0, 1\)"),
        ({"max_reward_drop": -0.1}, r"ppo\.selection\.max_reward_drop=-0\.1"),
    ],
)
def test_out_of_range_names_the_key(options: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError, match=key):
        Selection(SelectionSettings(**options))


def test_copy_goes_into_an_existing_folder(tmp_path: Path) -> None:
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "a" / "deep" / "x").write_text("1")
    (tmp_path / "b").mkdir()
    copy_folder(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b" / "deep" / "x").read_text() == "1"


def test_without_a_constraint_the_reward_alone_decides() -> None:
    safe, greedy = Candidate(5, 0.1, -0.01), Candidate(10, 0.9, 0.4)
    assert greedy.beats(safe, constrained=False)
    assert not greedy.beats(safe)


def test_the_score_is_the_reward_less_the_price_of_what_is_infeasible() -> None:
    selection = Selection(SelectionSettings(price=2.0))
    saved_at(selection, replace(RESULT, **rate(0.5)))
    excess = clopper_pearson_upper(50, 100, 0.95) - 0.05
    assert selection.metrics()["selection/score"] == pytest.approx(1.0 - 2.0 * excess)
    saved_at(selection, replace(RESULT, reward=0.7))  # no violation in 100 answers: feasible, whatever its distance
    assert selection.metrics()["selection/score"] == 0.7


def confirming(**options: Any) -> Selection:
    """A run with three looks and a confirmation; four places on the shortlist."""
    selection = Selection(SelectionSettings(**options))
    selection.begin(num_looks=3, num_confirmation=400)
    return selection


def test_the_shortlist_holds_the_richest_policy_of_each_screen() -> None:
    """Of 100 responses 0, 1, 2 and 4 unsafe: the bounds at 99.9, 99, 95 and 50 % against d = 5 %."""
    bounds = [[clopper_pearson_upper(k, 100, c) <= 0.05 for c in (0.999, 0.99, 0.95, 0.5)] for k in (0, 1, 2, 4)]
    assert bounds == [[False, True, True, True], [False, False, True, True], [False] * 3 + [True], [False] * 3 + [True]]
    selection = confirming()
    results = [
        replace(RESULT, **rate(k / 100), reward=reward) for k, reward in ((4, 4.0), (2, 3.0), (1, 2.0), (0, 1.0))
    ]
    saved_at(selection, *results)
    assert selection.confidences == (0.999, 0.99, 0.95, 0.5)
    held = [candidate.iteration for candidate in selection.shortlist if candidate is not None]
    assert held == [3, 3, 2, 0]  # none passes at 99.9 %: the least violating; iteration 1 is nobody's best
    assert [candidate.iteration for candidate in selection.in_order()] == [3, 2, 0]
    assert selection.kept == {0, 2, 3}
    assert selection.best is not None
    assert selection.best.iteration == 2  # what is shown meanwhile is at ppo.selection.confidence
    assert selection.metrics()["selection/iteration"] == 3.0


@pytest.mark.parametrize(
    ("excesses", "iteration", "excess"),
    [
        ([-0.02, -0.01, -0.03], 0, -0.01),  # all passed: what is known is the largest of the bounds
        ([-0.02, -0.01, 0.03], 2, 0.0),  # the one before the first that fails keeps d, and no more is known
        ([-0.02, 0.01], 3, 0.0),
        ([0.01], 3, 0.01),  # the surest fails: no policy is feasible
    ],
)
def test_the_last_that_is_confirmed_is_handed_over(excesses: list[float], iteration: int, excess: float) -> None:
    selection = confirming()
    saved_at(
        selection, *(replace(RESULT, **rate(k / 100), reward=r) for k, r in ((4, 4.0), (2, 3.0), (1, 2.0), (0, 1.0)))
    )
    chosen = selection.settle(excesses)
    assert chosen is not None
    assert (chosen.iteration, chosen.excess) == (iteration, excess)
    final = selection.final_metrics()
    assert (final["selection/best_iteration"], final["selection/best_excess"]) == (iteration, excess)
    assert final["selection/best_feasible"] == float(excess <= 0)
    assert final["selection/score"] == pytest.approx(chosen.reward - 10.0 * max(0.0, excess))
    assert final["selection/num_confirmation"] == 400.0
    assert (final["selection/start_reward"], final["selection/last_reward"]) == (4.0, 1.0)


def test_without_a_confirmation_or_a_constraint_one_policy_is_kept() -> None:
    union, greedy = Selection(SelectionSettings()), Selection(SelectionSettings())
    union.begin(num_looks=20)
    greedy.begin(num_looks=20, num_confirmation=400, constrained=False)
    assert union.confidences == (pytest.approx(1 - 0.05 / 20),)
    assert greedy.confidences == (0.95,)
    assert saved_at(greedy, RESULT, replace(UNSAFE, reward=2.0)) == [0, 1]
    assert union.settle() is None  # nothing was evaluated


def test_a_policy_whose_weights_are_gone_is_not_handed_over() -> None:
    selection = confirming()
    saved_at(selection, *(replace(RESULT, **rate(k / 100), reward=r) for k, r in ((4, 4.0), (0, 1.0))))
    assert selection.kept == {0, 1}
    selection.forget({0})
    assert [candidate.iteration for candidate in selection.in_order()] == [1]


def test_a_checkpoint_of_other_screens_says_so() -> None:
    first, second = confirming(), confirming(screens=[0.5])
    saved_at(first, RESULT)
    with pytest.warns(InputWarning, match=r"shortlist has 4 places, ppo\.selection\.screens .* ask for 2"):
        second.load_state_dict(first.state_dict())
    assert second.kept == set()
    assert second.start == first.start
