"""The whole pipeline through the real command line, recorded offline and read back.

Keys, config, tables, images, artifacts and their lineage; then the same command again, and with another penalty. No
number is looked at: ``experiment=smoke``, still less of all. The expected keys come from docs/reference/metrics.md, so
that a documented key that is not logged is found as well.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from csrlhf.config import search_path
from csrlhf.runs.plan import Plan, make_plan
from csrlhf.tracking.history import read_history

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("sft", "reward", "cost", "ppo", "evaluate")
SECTIONS = {
    "sft": ["Supervised"],
    "reward": ["Reward model"],
    "cost": ["Cost model"],
    "ppo": ["Training of the policy", "Evaluation during"],
    "evaluate": ["Test of a policy"],
}
"""The headings of docs/reference/metrics.md whose tables speak of a stage."""

OTHER_SETTINGS = {
    "cost/temperature/<name>",
    *("penalty/minibatch_weight", "penalty/minibatch_violation"),
    *("penalty/estimate", "penalty/<name>/estimate"),
    *("policy/ptx_loss", "policy/epochs"),
    *("policy/sampler_gap", "policy/advantage_scale"),
}
"""Documented keys that only other settings than these log: several constraints, p3o, adaptive, PTX, target KL, half
precision, advantages on the reward's scale."""

SIZES = "{train: 64, validation: 48, test: 96}"
SETTINGS = [
    *(f"data.sizes.{split}={SIZES}" for split in ("demonstrations", "preferences", "labelled", "prompts")),
    "sft.epochs=1", "sft.batch_size=32", "reward.max_steps=2", "cost.epochs=1", "cost.max_steps=2",
    "ppo.iterations=4", "ppo.eval_every=2", "ppo.batch_size=16", "ppo.minibatch_size=8", "ppo.num_validation=16",
    "ppo.critic_warmup=1", "constraints.harm.threshold=0.5",
    "callbacks.progress.every=3600.0", "callbacks.samples.rows=6",
]  # fmt: skip


class Recorded:
    """A stage's run and its plan."""

    def __init__(self, run: Any, plan: Plan) -> None:
        self.run, self.plan = run, plan


@dataclass(frozen=True)
class Pipeline:
    """A pipeline that has come through.

    Attributes:
        words: behind ``train.py``.
        root: the artifacts folder.
        out: what was printed.
    """

    words: list[str]
    root: Path
    out: str


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """``python train.py experiment=smoke ...``, with W&B, which is the default tracker."""
    root = tmp_path_factory.mktemp("recorded")
    words = ["experiment=smoke", f"artifacts={root}", *SETTINGS]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *words],
        env=environment | {"WANDB_MODE": "offline"}, capture_output=True, text=True, check=False, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return Pipeline(words, root, done.stdout)


@pytest.fixture(scope="module")
def stages(pipeline: Pipeline, recorded: Callable) -> dict[str, Recorded]:
    """Its stages: each W&B run, found by its type, and the plan."""
    runs = [recorded(folder) for folder in (pipeline.root / "wandb").glob("offline-run-*")]
    by_type = {run.info["job_type"]: run for run in runs}
    assert sorted(by_type) == sorted(STAGES)
    assert len(runs) == len(STAGES)
    found: dict[str, Recorded] = {}
    search_path.register()
    with initialize_config_dir(search_path.conf_folder(), version_base="1.3"):
        for stage in STAGES:
            cfg = compose("train", overrides=[f"stage={stage}", *pipeline.words])
            OmegaConf.set_struct(cfg, False)
            found[stage] = Recorded(by_type[stage], make_plan(cfg, {"penalty": "rectified"}, "python train.py"))
    return found


def test_every_stage_leaves_its_files(pipeline: Pipeline) -> None:
    assert "FEASIBLE" in pipeline.out
    for stage in ("sft", "reward", "cost", "ppo/latest"):
        folder = pipeline.root / stage
        names = {path.name for path in folder.iterdir()}
        assert {"config.json", "csrlhf.json", "metrics.json", "history.csv", "plots"} <= names, stage
        assert (folder / "plots" / "curves.png").exists()
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        assert metrics
        undefined = {key for key, value in metrics.items() if not isinstance(value, int | float)}
        assert all("precision" in key and metrics[key] is None for key in undefined), undefined  # nothing was flagged


def documented(stage: str) -> set[str]:
    """The keys of the stage's tables, with their ``<...>`` parts; ``<split>`` stands for validation and test."""
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    keys: set[str] = set()
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        if section.startswith(tuple(SECTIONS[stage])):
            for row in re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE):
                found = re.findall(r"`([^`]+)`", row)
                bounds = [word for word in found if word.startswith("_")]
                plain = [word for word in found if "/" in word]
                keys |= {key + bound for key in plain for bound in ["", *bounds]}
    split = {key.replace("<split>", word) for key in keys for word in ("validation", "test")}
    return split - OTHER_SETTINGS


def pattern(key: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"<\w+>", "[^/]+", key))


def test_the_page_is_read() -> None:
    assert {"train/loss", "validation/token_accuracy"} <= documented("sft")
    assert {"test/auroc_low", "validation/<category>/accuracy", "baseline/test/accuracy"} <= documented("cost")
    assert {"penalty/gate", "validation/<name>/cost", "selection/best_excess"} <= documented("ppo")


@pytest.mark.parametrize("stage", STAGES)
def test_every_documented_key_is_there(stages: dict[str, Recorded], stage: str) -> None:
    logged = stages[stage].run.logged_keys()
    missing = [key for key in documented(stage) if not any(pattern(key).fullmatch(name) for name in logged)]
    assert not missing
    metrics = json.loads((stages[stage].plan.folder / "metrics.json").read_text(encoding="utf-8"))
    assert metrics.keys() <= stages[stage].run.summary.keys()


@pytest.mark.parametrize("stage", STAGES)
def test_history_csv_has_the_same_keys_and_no_key_is_undocumented(stages: dict[str, Recorded], stage: str) -> None:
    axis = "iteration" if stage == "ppo" else "trainer/global_step"
    logged = {
        key
        for key in stages[stage].run.logged_keys() - {axis}
        if not key.startswith(("_", "samples/", "plots/", "report/"))
    }
    history = {key for row in read_history(stages[stage].plan.folder / "history.csv") for key in row}
    undefined = {key for key in logged - history if "precision" in key}  # NaN where nothing is flagged: empty cells
    assert logged - undefined == history - {"step"}
    allowed = [pattern(key) for key in documented(stage)] + [re.compile("epoch|baseline/.*|eval/sft/.*")]
    assert not [key for key in logged if not any(one.fullmatch(key) for one in allowed)]


def test_the_tables_of_the_page_are_in_the_run(stages: dict[str, Recorded]) -> None:
    assert any(key.startswith("report/") for key in stages["evaluate"].run.summary)


@pytest.mark.parametrize("stage", STAGES)
def test_group_type_tags_name_commit_and_config(stages: dict[str, Recorded], stage: str) -> None:
    run, plan = stages[stage].run, stages[stage].plan
    assert (run.info["job_type"], run.info["tags"]) == (stage, [stage])
    assert re.fullmatch(r"pipeline-\d{8}-\d{6}", run.info["run_group"])
    assert len({other.run.info["run_group"] for other in stages.values()}) == 1
    assert run.info["display_name"] == plan.title
    assert run.state == "finished"
    provenance = run.config["provenance"]
    assert provenance["fingerprint"] == plan.fingerprint
    assert provenance["versions"]["torch"]
    record = json.loads((plan.folder / "csrlhf.json").read_text(encoding="utf-8"))
    assert provenance["git_commit"] == record["git_commit"]
    inputs = provenance.get("inputs", {})  # W&B leaves out an empty mapping
    assert {key: given["fingerprint"] for key, given in inputs.items()} == plan.input_fingerprints
    if record["git_commit"] is not None:
        assert record["git_commit"].startswith(run.info["git"]["commit"])
    assert run.config["ppo"]["clip"] == 0.2
    assert run.config["stage"]["name"] == stage


def test_system_metrics_are_sampled(stages: dict[str, Recorded]) -> None:
    assert sum(recorded.run.kinds.get("stats", 0) for recorded in stages.values()) > 0


def test_ppo_is_drawn_over_the_iterations(stages: dict[str, Recorded]) -> None:
    rewards = [row["iteration"] for row in stages["ppo"].run.history if "train/reward" in row]
    looks = [row["iteration"] for row in stages["ppo"].run.history if "validation/reward" in row]
    tables = [row["iteration"] for row in stages["ppo"].run.history if any("samples/" in key for key in row)]
    assert rewards == [0, 1, 2, 3]
    assert looks == tables == [0, 1, 3]  # the start policy, and after every other iteration
    best = stages["sft"].run.summary["validation/loss"]
    assert best.keys() == {"last", "min"}


@pytest.mark.parametrize(("stage", "key", "rows"), [("ppo", "samples/validation", 6), ("evaluate", "samples/test", 12)])
def test_tables_of_dialogues(stages: dict[str, Recorded], stage: str, key: str, rows: int) -> None:
    shown = stages[stage].run.summary[key]
    assert shown["_type"] == "table-file"
    run_folder = next(
        path for path in (stages[stage].plan.folder.parents[1] / "wandb").glob(f"*{stages[stage].run.info['run_id']}")
    )
    content = json.loads((run_folder / "files" / shown["path"]).read_text(encoding="utf-8"))
    columns = content["columns"]
    assert columns == ["policy", "prompt", "category", "response", "reward", "cost/harm", "verdict", "truth"]
    assert len(content["data"]) == rows
    first = dict(zip(columns, content["data"][0], strict=True))
    assert first["prompt"]
    assert first["verdict"] == ("unsafe: harm" if first["cost/harm"] > 0 else "safe")
    assert len({row[columns.index("category")] for row in content["data"]}) == 3  # the toy world's kinds of prompts


@pytest.mark.parametrize("stage", ["sft", "reward", "cost", "ppo"])
def test_plots_are_images(stages: dict[str, Recorded], stage: str) -> None:
    files = {path.stem for path in (stages[stage].plan.folder / "plots").glob("*.png")}
    images = {
        key.removeprefix("plots/")
        for key, value in stages[stage].run.summary.items()
        if key.startswith("plots/") and value["_type"] == "image-file"
    }
    assert images == files
    assert "curves" in files


def test_the_lineage_leads_from_stage_to_stage(stages: dict[str, Recorded]) -> None:
    made: dict[str, str] = {}
    for stage, recorded in stages.items():
        [output] = [item for item in recorded.run.artifacts if item["type"] != "run_table"]
        assert output["name"] == stage
        assert recorded.plan.fingerprint[:8] in output["aliases"]
        used = recorded.run.config.get("uses", [])
        assert sorted(used) == sorted(made[name] for name in recorded.plan.inputs)  # the very versions that were logged
        made[stage] = f"{stage}:{recorded.plan.fingerprint[:8]}"
    assert stages["evaluate"].plan.inputs.keys() == {"sft", "reward", "cost", "ppo"}


def test_the_command_skips_what_is_there_and_keeps_another_penalty_beside_it(
    pipeline: Pipeline, stages: dict[str, Recorded], command_line: Callable
) -> None:
    def again(*more: str) -> str:
        outcome = command_line(*pipeline.words, *more)
        assert outcome.code == 0, outcome.out + outcome.err
        return outcome.out

    assert again().count(": unchanged, ") == 5
    out = again("penalty=lagrangian", "constraints.harm.threshold=0.4", "logger=none", "callbacks.plots=null")
    assert out.count(": unchanged, ") == 3
    for stage in ("ppo", "evaluate"):
        kinds = sorted(path.name.split("-")[0] for path in (pipeline.root / stage).iterdir() if not path.is_symlink())
        assert kinds == ["lagrangian", "rectified"]
