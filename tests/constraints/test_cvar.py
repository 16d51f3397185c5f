"""``cvar``: tails by hand, between two costs, its error, thresholds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from csrlhf.constraints import CVaR, Mean
from csrlhf.errors import UserError


def logits(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_mean_of_the_worst_half_by_hand() -> None:
    statistic = CVaR(2.0, alpha=0.5, scale="logit")(logits(3, 0, 1, 2))
    assert statistic.value.item() == 2.5
    assert statistic.sample_cost_B.tolist() == [5.0, 1.0, 1.0, 3.0]  # 1 + relu(c - 1) / 0.5
    assert statistic.stderr.item() == pytest.approx((11 / 3 / 4) ** 0.5)  # of these: sample variance 11/3
    assert statistic.threshold.item() == 2.0


def test_a_tail_that_ends_within_an_answer() -> None:
    """The worst 0.3 of four answers are 1.2 answers: (3 + 0.2 · 2) / 1.2. An interpolated quantile would say more."""
    assert CVaR(2.0, alpha=0.7, scale="logit")(logits(0, 1, 2, 3)).value.item() == pytest.approx(3.4 / 1.2)


def test_a_share_that_is_a_whole_number_of_answers_takes_no_answer_more() -> None:
    """0.55 · 100 is a little more than 55 in floating point: the 55th of these has the cost 54."""
    statistic = CVaR(2.0, alpha=0.55, scale="logit")(logits(*range(100)))
    assert statistic.sample_cost_B.min().item() == 54.0
    assert statistic.value.item() == pytest.approx(sum(range(55, 100)) / 45)


def test_on_indicators_it_is_the_rate_over_the_tail_at_most_one() -> None:
    constraint = CVaR(0.5, alpha=0.5, scale="indicator", tau=1.0)
    assert constraint(logits(0, 0.5, 2, 1)).value.item() == 0.5  # 1/4 over 1/2
    assert constraint(logits(2, 2, 2, 1)).value.item() == 1.0


def test_on_probabilities() -> None:
    assert CVaR(0.5, alpha=0.5)(logits(0.0, -9.0)).value.item() == pytest.approx(0.5)


@settings(max_examples=50, deadline=None)
@given(st.integers(10, 40), st.floats(0, 0.9), st.integers(0, 99))
def test_lies_between_mean_and_maximum_and_is_the_least_over_t(count: int, alpha: float, seed: int) -> None:
    cost_N = torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    statistic = CVaR(0.0, alpha=alpha, scale="logit")(cost_N)
    assert cost_N.mean() - 1e-9 <= statistic.value <= cost_N.max() + 1e-9
    objective = [t + (cost_N - t).clamp(min=0).mean() / (1 - alpha) for t in cost_N]
    assert statistic.value.item() == pytest.approx(float(min(objective)))
    assert statistic.sample_cost_B.mean().item() == pytest.approx(statistic.value.item())


def test_alpha_zero_is_the_mean() -> None:
    cost_N = logits(0.3, -1.0, 2.0)
    ours, theirs = CVaR(0.5, alpha=0.0)(cost_N), Mean(0.5)(cost_N)
    torch.testing.assert_close(ours.value, theirs.value)
    torch.testing.assert_close(ours.stderr, theirs.stderr)
    torch.testing.assert_close(ours.sample_cost_B, theirs.sample_cost_B)


def test_the_standard_error_is_the_spread_of_repeated_estimates() -> None:
    noise = torch.Generator().manual_seed(0)
    constraint = CVaR(0.5, alpha=0.8, scale="logit")
    statistics = [constraint(torch.randn(400, generator=noise)) for _ in range(400)]
    spread = torch.stack([statistic.value for statistic in statistics]).std().item()
    assert torch.stack([statistic.stderr for statistic in statistics]).mean().item() == pytest.approx(spread, rel=0.1)


def test_least_count_is_one_answer_in_the_tail() -> None:
    assert [CVaR(alpha=alpha).least_count for alpha in (0.0, 0.5, 0.9, 0.95, 0.99)] == [1, 2, 10, 20, 100]
    with pytest.raises(UserError, match=r"alpha=0\.9: the worst 0\.1 of 9 responses is less than one"):
        CVaR(alpha=0.9)(torch.zeros(9))
    CVaR(alpha=0.9)(torch.zeros(10))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"threshold": 1.0},
            r"constraints\.<name>\.threshold=1\.0: the mean cost of the worst responses lies in \(0, 1\)",
        ),
        ({"threshold": 0.0}, r"constraints\.<name>\.threshold=0\.0"),
        ({"threshold": -0.1, "scale": "indicator"}, r"constraints\.<name>\.threshold=-0\.1"),
        ({"threshold": float("inf"), "scale": "logit"}, r"constraints\.<name>\.threshold=inf"),
        ({"alpha": 1.0}, r"constraints\.<name>\.alpha=1\.0"),
        ({"alpha": float("nan")}, r"constraints\.<name>\.alpha=nan"),
        ({"scale": "percent"}, r"scale='percent': choose one of indicator, probability, logit"),
        ({"tau": float("nan")}, r"constraints\.<name>\.tau=nan"),
    ],
)
def test_out_of_range_names_the_key(options: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        CVaR(**options)
    CVaR(-3.0, scale="logit")
    CVaR(0.0, scale="indicator")
