"""Results of stages as W&B artifacts: each stage logs its folder and uses those that it was made from.

Producer and consumer build the artifact from the same files, so that W&B recognises one version (by its digest) and
draws the arrow between the two runs, also when runs recorded offline are synced later.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import wandb

UPLOADS = ("none", "record", "weights")
"""``none``: no artifacts. ``record``: small files, of larger ones where they lie. ``weights``: all files."""

SMALL = 1_000_000
"""Bytes up to which a file is part of the record: config, metrics, history, plots; not weights."""


def read_stage(folder: Path) -> dict[str, Any] | None:
    """The folder's ``csrlhf.json``; None where it is no result of ours (a Hub name, somebody else's model)."""
    path = folder / "csrlhf.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def result_artifact(folder: Path, upload: str) -> tuple[wandb.Artifact, list[str]] | None:
    """The artifact of a published result.

    Args:
        folder: the result.
        upload: ``record`` or ``weights``.

    Returns:
        The artifact, named after its stage, and its aliases (eight digits of the fingerprint, a run's folder name);
        None where the folder is no result of ours.
    """
    record = read_stage(folder)
    if record is None:
        return None
    stage, fingerprint = str(record["stage"]), str(record["fingerprint"])
    artifact = wandb.Artifact(
        name=stage,
        type=record.get("artifact", stage),
        metadata={
            "fingerprint": fingerprint,
            "folder": folder.name,
            "git_commit": record["git_commit"],
            "csrlhf": record["csrlhf"],
            "inputs": {name: given["fingerprint"] for name, given in record["inputs"].items()},
        },
    )
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.stat().st_size <= SMALL:
            artifact.add_file(str(path), name=name, skip_cache=True)
        elif upload == "weights":
            # Not copied to W&B's staging folder first: weights would take their place on the disk twice.
            artifact.add_file(str(path), name=name, policy="immutable", skip_cache=True)
        else:
            artifact.add_reference(path.resolve().as_uri(), name=name, checksum=False)
    aliases = [fingerprint[:8]]
    return artifact, aliases if folder.name == stage else [*aliases, folder.name]
