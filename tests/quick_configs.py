"""Configs composed once for each choice of files: in the tests' process, and in the processes that it has forked.

Hydra reads some forty files for a composition, and a command composes two or three times. That was three quarters of
the time of tests that call the command line. Values that are overridden (``ppo.clip=0.1``) are applied each time as
ever; what is kept is each file as it was parsed, and the sum of the files before overrides, for each order of group
overrides (``penalty=pid``). Folders other than the repository's (plug-ins', and those that tests write) are known by
what their files hold.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal import config_loader_impl, defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.config_store import ConfigStore
from omegaconf import base as omegaconf_base

from csrlhf.config import search_path

OURS = f"file://{search_path.conf_folder()}"
MODULE = "quick_configs"
"""This module's name where processes are forked from a server: it is imported there, with the libraries."""


def _held(repo: Any) -> tuple[Any, ...]:
    """What the sources of configs are known by."""
    return tuple(
        (source.full_path(), *((str(file), file.read_bytes()) for file in sorted(Path(source.path).rglob("*.yaml"))))
        if source.scheme() == "file" and source.full_path() != OURS
        else source.full_path()
        for source in repo.get_sources()
    )


def _created_once() -> Callable[..., Any]:
    """Hydra's list of files, for each choice of groups."""
    create, known = config_loader_impl.create_defaults_list, {}

    def complete(repo: Any, config_name: Any, overrides_list: Any, skip_missing: bool, **options: bool) -> Any:
        if skip_missing:  # a sweep's: the same, unless a choice is missing
            try:
                return create(repo, config_name, overrides_list, skip_missing=False, **options)
            except Exception:  # noqa: BLE001  # raised again below, by all that skip_missing does not excuse
                pass
        return create(repo, config_name, overrides_list, skip_missing=skip_missing, **options)

    def create_once(repo: Any, config_name: Any, overrides_list: Any, **options: bool) -> Any:
        overrides = defaults_list.Overrides(repo=repo, overrides_list=overrides_list)
        values = {id(override) for override in overrides.config_overrides}
        groups = tuple(override.input_line for override in overrides_list if id(override) not in values)
        key = (_held(repo), config_name, groups, options["prepend_hydra"])
        if key not in known:
            known[key] = complete(repo, config_name, overrides_list, **options)
        return dataclasses.replace(known[key], config_overrides=overrides.config_overrides)

    return create_once


def _put_together_once() -> Callable[..., Any]:
    """The sum of the files of a list."""
    put_together, known = ConfigLoaderImpl._compose_config_from_defaults_list, {}

    def put_together_once(loader: ConfigLoaderImpl, defaults: list[Any], repo: Any) -> Any:
        key = (_held(repo), *((d.config_path, d.package, d.primary) for d in defaults))
        if key not in known:
            known[key] = put_together(loader, defaults, repo)
        return copy.deepcopy(known[key])

    return put_together_once


def _read_once(read: Callable[..., Any]) -> Callable[..., Any]:
    """A file of the repository's as it was parsed."""
    known: dict[str, Any] = {}

    def read_once(source: Any, config_path: str) -> Any:
        if source.full_path() != OURS:
            return read(source, config_path)
        if config_path not in known:
            known[config_path] = read(source, config_path)
        return copy.deepcopy(known[config_path])

    return read_once


def _names_where_needed() -> Callable[..., Any]:
    """The choices that a file's name may refer to (``${model}``), which Hydra gathers for every file."""
    names_of = defaults_list._create_interpolation_map

    def names(overrides: Any, defaults: list[Any], self_added: bool) -> Any:
        return names_of(overrides, defaults, self_added) if any("${" in str(vars(d)) for d in defaults) else None

    return names


def _mode_where_it_is_named() -> Callable[..., Any]:
    """Hydra's mode, for which it composes each command once more; no configuration of ours sets it."""
    find = Hydra.get_mode

    def mode(hydra: Hydra, config_name: str | None, overrides: list[str]) -> Any:
        named = any("hydra" in word or word.startswith("experiment") for word in overrides)
        return find(hydra, config_name, overrides) if named else None

    return mode


search_path.register()
FOLDERS = SourcesRegistry.instance().resolve("file")  # Hydra's own copy of the class, not the one to import
PLACES = [
    (config_loader_impl, "create_defaults_list"),
    (ConfigLoaderImpl, "_compose_config_from_defaults_list"),
    (FOLDERS, "load_config"),
    (defaults_list, "_create_interpolation_map"),
    (ConfigStore, "__deepcopy__"),
    (Hydra, "get_mode"),
    (omegaconf_base, "parse"),
]
HYDRAS = [getattr(owner, name, None) for owner, name in PLACES]
OURS_INSTEAD = [
    _created_once(),
    _put_together_once(),
    _read_once(FOLDERS.load_config),
    _names_where_needed(),
    lambda store, _: store,  # each composition copied it, and what it gives is a copy
    _mode_where_it_is_named(),
    functools.cache(omegaconf_base.parse),  # some 260 interpolations a command, parsed in Python, and always the same
]


def _put(functions: list[Any]) -> None:
    for (owner, name), function in zip(PLACES, functions, strict=True):
        if function is None:
            delattr(owner, name)
        else:
            setattr(owner, name, function)


@contextmanager
def composed_once() -> Iterator[None]:
    """Composes as above while it is open."""
    _put(OURS_INSTEAD)
    try:
        yield
    finally:
        _put(HYDRAS)


@contextmanager
def composed_as_ever() -> Iterator[None]:
    """Inside of :func:`composed_once`: as Hydra does it."""
    _put(HYDRAS)
    try:
        yield
    finally:
        _put(OURS_INSTEAD)


if __name__ == MODULE:  # in a server: for good, and all files are read before it is forked
    composed_once().__enter__()
    with initialize_config_dir(search_path.conf_folder(), version_base="1.3"):
        for stage in ("sft", "reward", "cost", "ppo", "evaluate"):
            compose("train", overrides=[f"stage={stage}"], return_hydra_config=True)
