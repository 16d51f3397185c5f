"""The settings' dataclasses in Hydra's ConfigStore: YAML files lie over them, and what does not fit is refused.

``conf/ppo/default.yaml`` begins with ``/ppo_settings@_here_``. A node of settings carries the ``_target_`` of its
dataclass, so it is built like any other object of the config, from the composed config and from its JSON alike. Imports
no torch.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, make_dataclass
from enum import StrEnum, auto
from functools import partial
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from csrlhf.errors import InputWarning
from csrlhf.evaluation.settings import CertifySettings, CostEvaluationSettings, EvaluateSettings
from csrlhf.generation.config import DecodeSettings
from csrlhf.models.settings import ChatSettings, ScoreSettings, Tuning
from csrlhf.settings import Settings, default_of, setting
from csrlhf.training.ppo.config import PPOConfig
from csrlhf.training.settings import CostSettings, RewardSettings, SFTSettings

# The keys of ``conf/train.yaml`` that stand in no group.


class Leaks(StrEnum):
    """What is done about held-out prompts that this stage or an earlier one was trained on."""

    error = auto()
    warn = auto()
    ignore = auto()


@dataclass
class RecipeSettings(Settings):
    """Numbers of a recipe that others refer to.

    Attributes:
        max_new_tokens: longest answer, end token included; what ``rollout=default`` takes. A rollout of somebody else's
            has lengths of its own.
        smoke_max_new_tokens: the longest answer in ``experiment=smoke``.
        smoke_batch_size: responses per iteration of ``experiment=smoke``, whose models may be large.
        smoke_validation: its validation prompts.
        smoke_steps: its optimiser steps of the reward model.
    """

    key = "recipe"

    max_new_tokens: int = setting(256, ">= 1")
    smoke_max_new_tokens: int = setting(16, ">= 1")
    smoke_batch_size: int = setting(64, ">= 1")
    smoke_validation: int = setting(256, ">= 1")
    smoke_steps: int = setting(20, ">= 1")


@dataclass
class TopSettings(Settings):
    """The top of the config.

    Attributes:
        seed: of everything random.
        data_size: rows of a generated world or of tables, ``full``, ``smoke`` or ``batch``; ``experiment=smoke`` and
            ``debug=fast`` choose it.
        artifacts: folder where the stages write and read.
        name: folder below ``artifacts/ppo``; None for ``<penalty>-<fingerprint>``.
        resume: go on from the last checkpoint of the same settings.
        refusals: who finds refusals in ppo and evaluate: ``words``, or the folder of a trained judge.
        leaks: what is done about held-out prompts that were trained on.
        objective: metric key whose value is returned to a sweep, e.g. ``eval/unsafe_rate``.
        recipe: numbers of the recipe that others refer to.
        work: the stage's working folder (checkpoints, history); the runner sets it.
    """

    seed: int = 0
    data_size: str = "full"
    artifacts: str = "artifacts"
    name: str | None = None
    resume: bool = False
    refusals: str = "words"
    leaks: Leaks = Leaks.warn
    objective: str | None = None
    recipe: RecipeSettings = field(default_factory=RecipeSettings)
    work: str = "???"


# Classes that people name in their own YAML files and that have moved: old names go on working, with one line each.
#
# Penalties, constraints, advantages and data sources are where they always were.

MOVED = {
    "csrlhf.rollout.sampler.Sampler": "csrlhf.generation.sampler.Sampler",
    "csrlhf.modules.optimizers.AdamW": "csrlhf.training.optim.AdamW",
    "csrlhf.modules.optimizers.AdamW8bit": "csrlhf.training.optim.AdamW8bit",
    "csrlhf.modules.selection.Selection": "csrlhf.training.ppo.config.SelectionSettings",
    "csrlhf.models.tuning.Tuning": "csrlhf.models.settings.Tuning",
    "csrlhf.callbacks.averaging.MovingAverage": "csrlhf.tracking.averaging.MovingAverage",
    "csrlhf.callbacks.cost_plots.CostPlots": "csrlhf.tracking.plots.CostPlots",
    "csrlhf.callbacks.display.progress_bar": "csrlhf.tracking.display.progress_bar",
    "csrlhf.callbacks.plots.Plots": "csrlhf.tracking.plots.Plots",
    "csrlhf.callbacks.samples.SampleTables": "csrlhf.tracking.tables.SampleTables",
    "csrlhf.callbacks.score_report.ScoreReport": "csrlhf.tracking.tables.ScoreReport",
    "csrlhf.callbacks.tracking.wandb_logger": "csrlhf.tracking.wandb_run.wandb_logger",
}
"""New names by old ones."""


def renew(config: DictConfig, key: str = "") -> None:
    """Replaces old names by new ones, in place, wherever a ``_target_`` has one; warns of each."""
    if config._is_none() or config._is_interpolation() or config._is_missing():
        return
    for name in config:
        node: Any = config._get_node(name)
        place = f"{key}.{name}" if key else str(name)
        if isinstance(node, DictConfig):
            renew(node, place)
        elif name == "_target_" and (new := MOVED.get(node._value())) is not None:
            warnings.warn(
                f"{place}={node._value()}: has moved to {new}; write that, the old name will go",
                InputWarning,
                stacklevel=2,
            )
            config[name] = new


SCHEMAS: dict[str, type[Settings]] = {
    "sft": SFTSettings, "reward": RewardSettings, "cost": CostSettings, "ppo": PPOConfig, "evaluate": EvaluateSettings,
    "cost_evaluation": CostEvaluationSettings, "certify": CertifySettings, "decode": DecodeSettings,
    "score": ScoreSettings, "tuning": Tuning, "chat": ChatSettings,
}  # fmt: skip
"""By the name under which YAML files refer to them: ``/<name>_settings``."""

BUILT: dict[type[Settings], str] = {ScoreSettings: "csrlhf.models.score_model.ScoreSpec"}
"""Classes that are built from a settings' node in the place of its dataclass, which they inherit from."""


def register() -> None:
    """Stores all of them, once. The top and the keys of ``model`` are no nodes of their own: others may stand there."""
    store = ConfigStore.instance()
    if "top_settings.yaml" in store.repo:
        return
    for name, kind in SCHEMAS.items():
        store.store(name=f"{name}_settings", node=_with_target(kind))
    for name, kind in {"top_settings": TopSettings, "chat_keys": ChatSettings}.items():
        typed = OmegaConf.structured(kind)
        store.store(name=name, node={key: typed._get_node(key) for key in typed})


def _with_target(kind: type[Settings]) -> type[Settings]:
    """A dataclass like ``kind``, with ``_target_`` in it and in the settings inside of it."""
    inner: list[tuple[str, type, Any]] = []
    for item in fields(kind):  # type: ignore[arg-type]  # every subclass is a dataclass
        if isinstance(default := default_of(item), Settings):
            made = _with_target(type(default))
            inner.append((item.name, made, field(default_factory=partial(made, **vars(default)))))
    target = BUILT.get(kind, f"{kind.__module__}.{kind.__qualname__}")
    named = ("_target_", str, field(default=target, kw_only=True))
    return make_dataclass(kind.__name__, [named, *inner], bases=(kind,))


def settings_in(cfg: DictConfig, key: str = "") -> Iterator[tuple[str, DictConfig, type[Settings]]]:
    """All nodes of settings in a composed config, with their dotted keys and dataclasses."""
    kind = OmegaConf.get_type(cfg)
    if isinstance(kind, type) and issubclass(kind, Settings):
        yield key, cfg, kind
    for name in cfg:
        node = cfg._get_node(name)
        if isinstance(node, DictConfig) and not (node._is_none() or node._is_interpolation() or node._is_missing()):
            yield from settings_in(node, f"{key}.{name}" if key else str(name))


def check_ranges(cfg: DictConfig) -> None:
    """Looks at every setting's range, whichever stage it is for.

    Raises:
        UserError: names the dotted key, the value and what it takes.
    """
    for key, node, kind in settings_in(cfg):
        settings: Any = object.__new__(kind)
        for item in fields(kind):  # type: ignore[arg-type]  # every subclass is a dataclass
            setattr(settings, item.name, node[item.name])
        settings.check(key)


def prepare(cfg: DictConfig) -> None:
    """What every composed config goes through before anything is made of it: old names, ranges."""
    renew(cfg)
    check_ranges(cfg)
