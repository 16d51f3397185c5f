"""Sweep files: what is read from them, what is said of one that cannot be run, parameters that are no keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from csrlhf.errors import UserError
from csrlhf.sweeping.spec import check_keys, read_spec, words_of

FILES = sorted((Path(__file__).resolve().parents[2] / "sweeps").glob("*.yaml"))
Write = Callable[[dict[str, Any]], Path]


def test_a_file_is_read(content: dict[str, Any], write: Write) -> None:
    content["parameters"]["penalty"] = {"value": "rectified"}
    spec = read_spec(write(content))
    assert (spec.name, spec.method, spec.program, spec.fixed) == ("sweep", "grid", "train.py", ("stage=ppo",))
    assert spec.varied == ["penalty.multiplier", "constraints.harm.threshold"]
    assert len(spec.hash) == 64
    assert read_spec(write(dict(reversed(content.items())))).hash == spec.hash


def test_words_are_as_the_agent_writes_them() -> None:
    assert words_of({"penalty": "pid", "penalty.kp": 0.5, "seed": 3}) == ["penalty=pid", "penalty.kp=0.5", "seed=3"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_ours_are_read(path: Path) -> None:
    spec = read_spec(path)
    assert spec.metric == {"name": "selection/score", "goal": "maximize"}
    assert path.read_text(encoding="utf-8").startswith("# ")


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        *holders, last = path.split("/")
        for holder in holders:
            content = content[holder]
        content[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("method", "gird"), "method=gird: use one of grid, random, bayes; did you mean grid"),
        (_set("metod", "grid"), "metod: there is no such key; did you mean method"),
        (_set("parameters", {}), "parameters: takes at least one parameter"),
        (_set("parameters/seed", 3), "parameters.seed=3: takes a mapping"),
        (_set("parameters/seed", {"values": []}), r"parameters.seed.values=\[\]: takes a list with at least one value"),
        (_set("parameters/seed", {"valeus": [1]}), "parameters.seed.valeus: there is no such key; did you mean values"),
        (_set("parameters/seed", {"values": [1, 1]}), "parameters.seed.values=.*a value occurs twice"),
        (_set("parameters/seed", {"values": [1, 1.0]}), "parameters.seed.values=.*a value occurs twice"),
        (_set("parameters/seed", {"distribution": "int_uniform", "min": 1, "max": 3, "q": 2}), "seed.q: goes with"),
        (_set("parameters/seed", {"values": [None]}), 'parameters.seed: null would reach .* None; write "null"'),
        (_set("parameters/seed", {"values": [[1]]}), r"parameters.seed: \[1\] would reach"),
        (_set("parameters/ppo", {"parameters": {"clip": {"value": 1}}}), "parameters.ppo.parameters: write nested"),
        (_set("parameters/seed", {"min": 5, "max": 2}), "parameters.seed: min=5 is not less than max=2"),
        (_set("parameters/seed", {"min": 5}), "parameters.seed: takes values, value, or min and max"),
        (_set("parameters/ppo.clip", {"min": 0.1, "max": 0.2}), "parameters.ppo.clip: a grid takes values"),
        (
            _set("parameters/ppo.clip", {"distribution": "log_uniform_values", "min": 0.0, "max": 0.2}),
            "parameters.ppo.clip: min=0.0 must be above 0",
        ),
        (_set("parameters/seed", {"distribution": "even", "min": 0, "max": 2}), "seed.distribution=even: use one of"),
        (
            _set("parameters/seed", {"values": [1, 2], "probabilities": [0.5, 0.6]}),
            "parameters.seed.probabilities=.*with the sum 1",
        ),
        (_set("command", None), "command=None: takes a list"),
        (_set("command", ["${env}", "python", "${program}", "${args}"]), "args_no_hyphens"),
        (_set("command", ["echo", "${program}", "${args_no_hyphens}"]), "the program comes first"),
        (_set("command", ["${program}", "--fast", "${args_no_hyphens}"]), "command: --fast: takes key=value"),
        (_set("program", None), "program=None: name the program"),
        (_set("run_cap", 0), "run_cap=0: must be a whole number above 0"),
        (_set("metric", {"goal": "maximize"}), "metric.name: name a key"),
        (_set("metric", {"name": "x", "goal": "up"}), "metric=.*maximize"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_file(
    content: dict[str, Any], write: Write, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    change(content)
    path = write(content)
    with pytest.raises(UserError, match=rf"{path}: .*{message}"):
        read_spec(path)


def test_bayes_needs_a_metric(content: dict[str, Any], write: Write) -> None:
    del content["metric"]
    content["method"] = "bayes"
    with pytest.raises(UserError, match="metric: method=bayes needs one"):
        read_spec(write(content))


def test_broken_yaml_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("method: grid\nparameters: [\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"x\.yaml, line 3: not valid YAML"):
        read_spec(path)


# Held against the configuration


def test_what_the_configuration_says_of_all_runs(content: dict[str, Any], write: Write) -> None:
    content["parameters"]["penalty"] = {"values": ["rectified", "linear"]}
    setting = check_keys(read_spec(write(content)), ["artifacts=elsewhere", "inputs.sft=some/model"])
    assert setting.artifacts == Path("elsewhere")
    assert setting.inputs == {"sft": "some/model"}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"penalty.multiplyer": {"values": [1.0]}}, r"penalty.multiplyer: there is no such key; .* penalty.mult"),
        ({"penalty": {"values": ["pid", "recified"]}}, r"penalty=recified: there is no such choice; .*=rectified"),
        (
            {"penalty": {"values": ["rectified", "switching"]}, "penalty.multiplier": {"values": [1.0]}},
            r"parameters.penalty.multiplier: there is no such key",
        ),
        ({"ppo.epochs": {"values": [1, 2.5]}}, r"parameters.ppo.epochs: 2.5: the key takes a whole number"),
        ({"ppo.epochs": {"distribution": "q_uniform", "min": 1, "max": 3}}, r"ppo.epochs: 1.1: the key takes a whole"),
        ({"ppo.clip": {"values": ["wide"]}}, r"parameters.ppo.clip: wide: the key takes a number"),
        ({"sft.epochs": {"values": [1, 2]}}, r"parameters.sft.epochs: the runs are stage=ppo and share one sft model"),
        ({"name": {"values": ["a", "b"]}}, r"parameters.name: the sweep sets name itself"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(content: dict[str, Any], write: Write, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_keys(read_spec(write(content | {"parameters": parameters})), [])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("name=x", r"--overrides name=x: the sweep sets name itself"),
        ("penalty.multiplier=3", r"--overrides penalty.multiplier=3: penalty.multiplier is a parameter of the sweep"),
        ("ppo.cilp=3", r"ppo.cilp: there is no such key; did you mean ppo.clip"),
    ],
)
def test_a_word_for_all_runs_is_checked_too(content: dict[str, Any], write: Write, word: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_keys(read_spec(write(content)), [word])


def test_a_local_sweep_is_of_ppo(content: dict[str, Any], write: Write) -> None:
    content["command"][3] = "stage=pipeline"
    with pytest.raises(UserError, match=r"command: a local sweep runs stage=ppo"):
        check_keys(read_spec(write(content)), [])
