"""Which folders a stage reads: those the user names, else what stands in the artifacts folder.

An input is one folder. The cost models may be several, as a mapping or a list; each then has a key of its own,
``cost.<name>`` or ``cost.<position>``, so that every folder has one fingerprint and one entry in ``csrlhf.json``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from csrlhf import artifacts
from csrlhf.errors import UserError

NAMED_STAGES = {"ppo", "evaluate", "certify"}
"""Stages whose results stand beside each other, one folder per run."""

SOURCES = {"sft": ("sft", "ppo"), "reward": ("reward",), "cost": ("cost",), "ppo": ("ppo", "sft")}
"""Which stages' results an input takes: a trained policy can be trained on, or an SFT policy judged, but a cost model
loads as a reward model without any complaint and would be maximised."""

SEVERAL = ("cost",)
"""Inputs that may be several folders, a mapping or a list."""


def resolve(cfg: DictConfig, name: str, root: Path, command: str) -> dict[str, str]:
    """The folder of an input under its name, or the folders of several cost models under ``cost.<name>``."""
    given = cfg.inputs[name]
    if given is None:
        return {name: _standing(cfg, name, root, command)}
    if not OmegaConf.is_config(given):
        return {name: _given(name, name, given)}
    if name not in SEVERAL or not given:
        several = "at least one folder" if name in SEVERAL else f"one folder (several are taken by inputs.{SEVERAL[0]})"
        raise UserError(f"inputs.{name}={given}: takes {several}")
    parts = enumerate(given) if OmegaConf.is_list(given) else given.items()
    return {f"{name}.{part}": _given(name, f"{name}.{part}", folder) for part, folder in parts}


def put_input(inputs: DictConfig, key: str, value: str) -> None:
    """Writes a resolved input to where it was given: ``sft``, ``cost.harm`` in a mapping, ``cost.0`` in a list."""
    name, _, part = key.partition(".")
    if not part:
        inputs[name] = value
    elif OmegaConf.is_list(inputs[name]):
        inputs[name][int(part)] = value
    else:
        inputs[name][part] = value


def _given(name: str, key: str, given: Any) -> str:
    """The folder (or hub name) that the user named."""
    local = str(given).startswith((".", "/", "~")) or Path(str(given)).exists()
    if given is None or (local and not Path(str(given)).expanduser().is_dir()):
        raise UserError(f"inputs.{key}={given}: there is no such folder")
    _check_source(name, key, Path(str(given)).expanduser())
    return str(Path(str(given)).expanduser()) if local else str(given)


def _standing(cfg: DictConfig, name: str, root: Path, command: str) -> str:
    """The result in the artifacts folder."""
    folder = root / name
    if name in NAMED_STAGES:
        folder = (folder / artifacts.LATEST).resolve()
    if artifacts.read_record(folder) is None:
        raise UserError(
            f"stage={cfg.stage.name} needs the result of stage={name}, and there is none in {root / name}; "
            f"make it with: {command} stage={name} artifacts={root} (or point inputs.{name}= to one)"
        )
    _check_source(name, name, folder)
    return str(folder)


def _check_source(name: str, key: str, folder: Path) -> None:
    record = artifacts.read_record(folder)
    stage = (record or {}).get("stage")
    if stage is not None and stage not in SOURCES[name]:
        raise UserError(
            f"inputs.{key}={folder}: holds the result of stage={stage}; name one of stage={SOURCES[name][0]}"
        )
