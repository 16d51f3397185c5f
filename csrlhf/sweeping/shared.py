"""What all runs of a local sweep read: SFT, reward and cost model, made once where one is missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from csrlhf.runs import artifacts
from csrlhf.sweeping.keys import MADE_BEFORE, Setting
from csrlhf.sweeping.spec import Spec, words_of
from csrlhf.sweeping.task import Task


def models(setting: Setting) -> dict[str, Path]:
    """Folders of the models that the sweep itself names; those of the user's own ``inputs.`` words it leaves."""
    root = setting.artifacts.resolve()
    return {stage: root / stage for stage in MADE_BEFORE if stage not in setting.inputs}


def fingerprints(setting: Setting) -> dict[str, Any]:
    """Of all models that a run reads, the user's own among them."""
    return {
        stage: artifacts.fingerprint_of(str(place)) if isinstance(place, str | Path) else str(place)
        for stage, place in sorted({**setting.inputs, **models(setting)}.items())
    }


def model_tasks(spec: Spec, setting: Setting, out: Path, start: tuple[str, ...], own: Sequence[str]) -> list[Task]:
    """The commands that make the models, with the overrides of every run; each reads what the earlier ones make."""
    constant = words_of({key: of["value"] for key, of in spec.parameters.items() if "value" in of})
    words = [word for word in (*spec.fixed, *constant) if not word.startswith("stage=")]
    places = (f"artifacts={quoted(setting.artifacts.resolve())}", "resume=true", "logger=none")
    return [
        Task(stage, stage, out, start, (f"stage={stage}", *words, *own, *places), result)
        for stage, result in models(setting).items()
    ]


def quoted(path: Path | str) -> str:
    """In Hydra's quotes, so that any path, or a name with =, can be an override."""
    return "'" + str(path).replace("\\", "\\\\").replace("'", "\\'") + "'"
