"""What a stage is about to do, worked out before anything heavy is imported: inputs, fingerprint, folders.

Shared by the runner (which executes one plan) and the pipeline (which skips plans whose result stands). The stage's
declaration (stages/base.py) says what the result depends on and which earlier results it can read; only those that the
config really refers to, as ``${inputs.<name>}``, are needed.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from csrlhf import __version__
from csrlhf.config import contracts, plugins, search_path
from csrlhf.errors import UserError
from csrlhf.runs import artifacts
from csrlhf.runs.artifacts import file_hash, fingerprint, installed
from csrlhf.runs.inputs import input_fingerprint, named_paths, put, resolve
from csrlhf.runs.stages.base import Stage, declaration
from csrlhf.scorers.specs import FUNCTION, decisive

MACHINE = ("accelerator", "devices", "num_nodes", "strategy", "default_root_dir", "log_every_n_steps", "profiler")
"""Trainer keys that say where and how a stage runs, and must not change what comes out."""

DISPLAYS = ("progress", "plots", "report", "samples", "lr_monitor")
"""Callbacks that show a result and take no part in it."""


@dataclass(frozen=True)
class Plan:
    """One stage, ready to run.

    Attributes:
        stage: the stage's name.
        folder: where its result will stand.
        work: checkpoints and history of the run, deleted when the result stands.
        fingerprint: the hash over everything that the result depends on.
        inputs: path (or hub name) of each earlier result that it reads; of several cost models under ``cost.<name>``.
        input_fingerprints: their fingerprints.
        data: hashes of the data.
        plugins: hash and version of other people's code that it runs (plugins.code_of).
        declared: what the stage declares.
    """

    stage: str
    folder: Path
    work: Path
    fingerprint: str
    inputs: dict[str, str]
    input_fingerprints: dict[str, str]
    data: dict[str, str]
    plugins: dict[str, dict[str, str]] = field(default_factory=dict)
    declared: Stage = field(default_factory=Stage)

    @property
    def title(self) -> str:
        """What a tracker calls the run: ``sft-1a2b3c4d``, ``ppo-rectified-1a2b3c4d``."""
        return f"{self.stage}-{self.folder.name if self.declared.run_name else self.fingerprint[:8]}"


def make_plan(cfg: DictConfig, choices: dict[str, str], command: str) -> Plan:
    """Resolves a stage's inputs and computes its fingerprint and folders.

    Args:
        cfg: the composed config of the stage.
        choices: the chosen option of each config group (Hydra's ``runtime.choices``).
        command: how the user starts the program, for the hint when an input is missing.

    Raises:
        UserError: an input is missing; the message names the command that makes it.
    """
    declared = declaration(cfg.stage.declaration)
    referenced = _referenced_inputs(cfg, declared)
    inputs = resolve(cfg, [one for one in declared.inputs if one.name in referenced], command)
    paths = named_paths(cfg, declared.paths, declared.scorers)
    inputs |= {key: path for key, path in paths.items() if not Path(path).is_file()}
    files = {key: file_hash(Path(path)) for key, path in paths.items() if key not in inputs}
    input_fingerprints = {name: input_fingerprint(cfg, name, path) for name, path in inputs.items()}
    consumed = _consumed(cfg, declared, input_fingerprints | files)
    data: dict[str, str] = {}
    if "data" in consumed:
        contracts.check("data", consumed["data"])
        data = dict(instantiate(cfg.data).hashes())
    data |= files
    functions = [path for key, path in inputs.items() if key.endswith(".function") and not FUNCTION.fullmatch(path)]
    if code := plugins.code_of(consumed, search_path.plugin_versions(), functions):
        consumed["plugins."] = code
    digest = fingerprint(cfg.stage.name, consumed, input_fingerprints, data, __version__)
    folder, work = folders(cfg, declared, choices, inputs, digest)
    return Plan(cfg.stage.name, folder, work, digest, inputs, input_fingerprints, data, code, declared)


def folders(
    cfg: DictConfig, declared: Stage, choices: dict[str, str], inputs: dict[str, str], digest: str
) -> tuple[Path, Path]:
    """Where a stage's result will stand, and where it works before."""
    root, stage = Path(cfg.artifacts), cfg.stage.name
    folder = root / stage
    if declared.run_name is not None:
        folder /= checked_name(cfg.name) or declared.run_name(cfg, choices, inputs, digest)
    return folder, root / ".work" / f"{stage}-{digest[:8]}"


def apply_plan(cfg: DictConfig, plan: Plan) -> None:
    """Writes the resolved inputs and the working folder into the config that is instantiated."""
    cfg.work = str(plan.work)
    for key, path in plan.inputs.items():
        put(cfg, key, path)


def checked_name(name: Any) -> str | None:
    """``name`` if it can be a folder beside the link ``latest``."""
    if name is None:
        return None
    if name == artifacts.LATEST or not re.fullmatch(r"\w[\w.=+-]*", str(name)):
        raise UserError(
            f"name={name}: must be one word of letters, digits and . = + - _ and not {artifacts.LATEST}, which is the "
            "link to the newest run"
        )
    return str(name)


def marked_copy(cfg: DictConfig, marks: dict[str, str]) -> DictConfig:
    """A copy whose inputs are replaced by marks and whose working folder is a fixed word: it can be resolved."""
    copy = cfg.copy()
    OmegaConf.set_struct(copy, False)
    copy.work = "work"
    for key, mark in marks.items():
        put(copy, key, mark)
    return copy


def _referenced_inputs(cfg: DictConfig, declared: Stage) -> list[str]:
    """Names of declared inputs that the module or the data refer to, and that no other key replaces."""
    marked = marked_copy(cfg, {one.name: f"<input {one.name}>" for one in declared.inputs})
    text = str([OmegaConf.to_container(marked[key], resolve=True) for key in ("module", "datamodule")])
    replaced = declared.replaced(cfg)
    return [one.name for one in declared.inputs if f"<input {one.name}>" in text and one.name not in replaced]


def _consumed(cfg: DictConfig, declared: Stage, input_fingerprints: dict[str, str]) -> dict[str, Any]:
    """What the result depends on, as plain containers; inputs appear as fingerprints, so folders may move.

    Beside the consumed keys these are the objects that the stage builds, as they are resolved: ``trainer.max_steps`` or
    ``module.seed`` can be overridden as well, and count.
    """
    marked = marked_copy(cfg, input_fingerprints)
    consumed: dict[str, Any] = {}
    for key in declared.consumes:
        value = OmegaConf.select(marked, key, throw_on_missing=True)
        consumed[key] = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    consumed = decisive(consumed)
    for key, left_out in (("module", ()), ("datamodule", ()), ("trainer", MACHINE), ("callbacks", DISPLAYS)):
        whole: Any = OmegaConf.to_container(marked[key], resolve=True)
        consumed[f"{key}."] = decisive({name: value for name, value in whole.items() if name not in left_out})
    consumed["stage."] = {key: str(marked.stage[key]) for key in ("monitor", "mode", "steps")}
    return _with_contents(consumed, declared)


def _with_contents(value: Any, declared: Stage, key: str = "") -> Any:
    """Files and local model folders replaced by a hash of what is in them: other contents are another input."""
    files = declared.files
    if isinstance(value, dict):
        return {
            name: _with_contents(item, declared, key if key in files else str(name)) for name, item in value.items()
        }
    if isinstance(value, list):
        return [_with_contents(item, declared, key if key in files else "") for item in value]
    if key in files and isinstance(value, str):
        return _file_contents(Path(value).expanduser()) or value
    if key in declared.folders and isinstance(value, str) and Path(value).expanduser().is_dir():
        return artifacts.fingerprint_of(str(Path(value).expanduser()))
    return value


def _file_contents(path: Path) -> str | None:
    """A hash of a file, or of what a folder says of λ*; None where it is neither."""
    places = (path, path / "lambda_star.json", path / "history.csv")
    found = next((place for place in places if place.is_file()), None)
    return None if found is None else file_hash(found)


# Where a result comes from: the content of ``csrlhf.json``.

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


def record(
    cfg: DictConfig, plan: Plan, metrics: dict[str, float], rows: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Returns origin, time, metrics and config as JSON-ready containers.

    Args:
        cfg: the composed config.
        plan: of the stage.
        metrics: its final numbers.
        rows: what became of the data's rows (``csrlhf.data.intake``); none where the stage read none.
    """
    return origin(plan) | {
        **({"rows": rows} if rows else {}),
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
