"""What a stage is about to do, worked out before anything heavy is imported: inputs, fingerprint, folders.

Shared by the runner (which executes one plan) and the pipeline (which skips plans whose result stands).
The stage's YAML says ``stage.name``, ``stage.consumes`` (the config keys that its result depends on) and
``stage.inputs`` (the earlier stages it can read; only those that the config really refers to, as
``${inputs.<name>}``, are needed).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from csrlhf import __version__
from csrlhf.config import contracts, plugins, search_path
from csrlhf.errors import UserError
from csrlhf.runs import artifacts
from csrlhf.runs.fingerprint import file_hash, fingerprint
from csrlhf.runs.inputs import NAMED_STAGES, named_paths, put, replaced_inputs, resolve

MACHINE = ("accelerator", "devices", "num_nodes", "strategy", "default_root_dir", "log_every_n_steps", "profiler")
"""Trainer keys that say where and how a stage runs, and must not change what comes out."""

FILES = ("prompts", "labels", "outputs", "chosen_on", "lambda_from")
"""Keys that name a user's files, one or several: their content counts, not their location."""

DISPLAYS = ("progress", "plots", "report", "samples")
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
    """

    stage: str
    folder: Path
    work: Path
    fingerprint: str
    inputs: dict[str, str]
    input_fingerprints: dict[str, str]
    data: dict[str, str]
    plugins: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What a tracker calls the run: ``sft-1a2b3c4d``, ``ppo-rectified-1a2b3c4d``."""
        named = self.stage in NAMED_STAGES
        return f"{self.stage}-{self.folder.name if named else self.fingerprint[:8]}"


def make_plan(cfg: DictConfig, choices: dict[str, str], command: str) -> Plan:
    """Resolves a stage's inputs and computes its fingerprint and folders.

    Args:
        cfg: the composed config of the stage.
        choices: the chosen option of each config group (Hydra's ``runtime.choices``).
        command: how the user starts the program, for the hint when an input is missing.

    Raises:
        UserError: an input is missing; the message names the command that makes it.
    """
    stage = cfg.stage.name
    root = Path(cfg.artifacts)
    inputs: dict[str, str] = {}
    for name in _referenced_inputs(cfg):
        inputs |= resolve(cfg, name, root, command)
    paths = named_paths(cfg)
    inputs |= {key: path for key, path in paths.items() if Path(path).is_dir()}
    files = {key: file_hash(Path(path)) for key, path in paths.items() if key not in inputs}
    input_fingerprints = {name: artifacts.fingerprint_of(path) for name, path in inputs.items()}
    consumed = _consumed(cfg, input_fingerprints | files)
    data: dict[str, str] = {}
    if "data" in consumed:
        contracts.check("data", consumed["data"])
        data = dict(instantiate(cfg.data).hashes())
    data |= files
    if code := plugins.code_of(consumed, search_path.plugin_versions()):
        consumed["plugins."] = code
    digest = fingerprint(stage, consumed, input_fingerprints, data, __version__)
    folder = root / stage
    if stage == "ppo":
        kind = plugins.run_kind(choices.get("penalty"), search_path.is_ours("penalty", choices), cfg.penalty._target_)
        folder = folder / (checked_name(cfg.name) or f"{kind}-{digest[:8]}")
    elif stage == "evaluate":
        folder = folder / (checked_name(cfg.name) or _evaluation_name(cfg, inputs, choices, digest))
    elif stage == "certify":
        folder = folder / (checked_name(cfg.name) or Path(inputs["ppo"]).resolve().name)
    return Plan(
        stage=stage,
        folder=folder,
        work=root / ".work" / f"{stage}-{digest[:8]}",
        fingerprint=digest,
        inputs=inputs,
        input_fingerprints=input_fingerprints,
        data=data,
        plugins=code,
    )


def _evaluation_name(cfg: DictConfig, inputs: dict[str, str], choices: dict[str, str], digest: str) -> str:
    """The run that is evaluated; else what is: the policies, kept answers, or a cost model."""
    if "ppo" in inputs:
        return Path(inputs["ppo"]).resolve().name
    kind = choices.get("evaluate", "evaluation")
    if kind != "cost_model" and OmegaConf.select(cfg, "evaluate.outputs"):
        kind = "answers"
    elif policies := OmegaConf.select(cfg, "evaluate.policies"):
        kind = "_".join(re.sub(r"[^\w+-]", "", str(name)) for name in policies)[:60] or "policies"
    return f"{kind}-{digest[:8]}"


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


def _referenced_inputs(cfg: DictConfig) -> list[str]:
    """The inputs in ``stage.inputs`` that the module, the data or the rest of the run refers to."""
    marked = marked_copy(cfg, {name: f"<input {name}>" for name in cfg.stage.inputs})
    text = str([OmegaConf.to_container(marked[key], resolve=True) for key in ("module", "datamodule")])
    unread = replaced_inputs(cfg)
    return [name for name in cfg.stage.inputs if f"<input {name}>" in text and name not in unread]


def _consumed(cfg: DictConfig, input_fingerprints: dict[str, str]) -> dict[str, Any]:
    """What the result depends on, as plain containers; inputs appear as fingerprints, so folders may move.

    Beside the consumed keys these are the objects that the stage builds, as they are resolved: ``trainer.max_steps`` or
    ``module.seed`` can be overridden as well, and count.
    """
    marked = marked_copy(cfg, input_fingerprints)
    consumed: dict[str, Any] = {}
    for key in cfg.stage.consumes:
        value = OmegaConf.select(marked, key, throw_on_missing=True)
        consumed[key] = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    for key, left_out in (("module", ()), ("datamodule", ()), ("trainer", MACHINE), ("callbacks", DISPLAYS)):
        whole: Any = OmegaConf.to_container(marked[key], resolve=True)
        consumed[f"{key}."] = {name: value for name, value in whole.items() if name not in left_out}
    consumed["stage."] = {key: str(OmegaConf.select(marked.stage, key)) for key in ("monitor", "mode", "steps")}
    return _with_contents(consumed)


def _with_contents(value: Any, key: str = "") -> Any:
    """Files and local model folders replaced by a hash of what is in them: other contents are another input."""
    if isinstance(value, dict):
        return {name: _with_contents(item, key if key in FILES else str(name)) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_contents(item, key if key in FILES else "") for item in value]
    if key in FILES and isinstance(value, str):
        return _file_contents(Path(value).expanduser()) or value
    if key in ("path", "backbone") and isinstance(value, str) and Path(value).expanduser().is_dir():
        return artifacts.fingerprint_of(str(Path(value).expanduser()))
    return value


def _file_contents(path: Path) -> str | None:
    """A hash of a file, or of what a folder says of λ*; None where it is neither."""
    places = (path, path / "lambda_star.json", path / "history.csv")
    found = next((place for place in places if place.is_file()), None)
    return None if found is None else hashlib.sha256(found.read_bytes()).hexdigest()
