"""The artifacts folder: finding, publishing and describing the results of stages.

A result is a folder with a model in Hugging Face layout, ``csrlhf.json`` (where it comes from),
``metrics.json``, ``history.csv`` and ``plots/``. It appears in one rename, so what stands there is
complete. A result with other settings is kept beside it as ``<stage>.<first 8 digits of its
fingerprint>``, and comes back when these settings are asked for again.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from csrlhf.errors import UserError, writing

# A stage's fingerprint: one hash over everything its result depends on.
#
# It decides what the pipeline skips, names the folders of PPO runs, and is written to ``csrlhf.json`` so
# that the next stage's fingerprint covers it. Left out on purpose: the machine, the tracker, the folder
# names, library versions (recorded, but an upgrade does not throw results away).


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
    files = (path for path in folder.rglob("*") if path.is_file())
    for path in sorted(path for path in files if SEEN_PROMPTS not in path.relative_to(folder).parts):
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


RECORD = "csrlhf.json"
KEPT = "kept"
"""Below a stage's working folder: what it has kept beside checkpoints, for ``resume=true`` to go on from."""

SEEN_PROMPTS = "seen_prompts"
"""Folder in a model's folder, and in the artifacts folder: on which prompts its responses were seen."""

LATEST = "latest"
"""Link below ``artifacts/ppo`` to the newest run."""


def read_record(folder: Path) -> dict[str, Any] | None:
    """Returns the folder's ``csrlhf.json``, or None where there is none.

    Raises:
        UserError: the file is not JSON.
    """
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not valid JSON (line {error.lineno}); delete the folder and run again") from error


def fingerprint_of(spec: str) -> str:
    """The fingerprint of an input: from its record, of its files, or a hub model's name itself."""
    folder = Path(spec)
    if not folder.is_dir():
        return spec
    record = read_record(folder)
    return record["fingerprint"] if record else folder_hash(folder)


def restore(folder: Path, fingerprint: str) -> bool:
    """Makes ``folder`` hold the result with this fingerprint, if it or a kept sibling is one.

    Returns:
        False where the result has to be made.
    """
    record = read_record(folder)
    if record and record["fingerprint"] == fingerprint:
        return True
    kept = _kept(folder, fingerprint)
    record = read_record(kept)
    if not record or record["fingerprint"] != fingerprint:
        return False
    _set_aside(folder)
    kept.rename(folder)
    return True


def publish(folder: Path, write: Callable[[Path], None]) -> None:
    """Lets ``write`` fill a temporary sibling and renames it to ``folder``.

    An earlier result with the same fingerprint is replaced, one with another fingerprint is kept.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.parent / f".{folder.name}.{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        with writing(folder):
            write(draft)
        made, standing = read_record(draft), read_record(folder)
        if standing and made and standing["fingerprint"] == made["fingerprint"]:
            if (folder / SEEN_PROMPTS).is_dir():  # made again, it has been seen all the same
                shutil.copytree(folder / SEEN_PROMPTS, draft / SEEN_PROMPTS, dirs_exist_ok=True)
            shutil.rmtree(folder)
        else:
            _set_aside(folder)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def point_latest(folder: Path) -> None:
    """Makes ``<parent>/latest`` a link to ``folder``, by one rename."""
    link = folder.parent / LATEST
    draft = folder.parent / f".{LATEST}.{os.getpid()}"
    draft.unlink(missing_ok=True)
    draft.symlink_to(folder.name, target_is_directory=True)
    draft.replace(link)


def write_json(path: Path, content: Any) -> None:
    """Writes readable JSON by one rename; numbers stay numbers, NaN and infinity are null (JSON has neither)."""
    write_whole(path, json_text(content).encode())


def json_text(content: Any) -> str:
    """What ``write_json`` writes."""
    return json.dumps(_finite(content), indent=2, default=str) + "\n"


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file by one rename: what stood there stays until the new one is whole, also where the disk is full."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with writing(path, draft):
            draft.write_bytes(content)
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content


def _kept(folder: Path, fingerprint: str) -> Path:
    return folder.with_name(f"{folder.name}.{fingerprint[:8]}")


def _set_aside(folder: Path) -> None:
    """Renames a standing result after its fingerprint; a folder that is not ours is never touched."""
    if not folder.exists():
        return
    record = read_record(folder)
    if record is None:
        raise UserError(f"{folder}: exists and is not a result of csrlhf; choose another artifacts= or name=")
    kept = _kept(folder, record["fingerprint"])
    shutil.rmtree(kept, ignore_errors=True)
    folder.rename(kept)
