"""A W&B sweep file: read, checked, and held against the configuration before anything runs.

The file is W&B's (``wandb sweep FILE``), and means the same here. What W&B would take and a run of ours could not is
refused: nested parameters, flags with dashes, a ``null`` (the agent writes the word ``None``), a parameter that is no
key of the configuration or not of its type.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
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

METHODS = ("grid", "random", "bayes")
KEYS = (
    "program", "command", "method", "metric", "parameters", "early_terminate", "run_cap", "name", "description",
    "project", "entity",
)  # fmt: skip
PARAMETER_KEYS = ("values", "value", "probabilities", "distribution", "min", "max", "mu", "sigma", "q")
DISTRIBUTIONS = (
    "constant", "categorical", "categorical_w_probabilities", "int_uniform", "uniform", "q_uniform",
    "log_uniform_values", "log_uniform", "q_log_uniform_values", "q_log_uniform", "inv_log_uniform_values",
    "inv_log_uniform", "normal", "q_normal", "log_normal", "q_log_normal",
)  # fmt: skip
ARGUMENTS = "${args_no_hyphens}"
BEFORE_PROGRAM = ("${env}", "${interpreter}", "python", "python3")


@dataclass(frozen=True)
class Spec:
    """One sweep file.

    Attributes:
        name: the file's name without its ending.
        method: ``grid``, ``random`` or ``bayes``.
        program: what is run.
        fixed: words of every run.
        parameters: as in the file.
        metric: name and goal; empty where there is none.
        run_cap: the most runs; None is no limit.
        content: the whole file.
    """

    name: str
    method: str
    program: str
    fixed: tuple[str, ...]
    parameters: Mapping[str, Mapping[str, Any]]
    metric: Mapping[str, str]
    run_cap: int | None
    content: Mapping[str, Any]

    @property
    def hash(self) -> str:
        """Of the content, whatever the file's layout and comments."""
        return hashlib.sha256(json.dumps(self.content, sort_keys=True, default=str).encode()).hexdigest()

    @property
    def varied(self) -> list[str]:
        """The parameters that differ between runs."""
        return [key for key, parameter in self.parameters.items() if "value" not in parameter]


def read_spec(path: Path) -> Spec:
    """Reads and checks a sweep file.

    Raises:
        UserError: names the file and the key.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{path}, line {line}: not valid YAML ({error.problem})") from error
    try:
        return _spec(path.stem, content)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def listed(parameter: Mapping[str, Any]) -> list[Any] | None:
    """A parameter's values; None where it has a range."""
    return [parameter["value"]] if "value" in parameter else parameter.get("values")


def words_of(parameters: Mapping[str, Any]) -> list[str]:
    """``key=value`` as W&B's agent writes them for ``${args_no_hyphens}``."""
    return [f"{key}={value}" for key, value in parameters.items()]


def _spec(name: str, content: Any) -> Spec:
    if not isinstance(content, dict):
        raise UserError("takes a mapping with the keys program, method and parameters")
    for key in content:
        if key not in KEYS:
            raise UserError(f"{key}: there is no such key{_meant(key, KEYS)}; there are {', '.join(KEYS)}")
    method = content.get("method")
    if method not in METHODS:
        raise UserError(f"method={method}: use one of {', '.join(METHODS)}{_meant(method, METHODS)}")
    parameters = content.get("parameters")
    if not isinstance(parameters, dict) or not parameters:
        raise UserError("parameters: takes at least one parameter, as {penalty.multiplier: {values: [4.0, 8.0]}}")
    for key, parameter in parameters.items():
        _check_parameter(f"parameters.{key}", parameter, method)
    metric = content.get("metric") or {}
    if metric and (not isinstance(metric, dict) or metric.get("goal", "minimize") not in ("minimize", "maximize")):
        raise UserError(f"metric={metric}: takes {{name: selection/score, goal: maximize}} (or minimize)")
    if metric and "name" not in metric:
        raise UserError("metric.name: name a key of docs/reference/metrics.md, selection/score for one")
    if method == "bayes" and not metric:
        raise UserError("metric: method=bayes needs one, {name: selection/score, goal: maximize}")
    run_cap = content.get("run_cap")
    if run_cap is not None and (not isinstance(run_cap, int) or isinstance(run_cap, bool) or run_cap < 1):
        raise UserError(f"run_cap={run_cap}: must be a whole number above 0")
    program = content.get("program")
    if not isinstance(program, str):
        raise UserError(f"program={program}: name the program, train.py")
    return Spec(name, method, program, _fixed(program, content.get("command")), parameters, metric, run_cap, content)


def _check_parameter(key: str, parameter: Any, method: str) -> None:
    if not isinstance(parameter, dict):
        raise UserError(f"{key}={parameter}: takes a mapping, {{values: [...]}} or {{value: ...}} or {{min: , max: }}")
    if "parameters" in parameter:
        raise UserError(
            f"{key}.parameters: write nested parameters with dots, a.b instead of a: {{parameters: {{b: }}}}"
        )
    for name in parameter:
        if name not in PARAMETER_KEYS:
            raise UserError(f"{key}.{name}: there is no such key{_meant(name, PARAMETER_KEYS)}")
    distribution = parameter.get("distribution")
    if distribution is not None and distribution not in DISTRIBUTIONS:
        raise UserError(f"{key}.distribution={distribution}: use one of {', '.join(DISTRIBUTIONS)}")
    values = listed(parameter)
    if values is None:
        _check_range(key, parameter, method)
        return
    if not isinstance(values, list) or not values:
        raise UserError(f"{key}.values={values}: takes a list with at least one value")
    for value in values:
        if value is None:
            raise UserError(f'{key}: null would reach the program as the word None; write "null"')
        if not isinstance(value, str | int | float):
            raise UserError(f'{key}: {value} would reach the program as Python writes it; put it in quotes, "{value}"')
    if min(len(set(values)), len({str(value) for value in values})) < len(values):
        raise UserError(f"{key}.values={values}: a value occurs twice")
    weights = parameter.get("probabilities")
    if weights is not None and (len(weights) != len(values) or abs(sum(weights) - 1) > 1e-6):
        raise UserError(
            f"{key}.probabilities={weights}: takes one for each of the {len(values)} values, with the sum 1"
        )
    if weights is not None and method == "grid":
        raise UserError(f"{key}.probabilities: a grid takes every value once; use method: random")


def _check_range(key: str, parameter: Mapping[str, Any], method: str) -> None:
    distribution = parameter.get("distribution", "")
    low, high = parameter.get("min"), parameter.get("max")
    if "normal" not in distribution and not (isinstance(low, int | float) and isinstance(high, int | float)):
        raise UserError(f"{key}: takes values, value, or min and max (two numbers)")
    if isinstance(low, int | float) and isinstance(high, int | float) and low >= high:
        raise UserError(f"{key}: min={low} is not less than max={high}")
    if "log_uniform_values" in distribution and isinstance(low, int | float) and low <= 0:
        raise UserError(f"{key}: min={low} must be above 0, as distribution={distribution} takes its logarithm")
    if "q" in parameter and not distribution.startswith("q_"):
        raise UserError(f"{key}.q: goes with a distribution whose name begins with q_")
    whole = isinstance(low, int) and isinstance(high, int) and distribution in ("", "int_uniform")
    if method == "grid" and not (whole or distribution == "q_uniform"):
        raise UserError(f"{key}: a grid takes values, whole numbers from min to max, or distribution: q_uniform")


def _fixed(program: str, command: Any) -> tuple[str, ...]:
    """The words between program and parameters."""
    example = f'["${{env}}", "python", "${{program}}", "stage=ppo", "{ARGUMENTS}"]'
    if not isinstance(command, list):
        raise UserError(f"command={command}: takes a list, {example} (without it the agent passes flags with dashes)")
    words = [str(word) for word in command]
    started = [word for word in words if word not in BEFORE_PROGRAM]
    if not started or started[0] not in ("${program}", program):
        raise UserError(f"command={words}: the program comes first, as in {example}")
    if ARGUMENTS not in started:
        raise UserError(f"command={words}: without {ARGUMENTS} the parameters do not reach the program")
    fixed = [word for word in started[1:] if word != ARGUMENTS]
    for word in fixed:
        if word.startswith("${") or "=" not in word:
            raise UserError(f"command: {word}: takes key=value words, and {ARGUMENTS} once")
    return tuple(fixed)


def _meant(word: Any, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(str(word), known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


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
    if checks.FREE.fullmatch(key):
        return
    for sample in _samples(parameter):
        [parsed] = OverridesParser.create().parse_overrides([f"{key}={sample}"])
        given = parsed.value()
        if given is None and checks.NULLABLE.fullmatch(key):
            continue
        if problem := checks.type_problem(expected, given if not isinstance(given, dict) else OmegaConf.create(given)):
            raise UserError(f"parameters.{key}: {sample}: the key takes {problem} (its default is {expected})")


def _samples(parameter: Mapping[str, Any]) -> list[Any]:
    """Values that a run can get: all, or one of the range's type."""
    if (values := listed(parameter)) is not None:
        return values
    low, distribution = parameter.get("min"), parameter.get("distribution", "")
    whole = isinstance(low, int) and isinstance(parameter.get("max"), int) and distribution in ("", "int_uniform")
    return [low if whole else float(low if low is not None else parameter.get("mu", 0.0)) + 0.1]
