"""Which folders a stage reads: those the user names, else those in the artifacts folder.

An input is one folder. The cost models may be several, as a mapping or a list; each then has a key of its own,
``cost.<name>`` or ``cost.<position>``, so that every folder has one fingerprint and one entry in ``csrlhf.json``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from csrlhf.errors import UserError
from csrlhf.runs import artifacts
from csrlhf.runs.stages.base import Input

TABLES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".gz", ".zst")
"""How names of files end."""


def resolve(cfg: DictConfig, inputs: Iterable[Input], command: str) -> dict[str, str]:
    """The folder of each input under its name, or the folders of several cost models under ``cost.<name>``.

    Args:
        cfg: the composed config of the stage.
        inputs: those that it needs.
        command: how the user starts the program, for the hint when an input is missing.

    Raises:
        UserError: an input is missing, or is the result of another stage.
    """
    found: dict[str, str] = {}
    for one in inputs:
        name, given = one.name, cfg.inputs[one.name]
        if given is None:
            found[name] = _standing(cfg, one, command)
        elif not OmegaConf.is_config(given):
            found[name] = _given(one, name, given)
        elif not one.several:
            several = [f"inputs.{other.name}" for other in inputs if other.several]
            hint = f" (several are taken by {', '.join(several)})" if several else ""
            raise UserError(f"inputs.{name}={given}: takes one folder{hint}")
        elif not given:
            raise UserError(f"inputs.{name}={given}: takes at least one folder")
        else:
            parts = enumerate(given) if OmegaConf.is_list(given) else given.items()
            found |= {f"{name}.{part}": _given(one, f"{name}.{part}", folder) for part, folder in parts}
    return found


def named_paths(cfg: DictConfig, paths: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Folders and files that keys of the configuration name: ``evaluate.labels``, ``evaluate.policies.mine``.

    A key holds nothing, one path, or a mapping of names to paths. What is neither on the disk nor looks like a path is
    left out: a word such as ``oracle``, or a model's name on the Hub.

    Args:
        cfg: the composed config of the stage.
        paths: the keys, as the stage declares them.

    Raises:
        UserError: there is no such file or folder, or a folder holds the result of another stage.
    """
    found: dict[str, str] = {}
    for key, sources in paths.items():
        given = OmegaConf.select(cfg, key)
        parts = {f"{key}.{name}": path for name, path in given.items()} if OmegaConf.is_dict(given) else {key: given}
        for part, path in parts.items():
            if path is None and part == key:
                continue
            if "." in part.removeprefix(key)[1:]:
                raise UserError(f"{part}={path}: a name with a point; use letters, digits, - and _")
            place = Path(str(path)).expanduser()
            if place.is_dir():
                _check_source(part, place, sources)
            elif not place.is_file() and (str(path).startswith((".", "/", "~")) or place.suffix in TABLES):
                raise UserError(f"{part}={path}: there is no such file or folder")
            if place.exists():
                found[part] = str(place)
    return found


def put(cfg: DictConfig, key: str, value: str) -> None:
    """Writes a resolved input or path to where it was given: ``sft``, ``cost.harm`` in a mapping, ``cost.0`` in a list.

    Keys of inputs start with the input's name, all others are keys of the configuration.
    """
    name, _, part = key.partition(".")
    if name not in cfg.inputs:
        with open_dict(cfg):
            OmegaConf.update(cfg, key, value)
    elif not part:
        cfg.inputs[name] = value
    elif OmegaConf.is_list(cfg.inputs[name]):
        cfg.inputs[name][int(part)] = value
    else:
        cfg.inputs[name][part] = value


def standing_folder(root: Path, stage: str) -> Path:
    """Where a stage's result stands in the artifacts folder, the newest of several runs."""
    newest = root / stage / artifacts.LATEST
    return newest.resolve() if newest.exists() else root / stage


def _given(one: Input, key: str, given: Any) -> str:
    """The folder (or hub name) that the user named."""
    local = str(given).startswith((".", "/", "~")) or Path(str(given)).exists()
    if given is None or (local and not Path(str(given)).expanduser().is_dir()):
        raise UserError(f"inputs.{key}={given}: there is no such folder")
    _check_source(f"inputs.{key}", Path(str(given)).expanduser(), one.sources)
    return str(Path(str(given)).expanduser()) if local else str(given)


def _standing(cfg: DictConfig, one: Input, command: str) -> str:
    """The result in the artifacts folder."""
    name, root = one.name, Path(cfg.artifacts)
    folder = standing_folder(root, name)
    if artifacts.read_record(folder) is None:
        raise UserError(
            f"stage={cfg.stage.name} needs the result of stage={name}, and there is none in {root / name}; "
            f"make it with: {command} stage={name} artifacts={root} (or point inputs.{name}= to one)"
        )
    _check_source(f"inputs.{name}", folder, one.sources)
    return str(folder)


def _check_source(key: str, folder: Path, sources: Sequence[str]) -> None:
    record = artifacts.read_record(folder)
    stage = (record or {}).get("stage")
    if stage is not None and sources and stage not in sources:
        raise UserError(f"{key}={folder}: holds the result of stage={stage}; name one of stage={sources[0]}")
