"""The command lines that W&B's own agent builds of our files: composed by Hydra, and those of a local sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import sweeps
from csrlhf.config import search_path
from csrlhf.stats.bounds import clopper_pearson_upper
from csrlhf.sweeping.spec import Spec, read_spec, words_of
from csrlhf.sweeping.study import Study, drawn, values_of

FILES = sorted((Path(__file__).resolve().parents[2] / "sweeps").glob("*.yaml"))
STRATEGIES = {path.stem for path in Path(search_path.conf_folder(), "penalty").glob("*.yaml")}


def all_points(spec: Spec, out: Path) -> list[dict[str, Any]]:
    """The grid; of the others a few draws, of bayes those before it has learned anything."""
    if spec.method != "bayes":
        return [values_of(spec, point) for point in drawn(spec, None if spec.method == "grid" else 4, seed=0)]
    study = Study(spec, out, 4)
    return [trial.parameters for trial in iter(study.take, None)]


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """``agent(spec, point)``: the words that W&B's agent would start; it talks to no server here."""
    from wandb import wandb_agent

    started: list[list[str]] = []

    def start(**options: Any) -> Any:
        started.append(options["command"])
        return type("Process", (), {"last_sigterm_time": None})()

    monkeypatch.setattr(wandb_agent, "AgentProcess", start)
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SWEEP_ID", "s")
    monkeypatch.setenv("WANDB_RUN_ID", "r")  # the agent sets these; taken back after the test
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", "")

    def call(spec: Spec, point: dict[str, Any]) -> list[str]:
        made = wandb_agent.Agent.__new__(wandb_agent.Agent)
        made._sweep_command = list(spec.content["command"])
        made._function, made._in_jupyter, made._forward_signals, made._run_processes = None, False, False, {}
        args = {key: {"value": value} for key, value in point.items()}
        made._command_run({"args": args, "program": spec.content["program"], "run_id": "r"})
        return started[-1]

    return call


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_agents_words_are_composed_and_are_those_of_a_local_sweep(path: Path, agent: Any, tmp_path: Path) -> None:
    spec = read_spec(path)
    points = all_points(spec, tmp_path)
    assert len({str(point) for point in points}) == len(points)
    commands = [agent(spec, point) for point in points]
    for point, words in zip(points, commands, strict=True):
        assert words[:3] == ["/usr/bin/env", "python", "train.py"]
        assert words[3:] == [*spec.fixed, *words_of(point)]
    search_path.register()
    with initialize_config_dir(search_path.conf_folder(), version_base="1.3"):
        for point, words in ((points[0], commands[0]), (points[-1], commands[-1])):
            cfg = compose("train", overrides=words[3:], return_hydra_config=True)
            for key, value in point.items():
                given = cfg.hydra.runtime.choices[key] if key == "penalty" else OmegaConf.select(cfg, key)
                assert given == pytest.approx(value), key
            assert cfg.stage.name == "ppo"
            looks = 1 + -(-cfg.ppo.iterations // cfg.ppo.eval_every)
            shown = clopper_pearson_upper(0, cfg.ppo.num_validation, 1 - (1 - cfg.ppo.selection.confidence) / looks)
            assert shown <= cfg.constraints.harm.threshold, "else training is refused: no evaluation could show it"


def test_every_strategy_is_swept_and_has_its_own_file() -> None:
    swept = {
        value
        for path in FILES
        for of in [read_spec(path).parameters["penalty"]]
        for value in of.get("values", [of.get("value")])
    }
    assert swept == STRATEGIES - {"none"}
    assert swept - {path.stem for path in FILES} == set()


def test_a_page_says_what_each_does() -> None:
    readme = (FILES[0].parent / "README.md").read_text(encoding="utf-8")
    assert {path.name for path in FILES} <= {word.strip("`") for word in readme.split()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_wandb_takes_the_file(path: Path) -> None:
    content = {
        key: value for key, value in read_spec(path).content.items() if key != "run_cap"
    }  # newer than the schema
    assert sweeps.schema_violations_from_proposed_config(content) == []
