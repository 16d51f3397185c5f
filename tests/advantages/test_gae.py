"""The estimator: channels mixed first, one normalisation after."""

from __future__ import annotations

import pytest
import torch

from csrlhf.advantages.gae import GAE
from csrlhf.errors import UserError
from csrlhf.penalties.base import Weights

MASK = torch.tensor([[True, True, True], [True, False, False]])
REWARDS = torch.tensor([[[0.0, 0.0], [0.0, 0.0], [3.0, 1.0]], [[-1.0, 0.0], [9.0, 9.0], [9.0, 9.0]]])
VALUES = torch.zeros(2, 3, 2)


def weights(cost: float, normaliser: float) -> Weights:
    return Weights(torch.tensor(1.0), torch.tensor([cost]), torch.tensor(normaliser))


def test_by_hand() -> None:
    advantages = GAE(gamma=1.0, lam=0.5)(REWARDS, VALUES, MASK, weights(4.0, 5.0))
    torch.testing.assert_close(
        advantages.advantage_BT, torch.tensor([[-0.05, -0.1, -0.2], [-0.2, 0.0, 0.0]])
    )  # (3 - 4) / 5 at the end, halved per token before it
    assert advantages.returns_BTC[1, 1:].abs().sum() == 0


def test_normalising_the_mix_keeps_the_penalty_s_weight() -> None:
    """Scaling λ by the channels' spread is what whitening each channel alone would do."""
    generator = torch.Generator().manual_seed(0)
    rewards = torch.randn(4, 3, 2, generator=generator) * torch.tensor([1.0, 10.0])
    mask = torch.ones(4, 3, dtype=torch.bool)
    plain = GAE()(rewards, torch.zeros(4, 3, 2), mask, weights(4.0, 5.0)).advantage_BT
    scaled = GAE(normalise="scale")(rewards, torch.zeros(4, 3, 2), mask, weights(4.0, 5.0)).advantage_BT
    whitened = GAE(normalise="whiten")(rewards, torch.zeros(4, 3, 2), mask, weights(4.0, 5.0)).advantage_BT
    torch.testing.assert_close(scaled, plain / plain.pow(2).mean().sqrt())
    torch.testing.assert_close(whitened, (plain - plain.mean()) / plain.std(unbiased=False))


@pytest.mark.parametrize("key", ["gamma", "lam"])
def test_out_of_range_names_the_key(key: str) -> None:
    with pytest.raises(UserError, match=rf"advantage\.{key}=1\.5"):
        GAE(**{key: 1.5})  # type: ignore[arg-type]


def test_unknown_normalisation_lists_the_choices() -> None:
    with pytest.raises(UserError, match=r"advantage\.normalise='batch': choose one of none, reward, whiten, scale"):
        GAE(normalise="batch")
