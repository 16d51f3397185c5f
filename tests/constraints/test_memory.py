"""Window and moving average: by hand, over checkpoints, for a class that knows nothing of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from csrlhf.constraints import Chance, Constraint, CVaR, Mean, Pessimistic
from csrlhf.errors import UserError


class Squared(Constraint):
    """What a user writes: a cost and nothing else."""

    def sample_costs(self, cost_logits_B: Tensor) -> Tensor:
        return cost_logits_B**2


def measure(constraint: Constraint, *values: float) -> tuple[float, float]:
    """J and its standard error with a batch taken in."""
    statistic = constraint(torch.tensor(values, dtype=torch.float64), remember=True)
    return statistic.value.item(), statistic.stderr.item()


def test_a_window_by_hand() -> None:
    window = Mean(0.5, scale="logit", window=5)
    assert measure(window, 1.0, 2.0) == pytest.approx((1.5, 0.5))  # not full yet: what there is
    assert measure(window, 3.0, 4.0) == pytest.approx((2.5, (5 / 3 / 4) ** 0.5))
    assert measure(window, 5.0, 9.0) == pytest.approx((4.6, (7.3 / 5) ** 0.5))  # 2 3 4 5 9; the oldest is gone
    assert measure(window, *range(10))[0] == pytest.approx(4.5)  # a batch above its size: all of it


def test_a_moving_average_by_hand() -> None:
    average = Mean(0.5, scale="logit", ema=0.5)
    assert measure(average, 1.0, 3.0) == pytest.approx((2.0, 1.0))  # the first batch counts fully
    # Weights 1/3 and 2/3: mean 1/3 · 2 + 2/3 · 5, variance 1 + 1/3 · 2/3 · 3², 1 / (1/9 / 2 + 4/9 / 2) = 3.6 answers.
    assert measure(average, 4.0, 6.0) == pytest.approx((4.0, (3 / 2.6) ** 0.5))
    # Weights 1/7, 2/7, 4/7.
    assert measure(average, 0.0, 0.0)[0] == pytest.approx((1 * 2 + 2 * 5) / 7)


def test_a_long_average_has_the_effective_number_of_answers() -> None:
    average = Mean(0.5, scale="logit", ema=0.9)
    for _ in range(200):
        stderr = measure(average, 0.0, 2.0)[1]
    assert stderr == pytest.approx((1 / (2 * 1.9 / 0.1 - 1)) ** 0.5)  # B (1 + ema) / (1 - ema) = 38 answers


def test_a_window_s_tail_and_margin_are_those_of_its_costs() -> None:
    costs = torch.tensor([0.3, -1.0, 2.0, 0.5, 1.5, -0.2, 3.0, 0.1])
    for remembering, plain in (
        (CVaR(0.5, alpha=0.5, scale="logit", window=8), CVaR(0.5, alpha=0.5, scale="logit")),
        (Pessimistic(0.5, scale="logit", window=8), Pessimistic(0.5, scale="logit")),
        (Chance(0.5, window=8), Chance(0.5)),
    ):
        remembering(costs[:4], remember=True)
        found, expected = remembering(costs[4:], remember=True), plain(costs)
        torch.testing.assert_close(found.value, expected.value)
        torch.testing.assert_close(found.stderr, expected.stderr)
        torch.testing.assert_close(found.sample_cost_B, plain(costs[4:]).sample_cost_B)  # of this batch


def test_an_average_s_margin_shrinks_with_its_effective_number() -> None:
    plain, average = Pessimistic(0.5, scale="logit"), Pessimistic(0.5, scale="logit", ema=0.9)
    costs = torch.tensor([0.0, 1.0, 0.0, 1.0])
    for _ in range(50):
        statistic = average(costs, remember=True)
    assert statistic.mean.item() == pytest.approx(0.5)
    assert 0 < (statistic.value - 0.5).item() < 0.3 * (plain(costs).value - 0.5).item()
    torch.testing.assert_close(statistic.sample_cost_B, plain(costs).sample_cost_B)


@pytest.mark.parametrize("memory", [{"window": 3}, {"ema": 0.5}])
def test_a_class_with_nothing_but_costs_has_memory(memory: dict[str, float]) -> None:
    constraint = Squared(4.0, **memory)  # type: ignore[arg-type]  # both keys take numbers
    assert measure(constraint, 1.0, 3.0)[0] == pytest.approx(5.0)
    expected = {"window": (1 + 9 + 4) / 3, "ema": (5 + 2 * 4) / 3}
    assert measure(constraint, 2.0)[0] == pytest.approx(expected[next(iter(memory))])


@pytest.mark.parametrize("make", [lambda: Chance(0.3, window=7), lambda: Pessimistic(0.3, ema=0.8)])
def test_goes_on_from_a_checkpoint(make) -> None:
    noise = torch.Generator().manual_seed(0)
    batches = torch.randn(4, 5, generator=noise)
    whole, first, second = make(), make(), make()
    for batch in batches[:2]:
        whole(batch, remember=True)
        first(batch, remember=True)
    second.load_state_dict(first.state_dict())
    for batch in batches[2:]:
        ours, theirs = whole(batch, remember=True), second(batch, remember=True)
        assert torch.equal(ours.value, theirs.value)
        assert torch.equal(ours.stderr, theirs.stderr)


def test_an_evaluation_neither_reads_nor_moves_the_memory() -> None:
    constraint = Chance(0.3, window=100)
    measure(constraint, 1.0, 1.0, 1.0)
    before = {key: value.clone() for key, value in constraint.state_dict().items()}
    assert constraint(torch.tensor([-1.0, -1.0])).value.item() == 0.0
    assert all(torch.equal(before[key], value) for key, value in constraint.state_dict().items())


def test_without_memory_there_is_no_state() -> None:
    assert not Chance(0.3).state_dict()


@pytest.mark.parametrize(
    ("memory", "words"),
    [
        ({"window": -1}, r"constraints\.<name>\.window=-1"),
        ({"window": 2.5}, r"constraints\.<name>\.window=2\.5"),
        ({"ema": 1.0}, r"constraints\.<name>\.ema=1\.0: must be in \[0, 1\)"),
        ({"ema": float("nan")}, r"constraints\.<name>\.ema=nan"),
        ({"window": 3, "ema": 0.5}, r"constraints\.<name>\.window=3: with constraints\.<name>\.ema=0\.5"),
    ],
)
def test_out_of_range_names_the_key(memory: dict[str, float], words: str) -> None:
    for make in (Chance, Mean, CVaR, Pessimistic):
        with pytest.raises(UserError, match=words):
            make(**memory)  # type: ignore[arg-type]  # wrong on purpose
