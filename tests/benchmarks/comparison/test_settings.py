"""Names, multiples, and overrides that the configs know."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from benchmarks.comparison.settings import (
    DUAL,
    MULTIPLES,
    PROBE,
    SCREEN,
    Setting,
    choose,
    loss_settings,
    penalty_names,
    penalty_settings,
)
from csrlhf.config import search_path
from csrlhf.errors import UserError
from csrlhf.runs.plan import checked_name

CONF = Path(search_path.conf_folder())
DIFFERENT = [setting for name, setting in penalty_settings(1.5).items() if "-x" not in name or name.endswith("-x2")]
ALL = [*penalty_settings(1.5).values(), *loss_settings().values()]


def test_multipliers_are_multiples_of_the_estimate() -> None:
    known = penalty_settings(1.5)
    for name in ("linear", "p3o", "plain", "margin", "ema", "adaptive"):
        found = [known[f"{name}-x{multiple:g}"].overrides[-1] for multiple in MULTIPLES]
        assert found == [f"penalty.multiplier={value:g}" for value in (0.75, 1.5, 3, 7.5, 15, 45)]


def test_without_an_estimate_only_the_others_are_known() -> None:
    known = penalty_settings(None)
    assert {"none", "pid", "augmented_lagrangian", DUAL, PROBE} <= set(known)
    assert not [name for name in known if "-x" in name]


def test_the_screen_is_made_of_settings_and_has_every_strategy_once_at_least() -> None:
    assert len(set(SCREEN)) == len(SCREEN) == 15
    assert set(SCREEN) <= set(penalty_names())
    families = {penalty_settings(1.0)[name].family for name in SCREEN}
    assert families == {"none", "linear", "dual", "p3o", "hinge", "smoothed hinge"}


@pytest.mark.parametrize("setting", ALL, ids=lambda setting: setting.name)
def test_a_name_can_be_a_folder(setting: Setting) -> None:
    assert checked_name(f"{setting.name}-last") == f"{setting.name}-last"


@pytest.mark.parametrize("setting", DIFFERENT, ids=lambda setting: setting.name)
def test_overrides_compose(setting: Setting) -> None:
    search_path.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=["stage=ppo", *setting.overrides])
    for word in setting.overrides[1:]:
        key, value = word.split("=")
        found = OmegaConf.select(cfg, key)
        assert str(found) in (value, str(float(value)) if value[0].isdigit() else value)
    if "where" in str(setting.overrides):
        assert cfg.constraints.harm.where == {"category": ["harmful"]}


def test_choosing_by_pattern_keeps_the_order() -> None:
    names = ["none", "plain-x1", "plain-x2", "pid"]
    assert choose(["pid", "plain-*"], names) == ["plain-x1", "plain-x2", "pid"]
    assert choose(["all"], names) == names
    with pytest.raises(UserError, match=r"--settings plane-x1: .*plain-x1"):
        choose(["plane-x1"], names)


def test_losses_are_two_by_two() -> None:
    known = loss_settings()
    assert {(setting.cost_loss, setting.overrides) for setting in known.values()} == {
        (loss, (f"penalty={penalty}",)) for loss in ("semantic", "pairwise") for penalty in ("rectified", "lagrangian")
    }
