"""A sweep file held against the configuration before anything runs: are its parameters keys, and of the right type?"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, MissingConfigException
from omegaconf import DictConfig, OmegaConf

from csrlhf.config import overrides as checks
from csrlhf.config import search_path
from csrlhf.errors import UserError
from csrlhf.sweeping.spec import Spec

MADE_BEFORE = ("sft", "reward", "cost")
"""Stages whose results every run of a sweep reads."""

SET_BY_THE_SWEEP = ("stage", "name", "resume", "debug")
ABSENT = object()


@dataclass(frozen=True)
class Setting:
    """What the configuration says of all runs.

    Attributes:
        artifacts: where SFT, reward and cost model stand.
        inputs: folders that the user named for them.
    """

    artifacts: Path
    inputs: Mapping[str, Any]


def check_keys(spec: Spec, overrides: Sequence[str]) -> Setting:
    """Holds all parameters against the configuration that they change.

    Args:
        spec: the sweep file.
        overrides: the user's words for all runs.

    Raises:
        UserError: names the key, and the one that was probably meant.
    """
    if "stage=ppo" not in spec.fixed:
        raise UserError("command: a local sweep runs stage=ppo; put it among the words, as in sweeps/rectified.yaml")
    for word in overrides:
        key = word.lstrip("+~").split("=")[0]
        if key in SET_BY_THE_SWEEP:
            raise UserError(f"--overrides {word}: the sweep sets {key} itself")
        if key in spec.parameters:
            raise UserError(f"--overrides {word}: {key} is a parameter of the sweep")
    search_path.register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(search_path.conf_folder(), version_base="1.3"):
        loader: ConfigLoader = GlobalHydra.instance().config_loader()
        groups = set(loader.get_group_options("", results_filter=ObjectType.GROUP))
        choosing = [key for key in spec.parameters if key in groups]
        cfg = None
        for choice in itertools.product(*(_samples(spec.parameters[key]) for key in choosing)):
            chosen = [f"{key}={option}" for key, option in zip(choosing, choice, strict=True)]
            words = [*spec.fixed, *chosen, *overrides]
            cfg = _composed(words)
            for key, parameter in spec.parameters.items():
                if key not in groups:
                    _check(cfg, key, parameter, words)
    assert cfg is not None
    given: Any = OmegaConf.to_container(cfg.inputs, resolve=True)
    named = {name: given[name] for name in MADE_BEFORE if given[name] is not None}
    return Setting(Path(cfg.artifacts), named)


def _composed(words: list[str]) -> DictConfig:
    try:
        return compose("train", overrides=words)
    except MissingConfigException as error:
        raise UserError(checks.unknown_choice(error.missing_cfg_file, error.options) or str(error)) from error
    except ConfigCompositionException as error:
        text = str(error)
        if "Could not override '" not in text:
            raise
        raise UserError(checks.unknown_key(text.split("Could not override '")[1].split("'")[0], words)) from error


def _check(cfg: DictConfig, key: str, parameter: Mapping[str, Any], words: list[str]) -> None:
    if key in SET_BY_THE_SWEEP:
        raise UserError(f"parameters.{key}: the sweep sets {key} itself")
    if key.split(".")[0] in MADE_BEFORE:
        raise UserError(
            f"parameters.{key}: the runs are stage=ppo and share one {key.split('.')[0]} model; make a model with each "
            f"value and name it by inputs.{key.split('.')[0]}"
        )
    expected = OmegaConf.select(cfg, key, default=ABSENT)
    if expected is ABSENT:
        raise UserError(f"parameters.{checks.unknown_key(key, words)}")
    for sample in _samples(parameter):
        [parsed] = OverridesParser.create().parse_overrides([f"{key}={sample}"])
        given = parsed.value()
        if problem := checks.value_problem(cfg, key, given):
            raise UserError(f"parameters.{key}: {sample}: the key takes {problem} (its default is {expected})")


def _samples(parameter: Mapping[str, Any]) -> list[Any]:
    """Values that a run can get: all, or one of the range's type."""
    if "value" in parameter:
        return [parameter["value"]]
    if "values" in parameter:
        return list(parameter["values"])
    low, distribution = parameter.get("min"), parameter.get("distribution", "")
    whole = isinstance(low, int) and isinstance(parameter.get("max"), int) and distribution in ("", "int_uniform")
    return [low if whole else float(low if low is not None else parameter.get("mu", 0.0)) + 0.1]
