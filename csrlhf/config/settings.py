"""The keys of ``conf/train.yaml`` that stand in no group."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum, auto

from csrlhf.settings import Settings, setting


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
    """

    key = "recipe"

    max_new_tokens: int = setting(256, ">= 1")


@dataclass
class TopSettings(Settings):
    """The top of the config.

    Attributes:
        seed: of everything random.
        data_size: rows of a generated world, ``full``, ``smoke`` or ``batch``; ``experiment=smoke`` and ``debug=fast``
            choose it.
        artifacts: folder where the stages write and read.
        name: folder below ``artifacts/ppo``; None for ``<penalty>-<fingerprint>``.
        resume: go on from the last checkpoint of the same settings.
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
    leaks: Leaks = Leaks.warn
    objective: str | None = None
    recipe: RecipeSettings = field(default_factory=RecipeSettings)
    work: str = "???"
