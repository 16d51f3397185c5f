"""``linear`` and ``none``: weights that ignore the violation."""

from __future__ import annotations

import torch

from csrlhf.penalties import Linear, NoPenalty


def test_linear_pays_whether_the_constraint_is_met_or_not() -> None:
    penalty = Linear(4.0)
    penalty.setup(["harm"])
    for violation in (-1.0, 1.0):
        weights = penalty.weights(torch.tensor([violation]))
        assert (weights.reward.item(), weights.cost_K.tolist(), weights.total.item()) == (1.0, [4.0], 5.0)


def test_none_pays_never() -> None:
    penalty = NoPenalty()
    penalty.setup(["harm", "privacy"])
    weights = penalty.weights(torch.tensor([5.0, 5.0]))
    assert (weights.reward.item(), weights.cost_K.tolist(), weights.total.item()) == (1.0, [0.0, 0.0], 1.0)
