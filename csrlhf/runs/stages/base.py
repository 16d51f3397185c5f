"""What a stage declares: all that the runner, the plan, the leak check, the pipeline and the others know of it.

A stage is one file with a ``STAGE = Stage(...)`` and one YAML ``conf/stage/<name>.yaml`` with its module, data and
trainer. Ours lie beside this file, under the stage's name; another package's YAML names its own in
``stage.declaration`` (docs/how-to/extend.md). The pipeline's waiting process imports declarations, so their functions
import torch, and all that needs it, themselves.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from csrlhf.errors import UserError

if TYPE_CHECKING:
    from lightning.pytorch import LightningDataModule, LightningModule

    from csrlhf.data.source import Kind, Split
    from csrlhf.runs.memory import Row

    Kinds = Mapping[Kind, tuple[Split, ...]]
    """The splits that are read of each kind of row."""


@dataclass(frozen=True)
class Input:
    """An earlier result that a stage reads: one folder, under ``inputs.<name>``, as a rule.

    Attributes:
        name: the stage whose result in the artifacts folder is taken where the user names none.
        sources: the stages whose results are taken. A trained policy can be trained on, or an SFT policy judged, but
            a cost model loads as a reward model without any complaint and would be maximised.
        several: whether it may be a mapping or a list of folders.
        scorer: whether it may be a scorer of any other origin (``csrlhf/scorers/specs.py``).
    """

    name: str
    sources: tuple[str, ...]
    several: bool = False
    scorer: bool = False


SFT = Input("sft", ("sft", "ppo"))
REWARD = Input("reward", ("reward",), scorer=True)
COST = Input("cost", ("cost",), several=True, scorer=True)
PPO = Input("ppo", ("ppo", "sft"))


@dataclass(frozen=True)
class Stage:
    """What a stage is, beside the objects that its YAML builds. Everything has a default.

    Example: ``Stage(reads={"demonstrations": ("test",)}, inputs=(PPO,), consumes=("data", "seed"), steps=("test",))``.

    Attributes:
        reads: the kind of row that it reads, and the splits: what the leak check compares.
        may_read: the same of what it reads with some configurations only; is handed the whole configuration.
        inputs: earlier results that it can read; needed are those that its module or data refer to.
        replaced: inputs that another key of the configuration replaces; is handed the configuration.
        paths: keys that name folders or files, or map names to some: what these hold counts, not where they lie, and a
            folder is an input. By key: the stages whose results such a folder may be, none for any.
        scorers: those of these keys that name scorers, which need not be folders.
        files: words of keys, anywhere in what it consumes, that name a user's files: their contents count.
        folders: the same of keys that name a model's folder.
        consumes: keys of the configuration that its result depends on, beside its module, data, trainer and callbacks.
        steps: methods of the trainer that are called in turn, of ``fit``, ``validate`` and ``test``.
        monitor: metric by which the checkpoint is chosen; None for the newest.
        mode: whether the monitor's ``min`` or ``max`` is best.
        several_losses: whether each of several losses has a backward pass, and leaves out some of the weights.
        step_metric: what a tracker calls the x axis.
        run_name: how a result is called where results stand beside each other in a folder of the stage's name and the
            user has named none: is handed the configuration, the chosen option of each group, the inputs and the
            fingerprint. None where one result stands at a time, and is called as the stage.
        swept: whether it is the stage that sweeps vary: ``latest`` links to its newest result, which later stages of a
            pipeline are given, and the ids that a sweep's agent exports are this stage's alone.
        artifact: the type of its result as a W&B artifact; None for the stage's name.
        memory: counts what it holds in memory per device; is handed the configuration.
        rehearse: compares, before a pipeline's first stage runs, what has to agree; is handed modules and DataModules
            of the pipeline's stages by name, those of its own and of the stages before it.
        run: runs a stage that has no trainer; is handed the configuration, the user's overrides and the words that
            start the program, and returns its metrics and the folder of its result, None where it has none.
    """

    reads: Kinds = field(default_factory=dict)
    may_read: Callable[[Mapping[str, Any]], Kinds] = lambda config: {}
    inputs: tuple[Input, ...] = ()
    replaced: Callable[[DictConfig], set[str]] = lambda cfg: set()
    paths: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    scorers: tuple[str, ...] = ()
    files: tuple[str, ...] = ("chat_template",)
    folders: tuple[str, ...] = ("path", "backbone")
    consumes: tuple[str, ...] = ()
    steps: tuple[str, ...] = ("fit", "validate", "test")
    monitor: str | None = None
    mode: str = "min"
    several_losses: bool = False
    step_metric: str = "trainer/global_step"
    run_name: Callable[[DictConfig, Mapping[str, str], Mapping[str, str], str], str] | None = None
    swept: bool = False
    artifact: str | None = None
    memory: Callable[[DictConfig], list[Row]] | None = None
    rehearse: Callable[[Mapping[str, LightningModule], Mapping[str, LightningDataModule]], None] | None = None
    run: Callable[[DictConfig, Sequence[str], Sequence[str]], tuple[dict[str, float], Path | None]] | None = None


def declaration(place: str) -> Stage:
    """The declaration at a dotted name, as in ``stage.declaration``.

    Raises:
        UserError: there is none.
    """
    module, _, word = place.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), word)
    except Exception as error:  # somebody else's code: any error is possible
        raise UserError(
            f"stage.declaration={place}: {error}; name a Stage of a module, see docs/how-to/extend.md"
        ) from error
    if not isinstance(found, Stage):
        raise UserError(
            f"stage.declaration={place}: is a {type(found).__name__}, not a Stage, see docs/how-to/extend.md"
        )
    return found


def made_by(name: str, config: Mapping[str, Any]) -> Stage:
    """The declaration of the stage that has made a result.

    Args:
        name: the stage's.
        config: its whole configuration; one that names no declaration is of a stage of ours, or of no stage.

    Raises:
        UserError: the declaration is not there (any more).
    """
    place = (config.get("stage") or {}).get("declaration")
    if place is None and (Path(__file__).parent / f"{name}.py").is_file():
        place = f"{__package__}.{name}.STAGE"
    return Stage() if place is None else declaration(place)


def run_of(inputs: Mapping[str, str]) -> str:
    """The name of the run whose policy is read."""
    return Path(inputs["ppo"]).resolve().name
