"""The contract: optional arguments are passed where they are declared, every YAML builds its estimator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from csrlhf.advantages import GAE, RLOO, Estimator, GroupNorm
from csrlhf.advantages.base import ask_estimator, check_samples
from csrlhf.config import search_path
from csrlhf.errors import UserError
from csrlhf.ops.advantages import Groups
from csrlhf.penalties.base import Weights
from csrlhf.types import Advantages

MASK = torch.ones(2, 1, dtype=torch.bool)
REWARDS = torch.tensor([[[1.0, 0.0]], [[3.0, 0.0]]])
PLAIN = Weights(torch.tensor(1.0), torch.tensor([0.0]))


class Bare:
    """As a plug-in may write it: no base class, no optional argument."""

    needs_critic = False

    def __call__(self, rewards_BTC: Tensor, values_BTC: Any, mask_BT: Tensor, weights: Weights) -> Advantages:
        return Advantages(rewards_BTC.sum(-1))


class Greedy(Bare):
    """Takes whatever there is."""

    def __call__(self, rewards_BTC: Tensor, values_BTC: Any, mask_BT: Tensor, weights: Weights, **optional: Any):
        assert set(optional) == {"total", "groups"}
        return Advantages(rewards_BTC.sum(-1) * optional["groups"].count)


def ask(estimator: Any) -> list[list[float]]:
    groups = Groups(torch.tensor([0, 0]), 1)
    return ask_estimator(
        estimator, REWARDS, torch.zeros(2, 1, 2), MASK, PLAIN, total=lambda value: value, groups=groups
    ).advantage_BT.tolist()


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [(Bare(), [1, 3]), (Greedy(), [1, 3]), (GAE(), [1, 3]), (RLOO(), [-2, 2]), (GroupNorm(1e-9), [-1, 1])],
)
def test_an_estimator_is_handed_what_it_declares(estimator: Any, expected: list[float]) -> None:
    assert [row[0] for row in ask(estimator)] == pytest.approx(expected)


@pytest.mark.parametrize("estimator", [RLOO(), GroupNorm()])
def test_one_response_per_prompt_names_the_key_and_the_way_out(estimator: Estimator) -> None:
    check_samples(estimator, 2)
    with pytest.raises(UserError, match=r"ppo\.samples_per_prompt=1: .* needs 2 or more.*samples_per_prompt=4.*=gae"):
        check_samples(estimator, 1)


def test_whether_a_critic_is_needed_has_to_be_said() -> None:
    class Silent:
        def __call__(self, *_: Any) -> None: ...

    with pytest.raises(UserError, match="Silent has no attribute needs_critic; set it to True"):
        check_samples(Silent(), 1)


def test_estimators_with_a_baseline_of_their_own_take_one_response() -> None:
    check_samples(GAE(), 1)
    check_samples(Bare(), 1)


@pytest.mark.parametrize(("choice", "kind"), [("gae", GAE), ("rloo", RLOO), ("group_norm", GroupNorm)])
def test_every_yaml_builds_its_estimator(choice: str, kind: type[Estimator], repository: Path) -> None:
    estimator = instantiate(OmegaConf.load(repository / "conf" / "advantage" / f"{choice}.yaml"))
    assert type(estimator) is kind
    assert estimator.needs_critic is (kind is GAE)


def test_grpo_is_group_norm_with_the_same_settings(repository: Path) -> None:
    search_path.register()
    with initialize_config_dir(str(repository / "conf"), version_base="1.3"):
        by_paper, by_what_it_does = (compose("train", [f"advantage={name}"]) for name in ("grpo", "group_norm"))
    assert type(instantiate(by_paper.advantage)) is GroupNorm
    assert by_paper == by_what_it_does
