"""Classes of other people's: where their code lies, found without importing it, and what it hashes to.

A config names any class as ``_target_``. A result depends on what it does, so a stage's fingerprint covers the code of
all classes that are neither ours nor a library's. Leaves out on purpose what they import from outside of their package.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from csrlhf.scorers.specs import SCORER

LIBRARIES = {
    *sys.stdlib_module_names, "csrlhf", "bitsandbytes", "datasets", "hydra", "lightning", "numpy", "omegaconf", "peft",
    "pytorch_lightning", "scipy", "sklearn", "torch", "torchmetrics", "transformers",
}  # fmt: skip
"""Their versions are recorded with a result; an upgrade does not throw it away."""

SOURCES = ("*.py", "*.so", "*.pyd")


def targets(config: Any, key: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """All nodes with a ``_target_``, outer ones first, with their dotted keys."""
    if isinstance(config, Mapping):
        if isinstance(config.get("_target_"), str):
            yield key, config
        for name, value in config.items():
            yield from targets(value, f"{key}.{name}" if key else str(name))
    elif isinstance(config, list | tuple):
        for i, value in enumerate(config):
            yield from targets(value, f"{key}[{i}]")


def is_foreign(target: str) -> bool:
    """Whether a class is neither ours nor a library's."""
    return target.partition(".")[0] not in LIBRARIES


def scorers(config: Any) -> Iterator[str]:
    """The dotted names of all classes of scorers in a config, under the key of ``csrlhf/scorers/specs.py``."""
    if isinstance(config, Mapping):
        if isinstance(name := config.get(SCORER), str) and "." in name:
            yield name
        for value in config.values():
            yield from scorers(value)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from scorers(value)


def code_of(config: Any, versions: Mapping[str, str], functions: Iterable[str] = ()) -> dict[str, dict[str, str]]:
    """What the foreign classes in a config are made from.

    A single file counts by itself, a package whole: a class rests on the helpers beside it.

    Args:
        config: containers with ``_target_`` anywhere in them.
        versions: of installed plug-ins, by the name of their package.
        functions: dotted names of functions that are called as well.

    Returns:
        By the name of the package or file: ``code``, a hash of its sources, and ``version`` where it is known. Nothing
        for one that is not found: building it will say so.
    """
    used = [*(node["_target_"] for _, node in targets(config)), *scorers(config), *functions]
    names = {name.partition(".")[0] for name in used if is_foreign(name)}
    found = {}
    for name in sorted(names):
        place = _located(name)
        if place is not None:
            version = {"version": versions[name]} if name in versions else {}
            found[name] = version | {"code": _hash(place)}
    return found


def folder_of(package: str) -> Path | None:
    """A package's folder; None where there is no such package.

    Nothing is imported but the parents of one that lies outside of their folders: an import may take seconds.
    """
    place = _located(package)
    return place if place is not None and place.is_dir() else None


def run_kind(choice: str | None, ours: bool, target: str) -> str:
    """What a run's folder is called after: its choice, or the class that was put in the place of one of ours.

    Args:
        choice: the chosen option; None where the group was left out.
        ours: whether the option is one of ours.
        target: the class that is built.
    """
    if choice is not None and not (ours and is_foreign(target)):
        return choice
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", target.rpartition(".")[2]).lower()


def _located(module: str) -> Path | None:
    """A package's folder or a module's file."""
    first, *rest = module.split(".")
    place = _place(first)
    for name in rest:
        if place is None:
            break
        inner, file = place / name, place / f"{name}.py"
        place = inner if inner.is_dir() else file if file.is_file() else None
    return _place(module) if place is None and rest else place


def _place(module: str) -> Path | None:
    """By Python's own finders, which import the parents."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(f"{error.name}.")):
            return None
        raise  # a parent is there, and lacks something that it imports
    except ValueError:  # a module without a spec, such as __main__
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(spec.origin) if spec.origin and Path(spec.origin).is_file() else None


def _hash(place: Path) -> str:
    files = [place] if place.is_file() else sorted(path for kind in SOURCES for path in place.rglob(kind))
    digest = hashlib.sha256()
    for path in files:
        digest.update(str(path.relative_to(place.parent)).encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
