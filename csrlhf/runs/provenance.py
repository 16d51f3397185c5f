"""Where a result comes from: the content of ``csrlhf.json``."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from csrlhf import __version__
from csrlhf.runs.fingerprint import installed
from csrlhf.runs.plan import Plan

LIBRARIES = ("torch", "lightning", "transformers", "hydra-core", "torchmetrics", "scikit-learn", "numpy")
"""Libraries that numbers depend on."""


def origin(plan: Plan) -> dict[str, Any]:
    """Returns what is known before the run: inputs, data hashes, versions and the git commit."""
    return {
        "csrlhf": __version__,
        "stage": plan.stage,
        "artifact": plan.declared.artifact or plan.stage,
        "fingerprint": plan.fingerprint,
        "git_commit": git_commit(),
        "inputs": {
            name: {"path": path, "fingerprint": plan.input_fingerprints[name]} for name, path in plan.inputs.items()
        },
        "data": plan.data,
        "plugins": plan.plugins,
        "versions": installed(LIBRARIES),
    }


def record(cfg: DictConfig, plan: Plan, metrics: dict[str, float]) -> dict[str, Any]:
    """Returns origin, time, metrics and config as JSON-ready containers."""
    return origin(plan) | {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "metrics": metrics,
        "config": OmegaConf.to_container(cfg, resolve=True, enum_to_str=True),
    }


def git_commit() -> str | None:
    """The commit of the checkout that runs, with ``+changes`` behind it; None outside a checkout."""
    folder = Path(__file__).resolve().parent
    try:
        described = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--dirty=+changes", "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):  # no git, not a checkout, no commit yet
        return None
    return described.stdout.strip()
