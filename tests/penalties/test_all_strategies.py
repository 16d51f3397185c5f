"""What holds for every strategy, whatever it charges: sound weights, state in checkpoints, no knowledge of ranks.

Each is built from its YAML, so that all options of ``penalty=`` are here; variants that the defaults leave out follow.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra.utils import get_object, instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch import Tensor

import csrlhf.penalties
from csrlhf.constraints.chance import Chance
from csrlhf.constraints.mean import Mean
from csrlhf.constraints.set import Constraints, ConstraintState
from csrlhf.penalties import Adaptive, Lagrangian, LogBarrier, Penalty, Rectified, Squared
from csrlhf.penalties.base import ask_weights

CONF = Path(__file__).resolve().parents[2] / "conf" / "penalty"
OPTIONS = sorted(path.stem for path in CONF.glob("*.yaml"))


def from_yaml(option: str) -> Penalty:
    return instantiate(OmegaConf.load(CONF / f"{option}.yaml"))


STRATEGIES: dict[str, Callable[[], Penalty]] = {
    **{option: lambda option=option: from_yaml(option) for option in OPTIONS},
    "rectified_ema": lambda: Rectified(ema=0.8, margin_z=1.0),
    "rectified_weights": lambda: Rectified(margin_z=0.0, normaliser="weights"),
    "lagrangian_projected": lambda: Lagrangian(lr=0.5, rule="projected", delay=1),
    "log_barrier_schedule": lambda: LogBarrier(growth=1.5),
    "squared_weights": lambda: Squared(normaliser="weights"),
    "adaptive_ema": lambda: Adaptive(margin_z=0.0, ema=0.5, duty_ema=0.5),
}
NAMES = ["harm", "privacy"]
violations = st.one_of(
    st.floats(-1.0, 1.0), st.floats(-1e30, 1e30), st.sampled_from([0.0, -0.0, 1e-38, -1e-38, 1e-45, -1e-45])
)


def ready(name: str, constraints: list[str] = NAMES) -> Penalty:
    penalty = STRATEGIES[name]()
    penalty.setup(constraints)
    return penalty


@pytest.mark.parametrize("option", OPTIONS)
def test_a_yaml_lists_every_constructor_argument_and_no_other(option: str) -> None:
    cfg = OmegaConf.load(CONF / f"{option}.yaml")
    assert cfg["_target_"].startswith(f"csrlhf.penalties.{option}.")
    arguments = set(inspect.signature(get_object(cfg["_target_"])).parameters)
    assert {str(key) for key in cfg} - {"_target_"} == arguments


def test_every_strategy_of_the_package_is_an_option() -> None:
    exported = {getattr(csrlhf.penalties, name) for name in csrlhf.penalties.__all__} - {
        Penalty,
        csrlhf.penalties.Weights,
    }
    assert exported == {type(from_yaml(option)) for option in OPTIONS}
    assert len(OPTIONS) == 15


@pytest.mark.parametrize("name", STRATEGIES)
@settings(max_examples=25, deadline=None)
@given(history=st.lists(violations, max_size=6), low=violations, rise=st.one_of(st.floats(0, 1), st.floats(0, 1e30)))
def test_weights_are_finite_non_negative_detached_and_do_not_fall_with_the_violation(
    name: str, history: list[float], low: float, rise: float
) -> None:
    penalty = ready(name, ["harm"])
    stderr = torch.tensor([0.01])
    for violation in history:
        ask_weights(penalty, torch.tensor([violation]), stderr)
        penalty.update(torch.tensor([violation]))
    lower, higher = (ask_weights(penalty, torch.tensor([v]), stderr) for v in (low, low + rise))
    for weights in (lower, higher):
        numbers = torch.stack([weights.reward, weights.cost_K[0], weights.total])
        assert bool(torch.isfinite(numbers).all()), numbers
        assert bool((numbers >= 0).all())
        assert weights.total > 0
        assert not numbers.requires_grad
    assert lower.cost_K[0] <= higher.cost_K[0]
    assert lower.reward >= higher.reward
    assert all(bool(torch.isfinite(value).all()) for value in penalty.state_dict().values())
    assert all(bool(torch.isfinite(value)) for value in penalty.metrics().values())


@pytest.mark.parametrize("name", STRATEGIES)
@settings(max_examples=10, deadline=None)
@given(
    before=st.lists(st.tuples(violations, violations), max_size=5),
    after=st.lists(st.tuples(violations, violations), min_size=1, max_size=3),
)
def test_state_comes_back_from_a_state_dict(
    name: str, before: list[tuple[float, float]], after: list[tuple[float, float]]
) -> None:
    trained, fresh = ready(name), ready(name)
    stderr = torch.tensor([0.01, 0.02])
    for pair in before:
        ask_weights(trained, torch.tensor(pair), stderr)
        trained.update(torch.tensor(pair))
    fresh.load_state_dict(trained.state_dict(), strict=True)
    for pair in after:
        violation = torch.tensor(pair)
        ours, theirs = (ask_weights(penalty, violation, stderr) for penalty in (trained, fresh))
        assert torch.equal(ours.cost_K, theirs.cost_K)
        assert torch.equal(ours.total, theirs.total)
        for penalty in (trained, fresh):
            penalty.update(violation)
    state, other = trained.state_dict(), fresh.state_dict()
    assert all(torch.equal(state[key], other[key]) for key in state)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_policy_in_bfloat16_does_not_round_the_state(name: str) -> None:
    """trainer.precision=bf16-true converts the module that holds it, and small steps of a multiplier would drown."""
    plain, converted = ready(name), ready(name).to(torch.bfloat16)
    for violation in (0.003, -0.001, 0.002):
        pair = torch.tensor([violation, -violation])
        ours, theirs = (ask_weights(penalty, pair, torch.tensor([0.01, 0.02])) for penalty in (plain, converted))
        assert torch.equal(ours.cost_K, theirs.cost_K)
        for penalty in (plain, converted):
            penalty.update(pair)
    assert all(torch.equal(value, converted.state_dict()[key]) for key, value in plain.state_dict().items())


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name not in ("none", "sample_hinge")])
def test_some_violation_costs_something(name: str) -> None:
    """Finite and monotone is also what 0 is."""
    penalty = ready(name)
    assert bool((ask_weights(penalty, torch.tensor([0.5, 0.5]), torch.zeros(2)).cost_K > 0).all())


@pytest.mark.parametrize("name", STRATEGIES)
def test_no_strategy_has_parameters_for_an_optimiser(name: str) -> None:
    assert list(ready(name).parameters()) == []


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_constraint_does_not_move_the_weight_of_another(name: str) -> None:
    one, other = ready(name), ready(name)
    for violation in (0.2, -0.3, 0.1):
        for penalty, second in ((one, 0.4), (other, -0.4)):
            both = torch.tensor([violation, second])
            ask_weights(penalty, both, torch.zeros(2))
            penalty.update(both)
    weights = [ask_weights(penalty, torch.tensor([0.05, 0.0]), torch.zeros(2)) for penalty in (one, other)]
    assert weights[0].cost_K[0] == weights[1].cost_K[0]


def measure(logits_BK: Tensor, num_ranks: int) -> list[ConstraintState]:
    """The state that each of several ranks sees of its part of the batch, means over the ranks taken by hand."""
    constraints = Constraints({"harm": Chance(0.3), "privacy": Mean(0.3)})
    parts = logits_BK.chunk(num_ranks)
    local: list[list[Tensor]] = []
    for part in parts:  # first what each rank would hand to the reduction, then every rank with the means
        seen: list[Tensor] = []
        constraints(part, lambda value, seen=seen: seen.append(value) or value, num_ranks)
        local.append(seen)
    means = [torch.stack(values).mean(dim=0) for values in zip(*local, strict=True)]
    states = []
    for part in parts:
        answers = iter(means)
        states.append(constraints(part, lambda value, answers=answers: next(answers), num_ranks))
    return states


@pytest.mark.parametrize("name", STRATEGIES)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**31), num_ranks=st.sampled_from([2, 3, 4, 8]))
def test_the_same_for_any_split_over_ranks(name: str, seed: int, num_ranks: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    alone, *ranks = (ready(name).double() for _ in range(num_ranks + 1))
    for _ in range(3):
        logits_BK = torch.randn(24, 2, generator=generator, dtype=torch.float64)
        reward_B = torch.randn(24, generator=generator, dtype=torch.float64)
        [whole] = measure(logits_BK, 1)
        expected = ask_weights(alone, whole.violation_K, whole.stderr_K)
        shaped_B = alone.shape(reward_B, whole.sample_cost_BK, whole.threshold_K)
        alone.update(whole.violation_K)
        parts = zip(ranks, measure(logits_BK, num_ranks), reward_B.chunk(num_ranks), strict=True)
        shaped = []
        for penalty, state, reward_b in parts:
            weights = ask_weights(penalty, state.violation_K, state.stderr_K)
            torch.testing.assert_close(weights.cost_K, expected.cost_K, rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(weights.total, expected.total, rtol=1e-9, atol=1e-12)
            shaped.append(penalty.shape(reward_b, state.sample_cost_BK, state.threshold_K))
            penalty.update(state.violation_K)
        torch.testing.assert_close(torch.cat(shaped), shaped_B)
    torch.testing.assert_close(ranks[0].state_dict(), alone.state_dict(), rtol=1e-9, atol=1e-12)
