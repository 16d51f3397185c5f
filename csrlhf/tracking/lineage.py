"""Results of stages as W&B artifacts: each stage logs its folder and uses those that it was made from.

A run's config names what it has read. W&B draws an arrow only where both ends are on its server: an online run asks for
its own as it begins; ``python -m csrlhf.tracking.lineage entity/project`` draws those of runs that were synced later.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import wandb
import wandb.errors

UPLOADS = ("none", "record", "weights")
"""``none``: no artifacts. ``record``: small files, of larger ones where they lie. ``weights``: all files."""

USES = "uses"
"""The key of a run's config that names what it has read."""

LATER = "python -m csrlhf.tracking.lineage"

SMALL = 1_000_000
"""Bytes up to which a file is part of the record: config, metrics, history, plots; not weights."""

TYPES = {
    "sft": "policy",
    "ppo": "policy",
    "reward": "reward-model",
    "cost": "cost-model",
    "evaluate": "evaluation",
    "certify": "certificate",
    "decode": "answers",
}
"""Artifact type by the stage that made it."""


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
        type=TYPES.get(stage, stage),
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


def names_of(folders: Iterable[Path]) -> list[str]:
    """Name and alias (``sft:1a2b3c4d``) of the artifact of each folder that is a result of ours."""
    records = filter(None, map(read_stage, folders))
    return [f"{record['stage']}:{record['fingerprint'][:8]}" for record in records]


def draw_arrows(run: Any, api: wandb.Api) -> list[str]:
    """Marks what a run has read as used by it, as far as it is on the server.

    Args:
        run: a ``wandb.Run`` that is online, or one of ``api.runs(...)``.
        api: of the server.

    Returns:
        The names of the artifacts.
    """
    names = {name: f"{run.entity}/{run.project}/{name}" for name in run.config.get(USES, [])}
    found = [name for name, path in names.items() if api.artifact_exists(path)]
    for name in found:
        run.use_artifact(api.artifact(names[name]))
    return found


def main() -> None:
    """Draws the arrows of all runs of a project and prints each run with what it uses."""
    parser = argparse.ArgumentParser(prog=LATER, description=main.__doc__)
    parser.add_argument("project", help="entity/project")
    project = parser.parse_args().project
    try:
        api = wandb.Api()
        for run in api.runs(project):
            print(f"{run.name}: {', '.join(draw_arrows(run, api)) or '-'}")
    except (wandb.errors.Error, ValueError) as error:
        parser.exit(2, f"{project}: {error}\n")


if __name__ == "__main__":
    main()
