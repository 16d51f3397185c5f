"""``csrlhf.train`` and ``csrlhf.compose``: the command line, from Python.

A keyword is an override, so ``csrlhf.train(stage="ppo", penalty="lagrangian")`` does what
``python train.py stage=ppo penalty=lagrangian`` does: same config, same folders, same fingerprint. A stage on one
device runs in this process, where a debugger reaches it. The pipeline, and a stage on several devices, run in
processes of their own: Lightning's launcher would start the calling script once more per device.

Mistakes are raised as ``UserError`` with the line that the command line prints.
"""

from __future__ import annotations

import json
import numbers
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TextIO

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from csrlhf.apps import cli
from csrlhf.config import overrides, search_path
from csrlhf.errors import UserError
from csrlhf.runs import pipeline
from csrlhf.runs.plan import make_plan

PROGRAM = (sys.executable, "-m", "csrlhf")

PLAIN = re.compile(r"[A-Za-z_/][\w./-]*", re.ASCII)
"""Texts that need no quotes in Hydra's grammar, unless they are one of its words."""

WORDS = ("null", "true", "false", "inf", "nan")
"""What Hydra reads as a value that is no text."""


@dataclass(frozen=True)
class Result:
    """What ``train`` has made.

    Attributes:
        stage: the stage that ran.
        folder: its result; of the pipeline the last stage's; None for ``stage=data``, which has none.
        metrics: flat numbers as in ``metrics.json`` (docs/metrics.md); of the pipeline those of all stages.
        folders: the result of each stage that ran, by the stage's name.

    Example:
        ``Result("sft", Path("artifacts/sft"), {"test/loss": 0.4}, {"sft": Path("artifacts/sft")})``.
    """

    stage: str
    folder: Path | None
    metrics: dict[str, float] = field(repr=False)
    folders: dict[str, Path] = field(repr=False)


def train(overrides: Sequence[str] = (), **settings: Any) -> Result:
    """Run a stage, or the pipeline of all stages, and wait for its result.

    Args:
        overrides: words of the command line, for what is no keyword: ``["~constraint", "+trainer.profiler=simple"]``.
        **settings: overrides by key. Dotted keys come in a mapping, ``**{"constraints.harm.threshold": 0.02}``, or
            nested, ``constraints={"harm": {"threshold": 0.02}}``. None is ``null``; texts are quoted where needed.

    Returns:
        The folders and metrics of what has run, or stood already.

    Raises:
        UserError: a mistake, in the line that the command line prints.
        KeyboardInterrupt: with the command that goes on.

    Example:
        ``csrlhf.train(stage="ppo", penalty="lagrangian", artifacts="artifacts").metrics["selection/best_reward"]``.
    """
    words = words_of(settings, overrides)
    with _composed(words) as cfg:
        if cfg.stage.name == "pipeline" or OmegaConf.select(cfg, "trainer.strategy", default="auto") != "auto":
            metrics, folders = _in_processes(cfg, words)
        else:
            from csrlhf.runs import runner  # its libraries take seconds

            metrics, folders = runner.execute(cfg, PROGRAM)
    return Result(cfg.stage.name, next(reversed(folders.values()), None), metrics, folders)


def compose(*overrides: str, **settings: Any) -> DictConfig:
    """The config that a run with these overrides would have, checked as the command line checks it.

    Args:
        overrides: words as on the command line, ``"stage=ppo"``.
        **settings: overrides by key, see :func:`train`.

    Raises:
        UserError: a key, a choice or a type is wrong.

    Example:
        ``csrlhf.compose("stage=ppo", penalty="lagrangian").penalty.lr``.
    """
    with _composed(words_of(settings, overrides)) as cfg:
        return cfg


def words_of(settings: Mapping[str, Any], overrides: Sequence[str] = ()) -> list[str]:
    """Settings as ``key=value`` words in Hydra's grammar, then the overrides as they are.

    A mapping below a plain name is spread, since the name may be a group's: ``ppo={"clip": 0.1}`` is ``ppo.clip=0.1``.

    Raises:
        UserError: a value has no form on the command line, or ``overrides`` is a single text.
    """
    if isinstance(overrides, str):
        raise UserError(f"overrides={overrides!r}: must be a list of words, [{overrides!r}]")
    words = []
    for key, value in settings.items():
        if isinstance(value, Mapping) and "." not in key:
            words += [f"{key}.{name}={_written(f'{key}.{name}', inner)}" for name, inner in value.items()]
        else:
            words.append(f"{key}={_written(key, value)}")
    return [*words, *overrides]


def _written(key: str, value: Any) -> str:
    """A value in Hydra's grammar of overrides."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, numbers.Integral):  # numpy's as well
        return str(int(value))
    if isinstance(value, numbers.Real):
        return repr(float(value))
    if isinstance(value, str | os.PathLike):
        text = os.fspath(value)
        if PLAIN.fullmatch(text) and text.lower() not in WORDS:
            return text
        return QuotedString(text, Quote.single).with_quotes()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_key(name)}:{_written(f'{key}.{name}', inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, Sequence | set | frozenset):
        return "[" + ",".join(_written(key, item) for item in value) + "]"
    raise UserError(
        f"{key}: no override holds a value of type {type(value).__name__}; "
        "give numbers, texts, paths, lists, mappings or None"
    )


def _key(name: Any) -> str:
    """A mapping's key; Hydra's grammar has escapes for it and no quotes."""
    return re.sub(r"([\\()\[\]{}:=, \t])", r"\\\1", str(name))


@contextmanager
def _composed(words: Sequence[str]) -> Iterator[DictConfig]:
    """The checked config; while the block runs, Hydra's state is that of a run from the command line.

    ``HydraConfig`` is set because checks, plan and fingerprint ask it for the overrides and the chosen groups, as
    ``@hydra.main`` leaves them. An application of the caller's that uses Hydra itself finds its own state again.
    """
    search_path.register()
    caller_hydra, caller_config = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(search_path.conf_folder(), version_base="1.3"):
            overrides.refuse_options(words)
            whole = hydra_compose("train", overrides=overrides.from_nothing(words), return_hydra_config=True)
            HydraConfig.instance().set_config(whole)
            cfg = whole.copy()
            with read_write(cfg), open_dict(cfg):
                del cfg["hydra"]
            overrides.check_types(cfg)
            overrides.check_added(cfg)
            yield cfg
    except UserError:
        raise
    except Exception as error:
        message = cli.one_line(error, words)
        if message is None:  # a bug, with its traceback
            raise
        raise UserError(message) from error
    finally:
        GlobalHydra.instance().hydra, HydraConfig.instance().cfg = caller_hydra, caller_config


def _in_processes(cfg: DictConfig, words: Sequence[str]) -> tuple[dict[str, float], dict[str, Path]]:
    """Runs the command line and reads what it has left."""
    _run_program([*PROGRAM, *words])
    command, hydra = pipeline.readable(PROGRAM), HydraConfig.get()
    if cfg.stage.name == "pipeline":
        composed = pipeline.compose_stages(cfg, list(hydra.overrides.task))
        folders = {plan.stage: plan.folder for plan, _ in pipeline.plans(composed, command)}
    else:
        folders = {cfg.stage.name: make_plan(cfg, dict(hydra.runtime.choices), command).folder}
    metrics: dict[str, float] = {}
    for folder in folders.values():
        metrics |= json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return {key: value for key, value in metrics.items() if value is not None}, folders


def _run_program(words: Sequence[str]) -> None:
    """Runs a command whose output appears as this process's own, and raises its error.

    The terminal is handed on as it is, for the progress bars; where ``sys.stdout`` is something else (a notebook's
    cell) the lines are written to it as they come.
    """
    ours = sys.stdout is sys.__stdout__
    process = subprocess.Popen(
        words, stdout=None if ours else subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    )
    errors: list[str] = []
    assert process.stderr is not None
    watching = threading.Thread(target=_pass_on, args=(process.stderr, sys.stderr, errors))
    watching.start()
    try:
        if process.stdout is not None:
            _pass_on(process.stdout, sys.stdout)
        code = process.wait()
    except KeyboardInterrupt:  # the whole process group has it: the program saves and ends
        process.wait()
        code = cli.INTERRUPTED
    finally:
        watching.join()
    if code == cli.INTERRUPTED:
        raise KeyboardInterrupt
    if errors:
        raise UserError(errors[-1])
    if code:
        raise RuntimeError(f"{' '.join(words)} ended with exit code {code}; its traceback stands above")


def _pass_on(source: IO[str], target: TextIO, errors: list[str] | None = None) -> None:
    """Writes lines on as they come; those that report an error (``cli.report``) go to ``errors`` instead."""
    for line in source:
        if errors is not None and line.startswith(cli.ERROR):
            errors.append(line.removeprefix(cli.ERROR).strip())
        else:
            target.write(line)
            target.flush()
