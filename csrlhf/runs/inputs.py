"""Which folders a stage reads: those the user names, else those in the artifacts folder.

An input is one folder. The cost models may be several, as a mapping or a list; each then has a key of its own,
``cost.<name>`` or ``cost.<position>``, so that every folder has one fingerprint and one entry in ``csrlhf.json``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from csrlhf.errors import UserError
from csrlhf.runs import artifacts

NAMED_STAGES = {"ppo", "evaluate", "certify"}
"""Stages with one result folder per run."""

SOURCES = {"sft": ("sft", "ppo"), "reward": ("reward",), "cost": ("cost",), "ppo": ("ppo", "sft")}
"""Which stages' results an input takes: a trained policy can be trained on, or an SFT policy judged, but a cost model
loads as a reward model without any complaint and would be maximised."""

PATH_SOURCES = {"evaluate.policies": ("ppo", "sft"), "evaluate.judge": ("cost",)}
"""The same for keys of ``stage.paths``."""

REPLACED = {"evaluate.policies": ("ppo",), "evaluate.outputs": ("sft", "reward", "cost", "ppo")}
"""Keys of ``stage.paths`` that stand in for inputs: with other policies the trained one is not read, and kept answers
need no model."""

TABLES = (".jsonl", ".csv", ".parquet")
"""How names of files end."""

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


def named_paths(cfg: DictConfig) -> dict[str, str]:
    """Folders and files that the keys in ``stage.paths`` name, by key: ``evaluate.labels``, ``evaluate.policies.mine``.

    A key holds nothing, one path, or a mapping of names to paths. What is neither on the disk nor looks like a path is
    left out: a word such as ``oracle``, or a model's name on the Hub.

    Raises:
        UserError: there is no such file or folder, or a folder holds the result of another stage.
    """
    found: dict[str, str] = {}
    for key in OmegaConf.select(cfg, "stage.paths", default=()):
        given = OmegaConf.select(cfg, key)
        parts = {f"{key}.{name}": path for name, path in given.items()} if OmegaConf.is_dict(given) else {key: given}
        for part, path in parts.items():
            if path is None and part == key:
                continue
            if "." in part.removeprefix(key)[1:]:
                raise UserError(f"{part}={path}: a name with a point; use letters, digits, - and _")
            place = Path(str(path)).expanduser()
            if place.is_dir():
                _check_source(part, place, PATH_SOURCES.get(key, ()))
            elif not place.is_file() and (str(path).startswith((".", "/", "~")) or place.suffix in TABLES):
                raise UserError(f"{part}={path}: there is no such file or folder")
            if place.exists():
                found[part] = str(place)
    return found


def replaced_inputs(cfg: DictConfig) -> set[str]:
    """Inputs that the stage does not read, since another key replaces them."""
    asked = OmegaConf.select(cfg, "stage.paths", default=())
    if "policies" not in cfg.evaluate:  # a cost model is evaluated: it reads kept answers itself
        return set()
    return {name for key, names in REPLACED.items() if key in asked and OmegaConf.select(cfg, key) for name in names}


def put(cfg: DictConfig, key: str, value: str) -> None:
    """Writes a resolved input or path to where it was given."""
    if key.partition(".")[0] in cfg.inputs:
        put_input(cfg.inputs, key, value)
    else:
        with open_dict(cfg):
            OmegaConf.update(cfg, key, value)


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
    _check_source(f"inputs.{key}", Path(str(given)).expanduser(), SOURCES[name])
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
    _check_source(f"inputs.{name}", folder, SOURCES[name])
    return str(folder)


def _check_source(key: str, folder: Path, sources: Sequence[str]) -> None:
    record = artifacts.read_record(folder)
    stage = (record or {}).get("stage")
    if stage is not None and sources and stage not in sources:
        raise UserError(f"{key}={folder}: holds the result of stage={stage}; name one of stage={sources[0]}")
