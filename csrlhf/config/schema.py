"""The settings' dataclasses in Hydra's ConfigStore: YAML files lie over them, and what does not fit is refused.

``conf/ppo/default.yaml`` begins with ``/ppo_settings@_here_``. A node of settings carries the ``_target_`` of its
dataclass, so it is built like any other object of the config, from the composed config and from its JSON alike. Imports
no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field, fields, make_dataclass
from functools import partial
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from csrlhf.config.moved import renew
from csrlhf.config.settings import TopSettings
from csrlhf.evaluation.settings import CertifySettings, CostEvaluationSettings, EvaluateSettings
from csrlhf.generation.config import DecodeSettings
from csrlhf.models.settings import ScoreSettings, Tuning
from csrlhf.settings import Settings, default_of
from csrlhf.training.ppo.config import PPOConfig
from csrlhf.training.settings import CostSettings, RewardSettings, SFTSettings

SCHEMAS: dict[str, type[Settings]] = {
    "sft": SFTSettings, "reward": RewardSettings, "cost": CostSettings, "ppo": PPOConfig, "evaluate": EvaluateSettings,
    "cost_evaluation": CostEvaluationSettings, "certify": CertifySettings, "decode": DecodeSettings,
    "score": ScoreSettings, "tuning": Tuning,
}  # fmt: skip
"""By the name under which YAML files refer to them: ``/<name>_settings``."""

BUILT: dict[type[Settings], str] = {ScoreSettings: "csrlhf.models.score_spec.ScoreSpec"}
"""Classes that are built from a settings' node in the place of its dataclass, which they inherit from."""


def register() -> None:
    """Stores all of them. The top is no node of its own: what groups and users add beside its keys is welcome."""
    store = ConfigStore.instance()
    for name, kind in SCHEMAS.items():
        store.store(name=f"{name}_settings", node=_with_target(kind))
    top = OmegaConf.structured(TopSettings)
    store.store(name="top_settings", node={name: top._get_node(name) for name in top})


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
    """What every composed config goes through before anything is made of it: old names (``moved.py``), ranges."""
    renew(cfg)
    check_ranges(cfg)
