"""Classes that have moved, under the names that people's own YAML files have for them."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import pytest
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf

from csrlhf.config.schema import MOVED, renew
from csrlhf.errors import InputWarning


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_an_old_name_is_replaced_with_one_line_that_names_both(old: str, new: str) -> None:
    cfg = OmegaConf.create({"part": {"inner": {"_target_": old, "x": 1}, "none": None, "other": "${part.inner}"}})
    with pytest.warns(InputWarning) as caught:
        renew(cfg)
    [line] = caught
    assert str(line.message).startswith(f"part.inner._target_={old}: has moved to {new}")
    assert cfg.part.inner == {"_target_": new, "x": 1}
    made: Any = get_object(new)
    assert inspect.isclass(made) or callable(made)


def test_what_has_not_moved_stays_without_a_word() -> None:
    cfg = OmegaConf.create({"penalty": {"_target_": "csrlhf.penalties.rectified.Rectified", "margin_z": 1.0}})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        renew(cfg)
    assert instantiate(cfg.penalty).margin_z == 1.0
