"""Which folders a stage reads: those the user names, else those in the artifacts folder.

An input is one folder. The cost models may be several, as a mapping or a list; each then has a key of its own,
``cost.<name>`` or ``cost.<position>``, so that every folder has one fingerprint and one entry in ``csrlhf.json``.
Scorers may be descriptions (``scorers/specs.py``); then every model, function and URL in them has a key:
``cost.harm.model``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from csrlhf.errors import UserError
from csrlhf.runs import artifacts
from csrlhf.runs.stages.base import Input
from csrlhf.scorers import specs

TABLES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".gz", ".zst")
"""How names of files end."""


def resolve(cfg: DictConfig, inputs: Iterable[Input], command: str) -> dict[str, str]:
    """The folder of each input under its name, or the folders of several cost models under ``cost.<name>``.

    What scorers rest on has the keys of ``specs.sources``; texts that stand for a description are replaced by it in the
    config.

    Args:
        cfg: the composed config of the stage.
        inputs: those that it needs.
        command: how the user starts the program, for the hint when an input is missing.

    Raises:
        UserError: an input is missing, or is the result of another stage.
    """
    found: dict[str, str] = {}
    for one in inputs:
        name = one.name
        if one.scorer:
            _expand(cfg, f"inputs.{name}")
        given = cfg.inputs[name]
        if given is None:
            found[name] = _standing(cfg, one, command)
        elif one.scorer and OmegaConf.is_config(given) and _has_description(given):
            if not one.several and not specs.is_description(given):
                raise UserError(f"inputs.{name}={given}: takes one scorer; several are a mix: {{scorer: mix, ...}}")
            parts = list(specs.sources(specs.plain(given), name))
            found |= {key: _given_source(one, key, source) for key, source in parts}
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


def named_paths(cfg: DictConfig, paths: Mapping[str, tuple[str, ...]], scorers: Sequence[str] = ()) -> dict[str, str]:
    """Folders and files that keys of the configuration name: ``evaluate.labels``, ``evaluate.policies.mine``.

    A key holds nothing, one path, or a mapping of names to paths. What is neither on the disk nor looks like a path is
    left out: a word such as ``oracle``, or a model's name on the Hub.

    Args:
        cfg: the composed config of the stage.
        paths: the keys, as the stage declares them.
        scorers: those of them that name scorers.

    Raises:
        UserError: there is no such file or folder, or a folder holds the result of another stage.
    """
    found: dict[str, str] = {}
    for key, sources in paths.items():
        if key in scorers:
            group, _, last = key.rpartition(".")
            if last not in cfg[group] or OmegaConf.is_interpolation(cfg[group], last):
                continue  # a choice of the group without this key; another key's, which is looked at under its own name
            _expand(cfg, key)
        given = OmegaConf.select(cfg, key)
        if key in scorers and OmegaConf.is_config(given):
            parts = dict(specs.sources(specs.plain(given), key))
        else:
            parts = (
                {f"{key}.{name}": path for name, path in given.items()} if OmegaConf.is_dict(given) else {key: given}
            )
        for part, path in parts.items():
            if path is None and part == key:
                continue
            if key not in scorers and "." in part.removeprefix(key)[1:]:
                raise UserError(f"{part}={path}: a name with a point; use letters, digits, - and _")
            place = Path(str(path)).expanduser()
            if place.is_dir():
                _check_source(part, place, sources)
            elif not place.is_file() and (str(path).startswith((".", "/", "~")) or place.suffix in TABLES):
                raise UserError(f"{part}={path}: there is no such file or folder")
            if place.exists() or (key in scorers and part.rpartition(".")[2] in ("function", "url")):
                found[part] = str(path) if not place.exists() else str(place)
    return found


def input_fingerprint(cfg: DictConfig, key: str, path: str) -> str:
    """The fingerprint of what :func:`resolve` or :func:`named_paths` found under a key.

    Of a folder from its record or its files, of a function from the file that it stands in; an endpoint's is its URL
    with the model's name, a hub model's is its name.
    """
    *parents, last = key.split(".")
    if last == "url":
        node: Any = cfg.inputs if parents[0] in cfg.inputs else cfg
        for word in parents:
            node = node[int(word)] if OmegaConf.is_list(node) else node[word]
        return specs.endpoint_name(path, node.get("model"))
    return specs.source_fingerprint(key, path)


def _expand(cfg: DictConfig, key: str) -> None:
    """Replaces texts that stand for a description."""
    given = OmegaConf.select(cfg, key)
    plain = specs.plain(OmegaConf.to_container(given, resolve=True) if OmegaConf.is_config(given) else given)
    if given is not None and specs.as_spec(given) != plain:
        with open_dict(cfg):
            OmegaConf.update(cfg, key, specs.as_spec(given), merge=False)


def _has_description(given: Any) -> bool:
    """Whether some scorer in it is described, rather than named by its folder."""
    if specs.is_description(given):
        return True
    parts = given.values() if OmegaConf.is_dict(given) else given
    return any(specs.is_description(part) for part in parts)


def _given_source(one: Input, key: str, source: str) -> str:
    """A model, a function or a URL of a described scorer."""
    last = key.rpartition(".")[2]
    if last == "function":
        specs.check_source(f"inputs.{key}", source)
    return source if last in ("function", "url") else _given(one, key, source)


def put(cfg: DictConfig, key: str, value: str) -> None:
    """Writes a resolved input or path to where it was given: ``sft``, ``cost.harm`` in a mapping, ``cost.0`` in a list.

    Keys of inputs start with the input's name, all others are keys of the configuration.
    """
    with open_dict(cfg):
        specs.put_at(cfg.inputs if key.partition(".")[0] in cfg.inputs else cfg, key, value)


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
