"""A stage's fingerprint: one hash over everything its result depends on.

It decides what the pipeline skips, names the folders of PPO runs, and is written to ``csrlhf.json`` so
that the next stage's fingerprint covers it. Left out on purpose: the machine, the tracker, the folder
names, library versions (recorded, but an upgrade does not throw results away).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def fingerprint(
    stage: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
    data: Mapping[str, str],
    version: str,
) -> str:
    """Hashes what a stage consumes, independent of key order.

    Args:
        stage: the stage's name.
        config: the config subtrees that it consumes, resolved to plain containers.
        inputs: the fingerprints of the earlier results that it reads, by stage name.
        data: hashes of the data files or generator parameters.
        version: the package version.

    Returns:
        64 hexadecimal digits.
    """
    record = {"stage": stage, "config": config, "inputs": inputs, "data": data, "version": version}
    return hashlib.sha256(json.dumps(record, sort_keys=True, default=str).encode()).hexdigest()


def file_hash(path: Path) -> str:
    """sha256 of what a file holds."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_hash(folder: Path) -> str:
    """Hashes names and contents of a folder's files: the fingerprint of a model that we did not make."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(folder)).encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


# Versions of installed libraries, for what is written beside a result.


def installed(names: Iterable[str]) -> dict[str, str]:
    """Version by name; an optional library that is not there is left out."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
